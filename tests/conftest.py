"""What every test may use. Folders are temporary, and whatever a test starts it stops."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from kit.clock import VirtualClock
from kit.config import DATA, Settings, load
from kit.database import Database
from kit.module import POSTGRES
from kit.platform import Platform
from kit.postgres import EmbeddedPostgres
from kit.postgres_programs import find_programs
from kit.statutory import Deadlines
from kit.texts import Texts
from services.cases import reference
from services.registry import MODULES
from tests import plans
from tests.world import MORNING, World

#: The services that keep something; the gateway only stands in front of them.
STORED = [module for module in MODULES if POSTGRES in module.engines]


#: What takes longest goes first; the many small ones fill what room is left beside it.
ORDER = (
    "test_whole_year.py",
    "test_drill.py",
    "tests/functional",
    "tests/fault",
    "tests/conformance",
    "tests/contract",
    "",
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if os.environ.get("TEST_POSTGRES"):  # asked for the sake of PostgreSQL: what needs none is told already
        config.hook.pytest_deselected(items=[item for item in items if not _needs_postgres(item)])
        items[:] = filter(_needs_postgres, items)
    items.sort(key=lambda item: next(n for n, part in enumerate(ORDER) if part in item.nodeid))


@pytest.fixture(scope="session", autouse=True)
def shipped_data_are_read_once() -> Iterator[None]:
    """Thousands of platforms begin in a run, all with the same rules, texts and centres."""
    with pytest.MonkeyPatch.context() as patch:
        for owner, name in ((Deadlines, "load"), (Texts, "load"), (reference, "centres_of")):
            patch.setattr(owner, name, _once(getattr(owner, name)))
        yield


def _once(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    known: dict[Path, Any] = {}

    def reading(folder: Path) -> Any:
        if not folder.is_relative_to(DATA):
            return read(folder)
        if folder not in known:
            known[folder] = read(folder)
        return known[folder]

    return reading


def _needs_postgres(item: pytest.Item) -> bool:
    return "server" in getattr(item, "fixturenames", ())


#: Thousands of databases are made and dropped by a run: in memory that takes a third of the time. A killed run leaves its folder there, so it is
#: used where nobody minds that.
MEMORY = Path("/dev/shm")
ROOM = 8 * 2**30


def open_folder(parent: str = "/tmp") -> Path:
    """A temporary folder that PostgreSQL's unprivileged user can walk into, which pytest's own is not for root."""
    folder = Path(tempfile.mkdtemp(prefix="hetao-", dir=parent))
    folder.chmod(0o711)
    return folder


@pytest.fixture
def scratch() -> Iterator[Path]:
    folder = open_folder()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def server() -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL for the tests of this process. TEST_POSTGRES names a major version; else the machine's newest."""
    in_memory = "CI" in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM
    folder = open_folder(str(MEMORY) if in_memory else "/tmp")
    wanted = os.environ.get("TEST_POSTGRES")
    binaries = next(p.folder for p in find_programs() if str(p.major) == wanted) if wanted else None
    async with EmbeddedPostgres(folder / "data", binaries=binaries, durable=False) as running:
        yield running
    shutil.rmtree(folder)


@pytest.fixture
def settings(scratch: Path) -> Settings:
    """Settings of one test: a database of its own in the shared server, a folder of its own, any free port."""
    return load(data_dir=scratch, database={"name": f"t{uuid4().hex[:12]}"}, http={"port": 0}, grpc={"port": 0})


@pytest.fixture
async def database(server: EmbeddedPostgres, settings: Settings) -> AsyncIterator[Database]:
    """An empty database, removed afterwards: `await database.prepare([...])` makes schemas in it."""
    yield Database(settings, server)
    await drop_database(server, settings.database.name)


async def copy_database(connection: asyncpg.Connection, name: str, template: str) -> None:
    """As files, which is quicker than through the log where nothing waits for a disk."""
    await connection.execute(f"create database {name} template {template} strategy file_copy")


async def drop_database(server: EmbeddedPostgres, name: str) -> None:
    connection = await asyncpg.connect(server.dsn())
    try:
        await connection.execute(f"drop database if exists {name} with (force)")
    finally:
        await connection.close()


@pytest.fixture(scope="session")
async def template(server: EmbeddedPostgres) -> AsyncIterator[Settings]:
    """Settings whose database holds the reference and demo data, to be copied by each test."""
    folder = open_folder()
    settings = load(data_dir=folder, database={"name": "template_world"}, http={"port": 0}, grpc={"port": 0})
    clock = VirtualClock(MORNING)
    async with Platform(
        settings, STORED, clock=clock, database=Database(settings, server), listen=False, background=False
    ) as made:
        await made.settle()
    yield settings
    shutil.rmtree(folder)


@pytest.fixture
async def world(server: EmbeddedPostgres, template: Settings) -> AsyncIterator[World]:
    """All services in this process on a database of the test's own, at nine o'clock on Monday, 2 March 2026."""
    name = f"t{uuid4().hex[:12]}"
    connection = await asyncpg.connect(server.dsn())
    await copy_database(connection, name, template.database.name)
    await connection.close()
    settings = template.model_copy(update={"database": template.database.model_copy(update={"name": name})})
    clock = VirtualClock(MORNING)
    async with Platform(
        settings, STORED, clock=clock, database=Database(settings, server), listen=False, background=False
    ) as platform:
        statements: set[tuple[str, str]] = set()
        with plans.recorded(statements):
            yield World(platform, clock)
        wrong = await plans.check(statements, platform.database.connect)
    await drop_database(server, name)
    assert not wrong, "\n".join(wrong)
