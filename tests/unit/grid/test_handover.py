"""Hand-overs: to another grid, to the community, to an emergency number, and to a centre, whose case comes back to the worker."""

from __future__ import annotations

import json
from uuid import UUID

from hetao.cases.v1 import cases_pb2, cases_pb2_grpc, intake_pb2
from hetao.grid.v1 import events_pb2, reports_pb2, types_pb2
from hetao.notify.v1 import messages_pb2, messages_pb2_grpc
from tests.unit.grid.conftest import GRID, NEIGHBOUR, VILLAGE_GRID, Territory, department
from tests.world import refused

HANDED_OVER, HANDLING = types_pb2.REPORT_STATE_HANDED_OVER, types_pb2.REPORT_STATE_HANDLING
OFFERED, ACCEPTED = types_pb2.HANDOVER_STATE_OFFERED, types_pb2.HANDOVER_STATE_ACCEPTED
REFUSED, LAPSED = types_pb2.HANDOVER_STATE_REFUSED, types_pb2.HANDOVER_STATE_LAPSED


async def test_another_grid_takes_a_report_over_and_ends_it(territory: Territory):
    made = await territory.verified()
    handed = await territory.hand_over(made, "grid", grid_code=VILLAGE_GRID)
    assert (handed.state, handed.handover.state, handed.handover.grid_code) == (HANDED_OVER, OFFERED, VILLAGE_GRID)
    assert await territory.notices("grid.handover-offered") == [["grid-worker-2"]]
    offered = await territory.reports("grid-worker-2").ListReports(reports_pb2.ListReportsRequest(offered=True))
    assert [r.report_id for r in offered.reports] == [made.report_id]
    assert (await refused(territory.step("AcceptHandover", made, "county-leader-2"))).code == "PERMISSION_DENIED"
    assert (await refused(territory.step("AcceptHandover", made))).reason == "HANDOVER_OF_OTHERS"
    taken = await territory.step("AcceptHandover", made, "grid-worker-2")
    assert (taken.state, taken.grid_code, taken.county, taken.handler) == (
        HANDLING,
        VILLAGE_GRID,
        "150826",
        "grid-worker-2",
    )
    assert await territory.notices("grid.handover-accepted") == [["grid-worker"]]
    assert (await territory.read(made)).handover.state == ACCEPTED  # who handed it over goes on seeing it
    solved = await territory.step(
        "SolveReport", made, "grid-worker-2", result="已清理", photos=await territory.both_photos()
    )
    assert solved.state == types_pb2.REPORT_STATE_SOLVED
    assert await territory.notices("grid.report-ended") == [["grid-worker"]]
    assert (await territory.step("CloseReport", made)).state == types_pb2.REPORT_STATE_CLOSED
    assert [e.action for e in await territory.timeline(made)] == [
        "submit", "verify", "handle", "hand over", "take over", "solve", "close",
    ]  # fmt: skip


async def test_what_is_refused_comes_back_with_the_reason(territory: Territory):
    made = await territory.verified()
    await territory.hand_over(made, "grid", grid_code=VILLAGE_GRID)
    back = await territory.step("RefuseHandover", made, "grid-worker-2", reason="不在我网格")
    assert (back.state, back.handover.state, back.handover.answer_reason) == (HANDLING, REFUSED, "不在我网格")
    assert await territory.notices("grid.handover-refused") == [["grid-worker"]]
    again = await territory.hand_over(made, "emergency", emergency_number="119")
    assert again.handover.handover_id != back.handover.handover_id


async def test_what_nobody_answers_comes_back_by_itself(territory: Territory):
    made = await territory.verified()
    handed = await territory.hand_over(made, "grid", grid_code=VILLAGE_GRID)
    assert "1 个工作日" in handed.handover.answer_due_explanation.zh
    assert "Tue 3 Mar 2026 23:59" in handed.handover.answer_due_explanation.en
    await territory.world.travel("2026-03-03 23:58")
    assert (await territory.read(made)).state == HANDED_OVER
    await territory.world.travel("2026-03-04 00:01")
    back = await territory.read(made)
    assert (back.state, back.handover.state) == (HANDLING, LAPSED)
    assert await territory.notices("grid.handover-lapsed") == [["grid-worker"]]
    late = await refused(territory.step("AcceptHandover", made, "grid-worker-2"))
    assert late.code == "NOT_FOUND"  # it is offered to them no longer


