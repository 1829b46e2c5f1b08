"""What departments say against a task: that it is not theirs, or that it takes longer. Kept beside the task, for the centre and for the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

UPHELD, OVERRULED = "upheld", "overruled"
GRANTED, REFUSED, LAPSED = "granted", "refused", "lapsed"


@dataclass(frozen=True, slots=True)
class TaskReturn:
    """A department returned a task before it signed in.

    to_director  a second refusal: the director alone decides, by designating a department
    decision     UPHELD or OVERRULED; empty: it waits
    note, reason sealed: the department's words, and those of who decided
    """

    id: UUID
    case_id: UUID
    task_id: UUID
    department: str
    ground: str
    ground_version: str
    note: bytes | None
    returned_by: str
    returned_at: datetime
    to_director: bool
    decision: str = ""
    reason: bytes | None = None
    decided_by: str = ""
    decided_at: datetime | None = None
    version: int = 1

    def decide(self, decision: str, reason: bytes | None, by: str, at: datetime) -> TaskReturn:
        return replace(self, decision=decision, reason=reason, decided_by=by, decided_at=at)


@dataclass(frozen=True, slots=True)
class TaskExtension:
    """A department asked for more time.

    days          working days
    decision      GRANTED or REFUSED; empty: it waits, or lapsed because the task was answered or ended first
    reason, note  sealed: the department's words, and those of who decided
    """

    id: UUID
    case_id: UUID
    task_id: UUID
    department: str
    days: int
    reason: bytes | None
    media_ids: Sequence[str]
    asked_by: str
    asked_at: datetime
    decision: str = ""
    note: bytes | None = None
    decided_by: str = ""
    decided_at: datetime | None = None
    version: int = 1

    def decide(self, decision: str, note: bytes | None, by: str, at: datetime) -> TaskExtension:
        return replace(self, decision=decision, note=note, decided_by=by, decided_at=at)
