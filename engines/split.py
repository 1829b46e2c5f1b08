"""The whole platform as separate processes on real engines: one or several of every service, a gateway, Kafka, PostgreSQL and Redis.

    with Split(folder) as split:
        call(split.address)                       # REST
        split.parts["cases"].program.kill()

Only configuration tells these processes from the one of `--target=all`.
"""

from __future__ import annotations

import asyncio
import fcntl
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

import asyncpg

from engines import free_port
from engines.kafka import Kafka
from engines.postgres import Postgres
from engines.process import Program, bare_environment
from engines.redis import Redis
from kit.config import CHECKOUT, Settings, load
from kit.errors import StartupError
from kit.events import topic_of
from kit.folders import make_data_dir, why
from kit.log import lag
from kit.log.kafka import KafkaLog
from kit.log.topics import apply
from services.registry import NAMES, module

#: Seconds until every process must be ready, the first time with a new database and all its data.
PATIENCE = 120.0

#: The services, in the order of their gRPC ports: other systems come to `cases` first.
SERVICES = sorted((name for name in NAMES if name != "gateway"), key=lambda name: (name != "cases", name))


@dataclass(slots=True)
class Part:
    """A process of the platform and the ports that it listens on, 0 for none. `name`: the service's, with a number where there are several."""

    name: str
    service: str
    http: int
    grpc: int
    ops: int
    program: Program

    def readiness(self) -> dict[str, Any] | None:
        """What /readyz says; None while nobody answers there."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ops, timeout=2)
        try:
            connection.request("GET", "/readyz")
            told: dict[str, Any] = json.loads(connection.getresponse().read())
            return told
        except (OSError, ValueError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    @property
    def ready(self) -> bool:
        told = self.readiness()
        return told is not None and not told["waitingFor"]


class Split:
    """`data`: the data folder; the engines' own data lie in its `split`. `replicas`: processes of each service and gateways.

    http, grpc    port of the (first) gateway, and the first of the services' gRPC ports, which follow one another as the ports of operators do,
                  100 above them; any free ones if 0
    settings      HETAO_… of every process, over ours
    program       the command `hetao`; `more` is its environment beside the settings
    durable       False: PostgreSQL skips fsync, for tests
    tied          the processes end with the thread that starts them (Kafka always does, on Linux)
    """

    def __init__(
        self,
        data: Path,
        *,
        http: int = 0,
        grpc: int = 0,
        replicas: int = 1,
        settings: Mapping[str, str] | None = None,
        program: Sequence[str] = (sys.executable, "-m", "services"),
        more: Mapping[str, str] | None = None,
        durable: bool = True,
        tied: bool = False,
    ):
        self.data, self.folder = data, data / "split"
        self._http, self._grpc, self._replicas = http, grpc, replicas
        self._settings, self._command, self._tied = dict(settings or {}), list(program), tied
        self._more = dict(more or {})
        self._lock: IO[str] | None = None
        self.postgres = Postgres(self.folder / "postgres", durable=durable)
        self.kafka = Kafka(self.folder / "kafka")
        self.redis = Redis(self.folder / "redis", tied=tied)
        self.parts: dict[str, Part] = {}

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- up -----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Everything, and returns when all of it is ready. Raises `StartupError`."""
        self.start_engines()
        self.begin()
        self.until_ready()

    def prepare(self) -> None:
        """Ends what a killed run left behind. Raises `StartupError` where another one runs on the folder, or a port is taken."""
        self._take_lock()
        waiting = [part for part in self.parts.values() or self._lay_out() if not part.program.alive]
        for part in waiting:
            part.program.end_leftover()
        for part in waiting:
            if self._http and part.http:
                _check_free(part.http, "HETAO_HTTP__PORT")
            if self._grpc:
                for port in filter(None, (part.grpc, part.ops)):
                    _check_free(port, "HETAO_GRPC__PORT")

    def start_engines(self) -> None:
        """Those that do not run."""
        self.prepare()
        with ThreadPoolExecutor(
            1
        ) as pool:  # PostgreSQL beside Kafka, which must be started by this thread: it ends with it
            postgres = pool.submit(self.postgres.start)
            if not self.redis.alive:
                self.redis.start()
            self.kafka.start()
            postgres.result()

    def begin(self) -> None:
        """Starts every process of the platform that does not run, in no order: each waits for what it needs. Topics are made meanwhile."""
        self.begin_parts()
        self.make_topics()

    def begin_parts(self) -> None:
        for part in self.parts.values() or self._lay_out():
            if not part.program.alive:
                part.program.environment = self.environment(part)
                part.program.begin()

    def make_topics(self) -> None:
        """`hetao topics apply`, without another start of Python."""
        asyncio.run(apply(self._log_settings(), SERVICES))

    def _log_settings(self) -> Settings:
        """What concerns topics, as the processes have it."""
        chosen: dict[str, dict[str, str]] = {"kafka": {"bootstrap": self.kafka.address}}
        for name, value in self._settings.items():
            section, _, key = name.removeprefix("HETAO_").lower().partition("__")
            if section in ("kafka", "log", "retention"):
                chosen.setdefault(section, {})[key] = value
        return load(**chosen)

    def command(self, *words: str, seconds: float = 120.0) -> str:
        """What `hetao WORDS` beside the platform says. Raises `StartupError` with what it complains of."""
        command = [*self._command, *words]
        done = subprocess.run(
            command, cwd=CHECKOUT, env=self.environment(), capture_output=True, text=True, timeout=seconds, check=False
        )
        if done.returncode:
            said = done.stderr.strip()
            raise StartupError(f"hetao {' '.join(words)}：\n{said}", f"hetao {' '.join(words)}:\n{said}")
        return done.stdout

    def until_ready(self, seconds: float = PATIENCE) -> None:
        """Raises `StartupError` when a process ends, or is not ready in time."""
        end = time.monotonic() + seconds
        for part in self.parts.values():
            while not part.ready:
                if not part.program.alive:
                    raise failed(part, f"以 {part.program.exit_status} 退出", f"ended with {part.program.exit_status}")
                if time.monotonic() > end:
                    waits = (part.readiness() or {}).get("waitingFor")
                    raise failed(part, f"未就绪，等待 {waits}", f"is not ready, it waits for {waits}")
                time.sleep(0.05)

    def behind(self) -> dict[str, int]:
        """By service, the events that it has not sent yet or not heard yet; empty when all that was said is in effect."""
        return asyncio.run(self._behind())

    def log(self) -> KafkaLog:
        """The event log, to look into; to be closed."""
        return KafkaLog.of(self._log_settings())

    async def _behind(self) -> dict[str, int]:
        found = {}
        log = self.log()
        try:
            connection = await asyncpg.connect(self.postgres.url)
            try:
                for name in SERVICES:
                    waiting = await connection.fetchval(f'select count(*) from "{name}".outbox')
                    found[name] = waiting + await lag(log, name, [topic_of(heard) for heard in module(name).hears])
            finally:
                await connection.close()
        finally:
            await log.close()
        return {name: count for name, count in found.items() if count}

    # -- down ---------------------------------------------------------------------------------------------------------

    def stop_parts(self) -> None:
        """As Ctrl-C does: gateways finish their requests first, then the services."""
        gateways = [part.program for part in self.parts.values() if part.service == "gateway"]
        services = [part.program for part in self.parts.values() if part.service != "gateway"]
        for programs in (gateways, services):
            for program in programs:
                program.interrupt()
            for program in programs:
                program.stop()

    def kill_parts(self) -> None:
        """SIGKILL for every process of the platform; the engines go on."""
        for part in self.parts.values():
            part.program.kill()

    def stop_engines(self) -> None:
        self.redis.stop()
        self.kafka.stop()
        self.postgres.stop()

    def stop(self) -> None:
        self.stop_parts()
        self.stop_engines()

    def close(self) -> None:
        """Stops whatever runs of it."""
        self.stop_parts()
        self.redis.close()
        self.kafka.close()
        self.postgres.close()
        if self._lock:
            self._lock.close()
            self._lock = None

    # -- what it is ---------------------------------------------------------------------------------------------------

    @property
    def gateways(self) -> list[Part]:
        self.parts or self._lay_out()
        return [part for part in self.parts.values() if part.service == "gateway"]

    @property
    def address(self) -> str:
        """Of REST; with several gateways, the first one's."""
        return f"http://127.0.0.1:{self.gateways[0].http}"

    def addresses(self) -> dict[str, str]:
        """Of each service over gRPC, all its replicas."""
        parts = [part for part in self.parts.values() or self._lay_out() if part.grpc]
        return {name: ",".join(f"127.0.0.1:{part.grpc}" for part in parts if part.service == name) for name in SERVICES}

    def settings(self) -> dict[str, str]:
        """What all processes and commands beside them share. Kafka must have been started once."""
        return {
            "HETAO_DATA_DIR": str(self.data),
            "HETAO_DATABASE_URL": self.postgres.url,
            "HETAO_KAFKA__BOOTSTRAP": self.kafka.address,
            "HETAO_REDIS_URL": self.redis.url,
            "HETAO_GRPC__ADDRESSES": json.dumps(self.addresses()),
            "HETAO_HTTP__PUBLIC_URL": self.address,
            **self._settings,
        }

    def environment(self, part: Part | None = None) -> dict[str, str]:
        """Of a process, or of a command beside them; none of our settings comes from outside."""
        own = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'gen'}"}
        if part:
            own["HETAO_OPS__PORT"] = str(part.ops)
            own["HETAO_HTTP__PORT" if part.service == "gateway" else "HETAO_GRPC__PORT"] = str(part.http or part.grpc)
        return bare_environment(**own, **self._more, **self.settings())

    def _lay_out(self) -> Iterator[Part]:
        """Names, ports and programs of all processes, once."""
        grpc = _from(self._grpc)
        ops = _from(self._grpc and self._grpc + 100)
        http = _from(self._http)
        for service in [*SERVICES, "gateway"]:
            for number in range(1, self._replicas + 1):
                name = f"{service}-{number}" if self._replicas > 1 else service
                program = Program(
                    name,
                    [*self._command, "serve", f"--target={service}"],
                    self.folder / name,
                    directory=CHECKOUT,
                    tied=self._tied,
                )
                web = service == "gateway"
                self.parts[name] = Part(
                    name, service, next(http) if web else 0, 0 if web else next(grpc), next(ops), program
                )
        return iter(list(self.parts.values()))

    def _take_lock(self) -> None:
        if self._lock:
            return
        make_data_dir(self.data)
        make_data_dir(self.folder)
        lock = (self.folder / "lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "?"
            lock.close()
            raise StartupError(
                f"平台已在分进程运行（进程 {holder}，数据目录 {self.data}）；请先停止它，或用 HETAO_DATA_DIR 另选目录",
                f"the platform already runs split (process {holder}, data in {self.data}): stop it or choose another HETAO_DATA_DIR",
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock


def _from(first: int) -> Iterator[int]:
    """Ports that follow one another; any free ones from 0."""
    while True:
        yield first or free_port()
        first += bool(first)


def _check_free(port: int, variable: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            zh, en = why(error)
            raise StartupError(
                f"无法监听 127.0.0.1:{port}：{zh}；可用 {variable} 另选",
                f"cannot listen on 127.0.0.1:{port}: {en}; choose another with {variable}",
            ) from None


def failed(part: Part, zh: str, en: str) -> StartupError:
    last = part.program.said(8) or "-"
    return StartupError(f"{part.name} {zh}：\n{last}", f"{part.name} {en}:\n{last}")
