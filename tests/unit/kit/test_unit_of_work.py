"""One unit of work: what is answered is there, what fails leaves nothing, what is repeated is done once."""

from __future__ import annotations

import asyncio

from tests import shelf
from tests.unit.kit.conftest import HOUR, ShelfWorld
from tests.world import refused


async def test_what_was_written_can_be_read_at_once(shelf_world: ShelfWorld) -> None:
    thing = await shelf_world.put("自行车")
    read = await shelf_world.as_("ding:1508").GetThing(shelf.pb.GetThingRequest(id=thing.id))
    assert read.thing == thing
    assert thing.etag == "1"


async def test_a_repeat_is_answered_and_not_done_again(shelf_world: ShelfWorld) -> None:
    first = await shelf_world.put("自行车", request_id="r1")
    again = await shelf_world.put("自行车", request_id="r1")
    assert again == first
    assert len(await shelf_world.rows("shelf", "select from thing")) == 1
    other = await refused(shelf_world.put("钱包", request_id="r1"))
    assert (other.code, other.reason, other.fields) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED", ["request_id"])
    assert (await shelf_world.put("自行车", request_id="r1", by="li:1508")) != first


async def test_the_same_request_at_the_same_time_has_one_effect(shelf_world: ShelfWorld) -> None:
    answers = await asyncio.gather(*(shelf_world.put("自行车", request_id="r1") for _ in range(8)))
    assert len({answer.id for answer in answers}) == 1
    assert len(await shelf_world.rows("shelf", "select from thing")) == 1


async def test_a_repeat_is_answered_even_when_the_state_no_longer_allows_it(shelf_world: ShelfWorld) -> None:
    thing = await shelf_world.put("自行车")
    changed = await shelf_world.change(thing, "红色自行车", etag="1", request_id="r2")
    assert await shelf_world.change(thing, "红色自行车", etag="1", request_id="r2") == changed


async def test_a_stale_etag_is_refused_and_a_missing_one_is_not(shelf_world: ShelfWorld) -> None:
    thing = await shelf_world.put("自行车")
    await shelf_world.change(thing, "a")
    stale = await refused(shelf_world.change(thing, "b", etag="1"))
    assert (stale.code, stale.reason, stale.fields) == ("ABORTED", "ETAG_STALE", ["etag"])
    assert (await shelf_world.change(thing, "c", etag="2")).etag == "3"


async def test_writers_of_one_aggregate_wait_for_each_other(shelf_world: ShelfWorld) -> None:
    thing = await shelf_world.put("自行车")
    await asyncio.gather(*(shelf_world.change(thing, f"t{n}") for n in range(20)))
    rows = await shelf_world.rows("shelf", "select version from audit where entity_id = $1 order by version", thing.id)
    assert [row["version"] for row in rows] == list(range(1, 22))


async def test_a_failure_leaves_nothing_behind(shelf_world: ShelfWorld) -> None:
    thing = await shelf_world.put("自行车")
    failed = await refused(shelf_world.change(thing, "fail", request_id="r3"))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "MOVE_NOT_ALLOWED")
    assert "不允许" in failed.zh
    broken = await refused(shelf_world.change(thing, "break"))
    assert (broken.code, broken.reason) == ("INTERNAL", "INTERNAL")
    assert "secret" not in repr(broken) + broken.en
    assert [row["title"] for row in await shelf_world.rows("shelf", "select title from thing")] == ["自行车"]
    assert len(await shelf_world.rows("shelf", "select from outbox")) == 1
    assert len(await shelf_world.rows("shelf", "select from audit")) == 1


async def test_a_refusal_may_keep_what_was_done(shelf_world: ShelfWorld) -> None:
    thing = await shelf_world.put("自行车")
    assert (await refused(shelf_world.change(thing, "refuse"))).code == "RESOURCE_EXHAUSTED"
    assert [row["title"] for row in await shelf_world.rows("shelf", "select title from thing")] == ["refuse"]


