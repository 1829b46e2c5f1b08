"""The services of Hetao, in the order in which they start."""

from __future__ import annotations

from collections.abc import Sequence

from kit.module import Module

MODULES: Sequence[Module] = ()
