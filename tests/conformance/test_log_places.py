"""Moving a group to a place of the log, and reading a stretch of it: what a restore does. The same for each log."""

from __future__ import annotations

from kit.log import Log, Place, lag
from tests.conformance.conftest import TOPIC, LogUnderTest, Reader, readers, record
from tests.waiting import until

TEXTS = [str(n) for n in range(300)]


async def filled(logs: LogUnderTest) -> tuple[Log, dict[Place, int]]:
    """A log with 300 records of many keys, and where each partition ended after the first 100."""
    log = await logs.client()
    await log.append(TOPIC, [record(f"key-{n}", text) for n, text in enumerate(TEXTS[:100])])
    ends = dict(await log.ends([TOPIC]))
    await log.append(TOPIC, [record(f"key-{n}", text) for n, text in enumerate(TEXTS[100:], 100)])
    return log, ends


async def scanned(log: Log, stretches: dict[Place, tuple[int, int]]) -> list[str]:
    return [one.value.decode() async for batch in log.scan(stretches) for one in batch.records]


async def test_a_stretch_is_read_as_far_as_it_is_there_and_nobody_is_moved(logs: LogUnderTest) -> None:
    log, cut = await filled(logs)
    ends = dict(await log.ends([TOPIC]))
    before = await scanned(log, {place: (0, end) for place, end in cut.items()})
    assert sorted(before, key=int) == TEXTS[:100]
    behind = await scanned(log, {place: (end, ends[place] + 1000) for place, end in cut.items()})
    assert sorted(behind, key=int) == TEXTS[100:]
    assert await scanned(log, {place: (end, end) for place, end in cut.items()}) == []
    assert await scanned(log, {}) == []
    assert await lag(log, "group", [TOPIC]) == len(TEXTS)


async def test_records_know_where_they_stand(logs: LogUnderTest) -> None:
    log, cut = await filled(logs)
    reader = Reader(log, [TOPIC])
    async with readers(reader):
        await until(lambda: len(set(reader.texts)) == len(TEXTS), "everything was read", 30)
    for batch in reader.batches:
        offsets = [one.offset for one in batch.records]
        assert offsets == list(range(batch.end - len(offsets), batch.end))
    early = {one.value.decode() for b in reader.batches for one in b.records if one.offset < cut[b.topic, b.partition]}
    assert early == set(TEXTS[:100])


async def test_a_group_goes_on_where_it_was_put(logs: LogUnderTest) -> None:
    """Back, forwards, and where it has never been."""
    log, cut = await filled(logs)
    reader = Reader(log, [TOPIC])
    async with readers(reader):
        await until(lambda: len(set(reader.texts)) == len(TEXTS), "everything was read", 30)
    assert await lag(log, "group", [TOPIC]) == 0
    await log.seek("group", cut)
    assert dict(await log.positions("group", [TOPIC])) == cut
    again = Reader(log, [TOPIC])
    async with readers(again):
        await until(lambda: len(set(again.texts)) >= 200, "it has read again", 30)
    assert sorted(set(again.texts), key=int) == TEXTS[100:]
    await log.seek("newcomer", await log.ends([TOPIC]))
    assert await lag(log, "newcomer", [TOPIC]) == 0
    await log.seek("group", {})
