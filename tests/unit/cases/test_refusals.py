"""Bad input and bad moments: each a clear refusal with its reason and field, and nothing half-written."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from hetao.cases.v1 import case_pb2, cases_pb2, handling_pb2, intake_pb2, types_pb2
from tests.unit.cases.conftest import APPLICANT_ID, JUSTICE, LABOUR, CentreAtWork, company, department, person
from tests.world import refused

A = handling_pb2.Assignment


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"division": "150802013"}, "DIVISION_FOREIGN", "division"),
        ({"division": "150899"}, "DIVISION_UNKNOWN", "division"),
        ({"division": "150826999"}, "DIVISION_UNKNOWN", "division"),
        ({"division": "1508"}, "REQUEST_INVALID", "division"),
        ({"kind": 99}, "REQUEST_INVALID", "kind"),
        ({"kind": 0}, "KIND_MISSING", "kind"),
        ({"desk": "no-such-desk"}, "CODE_UNKNOWN", "desk"),
        ({"title": ""}, "REQUEST_INVALID", "title"),
        ({"title": "长" * 201}, "REQUEST_INVALID", "title"),
        ({"classification": case_pb2.Classification(category="77")}, "CODE_UNKNOWN", "classification.category"),
        ({"classification": case_pb2.Classification(category="x")}, "REQUEST_INVALID", "classification.category"),
        ({"parties": [person(id_number="150826198001010014")]}, "ID_NUMBER_INVALID", "parties[0].id_number"),
        ({"parties": [company(id_number=APPLICANT_ID)]}, "ID_NUMBER_INVALID", "parties[0].id_number"),
        ({"parties": [person(phone="12345678901")]}, "PHONE_INVALID", "parties[0].phone"),
        ({"parties": [person(id_number=APPLICANT_ID), person("李强", id_number=APPLICANT_ID)]}, "PARTY_TWICE", "parties[1].id_number"),
        ({"parties": [person()] * 21}, "REQUEST_INVALID", "parties"),
        ({"media_ids": ["a", "a"]}, "REQUEST_INVALID", "media_ids"),
        ({"media_ids": ["a" * 64]}, "PHOTO_UNKNOWN", "media_ids[0]"),
        ({"media_ids": ["no id"]}, "PHOTO_UNKNOWN", "media_ids[0]"),
    ],
)  # fmt: skip
async def test_a_registration_names_the_field_that_is_wrong(
    centre: CentreAtWork, change: dict[str, Any], reason: str, field: str
) -> None:
    refusal = await refused(centre.create(**change))
    assert (refusal.reason, refusal.fields) == (reason, [field])
    assert refusal.code in ("INVALID_ARGUMENT", "PERMISSION_DENIED")
    for table in ("case_file", "party", "step", "party_pair", "outbox", "timer", "audit"):
        assert await centre.world.rows("cases", f"select from {table}") == []


async def test_nothing_happened_in_the_future(centre: CentreAtWork) -> None:
    when = Timestamp()
    when.FromDatetime(centre.world.clock.now() + timedelta(minutes=6))
    assert (await refused(centre.create(occurred_at=when))).reason == "TIME_IN_FUTURE"
    when.FromDatetime(centre.world.clock.now() + timedelta(minutes=4))  # a phone's clock runs ahead a little
    await centre.create(occurred_at=when)


async def test_photos_of_a_case_and_of_a_result_were_uploaded(centre: CentreAtWork) -> None:
    photo = await centre.upload()
    assert list((await centre.create(media_ids=[photo])).case.media_ids) == [photo]
    refusal = await refused(centre.create(media_ids=[photo, "b" * 64]))
    assert (refusal.code, refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", "PHOTO_UNKNOWN", ["media_ids[1]"])
    case = await centre.dispatched()
    task = case.tasks[1]
    await centre.sign_in(case, task)
    refusal = await refused(centre.submit(case, task, media_ids=["b" * 64]))
    assert (refusal.reason, refusal.fields) == ("PHOTO_UNKNOWN", ["media_ids[0]"])
    assert list((await centre.submit(case, task, media_ids=[photo])).media_ids) == [photo]


async def test_a_case_has_twenty_parties_at_most(centre: CentreAtWork) -> None:
    case = (await centre.create(parties=[person(f"当事人{n}") for n in range(20)])).case
    request = intake_pb2.AddPartyRequest(case_id=case.case_id, party=person("又一人"))
    refusal = await refused(centre.cases("window-clerk-2").AddParty(request))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "PARTIES_FULL")
    assert "20" in refusal.zh


async def test_registering_and_accepting_are_two_rights(centre: CentreAtWork) -> None:
    foreign = await refused(centre.create("dispatcher"))  # 临河's
    assert (foreign.code, foreign.reason) == ("PERMISSION_DENIED", "DIVISION_FOREIGN")
    for account in ("grid-worker-2", "department-officer-2", "county-leader-2", "auditor-2", "admin-2"):
        assert (await refused(centre.create(account))).reason == "PERMISSION_MISSING"


async def test_a_stale_etag_refuses(centre: CentreAtWork) -> None:
    case = (await centre.create()).case
    await centre.accept(case, etag=case.etag)
    stale = await refused(centre.accept(case, etag=case.etag))
    assert (stale.code, stale.reason) == ("ABORTED", "ETAG_STALE")


async def test_a_decision_is_taken_once(centre: CentreAtWork) -> None:
    case = await centre.accept((await centre.create()).case)
    again = await refused(centre.accept(case))
    assert (again.code, again.reason) == ("FAILED_PRECONDITION", "MOVE_NOT_ALLOWED")
    request = intake_pb2.RefuseCaseRequest(case_id=case.case_id, ground="in_litigation", channel="杭锦后旗人民法院")
    assert (await refused(centre.cases("dispatcher-2").RefuseCase(request))).reason == "MOVE_NOT_ALLOWED"


async def test_not_accepting_names_a_ground_and_the_channel(centre: CentreAtWork) -> None:
    case = (await centre.create()).case
    stub = centre.cases("dispatcher-2")
    request = intake_pb2.RefuseCaseRequest(case_id=case.case_id, ground="because", channel="法院")
    assert (await refused(stub.RefuseCase(request))).fields == ["ground"]
    request = intake_pb2.RefuseCaseRequest(case_id=case.case_id, ground="in_litigation")
    assert (await refused(stub.RefuseCase(request))).fields == ["channel"]
    request.channel = "杭锦后旗人民法院立案庭"
    case = (await stub.RefuseCase(request)).case
    assert (case.state, case.refusal.ground) == (types_pb2.CASE_STATE_NOT_ACCEPTED, "in_litigation")
    assert await centre.world.rows("cases", "select from timer") == []


async def test_an_emergency_goes_to_a_number_that_exists(centre: CentreAtWork) -> None:
    case = (await centre.create()).case
    stub = centre.cases("window-clerk-2")
    wrong = intake_pb2.TransferCaseRequest(case_id=case.case_id, number="911")
    assert (await refused(stub.TransferCase(wrong))).fields == ["number"]
    case = (await stub.TransferCase(intake_pb2.TransferCaseRequest(case_id=case.case_id, number="110"))).case
    assert (case.state, case.transferred_to) == (types_pb2.CASE_STATE_TRANSFERRED, "110")


async def test_a_dispatch_has_one_lead_and_names_who_is_there(centre: CentreAtWork) -> None:
    case = await centre.accepted()
    tries: list[tuple[list[handling_pb2.Assignment], str, list[str]]] = [
        ([A(department_id=LABOUR)], "LEAD_MISSING", ["assignments"]),
        ([A(department_id=LABOUR, lead=True), A(department_id=JUSTICE, lead=True)], "LEAD_TWICE", ["assignments"]),
        ([A(department_id=LABOUR, lead=True), A(department_id=LABOUR)], "ALREADY_ASSIGNED", ["assignments[1]"]),
        ([A(department_id=LABOUR, desk="court", lead=True)], "ASSIGNEE_ONE_OF", ["assignments[0].department_id"]),
        ([A(lead=True)], "ASSIGNEE_ONE_OF", ["assignments[0].department_id"]),
        (
            [A(department_id=department("150802-housing"), lead=True)],
            "DEPARTMENT_UNKNOWN",
            ["assignments[0].department_id"],
        ),
        ([A(desk="cinema", lead=True)], "CODE_UNKNOWN", ["assignments[0].desk"]),
        ([A(department_id=LABOUR, lead=True, limit_days=91)], "REQUEST_INVALID", ["assignments[0].limit_days"]),
        ([], "REQUEST_INVALID", ["assignments"]),
    ]
    for assignments, reason, fields in tries:
        refusal = await refused(centre.dispatch(case, *assignments))
        assert (refusal.reason, refusal.fields) == (reason, fields)
    assert await centre.world.rows("cases", "select from task") == []
    case = await centre.dispatch(case, A(department_id=LABOUR, lead=True))
    assert (await refused(centre.dispatch(case, A(department_id=JUSTICE, lead=True)))).reason == "LEAD_TWICE"
    assert len((await centre.dispatch(case, A(department_id=JUSTICE))).tasks) == 2


async def test_a_dispute_is_classified_before_it_is_dispatched(centre: CentreAtWork) -> None:
    case = await centre.accept((await centre.create()).case)
    assert (await refused(centre.dispatch(case, A(department_id=LABOUR, lead=True)))).reason == "NOT_CLASSIFIED"


async def test_a_dispute_needs_a_second_party_to_be_concluded(centre: CentreAtWork) -> None:
    case = await centre.accepted(parties=[person()])
    refusal = await refused(centre.conclude(case))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "PARTIES_MISSING")
    request = intake_pb2.AddPartyRequest(case_id=case.case_id, party=company())
    answer = await centre.cases("dispatcher-2").AddParty(request)
    assert len(answer.case.parties) == 2
    assert (await centre.look_up(case.code, answer.receipt.pin)).name == "河套酒业有限公司"
    assert (await centre.conclude(case)).state == types_pb2.CASE_STATE_FOLLOW_UP


async def test_no_conclusion_with_open_tasks(centre: CentreAtWork) -> None:
    case = await centre.dispatched()
    refusal = await refused(centre.conclude(case))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "TASKS_OPEN")
    assert "3" in refusal.zh


async def test_a_task_is_done_once_and_by_its_own_department(centre: CentreAtWork) -> None:
    case = await centre.dispatched()
    task = case.tasks[0]
    stranger = await refused(centre.sign_in(case, task, by="justice-officer-2"))
    assert (stranger.code, stranger.reason) == ("NOT_FOUND", "NOT_FOUND")
    signed = await centre.sign_in(case, task)
    assert signed.signed_in_by == "department-officer-2"
    again = await refused(centre.sign_in(case, task))
    assert (again.code, again.reason) == ("FAILED_PRECONDITION", "MOVE_NOT_ALLOWED")
    unsigned = case.tasks[1]
    assert (await refused(centre.submit(case, unsigned))).reason == "MOVE_NOT_ALLOWED"


async def test_a_review_sends_back_tasks_of_the_case_alone(centre: CentreAtWork) -> None:
    case, other = await centre.answered(), await centre.dispatched(title="另一件")
    decide = types_pb2.REVIEW_DECISION_SEND_BACK
    assert (await refused(centre.review(case, decide, other.tasks[0].task_id))).fields == ["task_ids[0]"]
    assert (await refused(centre.review(other, decide))).reason == "MOVE_NOT_ALLOWED"
    approve = types_pb2.REVIEW_DECISION_APPROVE
    assert (await refused(centre.review(case, approve, case.tasks[0].task_id))).reason == "TASKS_WITH_APPROVAL"


async def test_a_follow_up_is_asked_of_a_party_once_and_not_by_who_handled_it(centre: CentreAtWork) -> None:
    case = await centre.concluded()
    other = await centre.concluded(title="另一件")
    assert (await refused(centre.ask(case, other.parties[0]))).fields == ["party_id"]
    await centre.ask(case, case.parties[0])
    assert (await refused(centre.ask(case, case.parties[0]))).reason == "ALREADY_ANSWERED"
    assert (await refused(centre.ask(case, case.parties[1], by="department-officer-2"))).reason == "PERMISSION_MISSING"
    request = handling_pb2.RecordFollowUpRequest(
        case_id=case.case_id, party_id=case.parties[1].party_id, contacted=True
    )
    assert (await refused(centre.cases("follow-up-clerk-2").RecordFollowUp(request))).reason == "ANSWER_MISSING"
    request = handling_pb2.RecordFollowUpRequest(
        case_id=case.case_id, party_id=case.parties[1].party_id, solved=types_pb2.SOLVED_YES
    )
    assert (await refused(centre.cases("follow-up-clerk-2").RecordFollowUp(request))).reason == "ANSWER_WITHOUT_CONTACT"
    open_case = await centre.accepted()
    assert (await refused(centre.ask(open_case, open_case.parties[0]))).reason == "MOVE_NOT_ALLOWED"


async def test_a_page_token_belongs_to_its_query(centre: CentreAtWork) -> None:
    for n in range(3):
        await centre.create(title=f"第{n}件")
        await centre.world.travel(timedelta(minutes=1))
    stub = centre.cases("dispatcher-2")
    first = await stub.ListCases(cases_pb2.ListCasesRequest(page_size=2))
    assert [case.title for case in first.cases] == ["第2件", "第1件"]
    rest = await stub.ListCases(cases_pb2.ListCasesRequest(page_size=2, page_token=first.next_page_token))
    assert ([case.title for case in rest.cases], rest.next_page_token) == (["第0件"], "")
    other = cases_pb2.ListCasesRequest(state=types_pb2.CASE_STATE_CLOSED, page_token=first.next_page_token)
    assert (await refused(stub.ListCases(other))).fields == ["page_token"]
    assert (await refused(stub.ListCases(cases_pb2.ListCasesRequest(page_size=201)))).fields == ["page_size"]
