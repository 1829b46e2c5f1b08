"""The way of a case, as the persons do it."""

from __future__ import annotations

from itertools import pairwise

from hetao.cases.v1 import case_pb2, handling_pb2, types_pb2
from tests.unit.cases.conftest import JUSTICE, LABOUR, CentreAtWork
from tests.world import refused

APPROVE, SEND_BACK = types_pb2.REVIEW_DECISION_APPROVE, types_pb2.REVIEW_DECISION_SEND_BACK


async def test_a_walk_in_is_registered_with_a_receipt_for_each_party(centre: CentreAtWork) -> None:
    answer = await centre.create()
    assert answer.case.state == types_pb2.CASE_STATE_REGISTERED
    assert answer.case.centre_name == "杭锦后旗综治中心"
    assert [party.name for party in answer.case.parties] == ["赵*", "河套酒业有限公司"]
    assert answer.case.parties[0].id_number == "150826********0013"
    assert answer.case.parties[0].phone == "139****1234"
    assert len({receipt.pin for receipt in answer.receipts}) == 2
    assert {receipt.code for receipt in answer.receipts} == {answer.case.code}
    assert (await centre.get(answer.case, by="window-clerk-2")).title == "工伤待遇纠纷"


async def test_a_repeat_of_the_registration_gives_the_first_answer(centre: CentreAtWork) -> None:
    first = await centre.create(request_id="walk-in-1")
    assert await centre.create(request_id="walk-in-1") == first
    other = await refused(centre.create(request_id="walk-in-1", title="另一件事"))
    assert (other.code, other.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_the_whole_chain_from_registration_to_closing(centre: CentreAtWork) -> None:
    case = (await centre.create()).case
    case = await centre.accept(
        case,
        classification=case_pb2.Classification(category="10", complexity=types_pb2.COMPLEXITY_COMPLEX),
    )
    assert case.state == types_pb2.CASE_STATE_ACCEPTED
    assert "工作日" in case.deadline.explanation.zh
    lead = handling_pb2.Assignment(department_id=LABOUR, lead=True, limit_days=5, demand="查明用工事实")
    case = await centre.dispatch(case, lead, handling_pb2.Assignment(department_id=JUSTICE, limit_days=3))
    assert [task.lead for task in case.tasks] == [True, False]
    first, second = case.tasks
    assert (await centre.sign_in(case, first)).state == types_pb2.TASK_STATE_SIGNED_IN
    early = await refused(centre.submit(case, first))
    assert (early.code, early.reason) == ("FAILED_PRECONDITION", "CO_TASKS_OPEN")
    await centre.sign_in(case, second)
    await centre.submit(case, second)
    await centre.submit(case, first, "双方同意一次性支付")
    case = await centre.get(case)
    assert case.state == types_pb2.CASE_STATE_RESULT_SUBMITTED
    case = await centre.review(case, SEND_BACK, note="协议未写期限")
    assert [task.state for task in case.tasks] == [types_pb2.TASK_STATE_REWORK, types_pb2.TASK_STATE_RESULT_SUBMITTED]
    await centre.submit(case, case.tasks[0], "已写明期限")
    case = await centre.review(case, APPROVE)
    assert case.state == types_pb2.CASE_STATE_CENTRE_REVIEW
    case = await centre.conclude(case, note="支付八万元")
    assert (case.state, case.counts_resolved) == (types_pb2.CASE_STATE_FOLLOW_UP, True)
    case = await centre.ask(case, case.parties[0])
    assert case.state == types_pb2.CASE_STATE_FOLLOW_UP
    case = await centre.ask(case, case.parties[1])
    assert case.state == types_pb2.CASE_STATE_CLOSED
    told = await centre.timeline(case)
    assert [entry.what for entry in told] == [
        "register", "classify", "accept", "dispatch", "dispatch", "sign in", "sign in", "submit", "submit", "submit result",
        "send back", "submit", "submit result", "approve", "conclude", "agreement performed",
        "asked", "asked", "close",
    ]  # fmt: skip
    assert told[0].sentence.zh == "杭锦后旗综治中心登记矛盾纠纷（窗口）"
    assert told[10].note == "协议未写期限"
    assert not any("{" in entry.sentence.zh + entry.sentence.en for entry in told)
    assert not any("赵" in entry.sentence.zh for entry in told)


async def test_an_unsolved_matter_is_reopened_under_a_shorter_limit_and_closed_in_the_end(centre: CentreAtWork) -> None:
    case = await centre.concluded()
    waiting = await centre.ask(case, case.parties[1], types_pb2.SOLVED_NO)
    assert (waiting.state, waiting.follow_up.awaits) == (types_pb2.CASE_STATE_FOLLOW_UP, types_pb2.AWAITS_REOPENING)
    reopened = await centre.reopen(waiting)
    assert reopened.state == types_pb2.CASE_STATE_HANDLING
    assert (reopened.reopened_count, reopened.counts_resolved, reopened.outcome) == (1, False, 0)
    assert not reopened.HasField("concluded_at")
    assert [task.state for task in reopened.tasks] == [
        types_pb2.TASK_STATE_REWORK, types_pb2.TASK_STATE_ACCEPTED, types_pb2.TASK_STATE_ACCEPTED,
    ]  # fmt: skip
    assert "重新办理" in reopened.deadline.explanation.zh
    await centre.submit(reopened, reopened.tasks[0])
    again = await centre.conclude(await centre.review(reopened, APPROVE))
    for party in again.parties:
        assert not party.HasField("follow_up")
        again = await centre.ask(again, party)
    assert again.state == types_pb2.CASE_STATE_CLOSED


async def test_what_was_not_resolved_is_not_reopened_by_an_unsolved_answer(centre: CentreAtWork) -> None:
    case = await centre.concluded(types_pb2.OUTCOME_FAILED_CHANNEL_TOLD)
    assert (case.counts_concluded, case.counts_resolved) == (True, False)
    for party in case.parties:
        case = await centre.ask(case, party, types_pb2.SOLVED_NO)
    assert case.state == types_pb2.CASE_STATE_CLOSED


async def test_a_party_that_is_not_reached_on_three_days_does_not_hold_the_case_open(centre: CentreAtWork) -> None:
    case = await centre.concluded()
    case = await centre.ask(case, case.parties[0])
    for day in ("2026-03-04", "2026-03-05", "2026-03-06"):
        await centre.world.travel(f"{day} 10:00")
        await centre.ask(case, case.parties[1], 0)
        case = await centre.ask(case, case.parties[1], 0) if day != "2026-03-06" else await centre.get(case)
    assert case.parties[1].follow_up.tries == 3
    assert case.parties[1].follow_up.unreachable
    assert case.state == types_pb2.CASE_STATE_CLOSED


async def test_a_centre_that_does_the_work_itself_needs_four_calls(centre: CentreAtWork) -> None:
    case = await centre.accepted()
    desks = [handling_pb2.Assignment(desk=desk, lead=desk == "mediation") for desk in ("mediation", "labour", "court")]
    case = await centre.dispatch(case, *desks)
    assert {task.state for task in case.tasks} == {types_pb2.TASK_STATE_HANDLING}
    assert [task.department_name for task in case.tasks] == ["人民调解", "人社劳动调解", "法院诉讼服务"]
    case = await centre.conclude(case)
    read = await centre.get(case)
    assert (read.state, {task.state for task in read.tasks}) == (
        types_pb2.CASE_STATE_FOLLOW_UP,
        {types_pb2.TASK_STATE_ACCEPTED},
    )
    assert await centre.notices() == []
    assert await centre.world.rows("cases", "select from timer") == []


async def test_a_desk_beside_a_department_waits_for_its_answer(centre: CentreAtWork) -> None:
    case = await centre.accepted()
    desk = handling_pb2.Assignment(desk="mediation", lead=True)
    case = await centre.dispatch(case, desk, handling_pb2.Assignment(department_id=LABOUR))
    assert (await refused(centre.conclude(case))).reason == "TASKS_OPEN"
    await centre.sign_in(case, case.tasks[1])
    await centre.submit(case, case.tasks[1])
    case = await centre.review(case, APPROVE)
    assert (await centre.conclude(case)).state == types_pb2.CASE_STATE_FOLLOW_UP


async def test_what_is_no_dispute_needs_no_parties_and_closes_at_once(centre: CentreAtWork) -> None:
    answer = await centre.create("dispatcher-2", kind=types_pb2.KIND_CONSULTATION, parties=[], accept=True)
    assert "咨询答复" in answer.case.deadline.explanation.zh
    case = await centre.conclude(answer.case, types_pb2.OUTCOME_ADMINISTRATIVE_HANDLING)
    assert case.state == types_pb2.CASE_STATE_CLOSED


async def test_classifying_again_gives_the_limit_that_belongs_to_it(centre: CentreAtWork) -> None:
    from hetao.cases.v1 import intake_pb2

    case = await centre.accepted()
    general = case.deadline.due_at.ToDatetime()
    said = case_pb2.Classification(complexity=types_pb2.COMPLEXITY_COMPLEX, risk=types_pb2.RISK_HIGH)
    request = intake_pb2.ClassifyCaseRequest(case_id=case.case_id, classification=said)
    case = (await centre.cases("dispatcher-2").ClassifyCase(request)).case
    assert case.classification.category == "10"
    assert case.deadline.due_at.ToDatetime() > general


async def test_a_code_does_not_tell_the_next(centre: CentreAtWork) -> None:
    """A code is locked by wrong PINs: who can name the others of the day could lock their parties out."""
    codes = [(await centre.create(parties=[])).case.code for _ in range(60)]  # more than one block of the sequence
    numbers = [int(code.split("-")[2]) for code in codes]
    assert len(set(numbers)) == 60
    assert all(code.startswith("150826-260302-") for code in codes)
    near = sum(abs(after - before) < 1000 for before, after in pairwise(numbers))
    assert near < 5
