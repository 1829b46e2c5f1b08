"""After the conclusion: three answers of each party, the performance of the agreement, the closing and the reopening."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hetao.cases.v1 import agreement_pb2, events_pb2, handling_pb2, types_pb2
from kit.unit import Unit
from tests.unit.cases.conftest import JUSTICE, LABOUR, UNION, CentreAtWork, department
from tests.world import refused

YES, NO = types_pb2.SOLVED_YES, types_pb2.SOLVED_NO
PERFORMED, PARTLY, DEFAULT = (
    types_pb2.PERFORMANCE_PERFORMED,
    types_pb2.PERFORMANCE_PARTLY_PERFORMED,
    types_pb2.PERFORMANCE_IN_DEFAULT,
)
FOLLOW_UP, CLOSED, HANDLING = (
    types_pb2.CASE_STATE_FOLLOW_UP,
    types_pb2.CASE_STATE_CLOSED,
    types_pb2.CASE_STATE_HANDLING,
)


async def whats(centre: CentreAtWork, case: Any) -> list[str]:
    return [entry.what for entry in await centre.timeline(case)]


async def events(centre: CentreAtWork) -> list[events_pb2.CaseChanged]:
    await centre.world.settle()
    rows = await centre.world.platform.log._pool.fetch(  # type: ignore[attr-defined]
        "select value from record where type = 'hetao.cases.v1.CaseChanged' order by \"offset\""
    )
    return [events_pb2.CaseChanged.FromString(row["value"]) for row in rows]


# -- the answers ------------------------------------------------------------------------------------------------------------------


async def test_each_party_is_asked_three_things_and_the_answers_are_counted(centre: CentreAtWork) -> None:
    case = await centre.concluded()
    assert case.follow_up.awaits == types_pb2.AWAITS_ANSWERS
    assert [one.party_id for one in case.follow_up.to_ask] == [party.party_id for party in case.parties]
    satisfied = types_pb2.SATISFACTION_FAIRLY_SATISFIED
    case = await centre.ask(case, case.parties[0], in_time=types_pb2.IN_TIME_NO, satisfaction=satisfied)
    assert [one.party_id for one in case.follow_up.to_ask] == [case.parties[1].party_id]
    answer = case.parties[0].follow_up
    assert (answer.in_time, answer.solved, answer.satisfaction) == (types_pb2.IN_TIME_NO, YES, satisfied)
    assert answer.effective
    case = await centre.ask(case, case.parties[1])
    assert case.state == CLOSED
    counted = (await events(centre))[-1].follow_up
    assert (counted.parties, counted.effective, counted.said_in_time, counted.in_time) == (2, 2, 1, 0)
    assert (counted.solved, counted.said_satisfaction, counted.satisfied) == (2, 1, 1)
    told = [entry.sentence for entry in await centre.timeline(case) if entry.what == "asked"]
    assert (told[0].zh, told[1].zh) == ("回访申请人：已解决，基本满意，联系不及时", "回访被申请人：已解决，未评价")
    assert told[0].en.endswith("not contacted in time")


async def test_three_vain_days_are_outside_the_effective_base(centre: CentreAtWork) -> None:
    case = await centre.concluded()
    await centre.ask(case, case.parties[0])
    for day in ("2026-03-03", "2026-03-04", "2026-03-05"):
        await centre.world.travel(f"{day} 10:00")
        case = await centre.ask(case, case.parties[1], 0)
    assert case.state == CLOSED
    assert (case.parties[1].follow_up.unreachable, case.parties[1].follow_up.effective) == (True, False)
    assert (case.follow_up.counts.parties, case.follow_up.counts.settled, case.follow_up.counts.effective) == (2, 2, 1)


async def test_a_fourth_call_on_the_same_day_waits_for_another(centre: CentreAtWork) -> None:
    case = await centre.concluded()
    for _ in range(3):
        case = await centre.ask(case, case.parties[1], 0)
    still = case.follow_up.to_ask[1]
    assert (still.party_id, still.tries, still.next_try_on) == (case.parties[1].party_id, 1, "2026-03-03")
    again = await refused(centre.ask(case, case.parties[1], 0))
    assert (again.code, again.reason) == ("FAILED_PRECONDITION", "TRY_ANOTHER_DAY")
    assert "2026-03-03" in again.zh
    await centre.world.travel("2026-03-03 09:00")
    assert (await centre.ask(case, case.parties[1], 0)).parties[1].follow_up.tries == 2


async def test_who_was_given_up_is_not_tried_again_and_may_still_answer(centre: CentreAtWork) -> None:
    case = await centre.concluded()
    for day in ("2026-03-03", "2026-03-04", "2026-03-05"):
        await centre.world.travel(f"{day} 10:00")
        case = await centre.ask(case, case.parties[1], 0)
    await centre.world.travel("2026-03-06 10:00")
    assert (await refused(centre.ask(case, case.parties[1], 0))).reason == "GIVEN_UP"
    case = await centre.ask(case, case.parties[1])
    assert (case.parties[1].follow_up.effective, case.parties[1].follow_up.unreachable) == (True, False)


async def test_answers_belong_to_a_party_that_was_reached_and_are_given_once(centre: CentreAtWork) -> None:
    case = await centre.concluded()
    request = handling_pb2.RecordFollowUpRequest(
        case_id=case.case_id, party_id=case.parties[0].party_id, in_time=types_pb2.IN_TIME_YES
    )
    refusal = await refused(centre.cases("follow-up-clerk-2").RecordFollowUp(request))
    assert (refusal.reason, refusal.fields) == ("ANSWER_WITHOUT_CONTACT", ["in_time"])
    await centre.ask(case, case.parties[0])
    for solved in (YES, NO, 0):
        assert (await refused(centre.ask(case, case.parties[0], solved))).reason == "ALREADY_ANSWERED"


# -- the closing ------------------------------------------------------------------------------------------------------------------


async def test_solved_but_not_content_is_closed_with_an_explanation(centre: CentreAtWork) -> None:
    case = await centre.concluded()
    early = await refused(centre.close(case))
    assert (early.reason, early.code) == ("PARTIES_TO_ASK", "FAILED_PRECONDITION")
    await centre.ask(case, case.parties[0], satisfaction=types_pb2.SATISFACTION_DISSATISFIED)
    case = await centre.ask(case, case.parties[1])
    assert (case.state, case.follow_up.awaits) == (FOLLOW_UP, types_pb2.AWAITS_EXPLANATION)
    assert len(await centre.notices("cases.to_explain")) == 1
    assert (await refused(centre.close(case, by="follow-up-clerk-2"))).reason == "PERMISSION_MISSING"
    case = await centre.close(case, "已说明赔偿标准的依据")
    assert (case.state, case.explanation, case.counts_resolved) == (CLOSED, "已说明赔偿标准的依据", True)
    assert case.follow_up.awaits == types_pb2.AWAITS_UNSPECIFIED
    entries = await centre.timeline(case)
    assert (entries[-1].what, entries[-1].note) == ("close explained", "已说明赔偿标准的依据")
    assert (await events(centre))[-1].explained
    assert (await refused(centre.close(case))).reason == "MOVE_NOT_ALLOWED"


async def test_nothing_is_explained_away_while_a_party_calls_it_unsolved(centre: CentreAtWork) -> None:
    case = await centre.concluded()
    await centre.ask(case, case.parties[0], NO)
    case = await centre.ask(case, case.parties[1])
    refusal = await refused(centre.close(case))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "PARTY_UNSOLVED")
    assert (await centre.get(case)).etag == case.etag


# -- the agreement ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "reason", "field"),
    [
        ({}, "AGREEMENT_MISSING", "agreement"),
        ({"terms": "付清"}, "PERFORM_BY_ONE_OF", "agreement.perform_by"),
        ({"terms": "付清", "perform_by": "2026-04-30", "performed": True}, "PERFORM_BY_ONE_OF", "agreement.perform_by"),
        ({"terms": "付清", "perform_by": "2026-03-01"}, "PERFORM_BY_RANGE", "agreement.perform_by"),
        ({"terms": "付清", "perform_by": "2036-03-01"}, "PERFORM_BY_RANGE", "agreement.perform_by"),
        ({"terms": "付清", "perform_by": "2026-02-30"}, "DATE_INVALID", "agreement.perform_by"),
        ({"terms": " ", "performed": True}, "REQUEST_INVALID", "agreement.terms"),
    ],
)
async def test_an_agreement_says_what_and_when(
    centre: CentreAtWork, more: dict[str, Any], reason: str, field: str
) -> None:
    case = await centre.accepted()
    agreed = agreement_pb2.NewAgreement(**more) if more else None
    refusal = await refused(centre.conclude(case, agreement=agreed))
    assert (refusal.reason, refusal.fields) == (reason, [field])
    assert (await centre.get(case)).state == types_pb2.CASE_STATE_ACCEPTED


async def test_an_outcome_has_what_belongs_to_it_and_nothing_else(centre: CentreAtWork) -> None:
    case = await centre.accepted()
    agreed = agreement_pb2.NewAgreement(terms="付清", performed=True)
    other = await refused(centre.conclude(case, types_pb2.OUTCOME_OWN_SETTLEMENT, agreement=agreed))
    assert (other.reason, other.fields) == ("AGREEMENT_NOT_EXPECTED", ["agreement"])
    silent = await refused(centre.conclude(case, types_pb2.OUTCOME_FAILED_CHANNEL_TOLD, channel=" "))
    assert (silent.reason, silent.fields) == ("CHANNEL_MISSING", ["channel"])
    case = await centre.conclude(case, types_pb2.OUTCOME_FAILED_CHANNEL_TOLD, channel="杭锦后旗人民法院")
    assert case.outcome_channel == "杭锦后旗人民法院"


async def test_an_agreement_is_followed_up_at_its_date_and_closes_when_performed(centre: CentreAtWork) -> None:
    case = await centre.concluded(perform_by="2026-03-31")
    assert (case.agreement.form, case.agreement.terms) == (types_pb2.AGREEMENT_FORM_WRITTEN, "分期支付八万元")
    for party in case.parties:
        case = await centre.ask(case, party)
    assert (case.state, case.follow_up.awaits) == (FOLLOW_UP, types_pb2.AWAITS_PERFORMANCE)
    assert (await refused(centre.close(case))).reason == "AGREEMENT_UNPERFORMED"
    await centre.world.travel("2026-03-30 20:00")
    assert await centre.notices("cases.performance_due") == []
    await centre.world.travel("2026-04-02 08:00")
    (notice,) = await centre.notices("cases.performance_due")
    assert [to.post for to in notice.recipients] == ["follow_up", "dispatcher"]
    case = await centre.get(case)
    assert (case.agreement.due, case.follow_up.awaits) == (True, types_pb2.AWAITS_SECOND_FOLLOW_UP)
    photo = await centre.upload()
    case = await centre.perform(case, PERFORMED, note="转账凭证已核对", media_ids=[photo])
    assert (case.state, case.agreement.performance) == (CLOSED, PERFORMED)
    assert (case.agreement.recorded_by, case.agreement.note) == ("follow-up-clerk-2", "转账凭证已核对")
    assert list(case.agreement.media_ids) == [photo]
    assert (await whats(centre, case))[-3:] == ["performance due", "performed", "close"]
    assert await centre.world.rows("cases", "select from timer where kind = 'cases.performance'") == []
    last = (await events(centre))[-1]
    assert (last.performance, last.perform_by, last.what) == (PERFORMED, "2026-03-31", "close")
    stored = str(await centre.world.rows("cases", "select * from agreement")) + str(last)
    assert "八万元" not in stored
    assert "转账" not in stored


async def test_a_part_performed_gives_the_rest_a_date_of_its_own(centre: CentreAtWork) -> None:
    case = await centre.concluded(perform_by="2026-03-31")
    assert (await refused(centre.perform(case, PARTLY))).fields == ["perform_by"]
    assert (await refused(centre.perform(case, PERFORMED, perform_by="2026-05-01"))).reason == "REST_BY_WITHOUT_REST"
    assert (await refused(centre.perform(case, PARTLY, perform_by="2026-01-01"))).reason == "PERFORM_BY_RANGE"
    await centre.world.travel("2026-03-31 10:00")
    case = await centre.perform(case, PARTLY, perform_by="2026-04-30")
    assert (case.agreement.perform_by, case.agreement.due) == ("2026-04-30", False)
    await centre.world.travel("2026-04-30 10:00")
    assert len(await centre.notices("cases.performance_due")) == 2
    assert (await centre.get(case)).agreement.due


async def test_a_default_is_recorded_when_its_day_is_over_and_leads_to_the_dispatcher(centre: CentreAtWork) -> None:
    case = await centre.concluded(perform_by="2026-03-31")
    for party in case.parties:
        case = await centre.ask(case, party)
    await centre.world.travel("2026-03-31 10:00")
    early = await refused(centre.perform(case, DEFAULT))
    assert (early.code, early.reason) == ("FAILED_PRECONDITION", "PERFORMANCE_NOT_DUE")
    assert "2026-03-31" in early.zh
    await centre.world.travel("2026-04-01 10:00")
    assert (await refused(centre.reopen(case, "in_default"))).reason == "REOPEN_UNFOUNDED"
    case = await centre.perform(case, DEFAULT)
    assert (case.state, case.follow_up.awaits) == (FOLLOW_UP, types_pb2.AWAITS_REOPENING)
    assert len(await centre.notices("cases.to_reopen")) == 1
    assert (await refused(centre.perform(case, DEFAULT))).reason == "MOVE_NOT_ALLOWED"
    assert (await refused(centre.close(case))).reason == "AGREEMENT_IN_DEFAULT"
    case = await centre.reopen(case, "in_default")
    assert (case.state, case.reopen_ground, case.HasField("agreement")) == (HANDLING, "in_default", False)
    assert (await refused(centre.perform(case, PERFORMED))).reason == "MOVE_NOT_ALLOWED"


async def test_performance_is_recorded_by_the_centre_alone(centre: CentreAtWork) -> None:
    case = await centre.concluded(perform_by="2026-03-31")
    assert (await refused(centre.perform(case, PERFORMED, by="department-officer-2"))).reason == "PERMISSION_MISSING"
    assert (await refused(centre.perform(case, PERFORMED, by="follow-up-clerk"))).code == "NOT_FOUND"
    assert (await refused(centre.perform(case, PERFORMED, media_ids=["b" * 64]))).fields == ["media_ids[0]"]
    assert (await refused(centre.perform(case, types_pb2.PERFORMANCE_NOT_DUE))).fields == ["performance"]
    no_agreement = await centre.conclude(await centre.accepted(title="另一件"), types_pb2.OUTCOME_OWN_SETTLEMENT)
    assert (await refused(centre.perform(no_agreement, PERFORMED))).reason == "AGREEMENT_NONE"


async def test_who_handled_it_neither_asks_nor_records_the_performance(centre: CentreAtWork) -> None:
    """The justice bureau's officer is at the centre too: in this case she has a part."""
    issuer = centre.world.platform.issuer
    assert issuer is not None
    clerk = dict(issuer._accounts["follow-up-clerk-2"])
    issuer._accounts["both-2"] = clerk | {"others": [*clerk.get("others", []), JUSTICE]}
    case = await centre.concluded(perform_by="2026-03-31")
    assert (await refused(centre.ask(case, case.parties[0], by="both-2"))).reason == "FOLLOW_UP_BY_HANDLER"
    assert (await refused(centre.perform(case, PERFORMED, by="both-2"))).reason == "FOLLOW_UP_BY_HANDLER"


