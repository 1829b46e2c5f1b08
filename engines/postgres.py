"""A PostgreSQL that several processes use: on a port of this machine, with passwords, as a server elsewhere would be.

    with Postgres() as postgres:
        start_a_process(HETAO_DATABASE_URL=postgres.url)

It is the kit's own launcher (kit.postgres), run from plain code: its event loop is a thread here.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import tempfile
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import quote

import asyncpg
import psutil

from engines import free_port
from kit.database import scram_verifier
from kit.folders import make_data_dir
from kit.postgres import SUPERUSER, EmbeddedPostgres, leftovers
from kit.secretfile import read_secret, write_secret

T = TypeVar("T")


class Postgres:
    """`folder`: of the data, a temporary one if None; `database`: the one that `url` names, made at the first start.

    Port and password are kept in the folder: the address stays the same over every restart. `durable`: False skips fsync, for tests; a killed
    process still loses nothing.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        database: str = "hetao",
        durable: bool = True,
        options: dict[str, str] | None = None,
        binaries: Path | None = None,
    ):
        self._temporary = folder is None
        self.folder = folder or _open_folder()
        self.database, self._durable = database, durable
        self._options, self._binaries = {"max_connections": "200", **(options or {})}, binaries
        self._server: EmbeddedPostgres | None = None
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- its life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Returns when it takes connections: after 1 s the first time, then 0.3 s. What was left of a killed run ends first. Raises `StartupError`."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop.run_forever, name="postgres", daemon=True)
            self._thread.start()
        if not self.alive:
            self._do(self._start())

    def stop(self) -> None:
        """Its fast stop: what is not committed is undone."""
        if self._server:
            self.resume()
            self._do(self._server.stop())

    def kill(self) -> None:
        """SIGKILL to the postmaster; its other processes follow. `start` recovers what was committed."""
        if self._server and self._server.pid:
            postmaster = psutil.Process(self._server.pid)
            self.resume()
            postmaster.kill()
            self._do(self._server.stop())

    def pause(self) -> None:
        """It stands still as a whole: connections stay open and nobody answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Stops it for good; its temporary folder goes."""
        if self._thread:
            self.stop()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._thread = None
        if not self._loop.is_closed():
            self._loop.close()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    # -- how it is ----------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """Of the postmaster, while it runs."""
        return self._server.pid if self._server else None

    @property
    def alive(self) -> bool:
        return self.pid is not None

    @property
    def port(self) -> int:
        return int(self._kept("postgres.port", lambda: str(free_port())))

    @property
    def password(self) -> str:
        return self._kept("postgres.secret", lambda: secrets.token_urlsafe(24))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Of an account that may make roles and schemas: HETAO_DATABASE_URL."""
        return f"postgresql://{SUPERUSER}:{quote(self.password)}@{self.address}/{quote(self.database)}"

    # -- inside -------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._server = EmbeddedPostgres(
            self.folder,
            binaries=self._binaries,
            options=self._options,
            durable=self._durable,
            port=self.port,
            revive=False,
        )
        await self._server.start()
        connection = await asyncpg.connect(self._server.dsn())
        try:
            await connection.execute(f"alter role {SUPERUSER} password '{scram_verifier(self.password)}'")
            if not await connection.fetchval("select true from pg_database where datname = $1", self.database):
                await connection.execute(f'create database "{self.database}" template template0')
        finally:
            await connection.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _signal(self, number: signal.Signals) -> None:
        """To all of its processes, the postmaster first: it makes no new ones then."""
        if self.pid:
            for process in sorted(leftovers(self.folder / "postgres"), key=lambda one: one.pid != self.pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)

    def _kept(self, name: str, make: Any) -> str:
        file = self.folder / name
        if not file.exists():
            make_data_dir(self.folder)  # as PostgreSQL's user must find it
            write_secret(file, make())
        return read_secret(file).strip()


def _open_folder() -> Path:
    """A temporary one that PostgreSQL's unprivileged user can walk into."""
    folder = Path(tempfile.mkdtemp(prefix="hetao-postgres-", dir="/tmp"))
    folder.chmod(0o711)
    return folder
