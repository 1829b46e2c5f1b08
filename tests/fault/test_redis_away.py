"""Redis dies, hangs and comes back while people work: nobody is refused anything, what must be locked is locked, and counting goes on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from engines import redis as engine
from engines.redis import Redis
from tests.functional.harness import Hetao, Person, eventually
from tests.functional.story import Centre

pytestmark = pytest.mark.timeout(300)

#: Look-ups without an account that one address may make in a minute.
LOOKUPS = 30


@pytest.fixture
def redis() -> Iterator[Redis]:
    if (why := engine.missing()) and os.environ.get("CI") != "true":
        pytest.skip(why)
    with Redis() as running:
        yield running


def look_up(anybody: Person, receipt: dict[str, Any], pin: str) -> tuple[int, str]:
    answer = anybody.send("POST", "/v1/caseProgress:lookup", json={"code": receipt["code"], "pin": pin})
    return answer.status_code, answer.json().get("reason", "")


def wrong(receipt: dict[str, Any]) -> str:
    return "000000" if receipt["pin"] != "000000" else "000001"


def test_work_goes_on_while_redis_is_away(redis: Redis) -> None:
    settings = {"REDIS_URL": redis.url, "REDIS__TIMEOUT": "0.2", "LIMITS__ANONYMOUS_WRITES": str(LOOKUPS)}
    with Hetao(**settings) as hetao:
        centre = Centre.of(hetao)
        receipts = [centre.take_in(title=f"第 {n} 件")["receipts"][0] for n in range(2)]

        redis.kill()
        for n in range(10):
            centre.take_in(title=f"停用期间第 {n} 件")  # raises unless it is answered with 200
        # More than the limit, for nobody counts; but five wrong PINs lock the code: that stands in PostgreSQL.
        tries = [look_up(hetao.anybody, receipts[0], wrong(receipts[0])) for _ in range(LOOKUPS + 5)]
        assert tries[:5] == [(403, "CODE_OR_PIN_WRONG")] * 5
        assert tries[5:] == [(429, "LOOKUP_LOCKED")] * (LOOKUPS)
        assert look_up(hetao.anybody, receipts[0], receipts[0]["pin"]) == (429, "LOOKUP_LOCKED")
        said = hetao.said(200)
        assert 1 <= said.count("Redis is away") <= 3, said  # and not once for each call

        redis.start()
        eventually(lambda: "Redis is back" in hetao.said(200), "Redis to be found")
        # It counts again, from nothing.
        tries = [look_up(hetao.anybody, receipts[1], receipts[1]["pin"]) for _ in range(LOOKUPS)]
        refused = eventually(
            lambda: look_up(hetao.anybody, receipts[1], receipts[1]["pin"])[1] == "RATE_EXCEEDED", "a limit that holds"
        )
        assert refused
        assert tries[0] == (200, "")

        redis.pause()
        for n in range(10):
            centre.take_in(title=f"停顿期间第 {n} 件")
        assert hetao.said(400).count("Redis is away") <= 3
        redis.resume()
        eventually(lambda: hetao.said(400).count("Redis is back") >= 2, "Redis to be found")
        centre.take_in(title="恢复以后")
