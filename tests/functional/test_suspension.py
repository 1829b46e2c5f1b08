"""A case is suspended and resumes by itself; a limit runs out while the platform is dead, and the order that follows is answered and released."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.functional.harness import Hetao, eventually, photo
from tests.functional.modes import on
from tests.functional.story import LABOUR, Centre
from tests.functional.test_clocks import inbox, wait_for


def ask(centre: Centre, case: dict[str, Any], days: int, by: str = LABOUR) -> dict[str, Any]:
    officer = centre.officers[by]
    body = {
        "ground": "appraisal",
        "days": days,
        "note": "委托伤残等级鉴定",
        "mediaIds": [officer.upload(photo("white"))],
    }
    return officer.post(f"/v1/cases/{case['caseId']}/suspensions", body)


def decide(centre: Centre, asked: dict[str, Any], by: Any) -> dict[str, Any]:
    path = f"/v1/cases/{asked['caseId']}/suspensions/{asked['suspensionId']}:decide"
    return by.post(path, {"approve": True, "note": "情况属实"})  # type: ignore[no-any-return]


@on("own_hetao", "suspension", "all")
@pytest.mark.timeout(300)
def test_a_suspended_case_resumes_by_itself_once_also_after_a_death(own_hetao: Hetao) -> None:
    hetao = own_hetao
    centre = Centre.of(hetao)
    taken = centre.take_in()
    case = centre.act(taken["case"], "accept", {"classification": {"category": "10"}})
    case = centre.dispatch(case)
    assert case["deadline"]["dueAt"][:10] == "2026-03-11"
    assert case["deadline"]["colour"] == "COLOUR_GREEN"

    asked = ask(centre, case, 3)
    wait_for(hetao, "dispatcher-2", case, suspension_asked=1)
    running = decide(centre, asked, centre.dispatcher)
    assert running["state"] == "SUSPENSION_STATE_RUNNING"
    case = centre.read(case)
    assert (case["state"], case["deadline"]["dueAt"][:10]) == ("CASE_STATE_SUSPENDED", "2026-03-13")
    assert case["deadline"]["paused"]["ground"]["zh"] == "等待鉴定、检测或评估结论"
    assert "加上挂起 2 个工作日" in case["deadline"]["explanation"]["zh"]
    receipt = taken["receipts"][0]
    look = {"code": receipt["code"], "pin": receipt["pin"]}
    seen = hetao.anybody.post("/v1/caseProgress:lookup", look)
    assert seen["steps"][-1]["sentence"]["zh"].startswith("暂停办理至 2026-03-04")

    hetao.kill()
    hetao.at("2026-03-06 10:00")  # it was to go on two days ago; the limits of before it have passed
    hetao.start()
    centre = Centre.of(hetao)
    case = eventually(
        lambda: found if (found := centre.read(case))["state"] == "CASE_STATE_HANDLING" else None, "the resumption"
    )
    assert case["deadline"]["dueAt"][:10] == "2026-03-13"
    assert "paused" not in case["deadline"]
    wait_for(hetao, "department-officer-2", case, resumed=1, task_reminder=0)
    assert Counter(entry["what"] for entry in centre.timeline(case))["resume"] == 1
    again = ask(centre, case, 20)
    refusal = centre.dispatcher.refused(
        "POST", f"/v1/cases/{case['caseId']}/suspensions/{again['suspensionId']}:decide", {"approve": True}
    )
    assert (refusal.status, refusal.reason) == (403, "SUSPENSION_BY_DIRECTOR")
    decide(centre, again, centre.director)
    centre.act(case, "resume", {"note": "鉴定意见已到"})
    assert centre.read(case)["deadline"]["dueAt"][:10] == "2026-03-13"
    seen = hetao.anybody.post("/v1/caseProgress:lookup", look)
    assert [step["sentence"]["zh"][:4] for step in seen["steps"]][-4:] == [
        "暂停办理",
        "恢复办理",
        "暂停办理",
        "恢复办理",
    ]


@pytest.mark.xdist_group("suspension")
@pytest.mark.timeout(300)
def test_a_limit_that_ran_out_while_the_platform_was_dead_brings_one_order(own_hetao: Hetao) -> None:
    hetao = own_hetao
    case = Centre.of(hetao).accepted()  # nobody gives it to a department: the centre itself is late
    hetao.kill()
    hetao.at("2026-04-10 10:00")  # twenty working days, and a working day of grace
    hetao.start()
    wait_for(hetao, "dispatcher-2", case, case_reminder=1)
    wait_for(hetao, "centre-director-2", case, case_overdue=1, supervision=1)
    hetao.kill()
    hetao.start()
    centre, leader = Centre.of(hetao), hetao.person("county-leader-2")
    (order,) = leader.get("/v1/supervisions", caseId=case["caseId"])["supervisions"]
    assert (order["number"], order["level"], order["automatic"]) == ("督〔2026〕1号", 1, True)
    path = f"/v1/supervisions/{order['supervisionId']}"
    assert centre.clerk.refused("POST", f"{path}:reply", {"reply": "已派单"}).status == 403
    replied = centre.director.post(f"{path}:reply", {"reply": "漏派，现已派单"})
    assert replied["state"] == "SUPERVISION_STATE_REPLIED"
    back = leader.post(f"{path}:sendBack", {"reason": "请说明责任人和办结时间"})
    assert back["deadline"]["dueAt"][:10] == "2026-04-15"
    centre.director.post(f"{path}:reply", {"reply": "责任人调度员，四月二十日前办结"})
    assert leader.post(f"{path}:release")["state"] == "SUPERVISION_STATE_RELEASED"
    by_hand = leader.post("/v1/supervisions", {"caseId": case["caseId"], "level": 3, "demand": "每日报告进展"})
    assert (by_hand["number"], by_hand["departmentId"]) == ("督〔2026〕2号", order["centre"])
    wait_for(hetao, "centre-director-2", case, supervision=2)
    assert inbox(hetao, "dispatcher-2", case)["cases.case_reminder"] == 1
    assert [step["what"] for step in centre.timeline(case) if step["what"].startswith("superv")] == [
        "supervise",
        "supervision replied",
        "supervision sent back",
        "supervision replied",
        "supervision released",
        "supervise",
    ]
