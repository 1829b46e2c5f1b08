"""A party is told by the window, reminders come as one message, and an unread 督办 does not stay unread."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functional.harness import Hetao, eventually, photo
from tests.functional.modes import on
from tests.functional.story import Centre

REFUSAL = {"ground": "in_litigation", "channel": "杭锦后旗人民法院立案庭"}


@on("own_hetao", "notices", "all")
@pytest.mark.timeout(300)
def test_a_party_is_told_by_the_window_and_reminders_come_at_noon(own_hetao: Hetao) -> None:
    hetao = own_hetao
    centre = Centre.of(hetao)
    case = centre.take_in()["case"]
    case = centre.act(case, "refuse", REFUSAL, by=centre.clerk)
    assert case["state"] == "CASE_STATE_NOT_ACCEPTED"
    applicant = case["parties"][0]["partyId"]

    def to_tell(**query: Any) -> list[dict[str, Any]]:
        return centre.clerk.everything("/v1/manualDeliveries", "manualDeliveries", caseId=case["caseId"], **query)

    (item,) = eventually(to_tell, "the work item")
    assert (item["code"], item["partyId"], item["partyRole"]) == (case["code"], applicant, "applicant")
    assert item["state"] == "MANUAL_DELIVERY_STATE_WAITING"
    assert "赵" not in str(item)
    assert hetao.person("window-clerk").get("/v1/manualDeliveries")["manualDeliveries"] == []
    path = f"/v1/manualDeliveries/{item['manualDeliveryId']}"
    assert hetao.person("window-clerk").refused("GET", path).status == 404

    assert centre.clerk.post(f"{path}:take")["takenBy"] == "window-clerk-2"
    reveal = f"/v1/cases/{case['caseId']}/parties/{applicant}:reveal"
    assert centre.clerk.post(reveal, {"reason": "告知不予受理"})
    bare = centre.clerk.refused("POST", f"{path}:complete", {"manner": "PROOF_MANNER_HANDED_OVER"})
    assert (bare.status, bare.reason, bare.fields) == (400, "PROOF_MISSING", ["mediaIds"])
    proof = {"manner": "PROOF_MANNER_HANDED_OVER", "mediaIds": [centre.clerk.upload(photo("white"))]}
    done = centre.clerk.post(f"{path}:complete", proof)
    assert (done["state"], done["tries"]) == ("MANUAL_DELIVERY_STATE_COMPLETED", 1)
    assert centre.clerk.refused("POST", f"{path}:complete", proof).reason == "MOVE_NOT_ALLOWED"
    assert to_tell() == []
    (kept,) = centre.director.get(path)["tries"]
    assert (kept["madeBy"], kept["manner"]) == ("window-clerk-2", "PROOF_MANNER_HANDED_OVER")

    # The window's own reminder is not read: at half past eleven it is told again, once, also when the process was dead then.
    eventually(lambda: centre.clerk.messages("notify.manual_waiting"), "the window's message")
    hetao.kill()
    hetao.at("2026-03-02 11:40")
    hetao.start()
    clerk = hetao.person("window-clerk-2")
    (bundle,) = eventually(lambda: clerk.messages("notify.bundle"), "the bundle")
    assert case["code"] in bundle["text"]["zh"]
    assert case["code"] in bundle["text"]["en"]
    assert "赵" not in str(bundle)
    clerk.post(f"/v1/messages/{bundle['messageId']}:markRead")
    assert clerk.get("/v1/messages:unreadCount")["count"] == 0
    hetao.at("2026-03-02 17:10")

    # A text message goes to the number that the officer has given, once the message has been unread for too long.
    number = {"phone": "139 0478 1236"}
    assert hetao.person("dispatcher-2").post("/v1/contact:set", number)["phone"] == "139****1236"
    centre = Centre.of(hetao)
    dispatched = centre.dispatch(centre.accepted())
    officer = centre.officer(dispatched["tasks"][0])
    officer.post("/v1/contact:set", {"phone": "13904781230"})
    eventually(lambda: officer.messages("cases.dispatched"), "the task's message")
    hetao.at("2026-03-03 14:00")
    sent = eventually(lambda: hetao.anybody.get("/sms-emulator/messages")["messages"], "the text message")
    assert sent[0]["to"] == "139****1230"
    assert dispatched["code"] in sent[0]["text"]
    leader = hetao.person("county-leader-2")
    eventually(lambda: leader.messages("notify.unread"), "the superior, since the number fails")
    assert len(hetao.person("window-clerk-2").messages("notify.bundle")) == 1
