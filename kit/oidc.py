"""Issuers of tokens that are known by their address, and their keys as we know them (OpenID Connect Discovery 1.0).

An issuer may be away when we start and come later, change its keys at any time, and go away again: who comes with a key that is known is served all
the same. Nobody can make us call the issuer at will.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import time
from pathlib import Path
from typing import Any, Final, Protocol

import httpx
from joserfc.jwk import KeySet

from kit.errors import Unavailable
from kit.tokens import Key, keys_of, public

log = logging.getLogger(__name__)

#: Seconds between two looks at an issuer's keys, so that made-up key ids cannot make us call it at will.
REFRESH_EVERY: Final = 10.0

#: The same while not one key of it is known and nobody can be served anyway.
FIRST_KEYS_EVERY: Final = 1.0

#: Bytes of an issuer's answer that are read.
_LARGEST_ANSWER: Final = 512 * 1024

#: Seconds for each step of a call to an issuer.
_PATIENCE: Final = 5.0


class Issuer(Protocol):
    """Where tokens come from. `keys` may be asked for anew, where they can change."""

    name: str

    async def keys(self) -> KeySet | tuple[Key, ...]: ...


class OidcIssuer:
    """Its keys stand where its discovery document says. `ca_file`: certificates, beside the public ones, by which its TLS is trusted."""

    def __init__(self, name: str, *, ca_file: Path | None = None, client: httpx.AsyncClient | None = None) -> None:
        self.name, self._ca_file, self._client = name, ca_file, client
        self._trusted: ssl.SSLContext | None = None

    async def keys(self) -> tuple[Key, ...]:
        """Raises `Unavailable` while the issuer does not answer as it should."""
        try:
            if self._client is not None:
                return await self._ask(self._client)
            if self._trusted is None:
                self._trusted = await asyncio.to_thread(_trusted, self._ca_file)
            async with httpx.AsyncClient(timeout=_PATIENCE, verify=self._trusted) as client:
                return await self._ask(client)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            log.warning("the issuer %s does not answer as it should: %s", self.name, _said(error))
            raise Unavailable("ISSUER_AWAY") from error

    async def _ask(self, client: httpx.AsyncClient) -> tuple[Key, ...]:
        document = await _get(client, f"{self.name.rstrip('/')}/.well-known/openid-configuration")
        if document["issuer"] != self.name:
            raise ValueError("its discovery document names another issuer")
        address = str(document["jwks_uri"])
        if self.name.startswith("https:") and not address.startswith("https:"):
            raise ValueError("its keys would be read without TLS")
        keys = keys_of(await _get(client, address))
        if not keys:
            raise ValueError("it publishes no key that we understand")
        return keys


async def _get(client: httpx.AsyncClient, address: str) -> Any:
    body = b""
    async with client.stream("GET", address, headers={"accept": "application/json"}) as answer:
        answer.raise_for_status()
        async for part in answer.aiter_bytes():
            body += part
            if len(body) > _LARGEST_ANSWER:
                raise ValueError("its answer is too large")
    return json.loads(body)


def _trusted(ca_file: Path | None) -> ssl.SSLContext:
    context = httpx.create_ssl_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


def _said(error: Exception) -> str:
    return f"{type(error).__name__} {error}".strip()[:200]


class KnownKeys:
    """An issuer's keys as this process knows them. `generation` rises when one of them is withdrawn: what it signed must be looked at again.

    `age`: seconds after which the keys are looked at again though nobody came with a new one.
    """

    def __init__(self, issuer: Issuer, age: float) -> None:
        self.issuer, self.generation = issuer, 0
        self._age = age
        self._keys: tuple[Key, ...] | None = None
        self._asked = self._heard = -1e9
        self._lock = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None

    async def for_token(self, kid: str | None) -> tuple[Key, ...]:
        """The keys; asked for anew if this key id is not among them. Unavailable(ISSUER_AWAY) if none are known at all."""
        if not self._has(kid):
            await self._look(kid)
        else:
            self.refresh()
        if self._keys is None:
            raise Unavailable("ISSUER_AWAY")
        return self._keys

    def refresh(self) -> None:
        """Has the keys looked at again where they are of age; nobody waits for it."""
        if time.monotonic() - max(self._heard, self._asked) >= self._age and self._looking is None:
            self._looking = asyncio.create_task(self._look_again())

    def _has(self, kid: str | None) -> bool:
        return self._keys is not None and (kid is None or any(key.kid == kid for key in self._keys))

    async def _look_again(self) -> None:
        """What is known stays if the issuer is away."""
        try:
            async with self._lock:
                await self._ask()
        finally:
            self._looking = None

    async def _look(self, kid: str | None) -> None:
        async with self._lock:
            if not self._has(kid):
                await self._ask()

    async def _ask(self) -> None:
        if time.monotonic() - self._asked < (FIRST_KEYS_EVERY if self._keys is None else REFRESH_EVERY):
            return
        self._asked = time.monotonic()
        try:
            found = await self.issuer.keys()
        except Unavailable:
            return
        keys = public(found) if isinstance(found, KeySet) else found
        if self._keys is not None and {k.thumbprint() for k in self._keys} - {k.thumbprint() for k in keys}:
            self.generation += 1
        self._keys, self._heard = keys, time.monotonic()
