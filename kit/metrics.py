"""Metrics by OpenTelemetry's API: read by Prometheus at `/metrics` of each process, or pushed by OTLP.

    REFUSED = metrics.Counter("hetao.rate_limit.refused", "{request}", "requests refused because somebody asked too often")
    REFUSED.add(1, {"hetao.rate_limit.name": "principal"})
    ROWS = metrics.Gauge("hetao.outbox.rows", "{event}", "events that wait for the relay")
    ROWS.watch(self, lambda: [(self.rows, {"hetao.service": "cases"})])

An instrument is made where it is used, once per process, and costs one look while nobody collects. Names and labels follow the semantic conventions;
ours begin with `hetao.`. Labels are bounded: methods, routes, codes, topics, handlers, services; never an id, an account, a division or a text.
docs/operate/signals.toml lists every one; a test holds the code to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Final
from uuid import uuid4

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricReader, PeriodicExportingMetricReader

from kit.telemetry import leave, resource_of

log = logging.getLogger(__name__)

Labels = Mapping[str, str | int]
Reading = tuple[float, Labels]

#: Seconds; those of the semantic conventions, and as good for everything else that takes time here.
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

#: For what may wait for minutes and hours.
LONG: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)


class Instrument:
    """`unit` by UCUM: "s", "By", "{event}"."""

    kind: ClassVar[str]

    def __init__(self, name: str, unit: str, description: str):
        if name in INSTRUMENTS:
            raise ValueError(f"there is a metric {name} already")
        self.name, self.unit, self.description = name, unit, description
        self._real: Any = None
        INSTRUMENTS[name] = self
        if _collecting is not None:
            self.connect(_collecting.meter)

    def connect(self, meter: Any) -> None:
        """To what collects, or to nothing."""
        self._real = None if meter is None else self._made(meter)

    def _made(self, meter: Any) -> Any:
        raise NotImplementedError


class Counter(Instrument):
    kind = "counter"

    def add(self, amount: float, labels: Labels | None = None) -> None:
        if self._real is not None:
            self._real.add(amount, labels)

    def _made(self, meter: Any) -> Any:
        return meter.create_counter(self.name, self.unit, self.description)


class Histogram(Instrument):
    kind = "histogram"

    def __init__(self, name: str, unit: str, description: str, buckets: Sequence[float] = SECONDS):
        self.buckets = buckets
        super().__init__(name, unit, description)

    @property
    def collected(self) -> bool:
        """Whether a measurement goes anywhere: who has to take the time asks first."""
        return self._real is not None

    def record(self, value: float, labels: Labels | None = None) -> None:
        if self._real is not None:
            self._real.record(value, labels)

    def _made(self, meter: Any) -> Any:
        return meter.create_histogram(
            self.name, self.unit, self.description, explicit_bucket_boundaries_advisory=self.buckets
        )


class Gauge(Instrument):
    """What is asked when somebody collects. `read` must be cheap and never wait: it runs in another thread.

    `kind`: "updowncounter" for what may be summed over processes, "gauge" for what may not, "counter" for what only grows.
    """

    def __init__(self, name: str, unit: str, description: str, kind: str = "gauge"):
        self.kind = kind  # type: ignore[misc]
        self._watched: dict[int, Callable[[], Iterable[Reading]]] = {}
        super().__init__(name, unit, description)

    def watch(self, owner: object, read: Callable[[], Iterable[Reading]]) -> None:
        """Shows what `read` says until `forget(owner)`."""
        self._watched[id(owner)] = read

    def forget(self, owner: object) -> None:
        self._watched.pop(id(owner), None)

    def _observe(self, _: CallbackOptions) -> Iterator[Observation]:
        for read in list(self._watched.values()):
            try:
                found = list(read())
            except Exception as error:  # or no other metric would be collected either
                log.warning("%s cannot be read: %s", self.name, type(error).__name__)
                continue
            for value, labels in found:
                yield Observation(value, dict(labels))

    def _made(self, meter: Any) -> Any:
        create = {
            "gauge": meter.create_observable_gauge,
            "updowncounter": meter.create_observable_up_down_counter,
            "counter": meter.create_observable_counter,
        }[self.kind]
        return create(self.name, [self._observe], self.unit, self.description)


#: Every instrument of the process, by name.
INSTRUMENTS: Final[dict[str, Instrument]] = {}


class Collecting:
    def __init__(self, readers: Sequence[MetricReader], service: str):
        # No exemplars: they would cost more than what they belong to, and a log line names the trace of a slow request too.
        self.provider = MeterProvider(
            readers,
            resource_of(service, str(uuid4())),
            exemplar_filter=AlwaysOffExemplarFilter(),
            shutdown_on_exit=False,
        )
        self.meter = self.provider.get_meter("hetao")


_collecting: Collecting | None = None
_registry: Any = None


def set_up(*, service: str, otlp_endpoint: str, every: float, prometheus: bool) -> bool:
    """Begins to collect, if somebody asks for it. `every`: seconds between two pushes. False where nothing is begun."""
    global _registry
    if _collecting is not None or not (otlp_endpoint or prometheus):
        return False
    readers: list[MetricReader] = []
    if prometheus:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from prometheus_client import CollectorRegistry

        _registry = CollectorRegistry()
        readers.append(PrometheusMetricReader(scope_info_enabled=False, registry=_registry))
    if otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter

        exporter = OTLPMetricExporter(endpoint=f"{otlp_endpoint.rstrip('/')}/v1/metrics")
        readers.append(PeriodicExportingMetricReader(exporter, export_interval_millis=every * 1000))
    _collect(Collecting(readers, service))
    return True


def shut_down() -> None:
    """Pushes the last and ends the collecting."""
    global _registry
    collecting = _collecting
    _collect(None)
    _registry = None
    if collecting is not None:
        leave(collecting.provider.shutdown)


def collected() -> bool:
    return _collecting is not None


def exposition() -> tuple[bytes, str]:
    """All metrics as Prometheus reads them, and the content type. Takes milliseconds: call it in a thread."""
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    return (b"" if _registry is None else generate_latest(_registry)), CONTENT_TYPE_LATEST


@contextmanager
def read() -> Iterator[InMemoryMetricReader]:
    """For tests: collects inside, and `get_metrics_data()` tells what there is."""
    before, reader = _collecting, InMemoryMetricReader()
    _collect(Collecting([reader], "test"))
    try:
        yield reader
    finally:
        _collect(before)


def _collect(collecting: Collecting | None) -> None:
    global _collecting
    _collecting = collecting
    for instrument in INSTRUMENTS.values():
        instrument.connect(None if collecting is None else collecting.meter)
