"""The platform that is drilled: real processes, which are killed and paused by their ids and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self
from uuid import UUID, uuid4

import asyncpg
import httpx
import psutil

from kit.postgres import EmbeddedPostgres, leftovers
from tests.drill import books
from tests.drill.books import Books, Record
from tests.drill.victims import Victim
from tests.functional.harness import MORNING, Hetao

#: Seconds that the leases of relays and readers last here, and that a paused process sleeps: longer than its lease.
LEASE, PAUSE = 3, 4.5

#: What is deleted with time would be missed by an audit at the end, since the clock goes on by weeks; and a drill's few accounts call as often as a
#: county does.
SETTINGS = {
    "IDENTITY__TOKEN_MINUTES": "600000",
    "RETENTION__TOPIC_DAYS": "400",
    "RETENTION__INBOX_DAYS": "410",
    "RETENTION__REPLY_DAYS": "400",
    "LIMITS__READS": "10000000",
    "LIMITS__WRITES": "10000000",
    "LOG__LEASE_SECONDS": str(LEASE),
    "TELEMETRY__LOG_LEVEL": "warning",
}


class Site(AbstractContextManager["Site"]):
    """A running platform, the doors by which clients come in, its books, and whom there is to strike."""

    #: Host and port of each gateway, and the address of each service over gRPC.
    rest: Sequence[tuple[str, int]]
    rpc: Mapping[str, str]

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}

    # -- doors --------------------------------------------------------------------------------------------------------

    def sign_in(self, accounts: Sequence[str]) -> None:
        with httpx.Client(base_url="http://{}:{}".format(*self.rest[0]), trust_env=False, timeout=30) as http:
            for account in accounts:
                answer = http.post("/issuer/token", data={"grant_type": "password", "username": account})
                self._tokens[account] = answer.raise_for_status().json()["access_token"]

    def token(self, account: str) -> str:
        return self._tokens[account]

    # -- time ---------------------------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def now(self) -> datetime:
        """The time that the processes have."""

    @abstractmethod
    def travel(self, by: timedelta) -> None:
        """Moves the platform's clock on, in all its processes."""

    # -- books --------------------------------------------------------------------------------------------------------

    @abstractmethod
    def database_url(self) -> str:
        """Of PostgreSQL's superuser."""

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(self.database_url())
        try:
            yield connection
        finally:
            await connection.close()

    async def books(self, without: Collection[UUID] = ()) -> Books:
        """As they stand. `without`: events of writes that a restore has undone."""
        async with self.database() as connection:
            records = [one for one in await self.records(connection) if one.event_id not in without]
            return await books.read(connection, records, self.now)

    @abstractmethod
    async def records(self, connection: asyncpg.Connection) -> list[Record]:
        """All that the log holds, each partition in its order."""

    async def waits(self) -> dict[str, int]:
        """What is still under way, by name."""
        async with self.database() as connection:
            waits = await books.unquiet(connection, self.now)
            return {**waits, **await self.lag(connection)}

    @abstractmethod
    async def lag(self, connection: asyncpg.Connection) -> dict[str, int]:
        """Records that readers have not committed."""

    @abstractmethod
    def said(self) -> str:
        """The last that the processes said, for people who look for what went wrong."""

    # -- as an operator -----------------------------------------------------------------------------------------------

    @abstractmethod
    async def command(self, *words: str) -> str:
        """What `hetao WORDS` says. Fails when it fails."""

    @abstractmethod
    async def stop(self) -> None:
        """The platform's processes, in an orderly way; engines of their own go on."""

    @abstractmethod
    async def start(self) -> None:
        """Again, until they are ready."""

    # -- victims ------------------------------------------------------------------------------------------------------

    @abstractmethod
    def victims(self) -> list[Victim]:
        """Whom there is to strike."""

    async def reachable(self, seconds: float = 60.0) -> None:
        """Waits until the database answers again."""
        end = time.monotonic() + seconds
        while True:
            try:
                async with self.database() as connection:
                    await connection.fetchval("select 1")
                return
            except (OSError, asyncpg.PostgresError):
                assert time.monotonic() < end, "the database did not come back"
                await asyncio.sleep(0.1)


