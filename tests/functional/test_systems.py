"""An outside system from its registration to its end, and sessions that are ended, as operators and persons do it: by commands and over REST."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.functional.harness import Hetao, Person, eventually, new_key
from tests.functional.modes import on
from tests.functional.split import SplitHetao

pytestmark = pytest.mark.timeout(300)

everywhere = on("hetao", "story", "all", "split")

#: Seconds; five times what the settings promise.
BOUND = 25


def ran(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def reason(person: Person) -> str:
    """ "" while the person may call both a service and, through it, the gateway."""
    answer = person.send("GET", "/v1/centres", params={"division": "150802"})
    return "" if answer.status_code == 200 else str(answer.json()["reason"])


def system_of(hetao: Hetao, system: str, key: Path) -> Person:
    """The system with a token of its own."""
    made = Person(hetao, "")
    made.token = ran(hetao.command("systems", "token", system, "--key", str(key))).strip()
    return made


@everywhere
def test_a_system_from_registration_to_its_end(hetao: Hetao) -> None:
    system, first, second = (
        f"system-{new_key()[:8]}",
        hetao.folder / f"{new_key()}.json",
        hetao.folder / f"{new_key()}.json",
    )
    options = ["--name", "12345 热线", "--role", "intake-system", "--division", "150802", "--quota", "600"]
    told = ran(hetao.command("systems", "add", system, *options, "--new-key", str(first)))
    assert "intake-system" in told
    assert first.stat().st_mode & 0o777 == 0o600
    assert system in ran(hetao.command("systems", "list"))

    hotline = system_of(hetao, system, first)
    eventually(lambda: reason(hotline) == "", "every process to know the system", BOUND)
    made = hotline.post(
        "/v1/cases",
        {
            "kind": "KIND_DISPUTE",
            "division": "150802",
            "title": "来电反映噪声",
            "parties": [party("申请人", "APPLICANT"), party("被申请人", "RESPONDENT")],
        },
    )
    assert made["case"]["code"]
    assert hotline.refused("GET", "/v1/staff").reason == "PERMISSION_MISSING"

    ran(hetao.command("systems", "rotate", system, "--new-key", str(second), "--overlap", "0"))
    assert hetao.command("systems", "token", system, "--key", str(first)).returncode == 1
    assert reason(system_of(hetao, system, second)) == ""

    ran(hetao.command("systems", "disable", system))
    eventually(lambda: reason(hotline) == "SYSTEM_DISABLED", "every process to know that it is stopped", BOUND)
    refused = hetao.command("systems", "token", system, "--key", str(second))
    assert refused.returncode == 1
    assert "UNAUTHENTICATED" in refused.stderr


def party(name: str, role: str) -> dict[str, str]:
    return {"name": name, "role": f"PARTY_ROLE_{role}", "type": "PARTY_TYPE_NATURAL_PERSON"}


@everywhere
def test_who_signs_out_is_out_everywhere_and_stays_out(hetao: Hetao) -> None:
    leaving, staying = hetao.person("window-clerk"), hetao.person("dispatcher")
    assert reason(leaving) == ""
    leaving.post("/v1/sessions:end")
    eventually(lambda: reason(leaving) == "SESSION_REVOKED", "the session to end", BOUND)
    for path in ("/v1/staff/window-clerk", "/v1/messages", "/v1/cases?division=150802"):
        eventually(lambda path=path: leaving.send("GET", path).status_code == 401, f"{path} to know", BOUND)  # type: ignore[misc]
    assert reason(staying) == ""


@on("hetao", "story", "split")
def test_sessions_end_while_redis_is_away(hetao: SplitHetao) -> None:
    leaving = hetao.person("window-clerk")
    hetao.split.redis.kill()
    try:
        leaving.post("/v1/sessions:end")
        eventually(lambda: reason(leaving) == "SESSION_REVOKED", "the session to end", BOUND)
    finally:
        hetao.split.redis.start()


@everywhere
def test_an_administrator_ends_a_session_and_a_token_is_explained(hetao: Hetao) -> None:
    person = hetao.person("follow-up-clerk")
    command = ["identity", "explain"]
    explained = hetao.command(*command, given=person.token)
    assert "accepted: account follow-up-clerk, roles follow-up-clerk" in ran(explained)
    assert hetao.command(*command, given=person.token[:-4] + "AAAA").returncode == 1
    assert reason(person) == ""
    ran(hetao.command("sessions", "revoke", "follow-up-clerk", "--reason", "设备遗失"))
    eventually(lambda: reason(person) == "SESSION_REVOKED", "the session to end", BOUND)
