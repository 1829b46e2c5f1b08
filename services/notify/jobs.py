"""What notify does by itself: it sends what is due, looks after what was lost, and goes on with what is not read."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from uuid import UUID

import httpx
from opentelemetry.trace import SpanKind

from kit import telemetry
from kit.egress import Egress
from kit.errors import Unavailable
from kit.module import Runtime
from kit.timers import Timer, timer
from kit.unit import DATABASE_AWAY, Unit
from services.notify.channels import CALL_TIMEOUT, Channel
from services.notify.model import Outcome, Outgoing
from services.notify.service import BUNDLE, LOOK, LOST, MANUAL_DUE, UNREAD, Notify
from services.notify.store import messages as store

log = logging.getLogger(__name__)

#: Seconds between two looks for what is due.
POLL = 1.0

#: Calls at the same time.
AT_ONCE = 8


def timers(service: Notify) -> list[Timer]:
    @timer(LOST)
    async def lose(unit: Unit, key: str) -> None:
        await service.lose(unit, UUID(key))

    @timer(LOOK)
    async def look_again(unit: Unit, key: str) -> None:
        await service.look_again(unit, UUID(key))

    @timer(UNREAD)
    async def unread(unit: Unit, key: str) -> None:
        await service.reminders.unread(unit, UUID(key))

    @timer(BUNDLE)
    async def bundle(unit: Unit, key: str) -> None:
        await service.reminders.bundle(unit, key)

    @timer(MANUAL_DUE)
    async def manual_due(unit: Unit, key: str) -> None:
        await service.manual.due(unit, UUID(key))

    return [lose, look_again, unread, bundle, manual_due]


#: Seconds to wait between the tries to record an outcome: what is not recorded is unknown.
RECORDING = (0.2, 1.0, 5.0)

#: The database is away, or nobody knows whether it has committed.
PASSING = (*DATABASE_AWAY, Unavailable)


class Sender:
    """The worker that makes the calls. Any number of processes may run one: the attempt's row is the claim.

    An attempt is committed before its call and its outcome after it, so a crash in between is known: the timer `LOST` tells.
    """

    def __init__(self, runtime: Runtime, service: Notify, channels: Mapping[str, Channel], egress: Egress) -> None:
        self._runtime, self._service, self._channels, self._egress = runtime, service, channels, egress

    async def run(self) -> None:
        """Until cancelled; calls under way are then finished, since to drop them would leave their outcomes unknown."""
        async with self.client() as client:
            step: asyncio.Task[int] | None = None
            try:
                while True:
                    step = asyncio.create_task(self.step(client))
                    try:
                        sent = await asyncio.shield(step)
                    except PASSING as error:
                        log.warning("sending waits: %s", type(error).__name__)
                        sent = 0
                    if sent < AT_ONCE:
                        await asyncio.sleep(POLL)
            finally:
                if step is not None and not step.done():
                    await asyncio.wait([step], timeout=CALL_TIMEOUT)

    def client(self) -> httpx.AsyncClient:
        return self._egress.client(CALL_TIMEOUT)

    async def step(self, client: httpx.AsyncClient) -> int:
        """Sends some of what is due now. Returns how many were tried."""
        due = await self._runtime.read(lambda unit: store.due(unit, AT_ONCE), action="notify.due")
        results = await asyncio.gather(*(self._traced(client, *each) for each in due), return_exceptions=True)
        for failure in results:  # only when all have ended, so that none is dropped
            if isinstance(failure, BaseException):
                raise failure
        return len(due)

    async def _traced(self, client: httpx.AsyncClient, delivery_id: UUID, channel: str, traceparent: str) -> None:
        """The attempt, the call and its outcome belong to the trace of what is told."""
        told = {"hetao.channel": channel}
        with telemetry.span(self._runtime.name, f"deliver {channel}", SpanKind.INTERNAL, traceparent, told):
            await self._deliver(client, delivery_id)

    async def _deliver(self, client: httpx.AsyncClient, delivery_id: UUID) -> None:
        transact, service = self._runtime.transact, self._service
        try:
            message = await transact(lambda unit: service.begin(unit, delivery_id), action="notify.attempt")
        except PASSING:
            raise
        except Exception as error:
            log.error("delivery %s cannot be begun", delivery_id, exc_info=error)
            await transact(lambda unit: service.abandon(unit, delivery_id), action="notify.attempt")
            return
        if message is not None:
            outcome = await self._send(client, message)
            await self._record(message, outcome)

    async def _send(self, client: httpx.AsyncClient, message: Outgoing) -> Outcome:
        try:
            async with asyncio.timeout(CALL_TIMEOUT * 2):  # the client's own limits are per step of a call
                return await self._channels[message.channel].send(client, message)
        except TimeoutError:
            return Outcome(Outcome.UNKNOWN, "TIMEOUT")

    async def _record(self, message: Outgoing, outcome: Outcome) -> None:
        async def end(unit: Unit) -> None:
            await self._service.end(unit, message.id, message.number, outcome)

        for wait in RECORDING:
            try:
                await self._runtime.transact(end, action="notify.outcome")
                return
            except PASSING:
                await asyncio.sleep(wait)
        await self._runtime.transact(end, action="notify.outcome")
