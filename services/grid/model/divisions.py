"""Divisions, their codes and how their names are read."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, product

CITY, COUNTY, TOWNSHIP, VILLAGE = "city", "county", "township", "village"

#: Digits of a code by level. A code begins with the codes of all divisions above it.
DIGITS = {CITY: 4, COUNTY: 6, TOWNSHIP: 9, VILLAGE: 12}

#: Readings of a name that are searched; the rest of a name full of polyphones is not worth its space.
READINGS = 8


@dataclass(frozen=True, slots=True)
class Division:
    """A row of data/divisions.csv. `pinyin`: readings without tones, parted by blanks, the likeliest first; `initials` in the same way."""

    code: str
    name: str
    short_name: str
    level: str
    parent: str
    code12: str
    mca_code: str
    kind: str
    source: str
    pinyin: str
    initials: str


@dataclass(frozen=True, slots=True)
class Ancestors:
    """The codes of a division's county, township and village; empty below its level."""

    county: str
    township: str
    community: str

    @classmethod
    def of(cls, code: str) -> Ancestors:
        """Of a division or of a grid."""
        return cls(*(code[:digits] if len(code) >= digits else "" for digits in (6, 9, 12)))


def readings(syllables: Sequence[Sequence[str]]) -> tuple[str, str]:
    """(pinyin, initials) of a name whose every character has one or more syllables, the likeliest first."""
    combinations = list(islice(product(*syllables), READINGS))
    pinyin = dict.fromkeys("".join(one) for one in combinations)
    initials = dict.fromkeys("".join(syllable[0] for syllable in one) for one in combinations)
    return " ".join(pinyin), " ".join(initials)


def search_words(query: str) -> str:
    """A query as names are compared: NFKC, small letters, no blanks."""
    return "".join(unicodedata.normalize("NFKC", query).lower().split())