async def test_a_performance_timer_after_a_reopening_does_nothing(centre: CentreAtWork) -> None:
    case = await centre.reopened(await centre.concluded(perform_by="2026-03-31"))
    assert await centre.world.rows("cases", "select from timer where kind = 'cases.performance'") == []
    runtime = centre.world.platform.services["cases"].runtime

    async def set_again(unit: Unit) -> None:
        unit.schedule("cases.performance", case.case_id, at=unit.now)

    await runtime.transact(set_again, action="test")
    etag = (await centre.get(case)).etag
    await centre.world.platform.fire()
    assert (await centre.get(case)).etag == etag
    assert await centre.notices("cases.performance_due") == []


async def test_a_party_reads_the_date_of_her_agreement_and_no_terms(centre: CentreAtWork) -> None:
    answer = await centre.create("dispatcher-2", accept=True)
    agreed = agreement_pb2.NewAgreement(terms="分期支付八万元", perform_by="2026-03-31")
    await centre.cases("dispatcher-2").ClassifyCase(_category(answer.case.case_id))
    case, receipt = await centre.conclude(answer.case, agreement=agreed), answer.receipts[0]
    seen = await centre.look_up(receipt.code, receipt.pin)
    assert (seen.performance, seen.perform_by) == (types_pb2.PERFORMANCE_NOT_DUE, "2026-03-31")
    assert seen.steps[-1].sentence.zh == "协议应于 2026-03-31 前履行"
    await centre.perform(case, PERFORMED)
    seen = await centre.look_up(receipt.code, receipt.pin)
    assert (seen.performance, seen.steps[-1].sentence.zh) == (PERFORMED, "协议已履行")
    assert "八万元" not in str(seen)


