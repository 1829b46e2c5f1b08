"""A module touches what it declares and nothing else; network policies are made from the declarations."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.config import CHECKOUT
from kit.module import BLOBS, POSTGRES, Module
from services.registry import MODULES

#: Contracts that every service may use.
SHARED = {"common", "options", "operations"}

#: Libraries that reach outside, and what must be declared for them.
OUTSIDE = {"httpx", "aiohttp", "requests"}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_a_module_uses_what_it_declares(module: Module) -> None:
    calls, known, engines, outside = set(), set(), set(), False
    for name in imports(CHECKOUT / "services" / module.name):
        parts = name.split(".")
        if parts[0] == "hetao" and len(parts) == 4 and parts[1] not in SHARED | {module.name}:
            (calls if parts[3].endswith("_pb2_grpc") else known).add(parts[1])
        if parts[0] == "asyncpg" or name == "kit.table":
            engines.add(POSTGRES)
        if name == "kit.blobs":
            engines.add(BLOBS)
        outside |= parts[0] in OUTSIDE
    assert calls <= set(module.calls), f"{module.name} calls {calls - set(module.calls)} without saying so"
    related = {*module.calls, *module.hears}
    assert known <= related, f"{module.name} uses the contract of {known - related} without saying so"
    assert engines <= set(module.engines)
    assert outside == bool(module.egress), f"{module.name}: what it reaches outside and `egress` differ"


#: What tells one way to run the platform from another. A service has no business with it: the kit gives it a log, a database, channels.
HOW_IT_RUNS = {"kafka", "redis_url", "redis", "database_url", "database", "embedded", "ops", "grpc"}


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)
def test_a_service_does_not_know_how_the_platform_runs(module: Module) -> None:
    for path in (CHECKOUT / "services" / module.name).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and "settings" in ast.unparse(node.value).rpartition(".")[2]:
                assert node.attr not in HOW_IT_RUNS, f"{path.name}:{node.lineno} looks at settings.{node.attr}"


def test_calls_form_no_circle() -> None:
    calls = {module.name: set(module.calls) for module in MODULES}
    while calls:
        free = [name for name, called in calls.items() if not called & calls.keys()]
        assert free, f"these call one another in a circle: {sorted(calls)}"
        for name in free:
            del calls[name]


def test_what_is_called_and_heard_exists() -> None:
    names = {module.name for module in MODULES}
    for module in MODULES:
        assert {*module.calls, *module.hears} <= names


def imports(folder: Path) -> Iterator[str]:
    """Dotted names that the folder's files import, the imported member included."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
