"""The demo issuer, as an OIDC client meets it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from kit.claims import ClaimMapping
from kit.clock import Clock
from kit.config import DATA, load
from kit.identity import Roles
from kit.issuer import DemoIssuer
from kit.oidc import KnownKeys, OidcIssuer
from kit.verifier import Trusted, Verifier
from services.gateway.issuer import router


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = load(data_dir=tmp_path, http={"public_url": "http://hetao"}, identity={"token_minutes": 60})
    app = FastAPI()
    app.include_router(router(DemoIssuer.open(settings, Clock(), DATA / "demo" / "accounts.toml")), prefix="/issuer")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as made:
        yield made


@pytest.mark.parametrize(
    "form",
    [
        {"grant_type": "password", "username": "dispatcher"},
        {"grant_type": "client_credentials", "client_id": "dispatcher"},
    ],
)
async def test_a_client_that_knows_only_the_address_gets_a_token_that_is_taken(
    client: httpx.AsyncClient, form: dict[str, str]
):
    document = (await client.get("http://hetao/issuer/.well-known/openid-configuration")).json()
    answer = await client.post(document["token_endpoint"], data=form)
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    token = answer.json()
    assert (token["token_type"], token["expires_in"]) == ("Bearer", 3600)
    roles = Roles.load(DATA / "roles.toml")
    known = KnownKeys(OidcIssuer(document["issuer"], client=client), 3600)
    checks = Verifier([Trusted(known, "hetao", ClaimMapping(roles.names))], roles, Clock())
    principal = await checks.verify(token["access_token"])
    assert (principal.account, principal.roles, principal.divisions) == ("dispatcher", ("dispatcher",), ("150802",))


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "password", "username": "nobody"}, "invalid_grant"),
        ({"grant_type": "password"}, "invalid_grant"),
        ({"grant_type": "authorization_code"}, "unsupported_grant_type"),
        ({}, "unsupported_grant_type"),
    ],
)
async def test_refusals_are_those_of_oauth(client: httpx.AsyncClient, form: dict[str, str], error: str):
    answer = await client.post("http://hetao/issuer/token", data=form)
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_nothing_secret_is_published(client: httpx.AsyncClient):
    (key,) = (await client.get("http://hetao/issuer/jwks.json")).json()["keys"]
    assert not {"d", "p", "q", "k"} & key.keys()
    assert key["alg"] == "ES256"
    listed = (await client.get("http://hetao/issuer/accounts")).json()["accounts"]
    assert {"dispatcher", "dispatcher-2"} <= {account["account"] for account in listed}
    assert not any("name" in account for account in listed)
