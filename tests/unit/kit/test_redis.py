"""Redis as the platform uses it: nobody waits long for it, and it comes back by itself. On a real one, which dies, stops and returns."""

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from engines import free_port
from engines import redis as engine
from engines.redis import Redis as Server
from kit.config import Settings
from kit.errors import StartupError
from kit.redis import Redis, RedisAway
from tests.certificates import Authority
from tests.waiting import until


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if (why := engine.missing()) and os.environ.get("CI") != "true":
        pytest.skip(why)
    with Server() as running:
        yield running


@pytest.fixture
async def redis(server: Server) -> AsyncIterator[Redis]:
    opened = Redis.open(at(server))
    yield opened
    server.resume()
    await opened.close()


def at(server: Server, timeout: float = 1.0) -> Settings:
    return Settings(redis_url=server.url, redis={"timeout": timeout})


async def answers(redis: Redis) -> bool:
    try:
        return await redis.ask(lambda client: client.ping()) is True
    except RedisAway:
        return False


async def test_it_answers(redis: Redis) -> None:
    await redis.ask(lambda client: client.set("a", "1", ex=60))
    assert await redis.ask(lambda client: client.get("a")) == b"1"


async def test_without_an_address_one_stands_in_the_process() -> None:
    redis, other = Redis.open(Settings()), Redis.open(Settings())
    try:
        await redis.ask(lambda client: client.set("a", "1"))
        assert await redis.ask(lambda client: client.eval("return redis.call('get', KEYS[1])", 1, "a")) == b"1"
        assert await other.ask(lambda client: client.get("a")) is None
    finally:
        await redis.close()
        await other.close()


async def test_killed_in_the_middle_of_calls_it_is_missed_at_once_and_found_again(
    redis: Redis, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    assert await answers(redis)
    with caplog.at_level(logging.WARNING, "kit.redis"):
        server.kill()
        await until(lambda: missing(redis), "a call that fails")
        await nobody_is_asked(redis)
        server.start()
        await until(lambda: not redis.away, "Redis to be found")
        assert await answers(redis)
    said = [record.getMessage() for record in caplog.records if record.name == "kit.redis"]
    assert len(said) == 2, said
    assert said[0].startswith("Redis is away")
    assert said[1].startswith("Redis is back")


async def test_one_that_hangs_costs_a_time_out_and_no_more(server: Server) -> None:
    redis = Redis.open(at(server, timeout=0.05))
    try:
        await until(lambda: answers(redis), "an answer")
        server.pause()
        together = await asyncio.gather(*(answers(redis) for _ in range(50)))
        assert not any(together)
        await nobody_is_asked(redis)
        server.resume()
        await until(lambda: answers(redis), "Redis to be found")
        # What was cut off in the middle leaves nothing behind that another caller could be given.
        for n in range(100):
            assert await asked_for(redis, f"echo {n}") in (None, f"echo {n}".encode())
    finally:
        server.resume()
        await redis.close()


async def nobody_is_asked(redis: Redis) -> None:
    """Of a Redis that is known to be away."""
    asked: list[Any] = []

    async def ask(client: Any) -> None:
        asked.append(client)

    for _ in range(1000):
        with pytest.raises(RedisAway):
            await redis.ask(ask)
    assert not asked


async def test_one_answer_that_is_late_is_no_outage(redis: Redis) -> None:
    """It may be this process that was busy."""

    async def late(_: Any) -> None:
        raise TimeoutError

    for _ in range(3):
        with pytest.raises(RedisAway):
            await redis.ask(late)
        assert not redis.away
        assert await answers(redis)
    for _ in range(2):
        with pytest.raises(RedisAway):
            await redis.ask(late)
    assert redis.away


async def asked_for(redis: Redis, text: str) -> bytes | None:
    try:
        return await redis.ask(lambda client: client.echo(text))
    except RedisAway:
        return None


async def missing(redis: Redis) -> bool:
    return not await answers(redis)


async def test_nobody_there_at_all(server: Server) -> None:
    redis = Redis.open(Settings(redis_url=f"redis://127.0.0.1:{free_port()}/0"))
    try:
        with pytest.raises(RedisAway):
            await redis.ask(lambda client: client.ping())
        assert redis.away
    finally:
        await redis.close()


@pytest.mark.parametrize(
    "settings", [{"redis_url": "http://x"}, {"redis_url": "rediss://x", "redis": {"ca": "/nowhere"}}]
)
def test_what_cannot_be_right_is_said_at_start(settings: dict) -> None:
    with pytest.raises(StartupError, match="HETAO_REDIS"):
        Redis.open(Settings(**settings))


@pytest.fixture
async def secure(tmp_path: Path) -> AsyncIterator[tuple[str, Authority]]:
    """The address of something that speaks TLS and answers every command as Redis answers PING, and who has certified it."""
    authority = Authority(tmp_path / "ours")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*authority.certify("redis"))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, ssl.SSLError):
            while head := await reader.readline():
                for _ in range(int(head[1:])):
                    await reader.readline()
                    await reader.readline()
                writer.write(b"+PONG\r\n")
                await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    yield f"rediss://localhost:{listening.sockets[0].getsockname()[1]}/0", authority
    listening.close()


@pytest.mark.parametrize("trusted", [True, False])
async def test_over_tls_it_must_show_a_certificate_of_the_authority_that_is_named(
    secure: tuple[str, Authority], tmp_path: Path, trusted: bool
) -> None:
    url, ours = secure
    authority = ours if trusted else Authority(tmp_path / "theirs")
    redis = Redis.open(Settings(redis_url=url, redis={"timeout": 5, "ca": authority.ca}))
    try:
        assert await answers(redis) == trusted
    finally:
        await redis.close()
