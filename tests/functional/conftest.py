"""The platform that the stories share, and one of its own for those that kill it or travel in time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.functional.harness import MODES, Hetao


@pytest.fixture(scope="session", params=list(MODES))
def hetao(request: pytest.FixtureRequest) -> Iterator[Hetao]:
    """Shared by all stories of this process: it stands at Monday, 2 March 2026, and none of them moves its clock."""
    with Hetao(request.param) as running:
        yield running


@pytest.fixture(params=list(MODES))
def own_hetao(request: pytest.FixtureRequest) -> Iterator[Hetao]:
    """For one test alone, which may kill it and move its clock."""
    with Hetao(request.param) as running:
        yield running
