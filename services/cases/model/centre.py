"""A governance centre (综治中心)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Centre:
    """A governance centre. `id`: its department id."""

    id: str
    name: str
    name_en: str
    level: str
    division: str
    superior: str
