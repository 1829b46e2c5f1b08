"""A matter before it is a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from services.cases.model import CaseFile, Classification
from services.cases.store.cases import Folder, Step


@dataclass(frozen=True, slots=True)
class NewParty:
    """A party as it was given. `field`: where in the request, for errors."""

    role: str
    type: str
    name: str
    id_number: str
    phone: str
    field: str


@dataclass(frozen=True, slots=True)
class Handover:
    """The grid's hand-over that a case comes from. `centre`: whom it was handed to; `reporter`: account of the worker whose report it was."""

    id: UUID
    report_id: UUID
    centre: str
    reporter: str
    history: Sequence[Step]


@dataclass(frozen=True, slots=True)
class NewCase:
    """A matter as it was given. `transfer_to`: the emergency number that it is handed to at once; `desk`: at which it is received."""

    kind: str
    source: str
    division: str
    title: str
    description: str
    place: str
    occurred_at: datetime | None
    media_ids: Sequence[str]
    parties: Sequence[NewParty] = ()
    classification: Classification = field(default_factory=Classification)
    accept: bool = False
    transfer_to: str = ""
    transfer_note: str = ""
    desk: str = ""


@dataclass(frozen=True, slots=True)
class Registered:
    """What came of a registration. `pins`: in the order of the parties. `duplicates`: perhaps the same quarrel, the newest first. `existing`: the order
    had come before, and this is the case that it became."""

    folder: Folder
    pins: Sequence[str]
    duplicates: Sequence[CaseFile] = ()
    existing: bool = False
