"""OpenTelemetry traces: spans around requests, calls, transactions, events, timers and what leaves the platform.

One trace goes from a REST call to everything that comes of it: each span is the child of the one before, over processes and over the log too. An event
could also begin a trace of its own that links back; ours go on with the trace, because a change causes few events, each is heard by few, and whoever
looks at a message that was not delivered wants the click that caused it, not a chain of links. Only the transaction of a batch of events has links: it
is the child of the first and belongs to all of them.

Every service is told apart by `service.name`, in one process as well as in many. Attributes follow OpenTelemetry's semantic conventions, except for
those that could hold a person's data: no URL, path, query, SQL, parameter, exception text or body is ever recorded.

Without an exporter nothing is recorded, but ids are made all the same: logs, error answers, the audit and events name their trace.
"""

from __future__ import annotations

import logging
import random
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar, Token
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Final
from uuid import uuid4

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags, Tracer

log = logging.getLogger(__name__)

Attributes = Mapping[str, str | int | bool]

_TRACEPARENT: Final = re.compile("00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")

#: Seconds that the last spans have to leave at a stop, whether or not anybody takes them.
LEAVING: Final = 3.0

#: Codes that are the server's fault: only these make its span an error (semantic conventions for gRPC).
SERVERS_FAULT: Final = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)


class OpenSpan:
    """A span that is under way. `traceparent` hands it on (W3C trace context)."""

    __slots__ = ("_failed", "_links", "_span", "traceparent")

    def __init__(self, span: Span | None, traceparent: str = ""):
        self._span, self._failed, self._links = span, False, list[Link]()
        if span is not None:
            ids = span.get_span_context()
            traceparent = f"00-{ids.trace_id:032x}-{ids.span_id:016x}-{ids.trace_flags:02x}"
        self.traceparent = traceparent

    def set(self, name: str, value: str | int | bool) -> None:
        if self._span is not None:
            self._span.set_attribute(name, value)

    def rename(self, name: str) -> None:
        if self._span is not None:
            self._span.update_name(name)

    def failed(self, kind: str) -> None:
        """`kind`: a code, a status or a class; never a text, which could quote somebody."""
        if self._span is not None and not self._failed:
            self._span.set_attribute("error.type", kind)
            self._span.set_status(StatusCode.ERROR)
        self._failed = True

    def refused(self) -> None:
        """What is raised through it is an answer, not a failure."""
        self._failed = True

    def end(self) -> None:
        if self._span is not None:
            self._span.end()


_present: ContextVar[OpenSpan | None] = ContextVar("hetao_span", default=None)


class Recording:
    """Where spans go: a tracer for each service of the process, and one way out for all of them."""

    def __init__(self, processor: SpanProcessor, sampler: Sampler):
        self.processor, self._sampler = processor, sampler
        self._instance = str(uuid4())
        self._tracers: dict[str, Tracer] = {}

    def tracer(self, service: str) -> Tracer:
        if service not in self._tracers:
            provider = TracerProvider(
                sampler=self._sampler, resource=resource_of(service, self._instance), shutdown_on_exit=False
            )
            provider.add_span_processor(self.processor)
            self._tracers[service] = provider.get_tracer("hetao")
        return self._tracers[service]


_recording: Recording | None = None


def resource_of(service: str, instance: str) -> Resource:
    """What every signal says of its origin."""
    try:
        release = version("hetao")
    except PackageNotFoundError:  # run from a checkout that was never installed
        release = ""
    named = {"service.namespace": "hetao", "service.name": service, "service.instance.id": instance}
    return Resource.create(named | ({"service.version": release} if release else {}))


def set_up(*, otlp_endpoint: str, ratio: float = 1.0) -> bool:
    """Begins to record, if there is somewhere to send it. `otlp_endpoint`: where traces go by OTLP over HTTP. False where nothing is begun."""
    global _recording
    if _recording is not None or not otlp_endpoint:
        return False
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=f"{otlp_endpoint.rstrip('/')}/v1/traces")
    _recording = Recording(BatchSpanProcessor(exporter), ParentBased(TraceIdRatioBased(ratio)))
    return True


def shut_down() -> None:
    """Sends what is left and ends the recording. Blocks for `LEAVING` seconds at most."""
    global _recording
    recording, _recording = _recording, None
    if recording is not None:
        leave(recording.processor.shutdown)


def leave(close: Callable[[], object]) -> None:
    """Lets an exporter send its last and close. Nobody waits longer for it than `LEAVING`, and nothing fails with it."""

    def closing() -> None:
        try:
            close()
        except Exception as error:
            log.warning("the last of the telemetry did not leave: %s", type(error).__name__)

    leaving = threading.Thread(target=closing, daemon=True)
    leaving.start()
    leaving.join(LEAVING)


