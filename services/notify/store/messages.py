"""Of messages, deliveries and endpoints, and of the directory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any
from uuid import UUID

from kit.errors import NotFound
from kit.table import Table
from kit.unit import Unit
from services.notify.model import Delivery, Directory, Endpoint, Message, Outcome, Post, Span

DELIVERIES = Table("delivery", Delivery)
ENDPOINTS = Table("endpoint", Endpoint)

#: Levels of departments that a message may climb to a superior; more would be a circle.
LEVELS = 6

# -- the directory -----------------------------------------------------------------------------------------------------


async def keep_department(unit: Unit, row: tuple[UUID, int, int, str, UUID | None, bool]) -> None:
    """(id, epoch, version, division, parent, active)"""
    await unit.execute(
        "insert into department (id, epoch, version, division, parent_id, active) values ($1, $2, $3, $4, $5, $6) "
        "on conflict (id) do update set epoch = excluded.epoch, version = excluded.version, division = excluded.division, "
        "parent_id = excluded.parent_id, active = excluded.active "
        "where (department.epoch, department.version) < (excluded.epoch, excluded.version)",
        *row,
    )


async def keep_post(unit: Unit, row: tuple[UUID, int, int, UUID, str, str, Any, Sequence[str], bool]) -> None:
    """(id, epoch, version, department, kind, holder, duties, people, active); `people`: the holder and all of the roster"""
    await unit.execute(
        "insert into post (id, epoch, version, department_id, kind, holder, duties, people, active) values ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
        "on conflict (id) do update set epoch = excluded.epoch, version = excluded.version, department_id = excluded.department_id, "
        "kind = excluded.kind, holder = excluded.holder, duties = excluded.duties, people = excluded.people, active = excluded.active "
        "where (post.epoch, post.version) < (excluded.epoch, excluded.version)",
        *row,
    )


async def keep_staff(unit: Unit, row: tuple[UUID, int, int, str, UUID, Any, bool]) -> None:
    """(id, epoch, version, account, department, absences, active)"""
    await unit.execute(
        "insert into staff (id, epoch, version, account, department_id, absences, active) values ($1, $2, $3, $4, $5, $6, $7) "
        "on conflict (id) do update set epoch = excluded.epoch, version = excluded.version, account = excluded.account, "
        "department_id = excluded.department_id, absences = excluded.absences, active = excluded.active "
        "where (staff.epoch, staff.version) < (excluded.epoch, excluded.version)",
        *row,
    )


async def department_division(unit: Unit, department_id: UUID) -> str | None:
    """Where a department is; None if it is unknown or dissolved."""
    return await unit.fetchval("select division from department where id = $1 and active", department_id)  # type: ignore[no-any-return]


async def home_of(unit: Unit, account: str) -> tuple[UUID, bool] | None:
    """(department, still here) of an account; None if it is nobody's on the staff."""
    row = await unit.fetchrow(
        "select department_id, active from staff where account = $1 order by active desc, id limit 1", account
    )
    return (row["department_id"], row["active"]) if row else None


@dataclass(frozen=True, slots=True)
class Addressed:
    """A department as one notice needs it. `outward`: whether it has endpoints."""

    directory: Directory
    outward: bool


_ADDRESSED = """
with recursive up as (
    select id as root, id, parent_id, 1 as level from department where id = any($1) and active
    union all
    select up.root, d.id, d.parent_id, up.level + 1 from department d join up on d.id = up.parent_id where d.active and up.level < $2
)
select up.root, up.id, p.id as post, p.kind, p.holder, p.duties, s.account, s.active, s.absences,
    up.level = 1 and exists (select from endpoint e where e.department_id = up.root and e.active) as outward
from up left join post p on p.department_id = up.id and p.active left join staff s on s.account = any(p.people)
order by up.root, up.level, p.id
"""


async def addressed(unit: Unit, departments: Sequence[UUID]) -> dict[UUID, Addressed]:
    """The departments, those above them, their posts, and who of their people is away or has left. Unknown departments are left out."""
    rows = await unit.fetch(_ADDRESSED, departments, LEVELS) if departments else []
    people = _People()
    people.learn([(row["account"], row["active"], row["absences"]) for row in rows if row["account"]])
    while wanted := people.unknown_substitutes():
        people.learn(
            await unit.fetch("select account, active, absences from staff where account = any($1)", wanted),
            asked=wanted,
        )
    found = {}
    for root in dict.fromkeys(row["root"] for row in rows):
        own = [row for row in rows if row["root"] == root]
        posts = {
            row["post"]: Post(row["id"], row["kind"], row["holder"], _spans(row["duties"]))
            for row in own
            if row["post"]
        }
        upwards = tuple(dict.fromkeys(row["id"] for row in own))
        directory = Directory(upwards, tuple(posts.values()), people.absences, frozenset(people.gone()))
        found[root] = Addressed(directory, any(row["outward"] for row in own))
    return found


