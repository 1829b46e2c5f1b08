"""OpenTelemetry: spans around RPCs, events and timers, trace context through metadata, outbox and log.

Without an exporter the spans are not recorded, but trace ids exist all the same: logs and error answers name them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from opentelemetry import context, trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanContext, SpanKind, TraceFlags

_tracer = trace.get_tracer("hetao")

#: Set where spans go nowhere: then only their ids are made, at a third of the price.
_ids_alone = False

_TRACEPARENT = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def set_up(*, service: str, otlp_endpoint: str = "", ratio: float = 1.0) -> None:
    """Once per process; a second time does nothing. `otlp_endpoint`: where traces go by OTLP over HTTP; empty: nowhere."""
    if isinstance(trace.get_tracer_provider(), TracerProvider):
        return
    global _ids_alone
    _ids_alone = not otlp_endpoint
    sampler = ParentBased(TraceIdRatioBased(ratio)) if otlp_endpoint else ALWAYS_OFF
    provider = TracerProvider(sampler=sampler, resource=Resource.create({"service.name": service}))
    if otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces"))
        )
    trace.set_tracer_provider(provider)


class OpenSpan:
    """A span that is under way. `traceparent` hands it on (W3C trace context)."""

    __slots__ = ("_span", "traceparent")

    def __init__(self, span: Span):
        self._span = span
        ids = span.get_span_context()
        self.traceparent = f"00-{ids.trace_id:032x}-{ids.span_id:016x}-{ids.trace_flags:02x}" if ids.trace_id else ""

    def failed(self, code: str) -> None:
        self._span.set_attribute("rpc.response.status_code", code)
        self._span.set_status(trace.StatusCode.ERROR, code)


@contextmanager
def span(
    name: str, kind: SpanKind, traceparent: str = "", attributes: dict[str, str] | None = None
) -> Iterator[OpenSpan]:
    """A span, under the one that `traceparent` names or the present one."""
    parent = _parent(traceparent)
    if _ids_alone:
        trace_id = (parent or trace.get_current_span().get_span_context()).trace_id or random.getrandbits(128)
        made = trace.NonRecordingSpan(SpanContext(trace_id, random.getrandbits(64) or 1, is_remote=False))
        token = context.attach(trace.set_span_in_context(made))
        try:
            yield OpenSpan(made)
        finally:
            context.detach(token)
        return
    under = trace.set_span_in_context(trace.NonRecordingSpan(parent)) if parent else None
    with _tracer.start_as_current_span(name, under, kind, attributes) as started:
        yield OpenSpan(started)


def server_span(path: str, traceparent: str) -> AbstractContextManager[OpenSpan]:
    """A span for an RPC that is being answered, named as gRPC's conventions want."""
    return span(path[1:], SpanKind.SERVER, traceparent, {"rpc.system.name": "grpc", "rpc.method": path[1:]})


def consumer_span(handler: str, traceparent: str) -> AbstractContextManager[OpenSpan]:
    return span(f"process {handler}", SpanKind.CONSUMER, traceparent, {"messaging.operation.type": "process"})


def timer_span(kind: str) -> AbstractContextManager[OpenSpan]:
    return span(f"timer {kind}", SpanKind.INTERNAL)


def trace_id() -> str:
    """The present trace's id in hex, or "" outside one."""
    present = trace.get_current_span().get_span_context()
    return f"{present.trace_id:032x}" if present.trace_id else ""


def _parent(traceparent: str) -> SpanContext | None:
    match = _TRACEPARENT.fullmatch(traceparent)
    if match is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    if not (trace_id and span_id):
        return None
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
