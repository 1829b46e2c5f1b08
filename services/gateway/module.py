"""The gateway's wiring: a web server in front of every service of the platform."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from kit.errors import StartupError
from kit.module import BLOBS, Module, Parts, Runtime
from services.gateway import contracts
from services.gateway.app import create

#: Seconds that requests under way have to end at a drain.
DRAIN = 8


class Server(uvicorn.Server):
    """uvicorn, run and stopped by the platform: signals are not its business."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def build(runtime: Runtime) -> Parts:
    """Raises StartupError where the port is taken; it is asked for before anything is served."""
    http = runtime.settings.http
    listener = listen(http.host, http.port)
    app = create(runtime)

    async def serve() -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=True,
            timeout_graceful_shutdown=DRAIN,
            timeout_keep_alive=75,
            ws="none",
            forwarded_allow_ips="",
        )
        server = Server(config)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            server.should_exit = True
            await serving
            raise
        finally:
            listener.close()

    return Parts(workers=[serve])


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; the kernel refuses callers until the server listens on it."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        raise StartupError(
            f"REST 端口 {host}:{port} 无法使用：{error.strerror}；可用 HETAO_HTTP__PORT 另选",
            f"REST cannot listen on {host}:{port}: {error.strerror}; choose another with HETAO_HTTP__PORT",
        ) from error
    return listener


MODULE = Module("gateway", build, calls=contracts.names(), engines=[BLOBS])
