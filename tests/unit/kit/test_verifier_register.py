"""What the register adds to a token: outside systems, sessions that have ended, several issuers."""

from datetime import timedelta

import pytest

from kit.claims import ClaimMapping
from kit.clock import VirtualClock
from kit.errors import Unauthenticated, Unavailable
from kit.oidc import KnownKeys
from kit.own_tokens import SYSTEMS, OwnIssuer
from kit.register import Register, Revoked, System
from kit.sealing import Keys
from kit.verifier import LOGOUT, Trusted, Verifier, session_mark
from tests.unit.kit.issuers import NAME, ROLES, START, Issuer, ec_key, seconds, token, verifier


@pytest.fixture
def clock():
    return VirtualClock(START)


async def refused(checks, text):
    with pytest.raises(Unauthenticated) as error:
        await checks.verify(text)
    return error.value


def systems(*listed, register, **more):
    register.change(listed, (), whole=False, now=seconds())


HOTLINE = System("system-12345", ("hotline",), ("1508",), 600, True, "hotline", "")


async def test_a_registered_client_of_the_issuer_is_what_the_register_says(clock):
    register = Register()
    checks = verifier(Issuer(), clock, register=register)
    text = token(sub="hotline", client_id="hotline", roles=["admin"])
    assert (await checks.verify(text)).account == "hotline", "it is nobody in particular before it is registered"
    systems(HOTLINE, register=register)
    principal = await checks.verify(text)
    assert (principal.account, principal.roles, principal.divisions, principal.quota) == (
        "system-12345",
        ("hotline",),
        ("1508",),
        600,
    )
    assert not principal.may("grid.staff.list"), "what the token says of roles does not count"
    person = await checks.verify(token(sub="window-clerk", azp="hotline"))
    assert person.account == "window-clerk", "a person who uses the client is a person"
    for told in ({"auth_time": seconds()}, {"sid": "s1"}, {"amr": ["pwd"]}, {"azp": "console"}):
        person = await checks.verify(token(sub="hotline", client_id="hotline", **told))
        assert person.account == "hotline", "nor is one whom the issuer gave that name"
    systems(System("system-12345", ("hotline",), ("1508",), 600, False, "hotline", ""), register=register)
    assert (await refused(checks, text)).reason == "SYSTEM_DISABLED"


async def test_the_subject_of_a_client_may_be_another_than_its_name(clock):
    register = Register()
    systems(System("system-12345", ("hotline",), ("1508",), None, True, "hotline", "8c1e"), register=register)
    checks = verifier(Issuer(), clock, register=register)
    assert (await checks.verify(token(sub="8c1e", azp="hotline"))).account == "system-12345"
    assert (await checks.verify(token(sub="hotline", azp="hotline"))).account == "hotline"
    assert (await checks.verify(token(sub="8c1e", azp="other"))).account == "8c1e"


@pytest.mark.parametrize(
    ("mark", "before", "ends"),
    [
        ("session:window-clerk|s1", None, True),
        ("session:window-clerk|j1", None, True),
        ("session:window-clerk|s2", None, False),
        ("session:admin|s1", None, False),
        ("account:window-clerk", seconds(seconds=1), True),
        ("account:window-clerk", seconds(), False),
        (f"sid:{NAME}|s1", None, True),
        (f"sub:{NAME}|window-clerk", seconds(seconds=1), True),
        ("sid:https://other|s1", None, False),
    ],
)
async def test_a_revoked_session_ends_also_for_tokens_that_are_remembered(clock, mark, before, ends):
    register = Register()
    checks, text = verifier(Issuer(), clock, register=register), token(sid="s1", jti="j1")
    await checks.verify(text)
    register.change((), [Revoked(mark, before, seconds(days=1))], whole=False, now=seconds())
    if not ends:
        assert (await checks.verify(text)).account == "window-clerk"
        return
    for verifies in (checks, verifier(Issuer(), clock, register=register)):
        assert (await refused(verifies, text)).reason == "SESSION_REVOKED"


async def test_a_revocation_that_is_heard_late_undoes_none(clock):
    register, mark = Register(), "account:window-clerk"
    for listed, refuses in (
        ([seconds(seconds=10), seconds(seconds=5)], seconds(seconds=9)),
        ([None, seconds(seconds=5)], seconds(hours=1)),
        ([seconds(seconds=20)], seconds(hours=1)),
    ):
        told = [Revoked(mark, before, seconds(days=1)) for before in listed]
        register.change((), told, whole=False, now=seconds())
        with pytest.raises(Unauthenticated):
            register.check([mark], refuses)
    register.change((), [], whole=True, now=seconds())
    register.check([mark], seconds(hours=1))


def test_a_certificate_that_two_systems_hold_is_nobodys():
    register = Register()
    for account in ("system-1", "system-2"):
        held = (account, "both")
        systems(System(account, ("hotline",), ("1508",), None, True, certificates=held), register=register)
    assert register.certified("both") is None
    assert register.certified("system-2").account == "system-2"


