"""The gRPC server of a process: its services over a socket, with reflection and health."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc
from grpc_health.v1 import _async as health_aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from kit.rpc.pipeline import LARGEST_REQUEST, Dispatcher
from kit.rpc.status import Failed

log = logging.getLogger(__name__)

#: What the transport reads at all. The pipeline refuses less than that, and says why.
LARGEST_MESSAGE = 4 * LARGEST_REQUEST


class Server:
    """Serves dispatchers by gRPC. `route(path, payload)` chooses the one that answers a path, or None."""

    def __init__(self, route: Callable[[str, bytes], Dispatcher | None], services: Sequence[str], address: str):
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # a second process on the port must fail, not share it
                ("grpc.max_receive_message_length", LARGEST_MESSAGE),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ]
        )
        self._health = health_aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection([*services, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server)
        self._server.add_generic_rpc_handlers((_Handlers(route),))
        self._services = services
        self.address = address

    async def start(self) -> None:
        """Raises OSError where the address is taken."""
        try:
            port = self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self.address}") from error
        host, _, _ = self.address.rpartition(":")
        self.address = f"{host}:{port}"
        await self._server.start()

    async def ready(self, serving: bool) -> None:
        state = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ["", *self._services]:
            await self._health.set(name, state)

    async def stop(self, grace: float) -> None:
        """Refuses new calls and waits for those under way, `grace` seconds at most."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    def __init__(self, route: Callable[[str, bytes], Dispatcher | None]):
        self._route = route

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        path = details.method
        if self._route(path, b"") is None:
            return None
        metadata = _text(details.invocation_metadata)
        return grpc.unary_unary_rpc_method_handler(self._behaviour(path, metadata))

    def _behaviour(self, path: str, metadata: Mapping[str, str]) -> Callable[[bytes, Any], Awaitable[bytes]]:
        async def answer(payload: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            dispatcher = self._route(path, payload)
            assert dispatcher is not None
            try:
                return await dispatcher.call(path, payload, metadata, context.time_remaining())
            except Failed as failure:
                await context.abort(failure.code, failure.status.message, failure.trailing())
                raise

        return answer


def _text(metadata: Any) -> dict[str, str]:
    return {key: value for key, value in metadata or () if isinstance(value, str)}