async def test_a_foreign_division_is_not_found(shelf_world: ShelfWorld) -> None:
    thing = await shelf_world.put("自行车", division="150802")
    request = shelf.pb.GetThingRequest(id=thing.id)
    foreign = await refused(shelf_world.as_("wang:150826").GetThing(request))
    missing = await refused(shelf_world.as_("wang:150826").GetThing(shelf.pb.GetThingRequest(id=thing.id[:-1] + "0")))
    assert (foreign.code, foreign.reason, foreign.zh) == (missing.code, missing.reason, missing.zh)
    assert (await refused(shelf_world.change(thing, "x", by="wang:150826"))).code == "NOT_FOUND"


async def test_bad_fields_are_named_in_both_languages(shelf_world: ShelfWorld) -> None:
    bad = await refused(shelf_world.put("", division="abc"))
    assert (bad.code, bad.reason) == ("INVALID_ARGUMENT", "REQUEST_INVALID")
    assert sorted(bad.fields) == ["division", "title"]
    assert sorted(bad.labels) == ["区划：格式不对", "名称：太短"]


async def test_without_a_token_only_what_is_public(shelf_world: ShelfWorld) -> None:
    thing = await shelf_world.put("自行车")
    anybody = shelf_world.stub(shelf.rpc.ShelfServiceStub, "shelf")
    assert (await anybody.LookUp(shelf.pb.LookUpRequest(id=thing.id))).there
    assert (await refused(anybody.GetThing(shelf.pb.GetThingRequest(id=thing.id)))).code == "UNAUTHENTICATED"


async def test_a_call_that_takes_too_long_is_undone(shelf_world: ShelfWorld) -> None:
    thing = await shelf_world.put("自行车")
    call = shelf_world.as_("ding:1508").ChangeThing(shelf.pb.ChangeThingRequest(id=thing.id, title="slow"), timeout=0.2)
    assert (await refused(call)).code == "DEADLINE_EXCEEDED"
    assert (await shelf_world.change(thing, "quick")).title == "quick"


async def test_events_take_effect_once_and_projections_keep_the_newest(shelf_world: ShelfWorld) -> None:
    thing = await shelf_world.put("a")
    for title in ("b", "c"):
        await shelf_world.change(thing, title)
    await shelf_world.settle()
    heard = await shelf_world.rows("shelf", "select title from heard order by n")
    assert [row["title"] for row in heard] == ["a", "b", "c"]
    # The log says everything again, as after a lost position.
    pool = shelf_world.platform.log._pool  # type: ignore[attr-defined]
    await pool.execute("delete from position")
    for service in shelf_world.platform.services.values():
        assert service.consumer
        service.consumer._subscribed().rewind()
    await shelf_world.settle()
    assert len(await shelf_world.rows("shelf", "select from heard")) == 3
    assert [row["title"] for row in await shelf_world.rows("shelf", "select title from newest")] == ["c"]
    assert not await shelf_world.rows("shelf", "select from outbox")


async def test_a_poisonous_event_waits_and_the_rest_goes_on(shelf_world: ShelfWorld) -> None:
    sick, well = await shelf_world.put("a"), await shelf_world.put("b")
    await shelf_world.change(sick, "poison")
    await shelf_world.change(sick, "after")
    await shelf_world.change(well, "fine")
    await shelf_world.settle()
    heard = await shelf_world.rows("shelf", "select title from heard order by n")
    assert {row["title"] for row in heard} == {"a", "b", "fine"}
    parked = await shelf_world.rows("shelf", "select handler, key, error from parked order by id")
    assert [row["key"] for row in parked] == [sick.id, sick.id]
    assert [
        row["title"] for row in await shelf_world.rows("shelf", "select title from newest where id = $1", sick.id)
    ] == ["after"]


