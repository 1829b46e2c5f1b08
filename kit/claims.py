"""What an issuer's claims mean here: roles, department, divisions.

Issuers put them in different places and call them differently. The mapping is configuration:

    claims       where each stands: {"roles": ["realm_access.roles", "resource_access.hetao.roles"], "divisions": "groups"}
    prefixes     what is taken off, and without which a value is none of ours: {"roles": "hetao-", "divisions": "/divisions/"}
    roles        the issuer's role → ours: {"Hetao operators": "admin"}
    departments  the issuer's department → the id of ours

A role of the issuer is one of ours if `roles` names it; else if it has the prefix and the rest is one of ours; and by its own name where neither
is set. So a role that another application of the same issuer calls "admin" is not ours by accident, once a prefix or a list is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kit.errors import StartupError

if TYPE_CHECKING:
    from kit.identity import Roles
    from kit.sections import Mapped

#: What can be mapped, and where it stands by default.
DEFAULTS: Final = {"account": "sub", "roles": "roles", "department": "department", "divisions": "divisions"}

#: Codes of a province's parts: city, county, township, community. An empty prefix would be the whole country.
_DIVISION: Final = re.compile(r"\d{4}|\d{6}|\d{9}|\d{12}", re.ASCII)

LONGEST_ACCOUNT: Final = 200

#: The platform's own, and the register's (kit/register.py): no issuer may name them.
_RESERVED: Final = re.compile(r"system|service:.*|system-.*")

#: (Chinese, English).
Note = tuple[str, str]


class ClaimWrong(Exception):
    """A claim is not of the shape that its mapping expects; `args[0]` names what it was mapped to."""


@dataclass(frozen=True, slots=True)
class Who:
    """`department`: the account's own first, then those in which it holds a post too."""

    account: str
    roles: tuple[str, ...]
    departments: tuple[str, ...]
    divisions: tuple[str, ...]


