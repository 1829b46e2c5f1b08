"""Who calls: principals, and what their roles permit. How a token becomes one: kit/verifier.py."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

from kit.register import SYSTEM_PREFIX


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who calls, or the system itself. `divisions`: code prefixes; `permissions`: names and patterns with `*`.

    `department`: the one that the account belongs to; `others`: further ones in which it holds a post too; `quota`: calls per minute that the
    register of outside systems allows it, None for people; `marks`: what its session can be revoked by, its own name first. `ends`: seconds since 1970 at
    which its token ends, 0 where it has none; `locale`: the language that its token names.
    """

    account: str
    roles: tuple[str, ...] = ()
    department: str = ""
    divisions: tuple[str, ...] = ()
    permissions: frozenset[str] = frozenset()
    system: bool = False
    token: str = field(default="", repr=False, compare=False)
    others: tuple[str, ...] = ()
    quota: int | None = None
    marks: tuple[str, ...] = field(default=(), repr=False, compare=False)
    ends: float = field(default=0.0, repr=False, compare=False)
    locale: str = field(default="", repr=False, compare=False)

    @property
    def departments(self) -> tuple[str, ...]:
        """Every department that the principal works in, its own first; empty without one."""
        return (self.department, *self.others) if self.department else ()

    @property
    def outside(self) -> bool:
        """Whether it is a system of the register, whose accounts no issuer may name."""
        return self.account.startswith(SYSTEM_PREFIX)

    def may(self, permission: str) -> bool:
        return _permits(self.permissions, permission)

    def covers(self, division: str) -> bool:
        """Whether the division is one of the principal's, or lies in one."""
        return division.startswith(self.divisions)

    def touches(self, division: str) -> bool:
        """Whether it covers the division or lies in it."""
        return self.covers(division) or any(own.startswith(division) for own in self.divisions)

    @classmethod
    def system_of(cls, root: str) -> Principal:
        """The platform itself, in events and timers: everything, within the root division."""
        return cls("system", divisions=(root,), permissions=frozenset({"*"}), system=True)

    @classmethod
    def anonymous(cls) -> Principal:
        return cls("")


@lru_cache(maxsize=8192)
def _permits(patterns: frozenset[str], permission: str) -> bool:
    return permission in patterns or any(fnmatchcase(permission, pattern) for pattern in patterns)


class Roles:
    """What each role permits: data/roles.toml."""

    def __init__(self, permissions: Mapping[str, Iterable[str]], for_systems: Iterable[str] = ()) -> None:
        self._permissions = {role: frozenset(listed) for role, listed in permissions.items()}
        #: Those that an outside system may be given.
        self.for_systems = frozenset(for_systems)

    @classmethod
    def load(cls, path: Path) -> Roles:
        """`[role] zh = "…" en = "…" permissions = ["cases.cases.get", "grid.divisions.*"]`, and `systems = true` for outside systems."""
        roles = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls(
            {role: entry["permissions"] for role, entry in roles.items()},
            (role for role, entry in roles.items() if entry.get("systems")),
        )

    @property
    def names(self) -> Sequence[str]:
        return list(self._permissions)

    def permissions(self, roles: Iterable[str]) -> frozenset[str]:
        """What these roles give together. A role that is not ours gives nothing."""
        return frozenset().union(*(self._permissions.get(role, frozenset()) for role in roles))
