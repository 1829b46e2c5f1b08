"""Calls to other processes: which are repeated, over which replicas they go, and how a connection that is dead is found out."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest
from google.rpc.status_pb2 import Status

from hetao.options.v1 import options_pb2
from kit.config import load
from kit.errors import StartupError
from kit.rpc import wire
from kit.rpc.client import ServiceChannel, may_repeat, target_of
from kit.rpc.methods import Repeat, repeat
from kit.rpc.server import Server
from kit.rpc.status import Failed
from kit.sections import Grpc
from kit.unit import Unit
from services.gateway import contracts
from tests import shelf
from tests.unit.kit.conftest import ShelfWorld
from tests.waiting import running, until

SHELF = "/hetao.shelf.v1.ShelfService/"


class Other:
    """The other end: answers every RPC with nothing, the first ones with an error; counts what arrives."""

    def __init__(self, fails: int = 0, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE, after: float = 0.0):
        self.fails, self.code, self.after = fails, code, after
        self.arrived: Counter[str] = Counter()
        self.timeouts: list[float] = []

    async def call(self, path: str, payload: bytes, metadata: Any, timeout: float | None, *_: Any) -> bytes:
        self.arrived[path.rpartition("/")[2]] += 1
        self.timeouts.append(timeout or 0.0)
        if self.arrived.total() <= self.fails:
            await asyncio.sleep(self.after)
            raise _failed(self.code)
        return b""


def _failed(code: grpc.StatusCode) -> Exception:
    return Failed(Status(code=code.value[0], message="as it was told to"))


@asynccontextmanager
async def serving(other: Other, settings: Grpc | None = None) -> AsyncIterator[Server]:
    server = Server(lambda path, payload: other, [], settings or Grpc(port=0))  # type: ignore[arg-type, return-value]
    await server.start()
    await server.ready(True)
    try:
        yield server
    finally:
        await server.stop(0)


@asynccontextmanager
async def calling(*addresses: str, settings: Grpc | None = None) -> AsyncIterator[shelf.rpc.ShelfServiceStub]:
    channel = ServiceChannel(settings or Grpc(), "shelf", ",".join(addresses), None)
    try:
        yield shelf.rpc.ShelfServiceStub(channel)
    finally:
        await channel.close()


READ = "GetThing", shelf.pb.GetThingRequest(id="x")
ASK = "LookUp", shelf.pb.LookUpRequest(id="x")
WRITE = "PutThing", shelf.pb.PutThingRequest(title="a")
WRITE_BY_ID = "PutThing", shelf.pb.PutThingRequest(title="a", request_id="r1")


@pytest.mark.parametrize(("what", "arrives"), [(READ, 3), (ASK, 3), (WRITE_BY_ID, 3), (WRITE, 1)])
async def test_only_what_may_arrive_twice_is_repeated(what: tuple[str, Any], arrives: int) -> None:
    method, request = what
    other = Other(fails=2)
    async with serving(other) as server, calling(server.address) as stub:
        call = getattr(stub, method)(request, timeout=20.0)
        if arrives > 1:
            await call
        else:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert other.arrived[method] == arrives


@pytest.mark.parametrize("code", [grpc.StatusCode.ABORTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED])
async def test_no_other_error_is_repeated(code: grpc.StatusCode) -> None:
    other = Other(fails=1, code=code)
    async with serving(other) as server, calling(server.address) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetThing(READ[1], timeout=20.0)
        assert caught.value.code() is code
    assert other.arrived["GetThing"] == 1


async def test_repeats_end_and_tell_what_they_met() -> None:
    other = Other(fails=1000)
    async with serving(other) as server, calling(server.address) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetThing(READ[1], timeout=20.0)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.UNAVAILABLE, "as it was told to")
    assert other.arrived["GetThing"] == 5


async def test_a_repeat_has_what_is_left_of_the_deadline() -> None:
    other = Other(fails=1, after=2.0)
    async with serving(other) as server, calling(server.address) as stub:
        await stub.GetThing(READ[1], timeout=20.0)
    assert len(other.timeouts) == 2
    assert other.timeouts[1] < 18.5


async def test_a_call_without_a_deadline_is_given_one() -> None:
    other, settings = Other(), Grpc(timeout=12)
    async with serving(other) as server, calling(server.address, settings=settings) as stub:
        await stub.GetThing(READ[1])
        await stub.PutThing(WRITE[1])
        await stub.PutThing(WRITE[1], timeout=60.0)
    assert [round(timeout) for timeout in other.timeouts] == [12, 12, 60]


async def test_a_handler_passes_on_less_than_is_left_to_it(shelf_world: ShelfWorld) -> None:
    """So it hears of a call that takes too long while it still has time to say so."""
    other, heard = Other(fails=1, after=60.0), list[grpc.StatusCode]()
    dispatcher = shelf_world.platform.services["shelf"].dispatcher
    path = SHELF + "LookUp"
    async with serving(other) as server, calling(server.address) as stub:

        async def look_up(request: Any, unit: Unit) -> Any:
            try:
                await unit.call(stub.PutThing, WRITE[1])
            except grpc.aio.AioRpcError as error:
                heard.append(error.code())
            return shelf.pb.LookUpResponse(there=(unit.remaining() or 0.0) > 0.0)

        asked = dispatcher.methods[path]
        dispatcher.methods = {**dispatcher.methods, path: replace(asked, handler=look_up)}
        answer = await dispatcher.call(path, ASK[1].SerializeToString(), {}, 2.0)
        assert shelf.pb.LookUpResponse.FromString(answer).there
        assert heard == [grpc.StatusCode.DEADLINE_EXCEEDED]
        assert 0 < other.timeouts[0] < 1.95
        await dispatcher.call(path, ASK[1].SerializeToString(), {}, 20.0)
        assert 2 < other.timeouts[1] < 19.95


def test_what_the_contracts_say_of_repeats() -> None:
    """Every write of the platform can be repeated by its id, but for those that anybody may make."""
    found = {
        f"{service.name}.{method.name}": repeat(method)
        for service in contracts.services()
        for method in service.methods
    }
    assert found["CaseService.CreateCase"] is Repeat.BY_ID
    assert found["CaseService.GetCase"] is Repeat.ALWAYS
    assert found["CaseService.GetRefusalNotice"] is Repeat.ALWAYS
    for service in contracts.services():
        for method in service.methods:
            if repeat(method) is Repeat.NEVER:
                assert service.full_name.startswith("hetao.operations.") or may_be_called_by_anybody(method), (
                    method.name
                )
    assert not may_repeat(SHELF + "PutThing", WRITE[1])
    assert may_repeat(SHELF + "PutThing", WRITE_BY_ID[1])
    assert not may_repeat("/hetao.nobody.v1.Nobody/Nothing", b"")
    assert not may_repeat("nonsense", b"")


def may_be_called_by_anybody(method: Any) -> bool:
    return bool(method.GetOptions().Extensions[options_pb2.access].public)


async def test_calls_go_round_the_replicas_and_past_one_that_is_gone() -> None:
    others = [Other(), Other(), Other()]
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(serving(other)) for other in others]
        stub = await stack.enter_async_context(calling(*(server.address for server in servers)))

        async def all_are_asked() -> bool:
            await stub.GetThing(READ[1], timeout=20.0)
            return all(other.arrived for other in others)

        await until(all_are_asked, "each replica has been asked")
        await servers[0].stop(0)
        for _ in range(30):
            await stub.GetThing(READ[1], timeout=20.0)


async def test_a_replica_that_does_not_serve_is_not_asked() -> None:
    """As one that waits for its database, or is about to stop."""
    one, other = Other(), Other()
    async with serving(one) as first, serving(other) as second, calling(first.address, second.address) as stub:

        async def both_are_asked() -> bool:
            await stub.PutThing(WRITE[1], timeout=20.0)
            return bool(one.arrived and other.arrived)

        await until(both_are_asked, "each replica has been asked")
        await first.ready(False)

        async def one_is_left_alone() -> bool:
            before = one.arrived.total()
            for _ in range(6):
                await stub.PutThing(WRITE[1], timeout=20.0)
            return one.arrived.total() == before

        await until(one_is_left_alone, "the other is asked alone")
        await first.ready(True)
        one.arrived.clear()
        other.arrived.clear()
        await until(both_are_asked, "each replica is asked again")


async def test_a_stop_takes_the_clients_elsewhere_before_it_ends() -> None:
    """Neither a write that may not be repeated nor its connection is lost, and the stop waits for no client."""
    one, other = Other(), Other()
    async with serving(one) as first, serving(other) as second, calling(first.address, second.address) as stub:
        enough, failed = asyncio.Event(), list[str]()

        async def write() -> None:
            while not enough.is_set():
                try:
                    await stub.PutThing(WRITE[1], timeout=20.0)
                except grpc.aio.AioRpcError as error:
                    failed.append(f"{error.code()} {error.details()}")

        async with running(*(write() for _ in range(4))) as writers:
            await until(lambda: one.arrived.total() > 50 and other.arrived.total() > 50, "both are at work")
            began = time.monotonic()
            await first.stop(30.0)
            assert time.monotonic() - began < 15
            before = other.arrived.total()
            await until(lambda: other.arrived.total() > before + 50, "the other goes on")
            enough.set()
            await asyncio.gather(*writers)
        assert failed == []


class Cut:
    """A wire to a server that can be cut without either end being told, as by a firewall or a machine that lost power."""

    def __init__(self, server: Server):
        self._port, self.whole = int(server.address.rpartition(":")[2]), asyncio.Event()
        self.whole.set()
        self.connections = 0

    async def __aenter__(self) -> str:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        pumps = [asyncio.create_task(self._pump(reader, back)), asyncio.create_task(self._pump(there, writer))]
        self._tasks.update(pumps)
        try:
            await asyncio.wait(pumps)
        finally:
            for end in (writer, back):
                end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await self.whole.wait()
            writer.write(data)
        writer.close()


async def test_connections_grow_old_without_losing_a_call() -> None:
    """So clients find replicas that came later, though the old ones are well."""
    settings = Grpc(port=0, connection_age_seconds=1)
    async with serving(Other(), settings) as server:
        wire_to_it = Cut(server)
        async with wire_to_it as address, calling(address) as stub:

            async def connected_anew() -> bool:
                await stub.PutThing(WRITE[1], timeout=20.0)
                return wire_to_it.connections > 2

            await until(connected_anew, "it has connected anew", seconds=30)


async def test_a_connection_that_is_cut_in_silence_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read finds another way within its deadline; nobody waits for a time-out of the operating system."""
    monkeypatch.setattr(wire, "PROBE_TIMEOUT", 1.0)
    settings = Grpc(port=0, keepalive_seconds=1)
    other = Other()
    async with serving(other, settings) as server:
        cut = Cut(server)
        async with cut as address, calling(address, settings=settings) as stub:
            await stub.GetThing(READ[1], timeout=20.0)
            before = cut.connections
            cut.whole.clear()
            async with running(_until_connected_again(cut, before)):
                await stub.GetThing(READ[1], timeout=30.0)


async def _until_connected_again(cut: Cut, before: int) -> None:
    await until(lambda: cut.connections > before, "the client tries another connection", seconds=25)
    cut.whole.set()


def test_addresses() -> None:
    assert target_of("cases:9090") == "dns:///cases:9090"
    assert target_of("dns:///cases.hetao:9090") == "dns:///cases.hetao:9090"
    assert target_of("10.0.0.1:1") == "dns:///10.0.0.1:1"
    assert target_of("10.0.0.1:1,10.0.0.2:2") == "ipv4:10.0.0.1:1,10.0.0.2:2"
    assert target_of("[::1]:1,[::1]:2") == "ipv6:[::1]:1,[::1]:2"


@pytest.mark.parametrize(
    "address", ["", "cases", "cases:9090,cases-2:9090", "10.0.0.1:1,", "10.0.0.1:1,[::1]:2", "a b:1"]
)
def test_an_address_that_is_none_is_refused_at_start(address: str) -> None:
    with pytest.raises(StartupError) as caught:
        load(grpc={"addresses": {"cases": address}})
    assert caught.value.en.startswith("setting HETAO_GRPC__ADDRESSES is wrong")
    assert "IP:port,IP:port" in caught.value.zh
