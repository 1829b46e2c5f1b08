"""The platform as separate processes on a real Kafka, PostgreSQL and Redis, as a county has it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self

import asyncpg
from aiokafka import AIOKafkaConsumer

from engines.split import Part, Split
from kit.config import load
from kit.log import lag
from kit.log.cloudevents import envelope_of
from kit.log.kafka import KafkaLog
from tests.drill.books import READERS, Record
from tests.drill.site import PAUSE, SETTINGS, Site, Watch, arm, sleeps
from tests.drill.victims import Strike, Victim

#: Seconds that Kafka stands still: longer than the leases of those who read and relay.
LONG = 6.0

#: Seconds after which a process that was struck must be ready again.
READY = 90.0

TOPICS = sorted({topic for _, topic in READERS})


class Separate(Site):
    """A process for each service and the gateway, or `replicas` of each."""

    def __init__(self, replicas: int = 1) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="hetao-drill-split-", dir="/tmp"))
        self.folder.chmod(0o711)  # PostgreSQL's unprivileged user walks through it
        self.watch = Watch(self.folder / "clock")
        settings = {f"HETAO_{name}": value for name, value in SETTINGS.items()}
        settings |= {
            "HETAO_TIMERS__POLL_SECONDS": "0.05",
            "TEST_CLOCK": str(self.folder / "clock"),
            "DRILL_FATE": str(self.folder / "fate"),
        }
        command = [sys.executable, "-m", "tests.drill.process"]
        self._hands = ThreadPoolExecutor(1, "drill")
        self.split = Split(self.folder / "data", settings=settings, program=command, replicas=replicas)

    def __enter__(self) -> Self:
        try:
            self._hands.submit(self.split.start).result()
            self.rest = [("127.0.0.1", gateway.http) for gateway in self.split.gateways]
            self.rpc = {name: f"ipv4:{address}" for name, address in self.split.addresses().items()}
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        try:
            self._hands.submit(self.split.close).result()
        finally:
            self._hands.shutdown()
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def now(self) -> datetime:
        return self.watch.now

    def travel(self, by: timedelta) -> None:
        self.watch.move(by)

    def said(self) -> str:
        return "\n".join(f"{name}:\n{part.program.said(15)}" for name, part in self.split.parts.items())

    async def _do(self, work: Callable[..., None], *args: object) -> None:
        """What takes a while, beside the clients. Always in the same thread: Kafka ends with the one that started it."""
        await asyncio.get_running_loop().run_in_executor(self._hands, work, *args)

    # -- books --------------------------------------------------------------------------------------------------------

    def database_url(self) -> str:
        return self.split.postgres.url

    async def records(self, connection: asyncpg.Connection) -> list[Record]:
        """Read from the broker as anybody could, from the beginning."""
        consumer = AIOKafkaConsumer(
            *TOPICS, bootstrap_servers=self.split.kafka.address, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await consumer.start()
        found: list[Record] = []
        try:
            while {place.topic for place in consumer.assignment()} != set(TOPICS):
                await asyncio.sleep(0.05)
            ends = await consumer.end_offsets(consumer.assignment())
            while any([await consumer.position(place) < end for place, end in ends.items()]):
                for place, batch in (await consumer.getmany(timeout_ms=500, max_records=5000)).items():
                    for one in batch:
                        envelope = envelope_of(one.headers, one.key)
                        found.append(
                            Record(
                                place.topic,
                                place.partition,
                                one.offset,
                                envelope.id,
                                envelope.type,
                                envelope.key,
                                envelope.snapshot,
                                one.value or b"",
                            )
                        )
        finally:
            await consumer.stop()
        return found

    async def lag(self, connection: asyncpg.Connection) -> dict[str, int]:
        log = KafkaLog.of(load(kafka={"bootstrap": self.split.kafka.address}))
        try:
            behind = {f"{group} behind {topic}": await lag(log, group, [topic]) for group, topic in READERS}
        finally:
            await log.close()
        return {name: count for name, count in behind.items() if count}

    # -- as an operator -----------------------------------------------------------------------------------------------

    async def command(self, *words: str) -> str:
        return await asyncio.to_thread(self.split.command, *words)

    async def stop(self) -> None:
        await self._do(self.split.stop_parts)

    async def start(self) -> None:
        await self._do(self.split.begin)
        await self._do(self.split.until_ready, READY)

    # -- victims ------------------------------------------------------------------------------------------------------

    def victims(self) -> list[Victim]:
        split = self.split
        first = {
            part.service: part for part in reversed(split.parts.values())
        }  # the others go on where there are several
        found = [Victim(part.name, "kill −9", self._killed([part])) for part in first.values()]
        found += [
            Victim("cases", "kill −9 between commit and answer", self._dies("cases", "answer")),
            Victim("cases' relay", "kill −9 between publishing and marking", self._dies("cases", "mark")),
            Victim("grid's relay", "kill −9 between publishing and marking", self._dies("grid", "mark")),
            Victim("notify's consumer", "kill −9 in mid-batch", self._dies("notify", "effect")),
            Victim("cases' consumer", "kill −9 in mid-batch", self._dies("cases", "effect")),
            Victim("cases' timers", "kill −9 in the middle of what is due", self._dies("cases", "timer")),
            Victim("cases' relay", f"paused for {PAUSE} s, past its lease", self._sleeps("cases", "mark")),
            Victim("notify's consumer", f"paused for {PAUSE} s in mid-batch", self._sleeps("notify", "effect")),
            Victim("Kafka", "kill −9", self._engine(split.kafka.kill, split.kafka.start)),
            Victim("Kafka", f"paused for {LONG} s", self._engine(split.kafka.pause, split.kafka.resume, LONG)),
            Victim("PostgreSQL", "kill −9", self._engine(split.postgres.kill, split.postgres.start)),
            Victim("Redis", "kill −9", self._engine(split.redis.kill, split.redis.start)),
            Victim("Redis", f"paused for {PAUSE} s", self._engine(split.redis.pause, split.redis.resume, PAUSE)),
            Victim("the power", "kill −9 of everything at once", self._power_cut),
        ]
        return found

    def _parts(self, service: str) -> list[Part]:
        return [part for part in self.split.parts.values() if part.service == service]

    def _killed(self, parts: Sequence[Part]) -> Strike:
        async def strike() -> None:
            for part in parts:
                await self._do(part.program.kill)
            await self._again(parts)

        return strike

    def _dies(self, service: str, point: str) -> Strike:
        async def strike() -> None:
            parts = self._parts(service)
            arm(self.folder / "fate", point, [part.program.pid for part in parts if part.program.pid])
            if point == "timer":
                self.travel(timedelta(days=3))
            end = time.monotonic() + 60
            while all(part.program.alive for part in parts):
                assert time.monotonic() < end, f"{service} never came to {point}:\n{self.said()}"
                await asyncio.sleep(0.02)
            await self._again([part for part in parts if not part.program.alive])

        return strike

    def _sleeps(self, service: str, point: str) -> Strike:
        """Longer than its lease: where there are others, one of them has taken its place when it wakes."""

        async def strike() -> None:
            parts = self._parts(service)
            pids = [part.program.pid for part in parts if part.program.pid]
            arm(self.folder / "fate", point, pids, signal.SIGSTOP)
            sleeper = await sleeps(pids)
            try:
                await asyncio.sleep(PAUSE)
            finally:
                os.kill(sleeper, signal.SIGCONT)

        return strike

    def _engine(self, strike: Callable[[], None], heal: Callable[[], None], seconds: float = 0.5) -> Strike:
        """`seconds`: how long it is away."""

        async def struck() -> None:
            await self._do(strike)
            try:
                await asyncio.sleep(seconds)
            finally:
                await self._do(heal)
            await self._do(self.split.until_ready, READY)

        return struck

    async def _power_cut(self) -> None:
        split = self.split

        def strike() -> None:
            split.kill_parts()
            for engine in (split.kafka, split.postgres, split.redis):
                engine.kill()

        await self._do(strike)
        await self._do(split.start)

    async def _again(self, parts: Sequence[Part]) -> None:
        """Started by whoever looks after it."""
        for part in parts:
            assert not part.program.alive
            await self._do(part.program.begin)
        for part in parts:
            await self._do(self._ready, part)

    def _ready(self, part: Part) -> None:
        end = time.monotonic() + READY
        while not part.ready:
            assert part.program.alive, f"{part.name} ended with {part.program.exit_status}:\n{part.program.said()}"
            assert time.monotonic() < end, f"{part.name} waits for {part.readiness()}"
            time.sleep(0.05)
