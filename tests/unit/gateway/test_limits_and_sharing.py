"""What the gateway does before it asks a service: it counts its callers, and answers from what it keeps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from google.rpc.error_details_pb2 import ErrorInfo

from hetao.grid.v1 import divisions_pb2, divisions_pb2_grpc
from hetao.operations.v1 import operations_pb2
from kit.errors import Unavailable
from kit.identity import Principal
from kit.limits import Limits
from kit.module import Runtime
from kit.redis import Redis
from kit.rpc.server import Server
from kit.rpc.status import Failed
from services.gateway import app as gateway
from services.gateway import contracts
from services.gateway.binding import bindings
from services.gateway.module import MODULE
from services.gateway.shared import SharedAnswers
from tests.world import World, refused

#: RPCs whose answers the gateway may show to others: the map and the centres, which are everybody's to read.
SHARED = {
    *("GetDivision", "ListDivisions", "SearchDivisions", "ListCentres", "LocateCentre"),
    *("ListDictionaries", "GetDictionary"),
}


def limits_of(world: World, **allowed: int) -> Limits:
    settings = world.platform.settings
    settings = settings.model_copy(update={"limits": settings.limits.model_copy(update=allowed)})
    return Limits.of(settings, Redis.open(settings), world.platform.keys)


@asynccontextmanager
async def rest(world: World, asked: list[str] | None = None, **allowed: int) -> AsyncIterator[httpx.AsyncClient]:
    """The gateway before the services of the world. `asked` takes down which RPCs it calls."""
    platform = world.platform
    runtime = Runtime(
        MODULE,
        settings=platform.settings,
        clock=platform.clock,
        keys=platform.keys,
        verifier=platform.verifier,
        issuer=platform.issuer,
        deadlines=platform.deadlines,
        texts=platform.texts,
        channel=lambda name: _Noted(platform.channel(name), asked if asked is not None else []),
        pools=None,
        readiness=dict,
        limits=limits_of(world, **allowed),
    )
    transport = httpx.ASGITransport(gateway.create(runtime), client=("10.0.0.7", 1234))
    async with httpx.AsyncClient(transport=transport, base_url="http://hetao") as client:
        yield client


class _Noted:
    def __init__(self, channel: Any, asked: list[str]):
        self._channel, self._asked = channel, asked

    def unary_unary(self, path: str, *args: Any, **kwargs: Any) -> Callable[..., Any]:
        call = self._channel.unary_unary(path, *args, **kwargs)

        async def noting(*args: Any, **kwargs: Any) -> Any:
            self._asked.append(path.rpartition("/")[2])
            return await call(*args, **kwargs)

        return noting


def as_(world: World, account: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {world.token(account)}"}


async def test_too_many_calls_are_refused_with_when_to_come_again(world: World) -> None:
    asked: list[str] = []
    async with rest(world, asked, reads=3, writes=1) as client:
        worker = as_(world, "grid-worker")
        for _ in range(3):
            assert (await client.get("/v1/reports", headers=worker)).status_code == 200
        answer = await client.get("/v1/reports", headers=worker)
        assert answer.status_code == 429
        told = answer.json()
        assert (told["reason"], told["code"]) == ("RATE_EXCEEDED", "RESOURCE_EXHAUSTED")
        assert "3" in told["detail"]
        assert "3" in told["detailEn"]
        assert 1 <= int(answer.headers["retry-after"]) <= 120
        assert answer.headers["ratelimit-policy"] == '"reads";q=3;w=60'
        assert answer.headers["ratelimit"] == f'"reads";r=0;t={answer.headers["retry-after"]}'
        assert asked == ["ListReports"] * 3  # the service hears nothing of it
        assert (await client.get("/v1/reports", headers=as_(world, "dispatcher"))).status_code == 200
        # Bad writes count like good ones.
        assert (await client.post("/v1/reports", headers=worker, json={})).status_code == 400
        assert (await client.post("/v1/reports", headers=worker, json={})).status_code == 429


async def test_without_an_account_or_with_a_bad_token_an_address_is_counted(world: World) -> None:
    async with rest(world, anonymous_writes=2, anonymous_reads=1) as client:
        tried = {"code": "150802013-2026-000001-7", "pin": "123456"}
        statuses = [(await client.post("/v1/caseProgress:lookup", json=tried)).status_code for _ in range(3)]
        assert 429 not in statuses[:2]
        assert statuses[2] == 429
        made_up = {"Authorization": "Bearer made.up.token"}
        assert (await client.get("/v1/reports", headers=made_up)).status_code == 401
        assert (await client.get("/v1/reports", headers=made_up)).status_code == 429
        assert (await client.get("/v1/reports", headers=as_(world, "grid-worker"))).status_code == 200


async def test_photos_and_operators(world: World) -> None:
    async with rest(world, writes=1, reads=1) as client:
        worker, admin = as_(world, "grid-worker"), as_(world, "admin")
        assert (await client.post("/v1/media", headers=worker, content=b"no photo")).status_code == 400
        assert (await client.post("/v1/media", headers=worker, content=b"no photo")).status_code == 429
        dead_letters = "/v1/services/cases/deadLetters"
        for _ in range(5):
            assert (await client.get(dead_letters, headers=admin)).status_code == 200
        assert (await client.get(dead_letters, headers=worker)).status_code == 403
        assert (await client.get(dead_letters, headers=worker)).status_code == 429


async def test_grpc_callers_are_counted_too_and_a_call_of_the_platform_only_once(world: World) -> None:
    """The same account by REST and by gRPC has one count where processes share them; here each process has its own."""
    platform = world.platform
    limits = limits_of(world, reads=3)
    for service in platform.services.values():
        service.runtime.limits = limits
    server = Server(platform._route, ["hetao.grid.v1.DivisionService"], platform.settings.grpc)
    await server.start()
    try:
        import grpc

        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = divisions_pb2_grpc.DivisionServiceStub(channel)
            outside = [("authorization", f"Bearer {world.token('grid-worker')}")]
            marked = [*outside, (limits.marks.HEADER, limits.marks.of(world.token("grid-worker")))]
            request = divisions_pb2.GetDivisionRequest(code="150802")
            inside = [
                ("authorization", outside[0][1]),
                (limits.marks.HEADER, limits.marks.of(outside[0][1].split()[1])),
            ]
            for _ in range(10):
                await stub.GetDivision(request, metadata=inside)
            for _ in range(3):
                await stub.GetDivision(request, metadata=outside)
            refusal = await refused(stub.GetDivision(request, metadata=outside))
            assert (refusal.code, refusal.reason) == ("RESOURCE_EXHAUSTED", "RATE_EXCEEDED")
            wrongly = [outside[0], (limits.marks.HEADER, marked[-1][1][::-1])]
            assert (await refused(stub.GetDivision(request, metadata=wrongly))).reason == "RATE_EXCEEDED"
            await stub.GetDivision(request, metadata=inside)
    finally:
        await server.stop(0)


async def test_who_cannot_be_told_is_counted_by_the_address(world: World) -> None:
    """Also while nobody can say whose a token is, and where only operators are let in."""

    class Nobody:
        async def verify(self, token: str) -> Principal:
            raise Unavailable("ISSUER_AWAY")

    runtime = world.platform.services["grid"].runtime
    dispatcher = world.platform.services["grid"].dispatcher
    runtime.limits = limits_of(world, anonymous_reads=2)
    request = operations_pb2.ListDeadLettersRequest(service="grid").SerializeToString()
    path = "/hetao.operations.v1.OperationsService/ListDeadLetters"

    async def reason(address: str, **metadata: str) -> str:
        with pytest.raises(Failed) as caught:
            await dispatcher.call(path, request, metadata, 5.0, address)
        info = ErrorInfo()
        assert caught.value.status.details[0].Unpack(info)
        return info.reason

    assert [await reason("192.0.2.1") for _ in range(3)] == ["TOKEN_MISSING", "TOKEN_MISSING", "RATE_EXCEEDED"]
    runtime.verifier = Nobody()  # type: ignore[assignment]
    told = [await reason("192.0.2.2", authorization="Bearer x") for _ in range(3)]
    assert told == ["ISSUER_AWAY", "ISSUER_AWAY", "RATE_EXCEEDED"]


# ---- what is shown to others ----


def test_the_contract_says_what_is_shared() -> None:
    found = {b.method.name for s in contracts.services() for m in s.methods for b in bindings(m) if b.shared_seconds}
    assert found == SHARED
    assert all(
        0 < b.shared_seconds <= 60
        for s in contracts.services()
        for m in s.methods
        for b in bindings(m)
        if b.shared_seconds
    )


async def test_a_list_that_is_everybodys_is_asked_for_once(world: World) -> None:
    asked: list[str] = []
    path = "/v1/divisions?parent=150802&deep=true&pageSize=200"
    async with rest(world, asked) as client:
        first = await client.get(path, headers=as_(world, "grid-worker"))
        second = await client.get(path, headers=as_(world, "dispatcher-2"))
        assert first.json() == second.json()
        assert len(first.json()["divisions"]) > 50
        assert asked == ["ListDivisions"]
        tag = first.headers["etag"]
        assert first.headers["cache-control"] == "private, no-cache"
        answer = await client.get(path, headers={**as_(world, "grid-worker"), "If-None-Match": tag})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag)
        assert (
            await client.get(path + "&level=DIVISION_LEVEL_TOWNSHIP", headers=as_(world, "grid-worker"))
        ).json() != first.json()
        assert asked == ["ListDivisions"] * 2


async def test_who_may_ask_is_looked_at_every_time(world: World) -> None:
    asked: list[str] = []
    async with rest(world, asked) as client:
        assert (await client.get("/v1/divisions/150802", headers=as_(world, "grid-worker"))).status_code == 200
        assert (await client.get("/v1/divisions/150802")).status_code == 401
        assert (await client.get("/v1/divisions/150802", headers={"Authorization": "Bearer x.y.z"})).status_code == 401
        assert (await client.get("/v1/divisions/nowhere", headers=as_(world, "grid-worker"))).status_code in (400, 404)
        assert (await client.get("/v1/divisions/150802%2F", headers=as_(world, "grid-worker"))).status_code != 200


def test_what_is_kept_is_never_older_than_was_promised_nor_more_than_there_is_room_for() -> None:
    now = 100.0
    kept = SharedAnswers(largest=10_000, clock=lambda: now)
    tag = kept.put((b"/a", b""), b"body", kept.now(), 60)
    assert kept.get((b"/a", b"")) == (tag, b"body")
    assert kept.get((b"/a", b"x")) is None
    now = 160.0
    assert kept.get((b"/a", b"")) is None
    kept.put((b"/slow", b""), b"body", 90.0, 60)  # asked for long before it was answered
    assert kept.get((b"/slow", b"")) is None
    kept.put((b"/huge", b""), b"x" * 5000, now, 60)
    assert kept.get((b"/huge", b"")) is None
    for n in range(100):
        kept.put((b"/%d" % n, b""), b"x" * 500, now, 60)
        assert kept._size <= 10_000
    assert kept.get((b"/99", b"")) is not None
    assert kept.get((b"/0", b"")) is None
    kept.put((b"/99", b""), b"other", now, 60)
    assert kept._size == sum(len(b) + len(k[0]) + len(k[1]) + 500 for k, (_, _, b) in kept._kept.items())


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HETAO_REDIS_URL", raising=False)
