"""The figures: cohorts by acceptance, resolved as of now, and the same whatever the order of what was heard."""

from __future__ import annotations

import asyncio
import random
from datetime import date
from typing import Any
from uuid import uuid4

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from hetao.cases.v1 import types_pb2
from hetao.operations.v1 import operations_pb2
from kit.rebuild import rebuild
from kit.unit import Unit
from services.cases.store import figures
from services.cases.store.figures import Fact
from tests.unit.cases.conftest import CentreAtWork
from tests.waiting import until
from tests.world import refused


async def test_a_resolved_dispute_counts_in_its_cohort_until_it_is_reopened(centre: CentreAtWork) -> None:
    open_one = await centre.accepted()
    case = await centre.concluded()
    seen = await centre.figures()
    assert (seen.accepted, seen.resolved, seen.concluded, seen.resolved_in_period) == (2, 1, 1, 1)
    assert seen.resolution_rate == 0.5
    assert [(one.category, one.accepted, one.resolved) for one in seen.by_category] == [("10", 2, 1)]
    await centre.reopened(case)
    seen = await centre.figures()
    assert (seen.accepted, seen.resolved, seen.concluded, seen.reopened) == (2, 0, 0, 1)
    reworked = await centre.get(case)
    await centre.submit(reworked, reworked.tasks[0])
    await centre.conclude(await centre.review(reworked, types_pb2.REVIEW_DECISION_APPROVE))
    await centre.conclude(open_one, types_pb2.OUTCOME_PARTY_REFUSED)
    seen = await centre.figures()
    assert (seen.accepted, seen.resolved, seen.concluded, seen.resolution_rate) == (2, 1, 2, 0.5)


async def test_only_disputes_count_in_the_rate(centre: CentreAtWork) -> None:
    await centre.create("dispatcher-2", kind=types_pb2.KIND_CONSULTATION, parties=[], accept=True)
    await centre.create()  # registered alone
    seen = await centre.figures()
    assert (seen.accepted, seen.HasField("resolution_rate")) == (0, False)
    assert [(one.kind, one.accepted) for one in seen.by_kind] == [(types_pb2.KIND_CONSULTATION, 1)]


async def test_a_case_counts_once_at_each_level(centre: CentreAtWork) -> None:
    case = await centre.accepted(division="150826108203")
    assert (case.township, case.community) == ("150826108", "150826108203")
    for division, by in (("150826", "county-leader-2"), ("150826108", "township-leader-2"), ("1508", "city-leader")):
        assert (await centre.figures(division, by=by)).accepted == 1
    assert (await centre.figures("150826100")).accepted == 0


async def test_cohorts_and_periods_are_two_things(centre: CentreAtWork) -> None:
    case = await centre.accepted()
    await centre.world.travel("2026-04-01 09:00")
    await centre.conclude(case)
    march = await centre.figures(first="2026-03-01", last="2026-03-31")
    assert (march.accepted, march.resolved, march.resolved_in_period, march.overdue) == (1, 1, 0, 1)
    april = await centre.figures(first="2026-04-01", last="2026-04-30")
    assert (april.accepted, april.resolved, april.resolved_in_period, april.concluded_in_period) == (0, 0, 1, 1)


async def test_figures_of_another_division_are_not_there(centre: CentreAtWork) -> None:
    foreign = await refused(centre.figures("150802"))
    assert (foreign.code, foreign.reason, foreign.fields) == ("NOT_FOUND", "NOT_FOUND", ["division"])
    backwards = await refused(centre.figures(first="2026-02-01", last="2026-01-01"))
    assert (backwards.reason, backwards.fields) == ("PERIOD_BACKWARDS", ["to"])
    assert (await refused(centre.figures(first="2026-02-30"))).reason == "DATE_INVALID"


