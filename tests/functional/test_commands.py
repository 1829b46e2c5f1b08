"""The commands beside a running platform: one process or several, they find each service by its address."""

from __future__ import annotations

import pytest

from tests.functional.harness import Hetao, eventually
from tests.functional.modes import on
from tests.functional.story import Centre

pytestmark = on("hetao", "story", "all", "split")

PERIOD = {"division": "150826", "from": "2026-03-01", "to": "2026-03-31"}


@pytest.mark.timeout(240)
def test_read_models_are_rebuilt_beside_a_running_platform(hetao: Hetao) -> None:
    centre, leader = Centre.of(hetao), hetao.person("county-leader-2")
    before = leader.get("/v1/caseStatistics", **PERIOD)["accepted"]
    centre.accepted()
    eventually(lambda: leader.get("/v1/caseStatistics", **PERIOD)["accepted"] == before + 1, "the figures to follow")
    figures = leader.get("/v1/caseStatistics", **PERIOD)
    rebuilt = hetao.command("rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    for service in ("cases", "notify"):
        assert f"{service}：读模型已重建" in rebuilt.stdout
    again = leader.get("/v1/caseStatistics", **PERIOD)
    assert {**again, "asOf": ""} == {**figures, "asOf": ""}
    case = centre.dispatch(centre.accepted())  # who works where is known as before
    assert len(case["tasks"]) == 3


def test_dead_letters_and_tokens(hetao: Hetao) -> None:
    for service in ("grid", "cases", "notify"):
        listed = hetao.command("deadletters", "list", service)
        assert (listed.returncode, listed.stdout.strip()) == (0, ""), listed.stderr
    token = hetao.command("token", "dispatcher")
    assert token.stdout.count(".") == 2, token.stderr
    refused = hetao.command("deadletters", "redrive", "cases", "nobody", "key")
    assert refused.returncode == 1
    assert "HANDLER_UNKNOWN" in refused.stderr or "nobody" in refused.stderr
