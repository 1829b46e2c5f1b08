"""What every channel to a service must do: the same tests for a call in the process, for one over a socket, and with TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, LocalizedMessage
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from kit import errors
from kit.clock import VirtualClock
from kit.config import Settings
from kit.database import Database
from kit.errors import DomainError, InvalidArgument, Violation
from kit.identity import Principal
from kit.module import Module, Parts, Runtime
from kit.platform import Platform
from kit.rpc.client import ServiceChannel
from kit.rpc.pipeline import LARGEST_REQUEST
from kit.rpc.server import Server
from kit.rpc.status import DETAILS, Failed
from kit.rpc.tls import Certificates
from kit.sections import Grpc
from kit.unit import Unit
from tests import shelf
from tests.certificates import Authority
from tests.unit.kit.conftest import Everybody
from tests.waiting import running, until
from tests.world import MORNING, refused

ME = [("authorization", "Bearer ding:1508")]


class Obliging(shelf.ShelfApi):
    """A shelf that answers with the error that it is asked for, and can be held up."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.go, self.begun, self.undone = asyncio.Event(), 0, 0
        self.go.set()
        self.seen: list[Unit] = []

    async def PutThing(self, request: Any, unit: Unit) -> Any:
        self.seen.append(unit)
        answer = await super().PutThing(request, unit)
        self.begun += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.undone += 1
            raise
        if self.error:
            raise self.error
        return answer


over_a_socket = pytest.mark.parametrize("end", ["socket", "tls"], indirect=True)


@dataclass
class End:
    """A client's end of a channel to the shelf, and what stands at the other."""

    platform: Platform
    channel: Any
    api: Obliging

    @property
    def stub(self) -> shelf.rpc.ShelfServiceStub:
        return shelf.rpc.ShelfServiceStub(self.channel)

    def put(self, title: str = "自行车", **more: Any) -> Any:
        metadata = more.pop("metadata", ME)
        request = shelf.pb.PutThingRequest(division="150802", title=title, **more.pop("fields", {}))
        return self.stub.PutThing(request, metadata=metadata, **more)

    async def titles(self) -> list[str]:
        pool = self.platform.services["shelf"].runtime.pool
        return [row["title"] for row in await pool.fetch("select title from thing order by id")]


@pytest.fixture(params=["process", "socket", "tls"])
async def end(
    request: pytest.FixtureRequest, database: Database, settings: Settings, tmp_path: Path
) -> AsyncIterator[End]:
    api = Obliging()
    if request.param == "tls":
        secured = settings.grpc.model_copy(update={"tls": Authority(tmp_path).tls("shelf")})
        settings = settings.model_copy(update={"grpc": secured})

    def build(runtime: Runtime) -> Parts:
        return replace(shelf.build(runtime), rpc={shelf.pb.DESCRIPTOR.services_by_name["ShelfService"]: api})

    module: Module = replace(shelf.MODULE, build=build)
    async with Platform(
        settings, [module], clock=VirtualClock(MORNING), database=database, listen=True, background=False
    ) as platform:
        platform.services["shelf"].runtime.verifier = Everybody()  # type: ignore[assignment]
        if request.param == "process":
            yield End(platform, platform.channel("shelf"), api)
            return
        assert platform.server
        channel = over_the_wire(platform)
        yield End(platform, channel, api)
        await channel.close()


def over_the_wire(platform: Platform) -> ServiceChannel:
    """The shelf as another process reaches it."""
    assert platform.server
    settings = platform.settings.grpc
    return ServiceChannel(settings, "shelf", platform.server.address, Certificates.of(settings.tls))


async def test_an_answer_comes_back_whole(end: End) -> None:
    thing = (await end.put("河套 🌾 é\r\n")).thing
    assert thing.title == "河套 🌾 é\r\n"
    read = await end.stub.GetThing(shelf.pb.GetThingRequest(id=thing.id), metadata=ME)
    assert read.thing == thing
    assert (await end.stub.LookUp(shelf.pb.LookUpRequest(id=thing.id))).there


