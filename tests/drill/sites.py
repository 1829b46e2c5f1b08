"""The ways to run the platform that can be drilled."""

from __future__ import annotations

from collections.abc import Callable

from tests.drill.site import Site, Whole
from tests.drill.split import Separate

SITES: dict[str, Callable[[], Site]] = {"all": Whole, "split": Separate, "replicas": lambda: Separate(2)}
