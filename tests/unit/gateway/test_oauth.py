"""Tokens for outside systems, and sign-outs of the identity provider, over HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey

from hetao.grid.v1 import systems_pb2, systems_pb2_grpc
from kit.module import Runtime
from kit.verifier import LOGOUT
from services.gateway import app as gateway
from services.gateway.module import MODULE
from services.gateway.oauth import JWT_BEARER, LARGEST_FORM
from tests.world import World

KEY = OKPKey.generate_key("Ed25519", {"use": "sig"}, auto_kid=True)
SYSTEM = "system-hotline"


@pytest.fixture
async def client(world: World) -> AsyncIterator[httpx.AsyncClient]:
    platform = world.platform
    runtime = Runtime(
        MODULE,
        settings=platform.settings,
        clock=world.clock,
        keys=platform.keys,
        verifier=platform.verifier,
        limits=platform.limits,
        issuer=platform.issuer,
        deadlines=platform.deadlines,
        texts=platform.texts,
        channel=platform.channel,
        pools=None,
        readiness=dict,
    )
    transport = httpx.ASGITransport(gateway.create(runtime), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hetao") as made:
        yield made


async def create(world: World) -> None:
    request = systems_pb2.CreateSystemRequest(
        system_id=SYSTEM,
        name="12345 热线",
        roles=["intake-system"],
        divisions=["150802"],
        public_keys=[json.dumps(KEY.as_dict(private=False))],
    )
    await world.stub(systems_pb2_grpc.SystemServiceStub, "grid", "admin").CreateSystem(request)
    await world.settle()


def assertion(world: World, audience: str) -> str:
    claims = {
        "iss": SYSTEM,
        "sub": SYSTEM,
        "aud": audience,
        "exp": int((world.clock.now() + timedelta(minutes=1)).timestamp()),
        "jti": str(uuid4()),
    }
    return jwt.encode({"alg": "Ed25519", "kid": KEY.kid}, claims, KEY, algorithms=["Ed25519"])


def form(said: str) -> dict[str, str]:
    return {"grant_type": "client_credentials", "client_assertion_type": JWT_BEARER, "client_assertion": said}


async def test_a_system_that_knows_only_the_address_gets_a_token_and_calls(world: World, client: httpx.AsyncClient):
    await create(world)
    document = (await client.get("/.well-known/oauth-authorization-server")).json()
    asked = form(assertion(world, document["token_endpoint"]))
    path = httpx.URL(document["token_endpoint"]).path
    answer = await client.post(path, data=asked)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    granted = answer.json()
    assert (granted["token_type"], granted["expires_in"]) == ("Bearer", 600)
    signed = {"Authorization": f"Bearer {granted['access_token']}"}
    assert (await client.get("/v1/divisions/150802", headers=signed)).status_code == 200
    assert (await client.get("/v1/systems", headers=signed)).status_code == 403
    again = await client.post(path, data=asked)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({}, 400, "invalid_request"),
    ({"json": {"grant_type": "client_credentials"}}, 400, "invalid_request"),
    ({"data": {"grant_type": "password"}}, 400, "unsupported_grant_type"),
    ({"data": {"grant_type": "client_credentials", "client_id": SYSTEM}}, 401, "invalid_client"),
    ({"data": form("nonsense")}, 401, "invalid_client"),
    ({"data": form("x" * 9000)}, 400, "invalid_request"),
    ({"data": form("x" * LARGEST_FORM)}, 400, "invalid_request"),
    ({"data": {**form("x"), "grant_type": ["client_credentials", "client_credentials"]}}, 400, "invalid_request"),
]


async def test_refusals_are_those_of_oauth(client: httpx.AsyncClient):
    for given, status, error in REFUSED:
        answer = await client.post("/oauth/token", **given)
        assert (answer.status_code, answer.json()["error"]) == (status, error), given


async def test_the_provider_signs_somebody_out(world: World, client: httpx.AsyncClient):
    issuer = world.platform.issuer
    assert issuer is not None
    signed = {"Authorization": f"Bearer {issuer.mint('dispatcher')}"}
    assert (await client.get("/v1/divisions/150802", headers=signed)).status_code == 200
    world.clock.move(timedelta(seconds=2))
    now = int(world.clock.now().timestamp())
    claims = {"iss": issuer.name, "aud": "hetao", "sub": "dispatcher", "iat": now, "jti": "1", "events": {LOGOUT: {}}}
    header = {"alg": "ES256", "kid": issuer._key.kid, "typ": "logout+jwt"}
    said = {"logout_token": jwt.encode(header, claims, issuer._key, algorithms=["ES256"])}
    answer = await client.post("/oidc/backchannel-logout", data=said)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    await world.settle()
    refused = await client.get("/v1/divisions/150802", headers=signed)
    assert (refused.status_code, refused.json()["reason"]) == (401, "SESSION_REVOKED")
    for given in ({}, {"logout_token": "x.y.z"}):
        assert (await client.post("/oidc/backchannel-logout", data=given)).status_code == 400
