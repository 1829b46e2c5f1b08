import base64
import hmac
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from kit import identity
from kit.clock import VirtualClock
from kit.errors import NotFound, StartupError, Unauthenticated, Unavailable
from kit.identity import OidcIssuer, Principal, Roles, Verifier
from kit.issuer import DemoIssuer

START = datetime(2026, 3, 2, tzinfo=UTC)
NAME = "https://id.example.cn"
ROLES = Roles({"clerk": ["cases.cases.*", "grid.divisions.list"], "admin": ["*"]})


class Issuer:
    name = NAME

    def __init__(self, *keys):
        self.published, self.asked = list(keys), 0

    async def keys(self):
        self.asked += 1
        return KeySet(list(self.published))


def ec_key():
    return ECKey.generate_key("P-256", {"use": "sig"}, auto_kid=True)


KEY = ec_key()


@pytest.fixture
def clock():
    return VirtualClock(START)


def verifier(issuer, clock, **options):
    return Verifier([issuer], ROLES, clock, audience="hetao", **options)


def token(key=KEY, alg="ES256", **changes):
    claims = {
        "iss": NAME,
        "sub": "window-clerk",
        "aud": "hetao",
        "exp": int((START + timedelta(hours=1)).timestamp()),
        "roles": ["clerk", "unknown"],
        "department": "d1",
        "divisions": ["150802"],
    } | changes
    return jwt.encode(
        {"alg": alg, "kid": key.kid}, {k: v for k, v in claims.items() if v is not None}, key, algorithms=[alg]
    )


async def test_a_token_becomes_a_principal(clock):
    text = token()
    principal = await verifier(Issuer(KEY), clock).verify(text)
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
    ],
)
@pytest.mark.filterwarnings("ignore:EdDSA is deprecated")
async def test_the_usual_signatures_are_taken(clock, key, alg):
    assert (await verifier(Issuer(key), clock).verify(token(key, alg))).account == "window-clerk"


def _by_hand(header, sign):
    def part(value):
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    claims = {"iss": NAME, "sub": "admin", "aud": "hetao", "exp": 9999999999}
    signed = part(json.dumps(header).encode()) + b"." + part(json.dumps(claims).encode())
    return (signed + b"." + part(sign(signed))).decode()


def _unsigned():
    return _by_hand({"alg": "none"}, lambda _: b"")


def _by_public_key_as_secret():
    """The classic mix-up: HS256 with the public key as its secret."""
    return _by_hand(
        {"alg": "HS256", "kid": KEY.kid}, lambda signed: hmac.digest(KEY.as_pem(private=False), signed, "sha256")
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: "",
        lambda: "a.b.c",
        lambda: "é" * 20,
        lambda: "x" * 9000,
        _unsigned,
        _by_public_key_as_secret,
        lambda: token(ec_key()),
        lambda: token(ECKey.import_key({**ec_key().as_dict(private=True), "kid": KEY.kid})),
        lambda: token(iss="https://other.example.cn"),
        lambda: token(aud="other"),
        lambda: token(aud=None),
        lambda: token(sub=None),
        lambda: token(sub="system"),
        lambda: token(sub=""),
        lambda: token(exp=None),
        lambda: token(nbf=int((START + timedelta(hours=1)).timestamp())),
        lambda: token(roles="admin"),
        lambda: token(divisions=[1508]),
        lambda: token()[:-4] + "AAAA",
    ],
)
async def test_what_proves_nothing_is_refused(clock, make):
    with pytest.raises(Unauthenticated) as refused:
        await verifier(Issuer(KEY), clock).verify(make())
    assert refused.value.reason == "TOKEN_INVALID"


async def test_a_token_ends_also_when_it_is_remembered(clock):
    checks, text = verifier(Issuer(KEY), clock), token()
    await checks.verify(text)
    clock.move(timedelta(hours=1, seconds=29))
    await checks.verify(text)
    clock.move(timedelta(seconds=1))
    for verifies in (checks, verifier(Issuer(KEY), clock)):
        with pytest.raises(Unauthenticated) as refused:
            clock.move(timedelta(seconds=2))
            await verifies.verify(text)
        assert refused.value.reason == "TOKEN_EXPIRED"


async def test_an_empty_or_odd_division_gives_no_scope(clock):
    principal = await verifier(Issuer(KEY), clock).verify(token(divisions=["", "15%", "150802"]))
    assert principal.divisions == ("150802",)
    assert not (await verifier(Issuer(KEY), clock).verify(token(divisions=None))).covers("150802")


