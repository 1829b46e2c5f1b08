"""Tokens that prove something, and those that do not."""

import base64
import hmac
import json
from datetime import timedelta

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from kit import verifier as module
from kit.clock import VirtualClock
from kit.errors import Unauthenticated, Unavailable
from kit.identity import Principal
from kit.verifier import LOGOUT
from tests.unit.kit.issuers import KEY, NAME, START, Issuer, ec_key, seconds, token, verifier, without_kid


@pytest.fixture
def clock():
    return VirtualClock(START)


async def refused(checks, text):
    with pytest.raises(Unauthenticated) as error:
        await checks.verify(text)
    return error.value


async def test_a_token_becomes_a_principal(clock):
    text = token()
    principal = await verifier(Issuer(), clock).verify(text)
    assert principal == Principal(
        "window-clerk", ("clerk", "unknown"), "d1", ("150802",), frozenset(["cases.cases.*", "grid.divisions.list"])
    )
    assert principal.token == text
    assert text not in repr(principal)
    assert principal.may("cases.cases.accept")
    assert not principal.may("cases.figures.get")
    assert principal.covers("150802013006")
    assert not principal.covers("150826108")
    assert not principal.covers("1508")


@pytest.mark.parametrize(
    ("key", "alg"),
    [
        (OKPKey.generate_key("Ed25519", auto_kid=True), "Ed25519"),
        (OKPKey.generate_key("Ed25519", auto_kid=True), "EdDSA"),
        (RSAKey.generate_key(2048, auto_kid=True), "RS256"),
        (RSAKey.generate_key(2048, auto_kid=True), "PS256"),
        (ECKey.generate_key("P-384", auto_kid=True), "ES384"),
    ],
)
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
async def test_the_usual_signatures_are_taken(clock, key, alg):
    assert (await verifier(Issuer(key), clock).verify(token(key, alg))).account == "window-clerk"


@pytest.mark.parametrize("kind", ["JWT", "at+jwt", "application/at+jwt", "AT+JWT"])
async def test_kinds_of_access_tokens_are_taken_with_audiences_in_either_shape(clock, kind):
    text = token(header={"typ": kind, "x-of-some-issuer": "1"}, aud=["account", "hetao"], typ="Bearer")
    assert (await verifier(Issuer(), clock).verify(text)).account == "window-clerk"


def _by_hand(header, sign, **changes):
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    claims = {"iss": NAME, "sub": "admin", "aud": "hetao", "iat": seconds(), "exp": seconds(hours=1)} | changes
    signed = part(json.dumps(header).encode()) + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(sign(signed))).decode()


def _unsigned(alg="none"):
    return _by_hand({"alg": alg}, lambda _: b"")


def _by_public_key_as_secret():
    """The classic mix-up: HS256 with the public key as its secret."""
    return _by_hand(
        {"alg": "HS256", "kid": KEY.kid}, lambda signed: hmac.digest(KEY.as_pem(private=False), signed, "sha256")
    )


def _with_a_key_of_its_own():
    mine = ec_key()
    return token(mine, header={"jwk": mine.as_dict(private=False), "kid": KEY.kid})


