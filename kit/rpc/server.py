"""The gRPC server of a process: its services over a socket, with reflection and health."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import lru_cache
from ssl import PEM_cert_to_DER_cert
from typing import Any
from urllib.parse import unquote

import grpc
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from kit.rpc.pipeline import Dispatcher
from kit.rpc.status import Failed
from kit.rpc.tls import Certificates
from kit.rpc.wire import server_options
from kit.sections import Grpc

#: Seconds without a new call after which callers are taken to have gone elsewhere; seconds that a stop waits for that.
QUIET, LONGEST_FAREWELL = 0.25, 3.0


class Server:
    """Serves dispatchers by gRPC. `route(path, payload)` chooses the one that answers a path, or None."""

    def __init__(
        self,
        route: Callable[[str, bytes], Dispatcher | None],
        services: Sequence[str],
        settings: Grpc,
        certificates: Certificates | None = None,
    ):
        self._server = grpc.aio.server(options=server_options(settings))
        self._certificates = certificates
        self._health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection([*services, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        self._handlers = _Handlers(route)
        self._server.add_generic_rpc_handlers((self._handlers,))
        self._services = services
        self.address = f"{settings.host}:{settings.port}"

    async def start(self) -> None:
        """Raises OSError where the address is taken, StartupError where it has no certificate to show."""
        try:
            if self._certificates:
                port = self._server.add_secure_port(self.address, self._certificates.server())
            else:
                port = self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            await self._server.start()  # gRPC cannot free a server that never began
            await self._server.stop(None)
            raise OSError(f"cannot listen on {self.address}") from error
        host, _, _ = self.address.rpartition(":")
        self.address = f"{host}:{port}"
        await self._server.start()

    async def ready(self, serving: bool) -> None:
        state = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ["", *self._services]:
            await self._health.set(name, state)

    async def stop(self, grace: float) -> None:
        """Takes new calls until callers have heard that it serves no more, then waits for those under way; `grace` seconds at most.

        A call that has arrived and was not taken up when gRPC's server stops is cancelled, whatever time is left: there should be none.
        """
        await self._health.enter_graceful_shutdown()
        until = asyncio.get_running_loop().time() + min(grace, LONGEST_FAREWELL)
        wait = self._handlers.to_wait(until)
        while wait:
            await asyncio.sleep(wait)
            wait = self._handlers.to_wait(until)
        await self._server.stop(grace)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    def __init__(self, route: Callable[[str, bytes], Dispatcher | None]):
        self._route = route
        #: By the loop's clock.
        self.last_call = -math.inf

    def to_wait(self, until: float) -> float:
        """Seconds until callers are taken to have gone, if none calls meanwhile; at most to the moment `until`."""
        return max(0.0, min(until, self.last_call + QUIET) - asyncio.get_running_loop().time())

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = details.method
        if self._route(path, b"") is None:
            return None
        self.last_call = asyncio.get_running_loop().time()
        metadata = _text(details.invocation_metadata)
        return grpc.unary_unary_rpc_method_handler(self._behaviour(path, metadata))

    def _behaviour(self, path: str, metadata: Mapping[str, str]) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def answer(payload: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            dispatcher = self._route(path, payload)
            assert dispatcher is not None
            try:
                return await dispatcher.call(
                    path,
                    payload,
                    metadata,
                    context.time_remaining(),
                    _address(context.peer()),
                    "" if "authorization" in metadata else _certificate(context),
                )
            except Failed as failure:
                await context.abort(failure.code, failure.status.message, failure.trailing())
                raise

        return answer


def _address(peer: str) -> str:
    """ "ipv4:127.0.0.1:41234" → "127.0.0.1", "ipv6:%5B::1%5D:41234" → "::1"."""
    kind, _, rest = unquote(peer).partition(":")
    return rest.rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else peer


def _certificate(context: grpc.aio.ServicerContext[bytes, bytes]) -> str:
    """SHA-256 of the certificate that the caller has shown and TLS has checked; "" without one."""
    shown = next(iter(context.auth_context().get("x509_pem_cert", ())), b"")
    return _digest(shown) if shown else ""


@lru_cache(maxsize=1024)
def _digest(pem: bytes) -> str:
    return hashlib.sha256(PEM_cert_to_DER_cert(pem.decode())).hexdigest()


def _text(metadata: Any) -> dict[str, str]:
    return {key: value for key, value in metadata or () if isinstance(value, str)}
