"""Which ways to run the platform a test is told on: `pytestmark = on("hetao", "story", "all", "split")`."""

from __future__ import annotations

import pytest


def on(fixture: str, group: str, *modes: str) -> pytest.MarkDecorator:
    """ "all": in one process; "split": in separate ones; "replicas": in two of each. `group`: its tests share a worker of pytest-xdist, and with it a
    platform."""
    marks = {mode: pytest.mark.xdist_group(group if mode == "all" else f"{group}-{mode}") for mode in modes}
    return pytest.mark.parametrize(fixture, [pytest.param(mode, marks=marks[mode]) for mode in modes], indirect=True)