class Whole(Site):
    """One process with everything in it, which brings its own PostgreSQL: the platform of a laptop."""

    def __init__(self) -> None:
        super().__init__()
        self.hetao = _Drilled("all", **SETTINGS)
        host, port = self.hetao.address.removeprefix("http://").split(":")
        self.rest, self.rpc = [(host, int(port))], dict.fromkeys(("cases", "grid"), self.hetao.rpc_address)

    def __enter__(self) -> Self:
        try:
            self.hetao.start()
        except BaseException:
            self.hetao.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.hetao.stop()
        finally:
            self.hetao.close()

    @property
    def now(self) -> datetime:
        return self.hetao.now

    def travel(self, by: timedelta) -> None:
        self.hetao.at(self.hetao.now + by)

    def database_url(self) -> str:
        return EmbeddedPostgres(self.hetao.folder / "data").dsn(database="hetao")

    async def records(self, connection: asyncpg.Connection) -> list[Record]:
        return await books.sql_log(connection)

    async def lag(self, connection: asyncpg.Connection) -> dict[str, int]:
        return await books.sql_lag(connection, books.READERS)

    def said(self) -> str:
        return self.hetao.said()

    async def command(self, *words: str) -> str:
        done = await asyncio.to_thread(self.hetao.command, *words)
        assert done.returncode == 0, f"hetao {' '.join(words)}:\n{done.stdout}{done.stderr}"
        return done.stdout

    async def stop(self) -> None:
        await asyncio.to_thread(self.hetao.stop)

    async def start(self) -> None:
        await asyncio.to_thread(self.hetao.start)

    def victims(self) -> list[Victim]:
        process = "the process"
        return [
            Victim(process, "kill −9", self._kill_process),
            Victim(process, "kill −9 between commit and answer", lambda: self._die_at("answer")),
            Victim("the relay's leader", "kill −9 between publishing and marking", lambda: self._die_at("mark")),
            Victim("a consumer", "kill −9 in mid-batch", lambda: self._die_at("effect")),
            Victim("the timers", "kill −9 in the middle of what is due", lambda: self._die_at("timer")),
            Victim("the relay's leader", f"paused for {PAUSE} s, past its lease", self._pause_process),
            Victim("PostgreSQL", "kill −9", self._kill_postgres),
            Victim("the power", "kill −9 of everything at once", self._power_cut),
        ]

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        (process,) = self.hetao.processes
        return process

    async def _kill_process(self) -> None:
        await asyncio.to_thread(self.hetao.kill)
        await asyncio.to_thread(self.hetao.start)

    async def _die_at(self, point: str) -> None:
        process = self._process
        arm(self.hetao.folder / "fate", point, [process.pid])
        if point == "timer":
            self.travel(timedelta(days=3))
        died = await asyncio.to_thread(process.wait, 60)
        assert died == -signal.SIGKILL, f"it ended with {died}:\n{self.said()}"
        self.hetao.processes.remove(process)
        await asyncio.to_thread(self.hetao.start)

    async def _pause_process(self) -> None:
        """In the worst moment: after publishing and before marking."""
        arm(self.hetao.folder / "fate", "mark", [self._process.pid], signal.SIGSTOP)
        await sleeps([self._process.pid])
        try:
            await asyncio.sleep(PAUSE)
        finally:
            os.kill(self._process.pid, signal.SIGCONT)

    def _strike_postgres(self) -> None:
        for server in leftovers(self.hetao.folder / "data" / "postgres"):
            with suppress(psutil.NoSuchProcess):
                server.kill()

    async def _kill_postgres(self) -> None:
        """The process starts it again by itself."""
        self._strike_postgres()
        await self.reachable()

    async def _power_cut(self) -> None:
        await asyncio.to_thread(self.hetao.kill)
        self._strike_postgres()
        await asyncio.to_thread(self.hetao.start)


class _Drilled(Hetao):
    program = "tests.drill.process"

    def environment(self, target: str = "all") -> dict[str, str]:
        return {**super().environment(target), "DRILL_FATE": str(self.folder / "fate")}


def arm(fate: Path, point: str, processes: Sequence[int], number: signal.Signals = signal.SIGKILL) -> None:
    """The first of these processes that comes to the point will send itself the signal."""
    fate.write_text(f"{uuid4().hex} {point} {int(number)}")
    for process in processes:
        os.kill(process, signal.SIGUSR1)


async def sleeps(processes: Sequence[int], seconds: float = 60.0) -> int:
    """Waits until one of these processes has stopped itself."""
    end = time.monotonic() + seconds
    while True:
        for process in processes:
            if psutil.Process(process).status() == psutil.STATUS_STOPPED:
                return process
        assert time.monotonic() < end, "none came to the point where it was to sleep"
        await asyncio.sleep(0.02)


class Watch:
    """A clock that processes read from a file, and that can be moved on: it begins on an ordinary Monday morning."""

    def __init__(self, file: Path, begin: datetime = MORNING):
        self._file, self._ahead = file, begin - datetime.now(UTC)
        self.move(timedelta())

    @property
    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def move(self, by: timedelta) -> None:
        self._ahead += by
        written = self._file.with_suffix(".new")
        written.write_text(str(self._ahead.total_seconds()))
        written.replace(self._file)
