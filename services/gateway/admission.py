"""Who may call now: the limits, kept where a request enters the platform, and the mark that says so to the services.

Whether a token is good and what it permits the services say. Here it is only read, to know whose count it is; a request with a bad one counts for
its address, and so does one without.
"""

from __future__ import annotations

import contextlib
from collections.abc import MutableMapping
from typing import Any

from kit.errors import DomainError, ResourceExhausted
from kit.identity import Principal
from kit.limits import Marks, headers
from kit.module import Runtime
from kit.texts import Texts
from services.gateway.problems import Problem

ANYBODY = Principal.anonymous()


class Admission:
    def __init__(self, runtime: Runtime):
        self._verifier, self._limits, self._texts = runtime.verifier, runtime.limits, runtime.texts

    async def admit(
        self, authorization: str, scope: MutableMapping[str, Any], *, writes: bool, free_for: str = ""
    ) -> tuple[Principal, tuple[str, str]]:
        """Who calls, as far as is known, and what is told to the services. Raises Problem (429) with when to come again.

        `free_for`: who has this permission is not counted.
        """
        token, principal = bearer(authorization), ANYBODY
        if token:
            with contextlib.suppress(DomainError):  # the service says why
                principal = await self._verifier.verify(token)
        if not (free_for and principal.may(free_for)):
            try:
                await self._limits.take(principal, address_of(scope), writes=writes)
            except ResourceExhausted as refused:
                raise too_often(refused, self._texts) from None
        return principal, (Marks.HEADER, self._limits.marks.of(token))

    async def count(self, principal: Principal, scope: MutableMapping[str, Any], *, writes: bool) -> None:
        """The same for what is no RPC, whose caller is known already."""
        try:
            await self._limits.take(principal, address_of(scope), writes=writes)
        except ResourceExhausted as refused:
            raise too_often(refused, self._texts) from None


def bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    return token if scheme.lower() == "bearer" else ""


def address_of(scope: MutableMapping[str, Any]) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def too_often(refused: ResourceExhausted, texts: Texts) -> Problem:
    assert refused.retry_after is not None
    told = headers(refused.params, refused.retry_after)
    return Problem(429, refused.reason, texts.of_error(refused), code=refused.code.name, headers=told)
