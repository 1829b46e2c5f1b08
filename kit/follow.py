"""Keeps this process's copy of the register fresh (kit/register.py).

It asks the service that keeps the register every `register_seconds`, at once where that service is in this process and has changed it, and at once
where another process says so in Redis. So what is revoked is so everywhere within `register_seconds` and the time of one call, also while Redis is
away; the note in Redis only makes it quicker.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import grpc

from hetao.operations.v1 import trust_pb2 as pb
from hetao.operations.v1 import trust_pb2_grpc
from kit.cancelling import obey
from kit.clock import Clock
from kit.proto import moment
from kit.readiness import Readiness
from kit.redis import Redis, RedisAway
from kit.register import Register, Revoked, System

if TYPE_CHECKING:
    from kit.config import Settings

log = logging.getLogger(__name__)

#: Seconds that one look may take.
PATIENCE: Final = 2.0

#: Seconds between two looks at the note in Redis.
NOTE_EVERY: Final = 0.25

#: Seconds between two lines in the log while the register does not answer.
SAY_AGAIN: Final = 30.0

NOTE: Final = "hetao:register"


class Follower:
    """`token` makes the token of this process; `redis` is None where there is none that others see; `note`: the note's name in Redis."""

    def __init__(
        self,
        register: Register,
        channel: Any,
        token: Callable[[], str],
        clock: Clock,
        *,
        every: float,
        redis: Redis | None = None,
        note: str = NOTE,
    ) -> None:
        self._register, self._token, self._clock = register, token, clock
        self._stub = trust_pb2_grpc.TrustServiceStub(channel)
        self._every, self._redis, self._name = every, redis, note
        self._next, self._said = "", float("-inf")
        self._noted: bytes | str = b""
        self._heard: float | None = None

    @classmethod
    def of(
        cls,
        settings: Settings,
        register: Register,
        channel: Any,
        token: Callable[[], str],
        clock: Clock,
        redis: Redis,
    ) -> Follower:
        """Of a process; from now on its register must be heard of."""
        identity = settings.identity
        register.follow(identity.register_away_minutes * 60)
        shared = redis if settings.redis_url is not None else None
        note = f"{NOTE}:{settings.root_division}"
        return cls(register, channel, token, clock, every=identity.register_seconds, redis=shared, note=note)

    def watches(self, state: Readiness, patience: float) -> Iterator[tuple[str, Awaitable[None]]]:
        """It is waited for at the start, but not for ever: then callers are told that they cannot be let in, and the process says why."""

        async def heard() -> None:
            if self._heard is None:
                raise ConnectionError("not heard of yet")
            if (silent := time.monotonic() - self._heard) > 3 * self._every + PATIENCE:
                raise ConnectionError(f"silent for {silent:.0f} s")

        async def watch() -> None:
            with contextlib.suppress(ConnectionError, TimeoutError):
                await state.until("register", heard, seconds=patience)
            state.waiting.pop("register", None)
            await state.watch("register", heard, needed=False)

        state.waiting["register"] = "not asked yet"
        yield "register", watch()

    async def look(self) -> None:
        """Takes over what is new. Raises `grpc.aio.AioRpcError` where the register does not answer."""
        systems: list[System] = []
        revoked: list[Revoked] = []
        whole, after, more = False, self._next, True
        while more:
            request = pb.GetTrustRequest(after=after)
            metadata = (("authorization", f"Bearer {self._token()}"),)
            answer = await self._stub.GetTrust(request, metadata=metadata, timeout=PATIENCE)
            obey()
            if answer.whole:
                systems, revoked, whole = [], [], True
            systems += map(_system, answer.systems)
            revoked += map(_revoked, answer.revocations)
            after, more = answer.next, answer.more
        self._register.change(systems, revoked, whole=whole, now=self._clock.now().timestamp())
        self._next, self._heard = after, time.monotonic()
        self._register.heard()

    async def run(self) -> None:
        """Until cancelled."""
        due = time.monotonic()
        while True:
            own = self._register.wanted.is_set()
            self._register.wanted.clear()
            if own or time.monotonic() >= due or await self._is_noted():
                due = time.monotonic() + self._every
                await self._try()
                if own:
                    await self._note()
            pause = min(NOTE_EVERY, self._every) if self._redis else max(0.01, due - time.monotonic())
            try:
                async with asyncio.timeout(pause):
                    await self._register.wanted.wait()
            except TimeoutError:
                continue

    async def _try(self) -> None:
        try:
            await self.look()
        except (grpc.RpcError, OSError) as error:
            obey()
            if time.monotonic() - self._said >= SAY_AGAIN:
                self._said = time.monotonic()
                said = error.code().name if isinstance(error, grpc.aio.AioRpcError) else type(error).__name__
                log.warning("the register does not answer: %s", said)

    async def _is_noted(self) -> bool:
        """Whether another process says that the register has changed."""
        if self._redis is None:
            return False
        try:
            found = await self._redis.ask(lambda redis: redis.get(self._name))
        except RedisAway:
            return False
        changed, self._noted = found is not None and found != self._noted, found or self._noted
        return changed

    async def _note(self) -> None:
        if self._redis is not None:
            try:
                await self._redis.ask(lambda redis: redis.incr(self._name))
            except RedisAway:
                return


def _system(told: pb.TrustedSystem) -> System:
    return System(
        account=told.system_id,
        roles=tuple(told.roles),
        divisions=tuple(told.divisions),
        quota=told.quota_per_minute or None,
        enabled=told.enabled,
        client_id=told.client_id,
        client_subject=told.client_subject,
        certificates=tuple(told.certificates),
    )


def _revoked(told: pb.Revocation) -> Revoked:
    before = moment(told.before).timestamp() if told.HasField("before") else None
    return Revoked(told.mark, before, moment(told.until).timestamp())
