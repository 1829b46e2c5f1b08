"""After a restore the owner begins a new epoch with versions that it had before: every reader believes the newer epoch, whatever came first."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

from google.protobuf.message import Message

from hetao.cases.v1 import events_pb2 as cases_pb
from hetao.cases.v1 import types_pb2 as case_types
from hetao.grid.v1 import events_pb2 as grid_pb
from hetao.grid.v1 import types_pb2 as grid_types
from kit.events import Envelope, topic_of
from kit.ids import uuid7
from kit.log import Record
from services.registry import MODULES
from tests.world import World

DEPARTMENT = str(uuid4())

#: What is said of something: (epoch, version).
Word = tuple[int, int]


def department(key: str, word: Word) -> Message:
    return grid_pb.DepartmentChanged(
        department_id=key,
        epoch=word[0],
        version=word[1],
        name="部门",
        name_en="Department",
        division="150826",
        active=True,
    )


def post(key: str, word: Word) -> Message:
    return grid_pb.PostChanged(
        post_id=key,
        epoch=word[0],
        version=word[1],
        department_id=DEPARTMENT,
        kind=grid_types.POST_KIND_DISPATCHER,
        holder="dispatcher-2",
        active=True,
    )


def staff(key: str, word: Word) -> Message:
    return grid_pb.StaffChanged(
        staff_id=key, epoch=word[0], version=word[1], account="dispatcher-2", department_id=DEPARTMENT, active=True
    )


def case(key: str, word: Word) -> Message:
    return cases_pb.CaseChanged(
        case_id=key,
        epoch=word[0],
        version=word[1],
        kind=case_types.KIND_DISPUTE,
        category="10",
        county="150826",
        township="150826100",
        division="150826100",
    )


#: (reader, owner, table, its key, what is said)
READERS = [
    ("cases", "grid", "department", "id", department),
    ("cases", "grid", "colleague", "id", staff),
    ("cases", "grid", "colleague", "id", post),
    ("cases", "cases", "case_fact", "case_id", case),
    ("notify", "grid", "department", "id", department),
    ("notify", "grid", "post", "id", post),
    ("notify", "grid", "staff", "id", staff),
]


async def said(world: World, owner: str, *messages: tuple[str, Message]) -> None:
    records = []
    for key, message in messages:
        kind = message.DESCRIPTOR.full_name
        envelope = Envelope(uuid7(), kind, f"/1508/{owner}", key, world.clock.now(), "150826", False, "")
        records.append(Record(envelope, message.SerializeToString()))
    await world.platform.log.append(topic_of(owner), records)
    await world.settle()


#: In the order in which they are heard. The truth is always (2, 3).
ORDERS: list[list[Word]] = [[(1, 5), (2, 3), (1, 9)], [(2, 3), (1, 9)], [(1, 9), (2, 3), (2, 2), (2, 3)]]


async def test_the_newer_epoch_counts_and_then_the_newer_version(world: World) -> None:
    """In one batch and one after the other: a batch is projected by one statement."""
    wrong = []
    for reader, owner, table, column, message in READERS:
        for words in ORDERS:
            for together in (True, False):
                key = str(uuid4())
                messages = [(key, message(key, word)) for word in words]
                for batch in [messages] if together else [[one] for one in messages]:
                    await said(world, owner, *batch)
                sql = f"select epoch, version from {table} where {column}::text = $1"
                found: list[Any] = [tuple(row) for row in await world.rows(reader, sql, key)]
                if found != [(2, 3)]:
                    wrong.append((reader, table, words, together, found))
    assert not wrong


def test_every_projection_that_keeps_epochs_is_tried() -> None:
    tried = {(reader, table) for reader, _, table, _, _ in READERS}
    kept = {(module.name, table) for module in MODULES for table in module.projections}
    assert kept - tried == {("cases", "figure")}, "the figures are sums of what case_fact says"
