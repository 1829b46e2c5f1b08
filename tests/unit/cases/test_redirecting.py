"""The dispatcher's changes of mind: waived, reassigned, cancelled, another lead. What is over holds nobody back."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from hetao.cases.v1 import case_pb2, handling_pb2, types_pb2
from tests.unit.cases.conftest import JUSTICE, LABOUR, UNION, CentreAtWork
from tests.unit.cases.test_clocks import told
from tests.unit.cases.test_objections import given_to_two, listed, of
from tests.world import refused

A = handling_pb2.Assignment


async def answer(centre: CentreAtWork, case: case_pb2.Case, department_id: str) -> None:
    task = of(case, department_id)
    if task.state == types_pb2.TASK_STATE_DISPATCHED:
        await centre.sign_in(case, task)
    await centre.submit(case, task)


async def test_a_silent_department_is_waived_and_the_case_goes_on(centre: CentreAtWork) -> None:
    case = await centre.dispatched()
    await answer(centre, case, JUSTICE)
    assert (await refused(centre.on_task("WaiveTask", case, of(case, UNION), reason=" "))).fields == ["reason"]
    case = await centre.on_task("WaiveTask", case, of(case, UNION), reason="三次催办未答复")
    waived = of(case, UNION)
    assert (waived.state, waived.ended_note) == (types_pb2.TASK_STATE_WAIVED, "三次催办未答复")
    assert told(await centre.notices(), "cases.waived") == [(UNION, "head")]
    assert (await centre.timeline(case))[-1].note == "三次催办未答复"
    (shown,) = await listed(centre, UNION, types_pb2.TASK_STATE_WAIVED)
    assert shown.ended_note == "三次催办未答复"
    await answer(centre, case, LABOUR)  # the lead no longer waits for it
    case = await centre.review(await centre.get(case), types_pb2.REVIEW_DECISION_APPROVE)
    assert of(case, UNION).state == types_pb2.TASK_STATE_WAIVED
    case = await centre.conclude(case)
    assert case.state == types_pb2.CASE_STATE_FOLLOW_UP


async def test_the_lead_is_neither_waived_nor_cancelled_nor_passed_on(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    lead = of(case, LABOUR)
    for rpc, more in (("WaiveTask", {}), ("CancelTask", {}), ("ReassignTask", {"department_id": UNION})):
        refusal = await refused(centre.on_task(rpc, case, lead, reason="试一试", **more))
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "LEAD_NEEDED")
    await centre.on_task("CancelTask", case, of(case, JUSTICE), reason="不需要了")
    assert (await refused(centre.on_task("CancelTask", case, lead, reason="不需要了"))).reason == "LEAD_NEEDED"


async def test_a_task_is_given_to_another_department_before_there_is_a_result(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    old = await centre.sign_in(case, of(case, JUSTICE))
    case = await centre.on_task("ReassignTask", case, old, department_id=UNION, limit_days=4, reason="职责调整")
    new = of(case, UNION)
    assert of(case, JUSTICE).state == types_pb2.TASK_STATE_REASSIGNED
    assert (new.follows, new.limit_days, new.demand) == (old.task_id, 4, "出具意见")
    assert told(await centre.notices(), "cases.task_ended") == [(JUSTICE, "duty_officer")]
    assert [entry.what for entry in await centre.timeline(case)][-2:] == ["reassign", "dispatch"]
    await answer(centre, case, UNION)
    late = await refused(centre.on_task("ReassignTask", case, new, department_id=JUSTICE, reason="职责调整"))
    assert late.reason == "MOVE_NOT_ALLOWED"
    over = await refused(centre.on_task("WaiveTask", case, old, reason="免办"))
    assert over.reason == "MOVE_NOT_ALLOWED"


async def test_parties_are_told_who_works_on_it_now(centre: CentreAtWork) -> None:
    taken = await centre.create("dispatcher-2", accept=True, classification=case_pb2.Classification(category="10"))
    case = await centre.dispatch(taken.case, A(department_id=LABOUR, lead=True), A(department_id=JUSTICE))
    await centre.world.travel(timedelta(hours=1))
    await centre.on_task("ReassignTask", case, of(case, JUSTICE), department_id=UNION, reason="职责调整")
    seen = await centre.look_up(taken.receipts[0].code, taken.receipts[0].pin)
    assert list(seen.departments) == ["杭锦后旗人社局", "杭锦后旗总工会"]
    assert [step.sentence.zh for step in seen.steps][-2:] == [
        "已分派杭锦后旗人社局、杭锦后旗司法局办理",
        "已分派杭锦后旗总工会办理",
    ]


async def test_when_the_last_open_task_ends_the_result_goes_to_the_centre(centre: CentreAtWork) -> None:
    case = await centre.answered()
    case = await centre.review(case, types_pb2.REVIEW_DECISION_SEND_BACK, of(case, UNION).task_id)
    assert case.state == types_pb2.CASE_STATE_HANDLING
    case = await centre.on_task("WaiveTask", case, of(case, UNION), reason="无补充意见")
    assert case.state == types_pb2.CASE_STATE_RESULT_SUBMITTED
    assert len(await centre.notices("cases.result_submitted")) == 2
    assert [entry.what for entry in await centre.timeline(case)][-2:] == ["waive", "submit result"]


async def test_a_case_with_desks_alone_left_waits_for_its_conclusion(centre: CentreAtWork) -> None:
    case = await centre.dispatch(await centre.accepted(), A(desk="mediation", lead=True), A(department_id=JUSTICE))
    case = await centre.on_task("WaiveTask", case, of(case, JUSTICE), reason="无意见")
    assert case.state == types_pb2.CASE_STATE_HANDLING
    assert (await centre.conclude(case)).state == types_pb2.CASE_STATE_FOLLOW_UP


async def test_two_dispatchers_at_once_end_a_task_once(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    task = of(case, JUSTICE)
    calls = [centre.on_task(rpc, case, task, reason="同时") for rpc in ("WaiveTask", "CancelTask")]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(result, BaseException) for result in results) == 1
    stale = await refused(centre.on_task("WaiveTask", case, task, reason="同时", etag=task.etag))
    assert (stale.code, stale.reason) == ("ABORTED", "ETAG_STALE")
    what = [entry.what for entry in await centre.timeline(case)]
    assert what.count("waive") + what.count("cancel task") == 1


async def test_a_co_handler_takes_the_lead_and_the_former_goes_on(centre: CentreAtWork) -> None:
    case = await centre.dispatched()
    before = of(case, JUSTICE)
    case = await centre.replace_lead(case, JUSTICE)
    assert [task.department_id for task in case.tasks if task.lead] == [JUSTICE]
    assert of(case, JUSTICE).deadline.due_at == before.deadline.due_at
    assert of(case, LABOUR).state == types_pb2.TASK_STATE_DISPATCHED
    notices = await centre.notices()
    assert told(notices, "cases.lead_taken") == [(JUSTICE, "duty_officer")]
    assert told(notices, "cases.lead_yielded") == [(LABOUR, "duty_officer")]
    again = await refused(centre.replace_lead(case, UNION))
    assert (again.code, again.reason) == ("FAILED_PRECONDITION", "LEAD_REPLACED_ALREADY")
    await centre.sign_in(case, of(case, JUSTICE))
    assert (await refused(centre.submit(case, of(case, JUSTICE)))).reason == "CO_TASKS_OPEN"
    for one in (LABOUR, UNION):
        await answer(centre, case, one)
    await centre.submit(case, of(case, JUSTICE))
    assert (await centre.get(case)).state == types_pb2.CASE_STATE_RESULT_SUBMITTED


async def test_a_new_department_takes_the_lead_and_the_former_is_out(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    assert (await refused(centre.replace_lead(case, LABOUR))).reason == "LEAD_ALREADY"
    case = await centre.replace_lead(case, UNION, cancel_former=True, limit_days=6)
    assert (of(case, UNION).lead, of(case, UNION).limit_days) == (True, 6)
    assert (of(case, LABOUR).lead, of(case, LABOUR).state) == (False, types_pb2.TASK_STATE_CANCELLED)
    assert told(await centre.notices(), "cases.task_ended") == [(LABOUR, "duty_officer")]
    assert (await refused(centre.get(case, by="department-officer-2"))).code == "NOT_FOUND"
    assert (await refused(centre.dispatch(case, A(department_id=LABOUR, lead=True)))).reason == "LEAD_TWICE"


async def test_who_had_answered_answers_again_as_the_lead(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    await answer(centre, case, JUSTICE)
    case = await centre.replace_lead(case, JUSTICE, cancel_former=True)
    assert of(case, JUSTICE).state == types_pb2.TASK_STATE_HANDLING
    assert case.state == types_pb2.CASE_STATE_HANDLING
    await centre.submit(case, of(case, JUSTICE), result="作为主办重新提交")
    assert (await centre.get(case)).state == types_pb2.CASE_STATE_RESULT_SUBMITTED


async def test_the_lead_is_not_replaced_while_a_return_waits_or_after_the_results(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    await centre.give_back(case, of(case, LABOUR))
    assert (await refused(centre.replace_lead(case, JUSTICE))).reason == "RETURN_UNDECIDED"
    done = await centre.answered(title="另一件")
    assert (await refused(centre.replace_lead(done, JUSTICE))).reason == "MOVE_NOT_ALLOWED"
    assert (await refused(centre.replace_lead(case, JUSTICE, by="justice-officer-2"))).reason == "PERMISSION_MISSING"
    assert (await refused(centre.replace_lead(case, JUSTICE, etag="0"))).reason == "ETAG_STALE"


async def test_a_reopened_case_goes_on_without_what_was_over(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    case = await centre.replace_lead(case, UNION, cancel_former=True)
    await centre.on_task("WaiveTask", case, of(case, JUSTICE), reason="无意见")
    await answer(centre, case, UNION)
    case = await centre.review(await centre.get(case), types_pb2.REVIEW_DECISION_APPROVE)
    case = await centre.conclude(case)
    case = await centre.reopened(case)
    assert [(task.department_id, task.state) for task in case.tasks if task.deadline.due_at.seconds] == [
        (UNION, types_pb2.TASK_STATE_REWORK)
    ]
