"""The OpenAPI document is true: schemathesis drives the running gateway by it, with all of its checks."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import httpx
import pytest

from kit.clock import VirtualClock
from kit.config import CHECKOUT, Settings
from kit.database import Database
from kit.identity import Roles
from kit.platform import Platform
from kit.postgres import EmbeddedPostgres
from services.registry import MODULES
from tests.conftest import copy_database, drop_database
from tests.world import MORNING

CONFIG = Path(__file__).parent / "schemathesis.toml"

#: Somebody with every role in the whole city, so that calls reach what is behind the permissions.
EVERYBODY = {"account": "everybody", "roles": Roles.load(CHECKOUT / "data" / "roles.toml").names, "divisions": ["1508"]}


@pytest.fixture
async def platform(server: EmbeddedPostgres, template: Settings) -> AsyncIterator[Platform]:
    """The platform with its gateway, everything running, on a database of the test's own."""
    name = f"t{uuid4().hex[:12]}"
    connection = await asyncpg.connect(server.dsn())
    await copy_database(connection, name, template.database.name)
    await connection.close()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = template.model_copy(
        update={
            "database": template.database.model_copy(update={"name": name}),
            "http": template.http.model_copy(update={"port": port}),
            "limits": template.limits.model_copy(update={"enabled": False}),  # it asks as fast as it can
        }
    )
    async with Platform(
        settings, MODULES, clock=VirtualClock(MORNING), database=Database(settings, server), listen=False
    ) as platform:
        yield platform
    await drop_database(server, name)


@pytest.mark.timeout(600)
async def test_every_answer_is_as_documented(platform: Platform, tmp_path: Path) -> None:
    issuer = platform.issuer
    assert issuer is not None
    issuer._accounts["everybody"] = EVERYBODY
    url = f"http://127.0.0.1:{platform.settings.http.port}"
    await _until_it_answers(url)
    status, told = await _schemathesis(url, issuer.mint("everybody"), tmp_path)
    assert status == 0, told


async def _until_it_answers(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, transport=httpx.AsyncHTTPTransport(retries=10)) as client:
        assert (await client.get("/readyz")).status_code == 200


async def _schemathesis(url: str, token: str, folder: Path) -> tuple[int | None, str]:
    """Its exit status and what it said of failures."""
    program = Path(sys.executable).parent / "schemathesis"
    command = [program, "--config-file", CONFIG, "run", f"{url}/openapi.json", "-H", f"Authorization: Bearer {token}"]
    running = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await running.communicate()
    text = out.decode()
    start = text.find("= FAILURES")
    return running.returncode, text[max(start, 0) :][:30_000]
