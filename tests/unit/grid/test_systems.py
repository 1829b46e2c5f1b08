"""The register of outside systems, their keys and tokens, and sessions that are ended."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from grpc.aio import AioRpcError
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from hetao.cases.v1 import centres_pb2, centres_pb2_grpc
from hetao.grid.v1 import divisions_pb2, divisions_pb2_grpc, sessions_pb2, sessions_pb2_grpc, systems_pb2_grpc
from hetao.grid.v1 import systems_pb2 as pb
from hetao.operations.v1 import trust_pb2, trust_pb2_grpc
from kit.config import DATA
from kit.identity import Roles
from kit.own_tokens import ServiceToken
from kit.proto import stamp
from kit.sealing import Keys
from kit.verifier import LOGOUT
from services.grid.api import systems as api
from tests.world import Refusal, World, _Signed, refused

SYSTEM = "system-hotline"


def key() -> OKPKey:
    return OKPKey.generate_key("Ed25519", {"use": "sig"}, auto_kid=True)


KEY = key()


def public(of: Any) -> str:
    return json.dumps(of.as_dict(private=False))


class Register:
    """What administrators and systems do."""

    def __init__(self, world: World):
        self.world = world
        self.hire("admin-city", "1508")

    def hire(self, account: str, division: str) -> None:
        """An administrator of a division."""
        assert self.world.platform.issuer is not None
        self.world.platform.issuer._accounts[account] = {"roles": ["admin"], "divisions": [division], "department": ""}

    def systems(self, account: str | None = "admin-city") -> Any:
        return self.world.stub(systems_pb2_grpc.SystemServiceStub, "grid", account)

    def sessions(self, account: str | None = "admin-city") -> Any:
        return self.world.stub(sessions_pb2_grpc.SessionServiceStub, "grid", account)

    def divisions(self, token: str) -> Any:
        return divisions_pb2_grpc.DivisionServiceStub(_Signed(self.world.platform.channel("grid"), token))

    async def create(self, by: str = "admin-city", **more: Any) -> pb.System:
        given = {
            "system_id": SYSTEM,
            "name": "12345 热线",
            "roles": ["intake-system"],
            "divisions": ["150802"],
            "quota_per_minute": 600,
            "public_keys": [public(KEY)],
        } | more
        made: pb.System = (await self.systems(by).CreateSystem(pb.CreateSystemRequest(**given))).system  # type: ignore[arg-type]
        await self.world.settle()
        return made

    def assertion(self, signer: Any = KEY, alg: str = "Ed25519", **changes: Any) -> str:
        now = self.world.clock.now()
        claims = {
            "iss": SYSTEM,
            "sub": SYSTEM,
            "aud": self.world.platform.settings.public_url,
            "exp": int((now + timedelta(minutes=5)).timestamp()),
            "jti": str(uuid4()),
        } | changes
        said = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode({"alg": alg, "kid": signer.kid}, said, signer, algorithms=[alg])

    async def grant(self, assertion: str | None = None) -> str:
        request = pb.GrantSystemTokenRequest(assertion=assertion or self.assertion())
        answer = await self.systems(None).GrantSystemToken(request)
        assert answer.expires_in == 600
        return str(answer.access_token)

    async def calls(self, token: str) -> str:
        """ "" if a call with the token is answered, else the reason of the refusal."""
        try:
            await self.divisions(token).GetDivision(divisions_pb2.GetDivisionRequest(code="150802"))
        except AioRpcError as error:
            return Refusal(error).reason
        return ""


@pytest.fixture
def register(world: World) -> Register:
    return Register(world)


async def test_a_system_is_registered_proves_who_it_is_and_calls(register: Register):
    made = await register.create()
    assert (made.system_id, list(made.roles), list(made.divisions)) == (SYSTEM, ["intake-system"], ["150802"])
    assert (made.enabled, made.quota_per_minute, [one.key_id for one in made.keys]) == (True, 600, [KEY.kid])
    token = await register.grant()
    assert await register.calls(token) == ""
    channel = _Signed(register.world.platform.channel("cases"), token)
    stub = centres_pb2_grpc.CentreServiceStub(channel)
    assert (await stub.ListCentres(centres_pb2.ListCentresRequest())).centres, "another service knows it too"
    principal = await register.world.platform.verifier.verify(token)
    assert (principal.account, principal.quota, principal.divisions) == (SYSTEM, 600, ("150802",))
    assert not principal.may("grid.systems.list")


async def test_keys_come_as_jwk_or_pem(register: Register):
    for kind, made, alg in (
        ("ec", ECKey.generate_key("P-256", auto_kid=True), "ES256"),
        ("rsa", RSAKey.generate_key(2048, auto_kid=True), "PS256"),
        ("okp", OKPKey.generate_key("Ed25519", auto_kid=True), "Ed25519"),
    ):
        signer: Any = made
        for form, given in (("pem", signer.as_pem(private=False).decode()), ("jwk", public(signer))):
            system = f"system-{kind}-{form}"
            registered = await register.create(system_id=system, public_keys=[given])
            assert registered.keys[0].key_id == signer.thumbprint()
            assertion = register.assertion(signer, alg, iss=system, sub=system)
            assert await register.calls(await register.grant(assertion)) == "", system


NO_KEYS = [
    (json.dumps(KEY.as_dict(private=True)), "KEY_PRIVATE"),
    (KEY.as_pem(private=True).decode(), "KEY_PRIVATE"),
    ('{"kty": "oct", "k": "AAAA"}', "KEY_INVALID"),
    (json.dumps({**KEY.as_dict(private=False), "use": "enc"}), "KEY_INVALID"),
    (json.dumps({**KEY.as_dict(private=False), "alg": "HS256"}), "KEY_INVALID"),
    (public(ECKey.generate_key("P-521", auto_kid=True)), "KEY_INVALID"),
    (public(OKPKey.generate_key("X25519", auto_kid=True)), "KEY_INVALID"),
    ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "KEY_INVALID"),
    ("[" * 3000, "KEY_INVALID"),
    ("{}", "KEY_INVALID"),
    ("no key", "KEY_INVALID"),
]


async def test_what_is_no_public_key_is_refused(register: Register):
    for given, reason in NO_KEYS:
        refusal = await refused(register.create(public_keys=[given]))
        assert (refusal.code, refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", reason, ["public_keys[0]"])


PROVES_NOTHING: list[tuple[dict[str, Any], str]] = [
    ({"aud": "https://elsewhere.example.cn"}, "aud"),
    ({"aud": None}, "no aud"),
    ({"iss": "system-other"}, "iss and sub"),
    ({"iss": "system-other", "sub": "system-other"}, "signature"),
    ({"exp": None}, "no exp"),
    ({"exp": 9999999999}, "lasts too long"),
    ({"exp": 10**400}, "exp"),
    ({"iat": -(10**400)}, "iat"),
    ({"exp": 1}, "expired"),
    ({"nbf": 9999999999}, "nbf"),
    ({"jti": None}, "no jti"),
    ({"signer": key()}, "signature"),
]


async def test_an_assertion_that_proves_nothing_is_given_nothing(register: Register):
    await register.create()
    for changes, why in PROVES_NOTHING:
        refusal = await refused(register.grant(register.assertion(**changes)))
        told = (refusal.code, refusal.reason, refusal.params.get("why"))
        assert told == ("UNAUTHENTICATED", "ASSERTION_INVALID", why)


async def test_an_assertion_counts_once(register: Register):
    await register.create()
    assertion = register.assertion(aud=[f"{register.world.platform.settings.public_url}/oauth/token", "x"])
    await register.grant(assertion)
    assert (await refused(register.grant(assertion))).reason == "ASSERTION_INVALID"


async def test_keys_are_rotated_with_an_overlap(register: Register):
    await register.create()
    new, clock = key(), register.world.clock
    end = clock.now() + timedelta(hours=24)
    systems = register.systems()
    await systems.AddSystemKey(pb.AddSystemKeyRequest(system_id=SYSTEM, public_key=public(new)))
    retire = pb.RetireSystemKeyRequest(system_id=SYSTEM, key_id=KEY.kid, not_after=stamp(end))
    await systems.RetireSystemKey(retire)
    for signer in (KEY, new):
        assert await register.calls(await register.grant(register.assertion(signer))) == ""
    later = pb.RetireSystemKeyRequest(system_id=SYSTEM, key_id=KEY.kid, not_after=stamp(end + timedelta(days=1)))
    assert (await refused(systems.RetireSystemKey(later))).reason == "KEY_END_LATER"
    clock.move(timedelta(hours=24))
    assert (await refused(register.grant())).reason == "ASSERTION_INVALID"
    assert await register.calls(await register.grant(register.assertion(new))) == ""
    assert (await refused(register.systems().RetireSystemKey(retire))).reason == "KEY_OVER"


async def test_a_key_may_count_from_a_moment_to_come_and_there_are_not_too_many(register: Register):
    await register.create()
    new, clock = key(), register.world.clock
    begin, end = clock.now() + timedelta(hours=1), clock.now() + timedelta(minutes=1)
    reversed_ = pb.AddSystemKeyRequest(
        system_id=SYSTEM, public_key=public(new), not_before=stamp(begin), not_after=stamp(end)
    )
    assert (await refused(register.systems().AddSystemKey(reversed_))).reason == "DATES_REVERSED"
    request = pb.AddSystemKeyRequest(system_id=SYSTEM, public_key=public(new), not_before=stamp(begin))
    await register.systems().AddSystemKey(request)
    assert (await refused(register.systems().AddSystemKey(request))).reason == "KEY_EXISTS"
    assert (await refused(register.grant(register.assertion(new)))).reason == "ASSERTION_INVALID"
    clock.move(timedelta(hours=1))
    await register.grant(register.assertion(new))
    for _ in range(3):
        await register.systems().AddSystemKey(pb.AddSystemKeyRequest(system_id=SYSTEM, public_key=public(key())))
    more = pb.AddSystemKeyRequest(system_id=SYSTEM, public_key=public(key()))
    assert (await refused(register.systems().AddSystemKey(more))).reason == "KEYS_TOO_MANY"


async def test_a_system_that_is_stopped_calls_no_more_until_it_is_let_again(register: Register):
    await register.create()
    token = await register.grant()
    await register.systems().DisableSystem(pb.DisableSystemRequest(system_id=SYSTEM))
    await register.world.settle()
    assert await register.calls(token) == "SYSTEM_DISABLED"
    assert (await refused(register.grant())).reason == "SYSTEM_DISABLED"
    enabled = (await register.systems().EnableSystem(pb.EnableSystemRequest(system_id=SYSTEM))).system
    assert enabled.enabled
    await register.world.settle()
    assert await register.calls(token) == ""


async def test_what_the_register_says_counts_at_once_for_tokens_that_are_out(register: Register):
    made = await register.create()
    token = await register.grant()
    request = pb.UpdateSystemRequest(
        system_id=SYSTEM,
        divisions=["150802", "150826108"],
        quota_per_minute=5,
        roles=["statistics-system"],
        update_mask=FieldMask(paths=["divisions", "quota_per_minute", "roles"]),
        etag=made.etag,
    )
    changed = (await register.systems().UpdateSystem(request)).system
    assert (changed.name, changed.quota_per_minute) == ("12345 热线", 5)
    await register.world.settle()
    principal = await register.world.platform.verifier.verify(token)
    assert (principal.divisions, principal.quota) == (("150802", "150826108"), 5)
    assert principal.roles == ("statistics-system",)
    assert (await refused(register.systems().UpdateSystem(request))).reason == "ETAG_STALE"


NOT_TO_BE: list[tuple[dict[str, Any], str, str]] = [
    ({"roles": ["admin"]}, "INVALID_ARGUMENT", "ROLE_NOT_FOR_SYSTEMS"),
    ({"roles": ["dispatcher"]}, "INVALID_ARGUMENT", "ROLE_NOT_FOR_SYSTEMS"),
    ({"divisions": ["150899"]}, "INVALID_ARGUMENT", "DIVISION_UNKNOWN"),
    ({"divisions": ["1509"]}, "PERMISSION_DENIED", "DIVISION_FOREIGN"),
    ({"system_id": "12345"}, "INVALID_ARGUMENT", "REQUEST_INVALID"),
    ({"public_keys": [public(KEY), public(KEY)]}, "INVALID_ARGUMENT", "KEY_EXISTS"),
    ({"certificates": ["AB"]}, "INVALID_ARGUMENT", "REQUEST_INVALID"),
]


async def test_what_cannot_be_registered(register: Register):
    for changes, code, reason in NOT_TO_BE:
        refusal = await refused(register.create(**changes))
        assert (refusal.code, refusal.reason) == (code, reason)


async def test_names_are_given_once(register: Register):
    await register.create(client_id="hotline")
    assert (await refused(register.create())).reason == "SYSTEM_EXISTS"
    again = register.create(system_id="system-2", client_id="hotline")
    assert (await refused(again)).reason == "CLIENT_TAKEN"
    await register.create(system_id="system-2", client_id="")
    await register.create(system_id="system-3", client_id="")


async def test_a_county_does_not_say_whose_tokens_and_certificates_are_a_systems(register: Register):
    register.hire("admin-1", "150802")
    shown = "ab" * 32
    named = {"client_id": "console", "client_subject": "8c1e", "certificates": [shown]}
    for name, value in named.items():
        refusal = await refused(register.create("admin-1", **{name: value}))
        assert (refusal.code, refusal.reason, refusal.fields) == ("PERMISSION_DENIED", "ROOT_ALONE", [name])
    made = await register.create("admin-1")
    request = pb.UpdateSystemRequest(
        system_id=SYSTEM, client_subject="8c1e", update_mask=FieldMask(paths=["client_subject"]), etag=made.etag
    )
    assert (await refused(register.systems("admin-1").UpdateSystem(request))).reason == "ROOT_ALONE"
    changed = (await register.systems().UpdateSystem(request)).system
    request.name, request.etag = "热线", changed.etag
    request.update_mask.paths.append("name")
    assert (await register.systems("admin-1").UpdateSystem(request)).system.name == "热线", "what stays is not set"


async def test_a_certificate_is_one_systems_and_a_client_of_people_none(register: Register):
    first, second = "ab" * 32, "cd" * 32
    await register.create(certificates=[first])
    again = await refused(register.create(system_id="system-2", certificates=[second, first]))
    told = (again.code, again.reason, again.fields)
    assert told == ("ALREADY_EXISTS", "CERTIFICATE_TAKEN", ["certificates[1]"])
    made = await register.create(system_id="system-2", certificates=[second])
    request = pb.UpdateSystemRequest(
        system_id="system-2", certificates=[first], update_mask=FieldMask(paths=["certificates"]), etag=made.etag
    )
    assert (await refused(register.systems().UpdateSystem(request))).reason == "CERTIFICATE_TAKEN"
    people = await refused(register.create(system_id="system-3", client_id="hetao"))
    assert (people.reason, people.fields) == ("CLIENT_OF_PEOPLE", ["client_id"])


async def test_administrators_of_another_county_see_nothing_of_it(register: Register):
    await register.create()
    await register.create(system_id="system-city", divisions=["150802", "150826"])
    assert [one.system_id for one in (await register.systems().ListSystems(pb.ListSystemsRequest())).systems] == [
        "system-12345",  # the demo's
        "system-city",
        SYSTEM,
    ]
    register.hire("admin-2", "150826")
    other = register.systems("admin-2")
    assert not (await other.ListSystems(pb.ListSystemsRequest())).systems
    for system in (SYSTEM, "system-city", "system-none"):
        assert (await refused(other.GetSystem(pb.GetSystemRequest(system_id=system)))).code == "NOT_FOUND"
        assert (await refused(other.DisableSystem(pb.DisableSystemRequest(system_id=system)))).code == "NOT_FOUND"


# -- the register as processes follow it -----------------------------------------------------------------------------


async def test_a_process_may_follow_the_register_and_do_nothing_else(register: Register):
    world = register.world
    platform = world.platform
    token = ServiceToken("cases", platform.keys, world.clock, "hetao")()
    stub = trust_pb2_grpc.TrustServiceStub(_Signed(platform.channel("grid"), token))
    await register.create()
    told = await stub.GetTrust(trust_pb2.GetTrustRequest())
    assert told.whole
    assert [one.system_id for one in told.systems] == ["system-12345", SYSTEM]
    news = await stub.GetTrust(trust_pb2.GetTrustRequest(after=told.next))
    assert (news.whole, list(news.systems), list(news.revocations)) == (False, [], [])
    assert news.next == told.next
    assert (await stub.GetTrust(trust_pb2.GetTrustRequest(after="7.1"))).whole, "of another epoch"
    assert await register.calls(token) == "PERMISSION_MISSING"
    forged = ServiceToken("cases", Keys.passing(), world.clock, "hetao")()
    assert await register.calls(forged) == "TOKEN_INVALID"


async def test_nobody_else_may_follow_it(register: Register):
    issuer = register.world.platform.issuer
    assert issuer is not None
    roles = Roles.load(DATA / "roles.toml").names
    issuer._accounts["everything"] = {"roles": roles, "divisions": ["1508"], "department": ""}
    stub = register.world.stub(trust_pb2_grpc.TrustServiceStub, "grid", "everything")
    assert (await refused(stub.GetTrust(trust_pb2.GetTrustRequest()))).reason == "PERMISSION_MISSING"


async def test_many_changes_are_told_in_several_answers(register: Register, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(api, "NEWS", 2)
    for number in range(5):
        await register.create(system_id=f"system-{number}", public_keys=[])
    known = register.world.platform.verifier.register
    assert [known.system(f"system-{number}").enabled for number in range(5)] == [True] * 5


# -- sessions ---------------------------------------------------------------------------------------------------------


async def test_who_signs_out_is_out_with_this_session_alone(register: Register):
    world = register.world
    here = world.token("dispatcher")
    world.clock.move(timedelta(seconds=1))
    elsewhere = world.token("dispatcher")
    sessions = sessions_pb2_grpc.SessionServiceStub(_Signed(world.platform.channel("grid"), here))
    answer = await sessions.EndSession(sessions_pb2.EndSessionRequest())
    assert 0 < answer.everywhere_by.ToSeconds() - world.clock.now().timestamp() <= 5
    await world.settle()
    assert await register.calls(here) == "SESSION_REVOKED"
    assert await register.calls(elsewhere) == ""


async def test_who_signs_out_everywhere_is_out_until_the_next_sign_in(register: Register):
    world = register.world
    tokens = [world.token("dispatcher")]
    world.clock.move(timedelta(seconds=2))
    tokens.append(world.token("dispatcher"))
    world.clock.move(timedelta(seconds=2))
    await register.sessions("dispatcher").EndSession(sessions_pb2.EndSessionRequest(everywhere=True))
    await world.settle()
    assert {await register.calls(token) for token in tokens} == {"SESSION_REVOKED"}
    world.clock.move(timedelta(seconds=1))
    assert await register.calls(world.token("dispatcher")) == ""
    assert await register.calls(world.token("grid-worker")) == ""


async def test_an_administrator_signs_somebody_out(register: Register):
    world, token = register.world, register.world.token("dispatcher-2")
    world.clock.move(timedelta(seconds=1))
    request = sessions_pb2.RevokeSessionsRequest(account="dispatcher-2", reason="离职")
    assert (await refused(register.sessions("dispatcher").RevokeSessions(request))).reason == "PERMISSION_MISSING"
    register.hire("admin-1", "150802")
    for account in ("dispatcher-2", "nobody"):
        foreign = sessions_pb2.RevokeSessionsRequest(account=account)
        assert (await refused(register.sessions("admin-1").RevokeSessions(foreign))).code == "NOT_FOUND"
    await world.settle()
    assert await register.calls(token) == ""
    await register.sessions().RevokeSessions(request)
    await world.settle()
    assert await register.calls(token) == "SESSION_REVOKED"
    assert len(await world.rows("grid", "select purpose from audit where purpose = '离职'")) == 1


async def test_revocations_outlive_a_restart_and_go_when_the_last_token_has_expired(register: Register):
    world, token = register.world, register.world.token("dispatcher")
    world.clock.move(timedelta(seconds=1))
    await register.sessions("dispatcher").EndSession(sessions_pb2.EndSessionRequest(everywhere=True))
    platform = world.platform
    fresh = type(platform)(
        platform.settings,
        platform.modules,
        clock=world.clock,
        database=platform.database,
        listen=False,
        background=False,
    )
    async with fresh:
        with pytest.raises(Exception, match="SESSION_REVOKED"):
            await fresh.verifier.verify(token)
    rows = await world.rows("grid", "select until from revocation")
    assert all(row["until"] > world.clock.now() + timedelta(hours=24) for row in rows)


async def test_the_identity_provider_ends_a_session(register: Register):
    world = register.world
    issuer = world.platform.issuer
    assert issuer is not None
    token = world.token("dispatcher")
    world.clock.move(timedelta(seconds=2))
    now = int(world.clock.now().timestamp())
    claims = {
        "iss": issuer.name,
        "aud": "hetao",
        "sub": "dispatcher",
        "iat": now,
        "exp": now + 120,
        "jti": "1",
        "events": {LOGOUT: {}},
    }
    header = {"alg": "ES256", "kid": issuer._key.kid, "typ": "logout+jwt"}
    logout = jwt.encode(header, claims, issuer._key, algorithms=["ES256"])
    for _ in range(2):
        request = sessions_pb2.EndIssuerSessionRequest(logout_token=logout)
        await register.sessions(None).EndIssuerSession(request)
    await world.settle()
    assert await register.calls(token) == "SESSION_REVOKED"
    assert len(await world.rows("grid", "select id from revocation")) == 1
    unsigned = sessions_pb2.EndIssuerSessionRequest(logout_token=logout[:-8] + "AAAAAAAA")
    assert (await refused(register.sessions(None).EndIssuerSession(unsigned))).reason == "TOKEN_INVALID"
