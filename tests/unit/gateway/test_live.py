"""Which events are shown to whom, and how a stream goes on from where its reader was."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import orjson
import pytest

from hetao.cases.v1.events_pb2 import CaseChanged
from hetao.grid.v1.events_pb2 import ReportChanged, StaffChanged
from hetao.options.v1 import options_pb2
from kit.config import DATA
from kit.errors import ResourceExhausted, Unavailable
from kit.events import Envelope, topic_of
from kit.identity import Principal, Roles
from kit.log import Record
from services.gateway import contracts, live, positions
from services.gateway.hub import AT_ONCE, Hub, Reader
from tests.memory_log import MemoryLog
from tests.waiting import until

ROLES = Roles.load(DATA / "roles.toml")
TOPICS = live.topics()
MARK = positions.mark("1508", "memory", *TOPICS)

CENTRE, POLICE, JUSTICE = (str(uuid4()) for _ in range(3))


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.gateway.hub.IDLE", 0.01)


def somebody(role: str, *divisions: str, account: str = "a", department: str = "") -> Principal:
    return Principal(account, (role,), department, divisions, ROLES.permissions([role]))


LEADER = somebody("county-leader", "150802")
CLERK = somebody("window-clerk", "150802", department=CENTRE)
OFFICER = somebody("department-officer", "150802", department=POLICE)
WORKER = somebody("grid-worker", "150802013006", account="worker")


def said(message: Any, key: str, division: str, *, snapshot: bool = False) -> Record:
    envelope = Envelope(
        uuid4(),
        message.DESCRIPTOR.full_name,
        "/1508/x",
        key,
        datetime(2026, 3, 2, 1, tzinfo=UTC),
        division,
        snapshot,
        "",
    )
    return Record(envelope, message.SerializeToString())


def case(key: str = "case", division: str = "150802013", **more: Any) -> Record:
    fields = {"centre": CENTRE, "departments": [POLICE], "version": 3, "code": "LH-1", **more}
    return said(CaseChanged(case_id=key, division=division, **fields), key, division)


def report(key: str = "report", division: str = "150802013006", **more: Any) -> Record:
    return said(ReportChanged(report_id=key, division=division, **more), key, division)


# ---- to whom ----


@pytest.mark.parametrize(
    ("record", "reader", "is_shown"),
    [
        (case(), LEADER, True),
        (case(), somebody("county-leader", "1508"), True),
        (case(), somebody("county-leader", "150826"), False),
        (case(), somebody("county-leader", "150802014"), False),
        (case(), somebody("county-leader"), False),
        (case(division=""), LEADER, False),
        (case(restricted=True), LEADER, False),
        (case(restricted=True), CLERK, False),
        (case(), CLERK, True),
        (case(centre=JUSTICE), CLERK, False),
        (case(), OFFICER, True),
        (case(departments=[JUSTICE]), OFFICER, False),
        (case(departments=[JUSTICE, POLICE]), OFFICER, True),
        (case(departments=[""], centre=""), somebody("department-officer", "150802"), False),
        (case(), WORKER, False),
        (case(), somebody("building-head", "150802"), False),
        (case(), Principal.anonymous(), False),
        (report(), WORKER, True),
        (report(reporter="other"), WORKER, True),
        (report(division="150802013007"), WORKER, False),
        (report(division="150826", reporter="worker"), WORKER, True),
        (report(division="150826", handler="worker"), WORKER, True),
        (report(), somebody("building-head", "150802013006", account="head"), False),
        (report(reporter="head"), somebody("building-head", "150802013006", account="head"), True),
        (report(reporter=""), Principal.anonymous(), False),
    ],
)
def test_an_event_is_shown_to_whom_it_is_for(record: Record, reader: Principal, is_shown: bool) -> None:
    event = live.shown(record)
    assert (event is not None and event.is_for(reader)) is is_shown


def test_what_is_no_public_state_is_shown_to_nobody() -> None:
    assert live.shown(said(StaffChanged(staff_id="s", account="worker", division="150802"), "s", "150802")) is None
    assert live.shown(said(CaseChanged(case_id="c", division="150802"), "c", "150802", snapshot=True)) is None
    broken = case()
    assert live.shown(Record(broken.envelope, b"\xff\xff")) is None


def test_an_event_as_it_is_sent() -> None:
    event = live.shown(case(what="accept", accepted_at=datetime(2026, 3, 2, 1, tzinfo=UTC)))
    assert event is not None
    kind, data, *end = event.body.split(b"\n")
    assert (kind, end) == (b"event: hetao.cases.v1.CaseChanged", [b"", b""])
    told = orjson.loads(data.removeprefix(b"data: "))
    assert {name: told[name] for name in ("type", "time", "subject", "division")} == {
        "type": "hetao.cases.v1.CaseChanged",
        "time": "2026-03-02T01:00:00Z",
        "subject": "case",
        "division": "150802013",
    }
    assert (told["data"]["version"], told["data"]["acceptedAt"], told["data"]["departments"]) == (
        "3",
        "2026-03-02T01:00:00Z",
        [POLICE],
    )


def test_the_rules_of_the_contracts() -> None:
    """A permission is that of an RPC, or of a scope that some role has; nothing that is shown is personal."""
    asked = {
        method.GetOptions().Extensions[options_pb2.access].permission
        for service in contracts.services()
        for method in service.methods
    }
    assert live.owners() == ["cases", "grid"]
    for kind in live.kinds().values():
        assert kind.rule.permission in asked
        assert topic_of(kind.owner) in TOPICS
        assert not [fd.name for fd in kind.descriptor.fields if fd.GetOptions().Extensions[options_pb2.personal]]
        for one in kind.rule.to:
            assert not one.permission or any(ROLES.permissions([role]) & {one.permission} for role in ROLES.names)


@pytest.mark.parametrize(
    "rule",
    [
        options_pb2.Live(permission="a.b.c"),
        options_pb2.Live(to=[options_pb2.Reader()]),
        options_pb2.Live(permission="a.b.c", to=[options_pb2.Reader(department="nothing")]),
        options_pb2.Live(permission="a.b.c", to=[options_pb2.Reader(account="nothing")]),
        options_pb2.Live(permission="a.b.c", to=[options_pb2.Reader()], unless="nothing"),
    ],
)
def test_a_rule_that_cannot_be_kept_is_an_error_at_start(rule: options_pb2.Live) -> None:
    with pytest.raises(TypeError):
        live.kind_of(CaseChanged.DESCRIPTOR, rule)


# ---- positions ----


def test_a_position_is_read_as_it_was_written() -> None:
    topics = [[0, 1, 127, 128, 2**40], [], [5]]
    text = positions.encode(MARK, topics)
    assert positions.decode(text, MARK, ["a", "b", "c"]) == {
        ("a", 0): 0,
        ("a", 1): 1,
        ("a", 2): 127,
        ("a", 3): 128,
        ("a", 4): 2**40,
        ("c", 0): 5,
    }
    assert len(positions.encode(MARK, [[1_000_000] * 8] * 3)) < 120, (
        "of three topics with a million events in each part"
    )


def test_what_is_no_position_of_this_log_is_none() -> None:
    text = positions.encode(MARK, [[1, 2], [3]])
    wrong = ["", "x", "é", text[:-1], text + "AA", text[:-2] + "__", "B" + text[1:], "/" * 40, text * 1000, "0"]
    for one in wrong:
        assert positions.decode(one, MARK, ["a", "b"]) is None, one
    assert positions.decode(text, positions.mark("150802"), ["a", "b"]) is None
    assert positions.decode(text, MARK, ["a"]) is None
    chance = random.Random(7)
    for _ in range(2000):
        read = bytes(chance.randrange(256) for _ in range(chance.randrange(40)))
        positions.decode(positions.encode(MARK, [])[:4] + read.hex(), MARK, ["a", "b"])


# ---- streams ----


@asynccontextmanager
async def running(log: MemoryLog, **chosen: Any) -> AsyncIterator[Hub]:
    """A hub that has reached the end of the log."""
    settings = {"back": 100, "history": 1000, "most": 100, "per_account": 50, **chosen}
    hub = Hub(log, TOPICS, mark=MARK, **settings)
    task = asyncio.create_task(hub.run())
    try:
        await until(lambda: hub.ready or task.done(), "the end is reached")
        yield hub
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Client:
    """Somebody who reads a stream, and remembers his place as browsers do."""

    def __init__(self, principal: Principal = LEADER, last: str | None = None):
        self.principal, self.last = principal, last
        self.hub: Hub | None = None
        self.reader: Reader | None = None
        self.heard: list[str] = []
        self.reloads: list[str] = []

    async def connect(self, hub: Hub) -> None:
        self.hub = hub
        self.reader = await hub.open(self.principal, frozenset(), frozenset(), self.last)
        self.listen(10**9)

    def listen(self, most: int = 10**9) -> int:
        """Takes what there is, `most` events at most."""
        assert self.hub
        assert self.reader
        count = 0
        while True:
            for after, body in self.hub.next(self.reader):
                self.heard.append(orjson.loads(body.split(b"\n")[1][6:])["data"]["code"])
                self.last = after
                count += 1
                if count == most:
                    return count
            if self.reader.reload:
                self.reloads.append(self.reader.reload)
                self.reader.reload = ""
            if self.reader.cursor is None:
                self.last = self.hub.stands(self.reader)
                return count

    def leave(self) -> None:
        assert self.hub
        assert self.reader
        self.hub.close(self.reader)


def cases(count: int, begin: int = 0) -> Iterator[Record]:
    for n in range(begin, begin + count):
        yield case(f"key-{n % 37}", code=f"{n}")


async def told(log: MemoryLog, hub: Hub, *records: Record) -> None:
    """Appends, and waits until the hub has read it."""
    for record in records:
        topic = TOPICS[0] if record.envelope.type.startswith("hetao.cases") else TOPICS[1]
        await log.append(topic, [record])
    ends = dict(await log.ends(TOPICS))
    await until(lambda: all(hub._at(place) >= end for place, end in ends.items()), "it is read")


async def test_a_reader_hears_what_happens_from_now_on() -> None:
    log = MemoryLog()
    await log.append(TOPICS[0], list(cases(10)))
    async with running(log) as hub:
        assert log.tails == 1
        client, foreign = Client(), Client(somebody("county-leader", "150826"))
        await client.connect(hub)
        await foreign.connect(hub)
        await told(
            log,
            hub,
            *cases(5, 10),
            case(division="150826", code="elsewhere"),
            case("other", restricted=True, code="hidden"),
        )
        client.listen()
        foreign.listen()
        assert sorted(client.heard) == ["10", "11", "12", "13", "14"]
        assert foreign.heard == ["elsewhere"]
        assert client.reloads == foreign.reloads == []
        client.leave()
        foreign.leave()
        assert (hub.count, dict(hub._by_division), dict(hub._by_account)) == (0, {}, {})
    assert log.tails == 0


async def test_who_comes_back_is_not_shown_what_became_restricted() -> None:
    log, client = MemoryLog(), Client()
    async with running(log) as hub:
        await client.connect(hub)
        await told(log, hub, case("open", code="open 1"))
        client.listen()
        client.leave()
        await told(log, hub, case("hidden", code="hidden 1"), case("open", code="open 2"))
        await told(log, hub, case("hidden", code="hidden 2", restricted=True), case("hidden", code="open again"))
        await client.connect(hub)
        client.leave()
    assert client.heard == ["open 1", "open 2", "open again"]
    assert not client.reloads


async def test_the_kept_events_are_known_by_their_subjects_as_long_as_they_are_kept() -> None:
    log = MemoryLog()
    async with running(log, history=20) as hub:
        await told(log, hub, *cases(60))
        known = sorted(number for numbers in hub._told.values() for number in numbers)
        assert known == sorted(hub._entries)


async def test_only_those_are_woken_whom_it_concerns() -> None:
    log = MemoryLog()
    async with running(log) as hub:
        concerned, foreign, filtered = Client(), Client(somebody("county-leader", "150826")), Client()
        await concerned.connect(hub)
        await foreign.connect(hub)
        filtered.reader = await hub.open(LEADER, frozenset(), frozenset({"another"}), None)
        await told(log, hub, case())
        assert concerned.reader
        assert foreign.reader
        assert [one.news.is_set() for one in (concerned.reader, foreign.reader, filtered.reader)] == [
            True,
            False,
            False,
        ]


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_lost_or_doubled_however_often_a_reader_comes_back(seed: int) -> None:
    """He is cut off in the middle of what he is sent, and served by this process or by another one, which has read the log in another order."""
    chance, log, client, count = random.Random(seed), MemoryLog(), Client(), 0
    async with running(log) as hub:
        await client.connect(hub)
        client.leave()
    for _ in range(12):
        async with running(log, back=chance.choice([60, 100])) as hub, running(log) as other:
            for _ in range(chance.randrange(1, 4)):
                more = chance.randrange(20)
                await told(log, hub, *cases(more, count))
                ends = dict(await log.ends(TOPICS))
                await until(lambda ends=ends: all(other._at(p) >= end for p, end in ends.items()), "it is read")  # type: ignore[misc]
                count += more
                client.hub = chance.choice([hub, other])
                client.reader = await client.hub.open(LEADER, frozenset(), frozenset(), client.last)
                client.listen(chance.choice([0, 1, 2, 5, 10**9]) or 1)
                client.leave()
    async with running(log) as hub:
        await client.connect(hub)
    assert client.reloads == []
    assert sorted(map(int, client.heard)) == list(range(count))
    by_key: dict[int, list[int]] = {}
    for code in map(int, client.heard):
        by_key.setdefault(code % 37, []).append(code)
    assert all(codes == sorted(codes) for codes in by_key.values()), "each key in its order"


async def test_who_was_away_too_long_loads_anew() -> None:
    log, client = MemoryLog(), Client()
    async with running(log, history=10) as hub:
        await client.connect(hub)
        client.leave()
        await told(log, hub, *cases(50))
        await client.connect(hub)
        assert (client.heard, client.reloads) == ([], ["too old"])
        await told(log, hub, *cases(3, 50))
        client.listen()
        assert sorted(client.heard) == ["50", "51", "52"], "and goes on from there"


@pytest.mark.parametrize(
    "last", ["nonsense", positions.encode(positions.mark("other"), [[1], [1]]), "é", "A" * 100_000]
)
async def test_who_brings_a_place_that_is_none_loads_anew(last: str) -> None:
    client = Client(last=last)
    async with running(MemoryLog()) as hub:
        await client.connect(hub)
    assert client.reloads == ["unknown"]


async def test_a_place_of_a_log_that_is_no_more_is_none() -> None:
    log = MemoryLog()
    client = Client(last=positions.encode(MARK, [[999] * 4, [0] * 4]))
    async with running(log) as hub:
        await client.connect(hub)
    assert client.reloads == ["unknown"]


async def test_who_was_ahead_of_this_process_hears_nothing_again() -> None:
    """Another process had read further; this one catches up."""
    log, client = MemoryLog(), Client()
    async with running(log) as hub, running(log) as ahead:
        await client.connect(ahead)
        client.leave()
        await told(log, hub, *cases(5))
        await told(log, ahead)
        late = hub._reached
        hub._reached = dict.fromkeys(TOPICS, (0,) * 4)  # as if it had read nothing of it yet
        await client.connect(ahead)
        client.leave()
        assert len(client.heard) == 5
        client.reader, client.hub = await hub.open(LEADER, frozenset(), frozenset(), client.last), hub
        hub._reached = late
        client.listen()
        await told(log, hub, *cases(1, 5))
        client.listen()
        assert sorted(client.heard) == ["0", "1", "2", "3", "4", "5"]
        assert client.reloads == []


async def test_what_the_log_lost_is_told_to_all() -> None:
    log, client = MemoryLog(), Client()
    async with running(log) as hub:
        await client.connect(hub)
        await told(log, hub, *cases(3))
        log.away = True
        await log.append(TOPICS[0], list(cases(40, 3)))
        for n in range(4):
            log.gone[TOPICS[0], n] = len(log.kept[TOPICS[0], n]) - 1
        log.away = False
        await told(log, hub)
        client.listen()
        assert client.reloads == ["lost"]
        await told(log, hub, *cases(1, 100))
        client.listen()
        assert client.heard[-1] == "100"


async def test_a_reader_who_is_too_slow_is_dropped_with_a_reload() -> None:
    log, client, quick = MemoryLog(), Client(), Client()
    async with running(log, history=20) as hub:
        await client.connect(hub)
        await quick.connect(hub)
        for begin in range(0, 60, 10):
            await told(log, hub, *cases(10, begin))
            quick.listen()
        client.listen()
        assert client.reader
        assert (client.heard, client.reloads, client.reader.over) == ([], ["too slow"], True)
        assert len(quick.heard) == 60
        assert quick.reloads == []
        assert len(hub._entries) == 20, "and no more is kept for anybody"
        assert sum(map(len, hub._kept.values())) == 20


async def test_much_is_sent_in_parts() -> None:
    log = MemoryLog()
    async with running(log) as hub:
        client = Client()
        await client.connect(hub)
        await told(log, hub, *cases(250))
        assert client.reader
        sizes = []
        while client.reader.cursor is not None:
            sizes.append(len(hub.next(client.reader)))
        assert sizes == [AT_ONCE, AT_ONCE, 50]


async def test_streams_are_bounded() -> None:
    async with running(MemoryLog(), most=3, per_account=2) as hub:
        first = await hub.open(LEADER, frozenset(), frozenset(), None)
        await hub.open(LEADER, frozenset(), frozenset(), None)
        with pytest.raises(ResourceExhausted, match="STREAMS_TOO_MANY"):
            await hub.open(LEADER, frozenset(), frozenset(), None)
        await hub.open(WORKER, frozenset(), frozenset(), None)
        with pytest.raises(Unavailable, match="STREAMS_FULL"):
            await hub.open(OFFICER, frozenset(), frozenset(), None)
        hub.close(first)
        hub.close(first)
        await hub.open(LEADER, frozenset(), frozenset(), None)


async def test_nobody_is_let_in_before_the_end_is_known() -> None:
    log = MemoryLog()
    log.away = True
    hub = Hub(log, TOPICS, mark=MARK, back=100, history=1000, most=10, per_account=10, patience=0.2)
    task = asyncio.create_task(hub.run())
    try:
        await log.append(TOPICS[0], list(cases(10)))
        with pytest.raises(Unavailable, match="STREAM_NOT_READY"):
            await hub.open(LEADER, frozenset(), frozenset(), None)
        log.away = False
        await until(lambda: hub.ready, "the end is reached")
        client = Client()
        await client.connect(hub)
        assert client.heard == [], "what was there before is no news"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
