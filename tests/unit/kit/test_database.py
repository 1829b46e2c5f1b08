"""A schema and a login for each service, and nothing across."""

import asyncio
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from kit.config import load
from kit.database import Database, scram_verifier
from kit.errors import StartupError
from kit.postgres import EmbeddedPostgres, leftovers
from tests.waiting import until

SERVICES = ["grid", "cases", "log"]


@pytest.fixture
async def prepared(database: Database) -> Database:
    await database.prepare(SERVICES)
    return database


async def test_a_service_reaches_its_own_schema_and_no_other(prepared: Database):
    grid, cases = await prepared.connect("grid"), await prepared.connect("cases")
    try:
        await cases.execute("create table secret (id int)")
        await grid.execute("create table own (id int)")
        for statement in (
            "select * from cases.secret",
            "create table cases.intruder (id int)",
            "create table public.intruder (id int)",
            "create table log.intruder (id int)",
            "create schema intruder",
            "create temporary table intruder (id int)",
            "set role hetao_cases",
            "create role intruder",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await grid.execute(statement)
    finally:
        await grid.close()
        await cases.close()


async def test_no_role_holds_more_than_it_needs(prepared: Database, server: EmbeddedPostgres):
    connection = await asyncpg.connect(server.dsn(database=prepared.settings.database.name))
    try:
        for service in SERVICES:
            allowed = await connection.fetch(
                "select nspname from pg_namespace where nspname in ('grid', 'cases', 'log', 'public')"
                " and has_schema_privilege($1, oid, 'create')",
                prepared.role(service),
            )
            assert [row[0] for row in allowed] == [service]
            role = await connection.fetchrow("select * from pg_roles where rolname = $1", prepared.role(service))
            assert role
            assert not any(role[f"rol{may}"] for may in ("super", "createdb", "createrole", "replication", "bypassrls"))
        members = (
            "select count(*) from pg_auth_members m join pg_roles r on r.oid = m.roleid where r.rolname like 'hetao%'"
        )
        assert await connection.fetchval(members) == 0
    finally:
        await connection.close()


async def test_preparing_again_and_at_once_changes_nothing(database: Database):
    await asyncio.gather(*(database.prepare(SERVICES) for _ in range(4)))
    await database.prepare([*SERVICES, "notify"])
    connection = await database.connect("notify")
    await connection.close()


async def test_a_pool_speaks_json_and_stays_within_its_schema(prepared: Database):
    pool = await prepared.open_pool("grid", 2, name="background")
    try:
        await pool.execute("create table thing (id int, facts jsonb, other json)")
        await pool.execute("insert into thing values (1, $1, $2)", {"名称": ["a", 1]}, [None])
        row = await pool.fetchrow("select facts, other from grid.thing")
        assert row
        assert (row["facts"], row["other"]) == ({"名称": ["a", 1]}, [None])
        assert await pool.fetchval("select current_setting('application_name')") == "hetao grid background"
        assert await pool.fetchval("select current_setting('statement_timeout')") == "30s"
    finally:
        await pool.close()


@pytest.mark.filterwarnings("ignore")
async def test_a_transaction_left_open_is_undone_when_its_connection_goes_back(prepared: Database):
    pool = await prepared.open_pool("grid", 1)
    try:
        await pool.execute("create table thing (id int)")
        async with pool.acquire() as connection:
            await connection.execute("begin")
            await connection.execute("insert into thing values (1)")
        assert await pool.fetchval("select count(*) from thing") == 0
    finally:
        await pool.close()


async def test_a_pool_comes_back_after_the_server_did(scratch: Path):
    settings = load(data_dir=scratch / "data")
    async with Database.open(settings) as database:
        await database.prepare(["grid"])
        pool = await database.open_pool("grid", 2)
        assert database.embedded
        first = database.embedded.pid
        assert first
        await pool.fetchval("select 1")
        os.kill(first, signal.SIGKILL)
        embedded = database.embedded

        async def back() -> bool:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                return await pool.fetchval("select 1") == 1 and embedded.pid != first
            return False

        await until(back, "the pool reaches the new server", 60)
        await pool.close()
    assert leftovers(scratch / "data" / "postgres") == []


async def test_a_command_beside_a_running_platform_uses_its_database(scratch: Path):
    settings = load(data_dir=scratch / "data")
    async with Database.open(settings) as running:
        await running.prepare(["grid"])
        with pytest.raises(StartupError, match="already runs"):
            async with Database.open(settings):
                pass
        async with Database.open(settings, attach=True) as beside:
            connection = await beside.connect("grid")
            assert await connection.fetchval("select 1") == 1
            await connection.close()
        connection = await running.connect("grid")
        await connection.close()


async def test_an_outside_database_is_reached_with_passwords_of_our_own(scratch: Path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    rules = scratch / "rules"
    rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    rules.chmod(0o644)
    options = {"listen_addresses": "127.0.0.1", "port": str(port), "hba_file": str(rules)}
    server = EmbeddedPostgres(scratch / "outside", durable=False, options=options)
    async with server:
        address = server.dsn() + f"&port={port}"
        connection = await asyncpg.connect(address)
        await connection.execute("create role owner login createrole password 'open-sesame'")
        await connection.execute("create database hetao owner owner")
        await connection.close()
        url = f"postgresql://owner:open-sesame@127.0.0.1:{port}/hetao"
        settings = load(data_dir=scratch / "data", database_url=url, database={"start_timeout": 5})
        async with Database.open(settings) as database:
            assert database.embedded is None
            await database.prepare(["grid", "cases"])
            await Database(settings).prepare(["grid", "cases"])
            grid = await Database(settings).connect("grid")
            assert await grid.fetchval("select current_user") == "hetao_grid"
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await grid.execute("create table cases.intruder (id int)")
            await grid.close()
            own = load(data_dir=scratch / "data", database={"urls": {"grid": f"{server_url(database, port)}"}})
            await Database(own).prepare(["grid"])
            with pytest.raises(StartupError, match="cases"):
                Database(own).address("cases")
        wrong = load(data_dir=scratch / "data", database_url=url.replace("sesame", "barley"))
        with pytest.raises(StartupError, match=f"127.0.0.1:{port}/hetao") as caught:
            await Database(wrong).prepare(["grid"])
        assert "barley" not in str(caught.value)


def server_url(database: Database, port: int) -> str:
    address = database.address("grid")
    return f"postgresql://{address['user']}:{address['password']}@127.0.0.1:{port}/hetao"


async def test_a_server_that_is_not_there_is_one_line(scratch: Path):
    settings = load(data_dir=scratch, database_url="postgresql://127.0.0.1:1/x", database={"start_timeout": 0.1})
    with pytest.raises(StartupError, match="127.0.0.1:1/x"):
        await Database(settings).prepare(["grid"])


def test_a_verifier_does_not_show_its_password():
    verifier = scram_verifier("open-sesame")
    assert verifier.startswith("SCRAM-SHA-256$4096:")
    assert "sesame" not in verifier
    assert verifier != scram_verifier("open-sesame")