class ClaimMapping:
    """`known`: our roles. Raises `StartupError` for a mapping that cannot be meant."""

    def __init__(
        self,
        known: Iterable[str],
        claims: Mapping[str, str | list[str]] | None = None,
        roles: Mapping[str, str] | None = None,
        departments: Mapping[str, str] | None = None,
        prefixes: Mapping[str, str] | None = None,
        account_prefix: str = "",
    ) -> None:
        self._known, self._roles, self._departments = frozenset(known), dict(roles or {}), dict(departments or {})
        self._prefixes, self._account_prefix = dict(prefixes or {}), account_prefix
        given = {name: [path] if isinstance(path, str) else list(path) for name, path in (claims or {}).items()}
        self._paths = {name: [path] for name, path in DEFAULTS.items()} | given
        self._check(given)

    @classmethod
    def of(cls, mapped: Mapped, roles: Roles, account_prefix: str = "") -> ClaimMapping:
        return cls(roles.names, mapped.claims, mapped.roles, mapped.departments, mapped.prefixes, account_prefix)

    def _check(self, given: Mapping[str, Sequence[str]]) -> None:
        for setting, names in (("CLAIMS", given), ("PREFIXES", self._prefixes)):
            if unknown := sorted(names.keys() - DEFAULTS.keys()):
                raise _wrong(setting, f"没有 {unknown[0]}，可映射的为 {', '.join(DEFAULTS)}", f"there is no {unknown[0]}; there are {', '.join(DEFAULTS)}")  # fmt: skip
        for name, paths in given.items():
            if not paths or not all(path.strip(".") and path == path.strip() for path in paths):
                raise _wrong("CLAIMS", f"{name} 的路径为空或有误", f"the path of {name} is empty or not a path")
        if foreign := sorted({*self._roles.values()} - self._known):
            raise _wrong("ROLES", f"没有角色 {foreign[0]}；现有：{'、'.join(sorted(self._known))}", f"there is no role {foreign[0]}; there are {', '.join(sorted(self._known))}")  # fmt: skip

    # -- a token's claims ---------------------------------------------------------------------------------------------

    def read(self, claims: Mapping[str, Any], notes: list[Note] | None = None) -> Who:
        """Who the claims speak of. Raises `ClaimWrong`. `notes`: told what each value became, and why."""
        told: list[Note] = [] if notes is None else notes
        account = self._account(claims)
        told.append((f"账号 {account}", f"account {account}"))
        roles = tuple(dict.fromkeys(self._roles_of(claims, told)))
        departments = tuple(dict.fromkeys(self._departments_of(claims, told)))
        divisions = tuple(dict.fromkeys(self._divisions_of(claims, told)))
        return Who(account, roles, departments, divisions)

    def _account(self, claims: Mapping[str, Any]) -> str:
        found = next((value for path in self._paths["account"] if (value := at(claims, path)) is not None), None)
        if not isinstance(found, str) or not found:
            raise ClaimWrong("account")
        account = self._account_prefix + found
        if not account.isprintable() or len(account) > LONGEST_ACCOUNT or _RESERVED.fullmatch(account):
            raise ClaimWrong("account")
        return account

    def _roles_of(self, claims: Mapping[str, Any], told: list[Note]) -> Iterator[str]:
        prefix = self._prefixes.get("roles", "")
        by_name = not (prefix or self._roles)
        for path, role in self._values(claims, "roles", told):
            ours = self._roles.get(role)
            if ours is None and (by_name or (prefix and role.startswith(prefix))):
                ours = role.removeprefix(prefix)
            if ours is None:
                told.append((f"{path} 的 {role}：与本平台无关", f"{role} in {path}: none of ours"))
            elif ours not in self._known:
                told.append((f"{path} 的 {role} → {ours}：没有这个角色", f"{role} in {path} → {ours}: no such role"))
            else:
                told.append((f"{path} 的 {role} → 角色 {ours}", f"{role} in {path} → role {ours}"))
            if ours is not None:
                yield ours

    def _departments_of(self, claims: Mapping[str, Any], told: list[Note]) -> Iterator[str]:
        prefix = self._prefixes.get("department", "")
        for path, value in self._values(claims, "department", told, split=False):
            if not value or not value.startswith(prefix):
                continue
            ours = self._departments.get(value) or self._departments.get(value.removeprefix(prefix))
            ours = ours or value.removeprefix(prefix)
            told.append((f"{path} 的 {value} → 部门 {ours}", f"{value} in {path} → department {ours}"))
            yield ours

    def _divisions_of(self, claims: Mapping[str, Any], told: list[Note]) -> Iterator[str]:
        prefix = self._prefixes.get("divisions", "")
        for path, value in self._values(claims, "divisions", told):
            # Of a group's path ("/divisions/1508/150802") the last part counts.
            code = value.removeprefix(prefix).rsplit("/", 1)[-1] if prefix else value
            if value.startswith(prefix) and _DIVISION.fullmatch(code):
                told.append((f"{path} 的 {value} → 区划 {code}", f"{value} in {path} → division {code}"))
                yield code
            else:
                told.append((f"{path} 的 {value}：不是区划代码", f"{value} in {path}: no code of a division"))

    def _values(
        self, claims: Mapping[str, Any], name: str, told: list[Note], *, split: bool = True
    ) -> Iterator[tuple[str, str]]:
        """Each text that a mapped claim holds. One text stands for several, parted by blanks, as in `scope`, where `split` says so."""
        for path in self._paths[name]:
            value = at(claims, path)
            if value is None:
                told.append((f"令牌中没有 {path}", f"the token has no {path}"))
            elif isinstance(value, str):
                yield from ((path, part) for part in (value.split() if split else [value]))
            elif isinstance(value, list) and all(isinstance(one, str) for one in value):
                yield from ((path, one) for one in value)
            else:
                raise ClaimWrong(name)


def at(claims: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path. A claim whose name has dots in it, such as a URL, is found by its whole name first."""
    if path in claims:
        return claims[path]
    head, dot, rest = path.partition(".")
    while dot:
        inner = claims.get(head)
        if isinstance(inner, Mapping) and (found := at(inner, rest)) is not None:
            return found
        more, dot, rest = rest.partition(".")
        head = f"{head}.{more}"
    return None


def _wrong(setting: str, zh: str, en: str) -> StartupError:
    return StartupError(f"HETAO_IDENTITY__{setting} 有误：{zh}", f"HETAO_IDENTITY__{setting} is wrong: {en}")
