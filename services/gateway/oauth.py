"""Where outside systems get their tokens, and where the identity provider says that a session has ended.

    POST /oauth/token                 grant_type=client_credentials
                                      client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer&client_assertion=…
    GET  /.well-known/oauth-authorization-server
    POST /oidc/backchannel-logout     logout_token=…

RFC 6749 and 7523 for the form and its errors, RFC 8414 for the document, OpenID Connect Back-Channel Logout 1.0. What is proved and kept is the
business of the service that keeps the register; here it is only put into the shape that clients and providers know.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qsl

import grpc
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from hetao.grid.v1 import sessions_pb2, sessions_pb2_grpc, systems_pb2, systems_pb2_grpc
from kit.module import Runtime
from kit.tokens import ALGORITHMS
from services.gateway.admission import Admission
from services.gateway.issuer import NO_STORE

#: Bytes of a form: a token and what stands around it.
LARGEST_FORM: Final = 32 * 1024

JWT_BEARER: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

#: How refusals of the register are called here (RFC 6749, 5.2), and their status.
_ERRORS: Final = {
    grpc.StatusCode.UNAUTHENTICATED: ("invalid_client", 401),
    grpc.StatusCode.INVALID_ARGUMENT: ("invalid_request", 400),
    grpc.StatusCode.RESOURCE_EXHAUSTED: ("temporarily_unavailable", 429),
}


def router(runtime: Runtime, admission: Admission) -> APIRouter:
    routes = APIRouter(include_in_schema=False)
    systems = runtime.stub(systems_pb2_grpc.SystemServiceStub, "grid")
    sessions = runtime.stub(sessions_pb2_grpc.SessionServiceStub, "grid")
    address, timeout = runtime.settings.public_url, runtime.settings.http.timeout

    @routes.get("/.well-known/oauth-authorization-server")
    async def metadata() -> dict[str, Any]:
        return {
            "issuer": address,
            "token_endpoint": f"{address}/oauth/token",
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "token_endpoint_auth_methods_supported": ["private_key_jwt"],
            "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        }

    async def ask(request: Request, rpc: Any, message: Any) -> Any:
        """What the service answers, or the refusal as OAuth says it. The caller is counted by its address."""
        _, mark = await admission.admit("", request.scope, writes=True)
        try:
            return await rpc(message, metadata=[mark], timeout=timeout)
        except grpc.aio.AioRpcError as error:
            name, status = _ERRORS.get(error.code(), ("temporarily_unavailable", 503))
            return _refused(name, error.details() or "", status)

    @routes.post("/oauth/token")
    async def token(request: Request) -> Response:
        form = await _form(request)
        if form is None:
            return _refused("invalid_request", "a form is expected, each field once")
        if form.get("grant_type") != "client_credentials":
            return _refused("unsupported_grant_type", "client_credentials")
        if form.get("client_assertion_type") != JWT_BEARER or not form.get("client_assertion"):
            return _refused("invalid_client", f"a client_assertion of the type {JWT_BEARER} is needed", 401)
        asked = systems_pb2.GrantSystemTokenRequest(assertion=form["client_assertion"])
        answer = await ask(request, systems.GrantSystemToken, asked)
        if isinstance(answer, Response):
            return answer
        granted = {"access_token": answer.access_token, "token_type": "Bearer", "expires_in": answer.expires_in}
        return JSONResponse(granted, headers=NO_STORE)

    @routes.post("/oidc/backchannel-logout")
    async def logout(request: Request) -> Response:
        form = await _form(request)
        if not form or not form.get("logout_token"):
            return _refused("invalid_request", "logout_token")
        asked = sessions_pb2.EndIssuerSessionRequest(logout_token=form["logout_token"])
        answer = await ask(request, sessions.EndIssuerSession, asked)
        if isinstance(answer, Response):
            if answer.status_code == 401:  # the specification knows one status for a token that proves nothing
                answer.status_code = 400
            return answer
        return Response(status_code=200, headers=NO_STORE)

    return routes


async def _form(request: Request) -> dict[str, str] | None:
    """The fields of a form, or None if it is none, is too large, or says something twice."""
    if not request.headers.get("content-type", "").lower().startswith("application/x-www-form-urlencoded"):
        return None
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > LARGEST_FORM:
            return None
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return None
    form = dict(pairs)
    return form if len(form) == len(pairs) else None


def _refused(error: str, description: str, status: int = 400) -> JSONResponse:
    return JSONResponse({"error": error, "error_description": description}, status, headers=NO_STORE)
