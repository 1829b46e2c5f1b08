"""Which part of the city a list shows: one division and all that lies in it, never more than the caller may see."""

from __future__ import annotations

from kit.errors import PermissionDenied
from kit.unit import Unit


def scope(unit: Unit, division: str) -> str:
    """The division that is listed: the one asked for, or the caller's own. PermissionDenied(DIVISION_FOREIGN)."""
    mine = unit.principal.divisions
    if not division and mine:
        return mine[0]
    if not division or not unit.principal.covers(division):
        raise PermissionDenied("DIVISION_FOREIGN", field="division", division=division)
    return division


def after(prefix: str) -> str:
    """The first text behind all that begin with the prefix (in the order of bytes): codes of a division lie between the two."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def within(unit: Unit, division: str) -> bool:
    """Whether the caller's divisions hold this one or lie in it: the directory above oneself is no secret."""
    return unit.principal.covers(division) or any(own.startswith(division) for own in unit.principal.divisions)
