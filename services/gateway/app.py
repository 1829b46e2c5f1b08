"""The gateway as an ASGI application: the API in front, and what is no RPC behind it in FastAPI."""

from __future__ import annotations

import logging
import time
from collections.abc import MutableMapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

from hetao.notify.v1 import sms_pb2_grpc
from kit import telemetry
from kit.blobs import Blobs
from kit.errors import DomainError
from kit.module import Runtime
from kit.signing import secret_of
from services.gateway import contracts, docs, issuer, media, oauth, stream
from services.gateway.access import access, answered, http_span
from services.gateway.admission import Admission
from services.gateway.hub import Hub
from services.gateway.problems import CONTENT_TYPE, STATUS, Problem, field_error, problem
from services.gateway.sms_emulator import SmsEmulator
from services.gateway.transcode import SECURITY, Api, App, Receive, Scope, Send, routes

log = logging.getLogger(__name__)

#: Asked every few seconds by whoever watches the process; nobody reads of it.
PROBES = ("/healthz", "/readyz")

#: What people call the fields of what is no RPC.
LABELS = {**media.LABELS, **stream.LABELS}


def create(runtime: Runtime, hub: Hub | None = None) -> App:
    """The application of one process; with live events where there is a hub, which is run by whoever runs the application."""
    settings = runtime.settings
    behind = FastAPI(title="河套 Hetao", openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    _health(behind, runtime)
    behind.include_router(docs.router(runtime.texts))
    blobs = Blobs.open(settings.media_url, pixel_limit=settings.media.pixel_limit)
    admission = Admission(runtime)
    behind.include_router(media.router(runtime, blobs, admission))
    if hub is not None:
        behind.include_router(stream.router(runtime, hub, admission))
    behind.include_router(oauth.router(runtime, admission))
    if runtime.issuer is not None:
        behind.include_router(issuer.router(runtime.issuer), prefix="/issuer")
    if settings.profile == "embedded" and settings.sms.url is None:
        receipts = runtime.stub(sms_pb2_grpc.SmsReceiptServiceStub, "notify")
        secret = secret_of(runtime.keys.index("sms", "emulator"))
        emulator = SmsEmulator(secret, runtime.clock, receipts.RecordSmsReceipt)
        behind.include_router(emulator.router(), prefix="/sms-emulator")
    _errors(behind, runtime)
    api = Api(
        Logged(behind),
        paths=routes(contracts.services(), runtime.channel, contracts.names()),
        admission=admission,
        texts=runtime.texts,
        limit=settings.http.body_limit,
        timeout=settings.http.timeout,
    )
    if not settings.http.cors_origins:
        return api
    return CORSMiddleware(
        api,
        allow_origins=settings.http.cors_origins,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=[
            *("Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID"),
            "traceparent",
        ],
        expose_headers=["ETag", "Retry-After", "RateLimit", "RateLimit-Policy"],
        max_age=600,
    )


class Logged:
    """Notes each request that is no RPC: its template and its status, never its path."""

    def __init__(self, app: App):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope.get("path") in PROBES:
            await self._app(scope, receive, send)
            return
        started, status, began = time.perf_counter(), 0, 0.0
        method = scope.get("method", "")

        async def noting(message: MutableMapping[str, Any]) -> None:
            nonlocal status, began
            if message["type"] == "http.response.start":
                status, began = message["status"], time.perf_counter()
            await send(message)

        traceparent = next((value for name, value in scope["headers"] if name == b"traceparent"), b"")
        with http_span(method, scope, traceparent) as span:
            try:
                await self._app(scope, receive, noting)
            finally:
                template = getattr(scope.get("route"), "path", "")
                name = f"{method} {template}".strip()
                span.rename(name)
                # A stream may last for hours: what counts is when it began to answer.
                answered(span, scope, template, status, (began or time.perf_counter()) - started)
                access.info("%s %d %.1f ms", name, status, (time.perf_counter() - started) * 1000)


def _health(app: FastAPI, runtime: Runtime) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def alive() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    async def ready() -> JSONResponse:
        """What this process still waits for; 503 until that is nothing."""
        waiting = dict(runtime.readiness())
        return JSONResponse({"status": "waiting" if waiting else "ok", "waitingFor": waiting}, 503 if waiting else 200)


def _errors(app: FastAPI, runtime: Runtime) -> None:
    """Whatever goes wrong outside the API is told as a problem too."""
    texts = runtime.texts

    def answer(refused: Problem) -> Response:
        headers = {**{name.decode(): value.decode() for name, value in SECURITY}, **refused.headers}
        body = refused.body(telemetry.trace_id())
        return Response(body, refused.status, headers=headers, media_type=CONTENT_TYPE.decode())

    async def on_problem(request: Request, refused: Any) -> Response:
        return answer(refused)

    async def on_domain_error(request: Request, error: Any) -> Response:
        headers = {"retry-after": "1"} if STATUS[error.code] in (429, 503) else None
        zh, en = texts.of_error(error)
        label = LABELS.get(error.field)
        errors = [field_error(error.field, label, error.reason, zh, en)] if label else ()
        return answer(
            Problem(STATUS[error.code], error.reason, (zh, en), code=error.code.name, errors=errors, headers=headers)
        )

    async def on_http(request: Request, error: Any) -> Response:
        reasons = {404: "PATH_UNKNOWN", 405: "METHOD_NOT_ALLOWED"}
        reason = reasons.get(error.status_code, "REQUEST_UNREADABLE")
        return answer(problem(error.status_code, reason, texts, headers=error.headers))

    async def on_unreadable(request: Request, error: Any) -> Response:
        return answer(problem(400, "REQUEST_INVALID", texts))

    async def on_unforeseen(request: Request, error: Exception) -> Response:
        log.error("unforeseen error in %s", request.scope.get("route", request.method), exc_info=error)
        return answer(problem(500, "INTERNAL", texts))

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(DomainError, on_domain_error)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_unreadable)
    app.add_exception_handler(Exception, on_unforeseen)
