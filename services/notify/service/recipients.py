"""Who is addressed."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class PartyAddress:
    """A party of a case, told by the clerks of a centre."""

    case_id: UUID
    party_id: UUID
    role: str
    centre: UUID


@dataclass(frozen=True, slots=True)
class Recipient:
    """A post of a department, an account, or a party."""

    department_id: UUID | None
    post: str
    account: str
    party: PartyAddress | None = None