@contextmanager
def recorded(exporter: SpanExporter) -> Iterator[None]:
    """For tests: what ends inside goes to the exporter at once."""
    global _recording
    before, _recording = _recording, Recording(SimpleSpanProcessor(exporter), ALWAYS_ON)
    try:
        yield
    finally:
        _recording = before


# -- spans -----------------------------------------------------------------------------------------------------------------


def start(
    service: str,
    name: str,
    kind: SpanKind,
    traceparent: str = "",
    attributes: Attributes | None = None,
    links: Sequence[Link] = (),
) -> OpenSpan:
    """A span under the one that `traceparent` names, or the present one; whoever starts it ends it."""
    if _recording is None:
        return OpenSpan(None, _ids(traceparent))
    under, parent = Context(), _parse(traceparent)
    if parent is not None:
        under = trace.set_span_in_context(NonRecordingSpan(parent), under)
    elif (present := _present.get()) is not None:
        above = present._span or NonRecordingSpan(_parse(present.traceparent) or trace.INVALID_SPAN_CONTEXT)
        under = trace.set_span_in_context(above, under)
    return OpenSpan(_recording.tracer(service).start_span(name, under, kind, attributes, links))


class Scope:
    """A span as long as a block: what is started inside is its child."""

    __slots__ = ("_span", "_token")
    _token: Token[OpenSpan | None]

    def __init__(self, span: OpenSpan):
        self._span = span

    def __enter__(self) -> OpenSpan:
        self._token = _present.set(self._span)
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        _present.reset(self._token)
        if kind is not None:
            self._span.failed(kind.__name__)
        self._span.end()


def span(service: str, name: str, kind: SpanKind, traceparent: str = "", attributes: Attributes | None = None) -> Scope:
    return Scope(start(service, name, kind, traceparent, attributes))


def server_span(service: str, path: str, traceparent: str) -> Scope:
    """An RPC that is being answered."""
    told = {"rpc.system.name": "grpc", "rpc.method": path[1:]} if _recording else None
    return span(service, path[1:], SpanKind.SERVER, traceparent, told)


def timer_span(service: str, kind: str) -> Scope:
    """A timer begins a trace: it was set long ago, by a trace that nobody looks at any more."""
    return span(service, f"timer {kind}", SpanKind.INTERNAL, "", {"hetao.timer.kind": kind})


def transaction(service: str, *, writes: bool) -> OpenSpan | None:
    """What a unit of work does in the database, as one span: from its first statement to its end. None where nobody looks."""
    present = _present.get()
    if _recording is None or present is None:
        return None
    name = "transaction" if writes else "read"
    told = {"db.system.name": "postgresql", "db.namespace": service, "db.operation.name": name}
    return start(service, f"{name} {service}", SpanKind.CLIENT, "", told, present._links)


def recording() -> bool:
    """Whether spans go anywhere: what costs something is told to nobody else."""
    return _recording is not None


def messages(
    service: str, operation: str, kind: SpanKind, told: Sequence[tuple[str, Attributes, str]]
) -> list[OpenSpan]:
    """A span for each of several messages: (topic, its attributes, traceparent). The first knows of the others."""
    spans = [
        start(service, f"{operation} {topic}", kind, traceparent, {**attributes, "messaging.destination.name": topic})
        for topic, attributes, traceparent in told
    ]
    if spans:
        spans[0]._links = [Link(one._span.get_span_context()) for one in spans[1:] if one._span is not None]
    return spans


# -- the present span --------------------------------------------------------------------------------------------------------


def traceparent() -> str:
    """The present span, to be handed on; "" outside one."""
    present = _present.get()
    return present.traceparent if present is not None else ""


def trace_id() -> str:
    """The present trace's id in hex, or "" outside one."""
    return traceparent()[3:35]


def _ids(traceparent: str) -> str:
    """A new span's context without a span, at a fraction of the price."""
    if traceparent and _TRACEPARENT.fullmatch(traceparent):
        above = traceparent
    elif (present := _present.get()) is not None:
        above = present.traceparent
    else:
        return f"00-{random.getrandbits(128) or 1:032x}-{random.getrandbits(64) or 1:016x}-00"
    return f"{above[:36]}{random.getrandbits(64) or 1:016x}{above[52:]}"


def _parse(traceparent: str) -> SpanContext | None:
    match = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    if match is None:
        return None
    trace_id, span_id, flags = (int(part, 16) for part in match.groups())
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
