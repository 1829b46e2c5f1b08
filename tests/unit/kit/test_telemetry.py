"""Trace context: what comes in is gone on with, what goes out can be read, and nonsense begins a trace of its own."""

from __future__ import annotations

import re

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from kit import telemetry

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
WHOLE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


@pytest.fixture(autouse=True, params=[True, False], ids=["ids alone", "spans"])
def _set_up(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """As without an exporter, and as with one."""
    telemetry.set_up(service="test")
    monkeypatch.setattr(telemetry, "_ids_alone", request.param)


def test_a_span_has_a_trace_without_any_exporter() -> None:
    with telemetry.span("a", SpanKind.INTERNAL) as span:
        assert WHOLE.fullmatch(span.traceparent)
        assert telemetry.trace_id() == span.traceparent.split("-")[1]
    assert telemetry.trace_id() == ""


def test_a_trace_that_comes_in_is_gone_on_with() -> None:
    with telemetry.server_span("/hetao.cases.v1.CaseService/GetCase", f"00-{TRACE}-{SPAN}-01") as span:
        version, trace_id, span_id, _ = span.traceparent.split("-")
        assert (version, trace_id) == ("00", TRACE)
        assert span_id != SPAN
        with telemetry.consumer_span("cases.open", span.traceparent) as inner:
            assert inner.traceparent.split("-")[1] == TRACE
        with telemetry.timer_span("cases.remind") as inner:
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
    with telemetry.server_span("/a/b", nonsense) as span:
        assert WHOLE.fullmatch(span.traceparent)
        assert TRACE[1:8] not in span.traceparent


def test_a_span_ends_with_whatever_happened_in_it() -> None:
    with pytest.raises(ValueError, match="oh"), telemetry.span("a", SpanKind.INTERNAL) as span:
        span.failed("UNAVAILABLE")
        raise ValueError("oh")
    assert telemetry.trace_id() == ""


def test_set_up_a_second_time_does_nothing() -> None:
    before = trace.get_tracer_provider()
    telemetry.set_up(service="other")
    assert trace.get_tracer_provider() is before
