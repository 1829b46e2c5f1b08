"""The front: papers that are missing, who first received a matter, emergencies at the window, and what is printed."""

from __future__ import annotations

import base64
import re
import zlib
from datetime import timedelta
from typing import Any

import pytest

from hetao.cases.v1 import case_pb2, cases_pb2, front_pb2, intake_pb2, types_pb2
from hetao.grid.v1 import events_pb2 as grid_pb
from tests.unit.cases.conftest import CentreAtWork, company, department, person
from tests.world import refused

CENTRE = department("150826-centre")
CLERK, DISPATCHER, DIRECTOR = "window-clerk-2", "dispatcher-2", "centre-director-2"


async def ask(
    centre: CentreAtWork, case: case_pb2.Case, *papers: str, by: str = CLERK, words: str = ""
) -> case_pb2.Case:
    request = front_pb2.AskSupplementRequest(case_id=case.case_id, papers=papers or ("contract",), words=words)
    return (await centre.cases(by).AskSupplement(request)).case  # type: ignore[no-any-return]


async def bring(centre: CentreAtWork, case: case_pb2.Case, *media: str, by: str = CLERK, **more: Any) -> case_pb2.Case:
    note = {} if media or "note" in more else {"note": "劳动合同复印件"}
    request = front_pb2.RecordSupplementRequest(case_id=case.case_id, media_ids=media, **note, **more)
    return (await centre.cases(by).RecordSupplement(request)).case  # type: ignore[no-any-return]


async def refuse(centre: CentreAtWork, case: case_pb2.Case, ground: str, channel: str = "补齐材料后再次提出") -> Any:
    request = intake_pb2.RefuseCaseRequest(case_id=case.case_id, ground=ground, channel=channel)
    return (await centre.cases(CLERK).RefuseCase(request)).case


async def entrust(centre: CentreAtWork, case: case_pb2.Case, account: str, by: str = DIRECTOR, desk: str = "") -> Any:
    request = front_pb2.SetFirstReceiverRequest(case_id=case.case_id, account=account, desk=desk, reason="休假")
    return (await centre.cases(by).SetFirstReceiver(request)).case


async def works_here(centre: CentreAtWork, account: str, *, active: bool = True, version: int = 1) -> None:
    staff = "0192f0c5-0000-7000-8000-000000000001"
    await centre.hear(
        grid_pb.StaffChanged(
            staff_id=staff, epoch=1, version=version, account=account, department_id=CENTRE, active=active
        ),
        staff,
    )


async def accounts_told(centre: CentreAtWork, template: str) -> list[str]:
    return [one.account for notice in await centre.notices(template) for one in notice.recipients if one.account]


def text_of(document: bytes) -> str:
    """What a PDF of one font says: its strings are UTF-16."""
    assert document.startswith(b"%PDF-")
    said = []
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", document, re.DOTALL):
        try:
            content = zlib.decompress(_plain(stream))
        except (zlib.error, ValueError):
            continue
        strings = re.findall(rb"\((.*?)(?<!\\)\) Tj", content, re.DOTALL)
        said += [_unescaped(raw).decode("utf-16-be", "replace") for raw in strings]
    return "".join(said)


def _plain(stream: bytes) -> bytes:
    stream = stream.strip()
    return base64.a85decode(stream.removesuffix(b"~>")) if stream.endswith(b"~>") else stream


def _unescaped(raw: bytes) -> bytes:
    def one(match: re.Match[bytes]) -> bytes:
        what = match[1]
        return (
            bytes([int(what, 8)])
            if what.isdigit()
            else {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}.get(what, what)
        )

    return re.sub(rb"\\([0-7]{1,3}|.)", one, raw, flags=re.DOTALL)


# -- papers --------------------------------------------------------------------------------------------------------------


