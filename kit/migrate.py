"""Numbered SQL files, each applied once to the schema of its service.

A file is called `0001_words.sql`; the numbers of a folder have no gaps, and a file never changes once it was applied anywhere. The first
lines may hold marks:

    -- hetao: concurrently               index builds outside a transaction, one statement after the other
    -- hetao: contract (safe since 0.3)  takes away what the versions before 0.3 still use

Everything else only adds (expand): the version before this one goes on working on the new schema, for an upgrade runs both. `lint`
holds the files to it.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from kit.clock import Clock
from kit.config import Settings
from kit.database import LOG_SCHEMA, Database, locked, quoted
from kit.errors import StartupError
from kit.module import LOG, POSTGRES, Module

HERE = Path(__file__).parent

#: The tables that the kit has in every service's schema, and those of the embedded log.
KIT_MIGRATIONS, LOG_MIGRATIONS = HERE / "migrations", HERE / "log" / "migrations"

#: A migration waits no longer than this for a table's lock, lest everybody queue up behind it; it tries again this often.
_LOCK_TIMEOUT, _LOCK_TRIES = "2s", 30

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_MARK = re.compile(r"^-- hetao: (.+)$", re.MULTILINE)
_SAFE_SINCE = re.compile(r"contract \(safe since \d+\.\d+(\.\d+)?\)")

LEDGER = """
create table if not exists migration (
    source text collate "C" not null,
    number int not null,
    name text not null,
    checksum text not null,
    applied_at timestamptz not null,
    primary key (source, number)
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `source` is the folder's owner: "kit", "log" or a service."""

    source: str
    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def marks(self) -> list[str]:
        return _MARK.findall(self.sql)

    @property
    def concurrently(self) -> bool:
        return "concurrently" in self.marks


def read(source: str, folder: Path) -> list[Migration]:
    """The migrations of a folder in their order. ValueError for a wrong name or a gap in the numbers."""
    found: list[Migration] = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None or int(match[1]) != len(found) + 1:
            raise ValueError(f"{path}: expected a name like {len(found) + 1:04}_words.sql")
        found.append(Migration(source, len(found) + 1, path.stem, path.read_text(encoding="utf-8")))
    return found


def schemas(settings: Settings, modules: Iterable[Module]) -> list[str]:
    """What the modules need in the database: a schema each, and one for the log where Kafka is not it."""
    modules = list(modules)
    log_too = settings.kafka.bootstrap is None and any(LOG in module.engines for module in modules)
    return [module.name for module in modules if POSTGRES in module.engines] + [LOG_SCHEMA] * log_too


def plan(modules: Iterable[Module]) -> dict[str, list[Migration]]:
    """By schema, all that belongs in it: the kit's first."""
    modules = list(modules)
    planned = {
        module.name: read("kit", KIT_MIGRATIONS) + (read(module.name, module.migrations) if module.migrations else [])
        for module in modules
        if POSTGRES in module.engines
    }
    if any(LOG in module.engines for module in modules):
        planned[LOG_SCHEMA] = read("log", LOG_MIGRATIONS)
    return planned


async def migrate(
    database: Database, modules: Iterable[Module], progress: Callable[[str, str], None] = lambda schema, name: None
) -> int:
    """Brings the schemas of the modules, and of the embedded log, up to date; tells of each file before it is applied.

    The schemas must be prepared (`Database.prepare`). Returns how many files were applied. Raises `StartupError` when an applied file
    has changed since, and when one fails: what went before stays applied, and the next run goes on from there. A schema that is newer
    than this version is left alone: migrations only expand, so this version still works on it.
    """
    modules = list(modules)
    planned, wanted = plan(modules), schemas(database.settings, modules)
    counts = await asyncio.gather(*(_migrate_schema(database, schema, planned[schema], progress) for schema in wanted))
    return sum(counts)


async def _migrate_schema(
    database: Database, schema: str, migrations: list[Migration], progress: Callable[[str, str], None]
) -> int:
    connection = await database.connect(schema, application_name=f"hetao migrate {schema}", lock_timeout=_LOCK_TIMEOUT)
    try:
        if not await _pending(connection, schema, migrations):
            return 0
        async with locked(connection, f"migrate {schema}", database.settings.database.start_timeout):
            await connection.execute(LEDGER)
            pending = await _pending(connection, schema, migrations)
            for migration in pending:
                progress(schema, migration.name)
                await _apply(connection, schema, migration)
            return len(pending)
    finally:
        await connection.close()


async def _pending(connection: asyncpg.Connection, schema: str, migrations: list[Migration]) -> list[Migration]:
    """What is not applied yet, after a look at what is."""
    if not await connection.fetchval("select to_regclass($1)", f"{quoted(schema)}.migration"):
        return migrations
    rows = await connection.fetch("select source, number, checksum from migration")
    applied = {(row["source"], row["number"]): row["checksum"] for row in rows}
    for migration in migrations:
        if applied.get((migration.source, migration.number), migration.checksum) != migration.checksum:
            raise StartupError(
                f"{schema}：迁移 {migration.source}/{migration.name} 在应用之后被修改；请恢复原文件，改动写入新的迁移",
                f"{schema}: migration {migration.source}/{migration.name} was changed after it was applied: restore it and put "
                "the change into a new one",
            )
    return [migration for migration in migrations if (migration.source, migration.number) not in applied]


async def _apply(connection: asyncpg.Connection, schema: str, migration: Migration) -> None:
    for attempt in range(1, _LOCK_TRIES + 1):
        try:
            if migration.concurrently:
                await _drop_invalid_indexes(connection, schema)
                for statement in statements(migration.sql):
                    await connection.execute(statement)
                await _record(connection, migration)
            else:
                async with connection.transaction():
                    await connection.execute(migration.sql)
                    await _record(connection, migration)
            return
        except asyncpg.LockNotAvailableError as error:
            if attempt == _LOCK_TRIES:
                raise _failed(schema, migration, error) from error
            await asyncio.sleep(0.5)
        except asyncpg.PostgresError as error:
            raise _failed(schema, migration, error) from error


async def _record(connection: asyncpg.Connection, migration: Migration) -> None:
    await connection.execute(
        "insert into migration (source, number, name, checksum, applied_at) values ($1, $2, $3, $4, $5)",
        migration.source,
        migration.number,
        migration.name,
        migration.checksum,
        Clock().now(),
    )


async def _drop_invalid_indexes(connection: asyncpg.Connection, schema: str) -> None:
    """What an interrupted concurrent build left behind: it is there by name, and useless."""
    invalid = await connection.fetch(
        "select c.relname from pg_index i join pg_class c on c.oid = i.indexrelid join pg_namespace n on n.oid = c.relnamespace"
        " where n.nspname = $1 and not i.indisvalid",
        schema,
    )
    for row in invalid:
        await connection.execute(f"drop index concurrently if exists {quoted(schema)}.{quoted(row['relname'])}")


def _failed(schema: str, migration: Migration, error: asyncpg.PostgresError) -> StartupError:
    where = f"{schema}: {migration.source}/{migration.name}"
    return StartupError(f"迁移失败 {where}：{error}", f"migration failed: {where}: {error}")


# -- the rule ---------------------------------------------------------------------------------------------------------

#: What the version before may still use. Allowed in a file that is marked `contract`.
_CONTRACTS = {
    r"^drop (table|view|materialized view|sequence|function|type|schema)\b": "drops what the version before may use",
    r"^alter table .* drop column\b": "drops a column that the version before may use",
    r"^alter (table|index|view|sequence|type) .*\brename\b": "renames what the version before knows by its old name",
    r"^alter table .* alter (column )?\w+ (set data )?type\b": "changes a type under the version before",
    r"^alter table .* alter (column )?\w+ set not null\b": "the version before may still write nulls",
    r"^alter table .* alter (column )?\w+ drop default\b": "the version before may rely on the default",
    r"^alter table .* add (column )?(if not exists )?\w+ (?!.*\bdefault\b)[^,]*\bnot null\b": "the version before does not fill the column",
    r"^alter table .* add (constraint \w+ )?(primary key|unique|exclude)\b(?!.* using index)": "locks the table while it builds the index",
    r"^alter table .* add (constraint \w+ )?(check|foreign key)\b(?!.*\bnot valid\b)": "checks every row under a lock; add it `not valid`",
    r"^(truncate|lock|cluster|vacuum full)\b": "locks out the version before",
}

#: Never allowed.
_NEVER = {
    r"\b(now\s*\(\s*\)|current_timestamp|current_date|localtimestamp|clock_timestamp\s*\(|transaction_timestamp\s*\()": (
        "asks the database for the time, which comes with the unit of work"
    ),
    r"^create extension\b": "needs an extension; the schema runs on a bare PostgreSQL",
    r"^(grant|revoke|alter default privileges|alter .* owner to)\b": "touches privileges; roles and schemas are prepared elsewhere",
    r"^(begin|commit|rollback|start transaction)\b": "ends the transaction that it runs in",
    r"^(set|reset)\b(?! constraints)": "changes the session's settings",
}

_QUOTED = re.compile(r"'(?:[^']|'')*'|\$(\w*)\$.*?\$\1\$|--[^\n]*|/\*.*?\*/", re.DOTALL)


def statements(sql: str) -> list[str]:
    """The statements of a file without its comments; texts and bodies of functions stay whole."""
    found: list[str] = []
    start = 0
    bare = _QUOTED.sub(lambda m: (" " if m[0][:2] in ("--", "/*") else "x") * len(m[0]), sql)
    for end in [match.start() for match in re.finditer(";", bare)] + [len(sql)]:
        if bare[start:end].strip():
            lead = len(bare[start:end]) - len(bare[start:end].lstrip())
            found.append(sql[start + lead : end].rstrip())
        start = end + 1
    return found


def lint(migration: Migration) -> list[str]:
    """What in a migration breaks the rule, a line each; nothing if it is fine."""
    where = f"{migration.source}/{migration.name}"
    contract = [mark for mark in migration.marks if mark.startswith("contract")]
    wrong = [
        f'{where}: a mark must be "concurrently" or "contract (safe since <version>)", not "{mark}"'
        for mark in migration.marks
        if mark != "concurrently" and not _SAFE_SINCE.fullmatch(mark)
    ]
    made: set[str] = set()
    for statement in statements(migration.sql):
        plain = " ".join(_QUOTED.sub(lambda m: " " if m[0][:2] in ("--", "/*") else "''", statement).lower().split())
        if match := re.match(r"create table (?:if not exists )?(\w+)", plain):
            made.add(match[1])
        wrong += [f"{where}: {why}: {plain[:80]}" for pattern, why in _NEVER.items() if re.search(pattern, plain)]
        target = re.match(r"alter table (?:if exists )?(?:only )?(\w+)", plain)
        if not contract and not (target and target[1] in made):
            wrong += [
                f"{where}: {why}: {plain[:80]}" for pattern, why in _CONTRACTS.items() if re.search(pattern, plain)
            ]
        wrong += [f"{where}: {why}: {plain[:80]}" for why in _index_rules(plain, made, migration.concurrently)]
    return wrong


def _index_rules(plain: str, made: set[str], concurrently: bool) -> Iterable[str]:
    index = re.match(r"(create (?:unique )?|drop )index (concurrently )?", plain)
    if concurrently and not (index and index[2]):
        yield "a file marked `concurrently` has concurrent index statements alone"
    if concurrently and index and index[1].startswith("create") and " if not exists " not in plain:
        yield "an index build that may be repeated says `if not exists`"
    if index and index[2] and not concurrently:
        yield "needs the mark `concurrently`, for it cannot run in a transaction"
    if index and not index[2]:
        table = re.search(r" on (?:only )?(\w+)", plain)
        if not (table and table[1] in made):
            yield "locks out writers; use `concurrently` in a file of its own"
