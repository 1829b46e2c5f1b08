"""The stream of events as a reader meets it: what he is sent, what he is refused, and when it ends."""

import asyncio
import contextlib
from datetime import timedelta

import httpx
import orjson
import pytest

from kit.clock import VirtualClock
from kit.config import DATA
from kit.identity import Roles
from kit.issuer import DemoIssuer
from kit.limits import Limits
from kit.module import Runtime
from kit.redis import Redis
from kit.sealing import Keys
from kit.statutory import Deadlines
from kit.texts import Texts
from kit.verifier import Verifier
from services.gateway import app as gateway
from services.gateway.module import MODULE
from services.gateway.stream import PATH, hub_of
from tests.memory_log import MemoryLog
from tests.unit.gateway.test_app import Nowhere
from tests.unit.gateway.test_live import TOPICS, case, cases, report
from tests.waiting import until
from tests.world import MORNING


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    monkeypatch.setattr("services.gateway.hub.IDLE", 0.01)


@pytest.fixture
def runtime(settings):
    chosen = {
        "stream": settings.stream.model_copy(update={"heartbeat_seconds": 0.2, "per_account": 3, "history": 200}),
        "http": settings.http.model_copy(update={"cors_origins": ["https://console.example"]}),
    }
    settings = settings.model_copy(update=chosen)
    clock = VirtualClock(MORNING)
    issuer = DemoIssuer.open(settings, clock, DATA / "demo" / "accounts.toml")
    keys = Keys.open_or_create(settings.key_file, clock.now(), data_exists=False)
    return Runtime(
        MODULE,
        settings=settings,
        clock=clock,
        keys=keys,
        limits=Limits.of(settings, Redis.open(settings), keys),
        verifier=Verifier.of(settings, Roles.load(DATA / "roles.toml"), clock, issuer),
        issuer=issuer,
        deadlines=Deadlines.load(DATA),
        texts=Texts.load(DATA / "texts"),
        channel=lambda name: Nowhere(),
        pools=None,
        readiness=dict,
        log=MemoryLog(),
    )


class Gateway:
    def __init__(self, runtime):
        self.runtime, self.log, self.hub = runtime, runtime.log, hub_of(runtime)
        self.app = gateway.create(runtime, self.hub)
        self._task = asyncio.create_task(self.hub.run())

    async def tell(self, *records):
        for record in records:
            await self.log.append(TOPICS["grid" in record.envelope.type], [record])

    async def stop(self):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@pytest.fixture
async def served(runtime):
    opened = Gateway(runtime)
    await until(lambda: opened.hub.ready, "the end of the log is reached")
    yield opened
    await opened.stop()


class Listener:
    """A reader at the other end of an ASGI server. `go`: whether he takes what he is sent."""

    def __init__(self, served, account="county-leader", query="", last=None, token=None):
        self.status, self.text, self.ended = 0, "", False
        self.go, self._gone = asyncio.Event(), asyncio.Event()
        self.go.set()
        self.headers = {}
        token = served.runtime.issuer.mint(account) if token is None else token
        headers = [(b"authorization", f"Bearer {token}".encode())] + (
            [(b"last-event-id", last.encode())] if last else []
        )
        scope = {
            "type": "http",
            "method": "GET",
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": query.encode(),
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "http_version": "1.1",
            "scheme": "http",
            "server": ("127.0.0.1", 80),
            "root_path": "",
        }
        self.task = asyncio.create_task(served.app(scope, self._receive, self._send))

    async def _receive(self):
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        await self.go.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.text += message["body"].decode()
            self.ended = not message.get("more_body", False)

    async def begun(self):
        await until(lambda: "\n\n" in self.text or self.task.done(), "the stream has begun")
        assert self.status == 200, self.text
        return self

    @property
    def blocks(self):
        """Each event as its fields."""
        found = []
        for block in self.text.split("\n\n")[:-1]:
            fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
            found.append(fields)
        return found

    @property
    def events(self):
        return [orjson.loads(one["data"]) for one in self.blocks if one.get("event", "").startswith("hetao.")]

    @property
    def codes(self):
        return [one["data"]["code"] for one in self.events]

    @property
    def reloads(self):
        return [orjson.loads(one["data"])["reason"] for one in self.blocks if one.get("event") == "reload"]

    @property
    def last(self):
        return [one["id"] for one in self.blocks if "id" in one][-1]

    async def leave(self):
        self._gone.set()
        self.go.set()
        await asyncio.wait_for(self.task, 10)