RSA = RSAKey.generate_key(2048, auto_kid=True)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: "", "not a JWT"),
        (lambda: "a.b.c", "not a JWT"),
        (lambda: "a.b.c.d.e", "not a JWT"),
        (lambda: "é" * 20, "not a JWT"),
        (lambda: "x" * 9000, "too long"),
        (_unsigned, "algorithm"),
        (lambda: _unsigned("NoNe"), "algorithm"),
        (_by_public_key_as_secret, "algorithm"),
        (_with_a_key_of_its_own, "signature"),
        (lambda: token(ec_key()), "signature"),
        (lambda: token(ECKey.import_key({**ec_key().as_dict(private=True), "kid": KEY.kid})), "signature"),
        (lambda: token(RSA, "RS256", header={"kid": KEY.kid}), "signature"),
        (lambda: token()[:-4] + "AAAA", "signature"),
        (lambda: _by_hand({"alg": "ES256", "crit": ["b64"], "b64": False}, lambda _: b""), "not a JWT"),
        (lambda: token(header={"crit": ["kid"]}), "critical header"),
        (lambda: token(header={"typ": "logout+jwt"}), "kind of token"),
        (lambda: token(header={"typ": "dpop+jwt"}), "kind of token"),
        (lambda: token(header={"typ": "JWE"}), "kind of token"),
        (lambda: token(typ="ID"), "kind of token"),
        (lambda: token(typ="Refresh"), "kind of token"),
        (lambda: token(events={LOGOUT: {}}), "kind of token"),
        (lambda: token(cnf={"jkt": "x"}), "bound to a key"),
        (lambda: token(iss="https://other.example.cn"), "issuer"),
        (lambda: token(iss=NAME + "/"), "issuer"),
        (lambda: token(iss=[NAME]), "issuer"),
        (lambda: token(iss=None), "issuer"),
        (lambda: token(aud="other"), "aud"),
        (lambda: token(aud=["other", "hetao2"]), "aud"),
        (lambda: token(aud=[["hetao"]]), "aud"),
        (lambda: token(aud={"hetao": 1}), "aud"),
        (lambda: token(aud=[]), "aud"),
        (lambda: token(aud=None), "no aud"),
        (lambda: token(sub=None), "no sub"),
        (lambda: token(sub=7), "sub"),
        (lambda: token(sub="system"), "claim account"),
        (lambda: token(sub="service:grid"), "claim account"),
        (lambda: token(sub="system-12345"), "claim account"),
        (lambda: token(sub="a\nb"), "claim account"),
        (lambda: token(sub="x" * 201), "claim account"),
        (lambda: token(exp=None), "no exp"),
        (lambda: token(exp="never"), "exp"),
        (lambda: token(exp=float("inf")), "exp"),
        (lambda: token(exp=float("nan")), "exp"),
        (lambda: token(exp=10**400), "exp"),
        (lambda: token(exp=1e300, iat=-(10**400)), "exp"),
        (lambda: token(exp=seconds(days=30)), "lasts too long"),
        (lambda: token(exp=seconds(days=30), iat=10**400), "iat"),
        (lambda: token(iat=None), "no iat"),
        (lambda: token(iat=seconds(minutes=10)), "iat"),
        (lambda: token(nbf=seconds(hours=1)), "nbf"),
        (lambda: token(roles=5), "claim roles"),
        (lambda: token(divisions=[1508]), "claim divisions"),
        (lambda: token(department={"id": "d1"}), "claim department"),
        (lambda: _by_hand({"alg": "ES256", "kid": [1]}, lambda _: b""), "signature"),
        (lambda: _by_hand({"alg": ["ES256"]}, lambda _: b""), "algorithm"),
    ],
)
async def test_what_proves_nothing_is_refused_and_why_is_said(clock, make, why):
    error = await refused(verifier(Issuer(KEY, RSA), clock), make())
    assert (error.reason, error.params["why"]) == ("TOKEN_INVALID", why)


@pytest.mark.parametrize(
    "published",
    [
        {"use": "enc"},
        {"key_ops": ["deriveKey"]},
        {"alg": "ECDH-ES"},
    ],
)
async def test_a_key_that_is_published_for_something_else_signs_no_tokens(clock, published):
    key = ECKey.generate_key("P-256", {"kid": "k"})
    other = ECKey.import_key({**key.as_dict(private=True), **published})
    assert (await refused(verifier(Issuer(KEY, other), clock), token(key))).params["why"] == "signature"


async def test_a_short_key_and_a_shared_secret_are_not_believed_though_the_issuer_publishes_them(clock, recwarn):
    short = RSAKey.generate_key(1024, {"kid": "short"})
    secret = OctKey.import_key({"kty": "oct", "k": "c2VjcmV0LW9mLXRoaXJ0eS10d28tYnl0ZXMtb3ItbW9yZQ", "kid": "oct"})
    recwarn.clear()

    checks = verifier(Issuer(KEY, short, secret), clock)
    assert (await refused(checks, token(short, "RS256"))).params["why"] == "signature"
    recwarn.clear()
    assert (await checks.verify(token())).account == "window-clerk"


async def test_the_skew_of_a_clock_is_forgiven_in_both_directions(clock):
    checks = verifier(Issuer(), clock)
    assert await checks.verify(token(iat=seconds(seconds=29), nbf=seconds(seconds=29)))
    assert await checks.verify(token(iat=seconds(hours=-1), exp=seconds(seconds=-29)))
    for late in ({"iat": seconds(seconds=31)}, {"nbf": seconds(seconds=31)}):
        assert (await refused(checks, token(**late))).reason == "TOKEN_INVALID"
    assert (await refused(checks, token(iat=seconds(hours=-1), exp=seconds(seconds=-30)))).reason == "TOKEN_EXPIRED"


