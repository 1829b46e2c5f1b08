"""Whatever is wrong is a 4xx that says what and where, in Chinese and English; never a 500, and nothing is half-written."""

from __future__ import annotations

import json
import select
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from kit.clock import VirtualClock
from kit.config import DATA, load
from kit.issuer import DemoIssuer
from tests.functional.harness import Hetao, Person, Refusal, new_key, photo
from tests.functional.story import APPLICANT, Centre, walk_in

pytestmark = pytest.mark.xdist_group("story")


@pytest.fixture
def centre(hetao: Hetao) -> Centre:
    return Centre.of(hetao)


@pytest.fixture
def clerk(centre: Centre) -> Person:
    return centre.clerk


@pytest.fixture
def nothing_written(centre: Centre) -> Iterator[None]:
    """The centre has the same cases after the test, unchanged."""
    before = centre.dispatcher.everything("/v1/cases", "cases", pageSize=200)
    yield
    assert centre.dispatcher.everything("/v1/cases", "cases", pageSize=200) == before


WRONG: list[tuple[str, dict[str, Any], str, str, str]] = [
    # what is wrong, the change to a right request, the field that is named, what it is called, the reason
    ("an unknown field", {"titel": "工伤"}, "titel", "", "FIELD_UNKNOWN"),
    ("an unknown field inside", {"parties": [{**APPLICANT, "wage": 1}]}, "parties[0].wage", "", "FIELD_UNKNOWN"),
    ("a wrong enum", {"kind": "KIND_QUARREL"}, "kind", "事项性质", "VALUE_ENUM"),
    ("an enum by number", {"kind": 1}, "kind", "事项性质", "VALUE_ENUM"),
    ("no kind", {"kind": "KIND_UNSPECIFIED"}, "kind", "事项性质", "KIND_MISSING"),
    ("half a division code", {"division": "1508"}, "division", "所在区划", "STRING_PATTERN"),
    ("a division that is none", {"division": "150826999"}, "division", "所在区划", "DIVISION_UNKNOWN"),
    ("too long a title", {"title": "长" * 201}, "title", "标题", "STRING_MAX_LEN"),
    ("a blank title", {"title": "   "}, "title", "标题", "STRING_PATTERN"),
    ("too long a text", {"description": "长" * 4001}, "description", "事由", "STRING_MAX_LEN"),
    ("a time in the future", {"occurredAt": "2031-01-01T00:00:00+08:00"}, "occurredAt", "发生时间", "TIME_IN_FUTURE"),
    ("no time at all", {"occurredAt": "yesterday"}, "occurredAt", "发生时间", "VALUE_TIME"),
    ("a number for a text", {"title": 5}, "title", "标题", "VALUE_TYPE"),
    ("a text for a list", {"mediaIds": "abc"}, "mediaIds", "附件", "VALUE_TYPE"),
    ("null for a list", {"parties": None}, "parties", "当事人", "VALUE_TYPE"),
    ("too many parties", {"parties": [APPLICANT] * 21}, "parties", "当事人", "REPEATED_MAX_ITEMS"),
    ("a wrong check digit", {"parties": [{**APPLICANT, "idNumber": "150826198001010014"}]}, "parties[0].idNumber", "证件号码", "ID_NUMBER_INVALID"),
    ("a wrong telephone", {"parties": [{**APPLICANT, "phone": "123-456"}]}, "parties[0].phone", "联系电话", "PHONE_INVALID"),
    ("an unknown category", {"classification": {"category": "77"}}, "classification.category", "纠纷类别", "CODE_UNKNOWN"),
]  # fmt: skip


@pytest.mark.usefixtures("nothing_written")
@pytest.mark.parametrize(
    ("change", "field", "label", "reason"), [one[1:] for one in WRONG], ids=[one[0] for one in WRONG]
)
def test_a_wrong_field_is_named(clerk: Person, change: dict[str, Any], field: str, label: str, reason: str) -> None:
    body = json.dumps(walk_in(**change)).encode()
    refused = clerk.refused("POST", "/v1/cases", content=body, headers={"Content-Type": "application/json"})
    assert (refused.status, refused.fields, refused.labels) == (400, [field], [label])
    assert reason in (refused.reason, *refused.reasons)