async def test_parked_events_are_listed_and_redriven_in_order(shelf_world: ShelfWorld) -> None:
    from hetao.operations.v1 import operations_pb2 as ops
    from hetao.operations.v1 import operations_pb2_grpc as ops_rpc

    thing = await shelf_world.put("a")
    await shelf_world.change(thing, "poison")
    await shelf_world.change(thing, "after")
    await shelf_world.settle()
    operations = shelf_world.stub(ops_rpc.OperationsServiceStub, "shelf", "admin:1508")
    letters = (await operations.ListDeadLetters(ops.ListDeadLettersRequest(service="shelf"))).dead_letters
    assert [letter.type for letter in letters] == ["hetao.shelf.v1.ThingChanged"] * 2
    request = ops.RedriveDeadLettersRequest(service="shelf", handler=letters[0].handler, key=letters[0].key)
    assert (await refused(operations.RedriveDeadLetters(request))).code == "FAILED_PRECONDITION"
    pool = shelf_world.platform.services["shelf"].runtime.pool
    cured = shelf.pb.ThingChanged(id=thing.id, epoch=1, version=2, title="cured").SerializeToString()
    await pool.execute("update parked set value = $1 where id = (select min(id) from parked)", cured)
    assert (await operations.RedriveDeadLetters(request)).redriven == 2
    assert [row["title"] for row in await shelf_world.rows("shelf", "select title from heard order by n")] == [
        "a",
        "cured",
        "after",
    ]
    assert not await shelf_world.rows("shelf", "select from parked")


async def test_timers_fire_once_can_be_moved_and_taken_away(shelf_world: ShelfWorld) -> None:
    once, moved, gone, again = [await shelf_world.put(title) for title in ("once", "moved", "gone", "again")]
    await shelf_world.change(moved, "later")
    await shelf_world.change(gone, "never")
    await shelf_world.travel(3 * HOUR)
    fired = await shelf_world.rows("shelf", "select key from fired order by n")
    assert sorted(row["key"] for row in fired) == sorted([once.id, again.id, again.id, again.id])
    await shelf_world.travel(3 * HOUR)
    fired = await shelf_world.rows("shelf", "select key from fired order by n")
    assert [row["key"] for row in fired].count(moved.id) == 1


async def test_a_timer_that_fails_starves_nobody_and_is_parked(shelf_world: ShelfWorld) -> None:
    await shelf_world.put("stubborn")
    well = await shelf_world.put("fine")
    await shelf_world.travel(1000 * HOUR)
    assert [row["key"] for row in await shelf_world.rows("shelf", "select key from fired")] == [well.id]
    (parked,) = await shelf_world.rows("shelf", "select attempts, error from timer where parked_at is not null")
    assert (parked["attempts"], parked["error"]) == (8, "RuntimeError")


async def test_two_processes_fire_a_timer_once(shelf_world: ShelfWorld) -> None:
    things = [await shelf_world.put(f"t{n}") for n in range(10)]
    shelf_world.clock.move(2 * HOUR)
    timers = shelf_world.platform.services["shelf"].timers
    assert timers
    fired = await asyncio.gather(timers.run_due(), timers.run_due())
    assert sum(fired) == len(things)
    assert len(await shelf_world.rows("shelf", "select from fired")) == len(things)


async def test_projections_are_rebuilt_beside_the_present_ones(shelf_world: ShelfWorld) -> None:
    from hetao.operations.v1 import operations_pb2 as ops
    from hetao.operations.v1 import operations_pb2_grpc as ops_rpc

    things = [await shelf_world.put(f"t{n}") for n in range(130)]
    await shelf_world.settle()
    pool = shelf_world.platform.services["shelf"].runtime.pool
    await pool.execute("delete from newest where id = $1", things[0].id)
    operations = shelf_world.stub(ops_rpc.OperationsServiceStub, "shelf", "admin:1508")
    begun = await operations.BeginRebuild(ops.BeginRebuildRequest(service="shelf"))
    assert list(begun.owners) == ["shelf"]
    await shelf_world.change(things[1], "meanwhile")
    after, said = "", 0
    while True:
        answer = await operations.Republish(ops.RepublishRequest(service="shelf", after=after))
        said, after = said + answer.count, answer.next
        await shelf_world.settle()
        if not after:
            break
    assert said == 130
    assert (await operations.FinishRebuild(ops.FinishRebuildRequest(service="shelf"))).finished
    assert len(await shelf_world.rows("shelf", "select from newest")) == 130
    assert [
        r["title"] for r in await shelf_world.rows("shelf", "select title from newest where id = $1", things[1].id)
    ] == ["meanwhile"]
    await shelf_world.change(things[2], "afterwards")
    await shelf_world.settle()
    assert [
        r["title"] for r in await shelf_world.rows("shelf", "select title from newest where id = $1", things[2].id)
    ] == ["afterwards"]
    assert len(await shelf_world.rows("shelf", "select from heard")) == 132
