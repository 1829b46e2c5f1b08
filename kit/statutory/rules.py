"""Limits as data: how long, in which unit, by which source, from when on."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any, Self

#: The start day is not counted; a last day that is not worked moves to the next that is (Civil Code 201, 203).
CALENDAR_DAYS = "calendar_days"
#: The start day is not counted; only days that are worked count.
WORKING_DAYS = "working_days"
#: From moment to moment, holidays included (Civil Code 201(2)).
HOURS = "hours"
UNITS = (CALENDAR_DAYS, WORKING_DAYS, HOURS)

GREEN, YELLOW, ORANGE, RED = "green", "yellow", "orange", "red"


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit.

    name            such as "cases.accept"; a matter keeps the version it started with
    amount, unit    how long
    ends            "day": at 23:59:59.999 of the last day; "business": when business stops
    source, article where it comes from, in Chinese; source_en: both in English
    confidence      F found, M-H, M-M, M-L general knowledge, D a proposal of this product
    """

    name: str
    zh: str
    en: str
    amount: int
    unit: str
    version: str
    effective_from: date
    source: str
    confidence: str
    article: str = ""
    ends: str = "day"
    source_en: str = ""

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"rule {self.name}: unit {self.unit!r} is none of {UNITS}")
        if self.ends not in ("day", "business"):
            raise ValueError(f"rule {self.name}: ends {self.ends!r} is neither day nor business")
        if self.amount < 0 or (self.unit == HOURS and self.amount == 0):
            raise ValueError(f"rule {self.name}: amount {self.amount} is no limit")


@dataclass(frozen=True, slots=True)
class Bands:
    """Warning colours by the share of the limit that is left."""

    version: str
    effective_from: date
    green_above: float
    yellow_above: float

    def colour(self, left: float, overdue: bool) -> str:
        if overdue:
            return RED
        if left > self.green_above:
            return GREEN
        # Exactly a quarter is still yellow: 50–25 yellow, below 25 orange.
        return YELLOW if left >= self.yellow_above else ORANGE


class Rules:
    """All rules and bands of data/rules. Other tables in those files belong to the services and are left alone."""

    def __init__(self, rules: list[Rule], bands: list[Bands]):
        self._by_name: dict[str, list[Rule]] = {}
        for rule in sorted(rules, key=lambda r: r.effective_from):
            versions = self._by_name.setdefault(rule.name, [])
            if any(rule.version == other.version or rule.effective_from == other.effective_from for other in versions):
                raise ValueError(f"rule {rule.name}: version {rule.version} from {rule.effective_from} is there twice")
            versions.append(rule)
        self._bands = sorted(bands, key=lambda b: b.effective_from)

    @classmethod
    def load(cls, directory: Path) -> Self:
        rules: list[Rule] = []
        bands: list[Bands] = []
        for path in sorted(directory.glob("*.toml")):
            table = tomllib.loads(path.read_text("utf-8"))
            try:
                rules += [_made(Rule, row) for row in table.get("rules", ())]
                bands += [
                    _made(Bands, {k: v for k, v in row.items() if k not in ("source", "source_en", "confidence")})
                    for row in table.get("bands", ())
                ]
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path.name}: {error}") from error
        return cls(rules, bands)

    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._by_name))

    def pick(self, name: str, on: date, version: str | None = None) -> Rule:
        """The version in force on a day, or the one named. LookupError if there is none."""
        versions = self._by_name.get(name, ())
        if version is not None:
            found = [rule for rule in versions if rule.version == version]
        else:
            found = [rule for rule in versions if rule.effective_from <= on]
        if not found:
            raise LookupError(
                f"no rule {name!r}" + (f" of version {version}" if version is not None else f" in force on {on}")
            )
        return found[-1]

    def bands(self, on: date) -> Bands:
        """The colours in force on a day; of a day before the first of them, the first: what began earlier is shown by colours too."""
        if not self._bands:
            raise LookupError("there are no warning colours")
        return ([self._bands[0]] + [bands for bands in self._bands if bands.effective_from <= on])[-1]


def _made(of: Any, row: dict[str, Any]) -> Any:
    unknown = row.keys() - {f.name for f in fields(of)}
    if unknown:
        raise ValueError(f"{row.get('name', of.__name__)}: unknown {', '.join(sorted(unknown))}")
    return of(**row)