async def test_a_missing_paper_is_asked_for_brought_and_the_case_accepted(centre: CentreAtWork) -> None:
    answer = await centre.create()
    case, pins = answer.case, [one.pin for one in answer.receipts]
    before = case.deadline.due_at.ToJsonString()
    asked = await ask(centre, case, "employment", "injury", words="2025年11月的工资条")
    assert asked.state == types_pb2.CASE_STATE_SUPPLEMENT_ASKED
    assert (list(asked.supplement.papers), asked.supplement.words) == (["employment", "injury"], "2025年11月的工资条")
    assert (asked.supplement.times, asked.supplement.asked_by) == (1, CLERK)
    assert "补正材料" in asked.supplement.deadline.explanation.zh
    assert "等待申请人补正材料" in asked.deadline.explanation.zh
    assert "asked for papers" in asked.deadline.explanation.en
    assert asked.deadline.due_at.ToJsonString() > before

    applicant, respondent = [await centre.look_up(case.code, pin) for pin in pins]
    assert "劳动关系证明" in applicant.stage.zh
    assert "工资条" in applicant.stage.zh
    assert "劳动关系证明" not in respondent.stage.zh
    assert [step.sentence.zh for step in respondent.steps][-1].startswith("请申请人于")

    await centre.world.travel("2026-03-04 10:00")
    photo = await centre.upload()
    case = await bring(centre, asked, photo)
    assert (case.state, list(case.media_ids)) == (types_pb2.CASE_STATE_REGISTERED, [photo])
    assert (list(case.supplement.media_ids), case.supplement.HasField("brought_at")) == ([photo], True)
    # The night of Tuesday stood: what was due on the 4th is due on the 5th.
    assert case.deadline.due_at.ToJsonString() == "2026-03-05T15:59:59.999Z"
    told = [step.sentence.zh for step in (await centre.look_up(case.code, pins[0])).steps]
    assert told[-1] == "申请人已补正材料"
    case = await centre.accept(case, CLERK)
    assert (case.state, "等待" in case.deadline.explanation.zh) == (types_pb2.CASE_STATE_ACCEPTED, False)


async def test_the_decision_waits_for_the_applicant_but_not_for_ever(centre: CentreAtWork) -> None:
    case = await ask(centre, (await centre.create()).case)
    await centre.world.travel("2026-03-11 12:00")
    assert await accounts_told(centre, "cases.supplement_remind") == [CLERK]
    assert await centre.notices("cases.acceptance_reminder") == []
    early = await refused(refuse(centre, case, "supplement_missing"))
    assert (early.code, early.reason, early.fields) == ("FAILED_PRECONDITION", "SUPPLEMENT_NOT_LAPSED", ["ground"])
    await centre.world.travel("2026-03-13 09:00")
    assert await accounts_told(centre, "cases.supplement_lapsed") == [CLERK]
    await centre.world.travel("2026-03-17 09:00")
    assert (
        len(await centre.notices("cases.acceptance_reminder"))
        == len(await centre.notices("cases.acceptance_overdue"))
        == 1
    )
    case = await refuse(centre, case, "supplement_missing")
    assert (case.state, case.refusal.ground) == (types_pb2.CASE_STATE_NOT_ACCEPTED, "supplement_missing")
    assert await centre.world.rows("cases", "select from timer") == []


async def test_what_comes_late_is_taken_while_the_case_still_waits(centre: CentreAtWork) -> None:
    case = await ask(centre, (await centre.create()).case)
    lapsed = case.supplement.deadline.due_at
    await centre.world.travel("2026-03-13 10:00")
    case = await bring(centre, case)
    assert case.state == types_pb2.CASE_STATE_REGISTERED
    assert case.deadline.due_at.seconds - lapsed.seconds == 86400  # its clock ran on from the end of her limit
    await centre.world.travel("2026-03-13 20:00")
    assert len(await centre.notices("cases.supplement_lapsed")) == 1


async def test_papers_are_not_asked_for_for_ever(centre: CentreAtWork) -> None:
    case = (await centre.create()).case
    for _ in range(2):
        case = await bring(centre, await ask(centre, case))
    spent = await refused(ask(centre, case))
    assert (spent.code, spent.reason) == ("FAILED_PRECONDITION", "SUPPLEMENTS_SPENT")
    assert "2" in spent.zh


async def test_papers_are_asked_for_before_the_decision_alone_and_once_at_a_time(centre: CentreAtWork) -> None:
    accepted = await centre.accepted()
    late = await refused(ask(centre, accepted, by=DISPATCHER))
    assert (late.code, late.reason) == ("FAILED_PRECONDITION", "MOVE_NOT_ALLOWED")
    asked = await ask(centre, (await centre.create()).case)
    assert (await refused(ask(centre, asked))).reason == "MOVE_NOT_ALLOWED"
    registered = (await centre.create()).case
    assert (await refused(bring(centre, registered))).reason == "MOVE_NOT_ALLOWED"


