"""The words and parameters of the chain, as versioned data: data/dictionaries and data/rules/cases.toml.

A word keeps all its versions; what a matter is given is the one in force on the day.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Generic, TypeVar

from kit.errors import InvalidArgument


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A code with its names, and where it comes from. `effective_until`: the last day of one that is retired."""

    code: str
    zh: str
    en: str
    version: str
    effective_from: date
    source: str = ""
    source_en: str = ""
    confidence: str = ""
    effective_until: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind(Word):
    """A kind of matter. `limit`: rule name, to which the complexity is added where `by_complexity`; `rate`: counts in 化解率."""

    limit: str
    by_complexity: bool = False
    parties: int = 0
    classified: bool = False
    rate: bool = False

    def rule(self, complexity: str) -> str:
        """The name of the rule that limits the handling; a matter that was not assessed counts as general."""
        return f"{self.limit}.{complexity or 'general'}" if self.by_complexity else self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Category(Word):
    restricted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Word):
    """`tells_parties`: they did not make it themselves, so the centre tells them. `agreement`: the form of the one that it carries, "written" or
    "oral"; `channel`: a conclusion names the channel that was told."""

    counts_concluded: bool
    counts_resolved: bool
    agreement: str = ""
    channel: bool = False
    tells_parties: bool = False
    while_suspended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SuspensionGround(Word):
    """`most_days`: working days that a case may stand on it at once."""

    most_days: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReopenGround(Word):
    """`resolved`: only for outcomes that count as resolved. `evidence`: what must stand in the case already, "answer" or "performance"."""

    resolved: bool
    evidence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground(Word):
    """Why a matter is not accepted. `basis`: the law that says so, where there is one; `lapsed`: papers that were asked for did not come."""

    basis: str = ""
    basis_en: str = ""
    lapsed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk(Word):
    mode: str
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """See data/rules/cases.toml."""

    version: str
    effective_from: date
    remind_left: float
    director_after: int
    duplicate_days: int
    most_duplicates: int
    most_parties: int
    most_supplements: int
    follow_up_tries: int
    most_extensions: int
    most_extension_days: int
    follow_up_calls: int
    most_reopenings: int
    most_performance_days: int
    pin_tries: int
    pin_locks: tuple[int, ...]
    suspensions: int
    suspension_days: int
    source: str
    source_en: str
    confidence: str


W = TypeVar("W", bound=Word)
V = TypeVar("V", bound="Word | Parameters")


class Dictionary(Generic[W]):
    """All versions of one list of words."""

    def __init__(self, name: str, words: Iterable[W]):
        self.name = name
        self._words: dict[str, list[W]] = {}
        for word in sorted(words, key=lambda w: w.effective_from):
            self._words.setdefault(word.code, []).append(word)

    def find(self, code: str, on: date) -> W | None:
        return self._not_retired(self._words.get(code, []), on)

    def get(self, code: str, on: date, *, field: str = "") -> W:
        """The word in force on a day. InvalidArgument(CODE_UNKNOWN) at `field` if there is none."""
        word = self.find(code, on)
        if word is None:
            raise InvalidArgument("CODE_UNKNOWN", field=field, dictionary=self.name, code=code)
        return word

    def on(self, day: date) -> list[W]:
        """Every word in force on a day, in the order of the file."""
        found = (self._not_retired(versions, day) for versions in self._words.values())
        return [word for word in found if word is not None]

    def _not_retired(self, versions: list[W], day: date) -> W | None:
        word = _in_force(versions, day)
        return None if word is None or (word.effective_until and day > word.effective_until) else word


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped(Word):
    """What another system calls an order (`code`), and what it is here. `category` empty: to be classified."""

    kind: str
    category: str = ""


class Sources:
    """Other systems that bring orders: data/sources/ACCOUNT.toml. One without a file is another department's, and uses our own codes."""

    def __init__(self, folder: Path):
        self._ways: dict[str, str] = {}
        self._codes: dict[str, Dictionary[Mapped]] = {}
        for path in sorted(folder.glob("*.toml")):
            table = tomllib.loads(path.read_text("utf-8"))
            self._ways[path.stem] = table["source"]
            self._codes[path.stem] = Dictionary(path.stem, (_made(Mapped, row) for row in table["entries"]))

    def way(self, account: str) -> str:
        """By which way its orders come in, a word of the proto's `Source`."""
        return self._ways.get(account, "department")

    def mapped(self, account: str, code: str, on: date, *, field: str) -> Mapped:
        """InvalidArgument(CODE_UNKNOWN) for a code that is not in the account's mapping."""
        return self._codes.get(account, Dictionary[Mapped](account, ())).get(code, on, field=field)


class Words:
    """Everything that the case chain takes from data files."""

    def __init__(self, data: Path):
        def words(name: str, of: type[W]) -> Dictionary[W]:
            table = tomllib.loads((data / "dictionaries" / f"{name}.toml").read_text("utf-8"))
            return Dictionary(name, (_made(of, row) for row in table["entries"]))

        self.kinds = words("kinds", Kind)
        self.categories = words("categories", Category)
        self.outcomes = words("outcomes", Outcome)
        self.grounds = words("grounds", Ground)
        self.return_grounds = words("return_grounds", Word)
        self.papers = words("papers", Word)
        self.reopen_grounds = words("reopen_grounds", ReopenGround)
        self.suspension_grounds = words("suspension_grounds", SuspensionGround)
        self.desks = words("desks", Desk)
        self.states = words("case_states", Word)
        self.scales = words("scales", Word)
        self.risks = words("risks", Word)
        self.complexities = words("complexities", Word)
        self.sources = Sources(data / "sources")
        rules = tomllib.loads((data / "rules" / "cases.toml").read_text("utf-8"))
        self._parameters = sorted(
            (_made(Parameters, row) for row in rules["parameters"]), key=lambda p: p.effective_from
        )

    def parameters(self, on: date) -> Parameters:
        found = _in_force(self._parameters, on)
        if found is None:
            raise LookupError(f"no parameters of the case chain in force on {on}")
        return found


def _in_force(versions: list[V], on: date) -> V | None:
    for version in reversed(versions):
        if version.effective_from <= on:
            return version
    return None


def _made(of: type[V], row: Mapping[str, Any]) -> V:
    """A row of a file as an object; TypeError names what is missing or unknown."""
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return of(**values)
