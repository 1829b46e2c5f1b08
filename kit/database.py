"""One database, and in it for each service a schema and a login role that reaches nothing else.

    async with Database.open(settings) as database:        # starts the embedded PostgreSQL if none is named
        await database.prepare(["grid", "cases", "log"])
        pool = await database.open_pool("grid", 10)

Where it is, by setting: `database.urls` names a database per service; `database_url` one for all, by an account that may make roles
and schemas; without either it is the embedded one. Roles are called `role_prefix` + service; their passwords are derived from one
secret, so that every process knows its own. (The embedded one needs none: see `kit.postgres`.)
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import orjson

from kit.config import Settings
from kit.errors import StartupError
from kit.postgres import EmbeddedPostgres, InUse
from kit.postgres_programs import OLDEST
from kit.secretfile import create_secret, read_secret

logger = logging.getLogger(__name__)

#: The embedded event log has a schema and a role like a service.
LOG_SCHEMA = "log"

#: A schema that is there while a restore is under way.
RESTORING = "hetao_restoring"

#: Said by a server that will not let us in, however long we wait.
_NO_USE_WAITING = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)

#: Said when another deployment on the same server makes the same role at the same moment.
_AT_ONCE = (asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError)


class Database:
    """Where the services' schemas are, and how to reach each."""

    def __init__(self, settings: Settings, embedded: EmbeddedPostgres | None = None):
        self.settings, self.embedded = settings, embedded
        self._role_secret: bytes | None = None
        self.restoring = False

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, settings: Settings, *, attach: bool = False) -> AsyncIterator[Database]:
        """The database of the settings; the embedded PostgreSQL runs as long as the context.

        attach: where a platform already runs on the data folder, its PostgreSQL is used as well (for commands beside it).
        Raises `StartupError`.
        """
        if not settings.embedded:
            yield cls(settings)
            return
        chosen = settings.database
        embedded = EmbeddedPostgres(
            settings.data_dir,
            binaries=chosen.binaries,
            os_user=chosen.os_user,
            start_timeout=chosen.start_timeout,
        )
        try:
            await embedded.start()
        except InUse:
            if not attach:
                raise
        try:
            yield cls(settings, embedded)
        finally:
            await embedded.stop()

    # -- addresses ----------------------------------------------------------------------------------------------------

    def role(self, service: str) -> str:
        return self.settings.database.role_prefix + service

    def address(self, service: str) -> dict[str, Any]:
        """Arguments of `asyncpg.connect` for a service's own role."""
        if url := self.settings.database.urls.get(service):
            return {"dsn": url.get_secret_value()}
        if self.embedded:
            return {"dsn": self.embedded.dsn(self.role(service), self.settings.database.name)}
        if self.settings.database_url is None:
            raise StartupError(
                f"没有服务 {service} 的数据库地址（HETAO_DATABASE__URLS 或 HETAO_DATABASE_URL）",
                f"no database is named for {service} (HETAO_DATABASE__URLS or HETAO_DATABASE_URL)",
            )
        return {
            "dsn": self.settings.database_url.get_secret_value(),
            "user": self.role(service),
            "password": self._password(self.role(service)),
        }

    def _password(self, role: str) -> str:
        if self._role_secret is None:
            self._role_secret = self._read_role_secret()
        return hmac.new(self._role_secret, role.encode(), hashlib.sha256).hexdigest()

    def _read_role_secret(self) -> bytes:
        if given := self.settings.database.role_secret:
            return given.get_secret_value().encode()
        file = self.settings.data_dir / "keys" / "database.secret"
        if not file.exists():
            create_secret(file, secrets.token_hex(32))
        return read_secret(file).strip().encode()

    # -- connections --------------------------------------------------------------------------------------------------

    async def connect(self, service: str, **server_settings: str) -> asyncpg.Connection:
        """A single connection as a service's role, to its schema. Raises `StartupError` when the server refuses it."""
        return await self._connect(self.address(service), {"search_path": quoted(service), **server_settings})

    async def _connect(self, address: dict[str, Any], server_settings: dict[str, str]) -> asyncpg.Connection:
        """Waits for a server that is not up yet, up to `start_timeout`."""
        loop = asyncio.get_running_loop()
        timeout = self.settings.database.connect_timeout
        deadline = loop.time() + self.settings.database.start_timeout
        waited = False
        while True:
            try:
                return await asyncpg.connect(**address, server_settings=server_settings, timeout=timeout)
            except _NO_USE_WAITING as error:
                raise _refused(address, error) from error
            except (OSError, asyncpg.PostgresError) as error:  # TimeoutError is an OSError
                if loop.time() > deadline:
                    raise _refused(address, error) from error
                if not waited:
                    logger.warning("waiting for PostgreSQL at %s: %s", _where(address), error)
                waited = True
            except (ValueError, asyncpg.InterfaceError) as error:  # the address itself is wrong
                raise _refused(address, error) from error
            await asyncio.sleep(0.2)

    async def reach(self, service: str) -> None:
        """One try to reach a service's server, with the account that comes first: whether it is there at all.

        Raises `StartupError` where waiting is of no use, else what the driver raises.
        """
        own = service in self.settings.database.urls or not self.settings.database.prepare
        address = self.address(service) if own else self._administrator()
        try:
            connection = await asyncpg.connect(**address, server_settings={"application_name": "hetao look"})
        except (*_NO_USE_WAITING, ValueError, asyncpg.InterfaceError) as error:
            raise _refused(address, error) from error
        await connection.close()

    def prober(self, service: str) -> Callable[[], Awaitable[None]]:
        """A look whether the server answers, by a connection of its own that is kept: however busy the pools are, it tells of the server."""
        kept: list[asyncpg.Connection] = []

        async def look() -> None:
            try:
                if not kept:
                    names = {"application_name": f"hetao {service} look"}
                    kept.append(await asyncpg.connect(**self.address(service), server_settings=names))
                await kept[0].fetchval("select 1")
            except BaseException:
                if kept:
                    kept.pop().terminate()
                raise

        return look

    async def open_pool(self, service: str, max_size: int, *, min_size: int = 1, name: str = "") -> asyncpg.Pool:
        """Connections as the service's role, to its schema alone; `json` and `jsonb` are Python values.

        `name` tells pools of one service apart in `pg_stat_activity`. Nothing is reset between two users of a connection (it would be a
        round trip): nobody may change a session's settings. What an open transaction left is rolled back all the same.
        """
        chosen = self.settings.database
        return await asyncpg.create_pool(
            **self.address(service),
            min_size=min(min_size, max_size),
            max_size=max_size,
            timeout=chosen.connect_timeout,
            command_timeout=chosen.statement_timeout + 5,  # for a server that has stopped answering at all
            statement_cache_size=256,
            max_cached_statement_lifetime=0,
            init=_teach_json,
            reset=_keep,
            server_settings={
                "search_path": quoted(service),
                "application_name": f"hetao {service} {name}".strip(),
                "timezone": "UTC",
                "jit": "off",
                # Arrays of parameters look so much cheaper with their values known that the server would plan them anew at every call.
                "plan_cache_mode": "force_generic_plan",
                # And a plan made while a table is small must not read through it when it has grown: these are the plans that a test looks at.
                "enable_seqscan": "off",
                "statement_timeout": str(round(chosen.statement_timeout * 1000)),
                "lock_timeout": str(round(chosen.lock_timeout * 1000)),
                "idle_in_transaction_session_timeout": "60000",
            },
        )

    # -- preparation --------------------------------------------------------------------------------------------------

    async def prepare(self, services: Iterable[str]) -> None:
        """Makes the database, roles and schemas that are missing. Any number of processes may do so at once.

        Raises `StartupError` when the server is too old, is not in UTF-8, or does not allow it.
        """
        services = list(services)
        for service in services:
            if service in self.settings.database.urls:
                await self._prepare_own(service)
        shared = [service for service in services if service not in self.settings.database.urls]
        if not shared:
            return
        if self.embedded:
            await self._make_database()
        connection = await self._connect(self._administrator(), {"application_name": "hetao prepare"})
        try:
            await _check(connection)
            await self._look_for_restoring(connection)
            async with locked(connection, "prepare", self.settings.database.start_timeout):
                try:
                    await self._make_roles(connection, shared)
                except _AT_ONCE:  # roles belong to the whole server, the lock to this database: see what is missing now
                    await self._make_roles(connection, shared)
        except asyncpg.InsufficientPrivilegeError as error:
            raise _refused(self._administrator(), error) from error
        finally:
            await connection.close()

    async def server_version(self, service: str) -> int:
        """The major version of the server that keeps a service's schema."""
        own = service in self.settings.database.urls
        connection = await self._connect(self.address(service) if own else self._administrator(), {})
        try:
            return int(connection.get_server_version().major)
        finally:
            await connection.close()

    # -- restoring ----------------------------------------------------------------------------------------------------

    async def begin_restoring(self, services: Sequence[str]) -> bool:
        """From now on no platform starts here until `end_restoring`. Returns False where that was so already: a restore was not finished."""
        self.restoring, first = True, True
        if self.embedded:
            await self._make_database()
        for address in self._owners(services):
            connection = await self._connect(address, {})
            try:
                if await connection.fetchval("select true from pg_namespace where nspname = $1", RESTORING):
                    first = False
                else:
                    await connection.execute(f"create schema {RESTORING}")
            finally:
                await connection.close()
        return first

    async def empty(self, services: Sequence[str]) -> None:
        """Drops the services' schemas with all that is in them."""
        for service in services:
            address = self._administrator() if service not in self.settings.database.urls else self.address(service)
            connection = await self._connect(address, {"lock_timeout": "10s"})
            try:
                await connection.execute(
                    f"drop schema if exists {quoted(service)} cascade; drop schema if exists {quoted(shadow_of(service))} cascade"
                )
            finally:
                await connection.close()

    async def end_restoring(self, services: Sequence[str]) -> None:
        for address in self._owners(services):
            connection = await self._connect(address, {})
            try:
                await connection.execute(f"drop schema if exists {RESTORING}")
            finally:
                await connection.close()
        self.restoring = False

    def _owners(self, services: Sequence[str]) -> list[dict[str, Any]]:
        """Whoever may make schemas, once for each database."""
        own = [self.address(service) for service in services if service in self.settings.database.urls]
        return own + [self._administrator()] * (len(own) < len(services))

    async def _look_for_restoring(self, connection: asyncpg.Connection) -> None:
        if not self.restoring and await connection.fetchval(
            "select true from pg_namespace where nspname = $1", RESTORING
        ):
            raise StartupError(
                "数据库的恢复没有完成：请再次运行 hetao restore --force",
                "a restore of the database was not finished: run hetao restore --force again",
            )

    @contextlib.asynccontextmanager
    async def alone(self, service: str, what: str) -> AsyncIterator[None]:
        """What of several replicas one does first, and the others when it has done."""
        connection = await self.connect(service, application_name=f"hetao {service} {what}")
        try:
            async with locked(connection, f"{what} {service}", self.settings.database.start_timeout):
                yield
        finally:
            await connection.close()

    async def is_fresh(self, schemas: Sequence[str]) -> bool:
        """Whether no service has ever stored anything here."""
        for schema in schemas:
            connection = await self.connect(schema)
            try:
                if await connection.fetchval("select to_regclass('migration') is not null"):
                    return False
            finally:
                await connection.close()
        return True

    def _administrator(self) -> dict[str, Any]:
        if self.embedded:
            return {"dsn": self.embedded.dsn(database=self.settings.database.name)}
        assert self.settings.database_url is not None
        return {"dsn": self.settings.database_url.get_secret_value()}

    async def _make_database(self) -> None:
        assert self.embedded is not None
        name = self.settings.database.name
        connection = await self._connect({"dsn": self.embedded.dsn()}, {})
        try:
            async with locked(connection, "create database", self.settings.database.start_timeout):
                if not await connection.fetchval("select true from pg_database where datname = $1", name):
                    await connection.execute(f"create database {quoted(name)} template template0")
        finally:
            await connection.close()

    async def _prepare_own(self, service: str) -> None:
        connection = await self.connect(service)
        try:
            await _check(connection)
            await self._look_for_restoring(connection)
            if not await connection.fetchval("select true from pg_namespace where nspname = $1", service):
                await connection.execute(f"create schema if not exists {quoted(service)}")
                await connection.execute(f"create schema if not exists {quoted(shadow_of(service))}")
        except asyncpg.InsufficientPrivilegeError as error:
            raise _refused(self.address(service), error) from error
        finally:
            await connection.close()

    async def _make_roles(self, connection: asyncpg.Connection, services: Sequence[str]) -> None:
        """The role may use its schema and make things in it; what it makes is its own. Nobody else is granted anything."""
        database = quoted(await connection.fetchval("select current_database()"))
        roles = {row[0] for row in await connection.fetch("select rolname from pg_roles")}
        schemas = {row[0] for row in await connection.fetch("select nspname from pg_namespace")}
        statements = []
        if missing := [service for service in services if self.role(service) not in roles or service not in schemas]:
            statements += [f"revoke all on database {database} from public", "revoke all on schema public from public"]
        for service in missing:
            role, schema = quoted(self.role(service)), quoted(service)
            if self.role(service) not in roles:
                statements.append(f"create role {role} login nosuperuser nocreatedb nocreaterole noinherit")
            statements += [
                f"grant connect on database {database} to {role}",
                f"create schema if not exists {schema}",
                f"revoke all on schema {schema} from public",
                f"grant usage, create on schema {schema} to {role}",
                f"create schema if not exists {quoted(shadow_of(service))}",
                f"revoke all on schema {quoted(shadow_of(service))} from public",
                f"grant usage, create on schema {quoted(shadow_of(service))} to {role}",
            ]
        if not self.embedded:  # always: the secret may have changed
            for service in services:
                verifier = scram_verifier(self._password(self.role(service)))
                statements.append(f"alter role {quoted(self.role(service))} password '{verifier}'")
        if statements:
            async with connection.transaction():
                await connection.execute(";".join(statements))


