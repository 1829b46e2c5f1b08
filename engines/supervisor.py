"""`make run-split`: the whole platform as separate processes, its states as they are, until Ctrl-C.

What dies is said, with its last words, and started again; a process that dies again and again is given more and more time in between.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table

from engines import kafka, redis
from engines.process import Program
from engines.split import Part, Split
from kit.config import PREFIX, TOKEN_VARIABLE, Settings
from kit.errors import StartupError
from kit.secretfile import write_secret

#: What this command decides, and nobody else.
OURS = (
    "DATABASE_URL",
    "DATABASE__URLS",
    "KAFKA__BOOTSTRAP",
    "REDIS_URL",
    "GRPC__ADDRESSES",
    "HTTP__PUBLIC_URL",
    "OPS__PORT",
)

#: Seconds between two looks while something is on its way, and at rest; and until what died is started again, at first and at most.
SOON, REST = 0.1, 1.0
PAUSE, LONGEST_PAUSE = 0.5, 30.0

#: Seconds of a life after which a death counts as the first one.
LONG_LIFE = 60.0

READY, STARTING = "就绪 · ready", "启动中 · starting"


@dataclass(slots=True)
class Line:
    """What is watched: an engine, or a process of the platform."""

    name: str
    where: str
    pid: Callable[[], int | None]
    state: Callable[[], str]
    again: Callable[[], None]
    last_words: Callable[[], str]
    shown: str = ""
    began: float = 0.0
    pause: float = PAUSE
    due: float | None = None


class Supervisor:
    def __init__(self, settings: Settings):
        outside = {
            name: value for name, value in os.environ.items() if name.startswith(PREFIX) and name != TOKEN_VARIABLE
        }
        if taken := [name for name in outside if name.startswith(tuple(PREFIX + one for one in OURS))]:
            raise StartupError(
                f"分进程运行时自带各项引擎，请不要设置 {', '.join(sorted(taken))}",
                f"the split platform brings its own engines: do not set {', '.join(sorted(taken))}",
            )
        for name in ("DATA_DIR", "HTTP__PORT", "GRPC__PORT"):
            outside.pop(PREFIX + name, None)
        http, grpc = settings.http.port, settings.grpc.port
        self.split = Split(settings.data_dir, http=http, grpc=grpc, settings=outside, tied=True)
        self.console = Console(highlight=False, soft_wrap=True)
        self.lines: list[Line] = []
        self._live: Live | None = None
        self._began = time.monotonic()

    # -- its life -----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until Ctrl-C. Raises `StartupError` where it cannot start; then nothing of it runs."""
        # Told to end, or the terminal was closed: as Ctrl-C, which a shell has its background jobs ignore.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler)
        try:
            with self._shown():
                self._start()
                self._watch()
        except KeyboardInterrupt:
            for number in (signal.SIGTERM, signal.SIGHUP):  # a terminal that goes says so more than once
                signal.signal(number, signal.SIG_IGN)
            self._say("停止：先网关，再各服务，最后引擎", "stopping: gateway, services, engines")
        finally:
            try:
                self.split.close()
            except KeyboardInterrupt:  # a second time: without waiting for anybody
                self.split.kill_parts()
                self.split.close()
        self._say("已停止", "stopped")

    def _start(self) -> None:
        for bring in (redis.fetch, kafka.fetch):
            bring(self._say)
        self.split.prepare()
        with self._step("Kafka、PostgreSQL、Redis", "Kafka, PostgreSQL, Redis"):
            self.split.start_engines()
        self.lines = [*self._engines(), *map(self._part, self.split.parts.values())]
        with self._step("各进程就绪", "processes ready"):
            self.split.begin()
            write_secret(self.environment_file, self._environment())
            while not all(part.ready for part in self.split.parts.values()):
                self._look()
                time.sleep(SOON)
            self._look()
        with self._step("首批事件生效", "first events in effect"):
            while self.split.behind():
                self._look()
                time.sleep(SOON)
        self._welcome(time.monotonic() - self._began)

    def _watch(self) -> None:
        while True:
            time.sleep(REST if self._look() else SOON)

    def _look(self) -> bool:
        """Shows how everything is, and brings back what has died. Whether all is as it should be."""
        for line in self.lines:
            state, now = line.state(), time.monotonic()
            if line.pid() is None:
                self._bring_back(line, state, now)
            elif line.due is not None:
                line.due, line.began = None, now
            if state != line.shown and not self._live:
                self.console.print(f"{now - self._began:6.1f} s  {line.name:<12}{state}", markup=False)
            line.shown = state
        if self._live:
            self._live.update(self._table())
        return all(line.shown == READY for line in self.lines)

    def _bring_back(self, line: Line, state: str, now: float) -> None:
        if line.due is None:
            line.pause = PAUSE if now - line.began > LONG_LIFE else min(line.pause * 2, LONGEST_PAUSE)
            line.due = now + line.pause
            self._say(
                f"{line.name} {state}，{line.pause:.0f} 秒后重新启动；它最后说：",
                f"{line.name} is started again in {line.pause:.0f} s; the last that it said:",
            )
            self.console.print(line.last_words() or "-", markup=False)
        elif now >= line.due:
            line.due, line.began = None, now
            try:
                line.again()
            except StartupError as error:
                self._say(error.zh, error.en)

    # -- what there is ------------------------------------------------------------------------------------------------

    def _engines(self) -> Iterator[Line]:
        split = self.split

        def said_in(file: Path) -> Callable[[], str]:
            return lambda: "\n".join(file.read_text(errors="replace").splitlines()[-5:]) if file.exists() else ""

        for name, engine, log in (
            ("PostgreSQL", split.postgres, split.postgres.folder / "postgres.log"),
            ("Kafka", split.kafka, split.kafka.log_file),
            ("Redis", split.redis, split.redis.folder / "said.log"),
        ):

            def state(engine: object = engine) -> str:
                return READY if getattr(engine, "pid", None) else "已退出 · ended"

            def pid(engine: object = engine) -> int | None:
                found: int | None = getattr(engine, "pid", None)
                return found

            yield Line(name, engine.address, pid, state, engine.start, said_in(log), began=time.monotonic())

    def _part(self, part: Part) -> Line:
        program = part.program
        where = f"127.0.0.1:{part.http or part.grpc}"
        return Line(
            part.name,
            where,
            lambda: program.pid,
            lambda: _state(part, program),
            program.begin,
            lambda: program.said(5),
            began=time.monotonic(),
        )

    def _table(self) -> Table:
        table = Table(
            "名称 · name", "进程 · pid", "地址 · address", "状态 · state", box=None, pad_edge=False, header_style="bold"
        )
        for line in self.lines:
            colour = "green" if line.shown == READY else "yellow"
            table.add_row(line.name, str(line.pid() or "-"), line.where, f"[{colour}]{line.shown}")
        return table

    # -- what is said -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _shown(self) -> Iterator[None]:
        if not self.console.is_terminal:
            yield
            return
        self._live = Live(console=self.console, refresh_per_second=4, transient=True)
        self._live.start()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self._live.stop()

    @contextlib.contextmanager
    def _step(self, zh: str, en: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.console.print(f"  ✓ {zh} · {en}  {time.monotonic() - began:.1f} s", markup=False)

    def _say(self, zh: str, en: str) -> None:
        with contextlib.suppress(OSError):  # nobody listens any more
            self.console.print(f"{zh} · {en}", markup=False)

    @property
    def environment_file(self) -> Path:
        """For a shell: the settings of commands beside the platform. It holds the database's password."""
        return self.split.folder / "environment"

    def _environment(self) -> str:
        return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in self.split.settings().items())

    def _welcome(self, seconds: float) -> None:
        say, split = self.console.print, self.split
        say(f"\n河套已分进程就绪（{seconds:.1f} 秒） · Hetao is ready, in separate processes ({seconds:.1f} s)\n")
        rest, hetao = split.address, _near(Path(sys.executable).with_name("hetao"))
        say(f"  REST   {rest}      文档 · docs  {rest}/docs")
        say("  gRPC   " + "   ".join(f"{name} {where}" for name, where in split.addresses().items()))
        ops = "   ".join(f"{part.name} {part.ops}" for part in split.parts.values())
        say(f"  运维 · operators   http://127.0.0.1:PORT/readyz   {ops}")
        say(f"  数据 · data  {split.data}")
        say("\n试一试，在另一个终端中 · try, in another terminal:\n")
        for line in (
            f"TOKEN=$({hetao} token dispatcher)",
            f"curl -H \"Authorization: Bearer $TOKEN\" '{rest}/v1/divisions:search?query=linhe'",
            f"curl -H \"Authorization: Bearer $TOKEN\" '{rest}/v1/cases?division=150802'",
            f"curl http://127.0.0.1:{split.parts['cases'].ops}/readyz",
            f"(. {_near(self.environment_file)} && {hetao} rebuild cases)",
            f"kill -9 {split.parts['cases'].program.pid}    # cases",
        ):
            say(f"  {line}", markup=False)
        say("\nCtrl-C 停止 · stops\n")


def _state(part: Part, program: Program) -> str:
    if not program.alive:
        return f"已退出（{program.exit_status}） · ended with {program.exit_status}"
    told = part.readiness()
    if told is None:
        return STARTING
    if waits := [name for name in told["waitingFor"] if name != "start"]:
        return f"等待 · waits for {', '.join(waits)}"
    if told["waitingFor"]:
        return STARTING
    return f"就绪，缺 · ready, without {', '.join(told['away'])}" if told["away"] else READY


def _near(path: Path) -> str:
    """As a person in the present folder would write it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
