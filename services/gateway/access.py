"""What is noted of every request: a span, a measurement and a line. The template of its path, never the path, which may name somebody."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any, Final

from opentelemetry.trace import SpanKind

from kit import metrics, telemetry

access = logging.getLogger("hetao.access")

REQUESTS = metrics.Histogram("http.server.request.duration", "s", "answering a request")

#: Others are one, or a caller could make as many series as there are words (semantic conventions).
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def http_span(name: str, scope: MutableMapping[str, Any], traceparent: bytes) -> telemetry.Scope:
    told = None
    if telemetry.recording():
        told = {"http.request.method": _method(scope), "url.scheme": scope.get("scheme", "http")}
    return telemetry.span("gateway", name, SpanKind.SERVER, traceparent.decode("latin-1"), told)


def answered(
    span: telemetry.OpenSpan, scope: MutableMapping[str, Any], route: str, status: int, seconds: float
) -> None:
    """`route`: the path's template, "" where there is none."""
    span.set("http.response.status_code", status)
    if route:
        span.set("http.route", route)
    if status >= 500:
        span.failed(str(status))
    if REQUESTS.collected:
        labels: dict[str, str | int] = {
            "http.request.method": _method(scope),
            "http.response.status_code": status,
            "url.scheme": scope.get("scheme", "http"),
        }
        if route:
            labels["http.route"] = route
        if status >= 500:
            labels["error.type"] = str(status)
        REQUESTS.record(seconds, labels)


def _method(scope: MutableMapping[str, Any]) -> str:
    method: str = scope.get("method", "")
    return method if method in METHODS else "_OTHER"
