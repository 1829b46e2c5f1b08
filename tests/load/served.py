"""The real platform for a benchmark: `hetao serve` in a process of its own, on a folder of its own, stopped by its id."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil

from kit.clock import Clock
from kit.config import CHECKOUT, DATA, Settings, load
from kit.issuer import DemoIssuer
from kit.postgres import EmbeddedPostgres

#: Seconds that a start may take on a loaded machine.
PATIENCE = 120.0


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder that PostgreSQL's unprivileged user can walk into."""
    made = Path(tempfile.mkdtemp(prefix="hetao-bench-", dir="/tmp"))
    made.chmod(0o711)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds and memory (MiB): `resident` of the process, `postgres` of PostgreSQL with its shared buffers counted once."""

    process_cpu: float
    postgres_cpu: float
    resident: float
    postgres: float


class Served:
    """A platform that runs. `ready_after`: seconds from the command to the first answer of /readyz."""

    def __init__(self, process: subprocess.Popen[bytes], settings: Settings, ready_after: float):
        self.process, self.settings, self.ready_after = process, settings, ready_after
        self._issuer = DemoIssuer.running(settings, Clock(), DATA / "demo" / "accounts.toml")

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.settings.grpc.port}"

    @property
    def rest(self) -> tuple[str, int]:
        return "127.0.0.1", self.settings.http.port

    def token(self, account: str) -> str:
        return self._issuer.mint(account)

    def dsn(self, database: str = "") -> str:
        """Of PostgreSQL's superuser."""
        return EmbeddedPostgres(self.settings.data_dir).dsn(database=database or self.settings.database.name)

    async def connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(self.dsn())

    def usage(self) -> Usage:
        process = psutil.Process(self.process.pid)
        user, system, *_ = process.cpu_times()
        servers = [child for child in process.children(recursive=True) if _is_server(child)]
        spent = sum(_spent(server, process.pid) for server in servers)
        return Usage(
            user + system,
            spent,
            process.memory_info().rss / 2**20,
            sum(_proportional(server.pid) for server in servers) / 2**10,
        )


def _is_server(child: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return "postgres" in child.name()
    return False


def _spent(server: psutil.Process, platform: int) -> float:
    """CPU seconds of a server process; what ended backends used is in their parent's "children" times. 0 when it has just ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return float(sum(server.cpu_times()[: 4 if server.ppid() == platform else 2]))
    return 0.0


def _proportional(pid: int) -> int:
    """Memory of a process in KiB, pages that it shares divided by their users (PSS); 0 when it has just ended."""
    with contextlib.suppress(OSError):
        found = re.search(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE)
        return int(found[1]) if found else 0
    return 0


@contextlib.asynccontextmanager
async def serve(data: Path, *, command: tuple[str, ...] = ("-m", "services", "serve")) -> AsyncIterator[Served]:
    """Starts the platform on a folder and returns when it is ready. What it says goes to `serve.log` there."""
    ports = {"HETAO_HTTP__PORT": str(free_port()), "HETAO_GRPC__PORT": str(free_port())}
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("HETAO_")},
        "HETAO_DATA_DIR": str(data),
        "PYTHONPATH": f"{CHECKOUT}:{CHECKOUT / 'gen'}",
        # One account does the work of a whole city here; it is counted as ever.
        "HETAO_LIMITS__READS": "100000000",
        "HETAO_LIMITS__WRITES": "100000000",
        **ports,
    }
    settings = load(
        data_dir=data,
        http={"port": int(ports["HETAO_HTTP__PORT"])},
        grpc={"port": int(ports["HETAO_GRPC__PORT"])},
    )
    with (data / "serve.log").open("ab") as log:
        started = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, *command], cwd=CHECKOUT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        await _ready(process, settings, data)
        yield Served(process, settings, time.monotonic() - started)
    finally:
        await stop(process)


async def _ready(process: subprocess.Popen[bytes], settings: Settings, data: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        if process.poll() is not None or time.monotonic() > deadline:
            said = (data / "serve.log").read_text(errors="replace")[-2000:]
            raise RuntimeError(f"the platform did not start:\n{said}")
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            reader, writer = await asyncio.open_connection("127.0.0.1", settings.http.port)
            writer.write(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            answer = await reader.readline()
            writer.close()
            if b" 200 " in answer:
                return
        await asyncio.sleep(0.02)


async def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a program that we started, gently at first."""
    for number, seconds in ((signal.SIGINT, 30.0), (signal.SIGKILL, 10.0)):
        if process.poll() is not None:
            return
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            await asyncio.to_thread(process.wait, seconds)