async def test_a_token_ends_also_when_it_is_remembered(clock):
    checks, text = verifier(Issuer(), clock), token()
    await checks.verify(text)
    clock.move(timedelta(hours=1, seconds=29))
    await checks.verify(text)
    clock.move(timedelta(seconds=1))
    for verifies in (checks, verifier(Issuer(), clock)):
        clock.move(timedelta(seconds=2))
        assert (await refused(verifies, text)).reason == "TOKEN_EXPIRED"


async def test_an_empty_or_odd_division_gives_no_scope(clock):
    principal = await verifier(Issuer(), clock).verify(token(divisions=["", "15%", "15", "１５０８", "150802"]))
    assert principal.divisions == ("150802",)
    assert not (await verifier(Issuer(), clock).verify(token(divisions=None))).covers("150802")


async def test_a_verified_token_is_not_verified_again(clock, monkeypatch):
    checks, text = verifier(Issuer(), clock), token()
    first = await checks.verify(text)
    monkeypatch.setattr(module, "check_signature", None)
    assert await checks.verify(text) is first


async def test_an_account_may_work_in_several_departments_its_own_first(clock):
    for claimed, worked_in in (
        ("d1", ("d1",)),
        (["d1", "d2"], ("d1", "d2")),
        ("", ()),
        (None, ()),
        ([], ()),
        ([""], ()),
    ):
        principal = await verifier(Issuer(), clock).verify(token(department=claimed))
        assert (principal.department, principal.departments) == ((*worked_in, "")[0], worked_in)


# -- keys that come and go --------------------------------------------------------------------------------------------


@pytest.fixture
def stopwatch(monkeypatch):
    """The monotonic clock, which the test moves."""

    class Watch:
        now = 1000.0

    monkeypatch.setattr("kit.oidc.time.monotonic", lambda: Watch.now)
    return Watch


async def test_a_new_key_of_the_issuer_is_fetched_once(clock, stopwatch):
    issuer, new = Issuer(), ec_key()
    checks = verifier(issuer, clock)
    await checks.verify(token())
    issuer.published.append(new)
    for _ in range(3):
        await refused(checks, token(new))
    assert issuer.asked == 1, "made-up key ids do not make us call the issuer at will"
    stopwatch.now += 10
    assert (await checks.verify(token(new))).account == "window-clerk"
    assert issuer.asked == 2


async def test_an_issuer_that_is_away_when_we_start_is_asked_again_when_it_comes(clock, stopwatch):
    issuer = Issuer()
    issuer.away = True
    checks = verifier(issuer, clock)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await checks.verify(token())
    assert issuer.asked == 1, "nor do callers who are waiting for it"
    issuer.away = False
    stopwatch.now += 1
    assert (await checks.verify(token())).account == "window-clerk"


async def test_an_issuer_that_goes_away_harms_nobody_whose_key_is_known(clock, stopwatch):
    issuer = Issuer()
    checks = verifier(issuer, clock, age=60)
    await checks.verify(token())
    issuer.away = True
    for number in range(5):
        stopwatch.now += 61
        assert (await checks.verify(token(jti=str(number)))).account == "window-clerk"
        assert (await refused(checks, token(ec_key()))).reason == "TOKEN_INVALID"
    assert 5 <= issuer.asked <= 11


async def test_a_key_that_the_issuer_withdraws_counts_no_more_after_a_while(clock, stopwatch):
    issuer, new = Issuer(), ec_key()
    checks, text = verifier(issuer, clock, age=60), token()
    await checks.verify(text)
    issuer.published = [new]
    await checks.verify(text)
    stopwatch.now += 61
    await checks.verify(text)  # though it is remembered; nobody waits for the look
    known = next(iter(checks._trusted.values())).known
    while known._looking is not None:
        await known._looking
    assert (await refused(checks, text)).params["why"] == "signature"


async def test_a_token_that_names_no_key_is_tried_with_those_of_its_kind(clock):
    other = ec_key()
    checks = verifier(Issuer(RSA, other, KEY), clock)
    assert (await checks.verify(without_kid(KEY))).account == "window-clerk"
    assert (await refused(checks, without_kid(ec_key()))).params["why"] == "signature"


# -- the register -----------------------------------------------------------------------------------------------------
