"""What every event log must do: the same tests for each."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from kit.log import Batch, Record, lag
from tests.conformance.conftest import PARTITIONS, TOPIC, LogUnderTest, Reader, drained, readers, record
from tests.waiting import until

#: Enough keys to reach every partition.
KEYS = [f"key-{n}" for n in range(8 * PARTITIONS)]


def firsts(records: Sequence[Record]) -> dict[str, list[str]]:
    """By key, what was said, without the repeats."""
    seen, said = set(), defaultdict(list)
    for one in records:
        if one.envelope.id not in seen:
            seen.add(one.envelope.id)
            said[one.envelope.key].append(one.value.decode())
    return said


async def test_an_event_comes_out_as_it_went_in(logs: LogUnderTest) -> None:
    log = await logs.client()
    whole = record("河套-key", "内容", snapshot=True)
    bare = record("k")
    bare = replace(bare, envelope=replace(bare.envelope, division="", traceparent="", source="/"))
    large = replace(record("k"), value=bytes(range(256)) * 1024)
    await log.append(TOPIC, [whole, bare, large])
    found = {one.envelope.id: one for batch in await drained(log, TOPIC) for one in batch.records}
    assert found == {one.envelope.id: one for one in (whole, bare, large)}


async def test_nothing_to_append_is_nothing(logs: LogUnderTest) -> None:
    log = await logs.client()
    await log.append(TOPIC, [])
    assert await lag(log, "group", [TOPIC]) == 0


async def test_the_events_of_a_key_keep_their_order(logs: LogUnderTest) -> None:
    log = await logs.client()
    reader = Reader(log, [TOPIC])
    said: dict[str, list[str]] = defaultdict(list)
    chance = random.Random(7)
    async with readers(reader):
        for _ in range(20):
            part = [(key, str(len(said[key]) + nth)) for key in chance.sample(KEYS, 10) for nth in range(3)]
            for key, text in part:
                said[key].append(text)
            await log.append(TOPIC, [record(key, text) for key, text in part])
        await until(lambda: len(reader.records) >= 600, "everything was read")
    assert firsts(reader.records) == said
    homes = {(one.envelope.key, batch.partition) for batch in reader.batches for one in batch.records}
    assert len(homes) == len(said), "a key lives in one partition"


async def test_a_reader_is_woken_by_an_append(logs: LogUnderTest) -> None:
    log = await logs.client()
    await log.append(TOPIC, [record()])
    reader = Reader(log, [TOPIC])
    async with readers(reader):
        for nth in range(1, 4):
            await until(lambda nth=nth: len(reader.records) >= nth, "it was read")  # type: ignore[misc]
            await log.append(TOPIC, [record()])


async def test_what_was_not_committed_comes_again(logs: LogUnderTest) -> None:
    log = await logs.client()
    await log.append(TOPIC, [record("k", str(n)) for n in range(250)])
    subscription = log.subscribe("group", [TOPIC])

    async def fetched() -> Batch:
        found: list[Batch] = []

        async def some() -> bool:
            found.extend(await subscription.fetch(wait=True))
            return bool(found)

        await until(some, "something was fetched")
        return found[0]

    first = await fetched()
    await subscription.commit(first)
    lost = await fetched()
    assert lost.records[0].value.decode() == str(len(first.records))
    subscription.rewind()
    again = await fetched()
    assert [one.envelope.id for one in again.records] == [one.envelope.id for one in lost.records]
    await subscription.close()
    subscription = log.subscribe("group", [TOPIC])  # the member's successor
    assert (await fetched()).records[0] == lost.records[0]
    await subscription.close()


async def test_a_late_commit_does_not_take_a_group_back(logs: LogUnderTest) -> None:
    log = await logs.client()
    await log.append(TOPIC, [record("k", str(n)) for n in range(250)])
    batches: list[Batch] = []
    reader = Reader(log, [TOPIC])
    async with readers(reader):
        await until(lambda: len(reader.records) == 250, "everything was read")
        batches = reader.batches
    subscription = log.subscribe("group", [TOPIC])
    await subscription.fetch(wait=False)
    await subscription.commit(batches[0])
    assert await lag(log, "group", [TOPIC]) == 0
    await subscription.close()


async def test_an_append_may_be_repeated(logs: LogUnderTest) -> None:
    log, other = await logs.client(), await logs.client()
    records = [record(KEYS[n % 10], str(n)) for n in range(40)]
    await log.append(TOPIC, records[:20])
    await log.append(TOPIC, records)
    await other.append(TOPIC, records[10:])
    found = [one for batch in await drained(log, TOPIC) for one in batch.records]
    assert firsts(found) == firsts(records)
    if logs.exact:
        assert len(found) == len(records)


async def test_appends_at_the_same_time_leave_no_gaps(logs: LogUnderTest) -> None:
    clients = [await logs.client() for _ in range(4)]

    async def relay(number: int) -> None:
        for nth in range(15):
            await clients[number].append(TOPIC, [record(key, f"{number}:{nth}") for key in KEYS[::4]])

    reader = Reader(clients[0], [TOPIC])  # it reads while they write, and must not run ahead of one that is slower
    async with readers(reader):
        await asyncio.gather(*(relay(number) for number in range(4)))
        await until(lambda: len(reader.records) >= 4 * 15 * len(KEYS[::4]), "everything was read")
    for said in firsts(reader.records).values():
        for number in range(4):
            assert [text for text in said if text.startswith(f"{number}:")] == [f"{number}:{nth}" for nth in range(15)]
    reached: dict[int, int] = {}
    for batch in reader.batches:
        assert batch.end - len(batch.records) == reached.get(batch.partition, 0)
        reached[batch.partition] = batch.end
    assert {partition: end for (_, partition), end in (await clients[0].ends([TOPIC])).items() if end} == reached


async def test_groups_do_not_know_of_each_other(logs: LogUnderTest) -> None:
    log = await logs.client()
    stuck, free = asyncio.Event(), Reader(log, [TOPIC], "free")

    async def wait(_: Batch) -> None:
        await stuck.wait()

    slow = Reader(log, [TOPIC], "slow", slow=wait)
    async with readers(slow, free):
        for nth in range(5):
            await log.append(TOPIC, [record(key, str(nth)) for key in KEYS])
        await until(lambda: len(free.records) == 5 * len(KEYS), "the free one read everything")
        assert not slow.batches
        stuck.set()
        await until(lambda: len(slow.records) == 5 * len(KEYS), "and so did the slow one")
    assert firsts(slow.records) == firsts(free.records)


async def test_a_topic_may_come_later_than_its_readers(logs: LogUnderTest) -> None:
    log = await logs.client()
    reader = Reader(log, [TOPIC, "hetao.later.v1"])
    async with readers(reader):
        await log.append(TOPIC, [record("k", "a")])
        await until(lambda: reader.texts == ["a"], "the first topic was read")
        await logs.make("hetao.later.v1")
        await log.append("hetao.later.v1", [record("k", "b")])
        await until(lambda: reader.texts == ["a", "b"], "the second topic was read")
    assert [batch.topic for batch in reader.batches] == [TOPIC, "hetao.later.v1"]


class Crowd:
    """Readers of one group, and rounds of events that reach every partition."""

    def __init__(self, writer: LogUnderTest):
        self._logs, self.members = writer, dict[str, Reader]()
        self._rounds = 0

    async def join(self, name: str) -> None:
        self.members[name] = Reader(await self._logs.client(), [TOPIC])

    async def round(self) -> dict[str, set[int]]:
        """Says something new in every partition, waits until the members have read it, and tells who read which partition."""
        self._rounds += 1
        text = f"round {self._rounds}"
        await self.writer.append(TOPIC, [record(key, text) for key in KEYS])
        await until(lambda: len(self._read(text)) == len(KEYS), f"{text} was read by {set(self.members)}")
        return {
            name: {batch.partition for batch in member.batches for one in batch.records if one.value.decode() == text}
            for name, member in self.members.items()
        }

    def _read(self, text: str) -> set[str]:
        members = self.members.values()
        return {one.envelope.key for member in members for one in member.records if one.value.decode() == text}

    async def settle(self) -> dict[str, set[int]]:
        """Rounds until each member has its fair share; then for some more of them everything must stay as it is."""
        low, rest = divmod(PARTITIONS, len(self.members))
        shares: dict[str, set[int]] = {}

        async def fair() -> bool:
            shares.update(await self.round())
            sizes = [len(share) for share in shares.values()]
            return sum(sizes) == PARTITIONS and min(sizes) >= low and max(sizes) <= low + bool(rest)

        await until(fair, "the shares are fair", 60)
        for _ in range(3):
            assert await self.round() == shares
        return shares

    async def __aenter__(self) -> Crowd:
        self.writer = await self._logs.client()
        await self.writer.append(TOPIC, [record(key, "begin") for key in KEYS])
        return self

    async def __aexit__(self, *_: object) -> None:
        async with readers(*self.members.values()):
            pass


async def test_members_share_the_partitions(logs: LogUnderTest) -> None:
    async with Crowd(logs) as crowd:
        for name in "ab":
            await crowd.join(name)
        await crowd.settle()
        for name in "cd":
            await crowd.join(name)
        await crowd.settle()
        everything = [one for member in crowd.members.values() for one in member.records]
        assert {text for text, _ in Counter(one.value.decode() for one in everything).items()} >= {"begin"}
        assert len(firsts(everything)) == len(KEYS)


async def test_a_third_member_gets_its_share_and_gives_it_back(logs: LogUnderTest) -> None:
    async with Crowd(logs) as crowd:
        for name in "ab":
            await crowd.join(name)
        before = await crowd.settle()
        await crowd.join("c")
        await crowd.settle()
        await crowd.members.pop("c").stop()
        assert {len(share) for share in (await crowd.settle()).values()} == {len(share) for share in before.values()}


async def test_the_partitions_of_a_dead_member_move_after_its_lease(logs: LogUnderTest) -> None:
    async with Crowd(logs) as crowd:
        for name in "abc":
            await crowd.join(name)
        shares = await crowd.settle()
        dead = crowd.members.pop("c")
        await dead.drop()
        await logs.kill(dead.log)
        began = asyncio.get_running_loop().time()
        after = await crowd.settle()  # whose first round waits for the dead one's partitions
        assert asyncio.get_running_loop().time() - began > logs.lease / 3
        assert set().union(*after.values()) >= shares["c"]


async def test_a_slow_member_does_not_hold_the_others(logs: LogUnderTest) -> None:
    async with Crowd(logs) as crowd:
        for name in "ab":
            await crowd.join(name)
        shares = await crowd.settle()
        stuck = asyncio.Event()

        async def wait(_: Batch) -> None:
            await stuck.wait()

        crowd.members["b"]._slow = wait
        await crowd.writer.append(TOPIC, [record(key, "slow") for key in KEYS])

        def partitions(name: str) -> set[int]:
            return {b.partition for b in crowd.members[name].batches if any(one.value == b"slow" for one in b.records)}

        await until(lambda: partitions("a") >= shares["a"], "the quick one read its part")
        stuck.set()
        await until(lambda: partitions("a") | partitions("b") == set(range(PARTITIONS)), "the slow one read the rest")


async def test_a_member_keeps_its_partitions_while_it_works(logs: LogUnderTest) -> None:
    """What it fetched at once takes it longer than a lease in all."""
    worker = Reader(await logs.client(), [TOPIC])

    async def work(batch: Batch) -> None:
        await asyncio.sleep(logs.lease / 3)

    worker._slow = work
    writer = await logs.client()
    await writer.append(TOPIC, [record(key) for key in KEYS])
    async with readers(worker):
        await until(lambda: bool(worker.batches), "it is at work")
        idle = Reader(await logs.client(), [TOPIC])
        async with readers(idle):
            await until(lambda: len(worker.records) + len(idle.records) >= len(KEYS), "it is done")
            assert not (logs.leases and idle.batches)


async def test_lag_is_what_a_group_has_not_committed(logs: LogUnderTest) -> None:
    log = await logs.client()
    assert await lag(log, "group", [TOPIC]) == 0
    await log.append(TOPIC, [record("k", str(n)) for n in range(250)] + [record("other")])
    assert await lag(log, "group", [TOPIC]) == 251
    subscription = log.subscribe("group", [TOPIC])
    found: list[Batch] = []

    async def some() -> bool:
        found.extend(await subscription.fetch(wait=True))
        return bool(found)

    await until(some, "something was fetched")
    await subscription.commit(found[0])
    committed = len(found[0].records)
    ends = await log.ends([TOPIC])
    assert await lag(log, "group", [TOPIC]) == 251 - committed
    await log.append(TOPIC, [record("k")] * 1)
    assert await lag(log, "group", [TOPIC]) == 252 - committed
    assert await lag(log, "group", [TOPIC], ends) == 251 - committed
    assert await lag(log, "other group", [TOPIC]) == 252
    await subscription.close()
    reader = Reader(log, [TOPIC])
    async with readers(reader):
        await until(lambda: len(reader.records) == 252 - committed, "the rest was read")
    assert await lag(log, "group", [TOPIC]) == 0


async def test_a_group_whose_position_was_trimmed_away_goes_on_from_the_oldest(logs: LogUnderTest) -> None:
    log = await logs.client()
    await log.append(TOPIC, [record("k", str(n)) for n in range(120)])
    old = await log.ends([TOPIC])
    reader = Reader(log, [TOPIC], "ahead")
    async with readers(reader):
        await until(lambda: len(reader.records) == 120, "everything was read")
    await log.append(TOPIC, [record("k", str(n)) for n in range(120, 130)])
    await logs.expire(old)
    for group in ("ahead", "new"):
        assert await lag(log, group, [TOPIC]) == 10, group
        reader = Reader(log, [TOPIC], group)
        async with readers(reader):
            await until(lambda: len(reader.records) >= 10, "the rest was read")  # noqa: B023
        assert reader.texts == [str(n) for n in range(120, 130)]
        assert await lag(log, group, [TOPIC]) == 0


async def test_a_group_has_no_lag_where_nothing_is_left(logs: LogUnderTest) -> None:
    """A service that is new after two quiet months: what it can't read any more is not waited for."""
    log = await logs.client()
    await log.append(TOPIC, [record("k") for _ in range(20)])
    await logs.expire(await log.ends([TOPIC]))
    assert await lag(log, "new", [TOPIC]) == 0
    await log.append(TOPIC, [record("k", "fresh")])
    assert await lag(log, "new", [TOPIC]) == 1
    reader = Reader(log, [TOPIC], "new")
    async with readers(reader):
        await until(lambda: reader.texts == ["fresh"], "the new one was read")


async def test_a_group_that_lost_its_positions_reads_all_that_is_left(logs: LogUnderTest) -> None:
    """It was idle for longer than positions are kept. What it reads again its inbox knows."""
    log = await logs.client()
    await log.append(TOPIC, [record("k", str(n)) for n in range(60)])
    reader = Reader(log, [TOPIC])
    async with readers(reader):
        await until(lambda: len(reader.records) == 60, "everything was read")
    await logs.forget("group")
    assert await lag(log, "group", [TOPIC]) == 60
    reader = Reader(log, [TOPIC])
    async with readers(reader):
        await until(lambda: len(reader.records) >= 60, "everything was read again")
    assert reader.texts == [str(n) for n in range(60)]


async def test_the_log_says_whether_it_is_there(logs: LogUnderTest) -> None:
    log = await logs.client()
    await log.look([TOPIC])