def test_a_session_is_that_of_one_account_alone():
    marks = [session_mark("a", "b|c"), session_mark("a|b", "c"), session_mark("a%7Cb", "c")]
    assert len(set(marks)) == 3
    assert session_mark("a", "b") == "session:a|b"


async def test_a_certified_system_whose_sessions_were_ended_begins_another(clock):
    register, own = Register(), OwnIssuer(SYSTEMS, Keys.passing(), clock, "hetao")
    systems(System("system-1", ("hotline",), ("1508",), None, True, certificates=("c",)), register=register)
    checks = Verifier([Trusted(KnownKeys(own, 3600), "hetao")], ROLES, clock, register=register, systems=own)
    first = await checks.certified("c")
    assert await checks.certified("c") is first
    clock.move(timedelta(seconds=1))
    ended = Revoked("account:system-1", clock.now().timestamp(), seconds(days=1))
    register.change((), [ended], whole=False, now=seconds())
    again = await checks.certified("c")
    assert again.account == "system-1"
    assert again.token != first.token


async def test_a_token_without_a_name_of_its_own_can_be_revoked_by_its_digest(clock):
    register = Register()
    checks = verifier(Issuer(), clock, register=register)
    principal = await checks.verify(token())
    assert principal.marks[0].startswith("session:window-clerk|")
    register.change((), [Revoked(principal.marks[0], None, seconds(days=1))], whole=False, now=seconds())
    await refused(checks, token())
    assert (await checks.verify(token(jti="another"))).account == "window-clerk"


async def test_who_has_not_heard_of_the_register_takes_nobodys_word(clock, monkeypatch):
    now = 0.0
    monkeypatch.setattr("kit.register.time.monotonic", lambda: now)
    register = Register()
    register.follow(60)
    checks = verifier(Issuer(), clock, register=register)
    with pytest.raises(Unavailable) as away:
        await checks.verify(token())
    assert away.value.reason == "REGISTER_AWAY"
    register.heard()
    await checks.verify(token())
    now = 59.0
    await checks.verify(token())
    now = 61.0
    with pytest.raises(Unavailable):
        await checks.verify(token())


# -- logout tokens ----------------------------------------------------------------------------------------------------


def logout(**changes):
    claims = {
        "sub": "window-clerk",
        "aud": "console",
        "roles": None,
        "department": None,
        "divisions": None,
        "events": {LOGOUT: {}},
        "jti": "1",
    }
    return token(header={"typ": "logout+jwt"}, **(claims | changes))


async def test_an_issuer_tells_which_session_has_ended(clock):
    checks = verifier(Issuer(), clock)
    ended = await checks.logged_out(logout(sid="s1"), ["console"])
    assert (ended.mark, ended.before) == (f"sid:{NAME}|s1", None)
    ended = await checks.logged_out(logout(sid="s1"), ["console"], everywhere=True)
    assert (ended.mark, ended.before) == (f"sub:{NAME}|window-clerk", seconds())
    ended = await checks.logged_out(logout(), ["console"])
    assert (ended.mark, ended.before) == (f"sub:{NAME}|window-clerk", seconds())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"aud": "hetao"}, "aud"),
        ({"events": None}, "kind of token"),
        ({"events": {"other": {}}}, "kind of token"),
        ({"nonce": "n"}, "kind of token"),
        ({"sub": None}, "no sub"),
        ({"iat": seconds(minutes=-10)}, "expired"),
    ],
)
async def test_other_tokens_end_no_session(clock, changes, why):
    with pytest.raises(Unauthenticated) as error:
        await verifier(Issuer(), clock).logged_out(logout(**changes), ["console"])
    assert error.value.params["why"] == why


async def test_accounts_of_several_issuers_are_told_apart_and_only_the_first_speaks_for_systems(clock):
    court, register = ec_key(), Register()
    systems(HOTLINE, register=register)
    address = "https://court.example.cn"
    second = Trusted(
        KnownKeys(Issuer(court, name=address), 3600),
        "hetao",
        ClaimMapping(ROLES.names, roles={"judge": "clerk"}, account_prefix="court:"),
        longest=3600,
    )
    first = Trusted(KnownKeys(Issuer(), 3600), "hetao", ClaimMapping(ROLES.names), longest=3600, clients=True)
    checks = Verifier([first, second], ROLES, clock, register=register)
    principal = await checks.verify(token(court, iss=address, sub="admin", roles=["judge", "admin"]))
    assert (principal.account, principal.roles) == ("court:admin", ("clerk",))
    assert (await checks.verify(token(sub="hotline", azp="hotline"))).account == "system-12345"
    client = await checks.verify(token(court, iss=address, sub="hotline", azp="hotline"))
    assert client.account == "court:hotline"
    for crossed in (token(court), token(iss=address)):
        assert (await refused(checks, crossed)).params["why"] == "signature"
