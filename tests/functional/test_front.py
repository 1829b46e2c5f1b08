"""The front of a centre, by REST: a paper is missing and brought, a matter is not accepted, an emergency goes at once; and a hotline by gRPC."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey

from hetao.cases.v1 import case_pb2, cases_pb2_grpc, feed_pb2, feed_pb2_grpc, intake_pb2, types_pb2
from tests.functional.harness import Hetao, eventually, photo
from tests.functional.modes import on
from tests.functional.story import Centre, told, walk_in
from tests.functional.test_rpc import refusal

BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

pytestmark = on("hetao", "story", "all", "split")


@pytest.fixture
def centre(hetao: Hetao) -> Centre:
    return Centre.of(hetao)


def test_a_walk_in_is_asked_for_a_paper_brings_it_and_is_accepted(hetao: Hetao, centre: Centre) -> None:
    taken = centre.clerk.post("/v1/cases", walk_in(desk="reception", printReceipts=True))
    case, receipt = taken["case"], taken["receipts"][0]
    assert case["firstReceiver"] == {"account": "window-clerk-2", "desk": "reception"}
    assert base64.b64decode(receipt["document"]).startswith(b"%PDF-")
    page = hetao.anybody.send("GET", f"/progress?code={receipt['code']}")  # where its QR code leads
    assert (page.status_code, page.headers["referrer-policy"]) == (200, "no-referrer")
    assert receipt["code"] not in page.text
    before = case["deadline"]["dueAt"]

    case = centre.act(case, "askSupplement", {"papers": ["employment"], "words": "最近三个月的工资条"}, centre.clerk)
    assert case["state"] == "CASE_STATE_SUPPLEMENT_ASKED"
    assert case["deadline"]["dueAt"] > before
    assert "等待申请人补正材料" in case["deadline"]["explanation"]["zh"]
    look = {"code": receipt["code"], "pin": receipt["pin"]}
    assert "劳动关系证明" in hetao.anybody.post("/v1/caseProgress:lookup", look)["stage"]["zh"]
    early = centre.dispatcher.refused("POST", f"/v1/cases/{case['caseId']}:accept", {})
    assert (early.status, early.reason) == (400, "MOVE_NOT_ALLOWED")

    paper = centre.clerk.upload(photo("beige"))
    case = centre.act(case, "supplement", {"mediaIds": [paper]}, centre.dispatcher)
    assert (case["state"], case["mediaIds"]) == ("CASE_STATE_REGISTERED", [paper])
    told(centre.clerk, "cases.supplement_received", case)
    case = centre.act(case, "accept", {"classification": {"category": "10"}}, centre.dispatcher)
    assert case["firstReceiver"]["account"] == "window-clerk-2"
    told(centre.clerk, "cases.first_answered", case)
    steps = [step["sentence"]["zh"] for step in hetao.anybody.post("/v1/caseProgress:lookup", look)["steps"]]
    assert [step[:4] for step in steps] == ["已在杭锦", "请申请人", "申请人已", "已受理，"]


def test_a_matter_is_not_accepted_and_the_notice_printed(centre: Centre) -> None:
    case = centre.take_in()["case"]
    path = f"/v1/cases/{case['caseId']}"
    early = centre.clerk.refused("GET", f"{path}:refusalNotice")
    assert (early.status, early.reason) == (400, "NOT_REFUSED")
    without = centre.clerk.refused("POST", f"{path}:refuse", {"ground": "discipline"})
    assert without.fields == ["channel"]
    centre.act(case, "refuse", {"ground": "discipline", "channel": "杭锦后旗纪委监委信访室"}, centre.clerk)
    printed = centre.clerk.send("GET", f"{path}:refusalNotice")
    assert (printed.status_code, printed.headers["content-type"]) == (200, "application/pdf")
    assert printed.headers["cache-control"] == "no-store"
    assert printed.content.startswith(b"%PDF-")
    assert centre.timeline(case)[-1]["what"] == "print refusal"
    receipt = centre.clerk.send("GET", f"{path}/parties/{case['parties'][0]['partyId']}:receipt")
    assert receipt.content.startswith(b"%PDF-")


def test_an_emergency_goes_to_110_at_once(centre: Centre) -> None:
    case = centre.take_in(kind="KIND_SECURITY_CLUE", title="街边斗殴", parties=[], transferTo="110")["case"]
    assert (case["state"], case["transferredTo"]) == ("CASE_STATE_TRANSFERRED", "110")


def test_the_director_gives_a_matter_to_another_first_receiver(centre: Centre) -> None:
    case = centre.take_in()["case"]
    body = {"account": "dispatcher-2", "reason": "受理员病假"}
    refused = centre.dispatcher.refused("POST", f"/v1/cases/{case['caseId']}:setFirstReceiver", body)
    assert (refused.status, refused.reason) == (403, "PERMISSION_MISSING")

    def entrusted() -> bool:  # the chain knows the staff as soon as the grid's events are in effect
        path = f"/v1/cases/{case['caseId']}:setFirstReceiver"
        return centre.director.send("POST", path, json=body).status_code == 200

    eventually(entrusted, "the staff to be known")
    assert centre.read(case)["firstReceiver"]["account"] == "dispatcher-2"
    told(centre.dispatcher, "cases.first_receiver", case)


# -- a hotline ------------------------------------------------------------------------------------------------------------


def signed_in(hetao: Hetao) -> dict[str, Any]:
    """As system-12345 does: it signs an assertion with its own key, and is given a token for it."""
    key = OKPKey.import_key(json.loads(Path(hetao.folder / "data" / "keys" / "system-12345.json").read_text()))
    now = int(hetao.now.timestamp())
    claims = {"iss": "system-12345", "sub": "system-12345", "aud": hetao.address, "iat": now, "exp": now + 60}
    header = {"alg": "Ed25519", "kid": key.kid}
    said = jwt.encode(header, claims | {"jti": str(uuid4())}, key, algorithms=["Ed25519"])
    form = {"grant_type": "client_credentials", "client_assertion_type": BEARER, "client_assertion": said}
    answer = hetao.http.post("/oauth/token", data=form)
    assert answer.status_code == 200, answer.text
    return {"metadata": [("authorization", f"Bearer {answer.json()['access_token']}")], "timeout": 15}


def test_a_hotline_sends_an_order_twice_and_reads_what_becomes_of_it(hetao: Hetao, centre: Centre) -> None:
    with hetao.rpc() as channel:
        signed = signed_in(hetao)
        cases, feed = cases_pb2_grpc.CaseServiceStub(channel), feed_pb2_grpc.CaseFeedServiceStub(channel)
        caller = case_pb2.NewParty(
            role=types_pb2.PARTY_ROLE_APPLICANT,
            type=types_pb2.PARTY_TYPE_NATURAL_PERSON,
            name="乌兰",
            phone="13904781234",
        )
        number = f"NM{time.time_ns()}"
        order = intake_pb2.CreateCaseRequest(
            source_system="system-12345", external_id=number, external_category="TS-GR", division="150826",
            title="暖气不热", description="室温只有14度", parties=[caller],
        )  # fmt: skip

        def known() -> bool:
            try:
                feed.ListCaseChanges(feed_pb2.ListCaseChangesRequest(), **signed)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAUTHENTICATED:  # type: ignore[attr-defined]
                    raise
                return False
            return True

        eventually(known, "every process to know the system")
        first = cases.CreateCase(order, **signed)
        again = cases.CreateCase(order, **signed)
        assert (first.existing, again.existing, again.case.code) == (False, True, first.case.code)
        order.title = "暖气漏水"
        code, reason, fields = refusal(cases.CreateCase, order, **signed)
        assert (code, reason, fields) == (grpc.StatusCode.ALREADY_EXISTS, "ORDER_DIFFERS", ["external_id"])

        def news(token: str = "") -> tuple[dict[str, Any], str]:
            found: dict[str, Any] = {}
            while True:
                answer = feed.ListCaseChanges(feed_pb2.ListCaseChangesRequest(page_token=token), **signed)
                found |= {one.external_id: one for one in answer.changes}
                token = answer.next_page_token
                if not answer.more:
                    return found, token

        changes, token = news()
        assert changes[number].state == types_pb2.CASE_STATE_REGISTERED
        assert number not in news(token)[0]
        case = centre.read({"caseId": first.case.case_id})
        assert (case["kind"], case["source"], case["externalId"]) == ("KIND_DISPUTE", "SOURCE_HOTLINE", number)
        centre.act(case, "accept", {"classification": {"category": "X05"}})
        changed, _ = news(token)
        assert changed[number].state == types_pb2.CASE_STATE_ACCEPTED
        assert changed[number].HasField("due_at")
        assert "乌" not in str(changed)
