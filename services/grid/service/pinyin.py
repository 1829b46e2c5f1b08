"""How Chinese names are read."""

from __future__ import annotations

import os
from functools import cache

#: Of the readings of a polyphone the first is the likeliest; these characters are read otherwise in names of places.
IN_NAMES_OF_PLACES = {"长": ["chang", "zhang"], "乐": ["le", "yue"], "行": ["hang", "xing"], "会": ["hui"]}


def syllables(name: str) -> list[list[str]]:
    """Each character with its two likeliest syllables; what is no Chinese stands for itself."""
    return [spoken(character) for character in name]


@cache
def spoken(character: str) -> list[str]:
    """The dictionary is loaded at the first character, and its phrases never: they take 40 MB and read names of places no better."""
    os.environ.setdefault("PYPINYIN_NO_PHRASES", "true")
    from pypinyin import Style, pinyin

    return IN_NAMES_OF_PLACES.get(character) or pinyin(character.lower(), style=Style.NORMAL, heteronym=True)[0][:2]


def spelt(name: str) -> str:
    """A name in Latin letters, for whoever reads no Chinese."""
    return "".join(one[0] for one in syllables(name)).capitalize()
