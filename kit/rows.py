"""Copies of frozen rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

R = TypeVar("R")


def altered(row: R, **changes: Any) -> R:
    """`dataclasses.replace` for rows of many columns: that goes through `__init__` again, and on fifty columns costs four times as much.

    AttributeError for a name that the row lacks. A row with a `__post_init__`, or without slots, is left to `replace`.
    """
    kind = type(row)
    copy = _copiers.get(kind) or _copier(kind)
    if copy is None:
        return replace(row, **changes)  # type: ignore[type-var]
    new: R = object.__new__(kind)
    copy(row, new)
    for name, value in changes.items():
        object.__setattr__(new, name, value)
    return new


_copiers: dict[type, Callable[[Any, Any], None]] = {}


def _copier(of: type) -> Callable[[Any, Any], None] | None:
    """A function that sets every slot of its second argument as it is in the first; compiled from source, as `dataclasses` does."""
    if hasattr(of, "__post_init__") or not hasattr(of, "__slots__"):
        return None
    setters: dict[str, Any] = {f"set_{f.name}": getattr(of, f.name).__set__ for f in fields(of)}
    lines = "".join(f"    set_{f.name}(new, old.{f.name})\n" for f in fields(of))
    exec(f"def copy(old, new):\n{lines}", setters)
    copy: Callable[[Any, Any], None] = setters["copy"]
    _copiers[of] = copy
    return copy
