"""A Redis of our own, on loopback and without persistence: it holds only what may be lost.

    with Redis() as redis:
        redis.url                       # redis://127.0.0.1:34567/0

`redis-server` of the machine is used where there is one. Else Debian's packages are unpacked, not installed, into build/engines/redis.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

from engines.process import Program, bare_environment, free_port
from kit.errors import StartupError

ROOT = Path(__file__).resolve().parent.parent
UNPACKED = ROOT / "build" / "engines" / "redis"

#: The server (in `tools`; the package `server` has its start scripts alone, which are not needed) and the libraries that a bare system lacks.
PACKAGES = ("redis-tools", "libjemalloc2", "liblua5.1-0", "liblzf1")


class Redis:
    """`folder`: of its log and its note, a temporary one if None. It keeps its port over a restart."""

    def __init__(self, folder: Path | None = None, port: int | None = None):
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


def fetch() -> tuple[Path, list[Path]]:
    """The program, and the folders of its libraries; brought here if the machine has none.

    Raises `StartupError` where neither can be had, and says how to install it.
    """
    if found := shutil.which("redis-server"):
        return Path(found), []
    if not (UNPACKED / "usr" / "bin" / "redis-check-rdb").exists():
        print("取来 Redis（Debian 软件包） · bringing Redis (Debian packages)", file=sys.stderr, flush=True)
        UNPACKED.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=UNPACKED.parent, prefix="redis-") as folder:
            _unpack(Path(folder))
            ready = Path(folder) / "system"
            try:
                ready.rename(UNPACKED)  # whole or not at all: somebody else may do the same at this moment
            except OSError:
                if not UNPACKED.exists():
                    raise
    # Debian's one program is the server, its checkers by their names; the link of that name is in the other package.
    server = UNPACKED / "usr" / "bin" / "redis-server"
    if not server.exists():
        try:
            server.symlink_to("redis-check-rdb")
        except FileExistsError:
            pass
    return server, sorted({library.parent for library in UNPACKED.glob("usr/lib/**/*.so*")})


def _unpack(folder: Path) -> None:
    if platform.system() != "Linux" or not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise _missing("本机没有 apt-get", "this machine has no apt-get")
    folder.chmod(0o755)
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
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder / "system"], check=True, capture_output=True)


def _apt(folder: Path, words: list[str], options: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "-q", *options, *words], cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


def _missing(zh: str, en: str) -> StartupError:
    return StartupError(
        f"找不到 redis-server，也无法取来（{zh}）；请安装 Redis 7 或更高版本",
        f"there is no redis-server and it cannot be brought ({en}): install Redis 7 or later",
    )
