"""What operators ask of every service: dead letters and the rebuild of read models (hetao.operations.v1)."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from hetao.operations.v1 import operations_pb2 as pb
from kit.consumer import Consumer
from kit.database import shadow_of
from kit.errors import FailedPrecondition, InvalidArgument
from kit.log import Log, lag
from kit.module import Parts, Runtime
from kit.paging import Page
from kit.proto import stamp
from kit.unit import Unit

#: After the last aggregate: wait until all that was said has left for the log.
LEAVING = "leaving"


class OperationsApi:
    """The operations of one service."""

    def __init__(self, runtime: Runtime, parts: Parts, consumer: Consumer | None, event_log: Log):
        self._runtime, self._parts, self._consumer, self._log = runtime, parts, consumer, event_log

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, unit: Unit) -> pb.ListDeadLettersResponse:
        page = Page.of(unit, request)
        rows = await unit.fetch(
            "select id, handler, event_id, type, key, error, attempts, parked_at from parked where id > $1 order by id limit $2",
            *(page.after or (0,)),
            page.limit,
        )
        shown, token = page.cut(rows, key=lambda row: (row["id"],))
        return pb.ListDeadLettersResponse(dead_letters=[_dead_letter(row) for row in shown], next_page_token=token)

    async def RedriveDeadLetters(
        self, request: pb.RedriveDeadLettersRequest, unit: Unit
    ) -> pb.RedriveDeadLettersResponse:
        if self._consumer is None or request.handler not in self._consumer.by_name:
            raise InvalidArgument("HANDLER_UNKNOWN", field="handler", handler=request.handler)
        return pb.RedriveDeadLettersResponse(redriven=await self._consumer.redrive(unit, request.handler, request.key))

    async def BeginRebuild(self, request: pb.BeginRebuildRequest, unit: Unit) -> pb.BeginRebuildResponse:
        """Empty copies of the projections in the shadow schema. Begun again, it begins anew."""
        module = self._runtime.module
        if not module.projections:
            raise FailedPrecondition("NOTHING_TO_REBUILD", service=module.name)
        shadow = shadow_of(module.name)
        # The consumers look for this row in the transaction of each batch; the lock lets those under way finish first.
        await unit.execute("lock table rebuild in access exclusive mode")
        for table in module.projections:
            await unit.execute(f"drop table if exists {shadow}.{table}")
            await unit.execute(f"create table {shadow}.{table} (like {module.name}.{table} including all)")
        await unit.execute(
            "insert into rebuild (started_at) values ($1) on conflict (only_one) do update set started_at = $1",
            unit.now,
        )
        return pb.BeginRebuildResponse(owners=sorted({*module.hears}))

    async def Republish(self, request: pb.RepublishRequest, unit: Unit) -> pb.RepublishResponse:
        if self._parts.snapshots is None:
            return pb.RepublishResponse()
        if request.after == LEAVING:
            waiting = await unit.fetchval("select exists (select from outbox)")
            return pb.RepublishResponse(next=LEAVING if waiting else "")
        events, after = await self._parts.snapshots(unit, UUID(request.after) if request.after else None)
        unit.emit_snapshots(events)
        return pb.RepublishResponse(count=len(events), next=str(after) if after else LEAVING)

    async def FinishRebuild(self, request: pb.FinishRebuildRequest, unit: Unit) -> pb.FinishRebuildResponse:
        module = self._runtime.module
        await unit.execute("lock table rebuild in access exclusive mode")
        if not await unit.fetchval("select exists (select from rebuild)"):
            raise FailedPrecondition("NO_REBUILD", service=module.name)
        assert self._consumer is not None
        missing = await lag(self._log, module.name, self._consumer.topics)
        missing += await unit.fetchval("select count(*) from outbox")  # its own aggregates' events too
        if missing:
            return pb.FinishRebuildResponse(missing=missing)
        shadow = shadow_of(module.name)
        for table in module.projections:
            await unit.execute(f"drop table {module.name}.{table}")
            await unit.execute(f"alter table {shadow}.{table} set schema {module.name}")
        await unit.execute("delete from rebuild")
        return pb.FinishRebuildResponse(finished=True)


def _dead_letter(row: asyncpg.Record) -> pb.DeadLetter:
    return pb.DeadLetter(
        handler=row["handler"],
        event_id=str(row["event_id"]),
        type=row["type"],
        key=row["key"],
        error=row["error"],
        attempts=row["attempts"],
        parked_at=stamp(row["parked_at"]),
    )
