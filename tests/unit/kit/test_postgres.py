"""The embedded PostgreSQL: it keeps its data whatever dies, and says in one line why it cannot start."""

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import psutil
import pytest

from kit import postgres_programs
from kit.errors import StartupError
from kit.postgres import EmbeddedPostgres, leftovers
from kit.postgres_programs import Programs, choose, find_programs
from tests.waiting import until

FOUND = find_programs()


@pytest.fixture(params=sorted({p.major for p in FOUND}))
def binaries(request: pytest.FixtureRequest) -> Path:
    """Every version that this machine has."""
    return next(p.folder for p in FOUND if p.major == request.param)


@pytest.fixture
def data_dir(scratch: Path) -> Iterator[Path]:
    folder = scratch / "data"
    yield folder
    for process in leftovers(folder / "postgres"):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def embedded(data_dir: Path, **arguments: object) -> EmbeddedPostgres:
    return EmbeddedPostgres(data_dir, durable=False, **arguments)  # type: ignore[arg-type]


async def connected(postgres: EmbeddedPostgres) -> asyncpg.Connection:
    """A connection, as soon as one is to be had."""
    made: list[asyncpg.Connection] = []

    async def let_in() -> bool:
        with suppress(OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
            made.append(await asyncpg.connect(postgres.dsn()))
        return bool(made)

    await until(let_in, "PostgreSQL takes connections", 60)
    return made[0]


async def ask(postgres: EmbeddedPostgres, *statements: str) -> object:
    connection = await connected(postgres)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetchval(statements[-1])
    finally:
        await connection.close()


async def test_it_keeps_its_data_between_runs_and_leaves_no_process(data_dir: Path, binaries: Path):
    async with embedded(data_dir, binaries=binaries) as postgres:
        assert await ask(postgres, "create table kept as select 1 as one", "select one from kept") == 1
    assert leftovers(data_dir / "postgres") == []
    async with embedded(data_dir, binaries=binaries) as postgres:
        assert await ask(postgres, "select one from kept") == 1
    assert leftovers(data_dir / "postgres") == []


async def test_nobody_else_can_reach_it(data_dir: Path, binaries: Path):
    async with embedded(data_dir, binaries=binaries) as postgres:
        assert await ask(postgres, "show listen_addresses") == ""
        for folder in (postgres.folder, postgres.socket_folder):
            assert folder.stat().st_mode & 0o777 == 0o700
        user = pwd.getpwuid(psutil.Process(postgres.pid).uids().effective).pw_name
        assert user == ("nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name)
        connections = psutil.Process(postgres.pid).net_connections(kind="inet")
        assert [c for c in connections if c.status == psutil.CONN_LISTEN] == []


async def test_text_is_ordered_by_code_points_in_utf_8(data_dir: Path, binaries: Path):
    async with embedded(data_dir, binaries=binaries) as postgres:
        assert await ask(postgres, "select 'a' > 'Z' and length('河套') = 2") is True
        assert await ask(postgres, "show timezone") == "UTC"


async def test_a_second_start_names_the_process_that_holds_the_data(data_dir: Path):
    async with embedded(data_dir) as postgres:
        with pytest.raises(StartupError, match=str(os.getpid())) as caught:
            await embedded(data_dir).start()
        assert str(os.getpid()) in caught.value.zh
        assert await ask(postgres, "select 1") == 1


async def test_killed_it_comes_back_with_all_that_was_committed(data_dir: Path, binaries: Path):
    async with embedded(data_dir, binaries=binaries) as postgres:
        await ask(postgres, "create table kept (one int)", "insert into kept values (1) returning one")
        first = postgres.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: postgres.pid not in (first, None), "it was started again", 60)
        assert await ask(postgres, "select count(*) from kept") == 1


HOLDER = """
import asyncio, sys
from pathlib import Path
from kit.postgres import EmbeddedPostgres

async def main():
    async with EmbeddedPostgres(Path(sys.argv[1]), durable=False) as postgres:
        print("ready", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_what_a_killed_run_left_is_stopped_first(data_dir: Path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, data_dir],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert holder.stdout
        assert await asyncio.to_thread(holder.stdout.readline) == "ready\n"
        orphan = postmaster_of(data_dir)
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close() if holder.stdout else None
    assert psutil.pid_exists(orphan)
    async with embedded(data_dir) as postgres:
        assert postgres.pid != orphan
        assert orphan not in [p.pid for p in leftovers(data_dir / "postgres")]
        assert await ask(postgres, "select 1") == 1


def postmaster_of(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])


async def test_backends_that_outlive_a_killed_postmaster_do_not_stop_the_next(data_dir: Path, binaries: Path):
    async with embedded(data_dir, binaries=binaries) as postgres:
        connection = await connected(postgres)
        busy = asyncio.create_task(connection.execute("select pg_sleep(60)"))

        async def asleep() -> bool:
            return bool(await ask(postgres, "select count(*) from pg_stat_activity where wait_event = 'PgSleep'"))

        await until(asleep, "the backend is busy")
        os.kill(postgres.pid or 0, signal.SIGKILL)
        assert await ask(postgres, "select 1") == 1
        with suppress(asyncpg.PostgresError, OSError):
            await busy
        connection.terminate()


async def test_a_number_in_a_lock_file_that_is_another_program_now_does_not_matter(data_dir: Path):
    async with embedded(data_dir) as postgres:
        uid = (data_dir / "postgres").stat().st_uid
    other = subprocess.Popen(["sleep", "60"], user=uid if os.geteuid() == 0 else None)
    try:
        for stale in (data_dir / "postgres" / "postmaster.pid", postgres.socket_folder / ".s.PGSQL.5432.lock"):
            stale.write_text(f"{other.pid}\n{data_dir}/postgres\n1\n5432\n\n\n0 0\nready\n")
            os.chown(stale, uid, -1)
        async with embedded(data_dir) as postgres:
            assert await ask(postgres, "select 1") == 1
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


async def test_the_folder_decides_which_version_runs_it(data_dir: Path):
    newest = max(FOUND, key=lambda p: p.major)
    async with embedded(data_dir, binaries=newest.folder):
        pass
    async with embedded(data_dir) as postgres:
        assert postgres.programs.major == newest.major
    with pytest.raises(StartupError, match=f"PostgreSQL {newest.major}"):
        choose([Programs(Path("/x"), "14.2")], data_dir / "postgres")


def test_a_new_folder_takes_the_machines_programs_and_then_the_packages(tmp_path: Path):
    machine, package = Programs(Path("/usr"), "16.1"), Programs(Path("/package"), "18.6")
    assert choose([machine, package], tmp_path) == machine
    assert choose([Programs(Path("/usr"), "14.1"), package], tmp_path) == package
    with pytest.raises(StartupError, match="HETAO_DATABASE_URL"):
        choose([Programs(Path("/usr"), "14.1")], tmp_path)


def test_the_package_alone_is_enough(monkeypatch: pytest.MonkeyPatch):
    packaged = list(postgres_programs._packaged())
    assert [p.major for p in packaged] == [18]


async def test_a_long_path_gets_a_short_socket(scratch: Path):
    data_dir = scratch / ("long" * 25)
    async with embedded(data_dir) as postgres:
        assert len(str(postgres.socket_folder)) < 100
        assert postgres.socket_folder.stat().st_mode & 0o777 == 0o700
        assert await ask(postgres, "select 1") == 1
    shutil.rmtree(postgres.socket_folder)


async def test_a_socket_folder_that_somebody_else_made_is_refused(scratch: Path):
    data_dir = scratch / ("long" * 25)
    async with embedded(data_dir) as postgres:
        folder = postgres.socket_folder
    folder.chmod(0o755)
    with pytest.raises(StartupError, match=str(folder)):
        await embedded(data_dir).start()
    shutil.rmtree(folder)


async def test_an_interrupted_initdb_is_done_again(data_dir: Path):
    half = data_dir / "postgres.new"
    half.mkdir(parents=True)
    data_dir.chmod(0o711)
    (half / "PG_VERSION").write_text("15\n")
    async with embedded(data_dir) as postgres:
        assert await ask(postgres, "select 1") == 1
    assert not half.exists()


async def test_the_cause_of_a_failed_start_is_one_line(data_dir: Path):
    with pytest.raises(StartupError, match="max_connections") as caught:
        async with embedded(data_dir, options={"max_connections": "nonsense"}):
            pass
    assert "\n" not in str(caught.value)
    async with embedded(data_dir) as postgres:  # and the lock was given back
        assert await ask(postgres, "select 1") == 1


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a small file system, as root")
async def test_a_full_disk_is_one_line(scratch: Path, monkeypatch: pytest.MonkeyPatch):
    small = scratch / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m,mode=755", "hetao", small], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        async with embedded(small / "data") as postgres:
            with pytest.raises(asyncpg.PostgresError, match="No space left"):  # an error, or the end of the server
                await ask(postgres, "create table big as select repeat('x', 1000) from generate_series(1, 200000)", "")
        fill(small)
        with pytest.raises(StartupError, match="disk is full"):  # we look first
            await embedded(small / "data").start()
        monkeypatch.setattr("kit.postgres._SPACE_TO_START", 0)
        with pytest.raises(StartupError, match="disk is full"):  # PostgreSQL itself finds out
            await embedded(small / "data").start()
    finally:
        subprocess.run(["umount", small], check=True)


def fill(folder: Path) -> None:
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1 << 16))


@pytest.mark.skipif(os.geteuid() != 0, reason="as root")
async def test_a_folder_that_the_unprivileged_user_cannot_reach_is_one_line(scratch: Path):
    closed = scratch / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(StartupError, match="HETAO_DATA_DIR"):
        await embedded(closed / "data").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="as root")
async def test_a_package_that_the_unprivileged_user_cannot_reach_is_copied(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
):
    package = next(postgres_programs._packaged())
    monkeypatch.setattr("kit.postgres.find_programs", lambda _: [package])
    monkeypatch.setattr(
        "kit.postgres_programs.world_traversable", lambda folder: not folder.is_relative_to(package.folder.parent)
    )
    async with embedded(scratch / "data") as postgres:
        assert postgres.programs.folder.is_relative_to(scratch / "data")
        assert await ask(postgres, "select 1") == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="as root")
async def test_programs_that_the_unprivileged_user_cannot_run_are_one_line(scratch: Path):
    closed = scratch / "closed"
    closed.mkdir(mode=0o700)
    (closed / "bin").symlink_to(FOUND[0].folder)
    with pytest.raises(StartupError, match="closed/bin"):
        await embedded(scratch / "data", binaries=closed / "bin").start()