def _category(case_id: str) -> Any:
    from hetao.cases.v1 import case_pb2, intake_pb2

    return intake_pb2.ClassifyCaseRequest(case_id=case_id, classification=case_pb2.Classification(category="10"))


# -- the reopening ----------------------------------------------------------------------------------------------------------------


async def closed(centre: CentreAtWork, outcome: int = types_pb2.OUTCOME_WRITTEN_AGREEMENT) -> Any:
    case = await centre.concluded(outcome)
    for party in case.parties:
        case = await centre.ask(case, party)
    assert case.state == CLOSED
    return case


async def test_a_relapse_after_the_closing_is_taken_up_again(centre: CentreAtWork) -> None:
    case = await closed(centre)
    await centre.world.travel("2026-06-01 09:00")
    assert (await refused(centre.reopen(case, "relapsed"))).fields == ["note"]
    case = await centre.reopen(case, "relapsed", note="双方再次争吵")
    assert (case.state, case.reopened_count, case.HasField("closed_at")) == (HANDLING, 1, False)
    assert (case.counts_concluded, case.counts_resolved) == (False, False)
    assert not case.HasField("follow_up")
    assert all(not party.HasField("follow_up") for party in case.parties)
    entry = next(one for one in await centre.timeline(case) if one.what == "reopen")
    assert (entry.sentence.zh, entry.note) == ("重新办理：矛盾反复，期限至 2026-06-08", "双方再次争吵")
    assert (await events(centre))[-1].reopen_ground == "relapsed"