async def test_many_calls_at_once(end: End) -> None:
    titles = [f"thing {n}" for n in range(60)]
    answers = await asyncio.gather(*(end.put(title) for title in titles))
    assert [answer.thing.title for answer in answers] == titles
    assert sorted(await end.titles()) == sorted(titles)


@pytest.mark.parametrize(
    "raised",
    [
        errors.InvalidArgument("SOME_REASON", field="title", limit=20),
        errors.FailedPrecondition("SOME_REASON", count=3),
        errors.NotFound("SOME_REASON"),
        errors.AlreadyExists("SOME_REASON"),
        errors.Aborted("SOME_REASON"),
        errors.PermissionDenied("SOME_REASON"),
        errors.Unauthenticated("SOME_REASON"),
        errors.ResourceExhausted("SOME_REASON", seconds="60"),
        errors.Unavailable("SOME_REASON"),
        errors.Refused(errors.ResourceExhausted("SOME_REASON")),
    ],
    ids=lambda raised: type(raised).__name__,
)
async def test_every_error_brings_its_details(end: End, raised: Exception) -> None:
    end.api.error = raised
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await end.put("a")
    domain = raised.error if isinstance(raised, errors.Refused) else raised
    assert isinstance(domain, DomainError)
    status = Status.FromString(dict(caught.value.trailing_metadata())[DETAILS])
    assert (caught.value.code(), status.code) == (domain.code, domain.code.value[0])
    assert caught.value.details() == status.message
    info, *rest = [_unpacked(detail) for detail in status.details]
    assert (info.reason, info.domain, dict(info.metadata)) == ("SOME_REASON", "hetao", domain.params)
    assert [text.locale for text in rest if isinstance(text, LocalizedMessage)] == ["zh-CN", "en"]
    fields = [v.field for bad in rest if isinstance(bad, BadRequest) for v in bad.field_violations]
    assert fields == ([domain.field] if domain.field else [])
    assert await end.titles() == (["a"] if isinstance(raised, errors.Refused) else [])


def _unpacked(detail: AnyMessage) -> Any:
    for of in (ErrorInfo, BadRequest, LocalizedMessage):
        if detail.Is(of.DESCRIPTOR):
            message = of()
            detail.Unpack(message)
            return message
    raise AssertionError(detail)


async def test_an_unforeseen_error_says_nothing_of_itself(end: End) -> None:
    end.api.error = RuntimeError("a secret that callers must not see")
    no = await refused(end.put())
    assert (no.code, no.reason) == ("INTERNAL", "INTERNAL")
    assert "secret" not in no.en + no.zh


async def test_an_error_with_much_to_say_still_arrives(end: End) -> None:
    """A client takes 8 KiB of metadata: what does not fit is left out, the reason and the first fields never."""
    violations = tuple(
        Violation(f"parties[{n}].description", "string.max_len", "must be short " * 20) for n in range(500)
    )
    end.api.error = InvalidArgument("REQUEST_INVALID", violations=violations)
    no = await refused(end.put())
    assert (no.code, no.reason, no.fields[0]) == ("INVALID_ARGUMENT", "REQUEST_INVALID", "parties[0].description")
    end.api.error = InvalidArgument("DIVISION_UNKNOWN", field="division", division="很长" * 5000)
    no = await refused(end.put())
    assert (no.code, no.reason, no.fields) == ("INVALID_ARGUMENT", "DIVISION_UNKNOWN", ["division"])


async def test_fields_are_validated(end: End) -> None:
    no = await refused(end.put("x" * 21))
    assert (no.code, no.reason, no.fields, no.labels) == (
        "INVALID_ARGUMENT",
        "REQUEST_INVALID",
        ["title"],
        ["名称：太长"],
    )


async def test_a_deadline_ends_the_work_and_undoes_it(end: End) -> None:
    end.api.go.clear()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await end.put("a", timeout=0.2)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: end.api.undone == 1, "the work has ended")
    assert await end.titles() == []