def test_everything_that_is_wrong_is_said_at_once(clerk: Person) -> None:
    refused = clerk.refused(
        "POST", "/v1/cases", {"kind": "KIND_DISPUTE", "division": "x", "title": "", "source": "SOURCE_WALK_IN"}
    )
    assert sorted(refused.fields) == ["division", "title"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"title": "a"', "BODY_NOT_JSON"),
        (b"title=a", "BODY_NOT_JSON"),
        (b'{"title": NaN}', "BODY_NOT_JSON"),
        (b'{"title": "\xff\xfe"}', "BODY_NOT_UTF8"),
        ('{"title": "纠纷"}'.encode("gb18030"), "BODY_NOT_UTF8"),
        (b"[" * 100_000, "BODY_NOT_JSON"),
        (b'{"title": "\\ud83d"}', "BODY_NOT_JSON"),  # half a character
        (b"[]", "REQUEST_INVALID"),
        (b'"text"', "REQUEST_INVALID"),
        (b"", "REQUEST_INVALID"),
    ],
)
@pytest.mark.usefixtures("nothing_written")
def test_what_is_no_request_is_told(clerk: Person, body: bytes, reason: str) -> None:
    refused = clerk.refused("POST", "/v1/cases", content=body, headers={"Content-Type": "application/json"})
    assert (refused.status, refused.reason) == (400, reason)


