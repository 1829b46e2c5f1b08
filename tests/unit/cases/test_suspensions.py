"""Suspension: who asks and who decides, for how long, and what the clocks do meanwhile."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hetao.cases.v1 import case_pb2, events_pb2, handling_pb2, intake_pb2, types_pb2
from hetao.cases.v1 import suspensions_pb2 as pb
from hetao.cases.v1 import suspensions_pb2_grpc as rpc
from hetao.common.v1 import common_pb2
from kit.unit import Unit
from tests.unit.cases.conftest import JUSTICE, LABOUR, UNION, CentreAtWork
from tests.world import refused

LEAD, DISPATCHER, DIRECTOR = "department-officer-2", "dispatcher-2", "centre-director-2"
HANDLING, SUSPENDED, FOLLOW_UP = (
    types_pb2.CASE_STATE_HANDLING,
    types_pb2.CASE_STATE_SUSPENDED,
    types_pb2.CASE_STATE_FOLLOW_UP,
)


class Suspending:
    """The persons of a centre who suspend a case."""

    def __init__(self, centre: CentreAtWork):
        self.centre = centre

    def stub(self, by: str) -> Any:
        return self.centre.world.stub(rpc.SuspensionServiceStub, "cases", by)

    async def ask(self, case: case_pb2.Case, days: int = 5, by: str = LEAD, **more: Any) -> pb.Suspension:
        values = {"ground": "appraisal", "media_ids": [await self.centre.upload()], **more}
        request = pb.RequestSuspensionRequest(case_id=case.case_id, days=days, **values)
        return (await self.stub(by).RequestSuspension(request)).suspension  # type: ignore[no-any-return]

    async def decide(self, asked: pb.Suspension, approve: bool = True, by: str = DISPATCHER) -> pb.Suspension:
        request = pb.DecideSuspensionRequest(case_id=asked.case_id, suspension_id=asked.suspension_id, approve=approve)
        return (await self.stub(by).DecideSuspension(request)).suspension  # type: ignore[no-any-return]

    async def suspend(self, case: case_pb2.Case, days: int = 5, **more: Any) -> pb.Suspension:
        return await self.decide(await self.ask(case, days, **more), by=DIRECTOR)

    async def resume(self, case: case_pb2.Case, by: str = DISPATCHER) -> pb.Suspension:
        return (await self.stub(by).ResumeCase(pb.ResumeCaseRequest(case_id=case.case_id))).suspension  # type: ignore[no-any-return]

    async def of(self, case: case_pb2.Case, by: str = DISPATCHER) -> list[pb.Suspension]:
        answer = await self.stub(by).ListSuspensions(pb.ListSuspensionsRequest(case_id=case.case_id))
        return list(answer.suspensions)


@pytest.fixture
def suspending(centre: CentreAtWork) -> Suspending:
    return Suspending(centre)


def due(one: case_pb2.Case | case_pb2.Task) -> str:
    return one.deadline.due_at.ToJsonString()[:10]


async def templates(centre: CentreAtWork) -> list[str]:
    return [notice.template for notice in await centre.notices()]


async def test_a_suspended_case_stands_and_goes_on_by_itself(centre: CentreAtWork, suspending: Suspending) -> None:
    case = (
        await centre.dispatched()
    )  # Monday: the case until Wednesday the 11th, labour until the 9th, the others until the 5th
    before = {task.department_id: due(task) for task in case.tasks}
    assert (due(case), before) == ("2026-03-11", {LABOUR: "2026-03-09", JUSTICE: "2026-03-05", UNION: "2026-03-05"})
    await centre.world.travel("2026-03-03 10:00")
    asked = await suspending.ask(case, note="委托司法鉴定")
    assert (asked.state, asked.days, asked.note) == (types_pb2.SUSPENSION_STATE_REQUESTED, 5, "委托司法鉴定")
    assert (await centre.get(case)).state == HANDLING
    running = await suspending.decide(asked)
    assert (
        running.until.ToJsonString() == "2026-03-09T16:00:00Z"
    )  # five working days: Tuesday the 3rd to Monday the 9th
    case = await centre.get(case)
    assert (case.state, case.suspension_id) == (SUSPENDED, running.suspension_id)
    assert case.deadline.paused.ground.zh == "等待鉴定、检测或评估结论"
    assert "加上挂起 5 个工作日（2026年3月3日（周二）10:00 至 2026年3月10日（周二）00:00，事由：等待鉴定" in (
        case.deadline.explanation.zh
    )
    assert (
        "Plus 5 working days suspended (Tue 3 Mar 2026 10:00 to Tue 10 Mar 2026 00:00" in case.deadline.explanation.en
    )

    await centre.world.travel("2026-03-09 23:00")  # every limit of before has come near or passed
    assert set(await templates(centre)) <= {"cases.dispatched", "cases.suspension_asked", "cases.suspension_decided"}
    await centre.world.travel("2026-03-10 09:00")
    case = await centre.get(case)
    assert (case.state, case.suspension_id, case.deadline.HasField("paused")) == (HANDLING, "", False)
    assert due(case) == "2026-03-18"
    moved = {task.department_id: due(task) for task in case.tasks}
    assert moved == {LABOUR: "2026-03-16", JUSTICE: "2026-03-12", UNION: "2026-03-12"}
    (ended,) = await suspending.of(case)
    assert (ended.state, ended.ended_by) == (types_pb2.SUSPENSION_STATE_ENDED, "system")
    await centre.world.travel("2026-03-13 09:00")
    assert (await templates(centre)).count("cases.task_reminder") == 2
    assert [n.what for n in await centre.timeline(case)].count("resume") == 1


async def test_colours_follow_what_is_left_and_stand_with_the_clock(
    centre: CentreAtWork, suspending: Suspending
) -> None:
    case = await centre.dispatched()
    assert case.deadline.colour == common_pb2.COLOUR_GREEN
    await centre.world.travel("2026-03-06 12:00")
    assert (await centre.get(case)).deadline.colour == common_pb2.COLOUR_YELLOW
    await suspending.suspend(case, 20)
    await centre.world.travel("2026-03-20 12:00")
    assert (await centre.get(case)).deadline.colour == common_pb2.COLOUR_YELLOW
    await suspending.resume(case)
    await centre.world.travel("2026-05-20 12:00")
    assert (await centre.get(case)).deadline.colour == common_pb2.COLOUR_RED


async def test_resumed_by_hand_it_stood_only_so_long(centre: CentreAtWork, suspending: Suspending) -> None:
    case = await centre.dispatched()
    await suspending.suspend(case, 20)
    assert (
        due(await centre.get(case)) == "2026-04-08"
    )  # the day of the start counts in no limit; Tomb-Sweeping Day is on the way
    await centre.world.travel("2026-03-04 15:00")
    assert (await refused(suspending.resume(case, by=LEAD))).reason == "PERMISSION_MISSING"
    ended = await suspending.resume(case)
    assert ended.until.ToJsonString() == "2026-03-04T07:00:00Z"
    case = await centre.get(case)
    assert due(case) == "2026-03-12"  # Tuesday alone
    assert (await refused(suspending.resume(case))).reason == "MOVE_NOT_ALLOWED"
    assert await centre.world.rows("cases", "select from timer where kind = 'cases.suspension'") == []


async def test_within_a_day_nothing_is_gained(centre: CentreAtWork, suspending: Suspending) -> None:
    case = await centre.dispatched()
    await suspending.suspend(case, 5)
    await centre.world.travel(timedelta(hours=3))
    await suspending.resume(case)
    case = await centre.get(case)
    assert due(case) == "2026-03-11"
    assert "未跨过计入的日终，不顺延" in case.deadline.explanation.zh


async def test_a_timer_that_fires_late_or_twice_ends_it_once_and_when_it_was_to_end(
    centre: CentreAtWork, suspending: Suspending
) -> None:
    case = await centre.dispatched()
    running = await suspending.suspend(case, 2)  # Monday and Tuesday
    await centre.world.settle()
    runtime = centre.world.platform.services["cases"].runtime

    async def set_again(unit: Unit) -> None:
        unit.schedule("cases.suspension", running.suspension_id, at=unit.now)
        unit.schedule("cases.case", case.case_id, at=unit.now)
        unit.schedule("cases.task", case.tasks[0].task_id, at=unit.now)

    await runtime.transact(set_again, action="test")
    await centre.world.platform.fire()  # too early: nothing happens
    assert (await centre.get(case)).state == SUSPENDED
    centre.world.clock.move_to(centre.world.clock.now() + timedelta(days=11))  # nobody fired anything until the 13th
    await centre.world.platform.fire()
    await runtime.transact(set_again, action="test")
    await centre.world.platform.fire()
    await centre.world.platform.fire()
    case = await centre.get(case)
    assert (case.state, due(case)) == (HANDLING, "2026-03-12")
    assert [entry.what for entry in await centre.timeline(case)].count("resume") == 1
    late = await templates(centre)
    assert late.count("cases.task_reminder") == late.count("cases.task_overdue") == 3


async def test_suspended_on_the_last_minute_and_not_after_it(centre: CentreAtWork, suspending: Suspending) -> None:
    case = await centre.dispatched()
    await centre.world.travel("2026-03-11 23:59")
    asked = await suspending.ask(case)
    await suspending.decide(asked)
    assert due(await centre.get(case)) == "2026-03-18"  # the 11th itself is not used up
    other = await centre.dispatched()
    await centre.world.travel("2026-03-20 23:58")
    asked = await suspending.ask(other)
    await centre.world.travel("2026-03-21 00:01")
    refusal = await refused(suspending.decide(asked))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "LIMIT_LAPSED")
    await suspending.decide(asked, approve=False)
    assert (await refused(suspending.ask(other))).reason == "LIMIT_LAPSED"


async def test_who_asks_does_not_decide(centre: CentreAtWork, suspending: Suspending) -> None:
    case = await centre.dispatched()
    assert (await refused(suspending.ask(case, by="justice-officer-2"))).reason == "SUSPENSION_BY_LEAD"
    asked = await suspending.ask(case, by=DISPATCHER)
    refusal = await refused(suspending.decide(asked, by=DISPATCHER))
    assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "APPROVER_IS_ASKER")
    assert (await refused(suspending.decide(asked, by=LEAD))).reason == "PERMISSION_MISSING"
    assert (await refused(suspending.decide(asked, by="centre-director"))).code == "NOT_FOUND"  # another county's
    assert (await refused(suspending.ask(case))).reason == "SUSPENSION_PENDING"
    decided = await suspending.decide(asked, approve=False, by=DIRECTOR)
    assert (decided.state, (await centre.get(case)).state) == (types_pb2.SUSPENSION_STATE_REFUSED, HANDLING)
    assert (await refused(suspending.decide(asked, by=DIRECTOR))).reason == "MOVE_NOT_ALLOWED"


async def test_a_ground_is_listed_and_has_evidence_and_a_most(centre: CentreAtWork, suspending: Suspending) -> None:
    case = await centre.dispatched()
    for more, reason, field in (
        ({"ground": "busy"}, "CODE_UNKNOWN", "ground"),
        ({"media_ids": []}, "REQUEST_INVALID", "media_ids"),
        ({"media_ids": ["b" * 64]}, "PHOTO_UNKNOWN", "media_ids[0]"),
        ({"days": 61}, "SUSPENSION_TOO_LONG", "days"),
        ({"days": 0}, "REQUEST_INVALID", "days"),
    ):
        refusal = await refused(suspending.ask(case, **more))  # type: ignore[arg-type]
        assert (refusal.reason, refusal.fields) == (reason, [field])
    assert await centre.world.rows("cases", "select from suspension") == []


async def test_suspensions_are_not_chained_for_ever(centre: CentreAtWork, suspending: Suspending) -> None:
    case = await centre.dispatched()
    await suspending.suspend(case, 60)
    await centre.world.travel("2026-06-01 09:00")
    case = await centre.get(case)
    assert case.state == HANDLING
    refusal = await refused(suspending.ask(case, 31))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "SUSPENSION_DAYS_USED_UP")
    assert "还剩 30 个" in refusal.zh
    assert "30 are left" in refusal.en
    again = await suspending.ask(case, 30)
    refusal = await refused(suspending.decide(again, by=DISPATCHER))
    assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "SUSPENSION_BY_DIRECTOR")
    await suspending.decide(again, by=DIRECTOR)
    await centre.world.travel(timedelta(minutes=1))
    await suspending.resume(case)  # the day that it began does not end while it stands
    third = await suspending.suspend(case, 1)
    assert third.state == types_pb2.SUSPENSION_STATE_RUNNING
    await suspending.resume(case)
    assert (await refused(suspending.ask(case, 1))).reason == "SUSPENSIONS_USED_UP"
    case = await centre.get(case)
    assert case.deadline.explanation.zh.count("挂起") == 3


async def test_nothing_is_done_to_a_suspended_case(centre: CentreAtWork, suspending: Suspending) -> None:
    case = await centre.dispatched()
    await suspending.suspend(case)
    refusal = await refused(centre.sign_in(case, case.tasks[0]))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "CASE_SUSPENDED")
    said = case_pb2.Classification(category="11")
    classify = intake_pb2.ClassifyCaseRequest(case_id=case.case_id, classification=said)
    for call in (
        centre.dispatch(case, handling_pb2.Assignment(desk="court")),
        centre.review(case, types_pb2.REVIEW_DECISION_APPROVE),
        centre.cases(DISPATCHER).ClassifyCase(classify),
        suspending.ask(case),
    ):
        assert (await refused(call)).reason in ("MOVE_NOT_ALLOWED", "SUSPENSION_PENDING")


async def test_a_suspended_case_is_concluded_if_the_parties_settle(
    centre: CentreAtWork, suspending: Suspending
) -> None:
    case = await centre.accepted()
    desk = handling_pb2.Assignment(desk="court", lead=True)
    case = await centre.dispatch(case, desk)
    running = await suspending.suspend(case, by=DISPATCHER)
    await centre.world.travel("2026-03-04 09:00")
    refusal = await refused(centre.conclude(case))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "OUTCOME_WHILE_SUSPENDED")
    case = await centre.conclude(case, types_pb2.OUTCOME_WITHDRAWN_RECONCILED)
    assert (case.state, case.suspension_id) == (FOLLOW_UP, "")
    (ended,) = await suspending.of(case)
    assert (ended.state, ended.until.ToJsonString()) == (types_pb2.SUSPENSION_STATE_ENDED, "2026-03-04T01:00:00Z")
    assert running.suspension_id == ended.suspension_id
    await centre.world.travel("2026-04-04 09:00")
    assert (await centre.get(case)).state == FOLLOW_UP
    assert await centre.world.rows("cases", "select from timer") == []


async def test_the_tasks_of_a_suspended_case_end_with_its_conclusion(
    centre: CentreAtWork, suspending: Suspending
) -> None:
    case = await centre.dispatched()
    await centre.sign_in(case, case.tasks[1])
    await centre.submit(case, case.tasks[1])
    await suspending.suspend(case)
    case = await centre.conclude(case, types_pb2.OUTCOME_WITHDRAWN_OTHER)
    assert case.state == FOLLOW_UP
    assert sorted(task.state for task in case.tasks) == sorted(
        [types_pb2.TASK_STATE_CANCELLED, types_pb2.TASK_STATE_ACCEPTED, types_pb2.TASK_STATE_CANCELLED]
    )
    await centre.world.travel("2026-04-04 09:00")
    assert "cases.task_reminder" not in await templates(centre)


async def test_what_nobody_decided_lapses_with_the_conclusion(centre: CentreAtWork, suspending: Suspending) -> None:
    case = await centre.answered()
    assert (await refused(suspending.ask(case))).reason == "MOVE_NOT_ALLOWED"  # submitted: the centre is to review it
    other = await centre.dispatch(await centre.accepted(), handling_pb2.Assignment(desk="court", lead=True))
    asked = await suspending.ask(other, by=DISPATCHER)
    await centre.conclude(other)
    assert [one.state for one in await suspending.of(other)] == [types_pb2.SUSPENSION_STATE_LAPSED]
    assert (await refused(suspending.decide(asked, by=DIRECTOR))).reason == "MOVE_NOT_ALLOWED"


async def test_a_new_class_keeps_the_pauses_and_a_new_limit_begins_without(
    centre: CentreAtWork, suspending: Suspending
) -> None:
    case = await centre.dispatched()
    await suspending.suspend(case, 5)
    await centre.world.travel("2026-03-09 09:00")
    said = case_pb2.Classification(complexity=types_pb2.COMPLEXITY_COMPLEX)
    request = intake_pb2.ClassifyCaseRequest(case_id=case.case_id, classification=said)
    case = (await centre.cases(DISPATCHER).ClassifyCase(request)).case
    assert (due(case), case.deadline.explanation.zh.count("加上挂起 4")) == ("2026-04-03", 1)


async def test_the_parties_are_told(centre: CentreAtWork, suspending: Suspending) -> None:
    created = await centre.create("dispatcher-2", accept=True, classification=case_pb2.Classification(category="10"))
    case, receipt = created.case, created.receipts[0]
    case = await centre.dispatch(case, handling_pb2.Assignment(department_id=LABOUR, lead=True))
    await suspending.suspend(case, 5)
    seen = await centre.look_up(receipt.code, receipt.pin)
    assert seen.state == SUSPENDED
    assert seen.stage.zh.startswith("暂停办理至 2026-03-06，到期自动恢复")
    assert seen.steps[-1].sentence.zh == "暂停办理至 2026-03-06：等待鉴定、检测或评估结论"
    await centre.world.travel("2026-03-09 09:00")
    seen = await centre.look_up(receipt.code, receipt.pin)
    assert seen.steps[-1].sentence.zh == "恢复办理，办理期限至 2026-03-17"


async def test_what_is_suspended_is_not_counted_as_overdue(centre: CentreAtWork, suspending: Suspending) -> None:
    case = await centre.dispatched()
    await centre.world.travel("2026-03-06 09:00")  # justice and the union are late, the case is not
    running = await suspending.suspend(case, 5)
    assert running.state == types_pb2.SUSPENSION_STATE_RUNNING
    from services.cases.service import signals

    runtime = centre.world.platform.services["cases"].runtime

    async def read(unit: Unit) -> dict[str, float]:
        found = await signals.readings(unit)
        return {labels["hetao.case.stage"]: value for value, labels in found[signals.OVERDUE]}  # type: ignore[misc]

    assert (await runtime.transact(read, action="test"))["task"] == 0
    assert (await centre.figures()).overdue == 0
    await centre.world.travel("2026-03-12 23:00")
    supervised = await centre.notices("cases.task_supervision")
    assert supervised == []
    await centre.world.travel("2026-03-14 09:00")  # a working day of clock time after the limit, the pause left out
    assert len(await centre.notices("cases.task_supervision")) == 2


async def test_the_event_says_what_was_done_and_no_more(centre: CentreAtWork, suspending: Suspending) -> None:
    case = await centre.dispatched()
    await suspending.suspend(case, 1, note="赵秀英正在住院")
    await centre.world.travel("2026-03-03 09:00")
    await centre.world.settle()
    rows = await centre.world.platform.log._pool.fetch(  # type: ignore[attr-defined]
        "select value from record where type = 'hetao.cases.v1.CaseChanged' order by \"offset\""
    )
    events = [events_pb2.CaseChanged.FromString(row["value"]) for row in rows]
    assert [event.what for event in events][-3:] == ["ask suspension", "suspend", "resume"]
    assert events[-2].state == SUSPENDED
    assert "赵" not in str(events)
