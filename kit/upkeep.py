"""What keeps a service's own tables small and its audit sealed, in small batches that block nobody."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import asyncpg

from kit.audit import Sealer
from kit.clock import Clock
from kit.log import Log
from kit.module import Runtime
from kit.sections import Retention
from kit.unit import DATABASE_AWAY

log = logging.getLogger(__name__)


async def seal_audit(runtime: Runtime) -> None:
    """Seals the audit every few seconds, until cancelled."""
    sealer = Sealer(runtime.name)
    while True:
        try:
            async with runtime.background_pool.acquire() as connection:
                await sealer.seal(connection, runtime.clock.now())
        except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
            log.warning("the audit of %s waits to be sealed: %s", runtime.name, type(error).__name__)
        await asyncio.sleep(runtime.settings.audit.seal_seconds)


async def clean(runtime: Runtime) -> None:
    """Drops inbox rows, stored replies and the service's own passing rows that are past their retention, until cancelled."""
    while True:
        try:
            await clean_once(runtime)
        except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
            log.warning("the clean-up of %s waits: %s", runtime.name, type(error).__name__)
        await asyncio.sleep(runtime.settings.retention.every_seconds)


async def clean_once(runtime: Runtime) -> int:
    """Everything that is past its retention now, batch by batch. Returns the number of rows dropped."""
    retention, now, dropped = runtime.settings.retention, runtime.clock.now(), 0
    own = ((table, *kept) for table, kept in runtime.module.passing.items())
    for table, at, days in (("inbox", "at", retention.inbox_days), ("reply", "at", retention.reply_days), *own):
        while True:
            tag = await runtime.background_pool.execute(
                f"delete from {table} where ctid = any(array(select ctid from {table} where {at} < $1 limit $2))",
                now - timedelta(days=days),
                retention.batch,
            )
            gone = int(tag.split()[-1])
            dropped += gone
            if gone < retention.batch:
                break
    return dropped


async def trim_log(event_log: Log, retention: Retention, clock: Clock) -> None:
    """Drops what the log has kept long enough, until cancelled. (Kafka does so by itself.)"""
    while True:
        try:
            before, gone = clock.now() - timedelta(days=retention.topic_days), retention.batch
            while gone == retention.batch:
                gone = await event_log.trim(before, retention.batch)
        except (*DATABASE_AWAY, asyncpg.PostgresError) as error:
            log.warning("the log waits to be trimmed: %s", type(error).__name__)
        await asyncio.sleep(retention.every_seconds)
