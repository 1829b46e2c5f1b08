"""Metrics cost nothing while nobody collects, and one that cannot be read spoils no other."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from kit import metrics, telemetry
from tests.signals import points

DONE = metrics.Counter("test.done", "{piece}", "pieces that were done")
TAKEN = metrics.Histogram("test.taken", "s", "how long it took", (1, 2))
LEFT = metrics.Gauge("test.left", "{piece}", "pieces that are left")


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    with metrics.read() as reader:
        yield reader


def test_what_is_counted_is_read(reader: InMemoryMetricReader) -> None:
    DONE.add(2, {"kind": "a"})
    DONE.add(1, {"kind": "a"})
    TAKEN.record(1.5)
    assert points(reader, "test.done") == {(("kind", "a"),): 3}
    assert points(reader, "test.taken") == {(): 1}


def test_a_gauge_is_asked_until_it_is_forgotten(reader: InMemoryMetricReader) -> None:
    one, other = object(), object()
    LEFT.watch(one, lambda: [(3, {"of": "one"})])
    LEFT.watch(other, lambda: [(5, {"of": "other"})])
    assert points(reader, "test.left") == {(("of", "one"),): 3, (("of", "other"),): 5}
    LEFT.forget(one)
    assert points(reader, "test.left") == {(("of", "other"),): 5}
    LEFT.forget(other)


def test_one_that_cannot_be_read_spoils_no_other(
    reader: InMemoryMetricReader, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = object(), object()
    LEFT.watch(one, lambda: [(1 // 0, {})])
    LEFT.watch(other, lambda: [(5, {})])
    with caplog.at_level(logging.WARNING):
        assert points(reader, "test.left") == {(): 5}
    assert caplog.messages == ["test.left cannot be read: ZeroDivisionError"]
    LEFT.forget(one)
    LEFT.forget(other)


def test_while_nobody_collects_nothing_is_kept() -> None:
    assert not metrics.collected()
    assert not TAKEN.collected
    DONE.add(7)
    with metrics.read() as reader:
        assert points(reader, "test.done") == {}


def test_a_name_is_one_instruments() -> None:
    with pytest.raises(ValueError, match=r"test\.done"):
        metrics.Counter("test.done", "{piece}", "again")


def test_nobody_waits_for_a_collector_that_does_not_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert metrics.set_up(service="test", otlp_endpoint=address, every=60, prometheus=True)
        assert not metrics.set_up(service="test", otlp_endpoint=address, every=60, prometheus=True), (
            "it is begun already"
        )
        DONE.add(1)
        body, content_type = metrics.exposition()
        assert b"\ntest_done_total 1.0\n" in body
        assert content_type.startswith("text/plain")
        started = time.monotonic()
        metrics.shut_down()
        assert time.monotonic() - started < telemetry.LEAVING * 5
    assert not metrics.collected()
    assert metrics.exposition()[0] == b""
