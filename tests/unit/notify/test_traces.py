"""Whoever gets a message is told the trace that it belongs to, whether or not anybody records it, over every attempt and channel."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta

import pytest
from fastapi import Response
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kit import telemetry
from tests.unit.notify.conftest import NotifyWorld, Provider, wecom

TRACE = "0af7651916cd43dd8448eb211c80319c"


@pytest.mark.parametrize("channel", ["webhook", "wecom_robot"])
@pytest.mark.parametrize("recorded", [False, True])
async def test_the_receiver_is_told_the_trace_at_every_attempt(
    notify_world: NotifyWorld, provider: Provider, channel: str, recorded: bool
) -> None:
    exporter = InMemorySpanExporter()
    provider.next, provider.usual = [Response(status_code=503 if channel == "webhook" else 429)], wecom(0)
    await notify_world.endpoint(f"{provider.url}?key=secret-key", channel)
    with telemetry.recorded(exporter) if recorded else nullcontext():
        with telemetry.server_span("grid", "/a/b", f"00-{TRACE}-b7ad6b7169203331-01"):
            await notify_world.ask(("centre", "dispatcher"))
        assert await notify_world.send() == 1
        await notify_world.travel(timedelta(minutes=10))
        assert await notify_world.send() == 1
    first, second = (headers["traceparent"] for headers, _ in provider.received)
    assert first.split("-")[1] == second.split("-")[1] == TRACE
    assert first != second
    if recorded:
        calls = [span for span in exporter.get_finished_spans() if span.name == "POST"]
        assert [f"{span.context.span_id:016x}" for span in calls if span.context] == [first[36:52], second[36:52]]
        assert [span.status.is_ok for span in calls] == [False, True]
        assert not [span.name for span in exporter.get_finished_spans() if "secret-key" in span.to_json()]