async def test_a_default_after_the_closing_is_recorded_first(centre: CentreAtWork) -> None:
    case = await closed(centre)
    assert (await refused(centre.reopen(case, "in_default"))).reason == "REOPEN_UNFOUNDED"
    case = await centre.perform(case, DEFAULT, by="dispatcher-2", note="支票无法兑付")
    assert (case.state, case.follow_up.awaits) == (CLOSED, types_pb2.AWAITS_REOPENING)
    assert (await centre.reopen(case, "in_default")).state == HANDLING


async def test_what_never_counted_as_resolved_is_reopened_only_if_wrongly_handled(centre: CentreAtWork) -> None:
    case = await centre.concluded(types_pb2.OUTCOME_FAILED_CHANNEL_TOLD)
    case = await centre.ask(case, case.parties[0], NO)
    assert case.follow_up.awaits == types_pb2.AWAITS_ANSWERS
    for ground in ("unsolved", "relapsed", "in_default"):
        refusal = await refused(centre.reopen(case, ground, note="仍有争议"))
        assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "REOPEN_NOT_RESOLVED")
    assert (await centre.reopen(case, "wrongly_handled", note="遗漏一名当事人的证据")).state == HANDLING


async def test_a_ground_is_known_and_shown(centre: CentreAtWork) -> None:
    case = await centre.concluded()
    assert (await refused(centre.reopen(case, "bored"))).fields == ["ground"]
    assert (await refused(centre.reopen(case, "unsolved"))).reason == "REOPEN_UNFOUNDED"
    assert (await refused(centre.reopen(case, by="follow-up-clerk-2"))).reason == "PERMISSION_MISSING"
    assert (await refused(centre.reopen(case, by="dispatcher"))).code == "NOT_FOUND"
    open_case = await centre.accepted(title="另一件")
    assert (await refused(centre.reopen(open_case, "relapsed", note="又争吵"))).reason == "MOVE_NOT_ALLOWED"