class _People:
    """Who is away, and who has left: somebody on the staff of two departments has left when both say so."""

    def __init__(self) -> None:
        self.absences: dict[str, tuple[Span, ...]] = {}
        self._here: dict[str, bool] = {}
        self._asked: set[str] = set()

    def learn(self, rows: Iterable[Any], asked: Iterable[str] = ()) -> None:
        for account, active, absences in rows:
            known = self.absences.get(account, ())
            self.absences[account] = tuple(dict.fromkeys((*known, *_spans(absences))))
            self._here[account] = self._here.get(account, False) or active
        self._asked |= {*asked, *self.absences}

    def unknown_substitutes(self) -> list[str]:
        """Substitutes may be away in their turn."""
        return sorted(
            {span.account for spans in self.absences.values() for span in spans if span.account} - self._asked
        )

    def gone(self) -> list[str]:
        return [account for account, here in self._here.items() if not here]


def _spans(stored: Iterable[Sequence[str]]) -> tuple[Span, ...]:
    return tuple(
        Span(date.fromisoformat(begins), date.fromisoformat(ends), account) for begins, ends, account in stored
    )


# -- notices and inboxes -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """An intent as it was heard. `own`: said by notify itself, of its own accord."""

    id: UUID
    template: str
    variables: Mapping[str, str]
    subject: str
    division: str
    urgency: str
    expires_at: datetime | None
    requested_at: datetime
    restricted: bool = False
    own: bool = False


_HEARD = ", ".join(f.name for f in fields(Heard))
_MESSAGE = ", ".join(f.name for f in fields(Message))
_MESSAGE_OF_M = ", ".join(f"m.{f.name}" for f in fields(Message))


#: One round trip for the intent and its messages: most notices need no more.
_HEAR = f"""
with heard as (
    insert into notice ({_HEARD}) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) on conflict (id) do nothing returning id
), told as (
    insert into message ({_MESSAGE})
    select {_MESSAGE_OF_M} from heard cross join jsonb_populate_recordset(null::message, $11) m
    on conflict (intent, account) do nothing
)
select exists (select from heard)
"""


async def hear(unit: Unit, heard: Heard, messages: Sequence[Message]) -> bool:
    """Keeps an intent and puts its messages into the inboxes. False, and nothing done, when the intent was heard before."""
    return await unit.fetchval(  # type: ignore[no-any-return]
        _HEAR,
        heard.id,
        heard.template,
        heard.variables,
        heard.subject,
        heard.division,
        heard.urgency,
        heard.expires_at,
        heard.requested_at,
        heard.restricted,
        heard.own,
        [_plain(message) for message in messages],
    )


async def heard(unit: Unit, intent: UUID) -> Heard:
    row = await unit.fetchrow(f"select {_HEARD} from notice where id = $1", intent)
    if row is None:
        raise NotFound("NOT_FOUND", resource="notice")
    return Heard(*row)


async def heard_all(unit: Unit, intents: Sequence[UUID]) -> dict[UUID, Heard]:
    rows = await unit.fetch(f"select {_HEARD} from notice where id = any($1)", intents) if intents else []
    return {row["id"]: Heard(*row) for row in rows}


async def add_message(unit: Unit, message: Message) -> bool:
    """Whether it is new: a person who has a message of this intent already gets no second one."""
    added = await unit.execute(
        f"insert into message ({_MESSAGE}) select {_MESSAGE_OF_M} from jsonb_populate_recordset(null::message, $1) m "
        "on conflict (intent, account) do nothing",
        [_plain(message)],
    )
    return added != "INSERT 0 0"


def _plain(message: Message) -> dict[str, Any]:
    """For JSON: the driver's ids are of a kind of its own."""
    values = {f.name: getattr(message, f.name) for f in fields(Message)}
    return {name: str(value) if isinstance(value, UUID) else value for name, value in values.items()}


async def message(unit: Unit, message_id: UUID) -> Message:
    """One of the caller's own; anybody else's is not found."""
    row = await unit.fetchrow(
        f"select {_MESSAGE} from message where id = $1 and account = $2 {unit.lock}", message_id, unit.principal.account
    )
    if row is None:
        raise NotFound("NOT_FOUND", resource="message")
    return Message(*row)