async def test_a_case_that_waits_for_papers_is_accepted_once_it_is_said_that_they_are_not_needed(
    centre: CentreAtWork,
) -> None:
    case = await ask(centre, (await centre.create()).case)
    early = await refused(centre.accept(case))
    assert (early.code, early.reason) == ("FAILED_PRECONDITION", "MOVE_NOT_ALLOWED")
    assert "待申请人补正" in early.zh
    assert (await refused(bring(centre, case, note="", waived=True))).fields == ["note"]
    case = await bring(centre, case, note="已由人社局核实", waived=True)
    assert (case.supplement.waived, [one.what for one in await centre.timeline(case)][-1]) == (True, "waive supplement")
    assert (await centre.accept(case)).state == types_pb2.CASE_STATE_ACCEPTED


async def test_an_emergency_goes_before_papers_and_another_ground_needs_no_waiting(centre: CentreAtWork) -> None:
    urgent = await ask(centre, (await centre.create()).case)
    request = intake_pb2.TransferCaseRequest(case_id=urgent.case_id, number="120")
    assert (await centre.cases(CLERK).TransferCase(request)).case.transferred_to == "120"
    court = await ask(centre, (await centre.create()).case)
    assert (await refuse(centre, court, "in_litigation")).state == types_pb2.CASE_STATE_NOT_ACCEPTED
    await centre.world.travel("2026-05-01 09:00")
    assert await centre.notices("cases.supplement_lapsed") == []


@pytest.mark.parametrize(
    ("papers", "words", "reason", "field"),
    [
        (["no_such_paper"], "", "CODE_UNKNOWN", "papers[0]"),
        (["contract", "contract"], "", "REQUEST_INVALID", "papers"),
        (["Contract"], "", "REQUEST_INVALID", "papers[0]"),
        ([], " ", "SUPPLEMENT_EMPTY", "papers"),
        ([], "长" * 501, "REQUEST_INVALID", "words"),
    ],
)
async def test_what_is_asked_for_is_named(
    centre: CentreAtWork, papers: list[str], words: str, reason: str, field: str
) -> None:
    case = (await centre.create()).case
    request = front_pb2.AskSupplementRequest(case_id=case.case_id, papers=papers, words=words)
    refusal = await refused(centre.cases(CLERK).AskSupplement(request))
    assert (refusal.reason, refusal.fields) == (reason, [field])
    assert (await centre.get(case)).state == types_pb2.CASE_STATE_REGISTERED


async def test_what_was_brought_is_named(centre: CentreAtWork) -> None:
    case = await ask(centre, (await centre.create()).case)
    assert (await refused(bring(centre, case, note=""))).fields == ["media_ids"]
    assert (await refused(bring(centre, case, "a" * 64))).reason == "PHOTO_UNKNOWN"


@pytest.mark.parametrize("channel", ["", " ", "长" * 201])
async def test_a_refusal_names_the_right_channel(centre: CentreAtWork, channel: str) -> None:
    case = (await centre.create()).case
    assert (await refused(refuse(centre, case, "in_litigation", channel))).fields == ["channel"]


async def test_missing_papers_are_no_ground_where_none_were_asked_for(centre: CentreAtWork) -> None:
    case = (await centre.create()).case
    assert (await refused(refuse(centre, case, "supplement_missing"))).reason == "SUPPLEMENT_NOT_LAPSED"


# -- the first receiver --------------------------------------------------------------------------------------------------


async def test_who_takes_a_matter_in_answers_for_it_until_the_applicant_has_an_answer(centre: CentreAtWork) -> None:
    case = (await centre.create(desk="reception")).case
    assert (case.first_receiver.account, case.first_receiver.desk) == (CLERK, "reception")
    await ask(centre, case, by=DISPATCHER)
    assert await accounts_told(centre, "cases.supplement_asked") == [CLERK]
    await bring(centre, case, by=DISPATCHER)
    assert await accounts_told(centre, "cases.supplement_received") == [CLERK]
    await centre.world.travel("2026-03-04 23:00")
    assert await accounts_told(centre, "cases.acceptance_reminder") == [CLERK]
    case = await centre.accept(case)
    assert await accounts_told(centre, "cases.first_answered") == [CLERK]
    assert case.first_receiver.account == CLERK
    await centre.world.travel("2026-06-01 09:00")
    assert await accounts_told(centre, "cases.case_reminder") == []


