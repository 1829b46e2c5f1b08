"""What departments say against their tasks: returns, the director's designation, more time. The clocks run on, and nobody decides on their own request."""

from __future__ import annotations

import asyncio

from hetao.cases.v1 import case_pb2, cases_pb2, events_pb2, handling_pb2, objections_pb2, tasks_pb2, types_pb2
from kit.unit import Unit
from tests.unit.cases.conftest import JUSTICE, LABOUR, OFFICERS, UNION, CentreAtWork, department
from tests.unit.cases.test_clocks import CENTRE, told
from tests.world import refused

A = handling_pb2.Assignment


def of(case: case_pb2.Case, department_id: str) -> case_pb2.Task:
    """The newest task of a department."""
    return [task for task in case.tasks if task.department_id == department_id][-1]


async def given_to_two(centre: CentreAtWork) -> case_pb2.Case:
    """Labour leads, justice helps; the union is free."""
    return await centre.dispatch(
        await centre.accepted(),
        A(department_id=LABOUR, lead=True),
        A(department_id=JUSTICE, limit_days=3, demand="出具意见"),
    )


async def listed(centre: CentreAtWork, department_id: str, state: int = 0) -> list[case_pb2.Task]:
    request = tasks_pb2.ListTasksRequest(state=state)  # type: ignore[arg-type]
    return list((await centre.tasks(OFFICERS[department_id]).ListTasks(request)).tasks)


# -- returns --------------------------------------------------------------------------------------------------------------