async def test_order_and_repetition_change_nothing(centre: CentreAtWork) -> None:
    """Every case's words in any order, some twice: the sums are those of the last words."""
    chance = random.Random(8)
    words: list[Fact] = []
    last: list[Fact] = []
    for _ in range(30):
        case_id, county = uuid4(), chance.choice(["150826", "150802"])
        for version in range(1, chance.randint(2, 6)):
            resolved = chance.random() < 0.5
            accepted = date(2026, 3, chance.randint(1, 28)) if version > 1 else None
            word = Fact(
                case_id=case_id, epoch=1, version=version, kind="dispute", category=chance.choice(["", "02", "10"]),
                county=county, township=f"{county}108" if chance.random() < 0.5 else "", accepted_on=accepted,
                concluded_on=date(2026, 4, 1) if accepted and resolved else None,
                resolved_on=date(2026, 4, 1) if accepted and resolved else None, reopened=version > 3, overdue=version > 4,
            )  # fmt: skip
            words.append(word)
        last.append(word)
    words += chance.sample(words, 20)
    chance.shuffle(words)

    async def hear(unit: Unit) -> None:
        for word in words:
            figures.keep(unit, word)

    await centre.world.platform.services["cases"].runtime.transact(hear, action="test")
    counted = [word for word in last if word.accepted_on]
    for division in ("1508", "150826", "150802", "150826108"):
        rows = await centre.world.rows("cases", figures.SUMS, division, date(2026, 1, 1), date(2026, 12, 31))
        there = [word for word in counted if division in (word.county[:4], word.county, word.township)]
        assert sum(row["accepted"] for row in rows) == len(there)
        assert sum(row["resolved"] for row in rows) == sum(word.resolved_on is not None for word in there)
        assert sum(row["reopened"] for row in rows) == sum(word.reopened for word in there)
        assert sum(row["overdue"] for row in rows) == sum(word.overdue for word in there)
        assert sum(row["resolved_in_period"] for row in rows) == sum(word.resolved_on is not None for word in there)


async def test_a_newer_epoch_wins_over_any_version(centre: CentreAtWork) -> None:
    case_id = uuid4()

    def word(epoch: int, version: int, resolved: bool) -> Fact:
        day = date(2026, 3, 2)
        return Fact(
            case_id, epoch, version, "dispute", "10", "150826", "", day, None, day if resolved else None, False, False
        )

    async def hear(unit: Unit) -> None:
        for said in (word(1, 9, True), word(2, 3, False), word(1, 10, True)):
            figures.keep(unit, said)

    await centre.world.platform.services["cases"].runtime.transact(hear, action="test")
    seen = await centre.figures()
    assert (seen.accepted, seen.resolved) == (1, 0)


class Nobody:
    """A channel to a service that has nothing to say again."""

    def unary_unary(self, *_: Any, **__: Any) -> Any:
        async def answer(*_: Any, **__: Any) -> operations_pb2.RepublishResponse:
            return operations_pb2.RepublishResponse()

        return answer


async def test_a_rebuild_gives_the_same_figures(centre: CentreAtWork) -> None:
    await centre.concluded()
    await centre.accepted()
    before = await centre.figures()
    await centre.world.rows("cases", "delete from figure returning division")
    assert (await centre.figures()).accepted == 0
    platform = centre.world.platform
    channels = {"cases": platform.channel("cases"), "grid": Nobody()}
    token = centre.world.token("admin-2")
    rebuilding = asyncio.create_task(rebuild("cases", channels.__getitem__, token, lambda *_: None))

    async def rebuilt() -> bool:
        await platform.settle()
        return rebuilding.done()

    await until(rebuilt, "the read model is rebuilt", 60)
    said = await rebuilding
    after = await centre.figures()
    before.ClearField("as_of")
    after.ClearField("as_of")
    assert (said, after) == (2, before)


class Busy:
    """A channel to a service that cannot answer a step's first call; `done`: it does what it was asked nevertheless."""

    def __init__(self, channel: Any, done: str):
        self.channel, self.done, self.asked = channel, done, set[str]()

    def unary_unary(self, path: str, *serialisers: Any, **more: Any) -> Any:
        rpc = self.channel.unary_unary(path, *serialisers, **more)

        async def answer(request: Any, **how: Any) -> Any:
            if path in self.asked:
                return await rpc(request, **how)
            answered = await rpc(request, **how) if path.endswith(self.done) else None
            if not getattr(answered, "missing", 0):
                self.asked.add(path)
            raise AioRpcError(StatusCode.UNAVAILABLE, Metadata(), Metadata(), "busy", "")

        return answer


@pytest.mark.parametrize("done", ["BeginRebuild", "Republish", "FinishRebuild"])
async def test_a_rebuild_asks_again_what_could_not_be_answered(
    centre: CentreAtWork, done: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kit.rebuild.PAUSE", 0.01)
    monkeypatch.setattr("kit.rebuild.PATIENCE", 1000)  # it is busy until the events are heard
    await centre.concluded()
    before = await centre.figures()
    platform = centre.world.platform
    channels = {"cases": Busy(platform.channel("cases"), done), "grid": Nobody()}
    rebuilding = asyncio.create_task(
        rebuild("cases", channels.__getitem__, centre.world.token("admin-2"), lambda *_: None)
    )

    async def rebuilt() -> bool:
        await platform.settle()
        return rebuilding.done()

    await until(rebuilt, "the read model is rebuilt", 60)
    await rebuilding
    after = await centre.figures()
    before.ClearField("as_of")
    after.ClearField("as_of")
    assert after == before
    assert await centre.world.rows("cases", "select from rebuild") == []
