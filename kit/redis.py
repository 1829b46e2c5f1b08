"""Redis, which holds only what may be lost: counts of rate limits, short-lived notes. One client per process, and nobody waits long for it.

    found = await runtime.redis.ask(lambda redis: redis.get("key"))        # RedisAway at once while it is away

A call that takes longer than `redis.timeout` has failed. After two such, or an error of the connection, nobody asks Redis any more, but one task that looks every moment whether it is
back: while it is away a request pays nothing for it. Whoever asks must be able to go on without an answer.

Without `redis_url` (one process on one machine) a Redis in the process stands behind the same client.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from kit.cancelling import obey
from kit.errors import StartupError

if TYPE_CHECKING:
    from redis.asyncio import Redis as Client

    from kit.config import Settings

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds between two looks whether it is back.
LOOK_EVERY: Final = 0.25

#: Of any process. A call lasts a fifth of a millisecond.
CONNECTIONS: Final = 16


class RedisAway(Exception):
    """Redis did not answer in time, or is known to be away."""


class Redis:
    """`make` makes the client when it is first needed; `timeout` in seconds, for a whole call."""

    def __init__(self, make: Callable[[], Client], timeout: float):
        self._make, self._timeout = make, timeout
        self._client: Client | None = None
        self._looking: asyncio.Task[None] | None = None
        self.away = False
        #: Calls in a row that took too long: one may be this process's own fault, which was busy with something else.
        self._late = 0

    @classmethod
    def open(cls, settings: Settings) -> Redis:
        """Connects to nothing yet. Raises `StartupError` for an address that is none."""
        timeout = settings.redis.timeout
        if settings.redis_url is None:
            return cls(_in_process, max(timeout, 5.0))  # it is never away, only slow on a busy machine
        url = settings.redis_url.get_secret_value()
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise StartupError(
                "HETAO_REDIS_URL 应以 redis:// 或 rediss:// 开头", "HETAO_REDIS_URL begins with redis:// or rediss://"
            )
        if settings.redis.ca is not None and not settings.redis.ca.is_file():
            raise StartupError(
                f"找不到 CA 文件 {settings.redis.ca}（HETAO_REDIS__CA）",
                f"there is no CA file {settings.redis.ca} (HETAO_REDIS__CA)",
            )
        return cls(lambda: _over_a_socket(url, str(settings.redis.ca or ""), timeout), timeout)

    @property
    def client(self) -> Client:
        """For what `ask` is too narrow for. Its own time-outs are those of `ask`, step by step."""
        if self._client is None:
            self._client = self._make()
        return self._client

    async def ask(self, call: Callable[[Client], Awaitable[T]]) -> T:
        """What Redis answers, or `RedisAway`."""
        if self.away:
            raise RedisAway
        from redis.exceptions import RedisError
        from redis.exceptions import TimeoutError as RedisTimeout

        try:
            async with asyncio.timeout(self._timeout):
                answer = await call(self.client)
        except (RedisError, OSError, RuntimeError) as error:  # uvloop raises the last where a connection has just gone
            obey()
            self._late += 1
            if self._late > 1 or not isinstance(error, (TimeoutError, RedisTimeout)):
                self._lost(error)
            raise RedisAway from error
        obey()
        self._late = 0
        return answer

    def _lost(self, error: Exception) -> None:
        if self.away:  # many asked at the same time
            return
        self.away = True
        log.warning("Redis is away: %s", type(error).__name__)
        self._looking = asyncio.create_task(self._look(), name="redis")

    async def _look(self) -> None:
        lost = time.monotonic()
        while self.away:
            await asyncio.sleep(LOOK_EVERY)
            with contextlib.suppress(Exception):  # whatever it is: without this task nobody would ask again
                async with asyncio.timeout(max(self._timeout, LOOK_EVERY)):
                    await self.client.ping()
                self.away, self._late = False, 0
        log.warning("Redis is back after %.1f s", time.monotonic() - lost)

    async def close(self) -> None:
        if self._looking:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()


def _over_a_socket(url: str, ca: str, timeout: float) -> Client:
    from redis.asyncio import BlockingConnectionPool
    from redis.asyncio import Redis as Client
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    more: dict[str, Any] = {"ssl_ca_certs": ca} if ca and url.startswith("rediss:") else {}
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=timeout,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
        retry=Retry(NoBackoff(), 0),  # by default it would try for seconds before it says that nobody answers
        protocol=2,
        **more,
    )
    return Client.from_pool(pool)


def _in_process() -> Client:
    from fakeredis import FakeAsyncRedis, FakeServer

    made: Client = FakeAsyncRedis(server=FakeServer())
    return made
