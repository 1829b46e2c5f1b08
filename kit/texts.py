"""The sentences that people read, Chinese first, by reason: data/texts/*.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

from kit.errors import DomainError


class Texts:
    """`[REASON] zh = "…{param}…" en = "…"`, from every file of the folder; a reason stands in one file only."""

    def __init__(self, texts: dict[str, tuple[str, str]]):
        self._texts = texts

    @classmethod
    def load(cls, folder: Path) -> Texts:
        texts: dict[str, tuple[str, str]] = {}
        for path in sorted(folder.glob("*.toml")):
            for reason, row in tomllib.loads(path.read_text(encoding="utf-8")).items():
                if reason in texts:
                    raise ValueError(f"{path.name}: {reason} has a text already")
                texts[reason] = (row["zh"], row["en"])
        return cls(texts)

    def __contains__(self, reason: str) -> bool:
        return reason in self._texts

    def all(self) -> list[tuple[str, tuple[str, str]]]:
        """Every reason with its sentences, their parameters in braces."""
        return sorted(self._texts.items())

    def of(self, reason: str, params: dict[str, str]) -> tuple[str, str]:
        """(Chinese, English). A reason without a text answers with its name, and a test finds it."""
        zh, en = self._texts.get(reason, (reason, reason))
        known = _Known(params)
        return zh.format_map(known), en.format_map(known)

    def of_error(self, error: DomainError) -> tuple[str, str]:
        return self.of(error.reason, {**error.params, "field": error.field})


class _Known(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""