async def test_a_return_is_upheld_and_another_department_has_the_task(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    task = of(case, JUSTICE)
    returned = await centre.give_back(case, task, "not_our_area")
    assert returned.state == types_pb2.TASK_STATE_RETURN_PENDING
    assert returned.deadline.due_at == task.deadline.due_at  # the clock runs on
    (said,) = returned.returns
    assert (said.ground, said.note, said.returned_by) == ("not_our_area", "不属于本单位职责", "justice-officer-2")
    assert (said.to_director, said.decision) == (False, types_pb2.RETURN_DECISION_UNSPECIFIED)
    assert told(await centre.notices(), "cases.returned") == [(CENTRE, "dispatcher")]
    assert [one.task_id for one in await listed(centre, JUSTICE)] == [task.task_id]  # still its task, until decided

    case = await centre.decide_return(case, task, upheld=True, department_id=UNION)
    old, new = of(case, JUSTICE), of(case, UNION)
    assert (old.state, old.HasField("deadline")) == (types_pb2.TASK_STATE_REASSIGNED, False)
    assert (old.returns[0].decision, old.returns[0].decided_by) == (types_pb2.RETURN_DECISION_UPHELD, "dispatcher-2")
    assert (new.state, new.follows, new.demand) == (types_pb2.TASK_STATE_DISPATCHED, task.task_id, "出具意见")
    assert (new.limit_days, new.lead) == (5, False)
    notices = await centre.notices()
    assert told(notices, "cases.return_upheld") == [(JUSTICE, "duty_officer")]
    assert (UNION, "duty_officer") in told(notices, "cases.dispatched")
    assert [entry.what for entry in await centre.timeline(case)][-3:] == ["return", "uphold return", "dispatch"]


async def test_who_is_rid_of_a_task_sees_no_more_than_that(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    task = of(case, JUSTICE)
    await centre.give_back(case, task)
    assert (await centre.get(case, by="justice-officer-2")).title  # until it is decided the task is its own
    await centre.decide_return(case, task, upheld=True, department_id=UNION)
    assert (await refused(centre.get(case, by="justice-officer-2"))).code == "NOT_FOUND"
    assert (await refused(centre.sign_in(case, task))).code == "NOT_FOUND"
    assert await listed(centre, JUSTICE) == []
    (over,) = await listed(centre, JUSTICE, types_pb2.TASK_STATE_REASSIGNED)
    assert (over.task_id, over.demand, over.returns[0].ground) == (task.task_id, "", "not_competent")
    assert (await centre.get(case, by="union-officer-2")).title
    stub = centre.cases("justice-officer-2")
    assert list((await stub.ListCases(cases_pb2.ListCasesRequest())).cases) == []
    events = await changes(centre)
    assert sorted(events[-1].departments) == sorted([LABOUR, UNION])


async def changes(centre: CentreAtWork) -> list[events_pb2.CaseChanged]:
    await centre.world.settle()
    rows = await centre.world.platform.log._pool.fetch(  # type: ignore[attr-defined]
        "select value from record where type = 'hetao.cases.v1.CaseChanged' order by \"offset\""
    )
    return [events_pb2.CaseChanged.FromString(row["value"]) for row in rows]


async def test_a_co_handlers_return_may_call_its_task_off_and_a_leads_may_not(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    for task in case.tasks:
        await centre.give_back(case, task)
    refusal = await refused(centre.decide_return(case, of(case, LABOUR), upheld=True))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "LEAD_NEEDED")
    case = await centre.decide_return(case, of(case, JUSTICE), upheld=True)
    assert of(case, JUSTICE).state == types_pb2.TASK_STATE_CANCELLED
    case = await centre.decide_return(case, of(case, LABOUR), upheld=True, department_id=UNION)
    assert [(task.department_id, task.lead) for task in case.tasks if task.lead] == [(UNION, True)]
    # A department whose task is over holds nothing: it may be given another one.
    case = await centre.dispatch(case, A(department_id=JUSTICE))
    assert of(case, JUSTICE).state == types_pb2.TASK_STATE_DISPATCHED


async def test_overruling_takes_a_reason_and_names_no_other_department(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    task = of(case, JUSTICE)
    await centre.give_back(case, task)
    assert (await refused(centre.decide_return(case, task, upheld=False, reason=""))).reason == "REASON_MISSING"
    other = await refused(centre.decide_return(case, task, upheld=False, department_id=UNION))
    assert (other.reason, other.fields) == ("DEPARTMENT_KEEPS_IT", ["department_id"])
    case = await centre.decide_return(case, task, upheld=False)
    kept = of(case, JUSTICE)
    assert (kept.state, kept.deadline.due_at) == (types_pb2.TASK_STATE_DISPATCHED, task.deadline.due_at)
    assert (kept.returns[0].decision, kept.returns[0].reason) == (types_pb2.RETURN_DECISION_OVERRULED, "核实后决定")
    assert told(await centre.notices(), "cases.return_overruled") == [(JUSTICE, "duty_officer")]
    assert (await centre.timeline(case))[-1].note == "核实后决定"
    await centre.sign_in(case, kept)


async def test_a_second_refusal_is_for_the_director_whose_word_binds(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    task = of(case, JUSTICE)
    await centre.give_back(case, task)
    early = await refused(
        centre.on_task("DesignateTask", case, task, "centre-director-2", department_id=JUSTICE, reason="指定")
    )
    assert early.reason == "RETURN_FOR_DISPATCHER"
    await centre.decide_return(case, task, upheld=False)
    again = await centre.give_back(case, task, "facts_missing")
    assert [said.to_director for said in again.returns] == [False, True]
    assert told(await centre.notices(), "cases.returned_again") == [(CENTRE, "director")]
    for upheld in (True, False):
        refusal = await refused(centre.decide_return(case, task, upheld=upheld))
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "RETURN_FOR_DIRECTOR")
    not_hers = await refused(centre.on_task("DesignateTask", case, task, department_id=JUSTICE, reason="指定"))
    assert not_hers.reason == "PERMISSION_MISSING"
    case = await centre.on_task(
        "DesignateTask", case, task, "centre-director-2", department_id=JUSTICE, reason="职责明确"
    )
    kept = of(case, JUSTICE)
    assert (kept.state, kept.designated) == (types_pb2.TASK_STATE_DISPATCHED, True)
    assert kept.returns[1].decision == types_pb2.RETURN_DECISION_OVERRULED
    assert told(await centre.notices(), "cases.designated") == [(JUSTICE, "duty_officer")]
    refusal = await refused(centre.give_back(case, kept))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "TASK_DESIGNATED")
    await centre.sign_in(case, kept)


async def test_the_department_that_has_it_instead_refuses_too_and_the_director_names_one(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    await centre.give_back(case, of(case, JUSTICE))
    case = await centre.decide_return(case, of(case, JUSTICE), upheld=True, department_id=UNION)
    second = of(case, UNION)
    assert (await centre.give_back(case, second)).returns[0].to_director
    case = await centre.on_task(
        "DesignateTask", case, second, "centre-director-2", department_id=JUSTICE, limit_days=2, reason="职责明确"
    )
    assert of(case, UNION).state == types_pb2.TASK_STATE_REASSIGNED
    assert of(case, UNION).returns[0].decision == types_pb2.RETURN_DECISION_UPHELD
    bound = of(case, JUSTICE)
    assert (bound.designated, bound.limit_days, bound.follows) == (True, 2, second.task_id)
    assert (await refused(centre.give_back(case, bound))).reason == "TASK_DESIGNATED"


async def test_nobody_returns_a_third_time_in_a_case(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    for _ in range(2):
        task = of(case, JUSTICE)
        returned = await centre.give_back(case, task)
        if returned.returns[-1].to_director:
            case = await centre.on_task(
                "DesignateTask", case, task, "centre-director-2", department_id=UNION, reason="指定"
            )
        else:
            case = await centre.decide_return(case, task, upheld=True)
            case = await centre.dispatch(case, A(department_id=JUSTICE))
    case = await centre.dispatch(case, A(department_id=JUSTICE))
    refusal = await refused(centre.give_back(case, of(case, JUSTICE)))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "RETURNED_ALREADY")


async def test_a_return_comes_before_the_sign_in_once_on_a_ground(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    lead, task = of(case, LABOUR), of(case, JUSTICE)
    assert (await refused(centre.give_back(case, task, "too_much_work"))).fields == ["ground"]
    assert (await refused(centre.give_back(case, task, by="department-officer-2"))).code == "NOT_FOUND"
    await centre.give_back(case, task)
    twice = await refused(centre.give_back(case, task))
    assert (twice.code, twice.reason) == ("FAILED_PRECONDITION", "MOVE_NOT_ALLOWED")
    assert "退回待定" in twice.zh
    assert (await refused(centre.sign_in(case, task))).reason == "MOVE_NOT_ALLOWED"
    await centre.sign_in(case, lead)
    late = await refused(centre.give_back(case, lead))
    assert (late.code, late.reason) == ("FAILED_PRECONDITION", "MOVE_NOT_ALLOWED")
    nothing = await refused(centre.decide_return(case, lead, upheld=False))
    assert nothing.reason == "MOVE_NOT_ALLOWED"


async def test_a_return_that_waits_is_reminded_like_any_task(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    await centre.give_back(case, of(case, JUSTICE))
    await centre.world.travel("2026-03-06 08:00")
    assert (JUSTICE, "head") in told(await centre.notices(), "cases.task_overdue")
    assert of(await centre.get(case), JUSTICE).HasField("overdue_since")


async def test_two_dispatchers_at_once_decide_once(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    task = of(case, JUSTICE)
    shown = await centre.give_back(case, task)
    decisions = [
        centre.decide_return(case, task, upheld=upheld, department_id=UNION if upheld else "")
        for upheld in (True, False)
    ]
    results = await asyncio.gather(*decisions, return_exceptions=True)
    (failed,) = [result for result in results if isinstance(result, BaseException)]

    async def again() -> None:
        raise failed

    assert (await refused(again())).reason == "MOVE_NOT_ALLOWED"
    stale = await refused(centre.decide_return(case, task, upheld=True, department_id=UNION, etag=shown.etag))
    assert (stale.code, stale.reason) == ("ABORTED", "ETAG_STALE")
    what = [entry.what for entry in await centre.timeline(case)]
    assert what.count("uphold return") + what.count("overrule return") == 1


async def test_another_centres_dispatcher_decides_nothing(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    await centre.give_back(case, of(case, JUSTICE))
    assert (
        await refused(centre.decide_return(case, of(case, JUSTICE), upheld=False, by="dispatcher"))
    ).code == "NOT_FOUND"
    foreign = await refused(
        centre.decide_return(case, of(case, JUSTICE), upheld=True, department_id=department("150802-housing"))
    )
    assert (foreign.reason, foreign.fields) == ("DEPARTMENT_UNKNOWN", ["department_id"])
    taken = await refused(centre.decide_return(case, of(case, JUSTICE), upheld=True, department_id=LABOUR))
    assert (taken.reason, taken.fields) == ("ALREADY_ASSIGNED", ["department_id"])


# -- more time ------------------------------------------------------------------------------------------------------------


async def in_hand(centre: CentreAtWork) -> tuple[case_pb2.Case, case_pb2.Task]:
    """A case, and a task in it that justice signed in, due on Thursday the 5th."""
    case = await given_to_two(centre)
    return case, await centre.sign_in(case, of(case, JUSTICE))


async def test_more_time_is_granted_by_the_centre_and_explained_and_told(centre: CentreAtWork) -> None:
    taken = await centre.create("dispatcher-2", accept=True, classification=case_pb2.Classification(category="10"))
    case = await centre.dispatch(taken.case, A(department_id=LABOUR, lead=True), A(department_id=JUSTICE, limit_days=3))
    task = await centre.sign_in(case, of(case, JUSTICE))
    assert task.deadline.due_at.ToJsonString().startswith("2026-03-05")
    photo = await centre.upload()
    asked = await centre.ask_extension(case, task, 3, media_ids=[photo])
    assert (asked.extensions[0].days, list(asked.extensions[0].media_ids)) == (3, [photo])
    assert asked.deadline.due_at == task.deadline.due_at
    assert told(await centre.notices(), "cases.extension_asked") == [(CENTRE, "dispatcher")]
    case = await centre.decide_extension(case, task, granted=True)
    longer = of(case, JUSTICE)
    assert longer.deadline.due_at.ToJsonString().startswith("2026-03-10")
    assert (longer.limit_days, longer.extended_days) == (3, 3)
    assert "经 dispatcher-2 批准延长 3 个工作日" in longer.deadline.explanation.zh
    assert "Extended by 3 working days, approved by dispatcher-2" in longer.deadline.explanation.en
    assert longer.extensions[0].decision == types_pb2.EXTENSION_DECISION_GRANTED
    assert told(await centre.notices(), "cases.extension_granted") == [(JUSTICE, "duty_officer")]
    receipt = taken.receipts[0]
    steps = (await centre.look_up(receipt.code, receipt.pin)).steps
    assert steps[-1].sentence.zh == "经批准延长办理，杭锦后旗司法局至 2026-03-10 前办理"
    # Nobody is reminded of the old limit, everybody of the new one.
    await centre.world.travel("2026-03-06 08:00")
    assert (JUSTICE, "head") not in told(await centre.notices(), "cases.task_overdue")
    await centre.world.travel("2026-03-11 08:00")
    assert (JUSTICE, "head") in told(await centre.notices(), "cases.task_overdue")


async def test_more_time_is_refused_with_a_reason(centre: CentreAtWork) -> None:
    case, task = await in_hand(centre)
    await centre.ask_extension(case, task)
    assert (await refused(centre.decide_extension(case, task, granted=False, reason=" "))).reason == "REASON_MISSING"
    case = await centre.decide_extension(case, task, granted=False, reason="案情不复杂")
    kept = of(case, JUSTICE)
    assert (kept.extended_days, kept.deadline.due_at) == (0, task.deadline.due_at)
    assert (kept.extensions[0].decision, kept.extensions[0].note) == (
        types_pb2.EXTENSION_DECISION_REFUSED,
        "案情不复杂",
    )
    assert told(await centre.notices(), "cases.extension_refused") == [(JUSTICE, "duty_officer")]
    none = await refused(centre.decide_extension(case, task, granted=True))
    assert (none.code, none.reason) == ("FAILED_PRECONDITION", "EXTENSION_NOT_ASKED")


async def test_more_time_is_asked_for_before_the_limit_and_by_who_works(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    task = of(case, JUSTICE)
    assert (await refused(centre.ask_extension(case, task))).reason == "MOVE_NOT_ALLOWED"  # not signed in yet
    await centre.sign_in(case, task)
    assert (await refused(centre.ask_extension(case, task, by="department-officer-2"))).code == "NOT_FOUND"
    assert (await refused(centre.ask_extension(case, task, media_ids=["b" * 64]))).reason == "PHOTO_UNKNOWN"
    await centre.ask_extension(case, task)
    assert (await refused(centre.ask_extension(case, task))).reason == "EXTENSION_PENDING"
    await centre.decide_extension(case, task, granted=False)
    await centre.world.travel("2026-03-06 08:00")
    late = await refused(centre.ask_extension(case, task))
    assert (late.code, late.reason) == ("FAILED_PRECONDITION", "EXTENSION_LATE")
    await centre.submit(case, task)
    assert (await refused(centre.ask_extension(case, task))).reason == "MOVE_NOT_ALLOWED"


async def test_who_asked_in_time_is_not_late_though_the_centre_was(centre: CentreAtWork) -> None:
    case, task = await in_hand(centre)
    await centre.ask_extension(case, task)
    await centre.world.travel("2026-03-06 08:00")
    assert of(await centre.get(case), JUSTICE).HasField("overdue_since")
    case = await centre.decide_extension(case, task, granted=True)
    assert not of(case, JUSTICE).HasField("overdue_since")
    await centre.world.travel("2026-03-11 08:00")
    assert of(await centre.get(case), JUSTICE).overdue_since.ToJsonString().startswith("2026-03-10")


async def test_extensions_are_capped_in_number_and_in_total(centre: CentreAtWork) -> None:
    case, task = await in_hand(centre)
    too_long = await refused(centre.ask_extension(case, task, 11))
    assert (too_long.code, too_long.reason, too_long.fields) == ("FAILED_PRECONDITION", "EXTENSION_LONG", ["days"])
    await centre.ask_extension(case, task, 6)
    await centre.decide_extension(case, task, granted=True)
    too_long = await refused(centre.ask_extension(case, task, 5))
    assert (too_long.reason, too_long.params["left"]) == ("EXTENSION_LONG", "4")
    await centre.ask_extension(case, task, 2)
    case = await centre.decide_extension(case, task, granted=True)
    assert of(case, JUSTICE).extended_days == 8
    spent = await refused(centre.ask_extension(case, task, 1))
    assert (spent.code, spent.reason) == ("FAILED_PRECONDITION", "EXTENSIONS_SPENT")
    assert "2" in spent.zh


async def test_nobody_decides_on_a_request_of_their_own_or_of_their_department(centre: CentreAtWork) -> None:
    issuer = centre.world.platform.issuer
    assert issuer is not None
    both = {"roles": ["department-officer", "dispatcher"], "divisions": ["150826"], "department": JUSTICE}
    issuer._accounts["both-2"] = {**both, "others": [CENTRE]}
    issuer._accounts["moved-2"] = both
    case = await given_to_two(centre)
    task = await centre.sign_in(case, of(case, JUSTICE))
    await centre.ask_extension(case, task, by="moved-2")
    colleague = await refused(centre.decide_extension(case, task, granted=True, by="both-2"))
    assert (colleague.code, colleague.reason) == ("PERMISSION_DENIED", "EXTENSION_BY_DEPARTMENT")
    issuer._accounts["moved-2"] = {**both, "department": CENTRE}  # she changed sides
    own = await refused(centre.decide_extension(case, task, granted=True, by="moved-2"))
    assert (own.code, own.reason) == ("PERMISSION_DENIED", "EXTENSION_OWN_REQUEST")
    assert (
        await refused(centre.decide_extension(case, task, granted=True, by="justice-officer-2"))
    ).reason == "PERMISSION_MISSING"
    case = await centre.decide_extension(case, task, granted=True, by="approver-2")
    assert of(case, JUSTICE).extensions[0].decided_by == "approver-2"


async def test_a_request_lapses_when_the_task_is_answered(centre: CentreAtWork) -> None:
    case = await centre.dispatched()
    for task in sorted(case.tasks, key=lambda task: task.lead):
        await centre.sign_in(case, task)
        await centre.ask_extension(case, task)
        await centre.submit(case, task)
    case = await centre.get(case)
    assert {one.decision for task in case.tasks for one in task.extensions} == {types_pb2.EXTENSION_DECISION_LAPSED}
    lead = of(case, LABOUR)
    assert (await refused(centre.decide_extension(case, lead, granted=True))).reason == "MOVE_NOT_ALLOWED"
    # Sent back, it may ask again, and only that request waits.
    case = await centre.review(case, types_pb2.REVIEW_DECISION_SEND_BACK)
    asked = await centre.ask_extension(case, lead, 2)
    assert [one.decision for one in asked.extensions] == [
        types_pb2.EXTENSION_DECISION_LAPSED,
        types_pb2.EXTENSION_DECISION_UNSPECIFIED,
    ]
    case = await centre.decide_extension(case, lead, granted=True)
    assert "退回重办" in of(case, LABOUR).deadline.explanation.zh
    assert of(case, LABOUR).extended_days == 2


async def test_a_timer_of_a_task_that_is_over_does_nothing(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    task = of(case, JUSTICE)
    await centre.give_back(case, task)
    case = await centre.decide_return(case, task, upheld=True)
    assert [
        row["key"] for row in await centre.world.rows("cases", "select key from timer where kind = 'cases.task'")
    ] == [of(case, LABOUR).task_id]
    runtime = centre.world.platform.services["cases"].runtime

    async def set_again(unit: Unit) -> None:
        unit.schedule("cases.task", task.task_id, at=unit.now)

    await runtime.transact(set_again, action="test")
    before = len(await centre.timeline(case))
    await centre.world.platform.fire()
    assert len(await centre.timeline(case)) == before
    assert len(await centre.world.rows("cases", "select from timer where kind = 'cases.task'")) == 1


async def test_what_was_said_stands_sealed_and_in_the_audit(centre: CentreAtWork) -> None:
    case, task = await in_hand(centre)
    await centre.give_back(case, of(case, LABOUR))
    await centre.ask_extension(case, task)
    for table in ("task_return", "task_extension"):
        assert await centre.world.rows("cases", "select from audit where entity = $1", table)
        rows = await centre.world.rows("cases", f"select row({table}.*)::text as text from {table}")
        assert rows
        assert not any("职责" in row["text"] or "鉴定" in row["text"] for row in rows)


async def test_a_repeat_of_a_request_returns_once(centre: CentreAtWork) -> None:
    case = await given_to_two(centre)
    task = of(case, JUSTICE)
    request = objections_pb2.ReturnTaskRequest(
        case_id=case.case_id, task_id=task.task_id, ground="not_competent", note="不属于", request_id="r-1"
    )
    stub = centre.tasks("justice-officer-2")
    assert (await stub.ReturnTask(request)).task == (await stub.ReturnTask(request)).task
    assert len(await centre.world.rows("cases", "select from task_return")) == 1
