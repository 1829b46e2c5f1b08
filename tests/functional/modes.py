"""Which ways to run the platform a test is told on: `pytestmark = on_all_and_split("hetao", "story")`."""

from __future__ import annotations

import pytest


def on_all_and_split(fixture: str, group: str) -> pytest.MarkDecorator:
    """On the platform in one process, and on separate processes. `group`: its tests share a worker of pytest-xdist, and with it a platform."""
    return pytest.mark.parametrize(
        fixture,
        [
            pytest.param("all", marks=pytest.mark.xdist_group(group)),
            pytest.param("split", marks=pytest.mark.xdist_group(f"{group}-split")),
        ],
        indirect=True,
    )
