"""Tokens of a real OpenID provider: discovery, sign-in with a code, client credentials, rotation of its keys, sign-out."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import pytest

from engines import oidc as engine
from engines.oidc import Oidc
from kit.clock import Clock
from kit.config import DATA, load
from kit.errors import Unauthenticated
from kit.identity import Roles
from kit.register import Register, Revoked, System
from kit.verifier import Verifier
from tests.waiting import until

ROLES = Roles.load(DATA / "roles.toml")

#: As a Keycloak of a city would say it.
MAPPING = {
    "claims": {
        "roles": ["realm_access.roles", "resource_access.hetao.roles"],
        "divisions": "groups",
        "department": "groups",
    },
    "prefixes": {"roles": "hetao-", "divisions": "/divisions/", "department": "/departments/"},
}
ACCOUNTS = {
    "zhang": {
        "realm_access": {"roles": ["offline_access", "hetao-dispatcher", "admin"]},
        "resource_access": {"hetao": {"roles": ["hetao-window-clerk"]}},
        "groups": ["/divisions/1508/150802", "/departments/150802-centre", "/choir"],
    },
    "li": {"realm_access": {"roles": []}},
}


class Receiver:
    """Hears what the provider tells its clients."""

    def __init__(self) -> None:
        heard: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                heard.extend(parse_qs(body)["logout_token"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nobody reads it."""

        self.heard = heard
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.address = f"http://127.0.0.1:{self._server.server_port}/logout"

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


@pytest.fixture(scope="module")
def provider(receiver: Receiver) -> Iterator[Oidc]:
    if (why := engine.missing()) and os.environ.get("CI") != "true":
        pytest.skip(why)
    clients = [
        {
            "client_id": "console",
            "redirect_uris": ["http://127.0.0.1:1/back"],
            "backchannel_logout_uri": receiver.address,
            "backchannel_logout_session_required": True,
        },
        {"client_id": "hotline", "grant_types": ["client_credentials"], "redirect_uris": [], "response_types": []},
    ]
    with Oidc(clients, ACCOUNTS) as made:
        yield made


def verifier(provider: Oidc, register: Register | None = None) -> Verifier:
    settings = load(identity={"issuer": provider.issuer, "audience": provider.audience, **MAPPING})
    return Verifier.of(settings, ROLES, Clock(), register=register)


async def test_who_signs_in_is_what_the_claims_say_by_the_mapping(provider: Oidc):
    checks = verifier(provider)
    principal = await checks.verify(provider.sign_in("console", "zhang").access_token)
    assert (principal.account, principal.roles) == ("zhang", ("dispatcher", "window-clerk"))
    assert (principal.divisions, principal.department) == (("150802",), "150802-centre")
    assert principal.may("cases.cases.dispatch")
    assert not principal.may("grid.staff.create"), "the admin of another application is not ours"
    other = await checks.verify(provider.sign_in("console", "li").access_token)
    assert (other.roles, other.divisions, other.permissions) == ((), (), frozenset())


async def test_an_id_token_is_no_access_token(provider: Oidc):
    signed_in = provider.sign_in("console", "zhang")
    with pytest.raises(Unauthenticated) as refused:
        await verifier(provider).verify(signed_in.id_token)
    assert refused.value.params["why"] == "aud"


async def test_a_client_with_credentials_of_its_own_is_the_system_that_is_registered(provider: Oidc):
    register = Register()
    checks = verifier(provider, register)
    token = provider.client_token("hotline")
    assert (await checks.verify(token)).permissions == frozenset()
    system = System("system-12345", ("intake-system",), ("150802",), 600, True, "hotline")
    register.change([system], [], whole=False, now=0)
    principal = await checks.verify(token)
    assert (principal.account, principal.quota, principal.divisions) == ("system-12345", 600, ("150802",))
    assert principal.may("cases.cases.create")
    person = await checks.verify(provider.sign_in("console", "zhang").access_token)
    assert person.account == "zhang"


async def test_keys_change_while_people_work(provider: Oidc, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kit.oidc.REFRESH_EVERY", 0.0)
    checks = verifier(provider)
    before = provider.sign_in("console", "zhang").access_token
    await checks.verify(before)
    provider.rotate("ES256")
    after = provider.sign_in("console", "zhang").access_token
    assert (await checks.verify(after)).account == "zhang"
    assert (await checks.verify(before)).account == "zhang"
    provider.rotate(keep=False)
    await checks.verify(provider.sign_in("console", "zhang").access_token)
    for old in (before, after):
        with pytest.raises(Unauthenticated) as refused:
            await checks.verify(old)
        assert refused.value.params["why"] == "signature"


async def test_a_provider_that_is_stopped_and_started_again_harms_nobody(
    provider: Oidc, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("kit.oidc.FIRST_KEYS_EVERY", 0.0)
    checks, late = verifier(provider), verifier(provider)
    tokens = [provider.sign_in("console", "zhang").access_token for _ in range(2)]
    await checks.verify(tokens[0])
    provider.stop()
    try:
        assert (await checks.verify(tokens[1])).account == "zhang", "its keys are known"
        with pytest.raises(Exception, match="ISSUER_AWAY"):
            await late.verify(tokens[0])
    finally:
        provider.start()
    assert (await late.verify(tokens[0])).account == "zhang"


async def test_who_signs_out_at_the_provider_is_signed_out_here(provider: Oidc, receiver: Receiver):
    register = Register()
    checks = verifier(provider, register)
    signed_in, elsewhere = provider.sign_in("console", "zhang"), provider.sign_in("console", "zhang")
    receiver.heard.clear()
    provider.sign_out(signed_in)
    await until(lambda: bool(receiver.heard), "the provider says that a session has ended", 30)
    (told,) = receiver.heard
    ended = await checks.logged_out(told, ["console"])
    with pytest.raises(Unauthenticated):
        await checks.verify(told)
    register.change([], [Revoked(ended.mark, ended.before, 9e9)], whole=False, now=0)
    with pytest.raises(Unauthenticated) as refused:
        await checks.verify(signed_in.access_token)
    assert refused.value.reason == "SESSION_REVOKED"
    assert (await checks.verify(elsewhere.access_token)).account == "zhang"
