"""What an applicant was asked to bring (补正), and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from services.cases.model.limit import NOBODY


@dataclass(frozen=True, slots=True)
class Supplement:
    """One time that an applicant was asked. `papers`: codes; `words`: sealed, what no paper of the list says; `number`: the how manieth of the case."""

    id: UUID
    case_id: UUID
    number: int
    papers: Sequence[str]
    words: bytes | None
    asked_by: str
    asked_at: datetime
    limit_rule: str
    limit_version: str
    limit_amount: int
    limit_from: datetime
    due_at: datetime
    told: int = NOBODY
    brought_at: datetime | None = None
    waived: bool = False
    media_ids: Sequence[str] = ()
    version: int = 1
    pauses: Sequence[str] = ()

    @property
    def waiting(self) -> bool:
        return self.brought_at is None

    def bring(self, media_ids: Sequence[str], at: datetime, *, waived: bool) -> Supplement:
        """Brought, or not needed after all. What comes late is taken as long as the case waits for it."""
        return replace(self, brought_at=at, media_ids=media_ids, waived=waived)

    def tell(self, step: int) -> Supplement:
        return replace(self, told=step)
