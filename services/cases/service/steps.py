"""Steps of the timeline, and the words that their sentences are filled with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from kit.clock import business_date
from services.cases.model import TOLD, Centre, Task
from services.cases.store.cases import Step
from services.cases.words import Word


def step(what: str, params: Mapping[str, object] | None = None, *, note: bytes | None = None) -> Step:
    """A step of the timeline. `params` fill its sentence."""
    return Step(what, {name: str(value) for name, value in (params or {}).items()}, what in TOLD, note)


def filled(params: Mapping[str, str]) -> dict[str, str]:
    """What a step's sentences are filled with: {name_zh} and {name_en} are the name itself where it has no other."""
    return {f"{name}_{language}": value for name, value in params.items() for language in ("zh", "en")} | dict(params)


def of_centre(centre: Centre) -> dict[str, str]:
    """The names of a centre, for a sentence."""
    return {"centre_zh": centre.name, "centre_en": centre.name_en or centre.name}


def of_department(task: Task) -> dict[str, str]:
    """The names of a task's department or desk, for a sentence."""
    return {"department_zh": task.department_name, "department_en": task.department_name_en or task.department_name}


def both(name: str, word: Word | None) -> dict[str, str]:
    """A word for a sentence in two languages: {name}_zh and {name}_en."""
    return {f"{name}_zh": word.zh if word else "", f"{name}_en": word.en if word else ""}


def day(moment: datetime) -> str:
    """A moment's day where the work is done, as sentences and messages show it."""
    return business_date(moment).isoformat()
