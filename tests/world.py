"""A small Bayannur for tests: the platform in this process, a clock that the test moves, and persons who call.

async def test_…(world):
    grid = world.stub(GridServiceStub, "grid", "grid-worker")
    report = await grid.CreateReport(pb.CreateReportRequest(…))
    await world.settle()                      # every event is in effect
    await world.travel("2026-03-09 09:00")    # timers that fall due on the way have fired
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, LocalizedMessage
from google.rpc.status_pb2 import Status
from grpc.aio import AioRpcError

from kit.clock import BUSINESS_ZONE, VirtualClock
from kit.platform import Platform
from kit.rpc.status import DETAILS

T = TypeVar("T")

#: A Monday morning, an ordinary working day.
MORNING = datetime(2026, 3, 2, 9, 0, tzinfo=BUSINESS_ZONE)


class World:
    def __init__(self, platform: Platform, clock: VirtualClock):
        self.platform, self.clock = platform, clock

    def stub(self, of: Callable[[Any], T], service: str, account: str | None = None) -> T:
        """A generated stub as one person uses it; without an account, as somebody without one."""
        return of(_Signed(self.platform.channel(service), self.token(account) if account else ""))

    def token(self, account: str) -> str:
        assert self.platform.issuer is not None
        return self.platform.issuer.mint(account)

    async def settle(self) -> None:
        await self.platform.settle()

    async def travel(self, to: str | timedelta) -> None:
        """Moves the clock, stopping at every timer on the way. `to`: "2026-03-09 09:00" where the work is done, or how far."""
        goal = (
            self.clock.now() + to
            if isinstance(to, timedelta)
            else datetime.fromisoformat(to).replace(tzinfo=BUSINESS_ZONE)
        )
        await self.settle()
        while (due := await self._next_timer()) is not None and due <= goal:
            self.clock.move_to(due)
            await self.platform.fire()
        self.clock.move_to(goal)
        await self.platform.fire()

    async def _next_timer(self) -> datetime | None:
        moments = [
            await service.runtime.pool.fetchval("select min(due) from timer where parked_at is null")
            for service in self.platform.services.values()
            if service.timers
        ]
        return min((moment for moment in moments if moment), default=None)

    async def rows(self, service: str, sql: str, *args: Any) -> list[Any]:
        """What stands in a service's tables."""
        return list(await self.platform.services[service].runtime.pool.fetch(sql, *args))


class _Signed:
    """A channel that signs every call with one person's token."""

    def __init__(self, channel: Any, token: str):
        self._channel, self._metadata = channel, [("authorization", f"Bearer {token}")] if token else []

    def unary_unary(self, *args: Any, **kwargs: Any) -> Callable[..., Awaitable[Any]]:
        call = self._channel.unary_unary(*args, **kwargs)

        async def signed(request: Any, *, metadata: Any = (), timeout: float | None = None) -> Any:
            return await call(request, metadata=[*self._metadata, *metadata], timeout=timeout)

        return signed


class Refusal:
    """What a refused caller was told."""

    def __init__(self, error: AioRpcError):
        status = Status.FromString(dict(error.trailing_metadata())[DETAILS])
        self.code, self.reason, self.fields, self.labels, self.zh, self.en = error.code().name, "", [], [], "", ""
        self.params: dict[str, str] = {}
        for detail in status.details:
            if detail.Is(ErrorInfo.DESCRIPTOR):
                info = ErrorInfo()
                detail.Unpack(info)
                self.reason, self.params = info.reason, dict(info.metadata)
            elif detail.Is(BadRequest.DESCRIPTOR):
                bad = BadRequest()
                detail.Unpack(bad)
                self.fields = [v.field for v in bad.field_violations]
                self.labels = [v.localized_message.message for v in bad.field_violations]
            elif detail.Is(LocalizedMessage.DESCRIPTOR):
                text = LocalizedMessage()
                detail.Unpack(text)
                if text.locale == "en":
                    self.en = text.message
                else:
                    self.zh = text.message

    def __repr__(self) -> str:
        return f"Refusal({self.code}, {self.reason}, {self.fields}, {self.zh})"


async def refused(call: Awaitable[Any]) -> Refusal:
    """The refusal that a call must end with."""
    try:
        answer = await call
    except AioRpcError as error:
        return Refusal(error)
    raise AssertionError(f"it was not refused: {answer}")