async def test_who_does_it_herself_is_not_told_of_it(centre: CentreAtWork) -> None:
    case = await bring(centre, await ask(centre, (await centre.create()).case))
    await centre.accept(case, CLERK)
    for template in ("cases.supplement_asked", "cases.supplement_received", "cases.first_answered"):
        assert await centre.notices(template) == []


async def test_the_director_gives_a_matter_to_somebody_else_of_the_centre(centre: CentreAtWork) -> None:
    case = (await centre.create()).case
    nobody = await refused(entrust(centre, case, "grid-worker-2"))
    assert (nobody.code, nobody.reason, nobody.fields) == ("INVALID_ARGUMENT", "ACCOUNT_NOT_OF_CENTRE", ["account"])
    await works_here(centre, "dispatcher-2")
    case = await entrust(centre, case, "dispatcher-2", desk="reception")
    assert (case.first_receiver.account, case.first_receiver.desk) == ("dispatcher-2", "reception")
    assert await accounts_told(centre, "cases.first_receiver") == ["dispatcher-2"]
    (said,) = [one for one in await centre.timeline(case) if one.what == "first receiver"]
    assert (said.note, said.actor) == ("休假", DIRECTOR)
    assert (await refused(entrust(centre, case, "dispatcher-2", desk="court-room"))).fields == ["desk"]
    await works_here(centre, "dispatcher-2", active=False, version=2)
    assert (await refused(entrust(centre, case, "dispatcher-2"))).reason == "ACCOUNT_NOT_OF_CENTRE"


@pytest.mark.parametrize("by", [CLERK, DISPATCHER, "follow-up-clerk-2", "county-leader-2"])
async def test_nobody_but_the_director_changes_the_first_receiver(centre: CentreAtWork, by: str) -> None:
    case = (await centre.create()).case
    refusal = await refused(entrust(centre, case, by, by))
    assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "PERMISSION_MISSING")


async def test_an_answered_matter_has_its_first_receiver_for_ever(centre: CentreAtWork) -> None:
    await works_here(centre, "dispatcher-2")
    case = await centre.accept((await centre.create()).case)
    refusal = await refused(entrust(centre, case, "dispatcher-2"))
    assert (refusal.code, refusal.reason) == ("FAILED_PRECONDITION", "MOVE_NOT_ALLOWED")


# -- emergencies ---------------------------------------------------------------------------------------------------------


async def test_an_emergency_is_registered_and_transferred_in_one_call(centre: CentreAtWork) -> None:
    more = {"kind": types_pb2.KIND_SECURITY_CLUE, "parties": [person()], "transfer_note": "门口有人持刀"}
    answer = await centre.create(transfer_to="110", **more)
    case = answer.case
    assert (case.state, case.transferred_to) == (types_pb2.CASE_STATE_TRANSFERRED, "110")
    timeline = await centre.timeline(case)
    assert [one.what for one in timeline] == ["register", "transfer"]
    assert timeline[-1].note == "门口有人持刀"
    assert (await centre.look_up(case.code, answer.receipts[0].pin)).stage.zh == "已即时移送 110"
    assert await centre.world.rows("cases", "select from timer") == []
    both = await refused(centre.create(transfer_to="110", accept=True))
    assert (both.reason, both.fields) == ("ACCEPT_OR_TRANSFER", ["transfer_to"])
    assert (await refused(centre.create(transfer_to="12345"))).fields == ["transfer_to"]


# -- what is printed -----------------------------------------------------------------------------------------------------


