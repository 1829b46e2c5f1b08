"""Copies of frozen rows are what `dataclasses.replace` makes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, field, replace

import pytest

from kit.rows import altered


@dataclass(frozen=True, slots=True)
class Wide:
    id: int
    title: str = "a"
    parts: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Plain:
    id: int


@dataclass(frozen=True, slots=True)
class Checked:
    id: int

    def __post_init__(self) -> None:
        if self.id < 0:
            raise ValueError("negative")


def test_a_copy_differs_in_what_was_said_alone() -> None:
    row = Wide(1, parts=["x"])
    copy = altered(row, title="b")
    assert copy == replace(row, title="b")
    assert hash(altered(Wide(1, parts=()), id=2)) == hash(Wide(2, parts=()))  # type: ignore[arg-type]
    assert (row.title, copy.parts is row.parts) == ("a", True)
    with pytest.raises(FrozenInstanceError):
        copy.title = "c"  # type: ignore[misc]


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError):
        altered(Wide(1), titel="b")


def test_rows_that_check_themselves_or_have_no_slots_are_copied_the_usual_way() -> None:
    assert altered(Plain(1), id=2) == Plain(2)
    with pytest.raises(ValueError, match="negative"):
        altered(Checked(1), id=-1)
