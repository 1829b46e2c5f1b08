"""The drill of a restore: no accepted write is lost up to the backup's moment, and all that people have in hand still works.

In one process with its own database, and on a PostgreSQL that is somebody else's.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engines.postgres import Postgres
from tests.functional.harness import Hetao, eventually, new_key, photo
from tests.functional.split import SplitHetao, need_engines
from tests.functional.story import Centre, told, walk_in

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def hetao(request: pytest.FixtureRequest) -> Iterator[Hetao]:
    if request.param == "split":
        need_engines()
    if request.param != "outside":
        with SplitHetao() if request.param == "split" else Hetao() as running:
            yield running
        return
    with Postgres() as server, Hetao(DATABASE_URL=server.url) as running:
        yield running


def hand_in(hetao: Hetao) -> dict[str, Any]:
    """A report with a photo that becomes a case at the centre, by events alone."""
    worker = hetao.person("grid-worker")
    body = {
        "kind": "REPORT_KIND_DISPUTE",
        "title": "邻里漏水争执",
        "place": f"六号楼{new_key()[:8]}室",
        "community": "150802013006",
        "photos": [{"mediaId": worker.upload(photo("red")), "phase": "PHOTO_PHASE_BEFORE"}],
    }
    report = worker.post("/v1/reports", body)
    worker.post(f"/v1/reports/{report['reportId']}:verify", {})
    reason = {"target": "HANDOVER_TARGET_CENTRE", "reason": "HANDOVER_REASON_SEVERAL_DEPARTMENTS", "category": "02"}
    return worker.post(f"/v1/reports/{report['reportId']}:handOver", reason)


def cases_of(hetao: Hetao, report: dict[str, Any]) -> list[dict[str, Any]]:
    found = hetao.person("dispatcher").everything("/v1/cases", "cases", division="150802", pageSize=200)
    return [case for case in found if case["reportId"] == report["reportId"]]


def figures(hetao: Hetao) -> dict[str, Any]:
    told = hetao.person("city-leader").get(
        "/v1/caseStatistics", division="1508", **{"from": "2026-01-01", "to": "2026-12-31"}
    )
    return {name: value for name, value in told.items() if name != "asOf"}


def command(hetao: Hetao, *words: str | Path) -> str:
    done = hetao.command(*map(str, words))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("hetao", ["embedded", "outside", "split"], indirect=True)
def test_a_restore_brings_back_everything_up_to_the_moment_and_nothing_after_it(hetao: Hetao) -> None:
    target, report_file = hetao.folder / "backup", hetao.folder / "gone.jsonl"
    centre = Centre.of(hetao)
    key = new_key()
    taken_in = centre.clerk.post("/v1/cases", walk_in(title="备份之前"), idempotency_key=key)
    receipt, case = taken_in["receipts"][0], taken_in["case"]
    accepted = centre.act(case, "accept")
    handed = hand_in(hetao)
    eventually(lambda: cases_of(hetao, handed), "the case of the report")
    dispatched = centre.dispatch(centre.accepted(title="已分派"))
    messages = told(centre.officers[dispatched["tasks"][0]["departmentId"]], "cases.dispatched", dispatched)
    before = eventually(lambda: (found := figures(hetao))["accepted"] == 2 and found, "the figures of two cases")

    command(hetao, "backup", target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o700
    assert stat.S_IMODE((target / "keys" / "keyring.json").stat().st_mode) == 0o600

    late = centre.take_in(title="备份之后")
    centre.act(case, "classify", {"classification": {"category": "10", "scale": "SCALE_INDIVIDUAL"}})
    late_report = hand_in(hetao)
    eventually(lambda: cases_of(hetao, late_report), "the case of the later report")

    refused = hetao.command("restore", str(target), "--force")
    assert refused.returncode == 1  # it runs
    hetao.stop()
    refused = hetao.command("restore", str(target))
    assert (refused.returncode, "--force" in refused.stderr) == (1, True), refused.stderr
    would = command(hetao, "restore", target, "--dry-run")
    assert late["case"]["caseId"] in would or "另有" in would
    hetao.start()  # nothing has changed
    assert centre.read(late["case"])["title"] == "备份之后"
    hetao.stop()

    command(hetao, "restore", target, "--force", "--report", report_file)
    gone = [json.loads(line) for line in report_file.read_text().splitlines()]
    hetao.start()
    command(hetao, "rebuild")

    # What was gone is named, and nothing else is.
    assert {late["case"]["caseId"], case["caseId"], late_report["reportId"]} <= {one["key"] for one in gone}
    classified = [one for one in gone if one["key"] == case["caseId"]]
    assert [one["version"] for one in classified] == [int(accepted["etag"]) + 1]
    assert not any(one["key"] == dispatched["caseId"] for one in gone)
    centre = Centre.of(hetao)
    assert centre.dispatcher.refused("GET", f"/v1/cases/{late['case']['caseId']}").status == 404
    assert not cases_of(hetao, late_report)

    # What was accepted is there, as it was.
    assert centre.read(case)["etag"] == accepted["etag"]
    assert figures(hetao) == before  # and so the readers agree with the owners
    assert len(cases_of(hetao, handed)) == 1
    assert centre.read(dispatched)["tasks"] == dispatched["tasks"]
    officer = centre.officers[dispatched["tasks"][0]["departmentId"]]
    assert officer.messages("cases.dispatched", f"cases/{dispatched['caseId']}") == messages

    # PINs open, a repeat is answered as before, sealed data are read.
    found = hetao.anybody.send("POST", "/v1/caseProgress:lookup", json={"code": receipt["code"], "pin": receipt["pin"]})
    assert found.status_code == 200, found.text
    assert centre.clerk.post("/v1/cases", walk_in(title="备份之前"), idempotency_key=key) == taken_in
    party = centre.read(case)["parties"][0]
    shown = centre.dispatcher.post(
        f"/v1/cases/{case['caseId']}/parties/{party['partyId']}:reveal", {"reason": "核对身份"}
    )
    assert "13904781234" in json.dumps(shown)
    # The keys are changed beside it, and all of that still holds.
    assert command(hetao, "keys", "rotate").strip()
    command(hetao, "keys", "reencrypt")
    assert "0 values" in command(hetao, "keys", "reencrypt")
    assert command(hetao, "keys", "list").count("aes") == 2
    shown = centre.dispatcher.post(
        f"/v1/cases/{case['caseId']}/parties/{party['partyId']}:reveal", {"reason": "核对身份"}
    )
    assert "13904781234" in json.dumps(shown)
    found = hetao.anybody.send("POST", "/v1/caseProgress:lookup", json={"code": receipt["code"], "pin": receipt["pin"]})
    assert found.status_code == 200, found.text

    # And life goes on: a new write, its events, its effects.
    again = hand_in(hetao)
    eventually(lambda: cases_of(hetao, again), "a case after the restore")


@pytest.mark.parametrize("hetao", ["embedded", "outside"], indirect=True)
def test_a_new_machine_and_a_kept_key(hetao: Hetao) -> None:
    """Nothing is left but a backup of one file without keys, and the key file. Without that, nothing is restored."""
    target, keys = hetao.folder / "b.tar", hetao.folder / "kept"
    centre = Centre.of(hetao)
    taken_in, worker = centre.take_in(title="换机"), hetao.person("grid-worker")
    picture = worker.upload(photo("green"))
    rendition = worker.send("GET", f"/v1/media/{picture}").content
    command(hetao, "backup", target, "--without-keys")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    data = hetao.folder / "data"
    shutil.copytree(data / "keys", keys)
    hetao.stop()
    if "HETAO_DATABASE_URL" in hetao.environment():
        shutil.rmtree(data)
        data.mkdir(mode=0o711)
    else:
        shutil.rmtree(data)
    refused = hetao.command("restore", str(target), "--force")
    assert refused.returncode == 1
    assert "keyring.json" in refused.stderr
    (data / "keys").mkdir(parents=True, mode=0o700)
    data.chmod(0o711)
    for name in os.listdir(keys):
        shutil.copy2(keys / name, data / "keys" / name)
    command(hetao, "restore", target, "--force")
    hetao.start()
    centre = Centre.of(hetao)
    assert centre.read(taken_in["case"])["title"] == "换机"
    assert hetao.person("grid-worker").send("GET", f"/v1/media/{picture}").content == rendition
    receipt = taken_in["receipts"][0]
    found = hetao.anybody.send("POST", "/v1/caseProgress:lookup", json={"code": receipt["code"], "pin": receipt["pin"]})
    assert found.status_code == 200, found.text
