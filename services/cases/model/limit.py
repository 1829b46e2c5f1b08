"""A limit of a case or a task, and what its clock has told so far."""

from __future__ import annotations

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

    @classmethod
    def of(cls, deadline: Deadline) -> Limit:
        return cls(deadline.rule.name, deadline.rule.version, deadline.rule.amount, deadline.start, deadline.due_at)

    def columns(self) -> dict[str, Any]:
        """As the columns of a row, which a new limit resets: nobody was told of this one yet."""
        return {
            "limit_rule": self.rule,
            "limit_version": self.version,
            "limit_amount": self.amount,
            "limit_from": self.start,
            "due_at": self.due_at,
            "told": NOBODY,
        }
