"""The table of signals (docs/operate/signals.toml) is complete and true: what it lists is there, and nothing else is."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from google.protobuf import descriptor_pool
from opentelemetry.sdk.trace import ReadableSpan
from prometheus_client.parser import text_string_to_metric_families

from kit import metrics
from kit.config import CHECKOUT, Settings
from kit.postgres import EmbeddedPostgres
from services.registry import MODULES
from tests.otlp import Hook
from tests.watched import Watched, until, watched

pytestmark = pytest.mark.xdist_group("signals")

TABLE = tomllib.loads((CHECKOUT / "docs" / "operate" / "signals.toml").read_text(encoding="utf-8"))

#: What Prometheus adds by itself: where the figures come from.
OF_THE_TARGET = {"target_info"}

SUFFIXES = {"s": "_seconds", "By": "_bytes"}

#: What stands for what in a span's name.
NAMES = {
    "{method}": "GET|HEAD|POST|PUT|PATCH|DELETE",
    "{route}": r"/\S*",
    "{rpc}": r"hetao\.\w+\.v1\.\w+/\w+",
    "{service}": "grid|cases|notify",
    "{topic}": r"hetao\.(grid|cases|notify)\.v1",
    "{kind}": r"(cases|notify|grid)\.[a-z_]+",
    "{channel}": "webhook|wecom_robot|sms",
}


def exposed(metric: dict[str, Any]) -> str:
    """A metric's name as Prometheus has it."""
    total = "_total" if metric["kind"] == "counter" else ""
    return metric["name"].replace(".", "_") + SUFFIXES.get(metric["unit"], "") + total


