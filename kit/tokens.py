"""JSON Web Tokens as we take them: which signatures, which keys, what the header may say, and for how long a token counts.

RFC 7515 (JWS), 7517 (JWK), 7519 (JWT), 9068 (access tokens) and the advice of RFC 8725: the algorithm is one of a list that names public keys
alone, the key must be of the kind that the algorithm asks for, and what a token says of keys of its own is not looked at.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError, SecurityWarning
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey, import_key
from joserfc.jws import JWSRegistry, deserialize_compact, extract_compact

Key = ECKey | OKPKey | RSAKey

#: Signatures with a public key alone, and the key that each asks for: type, and curve where it has one. `EdDSA` is what most issuers still call
#: Ed25519.
ALGORITHMS: Final[Mapping[str, tuple[str, str]]] = {
    "Ed25519": ("OKP", "Ed25519"),
    "EdDSA": ("OKP", "Ed25519"),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "PS256": ("RSA", ""),
    "RS256": ("RSA", ""),
}

warnings.filterwarnings("ignore", "EdDSA is deprecated", SecurityWarning)

LONGEST_TOKEN: Final = 8 * 1024

#: Characters of a key's id, where we are asked to keep it.
LONGEST_KID: Final = 100

#: Bits of the shortest RSA key that is believed.
SHORTEST_RSA: Final = 2048

#: Seconds since 1970 of the last moment that can be told: the end of the year 9999. Larger numbers cannot even be reckoned with.
LAST_MOMENT: Final = 253_402_300_799

#: What a header may say that a token is (RFC 9068, 2.1). Tokens of other kinds, such as logout tokens, are signed by the same keys.
_ACCESS: Final = frozenset({"jwt", "at+jwt", "application/jwt", "application/at+jwt"})

#: What issuers say in a claim `typ` of tokens that are for no API.
_OTHER_KINDS: Final = frozenset({"id", "refresh", "offline", "logout", "dpop"})

#: Unknown headers are let be (RFC 7515, 4.1).
_REGISTRY: Final = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
_REGISTRY.max_header_length = 2048  # some issuers put their certificate's digests there


class TokenRefused(Exception):
    """Why a token proves nothing, in one word for logs and for people who set up an issuer; never for deciding anything."""

    def __init__(self, why: str, *, expired: bool = False):
        super().__init__(why)
        self.why, self.expired = why, expired


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token as it tells of itself, which only says whose keys to try."""

    text: str
    header: Mapping[str, Any]
    claims: dict[str, Any]

    @property
    def issuer(self) -> str:
        said = self.claims.get("iss")
        return said if isinstance(said, str) else ""

    @property
    def digest(self) -> str:
        """Names what was signed. Not the signature: of those with elliptic curves there are two for each text."""
        return hashlib.sha256(self.text.rpartition(".")[0].encode()).hexdigest()

    @property
    def kid(self) -> str | None:
        said = self.header.get("kid")
        return said if isinstance(said, str) else None


def read(text: str) -> Unverified:
    """Header and claims of a token, without any proof. Raises `TokenRefused`."""
    if len(text) > LONGEST_TOKEN:
        raise TokenRefused("too long")
    try:
        found = extract_compact(text.encode(), registry=_REGISTRY)
        header, claims = found.headers(), json.loads(found.payload)
    except (JoseError, ValueError, TypeError, RecursionError, KeyError):
        raise TokenRefused("not a JWT") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise TokenRefused("not a JWT")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenRefused("algorithm")
    if "crit" in header:  # there is no extension that we understand
        raise TokenRefused("critical header")
    return Unverified(text, header, claims)


def check_kind(token: Unverified) -> None:
    """That it is an access token for whoever bears it. Raises `TokenRefused`."""
    kind = token.header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _ACCESS:
        raise TokenRefused("kind of token")
    said = token.claims.get("typ")
    if (isinstance(said, str) and said.lower() in _OTHER_KINDS) or "events" in token.claims:
        raise TokenRefused("kind of token")
    if "cnf" in token.claims:  # it is worth something only with a proof of the key that it is bound to (RFC 7800)
        raise TokenRefused("bound to a key")


