"""What happens to every RPC, whichever transport it came by, in a fixed order:

telemetry → deadline → read → authenticate → limits → authorise → validate → the handler in a unit of work → errors.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Mapping
from typing import Any

import asyncpg
import protovalidate
from google.protobuf.message import DecodeError, Message

from kit import metrics, telemetry, unit
from kit.errors import (
    DeadlineExceeded,
    DomainError,
    Internal,
    InvalidArgument,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
    Violation,
)
from kit.identity import Principal
from kit.limits import Marks
from kit.module import Runtime
from kit.rpc.methods import Method
from kit.rpc.status import Failed, status_of, unreadable
from kit.rpc.traced import called
from kit.unit import CONNECTION_LOST, PASSING, Unit

log = logging.getLogger(__name__)
access = logging.getLogger("hetao.access")

#: A call without a deadline of its own gets this one, in seconds.
LONGEST_CALL = 30.0

#: In bytes. Requests are small: photos go through the gateway.
LARGEST_REQUEST = 1024 * 1024


CALLS = metrics.Histogram("rpc.server.call.duration", "s", "answering an RPC")


class Dispatcher:
    """Answers the RPCs of one service."""

    def __init__(self, runtime: Runtime, methods: Mapping[str, Method]):
        self.runtime, self.methods = runtime, methods

    async def call(
        self,
        path: str,
        payload: bytes,
        metadata: Mapping[str, str],
        timeout: float | None,
        address: str | None = None,
        certificate: str = "",
    ) -> bytes:
        """The serialised answer. Raises Failed with a status, and nothing else but cancellation.

        `address`: of the caller, where the call came over a socket; `certificate`: SHA-256 of the one that a caller without a token has shown.
        """
        method = self.methods.get(path)
        if method is None:
            raise Failed(status_of(Unimplemented("METHOD_UNKNOWN"), self.runtime.texts))
        if len(payload) > LARGEST_REQUEST:
            raise Failed(status_of(ResourceExhausted("REQUEST_TOO_LARGE"), self.runtime.texts))
        started, code = time.perf_counter(), "CANCELLED"
        with telemetry.server_span(self.runtime.name, method.path, metadata.get("traceparent", "")) as span:
            try:
                answer = await self._answer(
                    method,
                    payload,
                    metadata,
                    LONGEST_CALL if timeout is None else min(timeout, LONGEST_CALL),
                    span.traceparent,
                    address,
                    certificate,
                )
                code = "OK"
                return answer
            except Failed as failure:
                code = failure.code.name
                if code in telemetry.SERVERS_FAULT:
                    span.failed(code)
                else:
                    span.refused()
                raise
            finally:
                taken = time.perf_counter() - started
                span.set("rpc.response.status_code", code)
                if CALLS.collected:
                    CALLS.record(taken, called(method.path, code))
                if address is not None:  # what is called in process stands in the line of what it serves
                    access.info("%s %s %.1f ms", method.path[1:], code, taken * 1000)

    async def _answer(
        self,
        method: Method,
        payload: bytes,
        metadata: Mapping[str, str],
        timeout: float,
        traceparent: str,
        address: str | None,
        certificate: str,
    ) -> bytes:
        texts = self.runtime.texts
        try:
            request = method.request.FromString(payload)
        except (DecodeError, ValueError):
            raise Failed(unreadable(texts)) from None
        principal: Principal | None = None
        try:
            async with asyncio.timeout(timeout):
                try:
                    principal = await self._admit(method, metadata, address, certificate)
                    return await self._work(
                        method, request, principal, asyncio.get_running_loop().time() + timeout, traceparent
                    )
                except Exception as error:
                    repeated = await self._repeated(method, request, principal, error)
                    if repeated is None:
                        raise
                    return repeated
        except Exception as error:
            raise Failed(status_of(_domain(error, method), texts, method.descriptor.input_type)) from None

    async def _admit(
        self, method: Method, metadata: Mapping[str, str], address: str | None, certificate: str
    ) -> Principal:
        """Who calls; raises where the RPC is not for them, or not now."""
        scheme, _, token = metadata.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            token = ""
        limits = self.runtime.limits
        unmarked = address is not None and not limits.marks.holds(metadata.get(Marks.HEADER, ""), token)
        try:
            principal = await self._authenticate(method, token, certificate)
        except DomainError:  # also while nobody can say who it is
            if unmarked:
                await limits.take(Principal.anonymous(), address or "", writes=method.writes)
            raise
        permitted = method.public or principal.may(method.permission)
        if unmarked and (method.counted or not permitted):
            await limits.take(principal, address or "", writes=method.writes)
        if not permitted:
            raise PermissionDenied("PERMISSION_MISSING", permission=method.permission)
        return principal

    async def _authenticate(self, method: Method, token: str, certificate: str) -> Principal:
        if token:
            return await self.runtime.verifier.verify(token)
        if method.public:
            return Principal.anonymous()
        if certificate and (system := await self.runtime.verifier.certified(certificate)):
            return system
        raise Unauthenticated("TOKEN_MISSING")

    async def _work(
        self, method: Method, request: Message, principal: Principal, deadline: float, traceparent: str
    ) -> bytes:
        validate(request)
        request_id: str = getattr(request, "request_id", "") if method.repeatable and principal.account else ""

        def open_unit() -> Unit:
            return Unit(
                self.runtime,
                principal,
                writes=method.writes,
                action=method.path,
                deadline=deadline,
                traceparent=traceparent,
            )

        async def handle(opened: Unit) -> bytes:
            return (await method.handler(request, opened)).SerializeToString()  # type: ignore[no-any-return]

        def reply(answer: bytes) -> tuple[str, str, bytes, bytes]:
            sealed = self.runtime.keys.seal_bytes("kit.reply", request_id, answer)
            return method.path, request_id, digest(request), sealed

        return await unit.run(open_unit, handle, reply if request_id else None)

    async def _repeated(
        self, method: Method, request: Message, principal: Principal | None, error: Exception
    ) -> bytes | None:
        """The stored answer, if this request was answered before: looked for after any failure, so that the happy path pays nothing."""
        request_id: str = getattr(request, "request_id", "") if method.writes and method.repeatable else ""
        if not request_id or principal is None or not principal.account or isinstance(error, CONNECTION_LOST):
            return None

        async def look(opened: Unit) -> asyncpg.Record | None:
            return await opened.fetchrow(
                "select digest, answer from reply where account = $1 and method = $2 and request_id = $3",
                principal.account,
                method.path,
                request_id,
            )

        row = await unit.run(lambda: Unit(self.runtime, principal, writes=False, action=method.path), look)
        if row is None:
            return None
        if row["digest"] != digest(request):
            raise InvalidArgument("REQUEST_ID_REUSED", field="request_id")
        return self.runtime.keys.open_bytes("kit.reply", request_id, row["answer"])


def digest(request: Message) -> bytes:
    """What a request asked for, without its request id."""
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("request_id")
    return hashlib.blake2b(bare.SerializeToString(deterministic=True), digest_size=16).digest()


def validate(request: Message) -> None:
    """InvalidArgument with a violation per field that breaks a rule of its proto."""
    if found := protovalidate.collect_violations(request):
        raise InvalidArgument("REQUEST_INVALID", violations=tuple(_violation(v) for v in found))


def _violation(violation: protovalidate.Violation) -> Violation:
    proto = violation.proto
    path = ""
    for element in proto.field.elements if proto.field else ():
        path += f".{element.field_name}" if path else element.field_name
        subscript: Any = element.subscript
        if subscript is not None:
            path += f"[{subscript.value}]"
    return Violation(path, proto.rule_id, proto.message)


def _domain(error: Exception, method: Method) -> DomainError:
    """The domain error that says what an exception means to a caller."""
    match error:
        case DomainError():
            return error
        case TimeoutError():
            return DeadlineExceeded("DEADLINE_EXCEEDED")
        case asyncpg.UniqueViolationError(table_name="reply"):
            # The first call with this id was undone after all, between our write and our look.
            return Unavailable("OUTCOME_UNKNOWN")
        case asyncpg.CharacterNotInRepertoireError() | asyncpg.UntranslatableCharacterError():
            return InvalidArgument("CHARACTER_NOT_ALLOWED")  # PostgreSQL keeps every character but U+0000
        case _ if isinstance(error, PASSING):
            log.warning("%s in %s", type(error).__name__, method.path)
            return Unavailable("UNAVAILABLE")
        case _:
            log.error("unforeseen error in %s", method.path, exc_info=error)
            return Internal("INTERNAL")
