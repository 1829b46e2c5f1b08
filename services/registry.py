"""The services of Hetao, in the order in which they start."""

from __future__ import annotations

from collections.abc import Sequence

from kit.module import Module
from services.cases.module import MODULE as CASES
from services.gateway.module import MODULE as GATEWAY
from services.grid.module import MODULE as GRID
from services.notify.module import MODULE as NOTIFY

MODULES: Sequence[Module] = (GRID, CASES, NOTIFY, GATEWAY)