async def test_beyond_the_cap_the_director_alone_reopens(centre: CentreAtWork) -> None:
    case = await centre.conclude(await centre.accepted())
    for _ in range(2):
        case = await centre.conclude(await centre.reopened(case))
    await centre.ask(case, case.parties[0], NO)
    refusal = await refused(centre.reopen(case))
    assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "REOPENINGS_SPENT")
    assert "2" in refusal.zh
    case = await centre.reopen(case, by="centre-director-2")
    assert (case.state, case.reopened_count) == (HANDLING, 3)
    case = await centre.conclude(case, types_pb2.OUTCOME_FAILED_CHANNEL_TOLD)
    for party in case.parties:
        case = await centre.ask(case, party, NO)
    assert case.state == CLOSED


async def test_a_reopened_case_may_have_another_lead(centre: CentreAtWork) -> None:
    case = await centre.concluded()
    await centre.ask(case, case.parties[0], NO)
    lead = handling_pb2.Assignment(department_id=JUSTICE, limit_days=2, demand="重新组织调解")
    case = await centre.reopen(case, lead=lead)
    leading = {task.department_id: (task.lead, task.state) for task in case.tasks}
    accepted, rework = types_pb2.TASK_STATE_ACCEPTED, types_pb2.TASK_STATE_REWORK
    assert leading == {LABOUR: (False, accepted), JUSTICE: (True, rework), UNION: (False, accepted)}
    task = next(one for one in case.tasks if one.lead)
    assert (task.limit_days, task.demand) == (2, "重新组织调解")
    assert "take the lead" in await whats(centre, case)
    (told,) = await centre.notices("cases.rework")
    assert [to.department_id for to in told.recipients] == [JUSTICE]


