"""The launchers of Redis and PostgreSQL, and of programs in general: killed, paused, and brought back where they were."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis as redis_client

from engines import redis
from engines.postgres import Postgres
from engines.process import Program
from engines.redis import Redis


def needed(missing: str | None) -> None:
    """Where the tests of the whole run, a missing part is a failure; elsewhere it is said."""
    if missing and os.environ.get("CI") != "true":
        pytest.skip(missing)


@pytest.fixture
def own_redis() -> Iterator[Redis]:
    needed(redis.missing())
    with Redis() as running:
        yield running


def test_redis_comes_back_on_its_port_after_a_kill(own_redis: Redis):
    with redis_client.Redis.from_url(own_redis.url) as client:
        client.set("a", "1")
        assert client.get("a") == b"1"
        own_redis.kill()
        assert not own_redis.alive
        own_redis.start()
        assert client.get("a") is None  # nothing is kept: what it holds may be lost


def test_a_paused_redis_answers_nobody_until_it_goes_on(own_redis: Redis):
    with redis_client.Redis.from_url(own_redis.url, socket_timeout=0.3, retry=None) as client:
        client.ping()
        own_redis.pause()
        with pytest.raises(redis_client.TimeoutError):
            client.ping()
        own_redis.resume()
        assert client.ping()


async def ask(postgres: Postgres, statement: str, **how: object) -> object:
    connection = await asyncpg.connect(postgres.url, timeout=10, **how)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_postgres_is_reached_with_its_password_alone_and_keeps_its_rows():
    with Postgres(durable=False) as postgres:
        url = postgres.url
        await ask(postgres, "create table kept as select 1 as one")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(postgres, "select 1", password="wrong")
        postgres.kill()
        assert not postgres.alive
        postgres.start()
        assert await ask(postgres, "select one from kept") == 1
        postgres.stop()
        postgres.start()
        assert (postgres.url, await ask(postgres, "select one from kept")) == (url, 1)
        postgres.pause()
        with pytest.raises(TimeoutError):
            connection = await asyncpg.connect(postgres.url, timeout=0.5)
            await connection.close()
        postgres.resume()
        assert await ask(postgres, "select one from kept") == 1
    assert not postgres.folder.exists()


SLEEPS = [sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(600)"]


def test_what_a_killed_launcher_left_is_ended_by_the_next(tmp_path: Path):
    first = Program("sleeper", SLEEPS, tmp_path)
    first.begin()
    left = psutil.Process(first.pid)
    try:
        with Program("sleeper", SLEEPS, tmp_path, ready=lambda: True) as second:
            assert not left.is_running() or left.status() == psutil.STATUS_ZOMBIE
            assert second.alive
        assert second.exit_status == -signal.SIGTERM
    finally:
        first.kill()


def test_a_number_that_is_another_program_by_now_is_left_alone(tmp_path: Path):
    (tmp_path / "process.json").write_text(json.dumps({"pid": os.getpid(), "began": 1}))
    with Program("sleeper", SLEEPS, tmp_path) as program:
        assert program.alive


def test_a_program_that_ends_instead_of_being_ready_says_why(tmp_path: Path):
    program = Program(
        "broken", [sys.executable, "-c", "print('no luck'); raise SystemExit(3)"], tmp_path, ready=lambda: False
    )
    with pytest.raises(Exception, match="ended with 3.*no luck"):
        program.start()
    assert not program.alive
