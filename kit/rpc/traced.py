"""A channel whose calls are noted: a span that the other side goes on with, and a measurement. The same over a socket and in process."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from grpc.aio import AioRpcError
from opentelemetry.trace import SpanKind

from kit import metrics, telemetry

CALLS = metrics.Histogram("rpc.client.call.duration", "s", "calling an RPC of another service, repeats included")


def called(path: str, code: str) -> dict[str, str]:
    """The labels of a call."""
    return {"rpc.system.name": "grpc", "rpc.method": path[1:], "rpc.response.status_code": code}


class TracedChannel:
    """`caller`, `service`: who calls whom."""

    def __init__(self, channel: Any, caller: str, service: str):
        self._channel, self._caller, self._service = channel, caller, service

    def unary_unary(self, method: str, *args: Any, **kwargs: Any) -> Callable[..., Awaitable[Any]]:
        plain = self._channel.unary_unary(method, *args, **kwargs)

        async def traced(
            request: Any,
            *,
            metadata: Iterable[tuple[str, str]] | None = None,
            timeout: float | None = None,
            **more: Any,
        ) -> Any:
            told = {"rpc.system.name": "grpc", "rpc.method": method[1:], "server.address": self._service}
            started, code = time.perf_counter(), "CANCELLED"
            with telemetry.span(self._caller, method[1:], SpanKind.CLIENT, "", told) as span:
                handed_on = [pair for pair in metadata or () if pair[0] != "traceparent"]
                handed_on.append(("traceparent", span.traceparent))
                try:
                    answer = await plain(request, metadata=handed_on, timeout=timeout, **more)
                    code = "OK"
                    return answer
                except AioRpcError as error:
                    code = error.code().name
                    span.failed(code)
                    raise
                finally:
                    span.set("rpc.response.status_code", code)
                    if CALLS.collected:
                        CALLS.record(time.perf_counter() - started, called(method, code))

        async def call(request: Any, *, timeout: float | None = None, **more: Any) -> Any:
            if telemetry.recording() or CALLS.collected:
                return await traced(request, timeout=timeout, **more)
            return await plain(request, timeout=timeout, **more)

        return call

    async def close(self, grace: float | None = None) -> None:
        await self._channel.close(grace)
