"""The gateway's wiring: a web server in front of every service of the platform."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import Iterator

import uvicorn

from kit.errors import StartupError
from kit.folders import why
from kit.module import BLOBS, LOG, REDIS, Module, Parts, Runtime
from services.gateway import contracts, live
from services.gateway.app import create
from services.gateway.stream import hub_of

#: Seconds after which a connection is given up whose other end takes nothing of what it is sent.
STUCK = 60

#: Seconds that requests under way have to end at a drain.
DRAIN = 8


class Server(uvicorn.Server):
    """uvicorn, run and stopped by the platform: signals are not its business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def build(runtime: Runtime) -> Parts:
    hub = hub_of(runtime)
    app = create(runtime, hub)
    http = runtime.settings.http

    async def serve() -> None:
        """Raises StartupError where the port is taken."""
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            forwarded_allow_ips=[str(network) for network in http.proxies],
            timeout_graceful_shutdown=DRAIN,
            timeout_keep_alive=75,
            ws="none",
        )
        server = Server(config)
        _allow_files(runtime.settings.stream.connections)
        with listen(http.host, http.port) as listener:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                await asyncio.shield(serving)
            except asyncio.CancelledError:
                server.should_exit = True
                await serving
                raise

    return Parts(workers=[serve, hub.run])


def _allow_files(streams: int) -> None:
    """Each stream is an open file, and many systems allow a process 1,024 of them until it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * streams + 1024
    if soft != resource.RLIM_INFINITY and soft < wanted:
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, allowed), hard))


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; the kernel refuses callers until the server listens on it."""
    # The protocol is named because asyncio turns off Nagle's delay (40 ms an answer) only where it is.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # a stream that its reader takes nothing of for so long is cut
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STUCK * 1000)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        zh, en = why(error)
        raise StartupError(
            f"REST 无法监听 {host}:{port}：{zh}；可用 HETAO_HTTP__PORT 另选端口",
            f"REST cannot listen on {host}:{port}: {en}; choose another port with HETAO_HTTP__PORT",
        ) from error
    return listener


MODULE = Module("gateway", build, calls=contracts.names(), hears=live.owners(), engines=[LOG, BLOBS, REDIS])
