"""A limit of a case or a task: its facts, the times in which its clock stood, and what it has told so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kit.statutory import Deadline

#: What the clocks have told: nobody, those who work on it, their superior, and the superior's superior.
NOBODY, REMINDED, SUPERIOR, DIRECTOR = 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Limit:
    """A due time with the facts that it follows from. `due_at` is a cache of them."""

    rule: str
    version: str
    amount: int
    start: datetime
    due_at: datetime
    pauses: Sequence[str] = ()

    @classmethod
    def of(cls, deadline: Deadline, pauses: Sequence[str] = ()) -> Limit:
        rule = deadline.rule
        return cls(rule.name, rule.version, rule.amount, deadline.start, deadline.due_at, pauses)

    def columns(self) -> dict[str, Any]:
        """As the columns of a row, which a new limit resets: nobody was told of this one yet."""
        return {
            "limit_rule": self.rule,
            "limit_version": self.version,
            "limit_amount": self.amount,
            "limit_from": self.start,
            "due_at": self.due_at,
            "told": NOBODY,
            "pauses": list(self.pauses),
        }


@dataclass(frozen=True, slots=True)
class Stand:
    """A time in which a clock stands, as a row keeps it: an ISO 8601 interval and the code of its ground.

    `ends`: as planned, until it is ended earlier.
    """

    begins: datetime
    ends: datetime
    ground: str

    @property
    def text(self) -> str:
        return f"{self.begins.isoformat()}/{self.ends.isoformat()}/{self.ground}"

    @classmethod
    def of(cls, text: str) -> Stand:
        begins, ends, ground = text.split("/")
        return cls(datetime.fromisoformat(begins), datetime.fromisoformat(ends), ground)
