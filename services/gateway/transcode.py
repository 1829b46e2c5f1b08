"""REST in, RPC out: the API as one ASGI application, made from the contracts' own descriptors.

It stands in front of the framework's router, because a request that is an RPC needs none of what the framework does. It checks what only
HTTP knows (path, media type, size, JSON, conditional headers); who may call and whether the values are right is the service's to say.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from grpc.aio import AioRpcError

from kit import telemetry
from kit.texts import Texts
from services.gateway.access import access, answered, http_span
from services.gateway.admission import Admission
from services.gateway.binding import EMPTY, PDF, Binding, Invalid, bindings
from services.gateway.json_codec import Flaw
from services.gateway.keys_twice import key_twice
from services.gateway.paths import BadPath, MethodNotAllowed, NoSuchPath, Paths
from services.gateway.problems import CONTENT_TYPE, Problem, of_invalid, of_rpc, problem
from services.gateway.shared import SharedAnswers

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Call = Callable[..., Awaitable[Any]]

#: On every answer. JSON is never a page: it may load nothing and stand in no frame.
SECURITY: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_JSON: Final = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"), *SECURITY)
_TAGGED_JSON: Final = (
    (b"content-type", b"application/json"),
    (b"cache-control", b"private, no-cache"),
    (b"vary", b"authorization"),
    *SECURITY,
)
_DOCUMENT: Final = ((b"content-type", PDF.encode()), (b"cache-control", b"no-store"), *SECURITY)
_PROBLEM: Final = ((b"content-type", CONTENT_TYPE), (b"cache-control", b"no-store"), *SECURITY)

#: Paths under /v1 that are no RPCs.
OTHERS: Final = ("/v1/media", "/v1/events")

_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_ONE_TAG = re.compile(r'"([\x21\x23-\x7e]*)"')
_TAG = re.compile(r'(?:W/)?"([\x21\x23-\x7e]*)"')


class ClientGone(Exception):
    """The caller hung up before the request was whole."""


@dataclass(frozen=True, slots=True)
class Route:
    """One binding and how its RPC is reached. ``call`` is given the request: some RPCs name their service in it."""

    binding: Binding
    name: str
    call: Callable[[Message], Call | None]


def routes(services: Iterable[ServiceDescriptor], channel: Callable[[str], Any], hosts: Iterable[str]) -> Paths[Route]:
    """Every RPC that has a path. ``channel`` gives a service's channel by name; ``hosts`` are those that operators ask."""
    found: Paths[Route] = Paths()
    for service in services:
        owner = service.full_name.split(".")[1]
        for method in service.methods:
            for binding in bindings(method):
                path = f"/{service.full_name}/{method.name}"
                serialise, parse = binding.request_class.SerializeToString, binding.response_class.FromString

                def reach(name: str, path: str = path, serialise: Any = serialise, parse: Any = parse) -> Call:
                    call: Call = channel(name).unary_unary(
                        path, request_serializer=serialise, response_deserializer=parse
                    )
                    return call

                if owner == "operations":
                    found.add(
                        binding.verb, binding.template, Route(binding, path, _by_service({n: reach(n) for n in hosts}))
                    )
                else:
                    found.add(binding.verb, binding.template, Route(binding, path, _always(reach(owner))))
    return found


def _always(call: Call) -> Callable[[Message], Call | None]:
    return lambda request: call


def _by_service(calls: dict[str, Call]) -> Callable[[Message], Call | None]:
    """Operators' RPCs are served by every service alike; the request names the one that is meant."""

    def named(request: Any) -> Call | None:
        return calls.get(request.service)

    return named


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes

    async def send(self, send: Send, *, with_body: bool) -> None:
        headers = [*self.headers]
        if self.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body if with_body else b""})


def _tagged(headers: dict[bytes, bytes], tag: str, body: bytes) -> Answer:
    """A JSON body, or word that the caller has it already."""
    tagged = (*_TAGGED_JSON, (b"etag", f'"{tag}"'.encode()))
    return Answer(304, tagged, b"") if _matches(headers.get(b"if-none-match", b""), tag) else Answer(200, tagged, body)


