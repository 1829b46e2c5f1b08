"""Callers who insist, a journal of what they were told, and the books that must agree with it.

Every request has an id and is repeated under it until it is answered, so in the end nothing is unknown:
accepted (journal) = stored (audit, tables) = published (log) = effected (what was heard), each once and in order.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import psutil

from kit.postgres import EmbeddedPostgres, leftovers
from tests import shelf
from tests.fault.test_startup import ROOT, free_port
from tests.waiting import until

#: What a caller may be told while something is dead; anything else is a fault.
EXCUSES = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}

#: A caller looks for a process that has come back this often.
RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
]

METADATA = (("authorization", "Bearer ding:1508"),)


class ShelfProcess:
    """The shelf in a process of its own, on a data folder that outlives it."""

    def __init__(self, data_dir: Path, environment: dict[str, str]):
        self.data_dir, self.port = data_dir, free_port()
        self.address = f"127.0.0.1:{self.port}"
        self._environment = environment
        self._process: asyncio.subprocess.Process | None = None
        self.log_file = data_dir.with_suffix(".log")

    async def start(self, **environment: str) -> None:
        """Returns when it is ready, or when it has died, as it may be told to."""
        settings = {
            "HETAO_DATA_DIR": str(self.data_dir),
            "HETAO_GRPC__PORT": str(self.port),
            "HETAO_LOG__LEASE_SECONDS": "1",
            "PYTHONPATH": f"{ROOT / 'gen'}:{ROOT}",
            "PATH": "/usr/bin:/bin:/usr/local/bin",
            **self._environment,
            **environment,
        }
        with self.log_file.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.fault.shelf_process",
                cwd=ROOT,
                env=settings,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout
        if await self._process.stdout.readline() == b"ready\n":
            return
        if await self._process.wait() != -signal.SIGKILL or "SHELF_DIES" not in environment:
            raise AssertionError(f"it did not start:\n{self.log}")

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    async def died(self) -> None:
        """Waits until it has killed itself."""
        assert self._process
        assert await asyncio.wait_for(self._process.wait(), 20) == -signal.SIGKILL, self.log

    async def kill(self) -> None:
        """kill −9. Its PostgreSQL lives on, an orphan."""
        assert self._process
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        """In an orderly way."""
        assert self._process
        self._process.terminate()
        assert await asyncio.wait_for(self._process.wait(), 20) == 0, self.log

    def kill_postgres(self) -> None:
        """kill −9 for every process of its PostgreSQL."""
        for process in leftovers(self.data_dir / "postgres"):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    async def end(self) -> None:
        if self._process and self._process.returncode is None:
            await self.kill()
        self.kill_postgres()


@dataclass
class Journal:
    """What callers were told."""

    #: request id → (thing, version)
    accepted: dict[str, tuple[str, int]] = field(default_factory=dict)
    excuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def note(self, request_id: str, thing: Any) -> None:
        told = (thing.id, int(thing.etag))
        if self.accepted.setdefault(request_id, told) != told:
            self.faults.append(f"{request_id} was answered {self.accepted[request_id]} and then {told}")

    async def more(self, by: int) -> None:
        """Waits until so many more requests were answered."""
        goal = len(self.accepted) + by

        def reached() -> bool:
            assert not self.faults, self.faults
            return len(self.accepted) >= goal

        await until(reached, f"{goal} requests were answered; {dict(self.excuses)}", seconds=15)


class Caller:
    """Puts things on the shelf and changes them, its own and those that all callers share, one request after the other."""

    def __init__(self, name: str, addresses: Iterable[str], journal: Journal, shared: list[str], seed: int):
        self._name, self._journal, self._shared = name, journal, shared
        self._chance = random.Random(f"{seed} {name}")
        self._channels = [grpc.aio.insecure_channel(address, options=RECONNECT) for address in addresses]
        self._things: list[str] = []
        self._asked: list[tuple[str, Any]] = []
        self._count = 0

    async def run(self, stop: asyncio.Event) -> None:
        try:
            while not stop.is_set():
                await self.once()
        finally:
            for channel in self._channels:
                await channel.close()

    async def once(self) -> None:
        self._count += 1
        request_id = f"{self._name}-{self._count}"
        known = [*self._things, *self._shared]
        if not known or self._chance.random() < 0.2:
            thing = await self._insist(
                "PutThing", shelf.pb.PutThingRequest(division="150802", title=request_id, request_id=request_id)
            )
            self._things.append(thing.id)
        else:
            which = self._chance.choice(known)
            await self._insist(
                "ChangeThing", shelf.pb.ChangeThingRequest(id=which, title=request_id, request_id=request_id)
            )
        if self._chance.random() < 0.1:  # what was answered long ago is answered so still
            await self._insist(*self._chance.choice(self._asked))

    async def _insist(self, method: str, request: Any) -> Any:
        """The request's answer, whatever it takes."""
        while True:
            stub = shelf.rpc.ShelfServiceStub(self._chance.choice(self._channels))
            try:
                answer = await getattr(stub, method)(request, metadata=METADATA, timeout=3.0)
            except grpc.aio.AioRpcError as error:
                if error.code() not in EXCUSES:
                    self._journal.faults.append(f"{error.code()} for {request.request_id}: {error.details()}")
                self._journal.excuses[error.code().name] += 1
                await asyncio.sleep(0.1)  # as a client with manners
                continue
            self._journal.note(request.request_id, answer.thing)
            self._asked.append((method, request))
            return answer.thing


