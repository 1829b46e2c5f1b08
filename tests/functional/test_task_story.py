"""Departments that object: one returns its task, one needs more time, one stays silent, and the lead changes; as the persons do it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functional.harness import Hetao, Person, department, is_chinese
from tests.functional.modes import on
from tests.functional.story import JUSTICE, LABOUR, UNION, WORK_INJURY, Centre, told

pytestmark = on("hetao", "story", "all", "split")

WOMEN = department("150826-women")


@pytest.fixture
def centre(hetao: Hetao) -> Centre:
    return Centre.of(hetao)


def path(task: dict[str, Any], verb: str) -> str:
    return f"/v1/cases/{task['caseId']}/tasks/{task['taskId']}:{verb}"


def decide(person: Person, task: dict[str, Any], verb: str, **body: Any) -> dict[str, Any]:
    """The case after a decision of the centre on a task."""
    return person.post(path(task, verb), body)


def of(case: dict[str, Any], department_id: str) -> dict[str, Any]:
    return next(task for task in case["tasks"] if task["departmentId"] == department_id)


def test_departments_object_and_the_centre_decides(hetao: Hetao, centre: Centre) -> None:
    taken = centre.take_in()
    case = centre.act(taken["case"], "accept", {"classification": WORK_INJURY})
    assignments: list[dict[str, Any]] = [{"departmentId": LABOUR, "lead": True, "limitDays": 5}]
    assignments += [{"departmentId": one, "limitDays": 3} for one in (JUSTICE, UNION, WOMEN)]
    case = centre.act(case, "dispatch", {"assignments": assignments})

    # The union returns its task before it signs in: overruled, it refuses again, and the director's word binds.
    union = of(case, UNION)
    said = {"ground": "not_competent", "note": "属人社部门职责"}
    returned = centre.on_task(union, "return", said)
    assert returned["state"] == "TASK_STATE_RETURN_PENDING"
    assert returned["deadline"]["dueAt"] == union["deadline"]["dueAt"]
    told(centre.dispatcher, "cases.returned", case)
    decide(centre.dispatcher, union, "decideReturn", decision="RETURN_DECISION_OVERRULED", reason="工会有法律援助职责")
    told(centre.officer(union), "cases.return_overruled", case)
    assert centre.on_task(union, "return", said)["returns"][-1]["toDirector"]
    told(centre.director, "cases.returned_again", case)
    refused = centre.dispatcher.refused("POST", path(union, "decideReturn"), {"decision": "RETURN_DECISION_UPHELD"})
    assert (refused.status, refused.reason) == (400, "RETURN_FOR_DIRECTOR")
    case = decide(centre.director, union, "designate", departmentId=UNION, reason="指定承办")
    assert of(case, UNION)["designated"]
    told(centre.officer(union), "cases.designated", case)
    refused = centre.officer(union).refused("POST", path(union, "return"), said)
    assert (refused.status, refused.reason) == (400, "TASK_DESIGNATED")
    centre.on_task(union, "signIn")

    # Justice needs more time: the centre grants it, the party reads it.
    justice = of(case, JUSTICE)
    centre.on_task(justice, "signIn")
    centre.on_task(justice, "requestExtension", {"days": 3, "reason": "等待伤残鉴定结论"})
    told(centre.dispatcher, "cases.extension_asked", case)
    own = centre.officer(justice).refused(
        "POST", path(justice, "decideExtension"), {"decision": "EXTENSION_DECISION_GRANTED"}
    )
    assert (own.status, own.reason) == (403, "PERMISSION_MISSING")
    case = decide(hetao.person("approver-2"), justice, "decideExtension", decision="EXTENSION_DECISION_GRANTED")
    longer = of(case, JUSTICE)
    assert (longer["extendedDays"], longer["deadline"]["dueAt"] > justice["deadline"]["dueAt"]) == (3, True)
    assert "批准延长 3 个工作日" in longer["deadline"]["explanation"]["zh"]
    told(centre.officer(justice), "cases.extension_granted", case)
    receipt = taken["receipts"][0]
    seen = hetao.anybody.post("/v1/caseProgress:lookup", {"code": receipt["code"], "pin": receipt["pin"]})
    assert seen["steps"][-1]["sentence"]["zh"].startswith("经批准延长办理，杭锦后旗司法局")

    # The women's federation stays silent, and the lead does not lead.
    case = decide(centre.dispatcher, of(case, WOMEN), "waive", reason="两次催办未答复")
    assert (of(case, WOMEN)["state"], of(case, WOMEN)["endedNote"]) == ("TASK_STATE_WAIVED", "两次催办未答复")
    case = centre.act(case, "replaceLead", {"departmentId": JUSTICE, "reason": "争议焦点在法律适用"})
    assert [task["departmentId"] for task in case["tasks"] if task["lead"]] == [JUSTICE]
    told(centre.officer(justice), "cases.lead_taken", case)
    twice = centre.dispatcher.refused(
        "POST", f"/v1/cases/{case['caseId']}:replaceLead", {"departmentId": UNION, "reason": "再换"}
    )
    assert (twice.status, twice.reason) == (400, "LEAD_REPLACED_ALREADY")

    working = {**case, "tasks": [task for task in case["tasks"] if task["departmentId"] != WOMEN]}
    case = centre.answer(working)
    assert case["state"] == "CASE_STATE_RESULT_SUBMITTED"
    case = centre.act(case, "review", {"decision": "REVIEW_DECISION_APPROVE"})
    case = centre.conclude(case)
    assert case["state"] == "CASE_STATE_FOLLOW_UP"

    entries = centre.timeline(case)
    what = [entry["what"] for entry in entries]
    for step in (
        "return",
        "overrule return",
        "return again",
        "designate",
        "ask extension",
        "extend",
        "waive",
        "replace lead",
    ):
        assert what.count(step) == 1, step
    for entry in entries:
        assert is_chinese(entry["sentence"]["zh"])
        assert entry["sentence"]["en"]
        assert not set("{}") & set(entry["sentence"]["zh"] + entry["sentence"]["en"])


def test_who_was_rid_of_a_task_sees_nothing_more_of_the_matter(centre: Centre) -> None:
    case = centre.dispatch(centre.accepted())
    union = of(case, UNION)
    centre.on_task(union, "return", {"ground": "not_our_area", "note": "用人单位在邻旗"})
    upheld = {"decision": "RETURN_DECISION_UPHELD", "departmentId": WOMEN, "limitDays": 2}
    case = decide(centre.dispatcher, union, "decideReturn", **upheld)
    assert (of(case, UNION)["state"], of(case, WOMEN)["follows"]) == ("TASK_STATE_REASSIGNED", union["taskId"])
    officer = centre.officer(union)
    told(officer, "cases.return_upheld", case)
    assert officer.refused("GET", f"/v1/cases/{case['caseId']}").status == 404
    assert union["taskId"] not in [one["taskId"] for one in officer.everything("/v1/caseTasks", "tasks")]
    over = officer.everything("/v1/caseTasks", "tasks", state="TASK_STATE_REASSIGNED")
    assert union["taskId"] in [one["taskId"] for one in over]
