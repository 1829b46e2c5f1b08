"""The figures of a division for a period, from sums that are kept as things happen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from kit.errors import InvalidArgument, NotFound
from kit.unit import Unit
from services.cases.service.chain import Chain
from services.cases.store import figures as store

NAMES = ("accepted", "resolved", "concluded", "reopened", "overdue", "resolved_in_period", "concluded_in_period")

Sums = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Figures:
    """`disputes`: what the rate is made of; every sum has the NAMES."""

    disputes: Sums
    by_kind: Mapping[str, Sums]
    by_category: Mapping[str, Sums]

    @property
    def resolution_rate(self) -> float | None:
        """化解率 = resolved ÷ accepted, of the cohort; to four decimals. None when nothing was accepted."""
        accepted = self.disputes["accepted"]
        return round(self.disputes["resolved"] / accepted, 4) if accepted else None


class FiguresService:
    def __init__(self, chain: Chain):
        self.chain = chain

    async def figures(self, unit: Unit, division: str, first: date, last: date) -> Figures:
        """NotFound for a division that the caller does not cover; InvalidArgument for a period that ends before it begins."""
        if not unit.principal.covers(division):
            raise NotFound("NOT_FOUND", field="division", resource="division")
        if last < first:
            raise InvalidArgument("PERIOD_BACKWARDS", field="to")
        rated = {kind.code for kind in self.chain.words.kinds.on(unit.today) if kind.rate}
        disputes: dict[str, int] = dict.fromkeys(NAMES, 0)
        by_kind: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(NAMES, 0))
        by_category: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(NAMES, 0))
        for row in await store.sums(unit, division, first, last):
            totals = [by_kind[row["kind"]]]
            if row["kind"] in rated:
                totals += [disputes, by_category[row["category"]]]
            for total in totals:
                for name in NAMES:
                    total[name] += row[name]
        return Figures(disputes, dict(by_kind), dict(by_category))
