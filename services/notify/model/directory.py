"""Who is meant: the person in a post on a day, who stands in, who is above."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final
from uuid import UUID

ACCOUNT, DUTY, HOLDER, SUBSTITUTE, SUPERIOR = "account", "duty", "holder", "substitute", "superior"

#: Posts that stand above the others of their department, the nearest first.
SUPERIORS: Final = ("head", "director", "leader")


@dataclass(frozen=True, slots=True)
class Span:
    """Days on which an account is on duty, or away with a substitute; both days included, business time."""

    begins: date
    ends: date
    account: str

    def covers(self, day: date) -> bool:
        return self.begins <= day <= self.ends


@dataclass(frozen=True, slots=True)
class Post:
    department: UUID
    kind: str
    holder: str
    duties: Sequence[Span] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """As much of the organisation as one notice needs: `departments` from the one addressed upwards, their posts, who is away."""

    departments: Sequence[UUID]
    posts: Sequence[Post]
    absences: Mapping[str, Sequence[Span]] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()  # accounts of people who have left

    def person_in(self, post: Post, day: date) -> tuple[str, str] | None:
        """(account, ground) of who does the post's work on that day: by roster, else the holder, else who stands in for them."""
        rostered = [duty.account for duty in post.duties if duty.covers(day)]
        candidates = [(account, DUTY) for account in rostered] + ([(post.holder, HOLDER)] if post.holder else [])
        for account, ground in candidates:
            if self._present(account, day):
                return account, ground
        for account, _ in candidates:
            if substitute := self._substitute(account, day):
                return substitute, SUBSTITUTE
        return None

    def find(self, kind: str, day: date) -> tuple[str, str] | None:
        """(account, ground) of who gets a message to the post `kind` of the first department, or None where nobody is found.

        The post itself (several of a kind: the first that is filled), then the superiors of the same department, then those above it.
        """
        for post in self._posts(self.departments[:1], (kind,)):
            if found := self.person_in(post, day):
                return found
        return self.superior(kind, day)

    def superior(self, kind: str, day: date, besides: str = "") -> tuple[str, str] | None:
        """Who stands above the post `kind` of the first department: in it, then in those above it; somebody else than `besides`."""
        above = SUPERIORS[SUPERIORS.index(kind) + 1 :] if kind in SUPERIORS else SUPERIORS
        for departments, kinds in ((self.departments[:1], above), (self.departments[1:], SUPERIORS)):
            for post in self._posts(departments, kinds):
                found = self.person_in(post, day)
                if found and found[0] != besides:
                    return found[0], SUPERIOR
        return None

    def _posts(self, departments: Iterable[UUID], kinds: Iterable[str]) -> Iterable[Post]:
        listed = list(kinds)
        for department in departments:
            for kind in listed:
                yield from (post for post in self.posts if post.department == department and post.kind == kind)

    def _present(self, account: str, day: date) -> bool:
        return account not in self.gone and not any(span.covers(day) for span in self.absences.get(account, ()))

    def _substitute(self, account: str, day: date) -> str | None:
        """Who stands in, and for them in turn; a circle of people who are all away has nobody."""
        asked: set[str] = set()
        while account not in asked and account not in self.gone:
            asked.add(account)
            span = next((span for span in self.absences.get(account, ()) if span.covers(day) and span.account), None)
            if span is None:
                return None
            account = span.account
            if self._present(account, day):
                return account
        return None
