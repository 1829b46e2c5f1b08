"""The journal: what clients were told, line by line in a file that is on the disk before anybody relies on it.

{"is": "accepted", "id": …}    a write that was answered
{"is": "attempt", "id": …}     an attempt whose outcome nobody knows: it is repeated under the same request id
{"is": "unknown", "id": …}     a write that never was answered, however often it was repeated
{"is": "phase", …}             from here on somebody else is the victim
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson

#: Seconds between two times that what was written is brought to the disk.
SYNC = 0.02


@dataclass(frozen=True, slots=True)
class Write:
    """A write as its client knows it.

    id        its request id, the same for every repeat
    rpc       the RPC's full path, by which tables know it too
    root      (service, table) of the aggregate that it changes, and root_id which
    row       table and row_id of what the answer showed, at `version`: the root itself or a part of it
    phase     who was the victim when it was answered
    asked     seconds since the start of the drill, when it was asked for the first time
    at        the same, when it was answered
    tries     attempts, the last one included
    """

    id: str
    account: str
    rpc: str
    service: str
    root: str
    root_id: str
    row: str
    row_id: str
    version: int
    phase: int
    asked: float
    at: float
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Phase:
    """From the moment that something dies to the moment that the next one does."""

    number: int
    victim: str
    what: str
    at: float


@dataclass(slots=True)
class Pages:
    """A journal as it is read back."""

    accepted: list[Write] = field(default_factory=list)
    unknown: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    phases: list[Phase] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Journal:
    """Written by all clients of a drill. `faults`: answers that nobody may be given, whatever has died."""

    def __init__(self, path: Path):
        self.path, self.accepted, self.attempts = path, 0, 0
        self.faults: list[str] = []
        self.phase = Phase(0, "", "", 0.0)
        self._most, self._more = 0, asyncio.Event()
        self._began = time.monotonic()
        self._file = path.open("ab")
        self._waiting: list[bytes] = []
        self._syncing: asyncio.Task[None] | None = None

    def now(self) -> float:
        """Seconds since the start of the drill."""
        return time.monotonic() - self._began

    def allow(self, most: int) -> None:
        """Clients ask for no new write while so many are accepted: the writes are shared out among the victims."""
        self._most = most
        self._more.set()

    async def turn(self, goal: int) -> None:
        """Waits until another write is allowed, or as many as are wanted were accepted."""
        while self.accepted >= self._most and self.accepted < goal:
            self._more.clear()
            await self._more.wait()

    def begin(self, victim: str, what: str) -> None:
        self.phase = Phase(self.phase.number + 1 if self.phase.victim else 0, victim, what, self.now())
        self._add({"is": "phase", **asdict(self.phase)})

    def accept(self, write: Write) -> None:
        self.accepted += 1
        self._add({"is": "accepted", **asdict(write)})

    def attempt(self, request_id: str, why: str) -> None:
        self.attempts += 1
        self._add({"is": "attempt", "id": request_id, "why": why, "phase": self.phase.number, "at": self.now()})

    def unknown(self, request_id: str, rpc: str, account: str, root_id: str) -> None:
        self._add({"is": "unknown", "id": request_id, "rpc": rpc, "account": account, "root_id": root_id})

    def fault(self, what: str) -> None:
        self.faults.append(what)
        self._add({"is": "fault", "what": what})

    def _add(self, line: dict[str, Any]) -> None:
        self._waiting.append(orjson.dumps(line) + b"\n")
        if self._syncing is None:
            self._syncing = asyncio.create_task(self._sync())

    async def _sync(self) -> None:
        """Brings lines to the disk, as many at a time as have come together."""
        while self._waiting:
            await asyncio.sleep(SYNC)
            lines, self._waiting = self._waiting, []
            await asyncio.to_thread(self._write, b"".join(lines))
        self._syncing = None

    def _write(self, text: bytes) -> None:
        self._file.write(text)
        self._file.flush()
        os.fsync(self._file.fileno())

    async def close(self) -> None:
        while self._syncing is not None:
            await self._syncing
        self._file.close()


def read(path: Path) -> Pages:
    pages = Pages()
    for line in _lines(path):
        match line.pop("is"):
            case "accepted":
                pages.accepted.append(Write(**line))
            case "attempt":
                pages.attempts.append(line)
            case "unknown":
                pages.unknown.append(line)
            case "phase":
                pages.phases.append(Phase(**line))
            case "fault":
                pages.faults.append(line["what"])
    return pages


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for line in file:
            yield orjson.loads(line)
