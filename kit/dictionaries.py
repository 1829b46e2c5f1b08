"""The versioned lists of words in data/dictionaries, as front ends show them: every code with all its versions, also those of the past.

    name = "kinds"
    zh = "事项性质"
    en = "kinds of matter"

    [[entries]]
    code = "dispute"
    zh = "矛盾纠纷"
    en = "dispute"
    version = "2025.1"
    effective_from = 2025-01-01
    effective_until = 2026-12-31      # only for a code that is retired: its last day
    …                                 # whatever else the service needs of it

A version is in force until the day before the next one of its code, or until it is retired; it is never taken away, since what was decided under it
keeps it. What each further value means stands in the comments of its file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

#: Of an entry, what every dictionary has.
COMMON: Final = {
    *("code", "zh", "en", "version", "effective_from", "effective_until", "source", "source_en", "confidence"),
}

DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of a code. `last`: its last day, None while it is in force; `more`: what else is said of it, as text."""

    code: str
    zh: str
    en: str
    version: str
    first: date
    last: date | None
    source: str
    source_en: str
    confidence: str
    more: Mapping[str, str]

    def on(self, day: date) -> bool:
        return self.first <= day and (self.last is None or day <= self.last)


@dataclass(frozen=True, slots=True)
class Dictionary:
    """`entries`: in the order of the file, the versions of a code by their days."""

    name: str
    zh: str
    en: str
    entries: Sequence[Entry]


def load(folder: Path) -> dict[str, Dictionary]:
    """Every dictionary of the folder, by name. ValueError for one that is called otherwise than its file."""
    found: dict[str, Dictionary] = {}
    for path in sorted(folder.glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        name = table["name"]
        if name != path.stem:
            raise ValueError(f"{path.name} calls itself {name}")
        found[name] = Dictionary(name, table.get("zh", name), table.get("en", name), _entries(table["entries"]))
    return found


def _entries(rows: Sequence[Mapping[str, Any]]) -> list[Entry]:
    by_code: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_code.setdefault(row["code"], []).append(row)
    made = []
    for versions in by_code.values():
        ordered = sorted(versions, key=lambda row: row["effective_from"])
        for row, after in zip(ordered, [*ordered[1:], None], strict=True):
            made.append(_entry(row, after["effective_from"] - DAY if after else None))
    return made


def _entry(row: Mapping[str, Any], replaced: date | None) -> Entry:
    last = min((day for day in (replaced, row.get("effective_until")) if day), default=None)
    more = {name: _said(value) for name, value in row.items() if name not in COMMON}
    return Entry(
        row["code"], row["zh"], row["en"], row["version"], row["effective_from"], last,
        row.get("source", ""), row.get("source_en", ""), row.get("confidence", ""), more,
    )  # fmt: skip


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(map(_said, value)) if isinstance(value, list) else str(value)
