"""How often somebody may call: so many reads and so many writes in any minute, for each account, and for each address of callers without one.

The window slides: of the minute before as much counts as still lies within the last sixty seconds. Counts stand in Redis, so that all processes count
together, one round trip for a call or for several; without Redis (one process) they stand in the process, at two microseconds. Redis away: everybody may
pass, which is logged and counted. What must hold in any case, the lock-outs of PINs, stands in PostgreSQL.

A request is counted once, where it enters the platform: at the gateway, or at the gRPC port if another system calls there. What the platform
itself then calls in the caller's name bears a mark (`Marks`) and is not counted again. Operators' RPCs, and what processes ask of each other, are not
counted for those who may call them.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, Final

from google.protobuf.descriptor import MethodDescriptor

from kit import metrics
from kit.errors import ResourceExhausted
from kit.redis import Redis, RedisAway

if TYPE_CHECKING:
    from kit.config import Settings
    from kit.identity import Principal
    from kit.sealing import Keys
    from kit.sections import Limits as Allowed

#: Seconds.
WINDOW: Final = 60

REASON: Final = "RATE_EXCEEDED"

#: An operator who mends something must not be kept waiting, nor a process that follows the register.
_OPERATIONS: Final = "hetao.operations."

REFUSED = metrics.Counter("hetao.rate_limit.refused", "{request}", "requests refused because somebody asked too often")
UNCOUNTED = metrics.Counter("hetao.rate_limit.uncounted", "{request}", "requests that passed because Redis was away")


@dataclass(frozen=True, slots=True)
class Quota:
    """Calls in a minute; 0 is no limit."""

    reads: int
    writes: int


class Limits:
    """The limits of a process. An outside system has its own from the register, the same for reads and for writes."""

    def __init__(self, allowed: Allowed, counts: _Here | _Shared, marks: Marks):
        self.enabled, self.marks = allowed.enabled, marks
        self._counts = counts
        self._account = Quota(allowed.reads, allowed.writes)
        self._address = Quota(allowed.anonymous_reads, allowed.anonymous_writes)

    @classmethod
    def of(cls, settings: Settings, redis: Redis, keys: Keys) -> Limits:
        counts = _Here() if settings.redis_url is None else _Shared(redis, f"hetao:{settings.root_division}:limit")
        return cls(settings.limits, counts, Marks(keys))

    async def take(self, principal: Principal, address: str, *, writes: bool) -> None:
        """Counts a call. ResourceExhausted(RATE_EXCEEDED) with `retry_after` if it is one too many."""
        if not self.enabled or principal.system:
            return
        if principal.account:
            who, quota = f"a:{principal.account}", self._account
            if principal.quota is not None:
                quota = Quota(principal.quota, principal.quota)
        else:
            who, quota = f"i:{_network(address)}", self._address
        limit = quota.writes if writes else quota.reads
        if not limit:
            return
        kind = "writes" if writes else "reads"
        # Redis is told no account and no address.
        key = f"{kind}:{hashlib.blake2b(who.encode(), digest_size=12).hexdigest()}"
        wait = await self._counts.hit(key, limit)
        if wait is None:
            return
        REFUSED.add(1, {"hetao.rate_limit.name": kind})
        raise ResourceExhausted(
            REASON, retry_after=timedelta(seconds=math.ceil(wait)), limit=limit, seconds=WINDOW, kind=kind
        )


def counted(method: MethodDescriptor) -> bool:
    """Whether calls of an RPC are counted also for those who may call it."""
    return not method.full_name.startswith(_OPERATIONS)


def _network(address: str) -> str:
    """What one subscriber has: an IPv4 address, or 64 bits of IPv6."""
    try:
        parsed = ip_address(address)
    except ValueError:  # a caller over a socket file
        return address
    if isinstance(parsed, IPv6Address):
        return str(parsed.ipv4_mapped or parsed.packed[:8].hex())
    return str(parsed)


def headers(params: Mapping[str, str], retry_after: timedelta) -> dict[str, str]:
    """What an HTTP answer says of a limit that was reached (draft-ietf-httpapi-ratelimit-headers), by the error's parameters."""
    seconds = max(1, math.ceil(retry_after.total_seconds()))
    return {
        "retry-after": str(seconds),
        "ratelimit-policy": f'"{params["kind"]}";q={params["limit"]};w={params["seconds"]}',
        "ratelimit": f'"{params["kind"]}";r=0;t={seconds}',
    }