def test_json_under_another_name_is_refused(clerk: Person) -> None:
    refused = clerk.refused("POST", "/v1/cases", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (refused.status, refused.reason) == (415, "MEDIA_TYPE_UNSUPPORTED")


def test_queries_are_checked_as_bodies_are(clerk: Person) -> None:
    for query, field in (
        ({"sort": "title"}, "sort"),
        ({"state": "CASE_STATE_LOST"}, "state"),
        ({"pageSize": "1e3"}, "pageSize"),
        ({"pageSize": "201"}, "pageSize"),
        ({"division": "15"}, "division"),
    ):
        refused = clerk.refused("GET", "/v1/cases", query=query)
        assert (refused.status, refused.fields) == (400, [field])
    assert clerk.refused("GET", "/v1/cases/not-an-id").fields == ["caseId"]
    assert clerk.refused("GET", "/v1/nothing").reason == "PATH_UNKNOWN"
    assert clerk.refused("DELETE", "/v1/cases").status == 405


def test_a_page_token_serves_its_own_query_alone(centre: Centre) -> None:
    for _ in range(2):
        centre.take_in()
    page = centre.dispatcher.get("/v1/cases", kind="KIND_DISPUTE", pageSize=1)
    assert len(page["cases"]) == 1
    for query in (
        {"pageToken": page["nextPageToken"]},
        {"kind": "KIND_DISPUTE", "state": "CASE_STATE_CLOSED", "pageToken": page["nextPageToken"]},
        {"kind": "KIND_DISPUTE", "pageToken": page["nextPageToken"][:-2] + "AA"},
        {"kind": "KIND_DISPUTE", "pageToken": "made-up"},
    ):
        refused = centre.dispatcher.refused("GET", "/v1/cases", query=query)
        assert (refused.status, refused.reason, refused.fields) == (400, "PAGE_TOKEN_INVALID", ["pageToken"])


def test_a_stale_version_changes_nothing(centre: Centre) -> None:
    case = centre.take_in()["case"]
    path = f"/v1/cases/{case['caseId']}:classify"
    centre.dispatcher.post(path, {"classification": {"category": "10"}}, if_match=f'"{case["etag"]}"')
    body = {"classification": {"category": "02"}}
    by_header = centre.dispatcher.refused("POST", path, body, headers={"If-Match": f'"{case["etag"]}"'})
    assert (by_header.status, by_header.reason) == (412, "ETAG_STALE")
    in_body = centre.dispatcher.refused("POST", path, {**body, "etag": case["etag"]})
    assert (in_body.status, in_body.reason, in_body.fields) == (409, "ETAG_STALE", ["etag"])
    assert centre.read(case)["classification"]["category"] == "10"


def test_a_key_is_for_one_request(centre: Centre) -> None:
    key = new_key()
    first = centre.clerk.post("/v1/cases", walk_in(), idempotency_key=key)
    other = centre.clerk.refused("POST", "/v1/cases", walk_in(title="另一件事"), headers={"Idempotency-Key": key})
    assert (other.status, other.reason, other.fields) == (400, "REQUEST_ID_REUSED", ["requestId"])
    two = centre.clerk.refused("POST", "/v1/cases", walk_in(requestId="one"), headers={"Idempotency-Key": "another"})
    assert (two.status, two.fields) == (400, ["Idempotency-Key"])
    assert centre.clerk.post("/v1/cases", walk_in(requestId=key)) == first


def test_a_case_is_not_concluded_while_departments_work(centre: Centre) -> None:
    case = centre.dispatch(centre.accepted())
    refused = centre.dispatcher.refused(
        "POST", f"/v1/cases/{case['caseId']}:conclude", {"outcome": "OUTCOME_WRITTEN_AGREEMENT"}
    )
    assert (refused.status, refused.reason) == (400, "TASKS_OPEN")
    assert "3" in refused.told["detail"]
    assert centre.read(case)["etag"] == case["etag"]


def test_a_dispute_has_two_sides(centre: Centre) -> None:
    case = centre.accepted(parties=[APPLICANT])
    refused = centre.dispatcher.refused(
        "POST", f"/v1/cases/{case['caseId']}:conclude", {"outcome": "OUTCOME_ORAL_AGREEMENT"}
    )
    assert (refused.status, refused.reason) == (400, "PARTIES_MISSING")
    assert centre.read(case)["state"] == "CASE_STATE_ACCEPTED"


def test_a_task_that_somebody_has_done_is_not_done_again(centre: Centre) -> None:
    case = centre.dispatch(centre.accepted())
    task = case["tasks"][1]
    officer, path = centre.officer(task), f"/v1/cases/{case['caseId']}/tasks/{task['taskId']}"
    signed = centre.on_task(task, "signIn")
    again = officer.refused("POST", f"{path}:signIn", {})
    assert (again.status, again.reason) == (400, "MOVE_NOT_ALLOWED")
    late = officer.refused("POST", f"{path}:signIn", {}, headers={"If-Match": f'"{task["etag"]}"'})
    assert (late.status, late.reason) == (412, "ETAG_STALE")
    stranger = centre.officers[case["tasks"][0]["departmentId"]].refused("POST", f"{path}:signIn", {})
    assert (stranger.status, stranger.reason) == (404, "NOT_FOUND")
    assert centre.read(case)["tasks"][1]["etag"] == signed["etag"]


def test_a_case_of_another_county_is_not_there(hetao: Hetao, centre: Centre) -> None:
    case = centre.accepted()
    stranger = hetao.person("dispatcher")

    def ask(case_id: str) -> tuple[Refusal, float]:
        began = time.perf_counter()
        refused = stranger.refused("GET", f"/v1/cases/{case_id}")
        return refused, time.perf_counter() - began

    foreign, unknown = [], []
    for _ in range(40):
        seen, seconds = ask(case["caseId"])
        missing, also_seconds = ask(str(uuid4()))
        assert (seen.status, seen.reason) == (404, "NOT_FOUND")
        assert {**seen.told, "traceId": ""} == {**missing.told, "traceId": ""}
        foreign.append(seconds)
        unknown.append(also_seconds)
    # The same latency class: nobody tells the two apart by waiting.
    assert statistics.median(foreign) == pytest.approx(statistics.median(unknown), rel=0.5, abs=0.003)
    for verb, body in (("accept", {}), ("conclude", {"outcome": "OUTCOME_UNFOUNDED"})):
        refused = stranger.refused("POST", f"/v1/cases/{case['caseId']}:{verb}", body)
        assert (refused.status, refused.reason) == (404, "NOT_FOUND")
    away = stranger.refused("POST", "/v1/cases", walk_in())
    assert (away.status, away.reason, away.fields) == (403, "DIVISION_FOREIGN", ["division"])


def test_who_one_is_must_be_proved(hetao: Hetao, tmp_path: Path) -> None:
    accounts = DATA / "demo" / "accounts.toml"

    def forged(settings: Any, account: str = "dispatcher-2", *, hours: int = 0, own_key: bool = False) -> Person:
        clock = VirtualClock(hetao.now)
        clock._now = hetao.now if not hours else hetao.now.replace(microsecond=0) - _hours(hours)
        open_ = DemoIssuer.open if own_key else DemoIssuer.running
        person = hetao.anybody
        person.token = open_(settings, clock, accounts).mint(account)
        return person

    here = load(data_dir=hetao.folder / "data")
    elsewhere = load(data_dir=tmp_path, http={"public_url": hetao.address})
    told = [
        (hetao.anybody, "TOKEN_MISSING"),
        (forged(here, hours=13), "TOKEN_EXPIRED"),
        (forged(elsewhere, own_key=True), "TOKEN_INVALID"),
        (
            forged(load(data_dir=tmp_path / "b", http={"public_url": "http://127.0.0.1:1"}), own_key=True),
            "TOKEN_INVALID",
        ),
    ]
    garbled = hetao.person("dispatcher-2")
    garbled.token = garbled.token[:-4] + "AAAA"
    not_one = hetao.anybody
    not_one.token = "admin"
    for person, reason in [*told, (garbled, "TOKEN_INVALID"), (not_one, "TOKEN_INVALID")]:
        refused = person.refused("GET", "/v1/cases")
        assert (refused.status, refused.reason) == (401, reason)
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert person.refused("POST", "/v1/media", content=b"x").status == 401
    assert hetao.person("auditor").refused("POST", "/v1/cases", walk_in()).reason == "PERMISSION_MISSING"


def _hours(hours: int) -> Any:
    from datetime import timedelta

    return timedelta(hours=hours)


def test_a_photo_is_one(hetao: Hetao) -> None:
    worker = hetao.person("grid-worker")

    def send(content: bytes, name: str = "a.jpg", kind: str = "image/jpeg") -> Refusal:
        return worker.refused("POST", "/v1/media", files={"file": (name, content, kind)})

    for content, reason in (
        (b"#!/bin/sh\necho no photo\n", "PHOTO_TYPE_UNKNOWN"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "PHOTO_TYPE_UNKNOWN"),
        (b"", "PHOTO_TYPE_UNKNOWN"),
        (photo("red")[:200], "PHOTO_UNREADABLE"),
    ):
        refused = send(content)
        assert (refused.status, refused.reason) == (400, reason)
    assert (
        worker.refused("POST", "/v1/media", files={"other": ("a.jpg", photo("red"), "image/jpeg")}).reason
        == "FILE_MISSING"
    )
    assert worker.refused("GET", f"/v1/media/{'0' * 64}").reason == "MEDIA_UNKNOWN"
    body = {
        "kind": "REPORT_KIND_OTHER",
        "title": "无照片",
        "photos": [{"mediaId": "0" * 64, "phase": "PHOTO_PHASE_BEFORE"}],
    }
    unknown = worker.refused("POST", "/v1/reports", body)
    assert (unknown.status, unknown.fields) == (400, ["photos[0].mediaId"])


def test_a_report_is_of_what_has_happened(hetao: Hetao) -> None:
    worker = hetao.person("grid-worker")
    body = {"kind": "REPORT_KIND_HAZARD", "title": "井盖缺失", "place": "南门"}
    for field in ("occurredAt", "capturedAt"):
        refused = worker.refused("POST", "/v1/reports", {**body, field: "2026-03-02T12:00:00+08:00"})
        assert (refused.status, refused.reason, refused.fields[:1]) == (400, "TIME_IN_FUTURE", [field])
    old = worker.refused("POST", "/v1/reports", {**body, "occurredAt": "2026-01-05T09:00:00+08:00"})
    assert (old.status, old.reason, old.fields) == (400, "LATE_REASON_MISSING", ["lateReason"])


@pytest.mark.parametrize("path", ["/v1/cases", "/v1/media"])
@pytest.mark.parametrize("declared", [True, False], ids=["declared", "streamed"])
def test_a_hundred_megabytes_are_cut_short(hetao: Hetao, path: str, declared: bool) -> None:
    """The answer comes before the body is through, and the platform reads on no further."""
    token = hetao.person("grid-worker").token
    sent, whole, chunk = 0, 100 * 1024 * 1024, b"x" * 65536
    length = f"Content-Length: {whole}" if declared else "Transfer-Encoding: chunked"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/{'json' if path == '/v1/cases' else 'octet-stream'}\r\n{length}\r\n\r\n"
    )
    piece = chunk if declared else b"%x\r\n%s\r\n" % (len(chunk), chunk)
    host, port = hetao.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(head.encode())
        while sent < whole:
            readable, writable, _ = select.select([connection], [connection], [], 30)
            if readable:
                break
            assert writable, "neither read nor answered"
            try:
                connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                break
            sent += len(chunk)
        answer = b""
        while b"BODY_TOO_LARGE" not in answer and (more := connection.recv(65536)):
            answer += more
    assert sent < 32 * 1024 * 1024
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"BODY_TOO_LARGE" in answer
