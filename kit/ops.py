"""The operators' listener of a process: /healthz, /readyz, and what else is added to it (/metrics). It is the first that listens and the last that stops.

It knows GET and nothing else, asks nobody who they are, and tells nothing of the data: keep it inside the cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import NamedTuple

import orjson

from kit.errors import StartupError
from kit.folders import why
from kit.readiness import Readiness
from kit.sections import Ops as Settings

log = logging.getLogger(__name__)

#: Seconds that a caller has to say what it wants, and to take the answer; bytes that it may use for it.
PATIENCE, LONGEST = 5.0, 8 * 1024


class Answer(NamedTuple):
    status: int
    content_type: str
    body: bytes


Handler = Callable[[], Answer | Awaitable[Answer]]


class Ops:
    def __init__(self, settings: Settings, readiness: Readiness):
        self._settings, self._readiness = settings, readiness
        self._handlers: dict[str, Handler] = {"/healthz": _alive, "/readyz": self._ready}
        self._server: asyncio.Server | None = None

    def add(self, path: str, handler: Handler) -> None:
        """`handler()` answers GET on the path from now on."""
        self._handlers[path] = handler

    @property
    def listening(self) -> bool:
        return self._server is not None

    @property
    def port(self) -> int:
        """The one that it listens on."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listens, if the settings name a port. Raises `StartupError` where it is taken."""
        host, port = self._settings.host, self._settings.port
        if port is None:
            return
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=LONGEST)
        except OSError as error:
            zh, en = why(error)
            raise StartupError(
                f"运维端口无法监听 {host}:{port}：{zh}；可用 HETAO_OPS__PORT 另选端口",
                f"the operators' port cannot listen on {host}:{port}: {en}; choose another with HETAO_OPS__PORT",
            ) from error

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                head = await reader.readuntil(b"\r\n\r\n")
                method, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
                answer = await self._answer(method, rest.partition(" ")[0].partition("?")[0])
                writer.write(_written(answer, with_body=method != "HEAD"))
                await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever it was is gone, or no HTTP client
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, method: str, path: str) -> Answer:
        handler = self._handlers.get(path)
        if handler is None:
            return _plain(HTTPStatus.NOT_FOUND)
        if method not in ("GET", "HEAD"):
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            answer = handler()
            return answer if isinstance(answer, Answer) else await answer
        except Exception as error:
            log.error("unforeseen error in %s", path, exc_info=error)
            return _plain(HTTPStatus.INTERNAL_SERVER_ERROR)

    def _ready(self) -> Answer:
        """503 until nothing is waited for; `away` names what the process serves on without."""
        readiness = self._readiness
        status = HTTPStatus.OK if readiness.ready else HTTPStatus.SERVICE_UNAVAILABLE
        told = {
            "status": "ok" if readiness.ready else "waiting",
            "waitingFor": readiness.waiting,
            "away": readiness.away,
        }
        return Answer(status, "application/json", orjson.dumps(told))


def _alive() -> Answer:
    return Answer(HTTPStatus.OK, "application/json", b'{"status":"ok"}')


def _plain(status: HTTPStatus) -> Answer:
    return Answer(status, "text/plain", f"{status.value} {status.phrase}\n".encode())


def _written(answer: Answer, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}\r\ncontent-type: {answer.content_type}\r\n"
        f"content-length: {len(answer.body)}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode("latin-1") + (answer.body if with_body else b"")