def _refusal(refused: Problem) -> Answer:
    more = tuple((name.encode(), value.encode("latin-1")) for name, value in refused.headers.items())
    if refused.status == 204:  # an OPTIONS request is answered by its Allow header
        return Answer(204, (*SECURITY, *more), b"")
    return Answer(refused.status, (*_PROBLEM, *more), refused.body(telemetry.trace_id()))


class Api:
    """The ASGI application. ``limit``: bytes of a body; ``timeout``: seconds of an RPC; ``otherwise`` serves the rest."""

    def __init__(
        self, otherwise: App, *, paths: Paths[Route], admission: Admission, texts: Texts, limit: int, timeout: float
    ):
        self._otherwise, self._paths, self._texts, self._limit, self._timeout = otherwise, paths, texts, limit, timeout
        self._admission, self._shared = admission, SharedAnswers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not path.startswith("/v1/") or path.startswith(OTHERS):
            await self._otherwise(scope, receive, send)
            return
        started = time.perf_counter()
        method, headers = scope["method"], dict(scope["headers"])
        matched = self._match(method, scope)
        route = "" if isinstance(matched, Problem) else matched[0].binding.template
        name = f"{method} {route}" if route else method
        with http_span(name, scope, headers.get(b"traceparent", b"")) as span:
            try:
                if isinstance(matched, Problem):
                    raise matched
                answer = await self._answer(*matched, scope, headers, receive, span.traceparent)
            except ClientGone:
                return
            except Problem as refused:
                answer = _refusal(refused)
            except Exception:
                log.exception("unforeseen error in %s", name)
                answer = _refusal(problem(500, "INTERNAL", self._texts))
            taken = time.perf_counter() - started
            answered(span, scope, route, answer.status, taken)
            access.info("%s %d %.1f ms", name, answer.status, taken * 1000)
        await answer.send(send, with_body=method != "HEAD")

    def _match(self, method: str, scope: Scope) -> tuple[Route, dict[str, str]] | Problem:
        """The route and its variables, or why there is none."""
        try:
            raw = scope["raw_path"].decode("ascii")
            return self._paths.match("GET" if method == "HEAD" else method, raw)
        except MethodNotAllowed as refused:
            also = {"OPTIONS", "HEAD"} if "GET" in refused.allowed else {"OPTIONS"}
            allow = {"allow": ", ".join(sorted(refused.allowed | also))}
            return problem(204 if method == "OPTIONS" else 405, "METHOD_NOT_ALLOWED", self._texts, headers=allow)
        except NoSuchPath:
            return problem(404, "PATH_UNKNOWN", self._texts)
        except (BadPath, UnicodeDecodeError):
            return problem(400, "PATH_UNREADABLE", self._texts)

    async def _answer(
        self,
        route: Route,
        values: dict[str, str],
        scope: Scope,
        headers: dict[bytes, bytes],
        receive: Receive,
        traceparent: str,
    ) -> Answer:
        binding = route.binding
        metadata = [("traceparent", traceparent)] if traceparent else []
        authorization = headers.get(b"authorization", b"").decode("latin-1")
        if authorization:
            if not _PRINTABLE.fullmatch(authorization):  # gRPC would refuse to send it
                raise problem(401, "TOKEN_INVALID", self._texts)
            metadata.append(("authorization", authorization))
        elif not binding.public:  # whether a token is good the service says; nobody reads a body without one
            raise problem(401, "TOKEN_MISSING", self._texts)
        principal, mark = await self._admission.admit(
            authorization, scope, writes=binding.writes, free_for=binding.free_for
        )
        metadata.append(mark)
        key, asked_at = (scope["raw_path"], scope["query_string"]), self._shared.now()
        if binding.shared_seconds and principal.may(binding.permission) and (kept := self._shared.get(key)):
            return _tagged(headers, *kept)
        request = await self._request(binding, values, scope, headers, receive)
        call = route.call(request)
        if call is None:
            raise problem(404, "SERVICE_UNKNOWN", self._texts, service=getattr(request, "service", ""))
        try:
            reply = await call(request, metadata=metadata, timeout=self._timeout)
        except AioRpcError as error:
            raise of_rpc(error, binding, self._texts, conditional=b"if-match" in headers) from None
        if binding.answers_document:
            named = f'inline; filename="{binding.template.rpartition(":")[2]}.pdf"'.encode()
            return Answer(200, (*_DOCUMENT, (b"content-disposition", named)), binding.document(reply))
        if binding.shared_seconds:
            body = binding.write(reply)
            return _tagged(headers, self._shared.put(key, body, asked_at, binding.shared_seconds), body)
        etag = binding.etag(reply)
        if not etag:
            return Answer(200, _JSON, binding.write(reply))
        tagged = (*_TAGGED_JSON, (b"etag", f'"{etag}"'.encode()))
        if binding.verb == "GET" and _matches(headers.get(b"if-none-match", b""), etag):
            return Answer(304, tagged, b"")
        return Answer(200, tagged, binding.write(reply))

    async def _request(
        self, binding: Binding, values: dict[str, str], scope: Scope, headers: dict[bytes, bytes], receive: Receive
    ) -> Message:
        try:
            body = await self._body(headers, receive) if binding.takes_body else EMPTY
            request = binding.read(values, scope["query_string"].decode("latin-1"), body)
            if binding.has_request_id and b"idempotency-key" in headers:
                _take_over(request, "request_id", _idempotency_key(headers[b"idempotency-key"]), "Idempotency-Key")
            if b"if-match" in headers:
                self._if_match(binding, request, headers[b"if-match"])
        except Invalid as invalid:
            raise of_invalid(invalid, binding, self._texts) from None
        return request

    async def _body(self, headers: dict[bytes, bytes], receive: Receive) -> Any:
        """The parsed body, or EMPTY. Its size is watched while it comes in."""
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > self._limit:
            raise problem(413, "BODY_TOO_LARGE", self._texts, limit=self._limit)
        chunks, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._limit:
                raise problem(413, "BODY_TOO_LARGE", self._texts, limit=self._limit)
            chunks.append(chunk)
            more = message.get("more_body", False)
        if not size:
            return EMPTY
        media, _, parameters = headers.get(b"content-type", b"").lower().partition(b";")
        if media.strip() != b"application/json" or parameters.strip() not in (
            b"",
            b"charset=utf-8",
            b'charset="utf-8"',
        ):
            raise problem(415, "MEDIA_TYPE_UNSUPPORTED", self._texts)
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            try:
                body.decode()
            except UnicodeDecodeError as undecodable:
                raise problem(400, "BODY_NOT_UTF8", self._texts, position=undecodable.start) from None
            raise problem(400, "BODY_NOT_JSON", self._texts, line=error.lineno, column=error.colno) from None
        if path := key_twice(body, value):
            raise Invalid(Flaw(path, "FIELD_TWICE"))
        return value

    def _if_match(self, binding: Binding, request: Message, header: bytes) -> None:
        text = header.decode("latin-1").strip()
        if text == "*":
            return
        one = _ONE_TAG.fullmatch(text)
        if not binding.has_etag or (one is None and not text.startswith("W/")):
            raise Invalid(Flaw("If-Match", "IF_MATCH_UNSUPPORTED"))
        if one is None:  # RFC 9110, 13.1.1: a weak tag never matches
            raise problem(412, "ETAG_STALE", self._texts)
        _take_over(request, "etag", one[1], "If-Match")


def _take_over(request: Any, field: str, value: str, header: str) -> None:
    """A header says the same as a field; if both are there, they must agree."""
    given = getattr(request, field)
    if given and given != value:
        raise Invalid(Flaw(header, "HEADER_CONFLICT", {"header": header}))
    setattr(request, field, value)


def _idempotency_key(header: bytes) -> str:
    """The key; quoted, as its draft wants it (a structured field's string), or bare, as most clients send it."""
    text = header.decode("latin-1").strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if not _PRINTABLE.fullmatch(text):
        raise Invalid(Flaw("Idempotency-Key", "VALUE_CHARACTER"))
    return text


def _matches(if_none_match: bytes, etag: str) -> bool:
    text = if_none_match.decode("latin-1").strip()
    return text == "*" or etag in _TAG.findall(text)