async def test_a_refusal_is_printed_for_the_applicant_and_every_look_at_it_audited(centre: CentreAtWork) -> None:
    case = (await centre.create()).case
    notice = front_pb2.GetRefusalNoticeRequest(case_id=case.case_id)
    assert (await refused(centre.cases(CLERK).GetRefusalNotice(notice))).reason == "NOT_REFUSED"
    await refuse(centre, case, "discipline", "杭锦后旗纪委监委信访室")
    document = (await centre.cases(CLERK).GetRefusalNotice(notice)).document
    assert document.content_type == "application/pdf"
    said = text_of(document.data)
    for wanted in (
        "不予受理告知书",
        "赵秀英",
        case.code,
        "属纪检监察事项",
        "杭锦后旗纪委监委信访室",
        "杭锦后旗综治中心",
    ):
        assert wanted in said
    assert "信访工作条例" in said
    assert "2026年3月2日" in said
    assert "河套酒业" not in said
    shown = await centre.world.rows("cases", "select account from disclosure")
    assert [row["account"] for row in shown] == [CLERK]
    audited = await centre.world.rows("cases", "select purpose from audit where entity = 'disclosure'")
    assert [row["purpose"] for row in audited] == ["打印不予受理告知书"]
    assert [one.what for one in await centre.timeline(case)][-1] == "print refusal"


@pytest.mark.parametrize("by", ["centre-director", "window-clerk", "department-officer-2"])
async def test_a_notice_is_printed_by_the_centre_alone(centre: CentreAtWork, by: str) -> None:
    case = (await centre.create()).case
    await refuse(centre, case, "discipline")
    refusal = await refused(centre.cases(by).GetRefusalNotice(front_pb2.GetRefusalNoticeRequest(case_id=case.case_id)))
    assert refusal.code == "NOT_FOUND"


async def test_papers_that_did_not_come_stand_in_the_notice(centre: CentreAtWork) -> None:
    case = await ask(centre, (await centre.create()).case, "employment", words="工资条")
    await centre.world.travel("2026-03-16 09:00")
    await refuse(centre, case, "supplement_missing")
    notice = front_pb2.GetRefusalNoticeRequest(case_id=case.case_id)
    said = text_of((await centre.cases(CLERK).GetRefusalNotice(notice)).document.data)
    assert "2026年3月12日" in said
    assert "劳动关系证明" in said
    assert "工资条" in said


async def test_the_pin_is_printed_by_the_call_alone_that_made_it(centre: CentreAtWork) -> None:
    answer = await centre.create(print_receipts=True)
    for receipt in answer.receipts:
        said = text_of(base64.b64decode(receipt.document))
        assert receipt.pin in said
        assert receipt.code in said
    first = answer.receipts[0]
    assert "赵*" in text_of(base64.b64decode(first.document))
    assert "赵秀英" not in text_of(base64.b64decode(first.document))
    again = front_pb2.GetReceiptRequest(case_id=answer.case.case_id, party_id=first.party_id)
    said = text_of((await centre.cases(CLERK).GetReceipt(again)).document.data)
    assert first.code in said
    assert first.pin not in said
    assert "补打" in said
    assert [one.document for one in (await centre.create()).receipts] == ["", ""]
    added = await centre.cases(CLERK).AddParty(
        intake_pb2.AddPartyRequest(case_id=answer.case.case_id, party=company("陕坝镇某建筑公司"), print_receipt=True)
    )
    assert added.receipt.pin in text_of(base64.b64decode(added.receipt.document))


async def test_a_receipt_is_for_the_centre_and_for_a_party_of_the_case(centre: CentreAtWork) -> None:
    case, other = (await centre.create()).case, (await centre.create(title="另一件")).case
    wrong = front_pb2.GetReceiptRequest(case_id=case.case_id, party_id=other.parties[0].party_id)
    assert (await refused(centre.cases(CLERK).GetReceipt(wrong))).fields == ["party_id"]
    right = front_pb2.GetReceiptRequest(case_id=case.case_id, party_id=case.parties[0].party_id)
    assert (await refused(centre.cases("county-leader-2").GetReceipt(right))).reason == "CENTRE_NOT_RESPONSIBLE"
    assert (await refused(centre.cases("county-leader").GetReceipt(right))).code == "NOT_FOUND"


async def test_a_case_is_read_with_its_limit_before_acceptance_too(centre: CentreAtWork) -> None:
    case = (await centre.create()).case
    seen = (await centre.cases(CLERK).GetCase(cases_pb2.GetCaseRequest(case_id=case.case_id))).case
    assert "受理决定" in seen.deadline.explanation.zh
    await centre.world.travel(timedelta(days=1))
