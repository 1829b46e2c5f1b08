"""Trace context: what comes in is gone on with, what goes out can be read, and nonsense begins a trace of its own."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from kit import telemetry

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
WHOLE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture(autouse=True, params=[True, False], ids=["ids alone", "spans"])
def _set_up(request: pytest.FixtureRequest, exporter: InMemorySpanExporter) -> Iterator[None]:
    """As without an exporter, and as with one."""
    if request.param:
        yield
        return
    with telemetry.recorded(exporter):
        yield


def test_a_span_has_a_trace_without_any_exporter() -> None:
    with telemetry.span("cases", "a", SpanKind.INTERNAL) as span:
        assert WHOLE.fullmatch(span.traceparent)
        assert telemetry.trace_id() == span.traceparent.split("-")[1]
        assert telemetry.traceparent() == span.traceparent
    assert telemetry.trace_id() == telemetry.traceparent() == ""


@pytest.mark.parametrize("flags", ["01", "00"])
def test_a_trace_that_comes_in_is_gone_on_with(flags: str) -> None:
    with telemetry.server_span("cases", "/hetao.cases.v1.CaseService/GetCase", f"00-{TRACE}-{SPAN}-{flags}") as span:
        version, trace_id, span_id, went_on = span.traceparent.split("-")
        assert (version, trace_id, went_on) == ("00", TRACE, "01" if telemetry.recording() else flags)
        assert span_id != SPAN
        with telemetry.span("cases", "b", SpanKind.CONSUMER, span.traceparent) as inner:
            assert inner.traceparent.split("-")[1] == TRACE
        with telemetry.timer_span("cases", "cases.remind") as inner:
            assert inner.traceparent.split("-")[1] == TRACE, "under the present one"


@pytest.mark.parametrize(
    "nonsense",
    [
        "",
        "-",
        "00",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{'g' * 32}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-zz",
        f"00-{TRACE}-{SPAN}-ffff",
        f"00-{TRACE}-{SPAN}-",
        f"00-+{TRACE[1:]}-{SPAN}-01",
        f"00-0x{TRACE[2:]}-{SPAN}-01",
        f"00-{TRACE[:8]}_{TRACE[9:]}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
    ],
)
def test_nonsense_begins_a_trace_of_its_own(nonsense: str) -> None:
    with telemetry.server_span("a", "/a/b", nonsense) as span:
        assert WHOLE.fullmatch(span.traceparent)
        assert TRACE[1:8] not in span.traceparent


def test_a_span_ends_with_whatever_happened_in_it_and_does_not_say_what(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="oh"), telemetry.span("cases", "a", SpanKind.INTERNAL):
        raise ValueError("oh, 赵秀英")
    assert telemetry.trace_id() == ""
    if telemetry.recording():
        (span,) = exporter.get_finished_spans()
        assert span.status.status_code is StatusCode.ERROR
        assert (dict(span.attributes or {}), span.events, span.status.description) == (
            {"error.type": "ValueError"},
            (),
            None,
        )


def test_an_answer_that_refuses_is_no_failure(exporter: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="oh"), telemetry.span("cases", "a", SpanKind.SERVER) as span:
        span.refused()
        raise ValueError("oh")
    assert [one.status.status_code for one in exporter.get_finished_spans()] in ([], [StatusCode.UNSET])


def test_each_service_of_a_process_is_told_apart(exporter: InMemorySpanExporter) -> None:
    with telemetry.span("gateway", "a", SpanKind.SERVER), telemetry.span("cases", "b", SpanKind.SERVER):
        pass
    if telemetry.recording():
        inner, outer = exporter.get_finished_spans()
        assert [one.resource.attributes["service.name"] for one in (outer, inner)] == ["gateway", "cases"]
        assert inner.resource.attributes["service.instance.id"] == outer.resource.attributes["service.instance.id"]
        assert inner.parent == outer.context


def test_a_batch_is_the_first_ones_and_linked_to_the_others(exporter: InMemorySpanExporter) -> None:
    told = [("hetao.grid.v1", {}, f"00-{TRACE[:-1]}{n}-{SPAN}-01") for n in range(3)]
    spans = telemetry.messages("cases", "process", SpanKind.CONSUMER, told)
    assert [span.traceparent[34] for span in spans] == ["0", "1", "2"]
    with telemetry.Scope(spans[0]):
        transaction = telemetry.transaction("cases", writes=True)
    for span in (*spans[1:], *filter(None, [transaction])):
        span.end()
    assert (transaction is not None) == telemetry.recording()
    for span in exporter.get_finished_spans():
        if span.name == "transaction cases":
            assert span.parent is not None
            assert span.context is not None
            assert span.context.trace_id == int(f"{TRACE[:-1]}0", 16)
            assert [link.context.trace_id & 15 for link in span.links] == [1, 2]


def test_a_transaction_that_nobody_asked_for_has_no_span() -> None:
    assert telemetry.transaction("cases", writes=True) is None


def test_nobody_waits_for_a_collector_that_does_not_answer(exporter: InMemorySpanExporter) -> None:
    if telemetry.recording():
        return
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert telemetry.set_up(otlp_endpoint=address)
        assert not telemetry.set_up(otlp_endpoint=address), "it is begun already"
        with telemetry.span("cases", "a", SpanKind.INTERNAL) as span:
            assert int(span.traceparent[-2:], 16) & 1, "sampled"
        started = time.monotonic()
        telemetry.shut_down()
        assert time.monotonic() - started < telemetry.LEAVING * 5
    assert not telemetry.recording()
