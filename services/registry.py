"""The services of Hetao, in the order in which they start. A process loads only those that it runs: the libraries of the others cost it memory."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kit.module import Module

    #: All of them, loaded.
    MODULES: Sequence[Module]

NAMES = ("grid", "cases", "notify", "gateway")

#: Keeps the register of outside systems and revoked sessions, which every process follows.
KEEPER = "grid"


def module(name: str) -> Module:
    """The wiring of one service, loaded now."""
    found: Module = import_module(f"services.{name}.module").MODULE
    return found


def __getattr__(name: str) -> Sequence[Module]:
    """`MODULES`, loaded when somebody first asks for all."""
    if name != "MODULES":
        raise AttributeError(name)
    made = globals()[name] = tuple(map(module, NAMES))
    return made
