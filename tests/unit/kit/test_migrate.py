"""Migrations: each once, in order, by one process at a time, and only ever adding."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from kit import migrate as migrations
from kit.database import Database
from kit.errors import StartupError
from kit.migrate import Migration, lint, migrate, read, statements
from kit.module import LOG, POSTGRES, Module
from tests.waiting import until

ROOT = Path(__file__).parents[3]


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., Module]:
    """files("create table …", "…") → a module `shop` with these migrations."""

    def make(*texts: str, name: str = "shop") -> Module:
        for number, text in enumerate(texts, start=1):
            (tmp_path / f"{number:04}_step.sql").write_text(text)
        return Module(name, lambda runtime: None, engines=[POSTGRES], migrations=tmp_path)  # type: ignore[arg-type, return-value]

    return make


@pytest.fixture
async def shop(database: Database) -> Database:
    await database.prepare(["shop"])
    return database


async def ask(database: Database, sql: str) -> object:
    connection = await database.connect("shop")
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def test_each_file_is_applied_once_and_told_of(shop: Database, files: Callable[..., Module]):
    told: list[tuple[str, str]] = []
    module = files("create table thing (id int)")
    assert await migrate(shop, [module], lambda *what: told.append(what)) == len(told)
    assert ("shop", "0001_kit") in told
    assert told[-1] == ("shop", "0001_step")
    assert await migrate(shop, [module]) == 0
    module = files("create table thing (id int)", "alter table thing add name text")
    assert await migrate(shop, [module]) == 1
    assert await ask(shop, "select count(name) from thing") == 0
    assert (
        await ask(
            shop,
            "select string_agg(source || number, ' ' order by source, number) from migration where source = 'shop'",
        )
        == "shop1 shop2"
    )


async def test_the_embedded_log_has_its_own_schema(database: Database):
    await database.prepare(["shop", "log"])
    module = Module("shop", lambda runtime: None, engines=[POSTGRES, LOG])  # type: ignore[arg-type, return-value]
    assert await migrate(database, [module])
    connection = await database.connect("log")
    assert await connection.fetchval("select count(*) from migration where source = 'log'")
    await connection.close()


async def test_processes_that_start_together_apply_it_once(shop: Database, files: Callable[..., Module]):
    module = files("create table thing (id int)", "insert into thing values (1)")
    counts = await asyncio.gather(*(migrate(shop, [module]) for _ in range(4)))
    assert sorted(counts)[:3] == [0, 0, 0]
    assert await ask(shop, "select count(*) from thing") == 1


async def test_a_file_that_changed_after_it_was_applied_stops_the_start(shop: Database, files: Callable[..., Module]):
    await migrate(shop, [files("create table thing (id int)")])
    with pytest.raises(StartupError, match="0001_step"):
        await migrate(shop, [files("create table thing (id bigint)")])


async def test_a_failing_file_leaves_nothing_and_the_next_run_goes_on(shop: Database, files: Callable[..., Module]):
    with pytest.raises(StartupError, match="0002_step"):
        await migrate(shop, [files("create table thing (id int)", "create table other (id int); select 1 / 0")])
    assert await ask(shop, "select to_regclass('other')") is None
    assert await migrate(shop, [files("create table thing (id int)", "create table other (id int)")]) == 1


async def test_a_schema_newer_than_this_version_is_left_alone(
    shop: Database, files: Callable[..., Module], tmp_path: Path
):
    await migrate(shop, [files("create table thing (id int)", "alter table thing add name text")])
    (tmp_path / "0002_step.sql").unlink()
    assert await migrate(shop, [files("create table thing (id int)")]) == 0


async def test_an_index_is_built_while_others_write_and_an_interrupted_one_is_built_again(
    shop: Database, files: Callable[..., Module]
):
    await migrate(shop, [files("create table thing (id int)", "insert into thing values (1), (1)")])
    unique = "-- hetao: concurrently\ncreate unique index concurrently if not exists thing_id on thing (id);\n"
    with pytest.raises(StartupError, match="thing_id"):  # two equal rows: the build fails and leaves an invalid index
        await migrate(shop, [files("create table thing (id int)", "insert into thing values (1), (1)", unique)])
    assert await ask(shop, "select indisvalid from pg_index where indexrelid = 'thing_id'::regclass") is False
    connection = await shop.connect("shop")
    await connection.execute("delete from thing")
    await connection.close()
    assert await migrate(shop, [files("create table thing (id int)", "insert into thing values (1), (1)", unique)]) == 1
    assert await ask(shop, "select indisvalid from pg_index where indexrelid = 'thing_id'::regclass") is True


async def test_it_waits_for_a_table_that_is_in_use_without_making_others_wait(
    shop: Database, files: Callable[..., Module], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(migrations, "_LOCK_TIMEOUT", "200ms")
    monkeypatch.setattr(migrations, "_LOCK_TRIES", 1000)
    await migrate(shop, [files("create table thing (id int)")])
    reader, other = await shop.connect("shop"), await shop.connect("shop")
    waits = "application_name = 'hetao migrate shop' and wait_event = 'relation'"
    async with reader.transaction():
        await reader.execute("select * from thing")
        more = files("create table thing (id int)", "alter table thing add name text")
        running = asyncio.create_task(migrate(shop, [more]))

        async def queued() -> bool:
            return bool(await other.fetchval(f"select count(*) from pg_stat_activity where {waits}"))

        await until(queued, "the migration waits")
        # The migration stands in the queue for the table now, and this behind it: only until the migration steps back.
        assert await other.fetchval("select count(*) from thing") == 0
        assert not running.done()
    assert await running == 1
    await reader.close()
    await other.close()


async def test_what_never_ends_is_given_up_with_one_line(
    shop: Database, files: Callable[..., Module], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(migrations, "_LOCK_TIMEOUT", "20ms")
    monkeypatch.setattr(migrations, "_LOCK_TRIES", 1)
    await migrate(shop, [files("create table thing (id int)")])
    reader = await shop.connect("shop")
    async with reader.transaction():
        await reader.execute("select * from thing")
        with pytest.raises(StartupError, match="lock timeout"):
            await migrate(shop, [files("create table thing (id int)", "alter table thing add name text")])
    await reader.close()


def test_numbers_have_no_gaps(tmp_path: Path):
    (tmp_path / "0002_late.sql").touch()
    with pytest.raises(ValueError, match="0001"):
        read("shop", tmp_path)


def test_statements_are_told_apart():
    sql = """
    -- a comment; with a semicolon
    create table a (t text default 'x;''y'); /* ; */
    create function f() returns int language sql as $body$ select 1; $body$;
    select 2
    """
    assert [s.split()[0:2] for s in statements(sql)] == [["create", "table"], ["create", "function"], ["select", "2"]]


ALLOWED = [
    "create table thing (id uuid primary key, name text not null); create index thing_name on thing (name);",
    "create table thing (id int); alter table thing add name text not null;",
    "alter table thing add name text",
    "alter table thing add column name text not null default ''",
    "alter table thing add constraint named check (name <> '') not valid",
    "alter table thing validate constraint named",
    "alter table thing alter column name drop not null",
    "alter table thing set (fillfactor = 80)",
    "-- why: this replaces now() and drop table\ncreate table thing (id int)",
    "insert into kind values ('drop table', 'now()')",
    "-- hetao: contract (safe since 0.3)\nalter table thing drop column name",
    "-- hetao: concurrently\ncreate index concurrently if not exists thing_name on thing (name);",
    "-- hetao: concurrently\ndrop index concurrently if exists thing_name;",
]

REFUSED = [
    "drop table thing",
    "alter table thing drop column name",
    "alter table thing rename to things",
    "alter table thing rename column name to title",
    "alter table thing alter column id type bigint",
    "alter table thing alter name set not null",
    "alter table thing add name text not null",
    "alter table thing add constraint named check (name <> '')",
    "alter table thing add constraint one unique (name)",
    "create index thing_name on thing (name)",
    "create index concurrently if not exists thing_name on thing (name)",
    "-- hetao: concurrently\ncreate index thing_name on thing (name)",
    "-- hetao: concurrently\ncreate index concurrently thing_name on thing (name)",
    "-- hetao: concurrently\nalter table thing add name text",
    "-- hetao: contract\ndrop table thing",
    "-- hetao: quickly\ncreate table thing (id int)",
    "truncate thing",
    "create table thing (at timestamptz default now())",
    "create table thing (at timestamptz default CURRENT_TIMESTAMP)",
    "create extension pg_trgm",
    "grant select on thing to public",
    "begin; create table thing (id int); commit",
    "set search_path = public",
]


@pytest.mark.parametrize("sql", ALLOWED)
def test_what_only_adds_is_allowed(sql: str):
    assert lint(Migration("shop", 1, "0001_step", sql)) == []


@pytest.mark.parametrize("sql", REFUSED)
def test_what_breaks_the_version_before_is_refused(sql: str):
    assert lint(Migration("shop", 1, "0001_step", sql))


FOLDERS = [p for p in [*ROOT.glob("kit/**/migrations"), *ROOT.glob("services/*/migrations")] if p.is_dir()]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.parent.name)
def test_the_products_own_migrations_keep_the_rule(folder: Path):
    assert [line for migration in read(folder.parent.name, folder) for line in lint(migration)] == []
