"""Events as they happen, as server-sent events (HTML, 9.2): `GET /v1/events:stream`.

    GET /v1/events:stream?types=hetao.cases.v1.CaseChanged&subject=…

    event: hetao.cases.v1.CaseChanged
    data: {"type": "hetao.cases.v1.CaseChanged", "id": "…", "time": "…", "subject": "…", "division": "…", "data": {…}}
    id: …

A reader sees what it could read by an RPC at that moment, as the events' contracts say (the option `live`), and no restricted matter. With `Last-Event-ID` it
goes on from where it was, at whatever gateway. Where that cannot be, an event `reload` tells it to load anew what it shows. A sign of life comes
every few seconds, with the reader's place, so that one for whom nothing happened can go on too. The stream ends with the reader's token.

Written by hand, since what every reader is sent is made once for all of them; `sse-starlette` makes the bytes for each, runs four tasks a stream, and finds
its server's end by the handlers of signals, which are the platform's here. A stream here is two tasks and no queue.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from kit.errors import DomainError, InvalidArgument, PermissionDenied, Unauthenticated
from kit.identity import Principal
from kit.metrics import Gauge
from kit.module import Runtime
from services.gateway import live, positions
from services.gateway.admission import Admission, bearer
from services.gateway.binding import Label
from services.gateway.hub import Hub, Reader
from services.gateway.transcode import SECURITY, Receive, Scope, Send

PATH: Final = "/v1/events:stream"

OPEN = Gauge("hetao.gateway.streams", "{stream}", "streams of events that are open", "updowncounter")

#: Milliseconds after which a reader that was cut off comes back.
RETRY: Final = 2000

#: Subjects that a reader may name, and characters of each.
MOST_SUBJECTS, LONGEST_SUBJECT = 100, 100

LABELS: Final = {"types": Label("事件类型", "Event types"), "subject": Label("对象", "Subject")}

HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # proxies pass each event on at once
    *SECURITY,
]


def hub_of(runtime: Runtime) -> Hub:
    """The one reader of the log in a process."""
    chosen, topics = runtime.settings.stream, live.topics()
    hub = Hub(
        runtime.log,
        topics,
        mark=positions.mark(runtime.settings.root_division, runtime.log.system, *topics),
        back=-(-chosen.history // (len(topics) * runtime.settings.log.partitions)),
        history=chosen.history,
        most=chosen.connections,
        per_account=chosen.per_account,
    )
    OPEN.watch(hub, lambda: [(hub.count, {})])
    return hub


def router(runtime: Runtime, hub: Hub, admission: Admission) -> APIRouter:
    routes = APIRouter()

    @routes.get(PATH)
    async def stream(request: Request) -> Response:
        token = bearer(request.headers.get("authorization", ""))
        if not token:
            raise Unauthenticated("TOKEN_MISSING")
        caller = await runtime.verifier.verify(token)
        await admission.count(caller, request.scope, writes=False)
        types, subjects = _wanted(request, caller)
        opening = hub.open(caller, types, subjects, request.headers.get("last-event-id"))
        return Stream(runtime, hub, opening, token)

    return routes


class Stream(Response):
    """One stream, for as long as its reader stays and its token is good."""

    def __init__(self, runtime: Runtime, hub: Hub, opening: Coroutine[Any, Any, Reader], token: str):
        super().__init__()
        self._runtime, self._hub, self._opening, self._token = runtime, hub, opening, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Whatever forbids it is raised before it begins."""
        hub = self._hub
        reader = self._reader = await self._opening
        waiting = asyncio.create_task(self._until_gone(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await _say(send, b"retry: %d\n" % RETRY + (b"\n" if reader.cursor is not None else self._place()))
            while await self._may_go_on():
                found = hub.next(reader)
                if found:
                    await _say(send, b"".join(b"id: %b\n%b" % (after.encode(), body) for after, body in found))
                elif reader.reload:
                    reason, reader.reload = reader.reload, ""
                    await _say(send, b'event: reload\ndata: {"reason":"%b"}\n' % reason.encode() + self._place())
                elif reader.cursor is not None:
                    await asyncio.sleep(0)  # much that is for others: they have their turn
                elif reader.over:
                    break
                else:
                    await self._news(send)
            await send({"type": "http.response.body", "body": b""})
        finally:
            waiting.cancel()
            hub.close(reader)

    async def _news(self, send: Send) -> None:
        """Waits for what comes next; says that it is still there when nothing does."""
        reader = self._reader
        reader.news.clear()
        try:
            async with asyncio.timeout(self._runtime.settings.stream.heartbeat_seconds):
                await reader.news.wait()
        except TimeoutError:
            if await self._may_go_on():
                await _say(send, b":\n" + self._place())

    def _place(self) -> bytes:
        return b"id: %b\n\n" % self._hub.stands(self._reader).encode()

    async def _may_go_on(self) -> bool:
        """Whether the token still stands for the same person with the same rights. What is sent is asked first; a look costs two microseconds."""
        try:
            return await self._runtime.verifier.verify(self._token) == self._reader.principal
        except DomainError:
            return False

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._hub.end(self._reader)
        self._reader.cursor = None


async def _say(send: Send, what: bytes) -> None:
    await send({"type": "http.response.body", "body": what, "more_body": True})


def _wanted(request: Request, caller: Principal) -> tuple[frozenset[str], frozenset[str]]:
    """(types, subjects), each empty for all. PermissionDenied where the caller may see none of the types."""
    given: Mapping[str, list[str]] = {name: [] for name in LABELS}
    for name, value in request.query_params.multi_items():
        if name not in given:
            raise InvalidArgument("QUERY_UNREADABLE")
        given[name].extend(filter(None, value.split(",")))
    types, subjects = frozenset(given["types"]), frozenset(given["subject"])
    known = live.kinds()
    for one in types:
        if one not in known:
            raise InvalidArgument("EVENT_TYPE_UNKNOWN", field="types", types=", ".join(known))
    if len(subjects) > MOST_SUBJECTS or any(len(one) > LONGEST_SUBJECT for one in subjects):
        raise InvalidArgument("SUBJECTS_TOO_MANY", field="subject", limit=MOST_SUBJECTS)
    permissions = {known[one].rule.permission for one in types or known}
    if not any(caller.may(permission) for permission in permissions):
        raise PermissionDenied("PERMISSION_MISSING", permission=min(permissions))
    return types, subjects


# ---- what the OpenAPI document says of it ----

TAG: Final = {"name": "Events", "description": "What happens, while it happens."}


def schemas(of: Any) -> dict[str, Any]:
    """`of(descriptor)`: the schema of a message."""
    return {
        "Event": {
            "type": "object",
            "description": "What stands in `data:` of an event: CloudEvents' attributes, and the state after it.",
            "properties": {
                "type": {"type": "string", "title": "类型", "enum": list(live.kinds())},
                "id": {
                    "type": "string",
                    "title": "编号",
                    "description": "The same wherever it is told.",
                    "format": "uuid",
                },
                "time": {"type": "string", "title": "时间", "format": "date-time"},
                "subject": {"type": "string", "title": "对象", "description": "The id of what it happened to."},
                "division": {"type": "string", "title": "区划"},
                "data": {"title": "状态", "oneOf": [of(kind.descriptor) for kind in live.kinds().values()]},
            },
            "required": ["type", "id", "time", "subject", "division", "data"],
        }
    }


def paths() -> dict[str, Any]:
    kinds = live.kinds()
    refusals = {str(status): {"$ref": f"#/components/responses/{status}"} for status in (400, 401, 403, 429, 503)}
    return {
        PATH: {
            "get": {
                "operationId": "Events_Stream",
                "tags": ["Events"],
                "summary": "Events as they happen",
                "description": "Server-sent events. A reader sees what it could read by a call at that moment, and no restricted matter. Each event's `event:` "
                "is its type and its `data:` an Event; `id:` is the reader's place, which also comes alone, with a sign of life. An event `reload` says that "
                "something may be missing: load anew what is shown. The stream ends with the token.",
                "x-permission": min(kind.rule.permission for kind in kinds.values()),
                "parameters": [
                    {
                        "name": "types",
                        "in": "query",
                        "description": "These types alone, separated by commas.",
                        "explode": False,
                        "schema": {
                            "type": "array",
                            "title": "事件类型",
                            "items": {"type": "string", "enum": list(kinds)},
                        },
                    },
                    {
                        "name": "subject",
                        "in": "query",
                        "description": "What happens to these alone, separated by commas.",
                        "explode": False,
                        "schema": {
                            "type": "array",
                            "title": "对象",
                            "maxItems": MOST_SUBJECTS,
                            "items": {"type": "string", "maxLength": LONGEST_SUBJECT},
                        },
                    },
                    {
                        "name": "Last-Event-ID",
                        "in": "header",
                        "description": "The last `id:` that the reader had: it goes on from there.",
                        "schema": {"type": "string"},
                    },
                ],
                "responses": {
                    "200": {
                        "description": "The stream",
                        "content": {"text/event-stream": {"schema": {"type": "string"}}},
                    },
                    **refusals,
                },
            }
        }
    }