async def test_the_community_goes_on_with_what_a_grid_cannot(territory: Territory):
    """The worker of 柴脑包 is of the village committee too, and answers for it."""
    made = await territory.verified("grid-worker-2", grid_code=VILLAGE_GRID)
    handed = await territory.hand_over(made, "community", "grid-worker-2")
    assert handed.handover.department_id == department("150826108203-community")
    assert await territory.notices("grid.handover-offered") == [["150826108203-community/head"]]
    taken = await territory.step("AcceptHandover", made, "grid-worker-2")
    assert (taken.state, taken.grid_code) == (HANDLING, VILLAGE_GRID)
    again = await refused(territory.hand_over(made, "community", "grid-worker-2"))
    assert again.reason == "HANDOVER_TO_ITSELF"


async def test_an_emergency_number_needs_no_answer_but_a_result(territory: Territory):
    made = await territory.verified(kind=types_pb2.REPORT_KIND_HAZARD, level=types_pb2.REPORT_LEVEL_CRITICAL)
    assert (await refused(territory.hand_over(made, "emergency"))).fields == ["emergency_number"]
    handed = await territory.hand_over(made, "emergency", emergency_number="119")
    assert (handed.state, handed.handover.emergency_number) == (HANDED_OVER, "119")
    assert not handed.handover.HasField("answer_due_at")
    assert (await refused(territory.step("CloseReport", made))).reason == "RESULT_MISSING"
    assert (await refused(territory.step("AcceptHandover", made))).reason == "ANSWERED_ELSEWHERE"
    closed = await territory.step("CloseReport", made, result="消防已处置")
    assert (closed.state, closed.outcome) == (
        types_pb2.REPORT_STATE_CLOSED,
        types_pb2.REPORT_OUTCOME_HANDED_OVER,
    )


async def test_wrong_hand_overs_are_refused(territory: Territory):
    made = await territory.verified()
    for target, more, reason, field in (
        ("grid", {}, "GRID_UNKNOWN", "grid_code"),
        ("grid", {"grid_code": "150802013006999"}, "GRID_UNKNOWN", "grid_code"),
        ("grid", {"grid_code": GRID}, "HANDOVER_TO_ITSELF", "grid_code"),
        ("centre", {"department_id": department("150802-police")}, "RECEIVER_UNKNOWN", "department_id"),
        ("community", {"department_id": department("150802-centre")}, "RECEIVER_UNKNOWN", "department_id"),
        ("centre", {"department_id": department("nowhere")}, "RECEIVER_UNKNOWN", "department_id"),
        ("emergency", {"emergency_number": "911"}, "REQUEST_INVALID", "emergency_number"),
        ("centre", {"reason": 0}, "REQUEST_INVALID", "reason"),
        ("unspecified", {}, "REQUEST_INVALID", "target"),
    ):
        answer = await refused(territory.hand_over(made, target, **more))
        assert (answer.reason, answer.fields) == (reason, [field]), (target, more)
    assert (await territory.read(made)).state == types_pb2.REPORT_STATE_VERIFIED
    submitted = await territory.report(place="别处")
    assert (await refused(territory.hand_over(submitted, "grid", grid_code=NEIGHBOUR))).reason == "MOVE_NOT_ALLOWED"


# -- centres ----------------------------------------------------------------------------------------------------------


async def quarrel(territory: Territory) -> tuple[object, cases_pb2.ListCasesResponse]:
    made = await territory.verified(
        kind=types_pb2.REPORT_KIND_DISPUTE, title="邻里争吵", photos=(await territory.both_photos())[:1]
    )
    await territory.hand_over(made, "centre", category="02", reason=types_pb2.HANDOVER_REASON_SEVERAL_DEPARTMENTS)
    await territory.world.settle()
    cases = territory.world.stub(cases_pb2_grpc.CaseServiceStub, "cases", "dispatcher")
    return made, await cases.ListCases(cases_pb2.ListCasesRequest())


async def test_a_centre_gets_the_whole_file_sealed(territory: Territory):
    made = await territory.verified(kind=types_pb2.REPORT_KIND_DISPUTE, photos=(await territory.both_photos())[:1])
    await territory.hand_over(made, "centre", category="02")
    (event,) = await territory.events(events_pb2.ReportHandedOver)
    assert (event.centre, event.centre_code) == (department("150802013-centre"), "150802013-centre")
    assert (event.category, event.report_code, event.division) == ("02", made.code, "150802013006")
    assert [entry.action for entry in event.history] == ["submit", "verify", "handle", "hand over"]
    assert event.history[0].sentence.zh == "泰欧社区第一网格专职网格员上报矛盾纠纷（一般）"
    assert [photo.media_id for photo in event.photos] == [made.photos[0].media_id]
    assert "楼道" not in str(event)
    content = territory.world.platform.keys.open("handover.content", UUID(event.handover_id), event.content)
    assert json.loads(content) == {
        "title": "楼道堆放杂物",
        "description": "二单元楼道堆满纸箱",
        "place": "泰欧花园 2 号楼 2 单元",
        "note": "多次劝说无效",
    }


