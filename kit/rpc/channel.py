"""A gRPC channel to a service of the same process: generated stubs use it like any other.

It still serialises both ways and runs the whole pipeline, so what works here works over a socket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from grpc.aio import AioRpcError, Metadata

from kit.rpc.pipeline import Dispatcher
from kit.rpc.status import Failed


class LocalChannel:
    """`unary_unary` of grpc.aio.Channel, answered in process. `dispatcher()` is asked at each call: it may not be built yet."""

    def __init__(self, dispatcher: Callable[[], Dispatcher]):
        self._dispatcher = dispatcher

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool | None = None,
    ) -> Callable[..., Awaitable[Any]]:
        async def call(
            request: Any, *, timeout: float | None = None, metadata: Iterable[tuple[str, str]] | None = None, **_: Any
        ) -> Any:
            try:
                answer = await self._dispatcher().call(
                    method, request_serializer(request), dict(metadata or ()), timeout
                )
            except Failed as failure:
                raise AioRpcError(
                    failure.code, Metadata(), Metadata(*failure.trailing()), failure.status.message, ""
                ) from None
            return response_deserializer(answer)

        return call

    async def close(self, grace: float | None = None) -> None:
        """Nothing is open."""
