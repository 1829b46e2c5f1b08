"""Events as they happen, as a console has them: over HTTP, through a restart of the gateway, and a thousand of them at once."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from typing import Any, Self

import httpx
import orjson
import psutil
import pytest

from tests.functional.harness import Hetao, Person, eventually
from tests.functional.modes import on
from tests.functional.split import SplitHetao, need_engines
from tests.functional.story import walk_in

STREAM = "/v1/events:stream"

#: Idle streams on one gateway, and the memory that its process may have then.
STREAMS, MEMORY = 1000, 250 * 2**20


class Listener:
    """A console of one person: a stream that is read in a thread, and the place from which the next one goes on."""

    def __init__(self, person: Person, last: str = ""):
        self.person, self.last = person, last
        self.events: list[dict[str, Any]] = []
        self.reloads: list[str] = []
        self.places = 0
        self._client = httpx.Client(base_url=str(person.hetao.http.base_url), timeout=60, trust_env=False)
        self._stopped = False
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self.places, "the stream to begin")
        return self

    def __exit__(self, *_: object) -> None:
        """As a window that is closed. A stream without events still has signs of life, by which the thread finds out."""
        self._stopped = True
        self._thread.join(60)
        self._client.close()
        assert not self._thread.is_alive()

    @property
    def cases(self) -> list[str]:
        return [event["subject"] for event in self.events if event["type"] == "hetao.cases.v1.CaseChanged"]

    def _read(self) -> None:
        headers = {"Authorization": f"Bearer {self.person.token}"} | ({"Last-Event-ID": self.last} if self.last else {})
        kind = data = ""
        try:
            with self._client.stream("GET", STREAM, headers=headers) as answer:
                assert answer.status_code == 200, answer.read()
                for line in answer.iter_lines():
                    name, _, value = line.partition(": ")
                    if name == "id":
                        self.last = value
                    elif name == "event":
                        kind = value
                    elif name == "data":
                        data = value
                    elif not line:
                        self.places += 1
                        if data:
                            self._take(kind, orjson.loads(data))
                        kind = data = ""
                    if self._stopped:
                        return
        except httpx.TransportError:  # the gateway has gone, as it does in a restart
            return

    def _take(self, kind: str, told: dict[str, Any]) -> None:
        if kind == "reload":
            self.reloads.append(told["reason"])
        else:
            assert told["type"] == kind
            self.events.append(told)


@pytest.fixture
def quick_hetao(request: pytest.FixtureRequest) -> Any:
    """One of its own, whose streams give a sign of life often."""
    settings = {"STREAM__HEARTBEAT_SECONDS": "0.5", "STREAM__PER_ACCOUNT": "1100", "LIMITS__ENABLED": "false"}
    if request.param == "all":
        opened: Hetao = Hetao(**settings)
    else:
        need_engines()
        opened = SplitHetao(request.param, **settings)
    with opened as running:
        yield running


def new_cases(clerk: Person, count: int) -> list[str]:
    return [clerk.post("/v1/cases", walk_in(title=f"第 {n} 件"))["case"]["caseId"] for n in range(count)]


def restart_gateways(hetao: Hetao) -> None:
    """In separate processes the gateways alone, else the only one that there is."""
    if isinstance(hetao, SplitHetao):
        for gateway in hetao.split.gateways:
            gateway.program.stop()
        hetao.start()
    else:
        hetao.stop()
        hetao.start()


@pytest.mark.timeout(300)
@on("quick_hetao", "live", "all", "split")
def test_a_console_follows_what_happens(quick_hetao: Hetao) -> None:
    hetao = quick_hetao
    clerk, leader = hetao.person("window-clerk-2"), hetao.person("county-leader-2")
    elsewhere, officer = hetao.person("county-leader"), hetao.person("justice-officer-2")
    with (
        Listener(leader) as console,
        Listener(clerk) as window,
        Listener(elsewhere) as foreign,
        Listener(officer) as idle,
    ):
        first = new_cases(clerk, 3)
        eventually(lambda: len(console.cases) >= 3 and len(window.cases) >= 3, "three cases")
        assert sorted(console.cases) == sorted(window.cases) == sorted(first)
        shown = leader.get(f"/v1/cases/{first[0]}")
        (event,) = (one for one in console.events if one["subject"] == first[0])
        assert event["data"]["code"] == shown["code"]
        assert event["division"] == shown["division"]
        assert event["data"]["state"] == shown["state"]
        assert not {"title", "description", "parties"} & event["data"].keys()
    missed = new_cases(clerk, 5)
    eventually(lambda: _settled(leader, console.last) >= 5, "they are in the log")
    restart_gateways(hetao)
    with (
        Listener(leader, console.last) as again,
        Listener(elsewhere, foreign.last) as still,
        Listener(officer, idle.last) as calm,
    ):
        eventually(lambda: len(again.cases) >= 5, "what was missed")
        later = new_cases(clerk, 2)
        eventually(lambda: len(again.cases) >= 7, "what comes")
        assert sorted(again.cases) == sorted([*missed, *later]), "nothing is lost, nothing comes twice"
        places = still.places
        eventually(lambda: still.places > places + 2, "signs of life")
    for one in (console, window, foreign, idle, again, still, calm):
        assert one.reloads == []
    for one in (foreign, idle, still, calm):
        assert one.cases == []


def _settled(person: Person, last: str) -> int:
    """How many cases somebody is sent who goes on from there."""
    with Listener(person, last) as listener:
        places = listener.places
        eventually(lambda: listener.places > places, "a sign of life")
        return len(listener.cases)


@pytest.mark.timeout(300)
@on("quick_hetao", "live", "all")
def test_a_thousand_idle_streams_on_one_gateway(quick_hetao: Hetao, capsys: pytest.CaptureFixture[str]) -> None:
    hetao = quick_hetao
    clerk, leader = hetao.person("window-clerk-2"), hetao.person("county-leader-2")
    process = psutil.Process(hetao.processes[0].pid)
    new_cases(clerk, 5)  # whatever is made at the first call is there
    before = process.memory_info().rss
    with Streams(hetao.address, leader.token, STREAMS) as streams:
        streams.until(lambda text: text.count(b"\n\n") >= 2, "the first sign of life of each")
        idle = process.memory_info().rss
        spent = _cpu(process, 3.0)
        (case,) = new_cases(clerk, 1)
        began = time.monotonic()
        streams.until(lambda text: case.encode() in text, "the event reaches each")
        reached = time.monotonic() - began
        after = process.memory_info().rss
    with capsys.disabled():
        print(
            f"\n{STREAMS} idle streams: the whole platform in one process has {idle / 2**20:.0f} MiB, {before / 2**20:.0f} before; "
            f"{(idle - before) / STREAMS / 1024:.0f} KiB a stream; {100 * spent:.0f} % of a core with a sign of life twice a second; "
            f"an event has reached all within {reached:.1f} s"
        )
    assert after < MEMORY
    eventually(lambda: len(process.net_connections()) < STREAMS / 2, "the streams to be given up")
    assert hetao.http.get("/readyz").status_code == 200


def _cpu(process: psutil.Process, seconds: float) -> float:
    """The share of a core that a process uses for so long."""
    used, began = sum(process.cpu_times()[:2]), time.monotonic()
    eventually(lambda: time.monotonic() - began > seconds, "a while")
    return (sum(process.cpu_times()[:2]) - used) / (time.monotonic() - began)


class Streams:
    """Many streams in one thread."""

    def __init__(self, address: str, token: str, count: int):
        host, _, port = address.removeprefix("http://").partition(":")
        self._where, self._count = (host, int(port)), count
        request = f"GET {STREAM} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
        self._request = request.encode()
        self._texts: dict[socket.socket, bytes] = {}
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Self:
        for _ in range(self._count):
            one = socket.create_connection(self._where, timeout=30)
            self._texts[one] = b""
            one.sendall(self._request)
            one.setblocking(False)
            self._selector.register(one, selectors.EVENT_READ)
            self._take(0.0)
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._texts:
            one.close()
        self._selector.close()

    def until(self, met: Any, what: str) -> None:
        waiting, end = set(self._texts), time.monotonic() + 120
        while waiting:
            self._take(0.1)
            waiting = {one for one in waiting if not met(self._texts[one])}
            assert time.monotonic() < end, f"{len(waiting)} streams waited in vain for {what}"

    def _take(self, seconds: float) -> None:
        for key, _ in self._selector.select(seconds):
            one: Any = key.fileobj
            text = one.recv(65536)
            assert text, "a stream has ended"
            self._texts[one] += text
            assert self._texts[one].startswith(b"HTTP/1.1 200"), self._texts[one]