def labels_of(metric: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Those that are always there, and all."""
    listed = metric.get("labels", metric.get("attributes", []))
    return {one for one in listed if not one.endswith("?")}, {one.rstrip("?") for one in listed}


@pytest.fixture(scope="module")
async def story(server: EmbeddedPostgres, template: Settings) -> AsyncIterator[Watched]:
    """A hand-over that becomes a case and a webhook, limits that run out, and a few calls that fail."""
    limits = template.limits.model_copy(update={"anonymous_reads": 1})
    with Hook() as hook:
        async with watched(server, template, limits=limits) as story:
            await story.tell(f"{hook.url}/hook?key=k")
            await story.hand_over()
            await until(lambda: bool(hook.received), "the webhook", 30)
            for path, status in (
                ("/v1/cases/nothing", 400),
                ("/v1/nowhere", 404),
                ("/nowhere", 404),
                ("/docs", 200),
                ("/v1/messages", 200),
            ):
                assert (await story.send("GET", path, "dispatcher")).status_code == status

            async def refused() -> bool:
                answer = await story.send("GET", "/v1/cases", headers={"authorization": "Bearer nobody's"})
                return answer.status_code == 429

            await until(refused, "a caller who is refused")
            story.clock.move_to(story.clock.now().replace(month=6))
            fired = {"timer cases.case", "deliver webhook", "read notify", "transaction cases"}
            await until(lambda: fired <= {span.name for span in story.exporter.get_finished_spans()}, "the spans", 30)

            async def breached() -> bool:  # the clock's reminder fires first, the limit in a unit of its own after it
                return "hetao_case_breaches_total" in await story.exposition()

            await until(breached, "the limit that ran out", 30)
            yield story


@pytest.fixture(scope="module")
async def families(story: Watched) -> dict[str, list[dict[str, str]]]:
    """Name of a metric as Prometheus has it → the labels of each of its series."""

    text = ""

    async def all_there() -> bool:
        nonlocal text
        text = await story.exposition()
        return all(f"# TYPE {exposed(one)} " in text for one in TABLE["metrics"] if one["seen"] == "always")

    with contextlib.suppress(AssertionError):  # the test says better what is missing
        await until(all_there, "every metric that is always there", 30)
    found: dict[str, list[dict[str, str]]] = defaultdict(list)
    for family in text_string_to_metric_families(text):  # what was all there: a reading that is late goes again
        total = "_total" if family.type == "counter" else ""
        for sample in family.samples:
            found[family.name + total].append({k: v for k, v in sample.labels.items() if k != "le" and v})
    return found


def test_every_instrument_stands_in_the_table_and_the_other_way_round() -> None:
    assert MODULES  # loads them, and with them all instruments
    declared = {
        (one.name, one.kind, one.unit) for one in metrics.INSTRUMENTS.values() if not one.name.startswith("test.")
    }
    assert declared == {(one["name"], one["kind"], one["unit"]) for one in TABLE["metrics"]}


def test_every_metric_of_the_table_can_be_scraped_and_nothing_else(families: dict[str, list[dict[str, str]]]) -> None:
    always = {exposed(one) for one in TABLE["metrics"] if one["seen"] == "always"}
    assert always - families.keys() == set()
    assert always <= families.keys() - OF_THE_TARGET <= {exposed(one) for one in TABLE["metrics"]}
    happened = {"hetao_case_breaches_total", "hetao_timer_lateness_seconds", "http_client_request_duration_seconds"}
    assert happened | {"hetao_rate_limit_refused_total"} <= families.keys()


def test_labels_are_those_of_the_table(families: dict[str, list[dict[str, str]]]) -> None:
    for metric in TABLE["metrics"]:
        least, most = ({label.replace(".", "_") for label in one} for one in labels_of(metric))
        for labels in families.get(exposed(metric), []):
            assert least <= set(labels) <= most, metric["name"]


def test_labels_are_bounded(families: dict[str, list[dict[str, str]]]) -> None:
    """No id, number or text of a request is a label: the words are of the contracts, the code and the wiring."""
    values = {
        value for name in families.keys() - OF_THE_TARGET for labels in families[name] for value in labels.values()
    }
    assert not [value for value in values if re.search(r"[0-9a-f]{8}-|\d{4}|[^\x21-\x7e ]", value)]
    routes = {
        labels["http_route"] for labels in families["http_server_request_duration_seconds"] if "http_route" in labels
    }
    assert all("nowhere" not in route and "nothing" not in route for route in routes)
    methods = {labels["rpc_method"] for labels in families["rpc_server_call_duration_seconds"]}
    assert methods
    for method in methods:
        descriptor_pool.Default().FindMethodByName(method.replace("/", "."))  # KeyError where no contract has it


def spans_like(entry: dict[str, Any], spans: list[ReadableSpan]) -> Iterator[ReadableSpan]:
    pattern = re.escape(entry["name"]).replace(r"\{", "{").replace(r"\}", "}").replace(r"\ ", " ")
    for word, instead in NAMES.items():
        pattern = pattern.replace(word, f"(?:{instead})")
    if entry["name"] == "{method} {route}":
        pattern = pattern.replace(" ", "( ", 1) + ")?"  # a path that nobody knows has no route
    yield from (span for span in spans if span.kind.name == entry["kind"] and re.fullmatch(pattern, span.name))


def test_every_span_is_in_the_table_and_the_other_way_round(story: Watched) -> None:
    spans = list(story.exporter.get_finished_spans())
    explained: set[int] = set()
    for entry in TABLE["spans"]:
        least, most = labels_of(entry)
        like = list(spans_like(entry, spans))
        assert like, f"no span {entry['name']}"
        for span in like:
            assert least <= set(span.attributes or {}) <= most, span.name
            assert entry["where"] == ["stores"] or span.resource.attributes["service.name"] in entry["where"], span.name
        explained |= {id(span) for span in like}
    assert not [(span.name, span.kind.name) for span in spans if id(span) not in explained]
    assert not [span.name for span in spans if span.events]


async def test_the_gateway_shows_no_metrics_to_the_world(story: Watched) -> None:
    assert (await story.send("GET", "/metrics")).status_code == 404


def test_every_signal_is_told_in_both_languages() -> None:
    for one in TABLE["metrics"]:
        assert all(one[key] for key in ("zh", "en", "worry_zh", "worry_en")), one["name"]
    assert all(one["zh"] and one["en"] for one in TABLE["spans"])