@asynccontextmanager
async def calling(
    addresses: Iterable[str], journal: Journal, *, seed: int, callers: int = 6
) -> AsyncIterator[list[Caller]]:
    """Callers at work as long as the context; at its end each waits for its last answer."""
    stop, shared = asyncio.Event(), list[str]()
    everyone = [Caller(f"caller{n}", addresses, journal, shared, seed) for n in range(callers)]
    for caller in everyone[:2]:
        await caller.once()
    shared.extend(caller._things[0] for caller in everyone[:2])
    tasks = [asyncio.create_task(caller.run(stop)) for caller in everyone]
    try:
        yield everyone
        stop.set()
        async with asyncio.timeout(15):
            await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


Step = tuple[str, int]


@dataclass
class Books:
    """What the tables say. A step is (thing, version)."""

    stored: list[Step]
    present: dict[str, int]
    published: list[tuple[Step, str]]
    effected: list[Step]
    newest: dict[str, int]
    replies: int
    waiting: int
    parked: int
    fired: list[str]

    @classmethod
    async def read(cls, connection: asyncpg.Connection) -> Books:
        events = await connection.fetch('select value from log.record order by topic, partition, "offset"')
        said = [shelf.pb.ThingChanged.FromString(row["value"]) for row in events]
        lag = 'select coalesce(sum(p.next_offset - coalesce(s."offset", 0)), 0) from log.partition p left join log.position s '
        lag += "on s.topic = p.topic and s.partition = p.number"
        return cls(
            stored=await _steps(connection, "select entity_id, version from shelf.audit order by seq"),
            present=dict(await _steps(connection, "select id, version from shelf.thing")),
            published=[((event.id, event.version), event.title) for event in said],
            effected=await _steps(connection, "select thing_id, version from shelf.heard order by n"),
            newest=dict(await _steps(connection, "select id, version from shelf.newest")),
            replies=await connection.fetchval("select count(*) from shelf.reply"),
            waiting=int(
                await connection.fetchval("select count(*) from shelf.outbox") + await connection.fetchval(lag)
            ),
            parked=await connection.fetchval("select count(*) from shelf.parked"),
            fired=[row["key"] for row in await connection.fetch("select key from shelf.fired order by n")],
        )

    def differences(self, journal: Journal) -> list[str]:
        """Where the books disagree; empty is well."""
        found = []
        accepted = Counter(journal.accepted.values())
        for name, steps in (
            ("accepted", list(accepted.elements())),
            ("stored", self.stored),
            ("published", [step for step, _ in self.published]),
            ("effected", self.effected),
        ):
            counted = Counter(steps)
            found += [f"{name} twice: {step}" for step, times in counted.items() if times > 1]
            found += [f"accepted but not {name}: {step}" for step in accepted if step not in counted]
            found += [f"{name} but not accepted: {step}" for step in counted if step not in accepted]
        for name, steps in (("published", [step for step, _ in self.published]), ("effected", self.effected)):
            order = defaultdict(list)
            for thing, version in steps:
                order[thing].append(version)
            found += [f"{name} out of order: {thing} {said}" for thing, said in order.items() if said != sorted(said)]
        newest = {thing: max(v for t, v in accepted if t == thing) for thing, _ in accepted}
        found += [
            f"{name} has not the newest"
            for name, kept in (("thing", self.present), ("newest", self.newest))
            if kept != newest
        ]
        asked = {step: request_id for request_id, step in journal.accepted.items()}
        found += [
            f"{step} says {title}, asked was {asked.get(step)}"
            for step, title in self.published
            if asked.get(step) != title
        ]
        if self.replies != len(journal.accepted):
            found.append(f"{self.replies} replies are stored for {len(journal.accepted)} requests")
        return journal.faults + found + ([f"{self.parked} events are parked"] if self.parked else [])


async def _steps(connection: asyncpg.Connection, sql: str) -> list[Step]:
    return [(str(thing), version) for thing, version in await connection.fetch(sql)]


async def closed_books(process: ShelfProcess, dsn: str = "") -> Books:
    """The books once everything that was said is in effect. `dsn`: where the database is, unless it is the process's own."""
    connection = await asyncpg.connect(dsn or EmbeddedPostgres(process.data_dir).dsn(database="hetao"))
    try:

        async def quiet() -> bool:
            return (await Books.read(connection)).waiting == 0

        await until(quiet, "everything that was said is in effect")
        return await Books.read(connection)
    finally:
        await connection.close()