async def test_a_new_key_of_the_issuer_is_fetched_once(clock, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(identity.time, "monotonic", lambda: now)
    issuer, new = Issuer(KEY), ec_key()
    checks = verifier(issuer, clock)
    await checks.verify(token())
    issuer.published.append(new)
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await checks.verify(token(new))
    assert issuer.asked == 1, "made-up key ids do not make us call the issuer at will"
    now += 10
    assert (await checks.verify(token(new))).account == "window-clerk"
    assert issuer.asked == 2


async def test_a_verified_token_is_not_verified_again(clock, monkeypatch):
    checks, text = verifier(Issuer(KEY), clock), token()
    first = await checks.verify(text)
    monkeypatch.setattr(identity.jwt, "decode", None)
    assert await checks.verify(text) is first


async def test_claims_may_stand_elsewhere(clock):
    text = token(roles=None, realm_access={"roles": ["admin"]})
    principal = await verifier(Issuer(KEY), clock, claims={"roles": "realm_access.roles"}).verify(text)
    assert principal.may("anything.at.all")


def _answers(documents):
    return httpx.AsyncClient(
        transport=httpx.MockTransport(lambda request: documents.get(str(request.url), httpx.Response(503)))
    )


async def test_keys_are_found_by_discovery(clock):
    documents = {
        f"{NAME}/.well-known/openid-configuration": httpx.Response(
            200, json={"issuer": NAME, "jwks_uri": f"{NAME}/keys"}
        ),
        f"{NAME}/keys": httpx.Response(200, json=KeySet([KEY]).as_dict(private=False)),
    }
    async with _answers(documents) as client:
        assert (await verifier(OidcIssuer(NAME, client=client), clock).verify(token())).account == "window-clerk"


@pytest.mark.parametrize(
    "documents",
    [
        {},
        {
            f"{NAME}/.well-known/openid-configuration": httpx.Response(
                200, json={"issuer": "https://evil.example", "jwks_uri": f"{NAME}/keys"}
            )
        },
        {f"{NAME}/.well-known/openid-configuration": httpx.Response(200, text="<html>")},
    ],
)
async def test_an_issuer_that_does_not_answer_is_our_trouble_not_the_callers(clock, documents):
    async with _answers(documents) as client:
        with pytest.raises(Unavailable):
            await verifier(OidcIssuer(NAME, client=client), clock).verify(token())


def test_the_system_may_everything_within_its_root():
    system = Principal.system_of("1508")
    assert system.may("cases.cases.accept")
    assert system.covers("150826108")
    assert not system.covers("1509")
    assert not Principal.anonymous().may("cases.cases.get")
    assert not Principal.anonymous().covers("1508")


@pytest.fixture
def settings(tmp_path):
    kept = SimpleNamespace(issuer=None, audience="hetao", clock_skew_seconds=30, token_minutes=60, claims={})
    here = SimpleNamespace(host="127.0.0.1")
    return SimpleNamespace(
        data_dir=tmp_path, public_url="http://127.0.0.1:8080", identity=kept, profile="embedded", http=here, grpc=here
    )


@pytest.fixture
def accounts(tmp_path):
    path = tmp_path / "accounts.toml"
    path.write_text('[[accounts]]\naccount = "clerk-1"\nroles = ["clerk"]\ndepartment = "d1"\ndivisions = ["150802"]\n')
    return path


async def test_an_account_may_work_in_several_departments_its_own_first(settings, accounts, clock):
    for claimed, worked_in in (
        ("d1", ("d1",)),
        (["d1", "d2"], ("d1", "d2")),
        ("", ()),
        (None, ()),
        ([], ()),
        ([""], ()),
    ):
        principal = await verifier(Issuer(KEY), clock).verify(token(department=claimed))
        assert (principal.department, principal.departments) == ((*worked_in, "")[0], worked_in)
    with pytest.raises(Unauthenticated):
        await verifier(Issuer(KEY), clock).verify(token(department=[1]))
    accounts.write_text(accounts.read_text() + 'others = ["d2"]\n')
    demo = DemoIssuer.open(settings, clock, accounts)
    assert (await Verifier.of(settings, ROLES, clock, demo).verify(demo.mint("clerk-1"))).departments == ("d1", "d2")


async def test_the_demo_issuer_makes_tokens_that_are_taken(settings, accounts, clock):
    demo = DemoIssuer.open(settings, clock, accounts)
    checks = Verifier.of(settings, ROLES, clock, demo)
    for issuer in (demo, DemoIssuer.running(settings, clock, accounts), DemoIssuer.open(settings, clock, accounts)):
        principal = await checks.verify(issuer.mint("clerk-1"))
        assert (principal.account, principal.department, principal.divisions) == ("clerk-1", "d1", ("150802",))
    assert (settings.data_dir / "keys" / "issuer.json").stat().st_mode & 0o777 == 0o600
    assert "d" not in demo.public_keys["keys"][0]
    with pytest.raises(NotFound):
        demo.mint("nobody")


def test_a_command_takes_the_address_of_the_running_platform(settings, accounts, clock):
    with pytest.raises(StartupError):
        DemoIssuer.running(settings, clock, accounts)
    DemoIssuer.open(settings, clock, accounts)
    settings.public_url = "http://127.0.0.1:9999"
    assert DemoIssuer.running(settings, clock, accounts).name == "http://127.0.0.1:8080/issuer"


def test_production_refuses_the_demo_issuer(settings, accounts, clock):
    demo = DemoIssuer.open(settings, clock, accounts)
    settings.profile = "production"
    for issuer in (demo, None):
        with pytest.raises(StartupError):
            Verifier.of(settings, ROLES, clock, issuer)
