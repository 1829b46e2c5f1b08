"""Steps of the timeline, and the words that their sentences are filled with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from kit.clock import business_date
from services.cases.model import TOLD
from services.cases.store.cases import Step
from services.cases.words import Word


def step(what: str, params: Mapping[str, object] | None = None, *, note: bytes | None = None) -> Step:
    """A step of the timeline. `params` fill its sentence."""
    return Step(what, {name: str(value) for name, value in (params or {}).items()}, what in TOLD, note)


def both(name: str, word: Word | None) -> dict[str, str]:
    """A word for a sentence in two languages: {name}_zh and {name}_en."""
    return {f"{name}_zh": word.zh if word else "", f"{name}_en": word.en if word else ""}


def day(moment: datetime) -> str:
    """A moment's day where the work is done, as sentences and messages show it."""
    return business_date(moment).isoformat()
