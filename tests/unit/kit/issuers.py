"""Issuers and tokens for the tests of identity."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet
from joserfc.jws import JWSRegistry

from kit.claims import ClaimMapping
from kit.errors import Unavailable
from kit.identity import Roles
from kit.oidc import KnownKeys
from kit.register import Register
from kit.verifier import Trusted, Verifier

START = datetime(2026, 3, 2, tzinfo=UTC)
NAME = "https://id.example.cn"
ROLES = Roles({"clerk": ["cases.cases.*", "grid.divisions.list"], "admin": ["*"], "hotline": ["cases.cases.create"]})


def seconds(moment: datetime = START, **later: float) -> int:
    return int((moment + timedelta(**later)).timestamp())


def ec_key(**more: Any) -> ECKey:
    return ECKey.generate_key("P-256", {"use": "sig", **more}, auto_kid=True)


KEY = ec_key()


class Issuer:
    """One whose keys are given, and which can be away."""

    def __init__(self, *keys: Any, name: str = NAME):
        self.name, self.published, self.asked, self.away = name, list(keys) or [KEY], 0, False

    async def keys(self) -> KeySet:
        self.asked += 1
        if self.away:
            raise Unavailable("ISSUER_AWAY")
        return KeySet(list(self.published))


def verifier(
    issuer: Any, clock: Any, *, age: float = 3600, register: Register | None = None, **mapping: Any
) -> Verifier:
    trusted = Trusted(
        KnownKeys(issuer, age), "hetao", ClaimMapping(ROLES.names, **mapping), longest=24 * 3600, clients=True
    )
    return Verifier([trusted], ROLES, clock, register=register)


def token(key: Any = KEY, alg: str = "ES256", header: dict[str, Any] | None = None, **changes: Any) -> str:
    claims = {
        "iss": NAME,
        "sub": "window-clerk",
        "aud": "hetao",
        "iat": seconds(),
        "exp": seconds(hours=1),
        "roles": ["clerk", "unknown"],
        "department": "d1",
        "divisions": ["150802"],
    } | changes
    said = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(
        {"alg": alg, "kid": key.kid} | (header or {}),
        said,
        key,
        algorithms=[alg],
        registry=JWSRegistry(algorithms=[alg], strict_check_header=False),
    )


def without_kid(key: Any, **changes: Any) -> str:
    return jwt.encode({"alg": "ES256"}, _claims(changes), key, algorithms=["ES256"])


def _claims(changes: dict[str, Any]) -> dict[str, Any]:
    return {"iss": NAME, "sub": "window-clerk", "aud": "hetao", "iat": seconds(), "exp": seconds(hours=1)} | changes