async def test_a_deadline_that_has_passed_is_told(end: End) -> None:
    """On the wire the least deadline is a millisecond, within which a quick call may be done: its caller does not know."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await end.put("a", timeout=0.0)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_deadline_that_has_passed_begins_no_work(end: End) -> None:
    request = shelf.pb.PutThingRequest(division="150802", title="a").SerializeToString()
    path = "/hetao.shelf.v1.ShelfService/PutThing"
    with pytest.raises(Failed) as caught:
        await end.platform.services["shelf"].dispatcher.call(path, request, dict(ME), 0.0)
    assert caught.value.code == grpc.StatusCode.DEADLINE_EXCEEDED
    assert await end.titles() == []


async def test_the_handler_knows_the_deadline(end: End) -> None:
    await end.put("a", timeout=5.0)
    await end.put("b")
    first, second = (unit.remaining() or 0.0 for unit in end.api.seen)
    assert 4.0 < first <= 5.0
    assert 5.0 < second <= 30.0


async def test_a_call_that_its_client_gives_up_is_undone(end: End) -> None:
    end.api.go.clear()
    calls = [asyncio.ensure_future(_awaited(end.put(f"{n}", fields={"request_id": f"r{n}"}))) for n in range(5)]
    await until(lambda: end.api.begun == 5, "they are at work")
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await until(lambda: end.api.undone == 5, "the work has ended")
    end.api.go.set()
    assert (await end.put("0", fields={"request_id": "r0"})).thing.title == "0"
    assert await end.titles() == ["0"]


async def _awaited(call: Any) -> Any:
    return await call


async def test_who_calls_and_within_which_trace(end: End) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    await end.put(metadata=[*ME, ("traceparent", f"00-{trace}-b7ad6b7169203331-01")])
    pool = end.platform.services["shelf"].runtime.pool
    (written,) = await pool.fetch("select a.actor, o.traceparent, a.trace from audit a, outbox o")
    assert written["actor"] == "ding"
    assert written["traceparent"].split("-")[1] == written["trace"].split("-")[1] == trace
    assert written["traceparent"].split("-")[2] != "b7ad6b7169203331", "a span of its own"


@pytest.mark.parametrize(
    "traceparent", ["", "nonsense", "00-0-0-0", f"00-{'0' * 32}-{'0' * 16}-01", f"00-{'é' * 32}-{'x' * 16}-01"]
)
async def test_a_broken_trace_context_is_no_error(end: End, traceparent: str) -> None:
    await end.put(metadata=[*ME, ("traceparent", traceparent.encode("ascii", "replace").decode())])


@pytest.mark.parametrize(
    "metadata", [[], [("authorization", "Basic ding")], [("authorization", "")], [("authorization", "Bearer ")]]
)
async def test_a_call_without_a_token_is_refused(end: End, metadata: list[tuple[str, str]]) -> None:
    no = await refused(end.put(metadata=metadata))
    assert (no.code, no.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")


async def test_a_call_that_its_caller_may_not_make_is_refused(end: End) -> None:
    class Nobody:
        async def verify(self, token: str) -> Principal:
            return Principal("nobody", divisions=("1508",), permissions=frozenset({"shelf.things.get"}), token=token)

    end.platform.services["shelf"].runtime.verifier = Nobody()  # type: ignore[assignment]
    no = await refused(end.put())
    assert (no.code, no.reason) == ("PERMISSION_DENIED", "PERMISSION_MISSING")


async def test_an_unknown_method_is_unimplemented(end: End) -> None:
    for path in ("/hetao.shelf.v1.ShelfService/Nothing", "/hetao.nobody.v1.Nobody/Nothing", "nonsense"):
        call = end.channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(b"", metadata=ME)
        assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED, path


async def test_bytes_that_are_no_request_are_refused(end: End) -> None:
    path = "/hetao.shelf.v1.ShelfService/PutThing"
    call = end.channel.unary_unary(path, request_serializer=bytes, response_deserializer=bytes)
    for payload in (b"\xff", b"\x0a\x05abc", b"\x12\x02\xc3\x28", b"\x0a" * 1000):
        no = await refused(call(payload, metadata=ME))
        assert (no.code, no.reason) == ("INVALID_ARGUMENT", "REQUEST_UNREADABLE"), payload


async def test_a_request_that_is_too_large_is_refused(end: End) -> None:
    no = await refused(end.put("x" * (LARGEST_REQUEST + 1)))
    assert (no.code, no.reason) == ("RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await end.put("x" * (10 * LARGEST_REQUEST))
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await refused(end.put("x" * (LARGEST_REQUEST - 100)))).reason == "REQUEST_INVALID"


async def test_a_field_that_is_not_known_here_is_passed_over(end: End) -> None:
    """A newer neighbour may say more than we understand."""
    path = "/hetao.shelf.v1.ShelfService/PutThing"
    call = end.channel.unary_unary(
        path, request_serializer=bytes, response_deserializer=shelf.pb.PutThingResponse.FromString
    )
    request = shelf.pb.PutThingRequest(division="150802", title="a").SerializeToString() + b"\xd2\x29\x03new"
    assert (await call(request, metadata=ME)).thing.title == "a"


async def test_a_repeat_over_any_channel_has_the_first_answer(end: End) -> None:
    first = await end.put(fields={"request_id": "r1"})
    other = over_the_wire(end.platform)
    try:
        request = shelf.pb.PutThingRequest(division="150802", title="自行车", request_id="r1")
        assert await shelf.rpc.ShelfServiceStub(other).PutThing(request, metadata=ME) == first
        assert await shelf.rpc.ShelfServiceStub(end.platform.channel("shelf")).PutThing(request, metadata=ME) == first
    finally:
        await other.close()
    assert len(await end.titles()) == 1


@over_a_socket
async def test_a_stop_lets_calls_under_way_finish_and_takes_no_new_ones(end: End) -> None:
    assert end.platform.server
    end.api.go.clear()
    under_way = asyncio.ensure_future(_awaited(end.put("under way")))
    await until(lambda: end.api.begun == 1, "it is at work")
    async with running(end.platform.server.stop(10.0)) as (stopping,):

        async def turned_away() -> bool:
            late = over_the_wire(end.platform)
            try:
                await shelf.rpc.ShelfServiceStub(late).LookUp(shelf.pb.LookUpRequest(id=shelf.uuid7().hex), timeout=1.0)
            except grpc.aio.AioRpcError as error:
                return error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            finally:
                await late.close()
            return False

        await until(turned_away, "new calls are turned away")
        assert not stopping.done()
        end.api.go.set()
        assert (await under_way).thing.title == "under way"
        await stopping
    assert await end.titles() == ["under way"]


@over_a_socket
async def test_a_stop_does_not_wait_for_ever(end: End) -> None:
    assert end.platform.server
    end.api.go.clear()
    under_way = asyncio.ensure_future(_awaited(end.put("under way")))
    await until(lambda: end.api.begun == 1, "it is at work")
    await end.platform.server.stop(0.1)
    with pytest.raises(grpc.aio.AioRpcError):
        await under_way
    await until(lambda: end.api.undone == 1, "its work has ended")
    assert await end.titles() == []


@over_a_socket
async def test_reflection_and_health(end: End) -> None:
    assert end.platform.server
    address, certificates = end.platform.server.address, Certificates.of(end.platform.settings.grpc.tls)
    bare = (
        grpc.aio.secure_channel(address, certificates.client()) if certificates else grpc.aio.insecure_channel(address)
    )
    async with bare as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for name in ("", "hetao.shelf.v1.ShelfService"):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest(service="nobody"))
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        reflection = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter(
                [
                    reflection_pb2.ServerReflectionRequest(list_services=""),
                    reflection_pb2.ServerReflectionRequest(file_containing_symbol="hetao.shelf.v1.ShelfService"),
                ]
            )
        )
        listed, described = [answer async for answer in reflection]
        names = {service.name for service in listed.list_services_response.service}
        assert names >= {
            "hetao.shelf.v1.ShelfService",
            "hetao.operations.v1.OperationsService",
            "grpc.health.v1.Health",
        }
        assert described.file_descriptor_response.file_descriptor_proto


@over_a_socket
async def test_a_taken_port_is_one_clear_error(end: End) -> None:
    assert end.platform.server
    host, _, port = end.platform.server.address.rpartition(":")
    second = Server(end.platform._route, [], Grpc(host=host, port=int(port)))
    with pytest.raises(OSError, match="cannot listen on 127.0.0.1"):
        await second.start()
    await second.stop(0.1)
