"""A restore where the log is a Kafka that went on: what stood before the backup's moment comes into effect once, what was written after it is named and gone.

A shelf in this process on a PostgreSQL and a Kafka that outlive it; nothing of its background runs by itself, so every event is where the test wants it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from engines.kafka import Kafka
from engines.postgres import Postgres
from kit.backup import Backup
from kit.backup.restore import Restored, restore
from kit.backup.take import take
from kit.config import Settings, load
from kit.errors import StartupError
from kit.events import topic_of
from kit.log import lag
from kit.log.topics import apply
from kit.platform import Platform
from kit.rebuild import rebuild
from tests import shelf
from tests.waiting import running, until

SHELF = [shelf.MODULE]
TOPIC = topic_of("shelf")


@dataclass
class Shop:
    """The shelf while it is open."""

    platform: Platform

    @property
    def runtime(self) -> Any:
        return self.platform.services["shelf"].runtime

    async def put(self, title: str) -> str:
        request = shelf.pb.PutThingRequest(division="150802", title=title)
        answer = await self.runtime.transact(lambda unit: shelf.ShelfApi().PutThing(request, unit), action="put")
        return str(answer.thing.id)

    async def change(self, thing: str, title: str) -> None:
        request = shelf.pb.ChangeThingRequest(id=thing, title=title)
        await self.runtime.transact(lambda unit: shelf.ShelfApi().ChangeThing(request, unit), action="change")

    async def publish(self) -> None:
        relay = self.platform.services["shelf"].relay
        assert relay
        while await relay.step():
            pass

    async def consume(self) -> None:
        consumer = self.platform.services["shelf"].consumer
        assert consumer

        async def done() -> bool:
            await consumer.step(wait=True)
            return await lag(self.platform.log, "shelf", [TOPIC]) == 0

        await until(done, "everything was heard", 30)

    async def settle(self) -> None:
        await self.publish()
        await self.consume()

    async def rows(self, sql: str) -> list[Any]:
        return [tuple(row) for row in await self.runtime.pool.fetch(sql)]

    async def heard(self) -> Counter[str]:
        return Counter(f"{title} {version}" for title, version in await self.rows("select title, version from heard"))


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Shop]:
    async with Platform(settings, SHELF, listen=False, background=False) as platform:
        yield Shop(platform)


@pytest.fixture
async def settings(kafka: Kafka, log_server: Postgres, scratch: Path) -> AsyncIterator[Settings]:
    name = f"shelf{uuid4().hex[:12]}"
    admin = await asyncpg.connect(log_server.url)
    await admin.execute(f"create database {name} template template0")
    chosen = load(
        data_dir=scratch / "data",
        database_url=log_server.url.rpartition("/")[0] + f"/{name}",
        database={"role_secret": "of these tests", "role_prefix": f"{name}_"},
        kafka={"bootstrap": kafka.address, "prefix": f"t{uuid4().hex[:12]}.", "request_timeout": 6.0},
        log={"partitions": 3, "lease_seconds": 2.0},
    )
    await apply(chosen, ["shelf"])
    yield chosen
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@dataclass
class Lived:
    """What happened around a backup. `early`: in effect before it; `open_`: published or stored, in effect by nobody."""

    backup: Path
    early: list[str]
    open_: list[str]
    gone: set[tuple[str, int]]
    changed: str


async def lived(settings: Settings, folder: Path) -> Lived:
    async with opened(settings) as shop:
        early = [await shop.put(f"early {n}") for n in range(5)]
        await shop.settle()
        open_ = [await shop.put(f"sent {n}") for n in range(3)]
        await shop.publish()
        open_ += [await shop.put("stored 0")]
        await take(settings, SHELF, folder)
        late = await shop.put("late")
        await shop.change(early[0], "changed late")
        await shop.settle()
        unheard = await shop.put("late and unheard")
        await shop.publish()
        await shop.put("late and unsaid")  # nobody but the database that is lost knew of it
        assert (await shop.heard())["late 1"] == 1
    return Lived(folder, early, open_, {(late, 1), (early[0], 2), (unheard, 1)}, early[0])


async def put_back(settings: Settings, backup: Path) -> Restored:
    with Backup.open(backup) as one:
        return await restore(settings, SHELF, one, force=True)


EARLY = Counter({f"early {n} 1": 1 for n in range(5)})
ALL = EARLY + Counter({f"sent {n} 1": 1 for n in range(3)}) + Counter({"stored 0 1": 1})


async def test_what_stood_in_kafka_before_the_moment_takes_effect_once_and_the_rest_is_named(
    settings: Settings, scratch: Path
) -> None:
    told = await lived(settings, scratch / "backup")
    with Backup.open(told.backup) as one:
        before = one.manifest.services["shelf"].epoch
    done = await put_back(settings, told.backup)
    assert {(one.key, one.version) for one in done.gone} == told.gone
    assert {one.topic for one in done.gone} == {TOPIC}
    assert done.log_lost == []
    assert done.epoch > before
    async with opened(settings) as shop:
        assert shop.runtime.epoch == done.epoch
        assert await shop.heard() == EARLY  # as of the moment
        await shop.settle()
        assert await shop.heard() == ALL
        titles = dict(await shop.rows("select id::text, title from newest"))
        assert titles == dict(await shop.rows("select id::text, title from thing"))
        assert titles[told.changed] == "early 0"
        # Whatever a reader elsewhere has seen of a version that is gone, the next word is newer.
        await shop.change(told.changed, "changed anew")
        await shop.settle()
        assert await shop.rows(f"select epoch, version from newest where id = '{told.changed}'") == [(done.epoch, 2)]
        assert (await shop.heard())["changed anew 2"] == 1


async def test_a_rebuild_after_a_restore_drops_what_an_older_epoch_left_behind(
    settings: Settings, scratch: Path
) -> None:
    """What a reader elsewhere heard of a thing that is gone: nobody will ever say anything of it again."""
    told = await lived(settings, scratch / "backup")
    done = await put_back(settings, told.backup)
    async with opened(settings) as shop:
        await shop.settle()
        await shop.runtime.pool.execute(
            "insert into newest (id, epoch, version, title) values ($1, 1, 7, 'a ghost')", uuid4()
        )
        over = asyncio.Event()

        async def work() -> None:
            while not over.is_set():
                await shop.settle()
                await asyncio.sleep(0.01)

        async with running(work()):
            issuer = shop.platform.issuer
            assert issuer
            said = await rebuild("shelf", shop.platform.channel, issuer.mint("admin"), lambda *_: None)
            over.set()
        things = dict(await shop.rows("select id::text, version from thing"))
        assert said == len(things)
        rows = await shop.rows("select id::text, epoch, version from newest")
        assert {(key, version) for key, _, version in rows} == set(things.items())
        assert {epoch for _, epoch, _ in rows} == {done.epoch}


async def test_a_restore_may_be_repeated_and_an_unfinished_one_lets_nobody_in(
    settings: Settings, scratch: Path
) -> None:
    told = await lived(settings, scratch / "backup")
    first = await put_back(settings, told.backup)
    async with opened(settings) as shop:
        await shop.settle()
        between = await shop.put("after the first")
        await shop.settle()
        database = shop.platform.database
    assert await database.begin_restoring(["shelf"])
    await database.empty(["shelf"])  # and dies
    with pytest.raises(StartupError, match="hetao restore --force"):
        async with opened(settings):
            pass
    second = await put_back(settings, told.backup)
    assert second.epoch > first.epoch
    assert (between, 1) in {(one.key, one.version) for one in second.gone}
    async with opened(settings) as shop:
        await shop.settle()
        assert await shop.heard() == ALL


async def test_when_kafka_is_lost_too_the_backups_own_events_are_said_again(settings: Settings, scratch: Path) -> None:
    told = await lived(settings, scratch / "backup")
    empty = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"prefix": f"t{uuid4().hex[:12]}."})})
    await apply(empty, ["shelf"])
    done = await put_back(empty, told.backup)
    assert (done.gone, done.log_lost) == ([], [TOPIC])
    async with opened(empty) as shop:
        await shop.settle()
        assert await shop.heard() == ALL


async def test_a_platform_that_runs_is_not_restored_over(settings: Settings, scratch: Path) -> None:
    async with opened(settings) as shop:
        await shop.put("a")
        await take(settings, SHELF, scratch / "b.tar")
        with Backup.open(scratch / "b.tar") as one, pytest.raises(StartupError, match="stop all processes"):
            await restore(settings, SHELF, one, force=True)
        assert await shop.rows("select title from thing") == [("a",)]
    async with opened(settings) as again:  # the refusal has left no mark that keeps anybody out
        assert await again.rows("select title from thing") == [("a",)]


async def test_while_a_backup_looks_at_the_log_nothing_leaves_an_outbox(settings: Settings, scratch: Path) -> None:
    """Writers and the relay work on while it is taken again and again: each cut is exact."""
    async with opened(settings) as shop:
        over = asyncio.Event()

        async def write() -> None:
            n = 0
            while not over.is_set():
                n += 1
                await shop.put(f"w {n}")

        async def relay() -> None:
            while not over.is_set():
                await shop.publish()
                await asyncio.sleep(0)

        working = [asyncio.create_task(write()), asyncio.create_task(relay())]
        try:
            for n in range(3):
                await take(settings, SHELF, scratch / f"b{n}")
        finally:
            over.set()
            await asyncio.gather(*working)
        await shop.settle()
        everything = Counter(row[0] for row in await shop.rows("select thing_id::text from heard"))
    for n in range(3):
        done = await put_back(settings, scratch / f"b{n}")
        async with opened(settings) as shop:
            await shop.settle()
            there = {row[0] for row in await shop.rows("select id::text from thing")}
            heard = Counter(row[0] for row in await shop.rows("select thing_id::text from heard"))
        assert heard == Counter(there), "what is there was heard once"
        assert {one.key for one in done.gone} == set(everything) - there, "and what is not there is named"
