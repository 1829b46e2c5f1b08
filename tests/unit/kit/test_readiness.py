"""What a process waits for, whom it misses, and how operators hear of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import cast

import httpx
import pytest

from kit import readiness
from kit.errors import StartupError
from kit.log import Log as RealLog
from kit.log import LogAway
from kit.ops import Answer, Ops
from kit.readiness import Readiness
from kit.rpc.client import ServiceChannel
from kit.sections import Grpc
from kit.sections import Ops as Settings
from kit.watches import of_neighbours, topics_of, until_log
from tests import shelf
from tests.waiting import until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WAITING", "WATCHING"):
        monkeypatch.setattr(readiness, name, 0.005)


@pytest.fixture
async def ops() -> AsyncIterator[Ops]:
    made = Ops(Settings(port=0), Readiness())
    await made.start()
    yield made
    await made.stop()


async def ask(ops: Ops, path: str, method: str = "GET") -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.request(method, f"http://127.0.0.1:{ops.port}{path}")


class Engine:
    """Answers, or not."""

    def __init__(self) -> None:
        self.fault: Exception | None = ConnectionRefusedError("nobody listens")

    async def look(self) -> str:
        if self.fault:
            raise self.fault
        return "here"


async def test_what_is_waited_for_is_named_until_it_is_there(ops: Ops):
    engine, state = Engine(), ops._readiness
    waiting = asyncio.create_task(state.until("postgres", engine.look))
    await until(lambda: "postgres" in state.waiting, "it is named")
    said = await ask(ops, "/readyz")
    assert (said.status_code, said.json()["waitingFor"]) == (503, {"postgres": "nobody listens"})
    assert (await ask(ops, "/healthz")).status_code == 200
    engine.fault = None
    assert await waiting == "here"
    assert (await ask(ops, "/readyz")).json() == {"status": "ok", "waitingFor": {}, "away": {}}


async def test_waiting_ends_at_once_where_it_is_of_no_use_and_in_time_where_a_time_is_set():
    engine, state = Engine(), Readiness()
    engine.fault = StartupError("密码错误", "wrong password")
    with pytest.raises(StartupError):
        await state.until("postgres", engine.look)
    engine.fault = ConnectionRefusedError()
    with pytest.raises(ConnectionRefusedError):
        await state.until("grid", engine.look, seconds=0.02)


async def hangs() -> None:
    await asyncio.Event().wait()


async def test_who_does_not_answer_is_as_good_as_away(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(readiness, "LOOK", 0.02)
    state = Readiness()
    waiting = asyncio.create_task(state.until("kafka", hangs))
    await until(lambda: state.waiting == {"kafka": "no answer"}, "it is named")
    waiting.cancel()


@pytest.mark.parametrize(("needed", "status"), [(True, 503), (False, 200)])
async def test_what_goes_away_later_is_told_and_comes_back_by_itself(ops: Ops, needed: bool, status: int):
    engine, state = Engine(), ops._readiness
    engine.fault = None
    watching = asyncio.create_task(state.watch("redis", engine.look, needed=needed))
    engine.fault = OSError("gone")
    missing = state.waiting if needed else state.away
    await until(lambda: missing == {"redis": "gone"}, "it is missed")
    said = await ask(ops, "/readyz")
    assert said.status_code == status
    assert said.json()["waitingFor" if needed else "away"] == {"redis": "gone"}
    engine.fault = None
    await until(lambda: not missing, "it is back")
    watching.cancel()


def metrics() -> Answer:
    return Answer(200, "text/plain; version=0.0.4", b"up 1\n")


async def later() -> Answer:
    return metrics()


def broken() -> Answer:
    raise RuntimeError


@pytest.mark.parametrize("handler", [metrics, later])
async def test_more_can_be_asked_of_it(ops: Ops, handler: Callable[[], Answer | Awaitable[Answer]]):
    ops.add("/metrics", handler)
    said = await ask(ops, "/metrics")
    assert (said.status_code, said.text, said.headers["content-type"]) == (200, "up 1\n", "text/plain; version=0.0.4")
    assert (await ask(ops, "/metrics", "HEAD")).content == b""


async def test_what_it_does_not_know_it_says(ops: Ops):
    ops.add("/broken", broken)
    assert (await ask(ops, "/nothing")).status_code == 404
    assert (await ask(ops, "/readyz", "POST")).status_code == 405
    assert (await ask(ops, "/broken")).status_code == 500
    reader, writer = await asyncio.open_connection("127.0.0.1", ops.port)
    writer.write(b"\0" * 20_000)
    with suppress(ConnectionError):  # what it did not read makes the system say so
        assert await reader.read() == b""
    writer.close()
    assert (await ask(ops, "/healthz")).status_code == 200


async def test_without_a_port_nobody_listens_and_a_taken_one_is_named(ops: Ops):
    silent = Ops(Settings(), Readiness())
    await silent.start()
    assert not silent.listening
    await silent.stop()
    with pytest.raises(StartupError, match="HETAO_OPS__PORT"):
        await Ops(Settings(port=ops.port), Readiness()).start()


class Log:
    """Kafka, or what is missing of it."""

    system = "kafka"

    def __init__(self, *, there: bool, topics: set[str]) -> None:
        self.there, self.topics = there, topics

    async def look(self, topics: Sequence[str]) -> None:
        if not self.there:
            raise LogAway("no broker")
        if missing := sorted({*topics} - self.topics):
            raise LogAway(f"topics are missing: {missing}")


async def test_kafka_is_waited_for_for_a_while_and_its_topics_for_ever():
    state, topics = Readiness(), topics_of([shelf.MODULE])
    await until_log(state, cast("RealLog", Log(there=False, topics=set())), [shelf.MODULE], patience=0.02)
    assert state.ready
    log = Log(there=True, topics=set())
    waiting = asyncio.create_task(until_log(state, cast("RealLog", log), [shelf.MODULE], patience=0.02))
    await until(lambda: "topics" in state.waiting, "missing topics are named")
    log.topics = {*topics}
    await waiting
    assert state.ready


async def test_a_neighbour_is_waited_for_for_a_while_and_then_missed(ops: Ops):
    state, caller = ops._readiness, replace(shelf.MODULE, name="caller", calls=["grid"])
    channel = ServiceChannel(Grpc(), "grid", "127.0.0.1:1", None)
    ((name, watching),) = of_neighbours(state, [caller], lambda service: channel, patience=0.3)
    assert (name, set(state.waiting)) == ("grid", {"grid"})
    task = asyncio.ensure_future(watching)
    await until(lambda: state.ready and "grid" in state.away, "it is ready without it")
    assert "UNAVAILABLE" in state.away["grid"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await channel.close()
