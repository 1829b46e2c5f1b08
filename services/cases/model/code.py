"""The code that a case has for life (一案一码)."""

from __future__ import annotations

from datetime import date
from functools import lru_cache

#: Numbers of a day; they need not be without gaps, only each different.
NUMBERS_PER_DAY = 1_000_000


def case_code(county: str, day: date, number: int) -> str:
    """A case's code for life (一案一码): county, day, number of the day, check digit: 150826-260302-481063-4."""
    body = f"{county}{day_digits(day)}{number % NUMBERS_PER_DAY:06d}"
    return f"{body[:6]}-{body[6:12]}-{body[12:]}-{check_digit(body)}"


@lru_cache(maxsize=8)
def day_digits(day: date) -> str:
    """Two digits each of year, month and day."""
    return f"{day:%y%m%d}"


def check_digit(digits: str) -> str:
    """ISO/IEC 7064 MOD 11,10: finds every single wrong digit and nearly every swap."""
    rest = 10
    for digit in digits:
        rest = (rest + int(digit)) % 10 or 10
        rest = rest * 2 % 11
    return str((11 - rest) % 10)


def read_code(typed: str) -> str | None:
    """The code as it is kept, from what somebody typed; None for what can be no code."""
    digits = "".join(c for c in typed if c not in "-－—– \u3000")
    if len(digits) != 19 or not (digits.isascii() and digits.isdigit()) or check_digit(digits[:18]) != digits[18]:
        return None
    return f"{digits[:6]}-{digits[6:12]}-{digits[12:18]}-{digits[18]}"
