"""What a running process looks after: its database, without which it does not serve; Kafka, Redis and its neighbours, without which it does."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from kit.config import Settings
from kit.database import Database
from kit.events import topic_of
from kit.log import Log, LogAway
from kit.module import LOG, POSTGRES, Module
from kit.readiness import LOOK, Readiness
from kit.redis import Redis
from kit.rpc.client import serving

Work = tuple[str, Awaitable[None]]


def topics_of(modules: Sequence[Module]) -> list[str]:
    """What these services write to the log and read from it."""
    here = [module for module in modules if LOG in module.engines]
    written = {module.name for module in here if POSTGRES in module.engines}
    return sorted(topic_of(name) for name in written.union(*(module.hears for module in here)))


def of_database(state: Readiness, settings: Settings, database: Database, schemas: Sequence[str]) -> Iterator[Work]:
    own = [name for name in schemas if name in settings.database.urls] or schemas[:1]
    for name in own:
        look = "postgres" if len(own) == 1 else f"postgres of {name}"
        yield look, state.watch(look, database.prober(name), needed=True)


def of_log(state: Readiness, log: Log, modules: Sequence[Module]) -> Iterator[Work]:
    """A log in tables goes with its database."""
    if log.system == "kafka":
        topics = topics_of(modules)
        yield "kafka", state.watch("kafka", lambda: log.look(topics), needed=False)


async def until_log(state: Readiness, log: Log, modules: Sequence[Module], patience: float) -> None:
    """Kafka is waited for at the start, but not for ever: without it whatever is written is durable and waits in the outbox. If it is there, its
    topics must be, however long that takes: somebody has forgotten a step."""
    with contextlib.suppress(LogAway, TimeoutError):
        await state.until("kafka", lambda: log.look([]), seconds=patience)
        await state.until("topics", lambda: log.look(topics_of(modules)))
    state.waiting.pop("kafka", None)


def of_redis(state: Readiness, redis: Redis) -> Iterator[Work]:
    async def ping() -> None:
        await redis.ask(lambda client: client.ping())

    yield "redis", state.watch("redis", ping, needed=False)


def of_neighbours(
    state: Readiness, modules: Sequence[Module], channel: Callable[[str], Any], patience: float
) -> Iterator[Work]:
    """Services of other processes that are called from here."""
    here = {module.name for module in modules}
    for name in sorted({called for module in modules for called in module.calls} - here):
        state.waiting[name] = "not asked yet"
        yield name, _neighbour(state, name, channel(name), patience)


async def _neighbour(state: Readiness, name: str, channel: Any, patience: float) -> None:
    """It is waited for at the start, but not for ever: whoever calls it then is told that it is away, and calls to the others are served."""

    async def look() -> None:
        await serving(channel, LOOK)

    with contextlib.suppress(ConnectionError, TimeoutError):
        await state.until(name, look, seconds=patience)
    state.waiting.pop(name, None)
    await state.watch(name, look, needed=False)
