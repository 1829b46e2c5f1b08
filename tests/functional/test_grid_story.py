"""A grid worker of 泰欧社区 at her work: solved on the spot, or handed over to the governance centre."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functional.harness import Hetao, Person, department, eventually, new_key, photo
from tests.functional.modes import on

pytestmark = on("hetao", "story", "all", "split")

TAIOU = "150802013006"


@pytest.fixture
def worker(hetao: Hetao) -> Person:
    return hetao.person("grid-worker")


@pytest.fixture
def dispatcher(hetao: Hetao) -> Person:
    return hetao.person("dispatcher")


def act(person: Person, report: dict[str, Any], verb: str, **body: Any) -> dict[str, Any]:
    return person.post(f"/v1/reports/{report['reportId']}:{verb}", body)


def sentences(person: Person, report: dict[str, Any]) -> list[dict[str, str]]:
    return [entry["sentence"] for entry in person.get(f"/v1/reports/{report['reportId']}:timeline")["entries"]]


def rubbish(worker: Person, title: str, **more: Any) -> dict[str, Any]:
    body = {"kind": "REPORT_KIND_SANITATION", "title": title, "place": title, **more}
    return worker.post("/v1/reports", body)


def quarrel(worker: Person, place: str) -> dict[str, Any]:
    body = {
        "kind": "REPORT_KIND_DISPUTE",
        "title": "邻里争吵",
        "description": "楼上漏水，两户争执",
        "place": place,
        "photos": [{"mediaId": worker.upload(photo("darkred")), "phase": "PHOTO_PHASE_BEFORE"}],
    }
    report = worker.post("/v1/reports", body)
    return act(worker, report, "verify")


def hand_over(worker: Person, report: dict[str, Any], key: str = "") -> dict[str, Any]:
    body = {
        "target": "HANDOVER_TARGET_CENTRE",
        "reason": "HANDOVER_REASON_SEVERAL_DEPARTMENTS",
        "note": "需住建和司法共同处理",
        "category": "02",
    }
    return worker.post(f"/v1/reports/{report['reportId']}:handOver", body, idempotency_key=key or new_key())


def cases_of(dispatcher: Person, report: dict[str, Any]) -> list[dict[str, Any]]:
    rows = dispatcher.everything("/v1/cases", "cases", centre=department("150802013-centre"), pageSize=100)
    return [case for case in rows if case["reportId"] == report["reportId"]]


def test_stacked_rubbish_is_solved_on_the_spot_with_its_evidence(worker: Person) -> None:
    before, after = worker.upload(photo("brown")), worker.upload(photo("green"))
    report = rubbish(worker, "三号楼二单元楼道堆放垃圾", photos=[{"mediaId": before, "phase": "PHOTO_PHASE_BEFORE"}])
    assert (report["state"], report["community"], report["outsideOwnGrid"]) == ("REPORT_STATE_SUBMITTED", TAIOU, False)
    report = act(worker, report, "verify")
    early = worker.refused("POST", f"/v1/reports/{report['reportId']}:solve", {"result": "已清理"})
    assert (early.status, early.reason, early.fields) == (400, "PHOTO_MISSING", ["photos"])
    evidence = [{"mediaId": after, "phase": "PHOTO_PHASE_AFTER"}]
    report = act(worker, report, "solve", result="已联系住户清理完毕", photos=evidence)
    assert (report["state"], report["outcome"]) == ("REPORT_STATE_CLOSED", "REPORT_OUTCOME_SOLVED")
    read = worker.get(f"/v1/reports/{report['reportId']}")
    assert [(one["mediaId"], one["phase"]) for one in read["photos"]] == [
        (before, "PHOTO_PHASE_BEFORE"),
        (after, "PHOTO_PHASE_AFTER"),
    ]
    shown = worker.send("GET", f"/v1/media/{after}")
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")
    told = sentences(worker, report)
    assert any("就地解决" in one["zh"] for one in told)
    assert any("Solved on the spot by full-time worker" in one["en"] for one in told)


def test_the_same_problem_twice_on_a_day_is_one(worker: Person) -> None:
    first = rubbish(worker, "五号楼东侧堆放建筑垃圾")
    second = rubbish(worker, "五号楼东侧堆放建筑垃圾")
    assert (second["state"], second["mergedInto"]) == ("REPORT_STATE_MERGED", first["reportId"])


def test_a_repeat_of_a_report_gives_the_first_answer(worker: Person) -> None:
    body = {"kind": "REPORT_KIND_FACILITY", "title": "路灯不亮", "place": "北门", "requestId": new_key()}
    assert worker.post("/v1/reports", body) == worker.post("/v1/reports", body)


def test_a_report_from_outside_her_own_grid_is_taken_routed_and_flagged(worker: Person) -> None:
    report = rubbish(worker, "邻近社区路边堆放垃圾", community="150802002005")
    assert (report["outsideOwnGrid"], report["community"]) == (True, "150802002005")


def test_a_quarrel_becomes_a_case_of_the_street_exactly_once_and_its_outcome_comes_back(
    hetao: Hetao, worker: Person, dispatcher: Person
) -> None:
    report = quarrel(worker, "六号楼三单元")
    key = new_key()
    handed = hand_over(worker, report, key)
    assert (handed["state"], handed["handover"]["state"]) == ("REPORT_STATE_HANDED_OVER", "HANDOVER_STATE_OFFERED")
    assert handed["handover"]["departmentId"] == department("150802013-centre")
    assert hand_over(worker, report, key) == handed
    again = worker.refused(
        "POST",
        f"/v1/reports/{report['reportId']}:handOver",
        {"target": "HANDOVER_TARGET_CENTRE", "reason": "HANDOVER_REASON_SEVERAL_DEPARTMENTS"},
    )
    assert (again.status, again.reason) == (400, "MOVE_NOT_ALLOWED")

    (case,) = eventually(lambda: cases_of(dispatcher, report), "the case of the report")
    case = dispatcher.get(f"/v1/cases/{case['caseId']}")
    assert (case["state"], case["kind"], case["source"]) == ("CASE_STATE_REGISTERED", "KIND_DISPUTE", "SOURCE_GRID")
    assert case["centreName"] == "临河区金川街道综治中心"
    assert (case["title"], case["place"], case["classification"]["category"]) == ("邻里争吵", "六号楼三单元", "02")
    assert "楼上漏水" in case["description"]
    assert case["mediaIds"] == [one["mediaId"] for one in report["photos"]]
    told = dispatcher.get(f"/v1/cases/{case['caseId']}:timeline")["entries"]
    assert [entry["what"] for entry in told[:3]] == ["grid", "grid", "grid"]
    assert "上报矛盾纠纷" in told[0]["sentence"]["zh"]
    assert any(entry["what"] == "hand over" for entry in told)

    dispatcher.post(f"/v1/cases/{case['caseId']}:accept")

    def answered() -> dict[str, Any] | None:
        found = worker.get(f"/v1/reports/{report['reportId']}")
        return found if found["handover"]["state"] == "HANDOVER_STATE_ACCEPTED" else None

    known = eventually(answered, "the outcome to come back to the worker")
    assert known["handover"]["caseCode"] == case["code"]
    assert any(case["code"] in one["zh"] for one in sentences(worker, report))
    assert len(cases_of(dispatcher, report)) == 1

    seen = worker.get(f"/v1/cases/{case['caseId']}")  # she follows where it stands, and reads nothing of it
    assert (seen["stageOnly"], seen["title"], seen["parties"]) == (True, "", [])


def test_a_hand_over_that_the_centre_does_not_accept_goes_back_with_its_ground(
    worker: Person, dispatcher: Person
) -> None:
    report = quarrel(worker, "八号楼一单元")
    hand_over(worker, report)
    (case,) = eventually(lambda: cases_of(dispatcher, report), "the case of the report")
    refusal = {"ground": "in_litigation", "channel": "临河区人民法院诉讼服务中心"}
    refused = dispatcher.post(f"/v1/cases/{case['caseId']}:refuse", refusal)
    assert (refused["state"], refused["refusal"]["channel"]) == ("CASE_STATE_NOT_ACCEPTED", refusal["channel"])

    def back() -> dict[str, Any] | None:
        found = worker.get(f"/v1/reports/{report['reportId']}")
        return found if found["handover"]["state"] == "HANDOVER_STATE_REFUSED" else None

    report = eventually(back, "the report to come back")
    answer = report["handover"]
    assert (report["state"], answer["answerGround"]) == ("REPORT_STATE_HANDLING", "in_litigation")
    assert answer["answerGroundText"]["en"] == "in court, arbitration or administrative review"
    assert (answer["answerReason"], answer["answerChannel"]) == (answer["answerGroundText"]["zh"], refusal["channel"])
    told = sentences(worker, report)[-1]
    assert answer["answerReason"] in told["zh"]
    assert refusal["channel"] in told["zh"]


def test_her_own_grid_is_meant_where_she_names_its_community_or_nothing(worker: Person) -> None:
    for said in ({}, {"community": TAIOU}):
        report = rubbish(worker, f"九号楼前{len(said)}号车位堆放杂物", **said)
        assert (report["gridCode"], report["outsideOwnGrid"]) == ("150802013006001", False)
