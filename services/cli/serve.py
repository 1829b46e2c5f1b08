"""`hetao serve`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import asyncpg
import click
import psutil
import uvloop

from kit import logs
from kit.config import Settings, load
from kit.errors import StartupError
from kit.folders import why
from kit.module import POSTGRES, Module
from kit.platform import Platform
from kit.postgres import holder
from services.cli import err, out


@click.command()
@click.option("--target", default="all", help="all，或以逗号分隔的服务名 · all, or services separated by commas")
def serve(target: str) -> None:
    """启动平台并一直运行；Ctrl-C 先完成进行中的请求再停止。

    Starts the platform and serves until Ctrl-C, which finishes the requests under way first.
    """
    settings = load()
    logs.set_up(settings.telemetry)
    modules = chosen(target)
    with _plainly(settings):
        check_ports(settings, modules)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, modules))


def chosen(target: str) -> Sequence[Module]:
    """The modules of a target, in the order of the registry."""
    from services.registry import NAMES, module

    names = set(NAMES) if target == "all" else set(filter(None, target.split(",")))
    if unknown := names - set(NAMES):
        known = ", ".join(NAMES)
        raise StartupError(
            f"没有服务 {', '.join(sorted(unknown))}；可选：all, {known}",
            f"there is no service {', '.join(sorted(unknown))}; there are: all, {known}",
        )
    return [module(name) for name in NAMES if name in names]


async def _serve(settings: Settings, modules: Sequence[Module]) -> None:
    from services.registry import KEEPER

    began = time.monotonic()
    stop = asyncio.Event()
    this = asyncio.current_task()
    assert this is not None
    ready = False

    def stopped() -> None:
        if ready and not stop.is_set():
            stop.set()
        else:  # while it starts, or a second time: without waiting for anybody
            this.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped)
    steps = Steps()
    try:
        async with Platform(settings, modules, progress=steps, keeper=KEEPER) as platform:
            running = asyncio.create_task(platform.until_stopped(stop))
            await _listening(settings, modules, running)
            ready = True
            spare_the_collector()
            steps.end()
            welcome(settings, modules, time.monotonic() - began)
            await running
            steps("停止：完成进行中的请求", "stopping: finishing the requests under way")
    except asyncio.CancelledError:
        pass
    finally:
        steps.end()
    err.print("已停止 · stopped")


def spare_the_collector() -> None:
    """What the start made lives as long as the process and need not be looked through again and again; requests leave next to nothing in cycles.

    A tenth of the process's time in case lifecycles, and the longest pauses of all.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


async def _listening(settings: Settings, modules: Sequence[Module], running: asyncio.Task[None]) -> None:
    """Returns when REST takes connections; raises what stopped the platform meanwhile."""
    address = (settings.http.host, settings.http.port)
    while settings.http.port and any(module.name == "gateway" for module in modules):
        if running.done():
            await running
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(*address)
            writer.close()
            return
        await asyncio.sleep(0.02)


class Steps:
    """Shows what the start is at, and how long each step took."""

    def __init__(self) -> None:
        self._line, self._began = "", 0.0
        self._status = err.status("") if err.is_terminal else None

    def __call__(self, zh: str, en: str) -> None:
        self.end()
        self._line, self._began = f"{zh} · {en}", time.monotonic()
        if self._status:
            self._status.update(self._line)
            self._status.start()

    def end(self) -> None:
        if not self._line:
            return
        if self._status:
            self._status.stop()
        err.print(f"  ✓ {self._line}  {time.monotonic() - self._began:.1f} s", markup=False)
        self._line = ""


