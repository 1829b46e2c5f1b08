"""The platform that the stories share, and one of its own for those that kill it or travel in time.

A story runs on the platform in one process, unless it says by `modes.on` that it is told on separate processes too.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.functional.harness import Hetao
from tests.functional.split import SplitHetao, need_engines


def installed(mode: str) -> Hetao:
    if mode == "all":
        return Hetao()
    need_engines()
    return SplitHetao(mode)


@pytest.fixture(scope="session")
def hetao(request: pytest.FixtureRequest) -> Iterator[Hetao]:
    """Shared by all stories of this process: it stands at Monday, 2 March 2026, and none of them moves its clock."""
    with installed(getattr(request, "param", "all")) as running:
        yield running


@pytest.fixture
def own_hetao(request: pytest.FixtureRequest) -> Iterator[Hetao]:
    """For one test alone, which may kill it and move its clock."""
    with installed(getattr(request, "param", "all")) as running:
        yield running