@contextlib.asynccontextmanager
async def locked(connection: asyncpg.Connection, what: str, timeout: float) -> AsyncIterator[None]:
    """An advisory lock of the database, polled: a waiting `pg_advisory_lock` would hold a snapshot, and with it back
    the concurrent index build of the very process that has the lock."""
    key = int.from_bytes(hashlib.sha256(f"hetao {what}".encode()).digest()[:8], signed=True)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while not await connection.fetchval("select pg_try_advisory_lock($1)", key):
        if loop.time() > deadline:
            raise StartupError(
                f"另一个进程占用数据库准备锁（{what}）超过 {timeout:.0f} 秒",
                f"another process has held the lock of the database's preparation ({what}) for {timeout:.0f} s",
            )
        await asyncio.sleep(0.1)
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.fetchval("select pg_advisory_unlock($1)", key)


def scram_verifier(password: str, iterations: int = 4096) -> str:
    """What PostgreSQL stores of a password (RFC 5803), so that the password itself is in no statement and no log of the server."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    stored, server = hashlib.sha256(client).digest(), hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def shadow_of(service: str) -> str:
    """The schema in which a service's projections are built anew, before they take the place of the present ones."""
    return f"{service}_shadow"


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


async def _check(connection: asyncpg.Connection) -> None:
    version = connection.get_server_version()
    if version.major < OLDEST:
        raise StartupError(
            f"数据库为 PostgreSQL {version.major}，需要 {OLDEST} 或更高版本",
            f"the database is PostgreSQL {version.major}; {OLDEST} or later is needed",
        )
    if (encoding := await connection.fetchval("show server_encoding")) != "UTF8":
        raise StartupError(
            f"数据库编码为 {encoding}，需要 UTF8", f"the database's encoding is {encoding}; UTF8 is needed"
        )


async def _teach_json(connection: asyncpg.Connection) -> None:
    for name, encode, decode in (
        ("json", orjson.dumps, orjson.loads),
        (
            "jsonb",
            lambda value: b"\x01" + orjson.dumps(value),
            lambda data: orjson.loads(data[1:]),
        ),  # a version comes first
    ):
        await connection.set_type_codec(name, schema="pg_catalog", format="binary", encoder=encode, decoder=decode)


async def _keep(_: Any) -> None:
    """See `open_pool`."""


def _refused(address: dict[str, Any], error: Exception) -> StartupError:
    where = _where(address)
    return StartupError(f"无法使用数据库 {where}：{error}", f"cannot use the database at {where}: {error}")


def _where(address: dict[str, Any]) -> str:
    """Host, port and database of an address, never its password."""
    try:
        parts = urlsplit(address["dsn"])
        return f"{parts.hostname or ''}:{parts.port or 5432}{parts.path}"
    except ValueError:
        return "?"
