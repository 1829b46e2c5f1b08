"""The whole platform in this process, watched: everything that it says of itself is kept, and REST is called as people do."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from kit import logs, telemetry
from kit.clock import VirtualClock
from kit.config import Settings
from kit.database import Database
from kit.platform import Platform
from kit.postgres import EmbeddedPostgres
from kit.sections import Ops, Telemetry
from services.gateway.app import create
from services.registry import MODULES
from tests.conftest import copy_database, drop_database
from tests.functional.harness import department, new_key, photo
from tests.waiting import until
from tests.world import MORNING


@dataclass
class Watched:
    platform: Platform
    clock: VirtualClock
    exporter: InMemorySpanExporter
    http: httpx.AsyncClient
    log: io.StringIO = field(default_factory=io.StringIO)

    async def send(self, method: str, path: str, account: str = "", **more: Any) -> httpx.Response:
        headers = dict(more.pop("headers", {}))
        if account:
            assert self.platform.issuer
            headers["authorization"] = f"Bearer {self.platform.issuer.mint(account)}"
        return await self.http.request(method, path, headers=headers, **more)

    async def post(self, account: str, path: str, body: Any = None, **more: Any) -> Any:
        answer = await self.send("POST", path, account, json=body or {}, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def exposition(self) -> str:
        """What Prometheus reads."""
        async with httpx.AsyncClient(trust_env=False) as scraper:
            answer = await scraper.get(f"http://127.0.0.1:{self.platform.ops.port}/metrics")
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain")
        return answer.text

    async def tell(self, hook: str) -> None:
        """The centre of the street has a webhook from now on."""
        centre = {"departmentId": department("150802013-centre"), "channel": "CHANNEL_WEBHOOK", "url": hook}
        await self.post("admin", "/v1/endpoints", centre)

    async def hand_over(self, **words: str) -> None:
        """A report goes to the centre of its street, and becomes a case."""
        files = {"file": ("photo.jpg", photo("darkred"), "image/jpeg")}
        media = (await self.send("POST", "/v1/media", "grid-worker", files=files)).json()["mediaId"]
        report = await self.post(
            "grid-worker",
            "/v1/reports",
            {
                "kind": "REPORT_KIND_DISPUTE",
                "title": "邻里争吵",
                "description": "楼上漏水",
                "photos": [{"mediaId": media, "phase": "PHOTO_PHASE_BEFORE"}],
                **words,
            },
        )
        path = f"/v1/reports/{report['reportId']}"
        await self.post("grid-worker", f"{path}:verify")
        body = {
            "target": "HANDOVER_TARGET_CENTRE",
            "reason": "HANDOVER_REASON_SEVERAL_DEPARTMENTS",
            "note": words.get("description", "需住建和司法共同处理"),
            "category": "02",
            "requestId": new_key(),
        }
        await self.post("grid-worker", f"{path}:handOver", body)


@contextlib.contextmanager
def written() -> Iterator[io.StringIO]:
    """What the process writes to its log, as JSON and at the level where libraries talk most."""
    root, said = logging.getLogger(), io.StringIO()
    before = root.handlers[:], root.level, sys.excepthook, threading.excepthook
    logs.set_up(Telemetry(log_format="json", log_level="debug"))
    handler = root.handlers[0]
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(said)
    try:
        yield said
    finally:
        root.handlers[:], root.level, sys.excepthook, threading.excepthook = before
        logging.captureWarnings(False)


@contextlib.asynccontextmanager
async def watched(server: EmbeddedPostgres, template: Settings, **changes: Any) -> AsyncIterator[Watched]:
    """A platform with all services, its background at work, on a copy of the template's database; `changes`: of its settings."""
    name, exporter, clock = f"t{uuid4().hex[:12]}", InMemorySpanExporter(), VirtualClock(MORNING)
    connection = await asyncpg.connect(server.dsn())
    await copy_database(connection, name, template.database.name)
    await connection.close()
    settings = template.model_copy(
        update={
            "database": template.database.model_copy(update={"name": name}),
            "telemetry": template.telemetry.model_copy(update={"look_seconds": 0.1}),
            "timers": template.timers.model_copy(update={"poll_seconds": 0.05, "attempts": 1}),
            "ops": Ops(port=0),
            **changes,
        }
    )
    try:
        with written() as said, telemetry.recorded(exporter):
            async with Platform(settings, MODULES, clock=clock, database=Database(settings, server)) as platform:
                app: Any = create(platform.services["gateway"].runtime)
                transport = httpx.ASGITransport(app)
                async with httpx.AsyncClient(transport=transport, base_url="http://hetao.test") as http:
                    yield Watched(platform, clock, exporter, http, said)
    finally:
        await drop_database(server, name)


__all__ = ["Watched", "until", "watched", "written"]
