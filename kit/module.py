"""What a service is to the platform: a name, how it is built, and all that it touches.

`calls`, `hears`, `engines` and `egress` are declared, and tests hold the code to the declaration; network policies are made from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import asyncpg
from google.protobuf.descriptor import ServiceDescriptor

from kit import telemetry
from kit import unit as units
from kit.clock import Clock
from kit.errors import StartupError
from kit.events import Event, Handler
from kit.identity import Principal
from kit.issuer import DemoIssuer
from kit.limits import Limits
from kit.log import Log
from kit.metrics import Gauge, Reading
from kit.redis import Redis
from kit.reseal import Sealed
from kit.rpc.traced import TracedChannel
from kit.sealing import Keys
from kit.statutory import Deadlines
from kit.texts import Texts
from kit.timers import Timer
from kit.unit import Unit
from kit.verifier import Verifier

if TYPE_CHECKING:
    from kit.config import Settings

T = TypeVar("T")

#: The engines that a module may use.
POSTGRES, LOG, REDIS, BLOBS = "postgres", "log", "redis", "blobs"


@dataclass(frozen=True, slots=True)
class Parts:
    """What a built service offers.

    rpc        the servicer of each gRPC service
    hears      its event handlers
    timers     its timers
    workers    functions that run from readiness to drain; they are cancelled at drain
    reference  loads the data that is shipped with the product; runs at every start, so it must be idempotent
    demo       the same for demo data, in the embedded profile alone
    readings   what its tables say for its own metrics, read every few seconds
    snapshots  (unit, after id) → the present state of some aggregates as events, and the id to go on after, or None at the end
    """

    rpc: Mapping[ServiceDescriptor, Any] = field(default_factory=dict)
    hears: Sequence[Handler] = ()
    timers: Sequence[Timer] = ()
    workers: Sequence[Callable[[], Awaitable[None]]] = ()
    reference: Callable[[Unit], Awaitable[None]] | None = None
    demo: Callable[[Unit], Awaitable[None]] | None = None
    snapshots: Callable[[Unit, UUID | None], Awaitable[tuple[Sequence[Event], UUID | None]]] | None = None
    readings: Callable[[Unit], Awaitable[Mapping[Gauge, Sequence[Reading]]]] | None = None


@dataclass(frozen=True, slots=True)
class Module:
    """A service's whole wiring. `calls`: services whose read RPCs it uses; `hears`: services whose events it handles; `egress`: what it
    reaches outside the platform; `projections`: tables that a rebuild makes anew; `passing`: tables whose rows go by themselves, each with the
    column that tells a row's time and for how many days it is kept; `sealed`: columns of sealed values."""

    name: str
    build: Callable[[Runtime], Parts]
    calls: Sequence[str] = ()
    hears: Sequence[str] = ()
    engines: Sequence[str] = ()
    egress: Sequence[str] = ()
    migrations: Path | None = None
    projections: Sequence[str] = ()
    passing: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    sealed: Sequence[Sealed] = ()


class Runtime:
    """What the kit gives to one service in one process."""

    def __init__(
        self,
        module: Module,
        *,
        settings: Settings,
        clock: Clock,
        keys: Keys,
        verifier: Verifier,
        issuer: DemoIssuer | None,
        deadlines: Deadlines,
        texts: Texts,
        channel: Callable[[str], Any],
        pools: tuple[asyncpg.Pool, asyncpg.Pool] | None,
        readiness: Callable[[], Mapping[str, str]],
        limits: Limits,
        redis: Redis | None = None,
        log: Log | None = None,
    ):
        self.module, self.name = module, module.name
        self.background_pool_name = f"{module.name} background"
        self.settings, self.clock, self.keys, self.verifier = settings, clock, keys, verifier
        self.deadlines, self.texts, self.readiness = deadlines, texts, readiness
        #: The demo issuer, in the embedded profile alone.
        self.issuer = issuer
        self.limits = limits
        self._channel, self._pools, self._redis, self._log = channel, pools, redis, log
        self.system = Principal.system_of(settings.root_division)
        self.source = f"/{settings.root_division}/{module.name}"
        #: Raised by 1 at install and at every restore; events carry it.
        self.epoch = 1
        #: Set after a commit that left something to do.
        self.relay_wanted, self.timers_wanted = asyncio.Event(), asyncio.Event()

    def check_epoch(self, epoch: int) -> None:
        """`epoch`: what the database says now. A process that has lived through a restore knows what is gone: `StartupError` ends it."""
        if epoch != self.epoch:
            raise StartupError(
                f"服务 {self.name} 的数据已从备份恢复：请重新启动本进程",
                f"the data of {self.name} were restored meanwhile: start this process again",
            )

    @property
    def pool(self) -> asyncpg.Pool:
        """For calls that somebody waits for."""
        return self._pools_or_fail()[0]

    @property
    def background_pool(self) -> asyncpg.Pool:
        """For the relay, consumers and timers: however busy they are, callers are served."""
        return self._pools_or_fail()[1]

    def _pools_or_fail(self) -> tuple[asyncpg.Pool, asyncpg.Pool]:
        if self._pools is None:
            raise RuntimeError(f"the module {self.name} does not declare the engine postgres")
        return self._pools

    @property
    def log(self) -> Log:
        """The log of events, for whoever reads it without a group; relays and consumers are the kit's own."""
        if self._log is None:
            raise RuntimeError(f"the module {self.name} does not declare the engine log")
        return self._log

    @property
    def redis(self) -> Redis:
        """Keeps what may be lost. Whoever asks it goes on without an answer where there is none."""
        if self._redis is None:
            raise RuntimeError(f"the module {self.name} does not declare the engine redis")
        return self._redis

    def channel(self, service: str) -> Any:
        """A gRPC channel to another service, in process or over a socket. Only to what the module declares in `calls`."""
        if service not in self.module.calls:
            raise RuntimeError(f"the module {self.name} does not declare that it calls {service}")
        return TracedChannel(self._channel(service), self.name, service)

    def stub(self, of: Callable[[Any], T], service: str) -> T:
        """`runtime.stub(grid_pb2_grpc.GridServiceStub, "grid")`"""
        return of(self.channel(service))

    async def transact(self, work: Callable[[Unit], Awaitable[T]], *, action: str) -> T:
        """Work of the service's own accord (a worker's, not an RPC's), in a writing unit as the system principal, of the present trace."""
        trace = telemetry.traceparent()
        return await units.run(
            lambda: Unit(self, self.system, writes=True, action=action, background=True, traceparent=trace), work
        )

    async def read(self, work: Callable[[Unit], Awaitable[T]], *, action: str) -> T:
        """The same for reading."""
        return await units.run(lambda: Unit(self, self.system, writes=False, action=action, background=True), work)
