"""kill −9 at any moment: whatever was answered is there, and every event arrives once in effect."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.functional.harness import Hetao, Person, eventually, new_key, photo
from tests.functional.modes import on
from tests.functional.story import Centre, walk_in

pytestmark = on("own_hetao", "clocks", "all", "split")

WRITERS = 4


class Journal:
    """What was asked for under which key, and what was answered before the death."""

    def __init__(self) -> None:
        self.asked: dict[str, str] = {}
        self.answered: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()

    def write(self, clerk: Person, writer: int, go_on: Callable[[], bool]) -> None:
        n = 0
        while go_on():
            key, title = new_key(), f"第 {writer} 号窗口第 {n} 件"
            n += 1
            with self.lock:
                self.asked[key] = title
            try:
                answer = clerk.post("/v1/cases", walk_in(title=title), idempotency_key=key)
            except (httpx.TransportError, AssertionError):
                return
            with self.lock:
                self.answered[key] = answer


def killed_while_writing(hetao: Hetao, least: int) -> Journal:
    journal, over = Journal(), threading.Event()
    clerk = hetao.person("window-clerk-2")
    writers = [
        threading.Thread(target=journal.write, args=(clerk, n, lambda: not over.is_set())) for n in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    eventually(lambda: len(journal.answered) >= least, f"{least} answers")
    hetao.kill()
    over.set()
    for writer in writers:
        writer.join(60)
    return journal


@pytest.mark.timeout(300)
def test_what_was_answered_is_there_and_nothing_is_there_twice(own_hetao: Hetao) -> None:
    hetao = own_hetao
    worker = hetao.person("grid-worker")
    picture = worker.upload(photo("navy"))
    report = worker.post(
        "/v1/reports",
        {
            "kind": "REPORT_KIND_DISPUTE",
            "title": "争执",
            "place": "一号楼",
            "photos": [{"mediaId": picture, "phase": "PHOTO_PHASE_BEFORE"}],
        },
    )
    path = f"/v1/reports/{report['reportId']}"
    worker.post(f"{path}:verify")
    worker.post(f"{path}:handOver", {"target": "HANDOVER_TARGET_CENTRE", "reason": "HANDOVER_REASON_PARTY_WISHES"})
    journals = []
    for least in (8, 24):  # the hand-over's event is on its way when the first death comes
        journals.append(killed_while_writing(hetao, least))
        hetao.start()

    centre, asked = Centre.of(hetao), {}
    for journal in journals:
        asked |= journal.asked
        for key, first in journal.answered.items():
            case = centre.read(first["case"])
            assert (case["code"], case["title"]) == (first["case"]["code"], journal.asked[key])
            again = centre.clerk.post("/v1/cases", walk_in(title=journal.asked[key]), idempotency_key=key)
            assert again == first  # its PINs included, which were shown only once
        for key in journal.asked.keys() - journal.answered.keys():  # unknown outcomes are settled by repeating
            settled = centre.clerk.post("/v1/cases", walk_in(title=journal.asked[key]), idempotency_key=key)
            assert settled["case"]["title"] == journal.asked[key]
    cases = centre.dispatcher.everything("/v1/cases", "cases", division="150826", pageSize=200)
    assert sorted(case["title"] for case in cases) == sorted(asked.values())

    dispatcher = hetao.person("dispatcher")
    handed = eventually(
        lambda: dispatcher.everything("/v1/cases", "cases", division="150802"), "the case of the report"
    )
    assert [case["reportId"] for case in handed] == [report["reportId"]]
    assert hetao.person("grid-worker").send("GET", f"/v1/media/{picture}").status_code == 200

    leader = hetao.person("county-leader-2")
    accepted = [centre.act(case, "accept") for case in cases[:5]]
    period = {"division": "150826", "from": "2026-03-01", "to": "2026-03-31"}
    eventually(lambda: leader.get("/v1/caseStatistics", **period)["accepted"] == len(accepted), "the figures to follow")
    for service in ("grid", "cases", "notify"):
        letters = hetao.command("deadletters", "list", service)
        assert (letters.returncode, letters.stdout.strip()) == (0, ""), letters


@pytest.mark.timeout(300)
def test_it_stops_in_order_and_starts_again_with_everything(own_hetao: Hetao) -> None:
    hetao = own_hetao
    first = Centre.of(hetao).take_in()
    hetao.stop()
    hetao.start()
    centre = Centre.of(hetao)
    assert centre.read(first["case"])["etag"] == first["case"]["etag"]
    seen = hetao.anybody.post("/v1/caseProgress:lookup", {name: first["receipts"][0][name] for name in ("code", "pin")})
    assert seen["state"] == "CASE_STATE_REGISTERED"
