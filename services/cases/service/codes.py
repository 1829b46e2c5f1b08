"""New case codes."""

from __future__ import annotations

from kit.sealing import Keys
from kit.unit import Unit
from services.cases import model
from services.cases.store import cases as store


class Codes:
    """Keeps a block of the sequence's numbers in memory, so that few cases ask for one.

    A party looks its case up by the code, and a code is locked after a few wrong PINs. If codes followed one another, a stranger could name every
    case of a county's day and lock all its parties out. So the sequence makes each number unique, and a keyed permutation, another one for each
    county and day, makes none of them tell the next: whoever guesses hits one of the day's few cases in a million numbers.
    """

    def __init__(self, keys: Keys):
        self._keys = keys
        self._next = self._end = 0

    async def new(self, unit: Unit, county: str) -> str:
        """A code that no case has. Gaps in the numbers do not matter; a repetition would break the unique code."""
        if self._next == self._end:
            first = await store.next_numbers(unit)
            self._next, self._end = first, first + store.NUMBERS_AT_ONCE
        number, self._next = self._next, self._next + 1
        series = f"{county}/{model.day_digits(unit.today)}"
        return model.case_code(county, unit.today, self._keys.shuffled("cases.code", series, number))