@contextlib.asynccontextmanager
async def listening(served, *args, **kwargs):
    listener = Listener(served, *args, **kwargs)
    try:
        yield await listener.begun()
    finally:
        await listener.leave()


async def test_a_reader_is_sent_what_happens(served):
    async with listening(served) as reader:
        assert reader.headers["content-type"] == "text/event-stream"
        assert reader.headers["cache-control"] == "no-store"
        assert reader.headers["x-accel-buffering"] == "no"
        assert list(reader.blocks[0]) == ["retry", "id"], "when to come back, and from where"
        record = case(code="LH-7")
        await served.tell(record)
        await until(lambda: len(reader.events) == 1, "it is sent")
        (event,) = reader.events
        assert event["id"] == str(record.envelope.id)
        assert (event["type"], event["subject"], event["division"]) == (
            "hetao.cases.v1.CaseChanged",
            "case",
            "150802013",
        )
        assert event["data"]["code"] == "LH-7"
        assert [one["event"] for one in reader.blocks if "data" in one] == ["hetao.cases.v1.CaseChanged"]
    await until(lambda: served.hub.count == 0, "it is forgotten")


async def test_somebody_of_another_county_sees_nothing(served):
    async with listening(served) as reader, listening(served, "county-leader-2") as foreign:
        await served.tell(case(code="1"), case(code="2", division="150826"), case(code="3"))
        await until(lambda: reader.codes == ["1", "3"] and foreign.codes == ["2"], "each has his own")


async def test_a_sign_of_life_brings_the_place(served):
    """So one for whom nothing happened does not load anew, however much happened to others."""
    async with listening(served, "county-leader-2") as reader:
        await served.tell(*cases(300))
        await until(lambda: served.hub._next == 300, "it has happened")
        count = reader.text.count(":\n")
        await until(lambda: reader.text.count(":\n") > count + 1, "signs of life")
        last = reader.last
    async with listening(served, "county-leader-2", last=last) as reader:
        assert reader.reloads == []


async def test_a_reader_goes_on_from_where_he_was(served):
    async with listening(served) as reader:
        await served.tell(*cases(10))
        await until(lambda: len(reader.codes) == 10, "they are sent")
        seen, middle = reader.codes, reader.blocks[5]["id"]
        assert reader.blocks[5]["event"]
    async with listening(served, last=middle) as again:
        await until(lambda: len(again.codes) == 5, "the rest is sent")
        assert again.codes == seen[5:]
        await served.tell(*cases(1, 10))
        await until(lambda: again.codes == [*seen[5:], "10"], "and what comes")


async def test_a_place_that_is_none_means_to_load_anew(served):
    async with listening(served, last="nonsense") as reader:
        await until(lambda: reader.reloads == ["unknown"], "he is told")
        await served.tell(case(code="1"))
        await until(lambda: reader.codes == ["1"], "and goes on")


async def test_types_and_subjects_may_be_chosen(served):
    query = "types=hetao.grid.v1.ReportChanged,hetao.cases.v1.CaseChanged&types=&subject=one,two&subject=three"
    only_cases = "types=hetao.cases.v1.CaseChanged"
    async with listening(served, query=query) as some, listening(served, query=only_cases) as kind:
        await served.tell(
            case("one", code="1"), case("other", code="2"), report("three", code="3"), report("four", code="4")
        )
        await until(
            lambda: sorted(some.codes) == ["1", "3"] and sorted(kind.codes) == ["1", "2"], "each has what he chose"
        )


@pytest.mark.parametrize(
    ("query", "reason", "status"),
    [
        ("types=nonsense", "EVENT_TYPE_UNKNOWN", 400),
        ("types=CaseChanged", "EVENT_TYPE_UNKNOWN", 400),
        ("types=hetao.grid.v1.StaffChanged", "EVENT_TYPE_UNKNOWN", 400),
        ("subject=" + "x" * 101, "SUBJECTS_TOO_MANY", 400),
        ("subject=" + ",".join(map(str, range(101))), "SUBJECTS_TOO_MANY", 400),
        ("kind=x", "QUERY_UNREADABLE", 400),
        ("access_token=x", "QUERY_UNREADABLE", 400),
    ],
)
async def test_what_cannot_be_asked_is_refused(served, query, reason, status):
    listener = Listener(served, query=query)
    await listener.task
    told = orjson.loads(listener.text)
    assert (listener.status, told["reason"]) == (status, reason)
    assert listener.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in told["errors"]] == (
        [query.split("=")[0]] if reason != "QUERY_UNREADABLE" else []
    )


