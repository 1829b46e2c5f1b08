"""The demo issuer over HTTP, shaped as an OpenID Connect provider; in the embedded profile alone.

    POST {issuer}/token   grant_type=password&username=dispatcher          (a password is not asked for)
                          grant_type=client_credentials&client_id=dispatcher
    → {"access_token": "…", "token_type": "Bearer", "expires_in": 43200}

RFC 6749 for the form and its errors, OpenID Connect Discovery 1.0 for where things stand.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form
from fastapi.responses import JSONResponse

from kit.errors import NotFound
from kit.issuer import DemoIssuer

#: Tokens are not for caches (RFC 6749, 5.1).
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}


def router(issuer: DemoIssuer) -> APIRouter:
    """To be mounted under /issuer, which is where the issuer's name points."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/.well-known/openid-configuration")
    async def discovery() -> dict[str, Any]:
        return {
            "issuer": issuer.name,
            "token_endpoint": f"{issuer.name}/token",
            "jwks_uri": f"{issuer.name}/jwks.json",
            "grant_types_supported": ["password", "client_credentials"],
            "token_endpoint_auth_methods_supported": ["none"],
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "claims_supported": ["iss", "sub", "aud", "iat", "exp", "roles", "department", "divisions"],
        }

    @routes.get("/jwks.json")
    async def keys() -> dict[str, Any]:
        return issuer.public_keys

    @routes.get("/accounts")
    async def accounts() -> dict[str, Any]:
        """Whom one can be: for the sign-in page of a demo."""
        shown = ("account", "title", "title_en", "roles", "divisions")
        return {"accounts": [{name: entry[name] for name in shown if name in entry} for entry in issuer.accounts]}

    @routes.post("/token")
    async def token(
        grant_type: Annotated[str, Form(max_length=100)] = "",
        username: Annotated[str, Form(max_length=200)] = "",
        client_id: Annotated[str, Form(max_length=200)] = "",
    ) -> JSONResponse:
        if grant_type not in ("password", "client_credentials"):
            return _refused("unsupported_grant_type", "password or client_credentials")
        account = username if grant_type == "password" else client_id
        try:
            minted = issuer.mint(account)
        except NotFound:
            return _refused("invalid_grant", "no demo account of this name; see /issuer/accounts")
        expires_in = int(issuer.lifetime.total_seconds())
        return JSONResponse(
            {"access_token": minted, "token_type": "Bearer", "expires_in": expires_in}, headers=NO_STORE
        )

    return routes


def _refused(error: str, description: str) -> JSONResponse:
    return JSONResponse({"error": error, "error_description": description}, 400, headers=NO_STORE)