def welcome(settings: Settings, modules: Sequence[Module], seconds: float) -> None:
    """Where everything is, and four commands to try."""
    rest, grpc = settings.public_url, f"{settings.grpc.host}:{settings.grpc.port}"
    out.print(f"\n河套已就绪（{seconds:.1f} 秒） · Hetao is ready ({seconds:.1f} s)\n")
    if any(module.name == "gateway" for module in modules):
        out.print(f"  REST   {rest}      文档 · docs  {rest}/docs")
    if has_rpc(modules):
        out.print(f"  gRPC   {grpc}")
    if settings.ops.port:
        out.print(f"  运维 · operators   http://{settings.ops.host}:{settings.ops.port}/readyz")
    if settings.embedded and has_rpc(modules):
        out.print(f"  数据 · data  {settings.data_dir}")
    if len(modules) > 1 and settings.profile == "embedded" and settings.identity.issuer is None:
        hetao = _shown(Path(sys.argv[0]))
        out.print("\n试一试，在另一个终端中 · try, in another terminal:\n")
        for line in (
            f"TOKEN=$({hetao} token dispatcher)",
            f"curl -H \"Authorization: Bearer $TOKEN\" '{rest}/v1/divisions:search?query=linhe'",
            f"curl -H \"Authorization: Bearer $TOKEN\" '{rest}/v1/cases?division=150802'",
            f"{hetao} deadline explain cases.dispute.general",
        ):
            out.print(f"  {line}", markup=False)
    out.print("\nCtrl-C 停止 · stops\n")


def has_rpc(modules: Sequence[Module]) -> bool:
    """Whether any of them serves RPCs: all that store something do."""
    return any(POSTGRES in module.engines for module in modules)


def _shown(program: Path) -> str:
    """As a person in the present folder would call it."""
    with contextlib.suppress(ValueError):
        return str(program.resolve().relative_to(Path.cwd()))
    return str(program)


def check_ports(settings: Settings, modules: Sequence[Module]) -> None:
    """Before anything is started: is the platform running already, or is a port taken?"""
    if settings.embedded and has_rpc(modules) and (pid := holder(settings.data_dir)):
        raise StartupError(
            f"平台已在运行（进程 {pid}，数据目录 {settings.data_dir}）；请先停止它，或用 HETAO_DATA_DIR 另选目录",
            f"the platform already runs (process {pid}, data in {settings.data_dir}): stop it or choose another HETAO_DATA_DIR",
        )
    wanted = []
    if has_rpc(modules):
        wanted.append(("HETAO_GRPC__PORT", settings.grpc.host, settings.grpc.port))
    if any(module.name == "gateway" for module in modules):
        wanted.append(("HETAO_HTTP__PORT", settings.http.host, settings.http.port))
    if settings.ops.port:
        wanted.append(("HETAO_OPS__PORT", settings.ops.host, settings.ops.port))
    for variable, host, port in wanted:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    zh, en = why(error)
                    raise StartupError(
                        f"无法监听 {host}:{port}：{zh}", f"cannot listen on {host}:{port}: {en}"
                    ) from None
                user = _user_of(port)
                raise StartupError(
                    f"端口 {port} 已被占用{user and f'（进程 {user}）'}，可用 {variable} 另选",
                    f"port {port} is taken{user and f' (by process {user})'}: choose another with {variable}",
                ) from None


def _user_of(port: int) -> str:
    """The process that listens on a port, as far as we may know."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:2] == (port,) and connection.pid:
                return f"{connection.pid} {psutil.Process(connection.pid).name()}"
    return ""


@contextlib.contextmanager
def _plainly(settings: Settings) -> Iterator[None]:
    """One line for a full disk and for what the operating system refuses."""
    try:
        yield
    except asyncpg.DiskFullError:
        raise StartupError(f"磁盘空间不足：{settings.data_dir}", f"the disk is full: {settings.data_dir}") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StartupError(f"磁盘空间不足：{settings.data_dir}", f"the disk is full: {settings.data_dir}") from None
        where = f" {error.filename}" if error.filename else ""
        zh, en = why(error)
        raise StartupError(f"无法启动：{zh}{where}", f"cannot start: {en}{where}") from error
