"""The sentences that people read, Chinese first, by reason: data/texts/*.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from kit.errors import DomainError


class Texts:
    """`[REASON] zh = "…{param}…" en = "…"`, from every file of the folder; a reason stands in one file only.

    A value that a sentence speaks of is a word in either language where it has an entry of its own, by its parameter: `["state.handling"]` is what
    {state} becomes for the value "handling". What is called otherwise in one subject has an entry under that: `["task.state.accepted"]`. A dictionary
    in data/dictionaries that says `param = "state"` holds such words too.
    """

    def __init__(self, texts: dict[str, tuple[str, str]]):
        self._texts = texts

    @classmethod
    def load(cls, folder: Path) -> Texts:
        """`folder`: data/texts; the dictionaries stand beside it."""
        texts = dict(_words(folder.parent / "dictionaries"))
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

    def of(self, reason: str, params: Mapping[str, str], about: str = "") -> tuple[str, str]:
        """(Chinese, English). `about`: the subject whose words are meant. A reason without a text answers with its name, and a test finds it."""
        zh, en = self._texts.get(reason, (reason, reason))
        words = {name: self.word(name, value, about) for name, value in params.items()}
        return (
            zh.format_map(_Known({name: word[0] for name, word in words.items()})),
            en.format_map(_Known({name: word[1] for name, word in words.items()})),
        )

    def of_error(self, error: DomainError) -> tuple[str, str]:
        return self.of(error.reason, {**error.params, "field": error.field}, error.about)

    def word(self, name: str, value: str, about: str = "") -> tuple[str, str]:
        """(Chinese, English) of a value, by its parameter; itself where it has no words."""
        own = self._texts.get(f"{about}.{name}.{value}") if about else None
        return own or self._texts.get(f"{name}.{value}") or (value, value)


def _words(dictionaries: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """The words of those dictionaries that name a parameter, as they are called now."""
    for path in sorted(dictionaries.glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        if "param" in table:
            for row in sorted(table["entries"], key=lambda row: row["effective_from"]):
                yield f"{table['param']}.{row['code']}", (row["zh"], row["en"])


class _Known(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""
