"""The books as they stand at the end: what the tables hold, what the log says, what took effect."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
from google.protobuf.message import Message

from hetao.cases.v1 import events_pb2 as cases_pb
from hetao.common.v1 import notice_pb2
from hetao.grid.v1 import events_pb2 as grid_pb

#: The services that keep something.
SERVICES = ("grid", "cases", "notify")

#: Reactions: handler → (topics, what it hears). An inbox row of a handler that is not here is a difference too.
REACTIONS: dict[str, tuple[tuple[str, ...], type[Message]]] = {
    "cases.events.take_over": (("hetao.grid.v1",), grid_pb.ReportHandedOver),
    "grid.events.hear_answer": (("hetao.cases.v1",), cases_pb.HandoverAnswered),
    "notify.events.tell": (("hetao.grid.v1", "hetao.cases.v1"), notice_pb2.NoticeRequested),
}

EVENTS: dict[str, type[Message]] = {
    message.DESCRIPTOR.full_name: message
    for message in (
        cases_pb.CaseChanged,
        cases_pb.HandoverAnswered,
        grid_pb.DepartmentChanged,
        grid_pb.PostChanged,
        grid_pb.StaffChanged,
        grid_pb.ReportChanged,
        grid_pb.ReportHandedOver,
        notice_pb2.NoticeRequested,
    )
}


class Record(NamedTuple):
    """One record as the log holds it."""

    topic: str
    partition: int
    offset: int
    event_id: UUID
    type: str
    key: str
    snapshot: bool
    value: bytes


class Said(NamedTuple):
    """An event where it stands in the log for the first time."""

    topic: str
    event_id: UUID
    type: str
    key: str
    message: Any


class Version(NamedTuple):
    """A row of the audit: what a row became, and by whom."""

    row: str
    row_id: str
    version: int
    action: str
    actor: str
    at: datetime


@dataclass(slots=True)
class Books:
    """`stored`: the audit, by service; `present`: (service, table) → id → version; `said`: the log without repeats, `repeats` how many there were;
    `restated`: present states that were said again, for a rebuild; `inbox`: (handler, event) rows. The others are rows of the tables that they are called by."""

    now: datetime
    replies: list[tuple[str, str, str]] = field(default_factory=list)
    stored: dict[str, list[Version]] = field(default_factory=dict)
    present: dict[tuple[str, str], dict[str, int]] = field(default_factory=dict)
    said: list[Said] = field(default_factory=list)
    restated: list[Said] = field(default_factory=list)
    repeats: int = 0
    epochs: dict[str, int] = field(default_factory=dict)
    inbox: list[tuple[str, UUID]] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)
    waiting: dict[str, int] = field(default_factory=dict)
    timers: list[asyncpg.Record] = field(default_factory=list)
    cases: list[asyncpg.Record] = field(default_factory=list)
    tasks: list[asyncpg.Record] = field(default_factory=list)
    steps: Counter[tuple[str, str]] = field(default_factory=Counter)
    reports: list[asyncpg.Record] = field(default_factory=list)
    entries: Counter[tuple[str, str]] = field(default_factory=Counter)
    handovers: list[asyncpg.Record] = field(default_factory=list)
    facts: list[asyncpg.Record] = field(default_factory=list)
    figures: Counter[tuple[str, ...]] = field(default_factory=Counter)
    sums: Counter[tuple[str, ...]] = field(default_factory=Counter)
    directory: dict[tuple[str, str], dict[str, tuple[int, int]]] = field(default_factory=dict)
    notices: set[UUID] = field(default_factory=set)
    told: dict[UUID, int] = field(default_factory=dict)


async def read(connection: asyncpg.Connection, records: Iterable[Record], now: datetime) -> Books:
    """Of a platform that is at rest. `records`: all of the log, each partition in its order."""
    books = Books(now)
    for service in SERVICES:
        await _common(connection, service, books)
    await _cases(connection, books)
    await _grid(connection, books)
    await _notify(connection, books)
    seen: set[UUID] = set()
    for record in records:
        if record.event_id in seen:
            books.repeats += 1
            continue
        seen.add(record.event_id)
        message = EVENTS[record.type].FromString(record.value) if record.type in EVENTS else None
        said = Said(record.topic, record.event_id, record.type, record.key, message)
        (books.restated if record.snapshot else books.said).append(said)
    return books


async def sql_log(connection: asyncpg.Connection) -> list[Record]:
    """The event log of a platform in one process."""
    rows = await connection.fetch(
        'select topic, partition, "offset", event_id, type, key, snapshot, value from log.record order by topic, partition, "offset"'
    )
    return [Record(*row) for row in rows]


async def _common(connection: asyncpg.Connection, service: str, books: Books) -> None:
    books.epochs[service] = await connection.fetchval(f"select epoch from {service}.installation")
    replies = await connection.fetch(f"select account, method, request_id from {service}.reply")
    books.replies += [(row["account"], row["method"], row["request_id"]) for row in replies]
    rows = await connection.fetch(
        f"select entity, entity_id::text, version, action, actor, at from {service}.audit order by seq"
    )
    books.stored[service] = [Version(*row) for row in rows]
    for table in sorted({row["entity"] for row in rows}):
        there = await connection.fetch(f"select id::text, version from {service}.{table}")
        books.present[service, table] = {row["id"]: row["version"] for row in there}
    inbox = await connection.fetch(f"select handler, event_id from {service}.inbox")
    books.inbox += [(row["handler"], row["event_id"]) for row in inbox]
    for row in await connection.fetch(f"select handler, key, error from {service}.parked order by id"):
        books.parked.append(f"{row['handler']} cannot digest an event of {row['key']}: {row['error']}")
    books.timers += await connection.fetch(f"select kind, key, due, parked_at, error from {service}.timer")


async def _cases(connection: asyncpg.Connection, books: Books) -> None:
    books.cases = await connection.fetch(
        "select id::text, state, kind, category, county, township, due_at, told, version, accepted_at, handover_id::text from cases.case_file"
    )
    books.tasks = await connection.fetch(
        "select id::text, case_id::text, desk, state, due_at, told, version from cases.task"
    )
    steps = await connection.fetch("select case_id::text, what, count(*) from cases.step group by 1, 2")
    books.steps = Counter({(row[0], row[1]): row[2] for row in steps})
    books.facts = await connection.fetch("select * from cases.case_fact")
    figures = await connection.fetch("select * from cases.figure")
    for row in figures:
        for name in ("accepted", "resolved", "concluded", "reopened", "overdue"):
            books.figures[row["division"], str(row["day"]), row["kind"], row["category"], name] += row[name]
    for fact in books.facts:
        _count(fact, books.sums)
    departments = await connection.fetch("select id, epoch, version from cases.department")
    books.directory["cases", "department"] = {row["id"]: (row["epoch"], row["version"]) for row in departments}


def _count(fact: asyncpg.Record, sums: Counter[tuple[str, ...]]) -> None:
    """What a case counts for in the figures of its city, county and township."""
    if fact["accepted_on"] is None:
        return
    counts = {
        "accepted": 1,
        "resolved": fact["resolved_on"] is not None,
        "concluded": fact["concluded_on"] is not None,
        "reopened": fact["reopened"],
        "overdue": fact["overdue"],
    }
    for division in filter(None, (fact["county"][:4], fact["county"], fact["township"])):
        for name, count in counts.items():
            sums[division, str(fact["accepted_on"]), fact["kind"], fact["category"], name] += int(count)


async def _grid(connection: asyncpg.Connection, books: Books) -> None:
    books.reports = await connection.fetch("select id::text, state, version, received_at, verified_at from grid.report")
    entries = await connection.fetch("select report_id::text, action, count(*) from grid.report_entry group by 1, 2")
    books.entries = Counter({(row[0], row[1]): row[2] for row in entries})
    books.handovers = await connection.fetch(
        "select id::text, report_id::text, target, state, overdue, due_at, case_id::text, case_state, case_epoch, case_version from grid.handover"
    )


async def _notify(connection: asyncpg.Connection, books: Books) -> None:
    for table in ("department", "post", "staff"):
        rows = await connection.fetch(f"select id::text, epoch, version from notify.{table}")
        books.directory["notify", table] = {row["id"]: (row["epoch"], row["version"]) for row in rows}
    books.notices = {row["id"] for row in await connection.fetch("select id from notify.notice where not own")}
    told = await connection.fetch(
        "select intent, count(*) from (select intent from notify.message union all select intent from notify.delivery "
        "union all select intent from notify.manual_delivery) t group by 1"
    )
    books.told = {row["intent"]: row["count"] for row in told}


async def unquiet(connection: asyncpg.Connection, now: datetime) -> dict[str, int]:
    """What is still under way in the tables, by name: events that wait for the relay, timers and deliveries that are due."""
    waits: dict[str, int] = {}
    for service in SERVICES:
        waits[f"{service}: outbox"] = await connection.fetchval(f"select count(*) from {service}.outbox")
        waits[f"{service}: timers due"] = await connection.fetchval(
            f"select count(*) from {service}.timer where due <= $1 and parked_at is null", now
        )
    waits["notify: deliveries due"] = await connection.fetchval(
        "select count(*) from notify.delivery where state in ('pending', 'failed') and next_at <= $1", now
    )
    return {name: count for name, count in waits.items() if count}


async def sql_lag(connection: asyncpg.Connection, groups: Sequence[tuple[str, str]]) -> dict[str, int]:
    """(group, topic) → how many records it has not committed, in the event log of tables."""
    lag = {}
    for group, topic in groups:
        behind = await connection.fetchval(
            'select coalesce(sum(p.next_offset - coalesce(s."offset", 0)), 0)::int from log.partition p '
            "left join log.position s on s.topic = p.topic and s.partition = p.number and s.consumer_group = $1 where p.topic = $2",
            group,
            topic,
        )
        if behind:
            lag[f"{group} behind {topic}"] = behind
    return lag


#: Who reads what: (group, topic).
READERS = (
    ("cases", "hetao.grid.v1"),
    ("cases", "hetao.cases.v1"),
    ("grid", "hetao.cases.v1"),
    ("notify", "hetao.grid.v1"),
    ("notify", "hetao.cases.v1"),
)
