"""A supervision order (督办): a department owes a written reply, and the order stands until it is released."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.cases.model.limit import NOBODY, SUPERIOR, Limit
from services.cases.model.states import ISSUED, SUPERVISION_MOVES

LOWEST, HIGHEST = 1, 3


@dataclass(frozen=True, slots=True)
class Supervision:
    """`year` and `number`: counted by the centre. `round`: how many limits it has had: a notice is sent once per limit.

    issued_for   the department in whose name it was issued, the account where it has none; empty where it came by itself
    told         SUPERIOR once the highest level has passed without a reply: nobody is left to be told
    """

    id: UUID
    year: int
    number: int
    centre: str
    division: str
    county: str
    township: str
    case_id: UUID
    code: str
    task_id: UUID | None
    department: str
    department_name: str
    department_name_en: str
    level: int
    state: str
    demand: bytes
    issued_by: str
    issued_for: str
    issued_at: datetime
    limit_rule: str
    limit_version: str
    limit_amount: int
    limit_from: datetime
    due_at: datetime
    told: int = NOBODY
    pauses: Sequence[str] = ()
    round: int = 1
    reply: bytes | None = None
    media_ids: Sequence[str] = ()
    replied_by: str = ""
    replied_at: datetime | None = None
    sent_back_count: int = 0
    released_by: str = ""
    released_at: datetime | None = None
    overdue_since: datetime | None = None
    version: int = 1

    @property
    def written(self) -> str:
        """Its number as people write it."""
        return f"督〔{self.year}〕{self.number}号"

    @property
    def automatic(self) -> bool:
        return not self.issued_for

    @property
    def waits(self) -> bool:
        """A reply is owed, and somebody is left to be told when it does not come."""
        return self.state == ISSUED and self.told < SUPERIOR

    def answer(self, reply: bytes, media_ids: Sequence[str], by: str, at: datetime) -> Supervision:
        return SUPERVISION_MOVES.apply(self, "reply", reply=reply, media_ids=media_ids, replied_by=by, replied_at=at)

    def send_back(self, limit: Limit) -> Supervision:
        return SUPERVISION_MOVES.apply(
            self,
            "send back",
            replied_by="",
            replied_at=None,
            sent_back_count=self.sent_back_count + 1,
            round=self.round + 1,
            **limit.columns(),
        )

    def release(self, by: str, at: datetime) -> Supervision:
        return SUPERVISION_MOVES.apply(self, "release", released_by=by, released_at=at)

    def late(self, limit: Limit | None) -> Supervision:
        """The limit has passed without a reply: the next level, under its `limit`; without one there is none."""
        since = self.overdue_since or self.due_at
        if limit is None:
            return SUPERVISION_MOVES.apply(self, "raise", overdue_since=since, told=SUPERIOR)
        return SUPERVISION_MOVES.apply(
            self, "raise", overdue_since=since, level=self.level + 1, round=self.round + 1, **limit.columns()
        )
