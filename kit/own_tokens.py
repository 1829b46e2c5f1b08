"""Tokens that the platform signs itself, by keys derived from its keyring, which all of its processes hold.

Two kinds, told apart by their issuer and signed by different keys, so that neither can pass for the other:

    urn:hetao:services   a process speaks for itself, and may ask the register for news; no more (`SERVICE_PERMISSIONS`)
    urn:hetao:systems    an outside system that has proved who it is at the token endpoint; what it may do stands in the register, not in the token

A keyring of several keys signs with the last but one and believes the last three: while processes are restarted one by one with a new key, those that
have it and those that do not take one another's word. A key counts no more after the third change.
"""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwt
from joserfc.jwk import OKPKey

from kit.clock import Clock
from kit.sealing import Keys
from kit.tokens import Key

SERVICES: Final = "urn:hetao:services"
SYSTEMS: Final = "urn:hetao:systems"

SERVICE_PERMISSIONS: Final = frozenset({"platform.register.follow"})

#: A process makes itself another one long before.
_SERVICE_MINUTES: Final = 2


class OwnIssuer:
    """One of the two: its keys for the verifier, and `mint`."""

    def __init__(self, name: str, keys: Keys, clock: Clock, audience: str) -> None:
        self.name, self._clock, self._audience = name, clock, audience
        self._keys = [_ed25519(number, seed) for number, seed in keys.seeds(name)]

    async def keys(self) -> tuple[Key, ...]:
        return tuple(self._keys)

    def mint(self, subject: str, minutes: float, **claims: Any) -> str:
        now = int(self._clock.now().timestamp())
        said = {
            "iss": self.name,
            "sub": subject,
            "aud": self._audience,
            "iat": now,
            "exp": now + int(minutes * 60),
            "jti": str(uuid4()),
        }
        key = self._keys[0]
        header = {"alg": "Ed25519", "typ": "at+jwt", "kid": key.kid}
        return jwt.encode(header, said | claims, key, algorithms=["Ed25519"])


class ServiceToken:
    """The token by which a process asks others; made anew when half of its time is over."""

    def __init__(self, service: str, keys: Keys, clock: Clock, audience: str) -> None:
        self._issuer, self._clock = OwnIssuer(SERVICES, keys, clock, audience), clock
        self._subject, self._token, self._until = f"service:{service}", "", clock.now()

    def __call__(self) -> str:
        now = self._clock.now()
        if not self._token or now >= self._until:
            self._token = self._issuer.mint(self._subject, _SERVICE_MINUTES)
            self._until = now + timedelta(minutes=_SERVICE_MINUTES / 2)
        return self._token


def _ed25519(number: int, seed: bytes) -> OKPKey:
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return OKPKey.import_key(
        {"kty": "OKP", "crv": "Ed25519", "d": _text(seed), "x": _text(public), "kid": str(number), "use": "sig"}
    )


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
