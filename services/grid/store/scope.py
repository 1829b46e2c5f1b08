"""Which part of the city a list shows: one division and all that lies in it, never more than the caller may see."""

from __future__ import annotations

from kit.errors import InvalidArgument, NotFound
from kit.unit import Unit


def scope(unit: Unit, division: str, field: str = "division") -> str:
    """The division that is listed: the one asked for, or the caller's own. `field`: where in the request it, or a code in it, was named.

    NotFound for one of others, as for one that does not exist; InvalidArgument(DIVISION_NEEDED) where the caller has none or several and names none.
    """
    mine = unit.principal.divisions
    if not division:
        if len(mine) != 1:
            raise InvalidArgument("DIVISION_NEEDED", field=field)
        return mine[0]
    if not unit.principal.covers(division):
        raise NotFound("NOT_FOUND", field=field, resource=field)
    return division


def after(prefix: str) -> str:
    """The first text behind all that begin with the prefix (in the order of bytes): codes of a division lie between the two."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def within(unit: Unit, division: str) -> bool:
    """Whether the caller's divisions hold this one or lie in it: the directory above oneself is no secret."""
    return unit.principal.covers(division) or any(own.startswith(division) for own in unit.principal.divisions)
