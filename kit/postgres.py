"""A PostgreSQL of our own, started with the process and stopped with it: the embedded mode's database.

In the data folder: `postgres/` the cluster, `postgres.log` what it says, `postgres.lock` who runs it, `run/` its socket. It listens on
that socket alone, unless it is given a port of this machine, where everybody must say a password. The cluster and the socket's folder have
mode 700 and belong to the user that PostgreSQL runs as, so whoever can reach the socket could read the files as well: passwords would add
nothing there, and pg_hba.conf says `trust`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import logging
import os
import pwd
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Self
from urllib.parse import quote

import psutil

from kit.config import world_traversable
from kit.errors import StartupError
from kit.folders import make_data_dir, why
from kit.postgres_programs import Programs, choose, find_programs

logger = logging.getLogger(__name__)

#: The cluster's first database user, who may do everything.
SUPERUSER = "postgres"

#: A socket's path has at most 107 bytes on Linux and 103 on macOS; PostgreSQL puts a file of this name in the folder.
_LONGEST_SOCKET = 100
_PORT = 5432

#: Less free space than this and PostgreSQL would start only to stop in the middle of something: two WAL segments and some.
_SPACE_TO_START = 64 * 1024 * 1024

_LARGEST_LOG = 4 * 1024 * 1024

#: For a small machine, and to be told apart from what the administrator of a large one would choose.
_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "effective_cache_size": "512MB",
    "random_page_cost": "1.1",
    "max_parallel_workers_per_gather": "0",  # the cores are few and the transactions short
    "jit": "off",
    "min_wal_size": "128MB",
    "max_wal_size": "1GB",
    "autovacuum_naptime": "15s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Errors are the caller's to log, without the row's values that PostgreSQL would print.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_checkpoints": "off",
    "log_autovacuum_min_duration": "-1",
}

#: Said when a process of the last postmaster still lives: it goes in a moment.
_STILL_GOING = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')


class InUse(StartupError):
    """Another process runs the PostgreSQL of this data folder."""


class EmbeddedPostgres:
    """`async with EmbeddedPostgres(data_dir) as postgres: connect(postgres.dsn("hetao_grid", "hetao"))`.

    binaries       folder of the programs; found by itself if None: those of the machine first, then those of the Python package
    os_user        who runs PostgreSQL when we are root, whom it refuses
    start_timeout  seconds until it must be ready, recovery after a crash included
    options        settings of PostgreSQL beside ours
    durable        False skips fsync: a test's data may go with the machine, never with a process
    port           also listens on this port of 127.0.0.1, where passwords are asked for (SCRAM-SHA-256)
    revive         whether PostgreSQL is started again should it die while it runs

    Raises `StartupError` when it cannot start.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        binaries: Path | None = None,
        os_user: str = "nobody",
        start_timeout: float = 120.0,
        options: Mapping[str, str] | None = None,
        durable: bool = True,
        port: int | None = None,
        revive: bool = True,
    ):
        self.port, self._revive = port, revive
        self.data_dir = data_dir.absolute()
        self.folder = self.data_dir / "postgres"
        self.log_file = self.data_dir / "postgres.log"
        self._binaries, self._os_user, self._start_timeout, self._durable = binaries, os_user, start_timeout, durable
        self._options = {
            **_OPTIONS,
            **({} if durable else {"fsync": "off", "full_page_writes": "off"}),
            **({"listen_addresses": "127.0.0.1", "port": str(port)} if port else {}),
            **(options or {}),
        }
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._gone = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def dsn(self, role: str = SUPERUSER, database: str = "postgres") -> str:
        """Also good where another process runs it (`InUse`): this machine's root and the same user may use the socket."""
        where = f"host={quote(str(self.socket_folder), safe='/')}"
        return f"postgresql://{quote(role)}@/{quote(database)}?{where}{f'&port={self.port}' if self.port else ''}"

    @property
    def pid(self) -> int | None:
        """Of the postmaster, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    async def start(self) -> None:
        """Returns when it is ready. Cancelled or failed, it leaves nothing running."""
        self._uid, self._gid = self._who()
        try:
            with _explained(self.data_dir):
                await self._start()
        except BaseException:
            await self.stop()
            raise
        if self._revive:
            self._watch = asyncio.create_task(self._keep_running(), name="postgres")

    async def _start(self) -> None:
        self._make_folders()
        self._lock = self._take_lock()
        self.programs = self._reachable(choose(find_programs(self._binaries), self.folder))
        await self._stop_leftovers()
        if shutil.disk_usage(self.data_dir).free < _SPACE_TO_START:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._make_socket_folder()
        if not (self.folder / "PG_VERSION").exists():
            await self._make_cluster()
        network = "host all all 127.0.0.1/32 scram-sha-256\n" if self.port else ""
        (self.folder / "pg_hba.conf").write_text(f"local all all trust\n{network}")
        await self._launch()

    async def stop(self) -> None:
        """PostgreSQL's fast stop: open transactions are undone, everything committed is on the disk."""
        if self._watch:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        if self.pid:
            for number, seconds in ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)):
                self._signal(number)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._gone.wait(), seconds)
                    break
        if self._lock:
            self._lock.close()
            self._lock = None

    # -- folders and users --------------------------------------------------------------------------------------------

    def _who(self) -> tuple[int, int]:
        """The user and group that PostgreSQL runs as: ourselves, unless we are root; then the owner of the data, if there is data."""
        if os.geteuid() != 0:
            if self.folder.exists() and self.folder.stat().st_uid != os.geteuid():
                raise StartupError(
                    f"{self.folder} 属于另一个用户（可能曾以 root 启动），请以该用户启动，或用 HETAO_DATA_DIR 另选目录",
                    f"{self.folder} belongs to another user (started as root once?): start as that user or choose another HETAO_DATA_DIR",
                )
            return os.geteuid(), os.getegid()
        if self.folder.exists() and (owner := self.folder.stat()).st_uid != 0:
            return owner.st_uid, owner.st_gid
        try:
            user = pwd.getpwnam(self._os_user)
        except KeyError:
            raise StartupError(
                f"没有系统用户 {self._os_user}（HETAO_DATABASE__OS_USER）",
                f"there is no system user {self._os_user} (HETAO_DATABASE__OS_USER)",
            ) from None
        if user.pw_uid == 0:
            raise StartupError(
                "PostgreSQL 不能以 root 运行（HETAO_DATABASE__OS_USER）",
                "PostgreSQL does not run as root (HETAO_DATABASE__OS_USER)",
            )
        return user.pw_uid, user.pw_gid

    def _make_folders(self) -> None:
        make_data_dir(self.data_dir)
        if os.geteuid() != 0:
            return
        if not world_traversable(self.data_dir):
            raise StartupError(
                f"用户 {self._os_user} 无法进入 {self.data_dir}，请用 HETAO_DATA_DIR 另选目录，例如 /var/lib/hetao",
                f"user {self._os_user} cannot walk into {self.data_dir}: choose another HETAO_DATA_DIR, such as /var/lib/hetao",
            )

    def _take_lock(self) -> IO[str]:
        lock = open(self.data_dir / "postgres.lock", "a+", encoding="utf-8")  # noqa: SIM115 - held until `stop`
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "?"
            lock.close()
            raise InUse(
                f"数据目录 {self.data_dir} 正由进程 {holder} 使用：平台已在运行；请先停止它，或用 HETAO_DATA_DIR 另选目录",
                f"{self.data_dir} is in use by process {holder}: the platform already runs; stop it or choose another HETAO_DATA_DIR",
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        return lock

    def _reachable(self, programs: Programs) -> Programs:
        """The programs, copied to where PostgreSQL's user can read them if it cannot where they are (a package below /root)."""
        if os.geteuid() != 0 or programs.readable_by_all():
            return programs
        if programs.parts:
            return programs.copied_to(self.data_dir / f"postgresql-{programs.version}")
        raise StartupError(
            f"用户 {self._os_user} 无法执行 {programs.folder} 中的程序，请修改其权限",
            f"user {self._os_user} cannot run the programs in {programs.folder}: change their permissions",
        )

    @property
    def socket_folder(self) -> Path:
        """The data folder's `run`, or one in /tmp when that path is too long for a socket."""
        folder = self.data_dir / "run"
        if len(os.fsencode(folder / self._socket_file)) > _LONGEST_SOCKET:
            folder = Path("/tmp") / f"hetao-{hashlib.sha256(os.fsencode(self.data_dir)).hexdigest()[:12]}"
        return folder

    @property
    def _socket_file(self) -> str:
        return f".s.PGSQL.{self.port or _PORT}"

    def _make_socket_folder(self) -> None:
        folder = self.socket_folder
        try:
            folder.mkdir(mode=0o700)
            os.chown(folder, self._uid, self._gid)
        except FileExistsError:
            found = folder.lstat()  # in /tmp somebody else may have made it first, to listen in
            if folder.is_symlink() or found.st_uid != self._uid or found.st_mode & 0o077:
                raise StartupError(
                    f"{folder} 不属于运行 PostgreSQL 的用户，或对他人开放，请删除它",
                    f"{folder} does not belong to PostgreSQL's user or is open to others: remove it",
                ) from None

    # -- the cluster --------------------------------------------------------------------------------------------------

    async def _make_cluster(self) -> None:
        """Made under another name and renamed: a crash in the middle leaves nothing that looks like a cluster."""
        fresh = self.data_dir / "postgres.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        os.chown(fresh, self._uid, self._gid)
        arguments: list[str | Path] = [
            "-D",
            fresh,
            "-U",
            SUPERUSER,
            "-E",
            "UTF8",
            "--locale=C",
            "--auth=trust",
            "--data-checksums",
        ]
        if not self._durable:
            arguments.append("--no-sync")

        def initdb() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [self.programs.folder / "initdb", *arguments],
                **self._as_user(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )

        made = await asyncio.to_thread(initdb)
        if made.returncode:
            shutil.rmtree(fresh, ignore_errors=True)
            raise _failure("initdb", made.stdout, self.data_dir)
        fresh.rename(self.folder)
        _sync_folder(self.data_dir)

    async def _launch(self) -> None:
        """Starts PostgreSQL as a child of ours and returns when it is ready."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._start_timeout
        while True:
            if self.log_file.exists() and self.log_file.stat().st_size > _LARGEST_LOG:
                self.log_file.replace(self.log_file.with_suffix(".log.1"))
            with self.log_file.open("ab") as log:
                said_before = log.tell()
                self._spawn(log)
            while not self._gone.is_set():
                if self._status() == "ready":
                    return
                if loop.time() > deadline:
                    self._signal(signal.SIGQUIT)
                    await self._gone.wait()
                    raise StartupError(
                        f"PostgreSQL 在 {self._start_timeout:.0f} 秒内未就绪，见 {self.log_file}",
                        f"PostgreSQL was not ready within {self._start_timeout:.0f} s, see {self.log_file}",
                    )
                await asyncio.sleep(0.01)
            with self.log_file.open("rb") as log:
                log.seek(said_before)
                said = log.read().decode(errors="replace")
            if not any(words in said for words in _STILL_GOING) or loop.time() > deadline:
                raise _failure("postgres", said, self.log_file)
            await self._stop_leftovers()
            await asyncio.sleep(0.1)

    def _spawn(self, log: IO[bytes]) -> None:
        options = {**self._options, "unix_socket_directories": str(self.socket_folder)}
        if self.programs.major >= 18:
            options.setdefault("io_method", "sync")  # its workers are for large disks
        self._process = subprocess.Popen(
            [self.programs.folder / "postgres", "-D", self.folder, *(f"--{k}={v}" for k, v in options.items())],
            **self._as_user(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C on the terminal is for us: we drain first and stop it then
        )
        self._gone = asyncio.Event()
        threading.Thread(
            target=_wait, args=(self._process, self._gone, asyncio.get_running_loop()), name="postgres", daemon=True
        ).start()

    def _as_user(self) -> dict[str, Any]:
        """Arguments of `subprocess`: no variable of ours (PGDATA, a locale) reaches PostgreSQL."""
        arguments: dict[str, Any] = {"env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}, "cwd": "/"}
        if os.geteuid() == 0:
            arguments |= {"user": self._uid, "group": self._gid, "extra_groups": []}
        return arguments

    def _status(self) -> str:
        """What our postmaster says of itself on the eighth line of postmaster.pid."""
        try:
            lines = (self.folder / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return ""
        ours = self._process is not None and lines[:1] == [str(self._process.pid)]
        return lines[7].strip() if ours and len(lines) > 7 else ""

    def _signal(self, number: signal.Signals) -> None:
        if self._process:
            self._process.send_signal(number)

    async def _keep_running(self) -> None:
        """Starts PostgreSQL again whenever it dies; the pools find it by themselves. A full disk may become less full: it never gives up."""
        pause = 0.1
        while True:
            await self._gone.wait()
            logger.error(
                "PostgreSQL died (exit status %s), starting it again", self._process and self._process.returncode
            )
            try:
                await self._stop_leftovers()
                await self._launch()
                logger.info("PostgreSQL is back")
                pause = 0.1
            except (StartupError, OSError) as error:
                logger.error("%s", error)
                await asyncio.sleep(pause)
                pause = min(pause * 2, 10.0)

    async def _stop_leftovers(self) -> None:
        """Stops what a killed run left behind on our folder. We hold its lock, so nobody else may want it."""
        for stop, patience in ((signal.SIGINT, 10.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 10.0)):
            left = leftovers(self.folder)
            if not left:
                break
            postmaster = [p for p in left if str(p.pid) == _first_line(self.folder / "postmaster.pid")]
            if stop is signal.SIGINT and not postmaster:
                continue  # backends without it: they have nothing to finish
            for process in left if stop is signal.SIGKILL else postmaster or left:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(stop)
            await asyncio.to_thread(psutil.wait_procs, left, patience)
        # A number in a lock file that by now belongs to another program, or to a process that nobody has reaped, would keep
        # PostgreSQL from starting.
        for lock in (self.folder / "postmaster.pid", self.socket_folder / f"{self._socket_file}.lock"):
            pid = _first_line(lock)
            if pid.isdigit() and psutil.pid_exists(int(pid)) and not leftovers(self.folder):
                lock.unlink(missing_ok=True)


def holder(data_dir: Path) -> int | None:
    """The process that runs the PostgreSQL of a data folder; None if none does."""
    try:
        with (data_dir / "postgres.lock").open(encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(_first_line(data_dir / "postgres.lock") or 0)
    except (FileNotFoundError, NotADirectoryError):
        pass
    return None


def leftovers(folder: Path) -> list[psutil.Process]:
    """The PostgreSQL processes at work on a cluster: all of them stand in its folder."""
    real = str(folder.resolve())
    found = psutil.process_iter(["name", "cwd", "status"])
    return [
        process
        for process in found
        if process.info["cwd"] == real
        and process.info["name"].startswith("postgres")
        and process.info["status"] != psutil.STATUS_ZOMBIE
    ]


def _first_line(file: Path) -> str:
    try:
        return file.read_text().partition("\n")[0].strip()
    except FileNotFoundError:
        return ""


def _wait(process: subprocess.Popen[bytes], gone: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
    process.wait()
    with contextlib.suppress(RuntimeError):  # the loop was closed before
        loop.call_soon_threadsafe(gone.set)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _explained(data_dir: Path) -> Iterator[None]:
    """Turns what the operating system refuses into a line for a person."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _disk_full(data_dir) from error
        where = f" {error.filename}" if error.filename else ""
        zh, en = why(error)
        raise StartupError(f"无法启动 PostgreSQL：{zh}{where}", f"cannot start PostgreSQL: {en}{where}") from error


def _failure(program: str, said: str, where: Path) -> StartupError:
    """The line of PostgreSQL's that names the cause."""
    if os.strerror(errno.ENOSPC) in said:
        return _disk_full(where)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if re.search(r"\b(FATAL|PANIC|error):", line)] or lines[-1:] or ["-"]
    cause = re.sub(r"^.*?\b(FATAL|PANIC|error):\s*", "", telling[0])
    return StartupError(f"{program} 启动失败：{cause}（见 {where}）", f"{program} failed: {cause} (see {where})")


def _disk_full(where: Path) -> StartupError:
    return StartupError(f"磁盘空间不足：{where}", f"the disk is full: {where}")
