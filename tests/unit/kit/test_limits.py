"""Limits: so many calls in any minute, counted once, wherever they enter."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from engines import redis as engine
from engines.redis import Redis as Server
from kit.clock import Clock
from kit.config import Settings
from kit.errors import ResourceExhausted
from kit.identity import Principal
from kit.limits import WINDOW, Limits, Marks, _Here, _network, _Shared, headers, wait_for
from kit.redis import Redis
from kit.sealing import Keys
from tests.waiting import until

WORKER, CLERK = Principal("grid-worker"), Principal("window-clerk")


class Time:
    now = 6000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    if (why := engine.missing()) and os.environ.get("CI") != "true":
        pytest.skip(why)
    with Server() as running:
        yield running


@pytest.fixture(params=["here", "in the process", "redis"])
async def limits(request: pytest.FixtureRequest) -> AsyncIterator[Limits]:
    """Three writes and five reads in a minute, two of either without an account; behind each kind of counts."""
    allowed = {"reads": 5, "writes": 3, "anonymous_reads": 2, "anonymous_writes": 2}
    address = request.getfixturevalue("server").url if request.param == "redis" else None
    settings = Settings(limits=allowed, redis_url=address, redis={"timeout": 5})
    redis = Redis.open(settings)
    if request.param == "redis":
        await redis.ask(lambda client: client.flushall())
    told = settings if request.param != "in the process" else settings.model_copy(update={"redis_url": "redis://fake"})
    yield Limits.of(told, redis, Keys.passing())
    await redis.close()


async def refusals(limits: Limits, calls: int, who: Principal, address: str = "10.0.0.1", *, writes: bool) -> int:
    refused = 0
    for _ in range(calls):
        try:
            await limits.take(who, address, writes=writes)
        except ResourceExhausted:
            refused += 1
    return refused


async def test_reads_and_writes_are_counted_apart_and_accounts_too(limits: Limits) -> None:
    assert await refusals(limits, 4, WORKER, writes=True) == 1
    assert await refusals(limits, 5, WORKER, writes=False) == 0
    assert await refusals(limits, 3, CLERK, writes=True) == 0
    assert await refusals(limits, 4, Principal("line-12345", quota=2), writes=True) == 2  # the register's word


async def test_whoever_has_no_account_is_counted_by_address(limits: Limits) -> None:
    nobody = Principal.anonymous()
    assert await refusals(limits, 3, nobody, "10.0.0.1", writes=True) == 1
    assert await refusals(limits, 2, nobody, "10.0.0.2", writes=True) == 0


async def test_at_the_same_time_no_more_pass_than_may(limits: Limits) -> None:
    tries = await asyncio.gather(*(refusals(limits, 1, WORKER, writes=True) for _ in range(40)))
    assert sum(tries) == 37


async def test_a_refusal_says_when_to_come_again(limits: Limits) -> None:
    await refusals(limits, 3, WORKER, writes=True)
    with pytest.raises(ResourceExhausted) as refused:
        await limits.take(WORKER, "", writes=True)
    wait = refused.value.retry_after
    assert wait is not None
    assert 1 <= wait.total_seconds() <= 2 * WINDOW
    told = headers(refused.value.params, wait)
    assert told["ratelimit-policy"] == '"writes";q=3;w=60'
    assert told["ratelimit"] == f'"writes";r=0;t={told["retry-after"]}'


async def test_who_calls_often_is_counted_in_steps_and_still_no_more_than_may_be(server: Server) -> None:
    settings = Settings(limits={"writes": 1000}, redis_url=server.url, redis={"timeout": 5})
    redis, other = Redis.open(settings), Redis.open(settings)
    keys = Keys.passing()
    try:
        await redis.ask(lambda client: client.flushall())
        before = (await redis.ask(lambda client: client.info("commandstats"))).get("cmdstat_evalsha", {"calls": 0})[
            "calls"
        ]
        both = [Limits(settings.limits, _Shared(one, "test", Time()), Marks(keys)) for one in (redis, other)]
        refused = 0
        for _ in range(600):
            for limits in both:
                refused += await refusals(limits, 1, WORKER, writes=True)
        assert 200 <= refused <= 200 + 2 * 10  # at the end each may have some in hand
        after = (await redis.ask(lambda client: client.info("commandstats")))["cmdstat_evalsha"]["calls"]
        assert after - before < 1000 / 2 + 2 * 3 * refused
    finally:
        await redis.close()
        await other.close()


async def test_the_platform_itself_and_zero_are_no_limit() -> None:
    limits = Limits.of(Settings(limits={"reads": 0, "writes": 1}), Redis.open(Settings()), Keys.passing())
    assert await refusals(limits, 100, WORKER, writes=False) == 0
    assert await refusals(limits, 100, Principal.system_of("1508"), writes=True) == 0
    off = Limits.of(Settings(limits={"enabled": False, "writes": 1}), Redis.open(Settings()), Keys.passing())
    assert await refusals(off, 100, WORKER, writes=True) == 0


async def test_the_window_slides() -> None:
    """Whoever waits as long as was said may call again, and no earlier; in no minute are there more calls than may be, as far as two counts can tell."""
    clock = Time()
    here = _Here(clock)
    for _ in range(10):
        assert await here.hit("k", 10) is None
    wait = await here.hit("k", 10)
    assert wait is not None
    clock.now += wait - 0.01
    assert await here.hit("k", 10) is not None
    clock.now += 0.02
    assert await here.hit("k", 10) is None
    assert await here.hit("k", 10) is not None  # one place has come free, not ten
    clock.now += 10 * WINDOW
    assert [await here.hit("k", 10) for _ in range(10)] == [None] * 10


@pytest.mark.parametrize(("before", "left", "now"), [(10, 30, 3), (10, 59.9, 0), (1, 5, 4), (0, 40, 9), (50, 60, 9)])
def test_the_wait_is_exact(before: int, left: float, now: int) -> None:
    """Just before its end one more call would still be too many."""

    def fits(after: float, limit: int = 5) -> bool:
        if after < left:
            return before * (left - after) / WINDOW + now + 1 <= limit
        return now * max(0.0, WINDOW - (after - left)) / WINDOW + 1 <= limit

    wait = max(0.0, wait_for(5, before, left, now))
    assert fits(wait + 0.001)
    assert wait < 0.001 or not fits(wait - 0.001)


def test_one_subscriber_is_one_address() -> None:
    assert _network("10.1.2.3") == _network("::ffff:10.1.2.3")
    assert _network("2001:db8:0:1::5") == _network("2001:db8:0:1:ffff::9") != _network("2001:db8:0:2::5")
    assert _network("unix:/run/x") == "unix:/run/x"


def test_a_mark_is_for_one_token_and_some_minutes(tmp_path: Path) -> None:
    clock = Time()
    keys = Keys.open_or_create(tmp_path / "keys" / "k.json", Clock().now(), data_exists=False)
    ours, theirs = Marks(keys, clock), Marks(Keys.passing(), clock)
    mark = ours.of("token")
    other_process = Marks(Keys.load(tmp_path / "keys" / "k.json"), clock)
    assert other_process.holds(mark, "token")
    assert not ours.holds(mark, "another token")
    assert not ours.holds(theirs.of("token"), "token")
    assert not ours.holds("", "token")
    assert not ours.holds("é", "token")
    clock.now += 2 * Marks.SECONDS + 1
    assert not ours.holds(mark, "token")


def test_a_mark_of_a_process_that_has_not_heard_of_a_new_key_holds(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "k.json"
    before = Marks(Keys.open_or_create(path, Clock().now(), data_exists=False))
    after = Marks(Keys.rotate(path, Clock().now()))
    assert before.of("token") != after.of("token")
    assert after.holds(before.of("token"), "token")
    assert not after.holds(before.of("token"), "another token")


async def test_redis_away_everybody_may_pass_and_is_counted_again_when_it_is_back(server: Server) -> None:
    settings = Settings(limits={"writes": 3}, redis_url=server.url, redis={"timeout": 5})
    redis = Redis.open(settings)
    limits = Limits.of(settings, redis, Keys.passing())
    try:
        await redis.ask(lambda client: client.flushall())
        assert await refusals(limits, 4, WORKER, writes=True) == 1
        server.kill()
        assert await refusals(limits, 50, WORKER, writes=True) == 0
        server.start()
        await until(lambda: not redis.away, "Redis to be found")
        assert await refusals(limits, 4, WORKER, writes=True) == 1  # it has forgotten what was, and its scripts
        server.pause()
        impatient = Redis.open(
            settings.model_copy(update={"redis": settings.redis.model_copy(update={"timeout": 0.05})})
        )
        unlimited = Limits.of(settings, impatient, Keys.passing())
        assert await refusals(unlimited, 50, WORKER, writes=True) == 0
        await impatient.close()
    finally:
        server.resume()
        await redis.close()
