"""A walk-in at the centre of 杭锦后旗, from the window to the closing, as the persons do it."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from services.cases.model import check_digit
from tests.functional.harness import Hetao, is_chinese, new_key
from tests.functional.modes import on
from tests.functional.story import APPLICANT, COMPANY, JUSTICE, LABOUR, UNION, Centre, told, walk_in

pytestmark = on("hetao", "story", "all", "split")

SEND_BACK = {"decision": "REVIEW_DECISION_SEND_BACK", "note": "协议未写明支付期限"}
APPROVE = {"decision": "REVIEW_DECISION_APPROVE"}


@pytest.fixture
def centre(hetao: Hetao) -> Centre:
    return Centre.of(hetao)


def test_a_walk_in_gets_a_receipt_for_each_party_and_a_repeat_gets_the_same(centre: Centre) -> None:
    key = new_key()
    first = centre.clerk.post("/v1/cases", walk_in(), idempotency_key=key)
    case, receipts = first["case"], first["receipts"]
    assert (case["state"], case["source"]) == ("CASE_STATE_REGISTERED", "SOURCE_WALK_IN")
    assert case["centreName"] == "杭锦后旗综治中心"
    assert [party["name"] for party in case["parties"]] == ["赵*", "河套酒业有限公司"]
    assert (case["parties"][0]["idNumber"], case["parties"][0]["phone"]) == ("150826********0013", "139****1234")
    assert {receipt["code"] for receipt in receipts} == {case["code"]}
    assert [receipt["partyId"] for receipt in receipts] == [party["partyId"] for party in case["parties"]]
    assert len({receipt["pin"] for receipt in receipts}) == 2
    assert all(len(receipt["pin"]) == 6 for receipt in receipts)
    assert centre.clerk.post("/v1/cases", walk_in(), idempotency_key=key) == first
    assert centre.read({"caseId": case["code"]})["caseId"] == case["caseId"]  # people type the code


def test_the_same_request_from_all_sides_at_once_is_one_case(centre: Centre) -> None:
    key, title = new_key(), "一次登记，多次提交"
    with ThreadPoolExecutor(8) as threads:
        repeats = [
            threads.submit(centre.clerk.post, "/v1/cases", walk_in(title=title), idempotency_key=key) for _ in range(8)
        ]
    first, *others = (repeat.result() for repeat in repeats)
    assert all(other == first for other in others)
    listed = centre.dispatcher.everything("/v1/cases", "cases", pageSize=200)
    assert [case["caseId"] for case in listed if case["title"] == title] == [first["case"]["caseId"]]


def test_the_same_two_parties_in_either_order_are_a_hint(centre: Centre) -> None:
    one = {**APPLICANT, "name": "高占山", "idNumber": "", "phone": ""}
    other = {**COMPANY, "name": "陕坝镇某建筑公司", "idNumber": ""}
    said = {"classification": {"category": "10"}}
    first = centre.take_in(parties=[one, other], **said)
    turned = [{**other, "role": "PARTY_ROLE_APPLICANT"}, {**one, "role": "PARTY_ROLE_RESPONDENT"}]
    second = centre.take_in(parties=turned, **said)
    assert first["duplicates"] == []
    assert [found["code"] for found in second["duplicates"]] == [first["case"]["code"]]


def test_three_departments_work_and_the_centre_has_the_last_word(centre: Centre) -> None:
    case = centre.take_in()["case"]
    case = centre.act(
        case,
        "accept",
        {
            "classification": {
                "category": "10",
                "scale": "SCALE_INDIVIDUAL",
                "risk": "RISK_MEDIUM",
                "complexity": "COMPLEXITY_COMPLEX",
            }
        },
    )
    assert (case["state"], case["classification"]["category"]) == ("CASE_STATE_ACCEPTED", "10")
    assert "20 个工作日" in case["deadline"]["explanation"]["zh"]
    assert "20 working days" in case["deadline"]["explanation"]["en"]

    case = centre.dispatch(case)
    assert [(task["departmentId"], task["lead"], task["limitDays"]) for task in case["tasks"]] == [
        (LABOUR, True, 5), (JUSTICE, False, 3), (UNION, False, 3),
    ]  # fmt: skip
    assert case["tasks"][0]["deadline"]["dueAt"] == "2026-03-09T15:59:59.999Z"
    for task in case["tasks"]:
        (message,) = told(centre.officer(task), "cases.dispatched", case)
        assert case["code"] in message["text"]["zh"]
        assert case["code"] in message["text"]["en"]
        assert message["post"] == "duty_officer"
        signed = centre.on_task(task, "signIn")
        assert (signed["state"], signed["signedInBy"]) == ("TASK_STATE_SIGNED_IN", centre.officer(task).account)
        listed = centre.officer(task).everything("/v1/caseTasks", "tasks")
        assert task["taskId"] in [one["taskId"] for one in listed]

    lead, *others = case["tasks"]
    early = centre.officer(lead).refused(
        "POST", f"/v1/cases/{case['caseId']}/tasks/{lead['taskId']}:submitResult", {"result": "已办"}
    )
    assert (early.status, early.reason) == (400, "CO_TASKS_OPEN")
    for task in others:
        centre.on_task(task, "submitResult", {"result": "已提供法律意见"})
    assert centre.on_task(lead, "submitResult", {"result": "双方同意调解"})["state"] == "TASK_STATE_RESULT_SUBMITTED"
    assert centre.read(case)["state"] == "CASE_STATE_RESULT_SUBMITTED"
    told(centre.dispatcher, "cases.result_submitted", case)

    case = centre.act(case, "review", SEND_BACK)
    assert case["state"] == "CASE_STATE_HANDLING"
    assert [(task["state"], task["reworkCount"]) for task in case["tasks"]] == [
        ("TASK_STATE_REWORK", 1), ("TASK_STATE_RESULT_SUBMITTED", 0), ("TASK_STATE_RESULT_SUBMITTED", 0),
    ]  # fmt: skip
    told(centre.officer(lead), "cases.rework", case)
    case = centre.answer(case, "协议已写明四月底前支付")
    case = centre.act(case, "review", APPROVE)
    assert {task["state"] for task in case["tasks"]} == {"TASK_STATE_ACCEPTED"}
    case = centre.conclude(case)
    assert (case["state"], case["countsResolved"]) == ("CASE_STATE_FOLLOW_UP", True)

    for party in case["parties"]:
        case = centre.ask(case, party)
    assert case["state"] == "CASE_STATE_CLOSED"
    for person in (centre.dispatcher, *centre.officers.values()):
        seen = Counter(one["template"] for one in person.messages(subject=f"cases/{case['caseId']}"))
        again = {"cases.result_submitted": 2}  # the result came twice
        assert seen == {template: again.get(template, 1) for template in seen}, person.account

    entries = centre.timeline(case)
    assert [entry["what"] for entry in entries] == [
        "register", "classify", "accept", "dispatch", "dispatch", "dispatch", "sign in", "sign in", "sign in",
        "submit", "submit", "submit", "submit result", "send back", "submit", "submit result", "approve", "conclude",
        "agreement performed", "asked", "asked", "close",
    ]  # fmt: skip
    assert entries[0]["sentence"] == {
        "zh": "杭锦后旗综治中心登记矛盾纠纷（窗口）",
        "en": entries[0]["sentence"]["en"],
    }
    assert entries[13]["note"] == "协议未写明支付期限"
    for entry in entries:
        assert is_chinese(entry["sentence"]["zh"])
        assert entry["sentence"]["en"]
        assert not set("{}") & set(entry["sentence"]["zh"] + entry["sentence"]["en"])
        assert "赵秀英" not in str(entry)


def test_an_unsolved_answer_reopens_the_case_under_a_shorter_limit(centre: Centre) -> None:
    case = centre.concluded()
    before = centre.timeline(case)
    assert not any(entry["what"] == "reopen" for entry in before)
    case = centre.ask(case, case["parties"][0], "SOLVED_NO")
    assert (case["state"], case["followUp"]["awaits"]) == ("CASE_STATE_FOLLOW_UP", "AWAITS_REOPENING")
    told(centre.dispatcher, "cases.to_reopen", case)
    case = centre.act(case, "reopen", {"ground": "unsolved"})
    assert (case["state"], case["reopenedCount"], case["outcome"]) == ("CASE_STATE_HANDLING", 1, "OUTCOME_UNSPECIFIED")
    assert (case["countsResolved"], "concludedAt" in case) == (False, False)
    assert "5 个工作日" in case["deadline"]["explanation"]["zh"]
    assert [task["state"] for task in case["tasks"]].count("TASK_STATE_REWORK") == 1
    told(centre.dispatcher, "cases.reopened", case)
    case = centre.act(centre.answer(case, "已督促支付"), "review", APPROVE)
    case = centre.act(case, "conclude", {"outcome": "OUTCOME_OWN_SETTLEMENT"})
    for party in case["parties"]:
        case = centre.ask(case, party)
    assert (case["state"], case["reopenedCount"]) == ("CASE_STATE_CLOSED", 1)


def test_a_party_follows_its_case_by_code_and_pin_and_sees_no_more_than_concerns_it(
    hetao: Hetao, centre: Centre
) -> None:
    taken = centre.take_in(parties=[{**APPLICANT, "name": "乌日娜"}, COMPANY])
    case = centre.act(taken["case"], "accept", {"classification": {"category": "10"}})
    centre.dispatch(case)
    applicant, company = taken["receipts"]

    def look(code: str, pin: str) -> dict[str, Any]:
        return hetao.anybody.post("/v1/caseProgress:lookup", {"code": code, "pin": pin})

    seen = look(applicant["code"], applicant["pin"])
    assert (seen["code"], seen["role"], seen["name"]) == (case["code"], "PARTY_ROLE_APPLICANT", "乌*")
    assert (seen["state"], seen["centreName"]) == ("CASE_STATE_HANDLING", "杭锦后旗综治中心")
    assert is_chinese(seen["stage"]["zh"])
    assert "Being worked on" in seen["stage"]["en"]
    assert len(seen["departments"]) == 3
    assert "河套酒业" not in str(seen)
    told = [step["sentence"]["zh"] for step in seen["steps"]]
    assert told[0] == "已在杭锦后旗综治中心登记"
    assert told[1].startswith("已受理")
    assert told[2].startswith("已分派")
    assert len(told) == 3
    other = look(company["code"].replace("-", ""), company["pin"])
    assert (other["role"], other["name"]) == ("PARTY_ROLE_RESPONDENT", "河套酒业有限公司")
    assert "乌" not in str({**other, "centreName": ""})


def test_a_pin_is_not_guessed(hetao: Hetao, centre: Centre) -> None:
    taken = centre.take_in()
    receipt = taken["receipts"][0]
    pins = {one["pin"] for one in taken["receipts"]}
    wrong = next(f"{n:06d}" for n in range(10) if f"{n:06d}" not in pins)
    nobodys = {"code": f"150826-260302-999999-{check_digit('150826260302999999')}", "pin": wrong}
    for _ in range(5):
        refused = hetao.anybody.refused("POST", "/v1/caseProgress:lookup", {"code": receipt["code"], "pin": wrong})
        unknown = hetao.anybody.refused("POST", "/v1/caseProgress:lookup", nobodys)
        assert (refused.status, refused.reason) == (403, "CODE_OR_PIN_WRONG")
        assert {**unknown.told, "traceId": ""} == {**refused.told, "traceId": ""}  # it does not tell which codes exist
    locked = hetao.anybody.refused("POST", "/v1/caseProgress:lookup", {"code": receipt["code"], "pin": receipt["pin"]})
    assert (locked.status, locked.reason) == (429, "LOOKUP_LOCKED")
    assert 13 * 60 < int(locked.headers["retry-after"]) <= 15 * 60
    # The PIN belongs in the body: in the address it is nothing that the platform knows.
    asked = f"/v1/caseProgress:lookup?code={receipt['code']}&pin={receipt['pin']}"
    assert hetao.anybody.refused("GET", asked).status in (404, 405)


def test_names_are_shown_to_who_needs_them_and_says_why(centre: Centre) -> None:
    case = centre.dispatch(centre.accepted())
    path = f"/v1/cases/{case['caseId']}/parties/{case['parties'][0]['partyId']}:reveal"
    officer = centre.officers[LABOUR]
    assert officer.get(f"/v1/cases/{case['caseId']}")["parties"][0]["name"] == "赵*"
    assert officer.refused("POST", path, {"reason": ""}).fields[:1] == ["reason"]
    plain = officer.post(path, {"reason": "电话通知调解时间"})
    assert (plain["name"], plain["phone"]) == ("赵秀英", "13904781234")
    assert any(entry["what"] == "reveal" and entry["actor"] == officer.account for entry in centre.timeline(case))


def test_an_emergency_is_transferred_at_once_and_a_matter_for_the_court_not_accepted(centre: Centre) -> None:
    urgent = centre.take_in(kind="KIND_SECURITY_CLUE", title="街边斗殴", parties=[])["case"]
    urgent = centre.act(urgent, "transfer", {"number": "110", "note": "已口头报警"})
    assert (urgent["state"], urgent["transferredTo"]) == ("CASE_STATE_TRANSFERRED", "110")
    elsewhere = centre.take_in()["case"]
    said = {"ground": "in_litigation", "channel": "杭锦后旗人民法院诉讼服务中心"}
    elsewhere = centre.act(elsewhere, "refuse", said)
    assert (elsewhere["state"], elsewhere["refusal"]["channel"]) == ("CASE_STATE_NOT_ACCEPTED", said["channel"])


def test_a_department_answers_and_never_ends_a_case(centre: Centre) -> None:
    case = centre.answer(centre.dispatch(centre.accepted()))
    for officer in centre.officers.values():
        for verb, body in (("conclude", {"outcome": "OUTCOME_WRITTEN_AGREEMENT"}), ("review", APPROVE)):
            refused = officer.refused("POST", f"/v1/cases/{case['caseId']}:{verb}", body)
            assert (refused.status, refused.reason) == (403, "PERMISSION_MISSING")
    handler = centre.follow_up.refused("POST", f"/v1/cases/{case['caseId']}:conclude", {"outcome": "OUTCOME_UNFOUNDED"})
    assert handler.status == 403
