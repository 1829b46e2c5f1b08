"""Issuers that are known by their address."""

import json

import httpx
import pytest
import trustme
from joserfc.jwk import KeySet

from kit.clock import VirtualClock
from kit.errors import Unavailable
from kit.oidc import OidcIssuer
from tests.unit.kit.issuers import KEY, NAME, START, ec_key, token, verifier
from tests.unit.kit.tls_server import serving

DISCOVERY, KEYS = f"{NAME}/.well-known/openid-configuration", f"{NAME}/keys"
FOUND = httpx.Response(200, json={"issuer": NAME, "jwks_uri": KEYS})
JWKS = KeySet([KEY]).as_dict(private=False)


def _answers(documents):
    def answer(request):
        found = documents.get(str(request.url))
        return httpx.Response(found.status_code, content=found.content) if found else httpx.Response(503)

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


async def test_keys_are_found_by_discovery():
    async with _answers({DISCOVERY: FOUND, KEYS: httpx.Response(200, json=JWKS)}) as client:
        checks = verifier(OidcIssuer(NAME, client=client), VirtualClock(START))
        assert (await checks.verify(token())).account == "window-clerk"


async def test_keys_that_we_do_not_understand_or_must_not_use_are_passed_over():
    odd = [
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "!", "y": "!"},
        {"kty": "oct", "k": "AAAA", "kid": "s"},
        {**ec_key().as_dict(private=False), "use": "enc"},
        7,
    ]
    body = {"keys": [*odd, *JWKS["keys"]]}
    async with _answers({DISCOVERY: FOUND, KEYS: httpx.Response(200, json=body)}) as client:
        assert [key.kid for key in await OidcIssuer(NAME, client=client).keys()] == [KEY.kid]


@pytest.mark.parametrize(
    "documents",
    [
        {},
        {DISCOVERY: httpx.Response(200, json={"issuer": "https://evil.example", "jwks_uri": KEYS})},
        {DISCOVERY: httpx.Response(200, json={"issuer": NAME, "jwks_uri": "http://id.example.cn/keys"})},
        {DISCOVERY: httpx.Response(302, headers={"location": "https://evil.example"})},
        {DISCOVERY: httpx.Response(200, text="<html>")},
        {DISCOVERY: httpx.Response(200, text="[" * 100_000)},
        {DISCOVERY: httpx.Response(200, json=[])},
        {DISCOVERY: httpx.Response(200, json={"issuer": NAME, "jwks_uri": 7})},
        {DISCOVERY: FOUND},
        {DISCOVERY: FOUND, KEYS: httpx.Response(200, json={"keys": []})},
        {DISCOVERY: FOUND, KEYS: httpx.Response(200, json={"keys": 7})},
        {DISCOVERY: FOUND, KEYS: httpx.Response(200, text=json.dumps({"keys": ["x" * 600_000]}))},
    ],
)
async def test_an_issuer_that_does_not_answer_as_it_should_is_our_trouble_not_the_callers(documents):
    async with _answers(documents) as client:
        with pytest.raises(Unavailable):
            await verifier(OidcIssuer(NAME, client=client), VirtualClock(START)).verify(token())


async def test_an_issuers_certificate_must_come_from_somebody_we_trust(tmp_path):
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    documents = {"/keys": JWKS}
    async with serving(authority.issue_cert("127.0.0.1"), documents) as address:
        documents["/.well-known/openid-configuration"] = {"issuer": address, "jwks_uri": f"{address}/keys"}
        assert len(await OidcIssuer(address, ca_file=ca_file).keys()) == 1
        with pytest.raises(Unavailable):
            await OidcIssuer(address).keys()