def check_signature(token: Unverified, keys: Iterable[Key]) -> None:
    """That one of these keys signed it. Raises `TokenRefused`."""
    algorithm = str(token.header["alg"])
    for key in fitting(keys, algorithm, token.kid):
        try:
            deserialize_compact(token.text.encode(), key, algorithms=[algorithm], registry=_REGISTRY)
            return
        except (JoseError, ValueError, TypeError):
            continue
    raise TokenRefused("signature")


def check_claims(
    claims: Mapping[str, Any],
    *,
    audience: Iterable[str],
    now: float,
    skew: int,
    longest: int | None,
    needed: Iterable[str] = ("sub", "aud", "iat", "exp"),
) -> None:
    """For whom, one of `audience`, and for how long it counts. `longest`: seconds from issue to end that are believed, any if None.

    Raises `TokenRefused`.
    """
    for name in needed:
        if claims.get(name) is None:
            raise TokenRefused(f"no {name}")
    rules = jwt.JWTClaimsRegistry(now=int(now), leeway=skew, aud={"values": list(audience)})
    try:
        rules.validate(dict(claims))
    except ExpiredTokenError:
        raise TokenRefused("expired", expired=True) from None
    except ClaimError as error:
        raise TokenRefused(error.claim) from None
    for name in ("exp", "iat", "nbf"):
        if abs(claims.get(name) or 0) > LAST_MOMENT:
            raise TokenRefused(name)
    if longest is not None and claims["exp"] - claims["iat"] > longest:
        raise TokenRefused("lasts too long")


# -- keys -------------------------------------------------------------------------------------------------------------


def keys_of(document: Any) -> tuple[Key, ...]:
    """The keys of a JWK set that may verify a signature; others, and what we do not understand, are passed over (RFC 7517, 5)."""
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("no JWK set")
    return tuple(key for one in listed if (key := usable(one)) is not None)


def usable(jwk: Any) -> Key | None:
    """A public key to verify signatures with, or None."""
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig" or jwk.get("kty") not in ("EC", "OKP", "RSA"):
        return None
    operations = jwk.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and {"verify", "sign"} & set(map(str, operations))):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)  # of weak keys, which we refuse
            key = import_key(jwk)
        if isinstance(key, RSAKey) and key.raw_value.key_size < SHORTEST_RSA:
            return None
        return key if isinstance(key, ECKey | OKPKey | RSAKey) else None
    except (JoseError, ValueError, TypeError, KeyError):
        return None


def fitting(keys: Iterable[Key], algorithm: str, kid: str | None) -> list[Key]:
    """Those that a token of this header can have been signed with; all of the right kind where it names none."""
    kind, curve = ALGORITHMS[algorithm]
    return [
        key
        for key in keys
        if key.key_type == kind
        and (not curve or key.get("crv") == curve)
        and key.alg in (None, algorithm)
        and (kid is None or key.kid == kid)
    ]


def public(keys: KeySet) -> tuple[Key, ...]:
    """Those of a set of our own."""
    return keys_of({"keys": [key.as_dict(private=False) for key in keys.keys]})


class PrivateKeyShown(ValueError):
    """A private key where a public one was asked for: it is no secret any more."""


def public_jwk(text: str) -> dict[str, Any]:
    """A public key that can verify signatures, as JSON Web Key with an id, from a JWK or PEM. Raises `ValueError`."""
    try:
        key = _import(text.strip())
        if key.is_private:
            raise PrivateKeyShown
        key.ensure_kid()
        jwk: dict[str, Any] = dict(key.as_dict(private=False))
    except (JoseError, TypeError, KeyError, RecursionError) as error:
        raise ValueError("no key") from error
    found, kid = usable(jwk), jwk["kid"]
    if found is None or not isinstance(kid, str) or not 0 < len(kid) <= LONGEST_KID:
        raise ValueError("no key to verify with")
    if not any(fitting([found], algorithm, kid) for algorithm in ALGORITHMS):
        raise ValueError("no algorithm of ours takes it")
    return jwk


def _import(text: str) -> Key:
    if not text.startswith("-----"):
        jwk = json.loads(text)
        if not isinstance(jwk, dict) or jwk.get("kty") not in ("EC", "OKP", "RSA"):
            raise ValueError("no JSON Web Key")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SecurityWarning)
            return import_key(jwk)  # type: ignore[return-value]
    for kind in (OKPKey, ECKey, RSAKey):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SecurityWarning)
                return kind.import_key(text)
        except JoseError:
            continue
    raise ValueError("no key of a kind that we know")
