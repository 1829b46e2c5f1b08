"""What telemetry costs a CreateCase over REST, in CPU time of this process: as it ships without anybody who collects, and collected.

    python tests/load/bench_telemetry.py

The whole call is measured, and beside it all that telemetry does in one, alone and thousands of times: a busy machine makes the former vary by
more than the latter is.
"""

from __future__ import annotations

import contextlib
import logging
import random
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import httpx
import orjson
import uvloop
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "gen")]

from kit import metrics, telemetry  # noqa: E402
from kit.config import load  # noqa: E402
from kit.database import Database  # noqa: E402
from kit.platform import Platform  # noqa: E402
from kit.postgres import EmbeddedPostgres  # noqa: E402
from kit.rpc import pipeline  # noqa: E402
from kit.rpc.traced import TracedChannel, called  # noqa: E402
from kit.unit import PENDING, WAITING  # noqa: E402
from services.gateway import access  # noqa: E402
from services.gateway.app import create  # noqa: E402
from services.registry import MODULES  # noqa: E402
from tests.conftest import open_folder  # noqa: E402
from tests.load import matters  # noqa: E402

CALLS, ROUNDS = 20, 60

PATH = "/hetao.cases.v1.CaseService/CreateCase"


class _Sink(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


@contextlib.contextmanager
def spans_too() -> Iterator[None]:
    recording = telemetry.Recording(BatchSpanProcessor(_Sink()), ALWAYS_ON)
    with patch.object(telemetry, "_recording", recording), metrics.read():
        yield
    recording.processor.shutdown()


WAYS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "nobody collects": contextlib.nullcontext,
    "metrics": metrics.read,
    "metrics and traces": spans_too,
}


async def main() -> None:
    logging.getLogger("hetao.access").setLevel(logging.WARNING)
    folder, chance = open_folder(), random.Random(7)
    try:
        async with EmbeddedPostgres(folder / "data", durable=False) as postgres:
            settings = load(data_dir=folder, grpc={"port": 0}, http={"port": 0}, limits={"enabled": False})
            database = Database(settings, postgres)
            async with Platform(settings, MODULES, database=database, listen=False, background=False) as platform:
                assert platform.issuer
                app: Any = create(platform.services["gateway"].runtime)
                token = platform.issuer.mint(matters.ACCOUNT)
                headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
                transport = httpx.ASGITransport(app)
                async with httpx.AsyncClient(transport=transport, base_url="http://h", headers=headers) as client:
                    await measure(client, chance)
    finally:
        shutil.rmtree(folder)


async def measure(client: httpx.AsyncClient, chance: random.Random) -> None:
    async def calls(count: int) -> float:
        """µs of CPU for one call; the client's own part is the same for all ways."""
        bodies = [orjson.dumps({**matters.matter(chance), "requestId": str(uuid4())}) for _ in range(count)]
        began = time.process_time()
        for body in bodies:
            answer = await client.post("/v1/cases", content=body)
            assert answer.status_code == 200, answer.text
        return (time.process_time() - began) / count * 1e6

    await calls(200)
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in sorted(WAYS, key=lambda _: random.random()):
            with WAYS[way]():
                taken[way].append(await calls(CALLS))
    whole = quarter(taken["nobody collects"])
    print(f"a call: {whole:,.0f} µs")
    for way in WAYS:
        with WAYS[way]():
            alone = min([await telemetry_alone() for _ in range(10)])
        print(
            f"{way:20} {alone:6.1f} µs of telemetry, {alone / whole:.1%} of a call; a whole call {quarter(taken[way]):,.0f} µs"
        )


async def telemetry_alone(count: int = 300) -> float:
    """µs of what a CreateCase does for telemetry: gateway, call, answer, a connection, a transaction."""
    scope: dict[str, Any] = {"method": "POST", "scheme": "http"}

    async def answered(request: Any, *, timeout: float | None, metadata: Any) -> None:
        traceparent = dict(metadata)["traceparent"]
        with telemetry.server_span("cases", PATH, traceparent) as span:
            WAITING.collected and WAITING.record(0.0001, {"db.client.connection.pool.name": "cases"})
            PENDING["bench"] = PENDING.get("bench", 0) + 1
            PENDING["bench"] -= 1
            transaction = telemetry.transaction("cases", writes=True)
            if transaction:
                transaction.set("hetao.transaction.outcome", "commit")
                transaction.end()
            span.set("rpc.response.status_code", "OK")
            if pipeline.CALLS.collected:
                pipeline.CALLS.record(0.002, called(PATH, "OK"))

    class Channel:
        def unary_unary(self, *_: Any) -> Any:
            return answered

    call = TracedChannel(Channel(), "gateway", "cases").unary_unary(PATH)
    began = time.process_time()
    for _ in range(count):
        with access.http_span("POST /v1/cases", scope, b"") as span:
            await call(None, metadata=[("traceparent", span.traceparent)], timeout=1.0)
            access.answered(span, scope, "/v1/cases", 200, 0.002)
    return (time.process_time() - began) / count * 1e6


def quarter(figures: list[float]) -> float:
    """The lower quartile: what a call costs when nothing else disturbs it."""
    return statistics.quantiles(figures, n=4)[0]


if __name__ == "__main__":
    uvloop.run(main())
