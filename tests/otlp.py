"""Receivers on loopback: of OpenTelemetry's protocol, and of webhooks.

with Collector() as collector:
    …                                       # processes with HETAO_TELEMETRY__OTLP_ENDPOINT=collector.url
    collector.spans, collector.metrics
"""

from __future__ import annotations

import gzip
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Wire


@dataclass(frozen=True, slots=True)
class Span:
    """A span as it arrived. Ids are hex."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    links: tuple[str, ...]
    failed: bool
    raw: bytes

    @classmethod
    def of(cls, service: str, wire: Wire) -> Self:
        return cls(
            service,
            wire.name,
            Wire.SpanKind.Name(wire.kind).removeprefix("SPAN_KIND_"),
            wire.trace_id.hex(),
            wire.span_id.hex(),
            wire.parent_span_id.hex(),
            _attributes(wire.attributes),
            tuple(link.span_id.hex() for link in wire.links),
            wire.status.code == 2,
            wire.SerializeToString(),
        )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}


class _Receiver:
    """Answers POST with what `take(path, headers, body)` says: (status, content type, body)."""

    def __init__(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                status, content_type, answer = receiver.take(self.path, dict(self.headers.items()), body)
                self.send_response(status)
                self.send_header("content-type", content_type)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Nothing: what it got is kept."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Collector(_Receiver):
    """Takes traces and metrics by OTLP over HTTP. `raw`: every byte that came, unpacked."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[Span] = []
        #: (service, name of a metric) → the labels that were seen with it
        self.metrics: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.raw: list[bytes] = []

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        if {name.lower(): value for name, value in headers.items()}.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.raw.append(body)
        if path == "/v1/traces":
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = str(_attributes(of_resource.resource.attributes)["service.name"])
                for scope in of_resource.scope_spans:
                    self.spans.extend(Span.of(service, wire) for wire in scope.spans)
            return 200, "application/x-protobuf", ExportTraceServiceResponse().SerializeToString()
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            service = str(_attributes(resource.resource.attributes)["service.name"])
            for metric in [one for scope in resource.scope_metrics for one in scope.metrics]:
                data = getattr(metric, metric.WhichOneof("data") or "gauge")
                labels = [_attributes(point.attributes) for point in data.data_points]
                self.metrics.setdefault((service, metric.name), []).extend(labels)
        return 200, "application/x-protobuf", ExportMetricsServiceResponse().SerializeToString()

    def of(self, trace: str) -> list[Span]:
        return [span for span in self.spans if span.trace == trace]


class Hook(_Receiver):
    """Takes webhooks, and answers what `status` says."""

    def __init__(self, status: int = 204) -> None:
        super().__init__()
        self.status = status
        self.received: list[tuple[dict[str, str], bytes]] = []

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        self.received.append(({name.lower(): value for name, value in headers.items()}, body))
        return self.status, "text/plain", b""