async def test_the_other_lead_may_be_new_to_the_case(centre: CentreAtWork) -> None:
    case = await centre.accepted()
    case = await centre.dispatch(case, handling_pb2.Assignment(desk="mediation", lead=True))
    case = await centre.conclude(case)
    await centre.ask(case, case.parties[0], NO)
    for wrong in (handling_pb2.Assignment(), handling_pb2.Assignment(department_id=LABOUR, desk="court")):
        assert (await refused(centre.reopen(case, lead=wrong))).fields == ["lead.department_id"]
    foreign = handling_pb2.Assignment(department_id=department("150802-housing"))
    assert (await refused(centre.reopen(case, lead=foreign))).reason == "DEPARTMENT_UNKNOWN"
    case = await centre.reopen(case, lead=handling_pb2.Assignment(department_id=LABOUR))
    assert [(task.lead, task.department_id) for task in case.tasks if task.lead] == [(True, LABOUR)]
    assert len(case.tasks) == 2
    task = case.tasks[1]
    await centre.sign_in(case, task)
    await centre.submit(case, task)
    assert (await centre.get(case)).state == types_pb2.CASE_STATE_RESULT_SUBMITTED


async def test_a_repeat_of_a_reopening_reopens_once(centre: CentreAtWork) -> None:
    case = await centre.concluded()
    await centre.ask(case, case.parties[0], NO)
    first = await centre.reopen(case, request_id="again-1")
    assert await centre.reopen(case, request_id="again-1") == first
    assert (await centre.get(case)).reopened_count == 1
    await centre.world.travel(timedelta(minutes=1))
    assert len(await centre.notices("cases.reopened")) == 1
