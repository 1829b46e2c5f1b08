"""The runner of targets: brings up the chosen services in one process, in order, and takes them down again.

    async with Platform(settings, [grid.MODULE, cases.MODULE]) as platform:
        await platform.until_stopped()

The order: the operators' listener → database → keys and identity → migrations → connections → services → reference data → relay, consumers, timers
→ listeners → ready. Down again the other way round; calls under way are finished first. Services of this process are called in process, others over a
socket. Where an operators' listener tells what it waits for, a process waits for its engines without end, so nothing has to be started in an order.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import asyncpg

from hetao.operations.v1 import operations_pb2, trust_pb2
from kit import folders, metrics, production, telemetry, unit, vitals, watches
from kit.clock import Clock
from kit.config import DATA, Settings
from kit.consumer import Consumer
from kit.database import LOG_SCHEMA, RESTORING, Database
from kit.errors import StartupError
from kit.follow import Follower
from kit.identity import Roles
from kit.issuer import DemoIssuer
from kit.limits import Limits
from kit.log import Log, LogAway
from kit.log.sql import SqlLog
from kit.migrate import migrate, schemas
from kit.module import LOG, POSTGRES, REDIS, Module, Parts, Runtime
from kit.operations import OperationsApi
from kit.ops import Answer, Ops
from kit.own_tokens import ServiceToken
from kit.readiness import Readiness
from kit.readings import Readings
from kit.redis import Redis
from kit.relay import Relay
from kit.rpc.channel import LocalChannel
from kit.rpc.client import ServiceChannel
from kit.rpc.methods import methods_of
from kit.rpc.pipeline import Dispatcher
from kit.rpc.server import Server
from kit.rpc.tls import Certificates
from kit.sealing import Keys
from kit.statutory import Deadlines
from kit.texts import Texts
from kit.timers import TimerLoop
from kit.upkeep import clean, seal_audit, trim_log
from kit.verifier import Verifier

log = logging.getLogger(__name__)

#: Seconds that calls under way have to end at a drain.
DRAIN = 10.0

OPERATIONS = operations_pb2.DESCRIPTOR.services_by_name["OperationsService"]
TRUST = trust_pb2.DESCRIPTOR.services_by_name["TrustService"]

#: Tells how far the start has come: (Chinese, English).
Progress = Callable[[str, str], None]


def _silent(zh: str, en: str) -> None:
    """For nobody."""


@dataclass(slots=True)
class Service:
    """One service as it runs."""

    runtime: Runtime
    parts: Parts
    dispatcher: Dispatcher
    relay: Relay | None
    consumer: Consumer | None
    timers: TimerLoop | None


class Platform:
    """`listen`: whether gRPC listens on its port; `background`: whether relay, consumers, timers and workers run by themselves; `keeper`: the
    service that keeps the register of outside systems and revoked sessions, to be followed where it runs in another process."""

    def __init__(
        self,
        settings: Settings,
        modules: Sequence[Module],
        *,
        clock: Clock | None = None,
        progress: Progress = _silent,
        database: Database | None = None,
        listen: bool = True,
        background: bool = True,
        keeper: str = "",
    ):
        self._keeper = keeper
        self._follower: Follower | None = None
        self.settings, self.modules, self.clock = settings, modules, clock or Clock()
        self._progress, self._listen, self._background = progress, listen, background
        self._given_database: Database | None = database
        self.services: dict[str, Service] = {}
        self.issuer: DemoIssuer | None = None
        self.server: Server | None = None
        self._exit = contextlib.AsyncExitStack()
        self._channels: dict[str, Any] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._failed: asyncio.Future[None] | None = None
        #: What the process waits for, and whom it misses.
        self.state = Readiness()
        self.state.waiting["start"] = "not finished"
        #: What operators ask: `platform.ops.add("/metrics", handler)`.
        self.ops = Ops(settings.ops, self.state)

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    # -- up -----------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        self._failed = asyncio.get_running_loop().create_future()
        self._open_telemetry()
        production.check_settings(self.settings)
        self._exit.push_async_callback(self.ops.stop)
        await self.ops.start()
        self._certificates = Certificates.of(self.settings.grpc.tls)
        for name in ("keys", "media"):  # made by an earlier version, or restored with the modes of another machine
            folders.close(self.settings.data_dir / name)
        if self._background:
            patience = self.settings.ops.patience_seconds
            self._watch(watches.of_neighbours(self.state, self.modules, self.channel, patience))
        tables = schemas(self.settings, self.modules)
        fresh = await self._open_database(tables) if tables else True
        self._progress("读取密钥与规则", "reading keys and rules")
        self._open_trust(data_exists=not fresh)  # before the first table: a first start that was killed can go on
        if tables and self.settings.database.prepare:
            self._progress("升级表结构", "migrating the schemas")
            await migrate(self.database, self.modules)
        if any(LOG in module.engines for module in self.modules):
            self.log = await self._open_log()
        for module in self.modules:
            self.services[module.name] = await self._build(module)
        await self._load_data()
        await self._follow_register()
        if fresh:  # else a first caller might meet a service that has not heard of its neighbours yet
            self._progress("首批事件生效", "bringing the first events into effect")
            with contextlib.suppress(LogAway):
                await self._settle()
        if self._background:
            self._run_background()
            self._watch(self._engines(tables))
        if self._listen and any(service.dispatcher.methods for service in self.services.values()):
            await self._open_server()
        del self.state.waiting["start"]

    async def _follow_register(self) -> None:
        """Where it is kept in this process, it is known before anybody calls; else nobody is let in until it has been heard of."""
        kept = next((name for name, service in self.services.items() if TRUST in service.parts.rpc), "")
        keeper = kept or (self._keeper if self._keeper in self.settings.grpc.addresses else "")
        if keeper:
            token = ServiceToken(self.modules[0].name, self.keys, self.clock, self.settings.identity.audience)
            self._follower = Follower.of(
                self.settings, self.verifier.register, self.channel(keeper), token, self.clock, self.redis
            )
            if kept:
                await self._follower.look()
            elif self._background:
                self._watch(self._follower.watches(self.state, self.settings.ops.patience_seconds))
        elif self._keeper:
            production.keeper_missing(self.settings, self._keeper)

    def _open_telemetry(self) -> None:
        """Of the whole process; ended by whoever began it."""
        chosen, names = self.settings.telemetry, [module.name for module in self.modules]
        endpoint = chosen.otlp_endpoint or ""
        if telemetry.set_up(otlp_endpoint=endpoint, ratio=chosen.sample_ratio):
            self._exit.push_async_callback(asyncio.to_thread, telemetry.shut_down)
        prometheus = self.settings.ops.port is not None
        name = names[0] if len(names) == 1 else "hetao"
        if metrics.set_up(service=name, otlp_endpoint=endpoint, every=chosen.push_seconds, prometheus=prometheus):
            self._exit.push_async_callback(asyncio.to_thread, metrics.shut_down)
            self._exit.enter_context(vitals.process())
        if prometheus:
            self.ops.add("/metrics", _metrics)

    async def _open_database(self, tables: Sequence[str]) -> bool:
        """Returns whether no service has ever stored anything in it."""
        self._progress("启动数据库", "starting the database")
        if self._given_database:
            self.database = self._given_database
        else:
            self.database = await self._exit.enter_async_context(Database.open(self.settings))
        if self.ops.listening:
            await self.state.until("postgres", lambda: self.database.reach(tables[0]))
        if not self.settings.database.prepare:
            return False
        await self.database.prepare(tables)
        return await self.database.is_fresh(tables)

    def _engines(self, tables: Sequence[str]) -> Iterator[watches.Work]:
        """What must be there from now on, and what is told when it is missing."""
        if tables:
            yield from watches.of_database(self.state, self.settings, self.database, tables)
        if any(LOG in module.engines for module in self.modules):
            yield from watches.of_log(self.state, self.log, self.modules)
        if self.settings.redis_url:
            yield from watches.of_redis(self.state, self.redis)

    def _watch(self, works: Iterable[watches.Work]) -> None:
        for name, work in works:
            self._run(f"watch {name}", work)

    async def _open_log(self) -> Log:
        if self.settings.kafka.bootstrap:
            from kit.log.kafka import KafkaLog  # its client is loaded where it is used

            kafka = KafkaLog.of(self.settings)
            self._exit.push_async_callback(kafka.close)
            if self.ops.listening:
                await watches.until_log(self.state, kafka, self.modules, self.settings.ops.patience_seconds)
            return kafka
        pool = await self._pool(LOG_SCHEMA, self.settings.database.background_pool_size + len(self.modules))
        sql_log = SqlLog(
            pool,
            partitions=self.settings.log.partitions,
            batch=self.settings.log.batch,
            lease=self.settings.log.lease_seconds,
            poll=max(self.settings.log.poll_seconds, 0.25),  # appends of this process wake the readers at once
        )
        if self.settings.embedded:
            await sql_log.forget_members()
        return sql_log

    def _open_trust(self, *, data_exists: bool) -> None:
        settings = self.settings
        self.keys = Keys.open_or_create(
            settings.key_file, self.clock.now(), data_exists=data_exists, suite=settings.keys.suite
        )
        if settings.identity.issuer is None and settings.profile == "embedded":
            self.issuer = DemoIssuer.open(settings, self.clock, DATA / "demo" / "accounts.toml")
        self.verifier = Verifier.of(settings, Roles.load(DATA / "roles.toml"), self.clock, self.issuer, keys=self.keys)
        self.redis = Redis.open(settings)
        self._exit.push_async_callback(self.redis.close)
        self.limits = Limits.of(settings, self.redis, self.keys)
        self.deadlines, self.texts = Deadlines.load(DATA), Texts.load(DATA / "texts")

    async def _pool(self, schema: str, size: int, name: str = "") -> Any:
        pool = await self.database.open_pool(schema, size, name=name)
        self._exit.push_async_callback(pool.close)
        self._exit.enter_context(vitals.pool(pool, f"{schema} {name}".strip()))
        return pool

    async def _build(self, module: Module) -> Service:
        pools = None
        if POSTGRES in module.engines:
            sizes = self.settings.database
            pools = (
                await self._pool(module.name, sizes.pool_size),
                await self._pool(module.name, sizes.background_pool_size, "background"),
            )
        runtime = Runtime(
            module,
            settings=self.settings,
            clock=self.clock,
            keys=self.keys,
            verifier=self.verifier,
            issuer=self.issuer,
            deadlines=self.deadlines,
            texts=self.texts,
            channel=self.channel,
            pools=pools,
            readiness=self.readiness,
            limits=self.limits,
            redis=self.redis if REDIS in module.engines else None,
            log=self.log if LOG in module.engines else None,
        )
        parts = module.build(runtime)
        if pools is None:
            return Service(runtime, parts, Dispatcher(runtime, methods_of(parts.rpc)), None, None, None)
        runtime.epoch = await self._installation(module.name, pools[0])
        relay = Relay(runtime, self.log)
        consumer = Consumer(runtime, parts.hears, self.log) if parts.hears else None
        timers = TimerLoop(runtime, parts.timers) if parts.timers else None
        operations = OperationsApi(runtime, parts, consumer, self.log)
        dispatcher = Dispatcher(runtime, methods_of({**parts.rpc, OPERATIONS: operations}))
        return Service(runtime, parts, dispatcher, relay, consumer, timers)

    async def _installation(self, service: str, pool: Any) -> int:
        """The installation's epoch. Raises `StartupError` if its data were sealed with another keyring, or are only half restored."""
        if await pool.fetchval("select true from pg_namespace where nspname = $1", RESTORING):
            raise StartupError(
                "数据库的恢复没有完成：请再次运行 hetao restore --force",
                "a restore of the database was not finished: run hetao restore --force again",
            )
        ours = self.keys.fingerprint
        row = await pool.fetchrow(
            "update installation set keyring = case keyring when '' then $1 else keyring end returning epoch, keyring",
            ours,
        )
        if row["keyring"] != ours:
            raise StartupError(
                f"密钥文件 {self.settings.key_file} 与服务 {service} 的数据不符；请恢复原密钥文件",
                f"the key file {self.settings.key_file} is not the one that the data of {service} were sealed with: restore that one",
            )
        return int(row["epoch"])

    async def _load_data(self) -> None:
        """Reference data first in every service, then demo data: each load is one unit and does nothing the second time."""
        for kind, zh, en in (
            ("reference", "加载参考数据", "loading reference data"),
            ("demo", "加载演示数据", "loading demo data"),
        ):
            if kind == "demo" and self.issuer is None:
                continue
            for name, service in self.services.items():
                if load := getattr(service.parts, kind):
                    self._progress(f"{zh}：{name}", f"{en}: {name}")
                    async with self.database.alone(name, "load"):
                        await service.runtime.transact(load, action=f"{name}.{kind}")

    def _run_background(self) -> None:
        for service in self.services.values():
            runtime = service.runtime
            if service.relay:
                self._run(f"relay {runtime.name}", service.relay.run())
                self._run(f"audit {runtime.name}", seal_audit(runtime))
                self._run(f"clean {runtime.name}", clean(runtime))
            if service.consumer:
                self._run(f"consumer {runtime.name}", service.consumer.run())
            if service.timers:
                self._run(f"timers {runtime.name}", service.timers.run())
        if any(service.relay for service in self.services.values()):
            self._run("log", trim_log(self.log, self.settings.retention, self.clock))
        if self._follower:
            self._run("register", self._follower.run())
        if metrics.collected():
            self._run_readings()
        for service in self.services.values():
            for worker in service.parts.workers:
                self._run(f"worker {service.runtime.name}", worker())

    def _run_readings(self) -> None:
        self._run("event loop", vitals.watch_loop())
        for name, service in self.services.items():
            if service.relay:
                readings = Readings(
                    service.runtime, service.parts, service.relay, service.consumer, service.timers, self.log
                )
                self._run(f"readings {name}", readings.run())

    def _run(self, name: str, work: Awaitable[None]) -> None:
        async def guarded() -> None:
            try:
                await work
            except asyncio.CancelledError:
                raise
            except Exception as error:
                log.critical("%s has ended", name, exc_info=error)
                if self._failed and not self._failed.done():
                    self._failed.set_exception(error)

        self._tasks.append(asyncio.create_task(guarded(), name=name))

    async def _open_server(self) -> None:
        names = sorted(
            {
                m.descriptor.containing_service.full_name
                for s in self.services.values()
                for m in s.dispatcher.methods.values()
            }
        )
        self.server = Server(self._route, names, self.settings.grpc, self._certificates)
        await self.server.start()
        await self.server.ready(True)

    # -- calls --------------------------------------------------------------------------------------------------------

    def channel(self, service: str) -> Any:
        """A channel to a service: in process where it is here, else to the address that the settings give."""
        if service not in self._channels:
            if any(module.name == service for module in self.modules):
                self._channels[service] = LocalChannel(lambda: self.services[service].dispatcher)
            elif address := self.settings.grpc.addresses.get(service):
                channel = ServiceChannel(self.settings.grpc, service, address, self._certificates)
                self._exit.push_async_callback(channel.close)
                self._channels[service] = channel
            else:
                raise StartupError(
                    f"不知道服务 {service} 的地址（HETAO_GRPC__ADDRESSES）",
                    f"nobody says where the service {service} is (HETAO_GRPC__ADDRESSES)",
                )
        return self._channels[service]

    def _route(self, path: str, payload: bytes) -> Dispatcher | None:
        """Who answers a path. The operations of all services have the same path: there the request names the service."""
        holders = [s.dispatcher for s in self.services.values() if path in s.dispatcher.methods]
        if len(holders) < 2 or not payload:
            return holders[0] if holders else None
        named = _service_named(holders[0], path, payload)
        return self.services[named].dispatcher if named in self.services else holders[0]

    def readiness(self) -> Mapping[str, str]:
        """What this process waits for; empty when it is ready."""
        return self.state.waiting

    # -- down ---------------------------------------------------------------------------------------------------------

    async def until_stopped(self, stop: asyncio.Event | None = None) -> None:
        """Until `stop` is set, or one of the background tasks ends with an error, which is raised."""
        assert self._failed is not None
        stopped = asyncio.create_task((stop or asyncio.Event()).wait())
        stopped.add_done_callback(lambda _: None if failed.done() else failed.set_result(None))
        failed = self._failed
        try:
            await failed
        finally:
            stopped.cancel()

    async def _stop(self) -> None:
        self.state.waiting["stop"] = "under way"
        if self.server:
            await self.server.stop(DRAIN)
        while left := [task for task in self._tasks if not task.done()]:
            for task in left:
                task.cancel()
            _, late = await asyncio.wait(left, timeout=DRAIN + 2)
            if late:  # libraries lose a cancellation that comes together with an answer
                log.warning("told again to end: %s", ", ".join(sorted(task.get_name() for task in late)))
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for service in self.services.values():
            if service.consumer and not self._background:
                await service.consumer.close()
            if service.relay:
                with contextlib.suppress(*unit.DATABASE_AWAY, asyncpg.PostgresError):
                    await service.relay.release()
        await self._exit.aclose()

    # -- for tests, the demo year and commands ------------------------------------------------------------------------

    async def settle(self) -> None:
        """Brings every event that was emitted into effect, and those that follow from it. For a platform whose background does not run."""
        assert not self._background
        await self._settle()

    async def _settle(self) -> None:
        moved = True
        while moved:
            moved = False
            for service in self.services.values():
                while service.relay and await service.relay.step():
                    moved = True
            for service in self.services.values():
                while service.consumer and await service.consumer.step():
                    moved = True
        if self._follower and not self._background:
            await self._follower.look()

    async def fire(self) -> None:
        """Fires every timer that is due by the platform's clock, and settles; again until nothing is due."""
        fired = 1
        while fired:
            fired = 0
            for service in self.services.values():
                if service.timers:
                    fired += await service.timers.run_due()
            await self.settle()


async def _metrics() -> Answer:
    """What Prometheus reads."""
    body, content_type = await asyncio.to_thread(metrics.exposition)
    return Answer(200, content_type, body)


def _service_named(dispatcher: Dispatcher, path: str, payload: bytes) -> str:
    try:
        return str(getattr(dispatcher.methods[path].request.FromString(payload), "service", ""))
    except ValueError:
        return ""
