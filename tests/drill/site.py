"""The platform that is drilled: real processes, which are killed and paused by their ids and started again."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import asyncpg
import psutil

from kit.postgres import EmbeddedPostgres, leftovers
from tests.drill import books
from tests.drill.books import Books
from tests.drill.victims import Victim
from tests.functional.harness import Hetao

#: Seconds that the leases of relays and readers last here, and that a paused process sleeps: longer than its lease.
LEASE, PAUSE = 3, 4.5

#: What is deleted with time would be missed by an audit at the end, and the clock goes on by weeks.
SETTINGS = {
    "IDENTITY__TOKEN_MINUTES": "600000",
    "RETENTION__TOPIC_DAYS": "400",
    "RETENTION__INBOX_DAYS": "410",
    "RETENTION__REPLY_DAYS": "400",
    "LOG__LEASE_SECONDS": str(LEASE),
    "TELEMETRY__LOG_LEVEL": "warning",
}


class Site:
    """One process with everything in it (`--mode all`): the platform of a laptop."""

    def __init__(self, hetao: Hetao):
        self.hetao = hetao
        self._tokens: dict[str, str] = {}

    # -- doors --------------------------------------------------------------------------------------------------------

    @property
    def rest(self) -> tuple[str, int]:
        host, port = self.hetao.address.removeprefix("http://").split(":")
        return host, int(port)

    @property
    def rpc(self) -> Mapping[str, str]:
        return dict.fromkeys(("cases", "grid"), self.hetao.rpc_address)

    def sign_in(self, accounts: Sequence[str]) -> None:
        self._tokens = {account: self.hetao.person(account).token for account in accounts}

    def token(self, account: str) -> str:
        return self._tokens[account]

    # -- time ---------------------------------------------------------------------------------------------------------

    def travel(self, by: timedelta) -> None:
        """Moves the platform's clock on, in all its processes."""
        self.hetao.at(self.hetao.now + by)

    # -- books --------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        """As PostgreSQL's superuser."""
        connection = await asyncpg.connect(EmbeddedPostgres(self.hetao.folder / "data").dsn(database="hetao"))
        try:
            yield connection
        finally:
            await connection.close()

    async def books(self) -> Books:
        """As they stand."""
        async with self.database() as connection:
            return await books.read(connection, await self.records(connection), self.hetao.now)

    async def records(self, connection: asyncpg.Connection) -> list[books.Record]:
        """All that the log holds."""
        return await books.sql_log(connection)

    async def waits(self) -> dict[str, int]:
        """What is still under way, by name."""
        async with self.database() as connection:
            waits = await books.unquiet(connection, self.hetao.now)
            return {**waits, **await self._lag(connection)}

    async def _lag(self, connection: asyncpg.Connection) -> dict[str, int]:
        return await books.sql_lag(connection, books.READERS)

    # -- victims ------------------------------------------------------------------------------------------------------

    def victims(self) -> list[Victim]:
        """Whom there is to strike."""
        process = "the process"
        return [
            Victim(process, "kill −9", self._kill_process),
            Victim(process, "kill −9 between commit and answer", lambda: self._die_at("answer")),
            Victim("the relay's leader", "kill −9 between publishing and marking", lambda: self._die_at("mark")),
            Victim("a consumer", "kill −9 in mid-batch", lambda: self._die_at("effect")),
            Victim("the timers", "kill −9 in the middle of what is due", lambda: self._die_at("timer")),
            Victim(process, f"paused for {PAUSE} s, past its lease", self._pause_process),
            Victim("PostgreSQL", "kill −9", self._kill_postgres),
            Victim("the power", "kill −9 of everything at once", self._power_cut),
        ]

    @property
    def _process(self) -> subprocess.Popen[bytes]:
        (process,) = self.hetao.processes
        return process

    async def _kill_process(self) -> None:
        await asyncio.to_thread(self.hetao.kill)
        await self._start()

    async def _die_at(self, point: str) -> None:
        fate, process = self.fate, self._process
        fate.write_text(f"{uuid4().hex} {point}")
        process.send_signal(signal.SIGUSR1)
        if point == "timer":
            self.travel(timedelta(days=3))
        died = await asyncio.to_thread(process.wait, 60)
        assert died == -signal.SIGKILL, f"it ended with {died}:\n{self.hetao.said()}"
        self.hetao.processes.remove(process)
        await self._start()

    async def _pause_process(self) -> None:
        await pause(self._process.pid)

    async def _kill_postgres(self) -> None:
        for server in leftovers(self.hetao.folder / "data" / "postgres"):
            with suppress(psutil.NoSuchProcess):
                server.kill()
        await self.reachable()

    async def _power_cut(self) -> None:
        await asyncio.to_thread(self.hetao.kill)
        for server in leftovers(self.hetao.folder / "data" / "postgres"):
            with suppress(psutil.NoSuchProcess):
                server.kill()
        await self._start()

    async def _start(self) -> None:
        await asyncio.to_thread(self.hetao.start)

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

    @property
    def fate(self) -> Path:
        return self.hetao.folder / "fate"


async def pause(pid: int, seconds: float = PAUSE) -> None:
    """SIGSTOP for longer than a lease, then SIGCONT."""
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


#: The ways to run the platform that can be drilled.
SITES: dict[str, type[Site]] = {"all": Site}


@contextmanager
def open_site(mode: str) -> Iterator[Site]:
    """A platform that runs in processes that can be told to die."""
    hetao = Drilled(mode, **SETTINGS)
    try:
        hetao.start()
        yield SITES[mode](hetao)
        hetao.stop()
    finally:
        hetao.close()


class Drilled(Hetao):
    program = "tests.drill.process"

    def environment(self, target: str = "all") -> dict[str, str]:
        return {**super().environment(target), "DRILL_FATE": str(self.folder / "fate")}