def wait_for(limit: int, before: int, left: float, now: int) -> float:
    """Seconds until one more call fits. `before`, `now`: calls of the window before and of the present one, which ends in `left` seconds."""
    if now < limit:  # enough of the window before must have slid away
        return left - WINDOW * (limit - now - 1) / before if before else 0.0
    return left + WINDOW * (1 - (limit - 1) / now)


class _Here:
    """Counts of this process. Two generations, so that nothing has to be looked through for what is over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._number = -1
        self._before: dict[str, int] = {}
        self._now: dict[str, int] = {}

    async def hit(self, key: str, limit: int) -> float | None:
        """Counts a call, or says how many seconds it is too early."""
        number, passed = divmod(self._clock(), WINDOW)
        if number != self._number:
            self._before = self._now if number == self._number + 1 else {}
            self._now, self._number = {}, int(number)
        before, now, left = self._before.get(key, 0), self._now.get(key, 0), WINDOW - passed
        if before * left / WINDOW + now + 1 <= limit:
            self._now[key] = now + 1
            return None
        return wait_for(limit, before, left, now)


@dataclass(slots=True)
class _InHand:
    """Calls that were counted in Redis and not made yet, good until a moment. `step`: how many were taken together the last time."""

    left: int
    step: int
    until: float


class _Shared:
    """Counts of all processes, in Redis. An account that calls often is counted in steps, up to a hundredth of its limit and good for a second:
    a call of Redis costs a tenth of a millisecond of CPU."""

    LARGEST_STEP: Final = 100  # th of the limit
    GOOD_FOR: Final = 1.0
    REMEMBERED: Final = 4096

    def __init__(self, redis: Redis, prefix: str, clock: Callable[[], float] = time.monotonic):
        self._redis, self._prefix, self._clock = redis, prefix, clock
        self._storage: Any = None
        self._hands: dict[str, _InHand] = {}

    async def hit(self, key: str, limit: int) -> float | None:
        hand, now = self._hands.get(key), self._clock()
        step = 1
        if hand is not None and now < hand.until:
            if hand.left:
                hand.left -= 1
                return None
            step = min(hand.step * 2, max(1, limit // self.LARGEST_STEP))
        try:
            if not await self._take(key, limit, step):
                if step == 1 or not await self._take(key, limit, 1):
                    return await self._wait(key, limit)
                step = 1
        except RedisAway:
            UNCOUNTED.add(1)
            return None
        if len(self._hands) >= self.REMEMBERED:
            self._hands.clear()
        self._hands[key] = _InHand(step - 1, step, now + self.GOOD_FOR)
        return None

    async def _take(self, key: str, limit: int, step: int) -> bool:
        taken: bool = await self._redis.ask(
            lambda _: self._scripts().acquire_sliding_window_entry(key, limit, WINDOW, step)
        )
        return taken

    async def _wait(self, key: str, limit: int) -> float:
        before, slides, now, ends = await self._redis.ask(lambda _: self._scripts().get_sliding_window(key, WINDOW))
        left = slides if before else max(0.0, ends - WINDOW)
        return max(0.0, wait_for(limit, before, left, now))

    def _scripts(self) -> Any:
        """Those of the library `limits`: each is one round trip, and atomic."""
        if self._storage is None:
            from limits.aio.storage import RedisStorage

            pool: Any = self._redis.client.connection_pool
            self._storage = RedisStorage(
                "async+redis://", implementation="redispy", key_prefix=self._prefix, connection_pool=pool
            )
        return self._storage


class Marks:
    """Says of a call that it comes from a process of this installation, in the name of a caller who was counted already.

    A keyed digest of the caller's token and the present five minutes, by a key that only the installation's processes have. It says nothing of who
    calls: that the token does, as ever.
    """

    HEADER: Final = "hetao-counted"
    SECONDS: Final = 300
    REMEMBERED: Final = 4096

    def __init__(self, keys: Keys, clock: Callable[[], float] = time.time):
        self._keys, self._clock = keys, clock
        self._made: dict[tuple[str, int], list[str]] = {}

    def of(self, token: str) -> str:
        return self._marks(token, int(self._clock() // self.SECONDS))[0]

    def holds(self, mark: str, token: str) -> bool:
        now = int(self._clock() // self.SECONDS)
        return any(
            hmac.compare_digest(mark.encode(), ours.encode())
            for period in (now, now - 1, now + 1)
            for ours in self._marks(token, period)
        )

    def _marks(self, token: str, period: int) -> list[str]:
        """Under every key of the keyring, the current one first."""
        made = self._made.get((token, period))
        if made is None:
            if len(self._made) >= self.REMEMBERED:
                self._made.clear()
            found = self._keys.marks("counted", f"{period}:{token}".encode())
            made = self._made[token, period] = [one.hex() for one in found]
        return made
