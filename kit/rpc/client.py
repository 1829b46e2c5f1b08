"""Channels to the services of other processes: deadlines, repeats, replicas, probes, TLS.

A call that failed because the other end was away (`UNAVAILABLE`) is repeated by gRPC, within the deadline and with growing pauses, where the contract
says that repeating cannot hurt: a read; and a write that carries a request id, which is answered by the stored reply if it was done already. All
other writes fail at once. A request that never left is sent again in any case.

Calls go round the replicas of a service, wherever several addresses are known, and round those alone that say of themselves that they serve.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import grpc
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2

from kit.rpc.methods import Repeat, repeat
from kit.rpc.tls import Certificates
from kit.rpc.wire import client_options
from kit.sections import Grpc

#: Seconds between two looks whether the certificates have changed.
LOOK_EVERY: Final = 1.0

#: How calls are repeated. The pauses are drawn at random around these.
REPEATS: Final = {
    "retryPolicy": {
        "maxAttempts": 5,
        "initialBackoff": "0.05s",
        "maxBackoff": "1s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
}

#: While more than every second call fails, gRPC repeats nothing: repeats must not keep a service down.
THROTTLE: Final = {"maxTokens": 1000, "tokenRatio": 1}


async def serving(channel: Any, timeout: float) -> None:
    """Asks the other end whether it serves (grpc.health.v1). Raises `ConnectionError` while it does not."""
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )
    try:
        await check(health_pb2.HealthCheckRequest(), timeout=timeout)
    except grpc.aio.AioRpcError as error:
        raise ConnectionError(f"{error.code().name}: {error.details()}") from None


def target_of(address: str) -> str:
    """What gRPC calls an address of the settings: "10.0.0.1:9090,10.0.0.2:9090" → "ipv4:…"; a name is looked up."""
    if "," in address:
        return f"ipv6:{address}" if address.startswith("[") else f"ipv4:{address}"
    return address if address.startswith("dns:///") else f"dns:///{address}"


class ServiceChannel:
    """`unary_unary` of grpc.aio.Channel, to a service at an address of the settings. Connects at the first call, and anew when the
    certificates have changed."""

    def __init__(self, settings: Grpc, service: str, address: str, certificates: Certificates | None):
        self._settings, self._certificates = settings, certificates
        self._target = target_of(address)
        host = address.removeprefix("dns:///").split(",")[0].rpartition(":")[0].strip("[]")
        self._name = settings.tls.names.get(service, host)
        self._look_at = 0.0
        self._pems = certificates and certificates.current()
        self._closing: set[asyncio.Task[None]] = set()
        self._wires = _Wires(self._open(REPEATS), self._open({}))

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes],
        response_deserializer: Callable[[bytes], Any],
        _registered_method: bool | None = None,
    ) -> Callable[..., Any]:
        def call(request: Any, *, timeout: float | None = None, **more: Any) -> Any:
            wires = self._current()
            channel = wires.repeating if may_repeat(method, request) else wires.once
            rpc = channel.unary_unary(method, request_serializer, response_deserializer)
            return rpc(request, timeout=self._settings.timeout if timeout is None else timeout, **more)

        return call

    async def close(self, grace: float | None = None) -> None:
        await asyncio.gather(*self._closing, self._wires.close(grace))

    def _current(self) -> _Wires:
        if self._certificates and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_EVERY
            if (pems := self._certificates.current()) is not self._pems:
                self._pems = pems
                closing = asyncio.create_task(self._wires.close(self._settings.timeout))  # calls are under way on them
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
                self._wires = _Wires(self._open(REPEATS), self._open({}))
        return self._wires

    def _open(self, repeats: dict[str, Any]) -> grpc.aio.Channel:
        config = {
            "loadBalancingConfig": [{"round_robin": {}}],
            "healthCheckConfig": {"serviceName": ""},
            "methodConfig": [{"name": [{}], **repeats}],
            "retryThrottling": THROTTLE,
        }
        options = [*client_options(self._settings), ("grpc.service_config", json.dumps(config))]
        if self._certificates is None:
            return grpc.aio.insecure_channel(self._target, options)
        options.append(("grpc.ssl_target_name_override", self._name))
        return grpc.aio.secure_channel(self._target, self._certificates.client(), options)


class _Wires:
    """Two gRPC channels over the same connections: gRPC knows of repeats by the method, and we by the request too."""

    def __init__(self, repeating: grpc.aio.Channel, once: grpc.aio.Channel):
        self.repeating, self.once = repeating, once

    async def close(self, grace: float | None) -> None:
        await asyncio.gather(self.repeating.close(grace), self.once.close(grace))


def may_repeat(method: str, request: Any) -> bool:
    """Whether a request to an RPC (by its path) may arrive twice."""
    match _repeat(method):
        case Repeat.ALWAYS:
            return True
        case Repeat.BY_ID:
            return bool(getattr(request, "request_id", ""))
        case _:
            return False


@cache
def _repeat(method: str) -> Repeat:
    service, _, name = method.strip("/").partition("/")
    try:
        descriptor = descriptor_pool.Default().FindMethodByName(f"{service}.{name}")
    except KeyError:
        return Repeat.NEVER
    return repeat(descriptor)
