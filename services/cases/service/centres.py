"""The centres and which of them is responsible where: reference data, kept in memory."""

from __future__ import annotations

from kit.unit import Unit
from services.cases.model import Centre
from services.cases.store import directory


class Centres:
    def __init__(self) -> None:
        self._all: dict[str, Centre] = {}
        self._coverage: dict[str, str] = {}

    async def all(self, unit: Unit) -> dict[str, Centre]:
        """By their ids."""
        if not self._all:
            self._coverage = await directory.coverage(unit)
            self._all = {centre.id: centre for centre in await directory.centres(unit)}
        return self._all

    async def responsible(self, unit: Unit, division: str) -> Centre | None:
        """The centre that the coverage table names for a division; None for a division that does not exist."""
        centres = await self.all(unit)
        return centres.get(self._coverage.get(division, ""))

    def forget(self) -> None:
        """They were loaded anew."""
        self._all, self._coverage = {}, {}
