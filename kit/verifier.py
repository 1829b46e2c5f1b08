"""Tokens → principals: who is believed, and what they are here.

A token is verified once, by its issuer's public keys, and then known by its hash until it expires: the signature costs a tenth of a millisecond, the
look-up two microseconds. What may change meanwhile is looked at again as soon as it does: the register of outside systems and of revoked sessions,
and keys that an issuer withdraws.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kit.claims import ClaimMapping, ClaimWrong
from kit.clock import Clock
from kit.errors import StartupError, Unauthenticated
from kit.identity import Principal, Roles
from kit.oidc import Issuer, KnownKeys, OidcIssuer
from kit.own_tokens import SERVICE_PERMISSIONS, SERVICES, SYSTEMS, OwnIssuer
from kit.register import Register, System
from kit.tokens import TokenRefused, Unverified, check_claims, check_kind, check_signature, read

if TYPE_CHECKING:
    from kit.config import Settings
    from kit.sealing import Keys

REMEMBERED: Final = 4096

#: The event that a logout token must name (OpenID Connect Back-Channel Logout 1.0, 2.4).
LOGOUT: Final = "http://schemas.openid.net/event/backchannel-logout"

#: Seconds after which a logout token is no news any more.
LOGOUT_AGE: Final = 300

#: Characters of what an issuer may call a session or a person.
LONGEST_NAME: Final = 200


#: Claims of tokens that come of a person's signing in (RFC 9068, 2.2.1; OpenID Connect Core 1.0, 2); a client's own have none of them.
SIGNED_IN: Final = ("sid", "auth_time", "amr", "nonce")

#: For which a token counts that a process makes for a system with a certificate; half of them it is used.
CERTIFIED_MINUTES: Final = 10


@dataclass(frozen=True, slots=True)
class LoggedOut:
    """Which tokens count no more: those with the mark, if they were issued before the moment that is given."""

    mark: str
    before: float | None


@dataclass(frozen=True, slots=True)
class Trusted:
    """An issuer that is believed. `people`: what its claims mean; None for the platform's own. `longest`: seconds that its tokens may last.
    `clients`: whether it may speak for registered systems."""

    known: KnownKeys
    audience: str
    people: ClaimMapping | None = None
    longest: int | None = None
    clients: bool = False


@dataclass(slots=True)
class _Seen:
    """A token that was verified. `looked`: the register's version at which it was found good."""

    token: Unverified
    trusted: Trusted
    generation: int
    principal: Principal
    expires: float
    looked: int