async def messages(unit: Unit, before: UUID, limit: int, *, unread: bool) -> list[Message]:
    """The caller's own, the newest first."""
    only = "and read_at is null" if unread else ""
    rows = await unit.fetch(
        f"select {_MESSAGE} from message where account = $1 and id < $2 {only} order by id desc limit $3",
        unit.principal.account,
        before,
        limit,
    )
    return [Message(*row) for row in rows]


async def count_unread(unit: Unit, most: int) -> int:
    """Counts no further than `most`."""
    return await unit.fetchval(  # type: ignore[no-any-return]
        "select count(*) from (select from message where account = $1 and read_at is null limit $2) as unread",
        unit.principal.account,
        most,
    )


async def mark(unit: Unit, message: Message) -> None:
    await unit.execute(
        "update message set read_at = $2, acted_at = $3, action = $4, version = $5 where id = $1",
        message.id,
        message.read_at,
        message.acted_at,
        message.action,
        message.version,
    )


# -- deliveries --------------------------------------------------------------------------------------------------------


async def endpoints_of(unit: Unit, departments: Sequence[UUID]) -> list[Endpoint]:
    rows = await unit.fetch(
        f"select {ENDPOINTS.columns} from endpoint where department_id = any($1) and active order by id", departments
    )
    return [Endpoint(*row) for row in rows]


async def endpoint(unit: Unit, endpoint_id: UUID) -> Endpoint | None:
    """Not locked, closed ones too: for the platform's own sending."""
    row = await unit.fetchrow(f"select {ENDPOINTS.columns} from endpoint where id = $1", endpoint_id)
    return Endpoint(*row) if row else None


async def add_deliveries(unit: Unit, deliveries: Sequence[Delivery]) -> None:
    await DELIVERIES.add_all(unit, deliveries)


async def due(unit: Unit, limit: int) -> list[tuple[UUID, str, str]]:
    """(id, channel, traceparent) of deliveries that wait for an attempt now, the longest waiting first. Not locked: `begin` looks again."""
    rows = await unit.fetch(
        "select id, channel, traceparent from delivery where state in ('pending', 'failed') and next_at <= $1 order by next_at limit $2",
        unit.now,
        limit,
    )
    return [(row["id"], row["channel"], row["traceparent"]) for row in rows]


async def add_attempt(unit: Unit, delivery_id: UUID, number: int) -> None:
    await unit.execute(
        "insert into attempt (delivery_id, number, begun_at, outcome, reason) values ($1, $2, $3, '', '')",
        delivery_id,
        number,
        unit.now,
    )


async def end_attempt(unit: Unit, delivery_id: UUID, number: int, outcome: Outcome) -> None:
    await unit.execute(
        "update attempt set ended_at = $3, outcome = $4, reason = $5 where delivery_id = $1 and number = $2",
        delivery_id,
        number,
        unit.now,
        outcome.kind,
        outcome.reason,
    )


@dataclass(frozen=True, slots=True)
class Attempt:
    number: int
    begun_at: datetime
    ended_at: datetime | None
    outcome: str
    reason: str


async def attempts(unit: Unit, delivery_id: UUID, before: int, limit: int) -> list[Attempt]:
    """The newest first."""
    rows = await unit.fetch(
        "select number, begun_at, ended_at, outcome, reason from attempt where delivery_id = $1 and number < $2 order by number desc limit $3",
        delivery_id,
        before,
        limit,
    )
    return [Attempt(*row) for row in rows]


async def list_deliveries(unit: Unit, scope: str, state: str, before: UUID, limit: int) -> list[Delivery]:
    """Of a division and all below, the newest first. `state` "": of every state."""
    only = "and state = $4" if state else ""
    condition = f"{_within(scope)} and id < $2 {only} order by id desc limit $3"
    return await DELIVERIES.list(unit, condition, scope, before, limit, *([state] if state else []))


async def list_endpoints(unit: Unit, scope: str, before: UUID, limit: int) -> list[Endpoint]:
    """Of a division and all below, the newest first."""
    return await ENDPOINTS.list(unit, f"{_within(scope)} and id < $2 order by id desc limit $3", scope, before, limit)


def _within(scope: str) -> str:
    """The condition that $1, a code of 4, 6, 9 or 12 digits, covers a row: an equality, so that one index gives the rows in order."""
    column = {6: "county", 9: "township", 12: "division"}.get(len(scope))
    return f"{column} = $1" if column else "division >= $1 and division < $1 || ':'"  # ":" follows "9"
