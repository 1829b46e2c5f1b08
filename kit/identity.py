"""Who calls: principals, what their roles permit, and the tokens that prove it (OIDC, JWT).

A token is verified once, by the issuer's public keys, and then known by its hash until it expires: the signature costs a tenth of a
millisecond, the look-up two microseconds.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
import tomllib
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import httpx
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError, SecurityWarning
from joserfc.jwk import KeySet
from joserfc.jws import extract_compact

from kit.clock import Clock
from kit.errors import StartupError, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from kit.config import Settings

#: Signatures with a public key alone. `EdDSA` is what most issuers still call Ed25519.
ALGORITHMS: Final = ("Ed25519", "EdDSA", "ES256", "RS256")

warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)

LONGEST_TOKEN: Final = 8 * 1024
REMEMBERED: Final = 4096

#: Seconds between two looks at an issuer's keys, so that made-up key ids cannot make us call it at will.
REFRESH_EVERY: Final = 10.0


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who calls, or the system itself. `divisions`: code prefixes; `permissions`: names and patterns with `*`.

    `department`: the one that the account belongs to; `others`: further ones in which it holds a post too.
    """

    account: str
    roles: tuple[str, ...] = ()
    department: str = ""
    divisions: tuple[str, ...] = ()
    permissions: frozenset[str] = frozenset()
    system: bool = False
    token: str = field(default="", repr=False, compare=False)
    others: tuple[str, ...] = ()

    @property
    def departments(self) -> tuple[str, ...]:
        """Every department that the principal works in, its own first; empty without one."""
        return (self.department, *self.others) if self.department else ()

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

    def __init__(self, permissions: Mapping[str, Iterable[str]]) -> None:
        self._permissions = {role: frozenset(listed) for role, listed in permissions.items()}

    @classmethod
    def load(cls, path: Path) -> Roles:
        """`[role] zh = "…" en = "…" permissions = ["cases.cases.get", "grid.divisions.*"]`"""
        roles = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls({role: entry["permissions"] for role, entry in roles.items()})

    @property
    def names(self) -> Sequence[str]:
        return list(self._permissions)

    def permissions(self, roles: Iterable[str]) -> frozenset[str]:
        """What these roles give together. A role that is not ours gives nothing."""
        return frozenset().union(*(self._permissions.get(role, frozenset()) for role in roles))


class Issuer(Protocol):
    """Where tokens come from. `keys` may be asked for anew, where they can change."""

    name: str

    async def keys(self) -> KeySet: ...


class OidcIssuer:
    """An issuer that is known by its address: its keys stand where its discovery document says (OpenID Connect Discovery 1.0)."""

    def __init__(self, name: str, *, client: httpx.AsyncClient | None = None) -> None:
        self.name = name
        self._client = client

    async def keys(self) -> KeySet:
        """Raises `Unavailable` while the issuer does not answer as it should."""
        client = self._client or httpx.AsyncClient(timeout=5.0)
        try:
            discovered = await client.get(f"{self.name.rstrip('/')}/.well-known/openid-configuration")
            document = discovered.raise_for_status().json()
            if document["issuer"] != self.name:
                raise ValueError("issuer")
            return KeySet.import_key_set((await client.get(document["jwks_uri"])).raise_for_status().json())
        except (httpx.HTTPError, JoseError, ValueError, KeyError, TypeError) as error:
            raise Unavailable("ISSUER_AWAY") from error
        finally:
            if client is not self._client:
                await client.aclose()


@dataclass(slots=True)
class _Known:
    """An issuer's keys as we know them."""

    issuer: Issuer
    keys: KeySet | None = None
    asked: float = -REFRESH_EVERY
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def has(self, kid: str | None) -> bool:
        return self.keys is not None and (kid is None or any(key.kid == kid for key in self.keys.keys))

    async def for_kid(self, kid: str | None) -> KeySet:
        """The issuer's keys; asked for anew if this key id is not among them."""
        if not self.has(kid):
            async with self.lock:
                if not self.has(kid) and time.monotonic() - self.asked >= REFRESH_EVERY:
                    self.keys = await self.issuer.keys()
                    self.asked = time.monotonic()
        if self.keys is None:
            raise Unavailable("ISSUER_AWAY")
        return self.keys


