"""The unit of work: what one RPC, one event or one timer reads and changes, in one transaction.

There are three ways into a service, and `kit` opens one unit for each of them. The function that it hands the unit to reads and changes through
it and returns. `kit` then writes what the unit gathered (rows, events, audit, timers, the stored reply) in one statement, commits, and only then
answers. Nobody else begins or commits.

A unit takes a connection at its first statement. A reading unit opens no transaction, and neither does one whose only write is that last
statement: it is a transaction by itself.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import asyncpg
import orjson

from kit import metrics, telemetry
from kit.clock import business_date
from kit.errors import Aborted, Refused, Stale, Unavailable
from kit.events import Envelope, Event
from kit.gathered import Gathered, Insert
from kit.identity import Principal
from kit.ids import uuid7
from kit.limits import Marks

if TYPE_CHECKING:
    from kit.module import Runtime

T = TypeVar("T")

#: The largest event that a broker takes by default is 1 MiB; ours stay far below.
LARGEST_EVENT = 256 * 1024


#: Seconds of its deadline that a unit keeps back from a call to another service, or a tenth: a call that fails is not the unit's end.
CALL_MARGIN = 0.25


class NoConnection(Unavailable):
    """No connection to the database is to be had at the moment."""


#: Errors after which the same work may simply be done again.
RETRIED = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.InvalidCachedStatementError)

#: What a unit meets when the database is away, or goes away under it.
CONNECTION_LOST = (
    NoConnection,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what its state machine says when the server dies in the middle of an answer
    ConnectionError,
    TimeoutError,
)

#: The same for work that takes connections from a pool by itself.
DATABASE_AWAY = (*CONNECTION_LOST, asyncpg.TooManyConnectionsError, OSError)

#: Faults that pass by themselves: the same work may succeed later, and nothing of it is done.
PASSING = (
    *CONNECTION_LOST,
    *RETRIED,
    Unavailable,
    asyncpg.QueryCanceledError,  # statement_timeout
    asyncpg.LockNotAvailableError,
    asyncpg.InsufficientResourcesError,  # a full disk, too many connections
    asyncpg.ReadOnlySQLTransactionError,  # a server that is a replica, for now
)

WAITING = metrics.Histogram("db.client.connection.wait_time", "s", "waiting for a connection to the database")
TIMEOUTS = metrics.Counter("db.client.connection.timeouts", "{timeout}", "waits for a connection that were given up")

#: Units that wait for a connection, by pool.
PENDING: dict[str, int] = {}

OUTBOX = Insert("outbox", "event_id, type, key, division, snapshot, value, at, traceparent")
AUDIT = Insert("audit", "entity, entity_id, version, on_behalf, action, before, after, purpose, trace, at, actor")
TIMER = Insert(
    "timer",
    "kind, key, due",
    "on conflict (kind, key) do update "
    "set due = excluded.due, generation = nextval('timer_generation'), attempts = 0, parked_at = null, error = null",
)
NO_TIMER = "delete from timer where kind = $1 and key = $2"
REPLY = Insert("reply", "account, method, request_id, digest, answer, at")


class Unit:
    """One unit of work. `action`: the RPC's, handler's or timer's name, as the audit records it.

    now         the moment of the work, aware, UTC: SQL never asks the database for the time
    today       its calendar day where the work is done
    principal   who works
    writes      whether rows are read for a change; `lock` is the clause that says so
    patient     somebody else was faster at the first try: now what is read for a change is locked
    envelope    the event that is being heard, if it is one
    """

    def __init__(
        self,
        runtime: Runtime,
        principal: Principal,
        *,
        writes: bool,
        action: str,
        background: bool = False,
        envelope: Envelope | None = None,
        traceparent: str = "",
        deadline: float | None = None,
    ):
        self.runtime, self.principal, self.writes, self.action = runtime, principal, writes, action
        self.envelope, self.traceparent, self.deadline = envelope, traceparent, deadline
        self.now: datetime = runtime.clock.now()
        self._unix_ms = int(self.now.timestamp() * 1000)
        self.lock = "for no key update" if writes else ""
        self.patient = False
        self.on_behalf = ""
        self.purpose = ""
        self._pool = runtime.background_pool if background else runtime.pool
        self._pool_name = runtime.background_pool_name if background else runtime.name
        self._span: telemetry.OpenSpan | None = None
        self._connection: asyncpg.pool.PoolConnectionProxy[asyncpg.Record] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._begun = False
        self._batch = Gathered()
        self._waiting: set[tuple[str, UUID]] = set()
        self._unlocked: set[tuple[str, UUID]] = set()
        self._events: list[tuple[Event, bool, str]] = []
        self._changes: list[tuple[str, UUID, int, str, str, bytes | None, bytes, str, str]] = []
        self._scheduled: dict[tuple[str, str], datetime] = {}
        self._cancelled: set[tuple[str, str]] = set()
        self._loaded: dict[tuple[str, UUID], Any] = {}
        self._sealed: dict[bytes, tuple[str, UUID, str]] = {}
        self._afterwards: list[Callable[[], None]] = []

    @property
    def today(self) -> date:
        return business_date(self.now)

    def new_id(self, nth: int = 0) -> UUID:
        """An id for something new: it follows the time of the work, which lists go by. `nth`: its place among several of one unit, which keep their
        order then."""
        return uuid7(self._unix_ms + nth)

    # -- reading and writing ------------------------------------------------------------------------------------------

    async def _connected(self) -> asyncpg.pool.PoolConnectionProxy[asyncpg.Record]:
        if self._connection is None:
            pool, started = self._pool_name, time.perf_counter()
            PENDING[pool] = PENDING.get(pool, 0) + 1
            try:
                async with asyncio.timeout(self.runtime.settings.database.acquire_timeout):
                    self._connection = await self._pool.acquire()
            except (OSError, asyncpg.TooManyConnectionsError) as error:  # a TimeoutError is an OSError
                if isinstance(error, TimeoutError):
                    TIMEOUTS.add(1, {"db.client.connection.pool.name": pool})
                raise NoConnection("UNAVAILABLE") from error
            finally:
                PENDING[pool] -= 1
            if WAITING.collected:
                WAITING.record(time.perf_counter() - started, {"db.client.connection.pool.name": pool})
            self._span = telemetry.transaction(self.runtime.name, writes=self.writes)
        return self._connection

    async def _begin(self) -> None:
        await (await self._connected()).execute("begin")
        self._begun = True

    @property
    def connected(self) -> bool:
        """Whether it has a connection that works."""
        return self._connection is not None and not self._connection.is_closed()

    async def connection(self) -> asyncpg.pool.PoolConnectionProxy[asyncpg.Record]:
        """The unit's connection, in its transaction where it writes; what was gathered so far is written."""
        if self.writes and not self._begun:
            await self._begin()
        if self._batch:
            await self._send()
        return await self._connected()

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        return await (await self.connection()).fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None:
        return await (await self.connection()).fetchrow(sql, *args)

    async def fetchval(self, sql: str, *args: Any) -> Any:
        return await (await self.connection()).fetchval(sql, *args)

    async def peek(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        """Rows that are read without a lock, and so may be read before the transaction begins: where nothing else is read in it, none does."""
        if self._begun or self._batch:
            return await self.fetch(sql, *args)
        return await (await self._connected()).fetch(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        """The command tag, such as "UPDATE 1"."""
        return await (await self.connection()).execute(sql, *args)

    async def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """The statement for each row, in one round trip."""
        if rows:
            await (await self.connection()).executemany(sql, rows)

    # -- writes that may wait for the next read or the end, to be sent together -------------------------------------------

    def insert(self, into: Insert, *rows: Sequence[Any]) -> None:
        """New rows, in their order."""
        if rows:
            self._writing().insert(into, rows)

    def change(self, sql: str, *args: Any, required: bool = False) -> None:
        """An update or a delete of one row that the unit writes nowhere else. `required`: Aborted(ETAG_STALE) where there is no such row."""
        self._writing().change(sql, args, required=required)

    def keep_newest(self, sql: str, key: Any, version: tuple[int, ...], row: Sequence[Any]) -> None:
        """For a projection: of all that a batch of events says about a key the newest counts. The statement runs once and takes an array
        for each column of the rows, which come in the order of their keys."""
        self._writing().keep_newest(sql, key, version, row)

    def _writing(self) -> Gathered:
        if not self.writes:
            raise RuntimeError(f"{self.action} was said to read")
        return self._batch

    async def touch(self, table: str, row_id: UUID) -> None:
        """Said before a row is written: what waits to be written to the same row is sent first."""
        if (table, row_id) in self._waiting:
            await self.connection()
        self._waiting.add((table, row_id))
        self._unlocked.discard((table, row_id))

    def unlocked(self, table: str, row_id: UUID) -> None:
        """Said of a row that was read for a change without locking it: the unit must save it, or it could not tell that somebody else did."""
        self._unlocked.add((table, row_id))

    async def _send(self) -> None:
        """Writes what was gathered; in a transaction if one statement is not all."""
        gathered, self._batch = self._batch, Gathered()
        self._waiting.clear()
        bulk = gathered.take_bulk()
        if (bulk or gathered.newest) and not self._begun:
            await self._begin()
        connection = await self._connected()
        for sql, rows in bulk:
            await connection.executemany(sql, rows)
        sql, args = gathered.statement()
        if sql:
            try:
                await connection.fetchval(sql, *args)
            except asyncpg.DivisionByZeroError:
                raise Stale from None
        for sql, columns in gathered.projections():
            await connection.execute(sql, *columns)

    async def call(self, rpc: Callable[..., Awaitable[T]], request: Any) -> T:
        """A read RPC of another service, with the caller's own token and what is left of the deadline but for a margin.

        Only before the unit's first statement: a connection must not be held while another service works.
        """
        if self._connection is not None:
            raise RuntimeError("call other services before the first statement")
        remaining = self.remaining()
        timeout = None if remaining is None else remaining - min(CALL_MARGIN, remaining / 10)
        return await rpc(request, metadata=self.forwarded(), timeout=timeout)

    def forwarded(self) -> list[tuple[str, str]]:
        token = self.principal.token
        metadata = [(Marks.HEADER, self.runtime.limits.marks.of(token))]
        if self.traceparent:
            metadata.append(("traceparent", self.traceparent))
        return [*metadata, ("authorization", f"Bearer {token}")] if token else metadata

    def remaining(self) -> float | None:
        """Seconds until the caller stops waiting."""
        return None if self.deadline is None else max(0.0, self.deadline - asyncio.get_running_loop().time())

    # -- what the unit gathers ----------------------------------------------------------------------------------------

    def emit(self, *events: Event) -> None:
        """Events that are published once the unit has committed."""
        self._events.extend((event, False, self.traceparent) for event in events)

    def emit_snapshots(self, events: Sequence[Event]) -> None:
        """The present state said again, for projections alone."""
        self._events.extend((event, True, self.traceparent) for event in events)

    def schedule(self, kind: str, key: UUID | str, at: datetime) -> None:
        """Sets the timer (kind, key) to a moment, or moves it there."""
        self._cancelled.discard((kind, str(key)))
        self._scheduled[kind, str(key)] = at

    def cancel(self, kind: str, key: UUID | str) -> None:
        """Takes the timer (kind, key) away, if there is one."""
        self._scheduled.pop((kind, str(key)), None)
        self._cancelled.add((kind, str(key)))

    def afterwards(self, call: Callable[[], None]) -> None:
        """Called once the unit has committed, in this process alone: to wake somebody, never to do what must be done."""
        self._afterwards.append(call)

    def replanned(self, kind: str, key: str) -> bool:
        """Whether this unit has set the timer or taken it away."""
        return (kind, key) in self._scheduled or (kind, key) in self._cancelled

    def note(self, purpose: str) -> None:
        """The reason that the audit records with every change of this unit."""
        self.purpose = purpose

    def match(self, etag: str, aggregate: Any) -> None:
        """Aborted(ETAG_STALE) if the caller was shown another version than the present one."""
        if etag and etag != str(aggregate.version):
            raise Aborted("ETAG_STALE", field="etag", present=aggregate.version)

    def remember(self, table: str, row: Any) -> None:
        """What a row was when the unit read it, for the audit."""
        self._loaded[table, row.id] = row

    def loaded(self, table: str, row_id: UUID) -> Any | None:
        return self._loaded.get((table, row_id))

    def all_loaded(self, table: str) -> list[Any]:
        return [row for (name, _), row in self._loaded.items() if name == table]

    def changed(self, table: str, before: Any | None, after: Any) -> None:
        """A row of the audit: keyed digests of what was and what is."""
        digest = self.runtime.keys.digest
        was = None if before is None else digest(plain(before))
        who_and_what = (self.on_behalf, self.action, was, digest(plain(after)), self.purpose, self.traceparent)
        self._changes.append((table, after.id, after.version, *who_and_what))
        self._loaded[table, after.id] = after

    @property
    def gathered(self) -> bool:
        """Whether there is something to write."""
        return bool(self._batch or self._events or self._changes or self._scheduled or self._cancelled)

    # -- sealed values ------------------------------------------------------------------------------------------------

    def seal(self, field: str, owner: UUID, text: str) -> bytes:
        sealed = self.runtime.keys.seal(field, owner, text)
        self._sealed[sealed] = field, owner, text
        return sealed

    def open(self, field: str, owner: UUID, sealed: bytes) -> str:
        match self._sealed.get(sealed):  # a write that answers with what it wrote opens what it has just sealed
            case (sealed_for, whose, text) if (sealed_for, whose) == (field, owner):
                return text
        return self.runtime.keys.open(field, owner, sealed)

    def index(self, purpose: str, text: str) -> bytes:
        """The blind index of a text: equal texts give equal indexes, and nothing else can be told from them."""
        return self.runtime.keys.index(purpose, text)

    # -- the end, called by the kit alone -----------------------------------------------------------------------------

    def _gather_own(self, reply: tuple[str, str, bytes, bytes] | None) -> None:
        """Events, audit, timers and the reply, beside the rows."""
        for event, snapshot, traceparent in self._events:
            value = event.message.SerializeToString()
            if len(value) > LARGEST_EVENT:
                raise ValueError(f"an event of {self.action} is over {LARGEST_EVENT} bytes")
            what = self.new_id(), event.message.DESCRIPTOR.full_name, str(event.key), event.division
            self.insert(OUTBOX, (*what, snapshot, value, self.now, traceparent))
        self.insert(AUDIT, *((*change, self.now, self.principal.account) for change in self._changes))
        for kind, key in self._cancelled:
            self.change(NO_TIMER, kind, key)
        # One order for all, so that two units never wait for one another's timers.
        self.insert(TIMER, *((*timer, due) for timer, due in sorted(self._scheduled.items())))
        if reply:
            self.insert(REPLY, (self.principal.account, *reply, self.now))

    async def commit(self, reply: tuple[str, str, bytes, bytes] | None = None) -> None:
        """What was gathered and the commit, shielded from cancellation together: once begun they are finished, whoever still waits.

        `reply`: method, request id, digest of the request, sealed answer. Unavailable(OUTCOME_UNKNOWN) if the connection broke in the
        middle: a repeat of the request finds out.
        """
        if self.remaining() == 0.0:  # a unit that waited for nothing has not been told yet
            raise TimeoutError
        if self._unlocked and self.gathered:
            raise RuntimeError(f"{self.action} writes beside {self._unlocked}, which it has neither locked nor saved")
        self._gather_own(reply)
        self._ending = asyncio.create_task(self._commit())
        await asyncio.shield(self._ending)

    async def _commit(self) -> None:
        try:
            if self._batch:
                await self._send()
            ended = await self._connection.execute("commit") if self._begun and self._connection else "COMMIT"
        except CONNECTION_LOST as error:
            if self.connected:  # not lost: see `run`
                raise
            raise Unavailable("OUTCOME_UNKNOWN") from error
        if ended != "COMMIT":  # the server says so of a transaction in which a statement failed and was caught
            raise RuntimeError(f"{self.action} was undone: {ended}")
        if self._connection is not None:
            connection, self._connection = self._connection, None
            self._end_span("commit")
            await self._pool.release(connection)
        if self._events:
            self.runtime.relay_wanted.set()
        for call in self._afterwards:
            call()
        soon = self.now + timedelta(seconds=self.runtime.settings.timers.poll_seconds)
        if any(due <= soon for due in self._scheduled.values()):  # the loop looks for the others in time by itself
            self.runtime.timers_wanted.set()

    async def release(self) -> None:
        """Gives the connection back; a transaction that is still open is undone first, a commit under way is waited for."""
        if self._connection is not None or (self._ending is not None and not self._ending.done()):
            await asyncio.shield(self._release())

    async def _release(self) -> None:
        if self._ending is not None:
            await asyncio.wait([self._ending])
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            undone = connection.is_in_transaction()
            self._end_span("rollback" if undone else "")
            if undone:
                await connection.execute("rollback")
        except (*CONNECTION_LOST, asyncpg.PostgresError):
            connection.terminate()
        finally:
            await self._pool.release(connection)

    def _end_span(self, outcome: str) -> None:
        span, self._span = self._span, None
        if span is not None:
            if outcome:
                span.set("hetao.transaction.outcome", outcome)
            span.end()


async def run(
    open_unit: Callable[[], Unit],
    work: Callable[[Unit], Awaitable[T]],
    reply: Callable[[T], tuple[str, str, bytes, bytes]] | None = None,
) -> T:
    """Runs the work in a unit of its own and commits it; does it again, twice at most, after a deadlock, a stale cached plan or a row that was
    changed meanwhile.

    `reply` makes the row that is stored beside the work, so that a repeat can be answered.
    """
    for attempt in (1, 2, 3):
        unit = open_unit()
        unit.patient = attempt > 1
        try:
            try:
                result = await work(unit)
            except Refused as refused:
                if unit.writes:
                    await unit.commit()
                raise refused.error from None
            if unit.writes:
                await unit.commit(reply(result) if reply else None)
            elif unit.gathered:
                raise RuntimeError(f"{unit.action} reads, but gathered something to write")
            return result
        except (*RETRIED, Stale):
            if attempt == 3:
                raise
        except asyncpg.InterfaceError as error:
            if (
                unit.connected
            ):  # not a lost connection, which has the same class, but a statement and arguments that do not fit
                # Its text may quote an argument, which may be a person's, unless it is of the class itself.
                said = str(error) if type(error) is asyncpg.InterfaceError else "an argument of the wrong type"
                raise RuntimeError(said) from error
            raise
        finally:
            await unit.release()
    raise AssertionError("unreachable")


def plain(row: Any) -> bytes:
    """A row as the bytes that its digest is made of: JSON with sorted keys."""
    return orjson.dumps(row, default=_as_text, option=orjson.OPT_SORT_KEYS)


def _as_text(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, UUID):  # asyncpg has a class of its own
        return str(value)
    raise TypeError(f"a {type(value).__name__} in a row has no canonical form")
