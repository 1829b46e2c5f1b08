"""A Redis of our own, on loopback and without persistence: it holds only what may be lost.

    with Redis() as redis:
        redis.url                       # redis://127.0.0.1:34567/0

`redis-server` of the machine is used where there is one. Else Debian's packages are unpacked, not installed, into build/engines/redis.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Self

from engines import BUILD, alone, free_port
from engines.process import Program, bare_environment
from kit.errors import StartupError

UNPACKED = BUILD / "redis"

#: The server (in `tools`; the package `server` has its start scripts alone, which are not needed) and the libraries that a bare system lacks.
PACKAGES = ("redis-tools", "libjemalloc2", "liblua5.1-0", "liblzf1")


class Redis:
    """`folder`: of its log and its note, a temporary one if None. It keeps its port over a restart. `tied`: see `Program`."""

    def __init__(self, folder: Path | None = None, port: int | None = None, *, tied: bool = False):
        self._tied = tied
        self._temporary = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="hetao-redis-", dir="/tmp"))
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"redis://{self.address}/0"
        self._program: Program | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def program(self) -> Program:
        if self._program is None:
            server, libraries = fetch()
            options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
            more = {"LD_LIBRARY_PATH": os.pathsep.join(map(str, libraries))} if libraries else {}
            self._program = Program(
                "redis",
                [server, *options, "--dir", self.folder, "--daemonize", "no", "--maxmemory", "128mb"],
                self.folder,
                environment=bare_environment(**more),
                ready=self._answers,
                tied=self._tied,
            )
        return self._program

    def start(self) -> None:
        """Returns when it answers; 0.1 s. Raises `StartupError`."""
        self.program.start()

    def stop(self) -> None:
        if self._program:
            self._program.stop()

    def kill(self) -> None:
        """SIGKILL; `start` brings it back on the same port, empty."""
        self.program.kill()

    def pause(self) -> None:
        self.program.pause()

    def resume(self) -> None:
        self.program.resume()

    @property
    def pid(self) -> int | None:
        return self._program.pid if self._program else None

    @property
    def alive(self) -> bool:
        return self._program is not None and self._program.alive

    def close(self) -> None:
        """Stops it; its temporary folder goes."""
        self.stop()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


def fetch(progress: Callable[[str, str], None] = lambda zh, en: None) -> tuple[Path, list[Path]]:
    """The program, and the folders of its libraries; brought here, once, if the machine has none. `progress(zh, en)` is told so.

    Raises `StartupError` where neither can be had, and says how to mend it.
    """
    if found := shutil.which("redis-server"):
        return Path(found), []
    with alone("redis"):
        if not UNPACKED.exists():
            progress("下载 Redis（Debian 软件包）", "downloading Redis (Debian packages)")
            with tempfile.TemporaryDirectory(dir=BUILD) as folder:
                _unpack(Path(folder)).rename(UNPACKED)
    return UNPACKED / "usr" / "bin" / "redis-server", sorted({one.parent for one in UNPACKED.glob("usr/lib/**/*.so*")})


def missing() -> str | None:
    """Why there can be no Redis on this machine, in both languages; None if there can."""
    try:
        if not shutil.which("redis-server") and not UNPACKED.exists():
            _need_apt()
    except StartupError as error:
        return str(error)
    return None


def _need_apt() -> None:
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise _missing("本机没有 apt-get", "this machine has no apt-get")


def _unpack(folder: Path) -> Path:
    """The folder that holds `usr`."""
    _need_apt()
    downloaded = _apt(folder, ["download", *PACKAGES], [])
    if downloaded.returncode:  # the machine's lists are missing or old: lists of our own need no root
        lists = folder / "apt"
        for name in ("state/lists/partial", "cache/archives/partial"):
            (lists / name).mkdir(parents=True)
        own = ["-o", f"Dir::State={lists / 'state'}", "-o", f"Dir::Cache={lists / 'cache'}"]
        own += ["-o", "Dir::State::status=/var/lib/dpkg/status", "-o", "APT::Sandbox::User="]
        updated = _apt(folder, ["update"], own)
        downloaded = _apt(folder, ["download", *PACKAGES], own) if not updated.returncode else updated
    if downloaded.returncode:
        last = (downloaded.stderr.strip().splitlines() or ["?"])[-1]
        raise _missing(last, last)
    system = folder / "system"
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, system], check=True, capture_output=True)
    server = system / "usr" / "bin" / "redis-server"
    if (
        not server.is_symlink()
    ):  # one program is the server and its checkers, by its name; where the link is in the other package, it is made
        server.symlink_to("redis-check-rdb")
    return system


def _apt(folder: Path, words: list[str], options: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "-q", *options, *words], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


def _missing(zh: str, en: str) -> StartupError:
    return StartupError(
        f"找不到 redis-server，也无法取来（{zh}）；请安装 Redis 7 或更高版本",
        f"there is no redis-server and it cannot be brought ({en}): install Redis 7 or later",
    )
