"""The runner of targets: brings up the chosen services in one process, in order, and takes them down again.

    async with Platform(settings, [grid.MODULE, cases.MODULE]) as platform:
        await platform.until_stopped()

The order: database → keys and identity → migrations → connections → services → reference data → relay, consumers, timers → listeners → ready.
Down again the other way round; calls under way are finished first. Services of this process are called in process, others over a socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Self

import asyncpg
import grpc

from hetao.operations.v1 import operations_pb2
from kit import folders, telemetry, unit
from kit.clock import Clock
from kit.config import DATA, Settings
from kit.consumer import Consumer
from kit.database import LOG_SCHEMA, Database
from kit.errors import StartupError
from kit.identity import Roles, Verifier, check_trust
from kit.issuer import DemoIssuer
from kit.log import Log
from kit.log.sql import SqlLog
from kit.migrate import migrate
from kit.module import POSTGRES, Module, Parts, Runtime
from kit.operations import OperationsApi
from kit.relay import Relay
from kit.rpc.channel import LocalChannel
from kit.rpc.methods import methods_of
from kit.rpc.pipeline import Dispatcher
from kit.rpc.server import Server
from kit.sealing import Keys
from kit.statutory import Deadlines
from kit.texts import Texts
from kit.timers import TimerLoop
from kit.upkeep import clean, seal_audit

log = logging.getLogger(__name__)

#: Seconds that calls under way have to end at a drain.
DRAIN = 10.0

OPERATIONS = operations_pb2.DESCRIPTOR.services_by_name["OperationsService"]

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
    """`listen`: whether gRPC listens on its port; `background`: whether relay, consumers, timers and workers run by themselves."""

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
    ):
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
        self._waiting_for = "start"

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
        telemetry.set_up(
            service="hetao",
            otlp_endpoint=self.settings.telemetry.otlp_endpoint or "",
            ratio=self.settings.telemetry.sample_ratio,
        )
        check_trust(self.settings)
        for name in ("keys", "media"):  # made by an earlier version, or restored with the modes of another machine
            folders.close(self.settings.data_dir / name)
        self._progress("启动数据库", "starting the database")
        if self._given_database:
            self.database = self._given_database
        else:
            self.database = await self._exit.enter_async_context(Database.open(self.settings))
        fresh = False
        stored = [module.name for module in self.modules if POSTGRES in module.engines]
        if self.settings.database.prepare:
            await self.database.prepare([*stored, LOG_SCHEMA])
            fresh = await self._is_fresh(stored)
        self._progress("读取密钥与规则", "reading keys and rules")
        self._open_trust(data_exists=not fresh)  # before the first table: a first start that was killed can go on
        if self.settings.database.prepare:
            self._progress("升级表结构", "migrating the schemas")
            await migrate(self.database, self.modules)
        self.log = await self._open_log()
        for module in self.modules:
            self.services[module.name] = await self._build(module)
        await self._load_data()
        if fresh:  # else a first caller might meet a service that has not heard of its neighbours yet
            self._progress("首批事件生效", "bringing the first events into effect")
            await self._settle()
        if self._background:
            self._run_background()
        if self._listen:
            await self._open_server()
        self._waiting_for = ""

    async def _is_fresh(self, schemas: Sequence[str]) -> bool:
        """Whether no service has ever stored anything here."""
        for schema in schemas:
            connection = await self.database.connect(schema)
            try:
                if await connection.fetchval("select to_regclass('migration') is not null"):
                    return False
            finally:
                await connection.close()
        return True

    async def _open_log(self) -> Log:
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
        self.verifier = Verifier.of(settings, Roles.load(DATA / "roles.toml"), self.clock, self.issuer)
        self.deadlines, self.texts = Deadlines.load(DATA), Texts.load(DATA / "texts")

    async def _pool(self, schema: str, size: int, name: str = "") -> Any:
        pool = await self.database.open_pool(schema, size, name=name)
        self._exit.push_async_callback(pool.close)
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
        """The installation's epoch. Raises `StartupError` if its data were sealed with another keyring."""
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
        self._run("log", self._trim_log())
        for service in self.services.values():
            for worker in service.parts.workers:
                self._run(f"worker {service.runtime.name}", worker())

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

    async def _trim_log(self) -> None:
        retention = self.settings.retention
        while True:
            try:
                before = self.clock.now() - timedelta(days=retention.topic_days)
                gone = retention.batch
                while gone == retention.batch:
                    gone = await self.log.trim(before, retention.batch)
            except (*unit.DATABASE_AWAY, asyncpg.PostgresError) as error:
                log.warning("the log waits to be trimmed: %s", type(error).__name__)
            await asyncio.sleep(retention.every_seconds)

    async def _open_server(self) -> None:
        grpc_settings = self.settings.grpc
        names = sorted(
            {
                m.descriptor.containing_service.full_name
                for s in self.services.values()
                for m in s.dispatcher.methods.values()
            }
        )
        self.server = Server(self._route, names, f"{grpc_settings.host}:{grpc_settings.port}")
        await self.server.start()
        await self.server.ready(True)

    # -- calls --------------------------------------------------------------------------------------------------------

    def channel(self, service: str) -> Any:
        """A channel to a service: in process where it is here, else to the address that the settings give."""
        if service not in self._channels:
            if any(module.name == service for module in self.modules):
                self._channels[service] = LocalChannel(lambda: self.services[service].dispatcher)
            elif address := self.settings.grpc.addresses.get(service):
                channel = grpc.aio.insecure_channel(address)
                self._exit.push_async_callback(channel.close, None)
                self._channels[service] = channel
            else:
                raise RuntimeError(f"nobody says where the service {service} is (HETAO_GRPC__ADDRESSES)")
        return self._channels[service]

    def _route(self, path: str, payload: bytes) -> Dispatcher | None:
        """Who answers a path. The operations of all services have the same path: there the request names the service."""
        holders = [s.dispatcher for s in self.services.values() if path in s.dispatcher.methods]
        if len(holders) < 2 or not payload:
            return holders[0] if holders else None
        named = _service_named(holders[0], path, payload)
        return self.services[named].dispatcher if named in self.services else holders[0]

    def readiness(self) -> Mapping[str, str]:
        """What this process still waits for; empty when it is ready."""
        return {"start": "not finished"} if self._waiting_for else {}

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
        self._waiting_for = "stop"
        if self.server:
            await self.server.stop(DRAIN)
        for task in self._tasks:
            task.cancel()
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

    async def fire(self) -> None:
        """Fires every timer that is due by the platform's clock, and settles; again until nothing is due."""
        fired = 1
        while fired:
            fired = 0
            for service in self.services.values():
                if service.timers:
                    fired += await service.timers.run_due()
            await self.settle()


def _service_named(dispatcher: Dispatcher, path: str, payload: bytes) -> str:
    try:
        return str(getattr(dispatcher.methods[path].request.FromString(payload), "service", ""))
    except ValueError:
        return ""