async def test_only_who_may_is_let_in(served):
    for account, token, query, status, reason in (
        (None, "", "", 401, "TOKEN_MISSING"),
        (None, "nonsense", "", 401, "TOKEN_INVALID"),
        ("building-head", None, "types=hetao.cases.v1.CaseChanged", 403, "PERMISSION_MISSING"),
    ):
        listener = Listener(served, account, token=token, query=query)
        await listener.task
        assert (listener.status, orjson.loads(listener.text)["reason"]) == (status, reason)
    assert served.hub.count == 0


async def test_an_account_has_no_more_than_so_many(served):
    async with listening(served) as _, listening(served) as _, listening(served) as third:
        listener = Listener(served)
        await listener.task
        assert (listener.status, orjson.loads(listener.text)["reason"]) == (429, "STREAMS_TOO_MANY")
        assert int(listener.headers["retry-after"]) > 0
        await third.leave()
        async with listening(served):
            pass


async def test_it_ends_with_the_token(served, runtime):
    listener = await Listener(served).begun()
    runtime.clock.move_to(MORNING + timedelta(minutes=runtime.settings.identity.token_minutes, hours=1))
    await served.tell(case(code="late"))
    await until(lambda: listener.ended, "it has ended")
    assert listener.codes == []
    await listener.leave()
    await until(lambda: served.hub.count == 0, "it is forgotten")


async def test_it_ends_in_silence_too(served, runtime):
    listener = await Listener(served).begun()
    runtime.clock.move_to(MORNING + timedelta(minutes=runtime.settings.identity.token_minutes, hours=1))
    await until(lambda: listener.ended, "it has ended")
    await listener.leave()


async def test_a_slow_reader_is_dropped_with_a_reload(served):
    slow = await Listener(served).begun()
    async with listening(served) as quick:
        slow.go.clear()
        for begin in range(0, 600, 20):
            await served.tell(*cases(20, begin))
            await until(lambda begin=begin: len(quick.codes) == begin + 20, "the other is not held up")
        assert len(served.hub._entries) == 200
        slow.go.set()
        await until(lambda: slow.ended, "it has ended")
        assert slow.reloads == ["too slow"]
        assert len(slow.codes) < 600
        assert len(quick.codes) == 600
    async with listening(served, last=slow.last) as again:
        await served.tell(*cases(1, 600))
        await until(lambda: again.codes == ["600"], "he goes on from where he was told to load anew")
    await slow.leave()


async def test_a_drain_ends_every_stream_and_loses_nothing(runtime):
    served = Gateway(runtime)
    await until(lambda: served.hub.ready, "the end of the log is reached")
    readers = [await Listener(served).begun() for _ in range(3)]
    await served.tell(case(code="1"))
    await until(lambda: all(reader.codes == ["1"] for reader in readers), "it is sent")
    await served.stop()
    await until(lambda: all(reader.ended for reader in readers), "they have ended")
    for reader in readers:
        await reader.leave()
    await served.tell(case(code="2"))
    again = Gateway(runtime)
    await until(lambda: again.hub.ready, "the end of the log is reached")
    async with listening(again, last=readers[0].last) as reader:
        await served.tell(case(code="3"))
        await until(lambda: reader.codes == ["2", "3"], "what happened meanwhile, and what comes")
    await again.stop()


async def test_a_browser_may_ask_from_elsewhere(served):
    transport = httpx.ASGITransport(served.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://hetao") as client:
        asked = {
            "access-control-request-method": "GET",
            "access-control-request-headers": "authorization,last-event-id",
        }
        answer = await client.options(PATH, headers={"origin": "https://console.example", **asked})
        assert answer.status_code == 200
        assert "last-event-id" in answer.headers["access-control-allow-headers"].lower()
        assert (await client.post(PATH)).status_code == 405
        assert (await client.get("/v1/events:other")).status_code == 404
