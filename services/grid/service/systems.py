"""The register of outside systems: who they are, what they may do, and tokens for those that prove who they are."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from kit.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    PermissionDenied,
    Unauthenticated,
)
from kit.identity import Roles
from kit.own_tokens import OwnIssuer
from kit.tokens import (
    PrivateKeyShown,
    TokenRefused,
    Unverified,
    check_claims,
    check_signature,
    public_jwk,
    read,
    usable,
)
from kit.unit import Unit
from services.grid.model import systems as model
from services.grid.model.systems import LONGEST_ASSERTION, MOST_KEYS, Key, System
from services.grid.service import register
from services.grid.store import divisions
from services.grid.store import systems as store


class Systems:
    """`audiences`: what an assertion may be addressed to; `minutes`: how long a token lasts; `root`: the root division; `people`: client ids by
    which people sign in."""

    def __init__(
        self,
        roles: Roles,
        issuer: OwnIssuer,
        audiences: Sequence[str],
        *,
        minutes: int,
        skew: int,
        root: str,
        people: Collection[str] = (),
    ):
        self._roles, self._issuer, self._root, self._people = roles, issuer, root, people
        self._audiences, self._minutes, self._skew = audiences, minutes, skew

    # -- the register -------------------------------------------------------------------------------------------------

    async def create(self, unit: Unit, account: str, given: Mapping[str, Any], public_keys: Sequence[str]) -> System:
        await self._check(unit, given)
        seq = await register.changed(unit)
        await self._check_names(unit, account, given)
        if await store.exists(unit, account):
            raise AlreadyExists("SYSTEM_EXISTS", field="system_id", system=account)
        parsed = [parse_key(text, f"public_keys[{place}]") for place, text in enumerate(public_keys)]
        if len({kid for kid, _ in parsed}) < len(parsed):
            raise InvalidArgument("KEY_EXISTS", field="public_keys")
        system = System(
            id=unit.new_id(),
            account=account,
            division=model.common(given["divisions"]),
            enabled=True,
            created_at=unit.now,
            seq=seq,
            **given,
        )
        await store.SYSTEMS.add(unit, system)
        for place, (kid, jwk) in enumerate(parsed, 1):
            await store.KEYS.add(unit, Key(unit.new_id(place), system.id, kid, jwk, unit.now))
        return system

    async def update(self, unit: Unit, account: str, changes: Mapping[str, Any], etag: str) -> System:
        system = await store.get(unit, account)
        unit.match(etag, system)
        await self._check(unit, changes)
        seq = await register.changed(unit)
        named = {name: value for name, value in changes.items() if value != getattr(system, name)}
        await self._check_names(unit, account, named)
        if "divisions" in changes:
            if not changes["divisions"]:
                raise InvalidArgument("DIVISION_NEEDED", field="divisions")
            changes = {**changes, "division": model.common(changes["divisions"])}
        return await store.SYSTEMS.save(unit, replace(system, **changes, seq=seq))

    async def enable(self, unit: Unit, account: str, *, enabled: bool) -> System:
        system = await store.get(unit, account)
        return system if system.enabled == enabled else await self._save(unit, replace(system, enabled=enabled))

    async def _save(self, unit: Unit, system: System) -> System:
        return await store.SYSTEMS.save(unit, replace(system, seq=await register.changed(unit)))

    async def _check(self, unit: Unit, given: Mapping[str, Any]) -> None:
        """Divisions that exist and are the caller's, and roles that are meant for systems: whoever may register systems must not so get at what
        they may not see themselves."""
        for place, division in enumerate(given.get("divisions", ())):
            if not unit.principal.covers(division):
                raise PermissionDenied("DIVISION_FOREIGN", field=f"divisions[{place}]", division=division)
            if await divisions.find(unit, division) is None:
                raise InvalidArgument("DIVISION_UNKNOWN", field=f"divisions[{place}]", division=division)
        for place, role in enumerate(given.get("roles", ())):
            if role not in self._roles.for_systems:
                known = ", ".join(sorted(self._roles.for_systems))
                raise InvalidArgument("ROLE_NOT_FOR_SYSTEMS", field=f"roles[{place}]", role=role, known=known)

    async def _check_names(self, unit: Unit, account: str, given: Mapping[str, Any]) -> None:
        """By what else a system is known: who sets that says whose tokens and certificates are the system's, people's among them. So it is for the root
        division alone, and each is one system's. Asked with the register locked, so that nobody else sets the same meanwhile."""
        for name in ("client_id", "client_subject", "certificates"):
            if given.get(name) and not unit.principal.covers(self._root):
                raise PermissionDenied("ROOT_ALONE", field=name)
        client_id = given.get("client_id", "")
        if client_id in self._people:
            raise InvalidArgument("CLIENT_OF_PEOPLE", field="client_id")
        if await store.client_is_taken(unit, client_id, account):
            raise AlreadyExists("CLIENT_TAKEN", field="client_id")
        taken = await store.certificates_taken(unit, given.get("certificates", ()), account)
        for place, certificate in enumerate(given.get("certificates", ())):
            if certificate in taken:
                raise AlreadyExists("CERTIFICATE_TAKEN", field=f"certificates[{place}]")

    # -- keys ---------------------------------------------------------------------------------------------------------

    async def add_key(
        self, unit: Unit, account: str, public_key: str, not_before: datetime | None, not_after: datetime | None
    ) -> System:
        system = await store.get(unit, account)
        kid, jwk = parse_key(public_key, "public_key")
        begin = max(not_before or unit.now, unit.now)
        model.check_span(begin, not_after)
        present = await store.keys(unit, system)
        if any(key.kid == kid for key in present):
            raise AlreadyExists("KEY_EXISTS", field="public_key")
        if sum(not key.is_over(unit.now) for key in present) >= MOST_KEYS:
            raise FailedPrecondition("KEYS_TOO_MANY", most=MOST_KEYS)
        await store.KEYS.add(unit, Key(unit.new_id(), system.id, kid, jwk, begin, not_after))
        return await store.SYSTEMS.save(unit, system)

    async def retire_key(self, unit: Unit, account: str, kid: str, end: datetime | None) -> System:
        system = await store.get(unit, account)
        key = await store.key(unit, system, kid)
        await store.KEYS.save(unit, key.retire(end or unit.now, unit.now))
        return await store.SYSTEMS.save(unit, system)

    # -- tokens -------------------------------------------------------------------------------------------------------

    async def grant(self, unit: Unit, assertion: str) -> tuple[str, int]:
        """An access token and the seconds for which it counts, for a system that has proved who it is (RFC 7523, 3).

        Unauthenticated(ASSERTION_INVALID), which says in `why` what was wrong; Unauthenticated(SYSTEM_DISABLED).
        """
        try:
            token = read(assertion)
            system = await self._proved(unit, token)
        except TokenRefused as refused:
            raise Unauthenticated("ASSERTION_INVALID", why=refused.why) from None
        if not system.enabled:
            raise Unauthenticated("SYSTEM_DISABLED")
        return self._issuer.mint(system.account, self._minutes), self._minutes * 60

    async def _proved(self, unit: Unit, token: Unverified) -> System:
        claims = token.claims
        account = claims.get("sub")
        if not isinstance(account, str) or account != token.issuer:
            raise TokenRefused("iss and sub")
        system = await store.any_system(unit, account)
        keys = [] if system is None else await store.keys(unit, system)
        present = (usable(json.loads(key.jwk)) for key in keys if key.counts(unit.now))
        check_signature(token, [key for key in present if key is not None])
        assert system is not None
        now, skew = unit.now.timestamp(), self._skew
        check_claims(claims, audience=self._audiences, now=now, skew=skew, longest=None, needed=("sub", "aud", "exp"))
        if claims["exp"] - now > LONGEST_ASSERTION.total_seconds() + skew:
            raise TokenRefused("lasts too long")
        if not isinstance(claims.get("jti"), str):
            raise TokenRefused("no jti")
        until = datetime.fromtimestamp(claims["exp"], UTC) + timedelta(seconds=skew)
        if not await store.use(unit, bytes.fromhex(token.digest), until):
            raise TokenRefused("used before")
        return system


def parse_key(text: str, field: str) -> tuple[str, str]:
    """The id and the JSON Web Key of a public key, from a JWK or PEM. InvalidArgument(KEY_PRIVATE | KEY_INVALID)."""
    try:
        jwk = public_jwk(text)
    except PrivateKeyShown:
        raise InvalidArgument("KEY_PRIVATE", field=field) from None
    except ValueError:
        raise InvalidArgument("KEY_INVALID", field=field) from None
    return str(jwk["kid"]), json.dumps(jwk, sort_keys=True)
