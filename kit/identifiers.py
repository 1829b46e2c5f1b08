"""Numbers that name persons, organisations and telephones in China: are they well formed?

Form alone. Whether a number was ever issued is not ours to know, and the place in a resident number is not checked: the region's codes
changed several times, and elders keep the code of their birth.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Final

_RESIDENT = re.compile(r"[1-9]\d{16}[\dX]", re.ASCII)
_RESIDENT_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CREDIT_DIGITS: Final = "0123456789ABCDEFGHJKLMNPQRTUWXY"
_CREDIT = re.compile(rf"[{_CREDIT_DIGITS}]{{2}}\d{{6}}[{_CREDIT_DIGITS}]{{10}}", re.ASCII)
_MOBILE = re.compile(r"1[3-9]\d{9}", re.ASCII)
_LANDLINE = re.compile(r"(?:0(?:10|2\d)-?\d{8}|0[3-9]\d{2}-?\d{7,8})", re.ASCII)


def is_resident_id(text: str) -> bool:
    """An 18-digit resident number: its form, a real date of birth, the check digit. GB 11643-1999."""
    if not _RESIDENT.fullmatch(text):
        return False
    try:
        date(int(text[6:10]), int(text[10:12]), int(text[12:14]))
    except ValueError:
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_RESIDENT_WEIGHTS, text, strict=False))
    return "10X98765432"[total % 11] == text[17]


def is_credit_code(text: str) -> bool:
    """A unified social credit code of 18 characters: its form and the check character. GB 32100-2015."""
    if not _CREDIT.fullmatch(text):
        return False
    total = sum(pow(3, place, 31) * _CREDIT_DIGITS.index(character) for place, character in enumerate(text[:17]))
    return _CREDIT_DIGITS[-total % 31] == text[17]


def is_mobile(text: str) -> bool:
    """A mobile number of the mainland: 11 digits, no country code."""
    return _MOBILE.fullmatch(text) is not None


def is_phone(text: str) -> bool:
    """A mobile number, or a landline with its area code, such as 0478-8212345."""
    return is_mobile(text) or _LANDLINE.fullmatch(text) is not None
