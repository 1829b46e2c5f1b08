"""What tests see of spans and metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric

Labels = tuple[tuple[str, Any], ...]


def metrics_of(reader: InMemoryMetricReader) -> Iterator[Metric]:
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            yield from scope.metrics


def points(reader: InMemoryMetricReader, name: str) -> dict[Labels, float]:
    """The value, or the count of a histogram, of each set of labels."""
    return {
        tuple(sorted((point.attributes or {}).items())): getattr(point, "value", getattr(point, "count", 0))
        for metric in metrics_of(reader)
        if metric.name == name
        for point in metric.data.data_points
    }
