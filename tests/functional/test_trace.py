"""One trace, from the tap on a grid worker's phone to the message that reaches the centre's own system."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from tests.functional.harness import CHECKOUT, Hetao, department, eventually, new_key
from tests.functional.split import SplitHetao, need_engines
from tests.functional.test_grid_story import quarrel
from tests.otlp import Collector, Hook, Span

pytestmark = pytest.mark.timeout(400)

#: From the root to the call outside: who, what, and as what.
CHAIN = [
    ("gateway", "POST /v1/reports/{report_id}:handOver", "SERVER"),
    ("gateway", "hetao.grid.v1.ReportService/HandOverReport", "CLIENT"),
    ("grid", "hetao.grid.v1.ReportService/HandOverReport", "SERVER"),
    ("grid", "send hetao.grid.v1", "PRODUCER"),
    ("cases", "process hetao.grid.v1", "CONSUMER"),
    ("cases", "send hetao.cases.v1", "PRODUCER"),
    ("notify", "process hetao.cases.v1", "CONSUMER"),
    ("notify", "deliver webhook", "INTERNAL"),
    ("notify", "POST", "CLIENT"),
]

METRICS = tomllib.loads((CHECKOUT / "docs" / "operate" / "signals.toml").read_text(encoding="utf-8"))["metrics"]

LOG = {"all": "postgresql", "split": "kafka"}


@dataclass
class Told:
    """A hand-over that was told to a webhook. `caller`: the span of whoever called."""

    mode: str
    spans: list[Span]
    trace: str
    caller: str
    hook: Hook
    collector: Collector

    def up(self, span: Span) -> list[Span]:
        """From the root to the span."""
        by_id = {one.id: one for one in self.spans}
        line = [span]
        while line[0].parent in by_id:
            line.insert(0, by_id[line[0].parent])
        return line

    def below(self, span: Span, name: str) -> list[Span]:
        return [one for one in self.spans if one.name == name and (one.parent == span.id or span.id in one.links)]


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("all", marks=pytest.mark.xdist_group("trace")),
        pytest.param("split", marks=pytest.mark.xdist_group("trace-split")),
    ],
)
def told(request: pytest.FixtureRequest) -> Iterator[Told]:
    mode = request.param
    if mode == "split":
        need_engines()
    with Collector() as collector, Hook() as hook:
        settings = {
            "TELEMETRY__OTLP_ENDPOINT": collector.url,
            "TELEMETRY__PUSH_SECONDS": "1",
            "TELEMETRY__LOOK_SECONDS": "0.5",
        }
        with Hetao(**settings) if mode == "all" else SplitHetao(mode, **settings) as hetao:
            yield _told(mode, hetao, collector, hook)


def _told(mode: str, hetao: Hetao, collector: Collector, hook: Hook) -> Told:
    centre = {"departmentId": department("150802013-centre"), "channel": "CHANNEL_WEBHOOK", "url": f"{hook.url}/hook"}
    hetao.person("admin").post("/v1/endpoints", centre)
    worker = hetao.person("grid-worker")
    report = quarrel(worker, "六号楼三单元")
    trace, caller = uuid4().hex, uuid4().hex[:16]
    body = {
        "target": "HANDOVER_TARGET_CENTRE",
        "reason": "HANDOVER_REASON_SEVERAL_DEPARTMENTS",
        "note": "需住建和司法共同处理",
        "category": "02",
        "requestId": new_key(),
    }
    worker.post(f"/v1/reports/{report['reportId']}:handOver", body, traceparent=f"00-{trace}-{caller}-01")
    eventually(lambda: hook.received, "the webhook")
    wanted = {name for _, name, _ in CHAIN}
    eventually(lambda: wanted <= {span.name for span in collector.of(trace)}, "the spans of the trace")
    eventually(lambda: len([s for s in collector.of(trace) if s.name == "transaction notify"]) >= 3, "the outcome")
    hetao.person("dispatcher").get("/v1/cases")
    with suppress(AssertionError):  # the test says better what is missing
        eventually(lambda: not _missing(mode, collector), "the metrics of every process", 60)
    return Told(mode, collector.of(trace), trace, caller, hook, collector)


def _where(metric: dict[str, Any], mode: str) -> set[str]:
    """The processes that show a metric."""
    if mode == "all":
        return {"hetao"}
    stores = {"grid", "cases", "notify"}
    return {"every": stores | {"gateway"}, "stores": stores}.get(metric["where"][0], set(metric["where"]))


def _missing(mode: str, collector: Collector) -> set[tuple[str, str]]:
    always = [one for one in METRICS if one["seen"] == "always"]
    return {(process, one["name"]) for one in always for process in _where(one, mode)} - collector.metrics.keys()


def test_each_step_is_the_child_of_the_one_before(told: Told) -> None:
    (call,) = [span for span in told.spans if span.name == "POST"]
    line = told.up(call)
    assert [(span.service, span.name, span.kind) for span in line] == CHAIN
    assert line[0].parent == told.caller
    headers, _ = told.hook.received[0]
    assert headers["traceparent"] == f"00-{told.trace}-{call.id}-01"


def test_what_was_done_in_the_database_is_one_span_each(told: Told) -> None:
    (call,) = [span for span in told.spans if span.name == "POST"]
    by_name = {(span.service, span.kind): span for span in told.up(call)}
    for service, kind in (("grid", "SERVER"), ("cases", "CONSUMER"), ("notify", "CONSUMER")):
        (transaction,) = told.below(by_name[service, kind], f"transaction {service}")
        assert (transaction.kind, transaction.service) == ("CLIENT", service)
        assert transaction.attributes == {
            "db.system.name": "postgresql",
            "db.namespace": service,
            "db.operation.name": "transaction",
            "hetao.transaction.outcome": "commit",
        }
    before_and_after = told.below(by_name["notify", "INTERNAL"], "transaction notify")
    assert len(before_and_after) == 2


def test_attributes_follow_the_conventions_and_hold_no_address(told: Told) -> None:
    (call,) = [span for span in told.spans if span.name == "POST"]
    rest, client, server, sent, heard, *_ = told.up(call)
    assert rest.attributes == {
        "http.request.method": "POST",
        "http.route": "/v1/reports/{report_id}:handOver",
        "http.response.status_code": 200,
        "url.scheme": "http",
    }
    method = {"rpc.system.name": "grpc", "rpc.method": server.name, "rpc.response.status_code": "OK"}
    assert server.attributes == method
    assert client.attributes == method | {"server.address": "grid"}
    about = {key: sent.attributes[key] for key in ("messaging.message.id", "hetao.event.type")}
    assert about["hetao.event.type"] == "hetao.grid.v1.ReportHandedOver"
    common = {"messaging.system": LOG[told.mode], "messaging.destination.name": "hetao.grid.v1", **about}
    assert sent.attributes == {"messaging.operation.name": "send", "messaging.operation.type": "send", **common}
    assert heard.attributes.pop("hetao.handler").startswith("cases.events.")
    group = {"messaging.consumer.group.name": "cases"}
    assert heard.attributes == {
        "messaging.operation.name": "process", "messaging.operation.type": "process", **group, **common
    }  # fmt: skip
    assert set(call.attributes) == {
        "http.request.method", "http.response.status_code", "server.address", "server.port", "url.scheme"
    }  # fmt: skip
    assert not [span for span in told.spans if span.failed]
    assert not [span for span in told.spans if b"/hook" in span.raw]


def test_every_process_pushes_its_own_metrics_and_nothing_else(told: Told) -> None:
    allowed = {(process, one["name"]) for one in METRICS for process in _where(one, told.mode)}
    assert _missing(told.mode, told.collector) == set()
    assert told.collector.metrics.keys() <= allowed
    for (_, name), series in told.collector.metrics.items():
        (listed,) = [one["labels"] for one in METRICS if one["name"] == name]
        for labels in series:
            assert (
                {one for one in listed if not one.endswith("?")} <= set(labels) <= {one.rstrip("?") for one in listed}
            )