def check_trust(settings: Settings) -> None:
    """Raises `StartupError` where anybody could sign in as anybody: the demo issuer in production, or where others than this machine's people can
    reach it."""
    if settings.identity.issuer is not None:
        return
    if settings.profile == "production":
        raise StartupError(
            "生产模式必须设置 HETAO_IDENTITY__ISSUER：内置演示签发方仅用于内嵌模式",
            "set HETAO_IDENTITY__ISSUER: the built-in demo issuer is for the embedded profile alone",
        )
    for variable, host in (("HETAO_HTTP__HOST", settings.http.host), ("HETAO_GRPC__HOST", settings.grpc.host)):
        if not _is_loopback(host):
            raise StartupError(
                f"{variable}={host} 对其他机器开放，而内置演示签发方不核实身份：请改为 127.0.0.1，或设置 HETAO_IDENTITY__ISSUER",
                f"{variable}={host} is open to other machines, and the demo issuer asks nobody who they are: "
                "set it to 127.0.0.1, or set HETAO_IDENTITY__ISSUER",
            )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Verifier:
    """Tokens → principals. `claims` says where an issuer puts roles, department and divisions ("realm_access.roles")."""

    def __init__(
        self,
        issuers: Iterable[Issuer],
        roles: Roles,
        clock: Clock,
        *,
        audience: str,
        skew_seconds: int = 30,
        claims: Mapping[str, str] | None = None,
    ) -> None:
        self._issuers = {issuer.name: _Known(issuer) for issuer in issuers}
        self._roles, self._clock, self._audience, self._skew = roles, clock, audience, skew_seconds
        self._claims = {"roles": "roles", "department": "department", "divisions": "divisions", **(claims or {})}
        self._remembered: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()

    @classmethod
    def of(cls, settings: Settings, roles: Roles, clock: Clock, demo: Issuer | None = None) -> Verifier:
        """The verifier of a process. `demo`: the built-in issuer, which embedded mode trusts when no other is configured.

        Raises `StartupError` where nobody could be trusted.
        """
        check_trust(settings)
        identity = settings.identity
        issuer: Issuer | None = OidcIssuer(identity.issuer) if identity.issuer else demo
        if issuer is None:
            raise StartupError("没有可信的签发方", "there is no issuer to trust")
        return cls(
            [issuer],
            roles,
            clock,
            audience=identity.audience,
            skew_seconds=identity.clock_skew_seconds,
            claims=identity.claims,
        )

    async def verify(self, token: str) -> Principal:
        """Whom the token stands for. Unauthenticated(TOKEN_INVALID | TOKEN_EXPIRED); Unavailable(ISSUER_AWAY)."""
        digest = hashlib.sha256(token.encode()).digest()
        known = self._remembered.get(digest)
        if known is None:
            known = self._remembered[digest] = await self._check(token)
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        principal, expires = known
        if self._clock.now().timestamp() >= expires + self._skew:
            self._remembered.pop(digest, None)
            raise Unauthenticated("TOKEN_EXPIRED")
        return principal

    async def _check(self, token: str) -> tuple[Principal, float]:
        if len(token) > LONGEST_TOKEN:
            raise Unauthenticated("TOKEN_INVALID")
        try:
            header, said = _unverified(token)
            known = self._issuers.get(str(said.get("iss")))
            if known is None or header.get("alg") not in ALGORITHMS:
                raise Unauthenticated("TOKEN_INVALID")
            kid = header.get("kid")
            keys = await known.for_kid(kid if isinstance(kid, str) else None)
            claims = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
            self._rules().validate(claims)
            return self._principal(claims, token), float(claims["exp"])
        except ExpiredTokenError:
            raise Unauthenticated("TOKEN_EXPIRED") from None
        except (JoseError, ValueError, TypeError, RecursionError):
            raise Unauthenticated("TOKEN_INVALID") from None

    def _rules(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()),
            leeway=self._skew,
            aud={"essential": True, "value": self._audience},
            sub={"essential": True},
            exp={"essential": True},
        )

    def _principal(self, claims: Mapping[str, Any], token: str) -> Principal:
        account = claims["sub"]
        if not isinstance(account, str) or not 0 < len(account) <= 200 or account == "system":
            raise ValueError("sub")
        department, *others = _departments(_claim(claims, self._claims["department"]))
        roles = _texts(_claim(claims, self._claims["roles"]))
        return Principal(
            account=account,
            roles=roles,
            department=department,
            others=tuple(others),
            # An empty prefix would be the whole country.
            divisions=tuple(code for code in _texts(_claim(claims, self._claims["divisions"])) if code.isdigit()),
            permissions=self._roles.permissions(roles),
            token=token,
        )


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims as the token tells them, which only says whose keys to try."""
    found = extract_compact(token.encode())
    header, claims = found.headers(), json.loads(found.payload)
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise ValueError("not a JWT")
    return header, claims


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    value: Any = claims
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _departments(value: Any) -> tuple[str, ...]:
    """The claim is one department, or a list of them with the account's own first. An empty text is no department."""
    if isinstance(value, list):
        return tuple(text for text in _texts(value) if text) or ("",)
    return (value,) if isinstance(value, str) else ("",)


def _texts(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError("a list of texts was expected")
    return tuple(value)
