"""What every process knows of outside systems and of revoked sessions: its copy of the register.

One service keeps the register and tells it by the RPC GetTrust (hetao.operations.v1); each process follows it (kit/follow.py). The copy is never
older than a few seconds while that service answers. While it does not, what is known stays in force for a time, and a process that has heard
nothing yet takes nobody's word.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from kit.errors import Unauthenticated, Unavailable

#: Accounts of outside systems begin with it.
SYSTEM_PREFIX = "system-"


@dataclass(frozen=True, slots=True)
class System:
    """An outside system. `quota`: calls per minute, None without a limit; `client_id`, `client_subject`: its name at the identity provider and the
    `sub` of its tokens there; `certificates`: SHA-256 of the certificates it may show, in lower-case hex."""

    account: str
    roles: tuple[str, ...]
    divisions: tuple[str, ...]
    quota: int | None
    enabled: bool
    client_id: str = ""
    client_subject: str = ""
    certificates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Revoked:
    """That tokens with a mark count no more: all, or those issued before a moment. `until`: when the last of them has expired anyway."""

    mark: str
    before: float | None
    until: float

    def joined(self, other: Revoked | None) -> Revoked:
        """What both say of one mark, whichever was heard first: nothing that was revoked counts again."""
        if other is None:
            return self
        everything = self.before is None or other.before is None
        before = None if everything else max(self.before or 0.0, other.before or 0.0)
        return Revoked(self.mark, before, max(self.until, other.until))


class Register:
    """`version` rises with every change. Until `follow` is called it is empty, and nobody is asked about it."""

    def __init__(self) -> None:
        self.version = 0
        #: Set in the process that keeps the register when it has changed.
        self.wanted = asyncio.Event()
        self._patience: float | None = None
        self._heard = float("-inf")
        self._systems: dict[str, System] = {}
        self._clients: dict[str, System] = {}
        self._certificates: dict[str, System] = {}
        self._revoked: dict[str, Revoked] = {}

    def follow(self, patience: float) -> None:
        """From now on it must be heard of. `patience`: seconds for which it counts without news."""
        self._patience = patience

    def heard(self) -> None:
        """Whoever keeps the register has answered just now, with news or without."""
        self._heard = time.monotonic()

    def require(self) -> None:
        """Unavailable(REGISTER_AWAY) where it cannot be said who is still welcome."""
        if self._patience is not None and time.monotonic() - self._heard > self._patience:
            raise Unavailable("REGISTER_AWAY")

    def change(self, systems: Iterable[System], revoked: Iterable[Revoked], *, whole: bool, now: float) -> None:
        """Takes over what is new; `whole`: it is all there is."""
        fresh = {system.account: system for system in systems}
        news = list(revoked)
        if not (fresh or news or whole):
            return
        self._systems = fresh if whole else self._systems | fresh
        marks = {} if whole else dict(self._revoked)
        for one in news:
            marks[one.mark] = one.joined(marks.get(one.mark))
        self._revoked = {mark: one for mark, one in marks.items() if one.until > now}
        self._clients = {one.client_id: one for one in self._systems.values() if one.client_id}
        held = Counter(shown for one in self._systems.values() for shown in set(one.certificates))
        self._certificates = {
            shown: one for one in self._systems.values() for shown in one.certificates if held[shown] == 1
        }
        self.version += 1

    def system(self, account: str) -> System:
        """Unauthenticated(SYSTEM_UNKNOWN | SYSTEM_DISABLED)."""
        return _welcome(self._systems.get(account))

    def client(self, client_id: str, subject: str) -> System | None:
        """The system that the identity provider calls so, if one is registered; `subject` must be the client's own: that of a person who uses the
        client is not. A system that is disabled is refused."""
        found = self._clients.get(client_id)
        if found is None or subject != (found.client_subject or client_id):
            return None
        return _welcome(found)

    def certified(self, certificate: str) -> System | None:
        """The system whose certificate has this SHA-256, if there is one; what two hold is nobody's. One that is disabled is refused."""
        found = self._certificates.get(certificate)
        return None if found is None else _welcome(found)

    def check(self, marks: Iterable[str], issued: float) -> None:
        """Unauthenticated(SESSION_REVOKED) if a token with one of these marks was revoked."""
        for mark in marks:
            found = self._revoked.get(mark)
            if found is not None and (found.before is None or issued < found.before):
                raise Unauthenticated("SESSION_REVOKED")


def _welcome(system: System | None) -> System:
    if system is None:
        raise Unauthenticated("SYSTEM_UNKNOWN")
    if not system.enabled:
        raise Unauthenticated("SYSTEM_DISABLED")
    return system