class Verifier:
    """`register`: the copy of this process; an empty one by default."""

    def __init__(
        self,
        trusted: Iterable[Trusted],
        roles: Roles,
        clock: Clock,
        *,
        skew_seconds: int = 30,
        register: Register | None = None,
        systems: OwnIssuer | None = None,
    ) -> None:
        self._systems = systems
        self._certified: dict[str, tuple[str, float]] = {}
        self._trusted = {one.known.issuer.name: one for one in trusted}
        self._roles, self._clock, self._skew = roles, clock, skew_seconds
        self.register = register or Register()
        self._remembered: OrderedDict[bytes, _Seen] = OrderedDict()

    @classmethod
    def of(
        cls,
        settings: Settings,
        roles: Roles,
        clock: Clock,
        demo: Issuer | None = None,
        *,
        keys: Keys | None = None,
        register: Register | None = None,
    ) -> Verifier:
        """The verifier of a process. `demo`: the built-in issuer, which embedded mode trusts when no other is configured; `keys`: the keyring, by
        which the platform's own tokens are known.

        Raises `StartupError` where nobody could be trusted, or a mapping of claims cannot be meant.
        """
        identity = settings.identity
        age, longest = identity.key_minutes * 60.0, identity.longest_token_minutes * 60
        trusted = []
        if identity.issuer:
            known = KnownKeys(OidcIssuer(identity.issuer, ca_file=identity.ca_file), age)
            mapping = ClaimMapping.of(identity, roles)
            trusted.append(Trusted(known, identity.audience, mapping, longest, clients=True))
        elif demo is not None:
            trusted.append(Trusted(KnownKeys(demo, age), identity.audience, ClaimMapping.of(identity, roles)))
        for other in identity.others:
            known = KnownKeys(OidcIssuer(other.issuer, ca_file=other.ca_file or identity.ca_file), age)
            mapping = ClaimMapping.of(other, roles, other.account_prefix)
            trusted.append(Trusted(known, other.audience or identity.audience, mapping, longest))
        if not trusted:
            raise StartupError("没有可信的签发方", "there is no issuer to trust")
        if len({one.known.issuer.name for one in trusted}) < len(trusted):
            raise StartupError(
                "HETAO_IDENTITY__OTHERS 有误：同一签发方出现多次",
                "HETAO_IDENTITY__OTHERS is wrong: an issuer stands there twice",
            )
        systems = None
        if keys is not None:
            services, systems = (OwnIssuer(name, keys, clock, identity.audience) for name in (SERVICES, SYSTEMS))
            trusted += [
                Trusted(KnownKeys(own, float("inf")), identity.audience, longest=longest) for own in (services, systems)
            ]
        skew = identity.clock_skew_seconds
        return cls(trusted, roles, clock, skew_seconds=skew, register=register, systems=systems)

    # -- access tokens ------------------------------------------------------------------------------------------------

    async def verify(self, token: str) -> Principal:
        """Whom the token stands for.

        Unauthenticated(TOKEN_INVALID | TOKEN_EXPIRED | SESSION_REVOKED | SYSTEM_UNKNOWN | SYSTEM_DISABLED), which says in `why` what was wrong
        with it; Unavailable(ISSUER_AWAY | REGISTER_AWAY).
        """
        digest = hashlib.sha256(token.encode()).digest()
        seen = self._remembered.get(digest)
        if seen is None or seen.generation != seen.trusted.known.generation:
            self._remembered.pop(digest, None)
            seen = await self._check(token)
            self._remembered[digest] = seen
            if len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)
        else:
            seen.trusted.known.refresh()
        if self._clock.now().timestamp() >= seen.expires + self._skew:
            self._remembered.pop(digest, None)
            raise Unauthenticated("TOKEN_EXPIRED", why="expired")
        if seen.principal.permissions is not SERVICE_PERMISSIONS:  # by whose tokens the register is asked
            self.register.require()
        if seen.looked != self.register.version:
            seen.principal = self._stand(seen.token, seen.trusted)
            seen.looked = self.register.version
        return seen.principal

    async def certified(self, certificate: str) -> Principal | None:
        """The system that has shown this certificate (its SHA-256); None if it is not in the register. It is given a token for what is called in its
        name, and from then on is like any other."""
        self.register.require()
        system = self.register.certified(certificate)
        if system is None or self._systems is None:
            return None
        now = self._clock.now().timestamp()
        token, until = self._certified.get(system.account, ("", 0.0))
        if now < until:
            try:
                return await self.verify(token)
            except Unauthenticated as refused:
                if refused.reason != "SESSION_REVOKED":  # what was revoked is the token, not the certificate
                    raise
        token = self._systems.mint(system.account, CERTIFIED_MINUTES)
        self._certified[system.account] = token, now + CERTIFIED_MINUTES * 30
        return await self.verify(token)

    async def _check(self, text: str) -> _Seen:
        token, trusted = await self._proved(text, self._access)
        generation, version = trusted.known.generation, self.register.version
        principal = self._stand(token, trusted)
        return _Seen(token, trusted, generation, principal, float(token.claims["exp"]), version)

    async def _proved(self, text: str, check: Callable[[Unverified, Trusted], None]) -> tuple[Unverified, Trusted]:
        """A token that one of our issuers signed, and of which `check` says the rest."""
        try:
            token = read(text)
            trusted = self._trusted.get(token.issuer)
            if trusted is None:
                raise TokenRefused("issuer")
            check_signature(token, await trusted.known.for_token(token.kid))
            check(token, trusted)
        except TokenRefused as refused:
            reason = "TOKEN_EXPIRED" if refused.expired else "TOKEN_INVALID"
            raise Unauthenticated(reason, why=refused.why) from None
        return token, trusted

    def _access(self, token: Unverified, trusted: Trusted) -> None:
        check_kind(token)
        self._check_claims(token, trusted)

    def _check_claims(self, token: Unverified, trusted: Trusted) -> None:
        now = self._clock.now().timestamp()
        check_claims(token.claims, audience=[trusted.audience], now=now, skew=self._skew, longest=trusted.longest)

    def _stand(self, token: Unverified, trusted: Trusted) -> Principal:
        """What the bearer is at this moment: by the claims of its issuer, or by the register."""
        claims = token.claims
        if token.issuer == SERVICES:
            return Principal(str(claims["sub"]), permissions=SERVICE_PERMISSIONS, token=token.text)
        if trusted.people is None:
            system: System | None = self.register.system(str(claims["sub"]))
        else:
            system = self._client(claims) if trusted.clients else None
        if system is not None:
            marks = _marks(token, system.account)
            principal = self.as_system(system, token.text, marks, float(claims["exp"]))
        else:
            principal = self._person(token, trusted)
        self.register.check(principal.marks, claims["iat"])
        return principal

    def _person(self, token: Unverified, trusted: Trusted) -> Principal:
        assert trusted.people is not None
        try:
            who = trusted.people.read(token.claims)
        except ClaimWrong as wrong:
            raise Unauthenticated("TOKEN_INVALID", why=f"claim {wrong}") from None
        department, *others = who.departments or ("",)
        return Principal(
            account=who.account,
            roles=who.roles,
            department=department,
            others=tuple(others),
            divisions=who.divisions,
            permissions=self._roles.permissions(who.roles),
            token=token.text,
            marks=_marks(token, who.account),
            ends=float(token.claims["exp"]),
            locale=locale if isinstance(locale := token.claims.get("locale"), str) else "",
        )

    def _client(self, claims: Mapping[str, Any]) -> System | None:
        """The registered system whose own token this is, by the name of the client that it was issued to. A token that tells of somebody's signing in,
        or of two clients, is no system's."""
        clients = {client for name in ("client_id", "azp") if isinstance(client := claims.get(name), str)}
        if len(clients) != 1 or any(name in claims for name in SIGNED_IN):
            return None
        return self.register.client(clients.pop(), str(claims["sub"]))

    def as_system(self, system: System, token: str, marks: tuple[str, ...] = (), ends: float = 0.0) -> Principal:
        """The principal of a registered system."""
        return Principal(
            account=system.account,
            roles=system.roles,
            divisions=system.divisions,
            permissions=self._roles.permissions(system.roles),
            token=token,
            quota=system.quota,
            marks=marks,
            ends=ends,
        )

    # -- sign-outs that an issuer tells us of -------------------------------------------------------------------------

    async def logged_out(self, text: str, clients: Sequence[str], *, everywhere: bool = False) -> LoggedOut:
        """Whose sessions an issuer has ended, by its logout token for one of `clients` (OpenID Connect Back-Channel Logout 1.0, 2.6); `everywhere`: all of
        its subject's, though it names one.

        Unauthenticated(TOKEN_INVALID | TOKEN_EXPIRED); Unavailable(ISSUER_AWAY).
        """

        def check(token: Unverified, trusted: Trusted) -> None:
            now, claims = self._clock.now().timestamp(), token.claims
            events = claims.get("events")
            if trusted.people is None or not isinstance(events, dict) or LOGOUT not in events or "nonce" in claims:
                raise TokenRefused("kind of token")
            check_claims(claims, audience=clients, now=now, skew=self._skew, longest=None, needed=("aud", "iat"))
            if now - claims["iat"] > LOGOUT_AGE + self._skew:
                raise TokenRefused("expired", expired=True)

        token, _ = await self._proved(text, check)
        for name in ("sub", "sid") if everywhere else ("sid", "sub"):
            value = token.claims.get(name)
            if isinstance(value, str) and 0 < len(value) <= LONGEST_NAME:
                return LoggedOut(
                    f"{name}:{token.issuer}|{value}", float(token.claims["iat"]) if name == "sub" else None
                )
        raise Unauthenticated("TOKEN_INVALID", why="no sub")


def session_mark(account: str, session: str) -> str:
    """Of one session of an account. Accounts of some issuers have a bar in them, which must not end the account's name."""
    return f"session:{account.replace('%', '%25').replace('|', '%7C')}|{session}"


def _marks(token: Unverified, account: str) -> tuple[str, ...]:
    """By what a token can be revoked: its session and itself, as the account's own; everything of the account; what its issuer calls them."""
    claims = token.claims
    named = {name: value for name in ("sid", "jti", "sub") if isinstance(value := claims.get(name), str) and value}
    own = [named[name] for name in ("sid", "jti") if name in named] or [token.digest]
    marks = [session_mark(account, name) for name in own]
    marks += [f"account:{account}", f"sub:{token.issuer}|{named['sub']}"]
    if "sid" in named:
        marks.append(f"sid:{token.issuer}|{named['sid']}")
    return tuple(marks)