async def test_a_quarrel_becomes_a_case_once_and_its_answer_comes_back(territory: Territory):
    made, listed = await quarrel(territory)
    (case,) = listed.cases
    assert (case.report_id, case.centre) == (made.report_id, department("150802013-centre"))
    waiting = await territory.read(made)
    assert (waiting.state, waiting.handover.state, waiting.handover.case_state) == (HANDED_OVER, OFFERED, "registered")
    cases = territory.world.stub(cases_pb2_grpc.CaseServiceStub, "cases", "dispatcher")
    await cases.AcceptCase(intake_pb2.AcceptCaseRequest(case_id=case.case_id))
    await territory.world.settle()
    accepted = await territory.read(made)
    assert (accepted.state, accepted.handover.state) == (HANDED_OVER, ACCEPTED)
    assert (accepted.handover.case_code, accepted.handover.answered_by) == (case.code, "dispatcher")
    assert await territory.notices("grid.case-opened") == [["grid-worker"]]
    assert f"案件码 {case.code}" in (await territory.timeline(made))[-1].sentence.zh or "已受理" in str(
        await territory.timeline(made)
    )
    inbox = territory.world.stub(messages_pb2_grpc.MessageServiceStub, "notify", "grid-worker")
    assert (await inbox.ListMessages(messages_pb2.ListMessagesRequest())).messages


async def test_a_case_that_is_not_accepted_gives_the_report_back(territory: Territory):
    made, listed = await quarrel(territory)
    cases = territory.world.stub(cases_pb2_grpc.CaseServiceStub, "cases", "dispatcher")
    ground = intake_pb2.RefuseCaseRequest(case_id=listed.cases[0].case_id, ground="in_litigation", channel="人民法院")
    await cases.RefuseCase(ground)
    await territory.world.settle()
    back = await territory.read(made)
    assert (back.state, back.handover.state, back.handover.answer_ground) == (HANDLING, REFUSED, "in_litigation")
    zh, en = "已进入诉讼、仲裁或行政复议", "in court, arbitration or administrative review"
    assert (back.handover.answer_ground_text.zh, back.handover.answer_ground_text.en) == (zh, en)
    assert (back.handover.answer_reason, back.handover.answer_channel) == (zh, "人民法院")
    told = (await territory.timeline(made))[-1].sentence
    assert told.zh == f"综治中心不予受理：{zh}；请向人民法院反映"
    assert told.en == f"Not accepted by the governance centre: {en}; the right channel: 人民法院"
    assert await territory.notices("grid.case-not-accepted") == [["grid-worker"]]
    assert await territory.notices("grid.handover-refused") == []
    inbox = territory.world.stub(messages_pb2_grpc.MessageServiceStub, "notify", "grid-worker")
    messages = (await inbox.ListMessages(messages_pb2.ListMessagesRequest())).messages
    (message,) = [one for one in messages if one.template == "grid.case-not-accepted"]
    assert f"不予受理：{zh}。" in message.text.zh
    assert f"not accepted by the centre: {en}." in message.text.en


async def test_a_case_that_goes_to_an_emergency_service_closes_the_report(territory: Territory):
    made, listed = await quarrel(territory)
    cases = territory.world.stub(cases_pb2_grpc.CaseServiceStub, "cases", "dispatcher")
    await cases.TransferCase(intake_pb2.TransferCaseRequest(case_id=listed.cases[0].case_id, number="110"))
    await territory.world.settle()
    closed = await territory.read(made)
    assert (closed.state, closed.handover.case_state) == (types_pb2.REPORT_STATE_CLOSED, "transferred")


async def test_a_centre_that_does_not_answer_has_its_director_told_and_keeps_the_case(territory: Territory):
    made, _ = await quarrel(territory)
    await territory.world.travel("2026-03-04 09:00")
    late = await territory.read(made)
    assert (late.state, late.handover.state, late.handover.answer_overdue) == (HANDED_OVER, OFFERED, True)
    assert await territory.notices("grid.handover-overdue") == [["150802013-centre/director"]]


async def test_a_farm_without_a_township_centre_hands_over_to_the_county(territory: Territory):
    made = await territory.report(community="150802400201", kind=types_pb2.REPORT_KIND_DISPUTE)
    assert made.division == "150802400201"
    await territory.step("VerifyReport", made, "dispatcher")
    nobody = await refused(territory.hand_over(made, "community", "dispatcher"))
    assert (nobody.code, nobody.reason) == ("FAILED_PRECONDITION", "NO_RECEIVER")
    handed = await territory.hand_over(made, "centre", "dispatcher")
    assert handed.handover.department_id == department("150802-centre")
    await territory.world.settle()
    assert (await territory.read(made)).handover.case_state == "registered"
