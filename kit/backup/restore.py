"""Putting a backup back: the installation is then what it was at the backup's moment, and knows that time has passed.

- Every schema as of the snapshot; keys and photos where they were. Until all is done no platform starts on the database.
- Each service's epoch rises above any that it ever had, so that readers believe what is said from now on more than what was said before.
- Leases, members and rebuilds under way are forgotten: whoever held them is gone.
- The groups go back to where they stood. What follows in Kafka up to the cut comes into effect, once, for the inbox was restored as well. What
  stands behind the cut was said by writes that are gone, or will be said again by the restored outboxes: it is fenced off.
- If Kafka does not reach to the cut, it was lost too: the backup's own events are written to it again, and the groups go on there.

Lost for good is what was written after the moment. What of it had reached the log is told, event by event (`Gone`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg
import orjson
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from kit.backup import EVENTS, LISTING, Backup, Progress, place_of, silent
from kit.backup.programs import event_ids_in, load, programs_for
from kit.backup.take import kafka_of, unpacked
from kit.blobs import Blobs
from kit.config import Settings
from kit.database import LOG_SCHEMA, Database
from kit.errors import StartupError
from kit.events import topic_of
from kit.log import Batch, Log, LogAway, Place, Record
from kit.log.sql import SqlLog
from kit.migrate import migrate, plan, schemas
from kit.module import Module
from kit.postgres import holder
from kit.sealing import Keys
from kit.secretfile import read_secret, write_secret

if TYPE_CHECKING:
    from kit.log.kafka import KafkaLog


#: How far the clocks of the broker and of the services may be apart.
SKEW: Final = timedelta(minutes=10)

#: Epochs of restores are seconds from the beginning of 2024.
BEGINNING: Final = 1_704_067_200


@dataclass(frozen=True, slots=True)
class Gone:
    """An event of a write that is gone: the last word about its key that had reached the log, or one before it. `version`: of the aggregate, 0 where the
    event carries none."""

    topic: str
    key: str
    type: str
    event_id: str
    time: datetime
    division: str
    version: int

    def dumped(self) -> bytes:
        return orjson.dumps(self)


@dataclass(frozen=True, slots=True)
class Restored:
    """`gone`: in the order of the log, by partition. `log_lost`: topics whose events of the backup were written again. `photos_missing`: listed in the backup and
    not in the store."""

    epoch: int
    gone: Sequence[Gone]
    log_lost: Sequence[str]
    photos_missing: Sequence[str]


async def restore(
    settings: Settings,
    modules: Sequence[Module],
    backup: Backup,
    *,
    force: bool = False,
    dry_run: bool = False,
    progress: Progress = silent,
    before: Callable[[Sequence[Gone]], None] = lambda gone: None,
) -> Restored:
    """`force`: replaces the data that are there; `dry_run`: only says what it would do, and what would be gone; `before`: is told what will be gone
    before anything is changed, for afterwards nobody may know.

    Raises `StartupError` where the platform runs, where there is data and no `force`, for a backup of a newer version, and without its keyring.
    """
    _check(settings, modules, backup, force=force)
    names = list(backup.manifest.services)
    async with contextlib.AsyncExitStack() as stack:
        database = await stack.enter_async_context(Database.open(settings))
        log = await stack.enter_async_context(kafka_of(settings))
        present = await _present(database, names)
        if present and not (force or dry_run):
            raise StartupError(
                "目标数据库已有数据；确定要用备份替换时，请加 --force",
                "the database has data; to replace them by the backup, add --force",
            )
        async with _marked(database, names, dry_run):
            await _nobody_else(database, present)
            major = database.embedded.programs.major if database.embedded else await database.server_version(names[0])
            programs = programs_for(database, major, backup.manifest.pg_dump)
            progress("比对日志", "comparing with the log")
            ends: Mapping[Place, int] = await log.ends(_topics(names)) if log else {}
            kept: set[UUID] = set()
            for name in names:
                if name != LOG_SCHEMA:
                    kept |= await event_ids_in(programs, backup.folder / backup.manifest.services[name].dump, name)
            behind = _kafka_behind(log, backup, ends) if log else _tables_behind(database, backup, present)
            gone, newest = await _gone_in(behind, kept)
            if log:
                gone = await _without_repeats(log, backup, gone)
            epoch = max([part.epoch for part in backup.manifest.services.values()] + [*present.values()]) + 1
            # And above any that another restore of the same backup may have given: none ends in the second in which it began.
            epoch = max(epoch, int(time.time()) - BEGINNING)
            before(gone)
        if dry_run:
            return Restored(epoch, gone, [], [])
        progress("密钥", "keys")
        _put_keys(settings, backup)
        progress("清空数据库", "emptying the database")
        await database.empty(names)
        await database.prepare(names)
        for name in names:
            progress(f"恢复 {name}", f"restoring {name}")
            await load(programs, database, name, backup.folder / backup.manifest.services[name].dump)
        await migrate(database, modules)
        lost = _lost_topics(backup, ends) if log else set()
        for name in names:
            await _settle(database, name, epoch, _fences(backup, ends, lost, newest), lost)
        if log:
            progress("日志位置", "positions of the log")
            await _put_log(log, backup, ends, lost)
        progress("媒体", "media")
        missing = await _put_media(settings, backup)
        await asyncio.sleep(min(1.0, max(0.0, epoch + 1 + BEGINNING - time.time())))
        await database.end_restoring(names)
    return Restored(epoch, gone, sorted(lost), missing)


# -- before ---------------------------------------------------------------------------------------------------------------


def _check(settings: Settings, modules: Sequence[Module], backup: Backup, *, force: bool) -> None:
    manifest = backup.manifest
    if settings.embedded and (pid := holder(settings.data_dir)):
        raise StartupError(f"平台正在运行（进程 {pid}），请先停止", f"the platform runs (process {pid}): stop it first")
    if manifest.root_division != settings.root_division:
        raise StartupError(
            f"备份属于行政区划 {manifest.root_division}，本部署为 {settings.root_division}（HETAO_ROOT_DIVISION）",
            f"the backup is of the division {manifest.root_division}, this deployment of {settings.root_division} (HETAO_ROOT_DIVISION)",
        )
    if set(manifest.services) != set(schemas(settings, modules)):
        raise StartupError(
            f"备份包含 {', '.join(sorted(manifest.services))}，本部署需要 {', '.join(sorted(schemas(settings, modules)))}（日志在 Kafka 与在数据库中不能互换）",
            f"the backup has {', '.join(sorted(manifest.services))}, this deployment wants {', '.join(sorted(schemas(settings, modules)))} "
            "(a log in Kafka and one in the database cannot stand for one another)",
        )
    planned = plan(modules)
    for name, part in manifest.services.items():
        known = {f"{one.source}/{one.number}": one.checksum for one in planned[name]}
        if unknown := [number for number, checksum in part.migrations.items() if known.get(number) != checksum]:
            raise StartupError(
                f"备份由更新的版本（{manifest.product}）制作：{name} 含未知迁移 {unknown[0]}",
                f"the backup was made by a newer version ({manifest.product}): {name} has the migration {unknown[0]}",
            )
    ours = settings.key_file
    if not manifest.keys and not ours.exists():
        raise StartupError(
            f"备份不含密钥：请先把密钥文件放回 {ours}",
            f"the backup is without keys: put the key file back to {ours} first",
        )
    if ours.exists() and Keys.load(ours).fingerprint != manifest.keyring and not (manifest.keys and force):
        raise StartupError(
            f"密钥文件 {ours} 与备份不符", f"the key file {ours} is not the one that the backup was sealed with"
        )


async def _present(database: Database, names: Sequence[str]) -> dict[str, int]:
    """The schemas that hold data, each with its epoch (0 for the log)."""
    found = {}
    if database.embedded and not await _database_exists(database):
        return {}
    for name in names:
        try:
            connection = await database.connect(name, application_name="restore")
        except StartupError as error:
            if isinstance(error.__cause__, asyncpg.InvalidAuthorizationSpecificationError):  # no such role yet
                continue
            raise
        try:
            if not await connection.fetchval("select to_regclass($1) is not null", f'"{name}".migration'):
                continue
            there = await connection.fetchval("select to_regclass($1) is not null", f'"{name}".installation')
            found[name] = await connection.fetchval("select epoch from installation") if there else 0
        finally:
            await connection.close()
    return found


async def _database_exists(database: Database) -> bool:
    assert database.embedded is not None
    connection = await asyncpg.connect(database.embedded.dsn())
    try:
        return bool(
            await connection.fetchval(
                "select true from pg_database where datname = $1", database.settings.database.name
            )
        )
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def _marked(database: Database, names: Sequence[str], dry_run: bool) -> AsyncIterator[None]:
    """Nobody is let in from before the first look on; again where the look ends in a refusal, for then nothing was changed."""
    first = not dry_run and await database.begin_restoring(names)
    try:
        yield
    except BaseException:
        if first:
            await database.end_restoring(names)
        raise


async def _nobody_else(database: Database, names: Mapping[str, int]) -> None:
    """Sessions of our roles, other than ours, are a platform that runs."""
    for name in names:
        connection = await database.connect(name, application_name="restore")
        try:
            others = await connection.fetchval(
                "select count(*) from pg_stat_activity where usename = current_user and datname = current_database() "
                "and pid <> pg_backend_pid() and backend_type = 'client backend'"
            )
        finally:
            await connection.close()
        if others:
            raise StartupError(
                f"服务 {name} 仍连接着数据库（{others} 个会话）：请先停止平台的所有进程",
                f"the service {name} is connected to the database ({others} sessions): stop all processes of the platform first",
            )


# -- what is gone ---------------------------------------------------------------------------------------------------------


def _topics(names: Sequence[str]) -> list[str]:
    return [topic_of(name) for name in names if name != LOG_SCHEMA]


async def _gone_in(behind: AsyncIterator[Batch], kept: set[UUID]) -> tuple[list[Gone], dict[Place, datetime]]:
    """What is named, and of each partition the time of its newest record."""
    gone, newest = list[Gone](), dict[Place, datetime]()
    async for batch in behind:
        place = batch.topic, batch.partition
        for record in batch.records:
            newest[place] = max(newest.get(place, record.envelope.time), record.envelope.time)
            if record.envelope.id not in kept:
                gone.append(_gone(batch.topic, record))
    return gone, newest


async def _kafka_behind(log: Log, backup: Backup, ends: Mapping[Place, int]) -> AsyncIterator[Batch]:
    cut = {place_of(text): offset for text, offset in backup.manifest.log.ends.items()}
    stretches = {place: (cut.get(place, 0), end) for place, end in ends.items() if end > cut.get(place, 0)}
    async for batch in log.scan(stretches):
        yield batch


async def _without_repeats(log: KafkaLog, backup: Backup, found: Sequence[Gone]) -> list[Gone]:
    """The log is at least once: what stands before the cut as well is no newer than the backup. Looked for from when the oldest was said."""
    unique = {one.event_id: one for one in reversed(found)}
    if not unique:
        return []
    oldest = min(one.time for one in found) - SKEW
    cut = {place_of(text): offset for text, offset in backup.manifest.log.ends.items()}
    first = await log.since(list({one.topic for one in found}), oldest)
    async for batch in log.scan({place: (at, cut[place]) for place, at in first.items() if at < cut.get(place, 0)}):
        for record in batch.records:
            unique.pop(str(record.envelope.id), None)
    return list(reversed(unique.values()))


async def _tables_behind(database: Database, backup: Backup, present: Mapping[str, int]) -> AsyncIterator[Batch]:
    """From the data that are to be replaced, if they are the same installation's."""
    if LOG_SCHEMA not in present or not await _same_installation(database, backup, present):
        return
    cut = {place_of(text): offset for text, offset in backup.manifest.log.ends.items()}
    pool = await database.open_pool(LOG_SCHEMA, 1)
    try:
        log = SqlLog(pool, partitions=1)
        rows = await pool.fetch("select topic, number, next_offset from partition order by topic, number")
        stretches = {(topic, number): (cut.get((topic, number), 0), end) for topic, number, end in rows}
        async for batch in log.scan({place: one for place, one in stretches.items() if one[0] < one[1]}):
            yield batch
    finally:
        await pool.close()


async def _same_installation(database: Database, backup: Backup, present: Mapping[str, int]) -> bool:
    for name in present:
        if name != LOG_SCHEMA:
            connection = await database.connect(name)
            try:
                return bool(await connection.fetchval("select keyring from installation") == backup.manifest.keyring)
            finally:
                await connection.close()
    return False


def _gone(topic: str, record: Record) -> Gone:
    e = record.envelope
    return Gone(topic, e.key, e.type, str(e.id), e.time, e.division, _version_in(e.type, record.value))


def _version_in(kind: str, value: bytes) -> int:
    """What an event says of its aggregate's version; 0 for those of a newer neighbour, and those without one."""
    try:
        message: Any = message_factory.GetMessageClass(
            descriptor_pool.Default().FindMessageTypeByName(kind)
        ).FromString(value)
    except (KeyError, DecodeError, ValueError):
        return 0
    return int(getattr(message, "version", 0) or 0)


# -- putting back ---------------------------------------------------------------------------------------------------------


def _put_keys(settings: Settings, backup: Backup) -> None:
    """A keyring of the same installation stays: it may have had keys added since. Another one is put aside."""
    if not backup.manifest.keys:
        return
    for name, file in (
        ("keyring.json", settings.key_file),
        ("issuer.json", settings.data_dir / "keys" / "issuer.json"),
    ):
        kept = backup.folder / "keys" / name
        if not kept.exists():
            continue
        if file.exists():
            if name == "keyring.json" and Keys.load(file).fingerprint == backup.manifest.keyring:
                continue
            file.rename(_aside(file))
        write_secret(file, read_secret(kept))


def _aside(file: Path) -> Path:
    number = 1
    while (other := file.with_name(f"{file.name}.replaced-{number}")).exists():
        number += 1
    return other


#: (first, past, newest): see the table `fence`.
Fence = tuple[int, int, datetime]


async def _settle(database: Database, name: str, epoch: int, fences: Mapping[Place, Fence], lost: set[str]) -> None:
    connection = await database.connect(name, application_name="restore")
    try:
        async with connection.transaction():
            if name == LOG_SCHEMA:
                await connection.execute("delete from member; delete from assignment")
                return
            await connection.execute("update installation set epoch = $1", epoch)
            await connection.execute("delete from lease; delete from rebuild")
            await connection.execute("delete from fence where topic = any($1)", list(lost))
            await connection.executemany(
                "insert into fence (topic, partition, first, past, newest) values ($1, $2, $3, $4, $5) "
                "on conflict (topic, partition, first) do update set past = greatest(fence.past, excluded.past), "
                "newest = greatest(fence.newest, excluded.newest)",
                [(*place, *fence) for place, fence in fences.items()],
            )
    finally:
        await connection.close()


def _lost_topics(backup: Backup, ends: Mapping[Place, int]) -> set[str]:
    """Topics that do not reach to the cut any more: Kafka was lost too, or another one stands in its place."""
    cut = {place_of(text): offset for text, offset in backup.manifest.log.ends.items()}
    return {place[0] for place, offset in cut.items() if ends.get(place, 0) < offset}


def _fences(
    backup: Backup, ends: Mapping[Place, int], lost: set[str], newest: Mapping[Place, datetime]
) -> dict[Place, Fence]:
    """Where nothing of ours stands behind the cut, there is nothing to fence off."""
    cut = {place_of(text): offset for text, offset in backup.manifest.log.ends.items()} if ends else {}
    return {
        place: (offset, ends[place], newest[place])
        for place, offset in cut.items()
        if place[0] not in lost and ends.get(place, 0) > offset and place in newest
    }


async def _put_log(log: KafkaLog, backup: Backup, ends: Mapping[Place, int], lost: set[str]) -> None:
    for group, told in backup.manifest.log.groups.items():
        positions = {place_of(text): offset for text, offset in told.items()}
        there = {place: offset for place, offset in positions.items() if place[0] not in lost}
        anew = {place: end for place, end in ends.items() if place[0] in lost and place[0] in {p[0] for p in positions}}
        await _seek(log, group, {**there, **anew})
    if not lost:
        return
    by_topic: dict[str, list[Record]] = {}
    with (backup.folder / EVENTS).open("rb") as lines:
        for line in lines:
            topic, record = unpacked(line)
            if topic in lost:
                by_topic.setdefault(topic, []).append(record)
                if len(by_topic[topic]) == 500:
                    await log.append(topic, by_topic.pop(topic))
    for topic, records in by_topic.items():
        await log.append(topic, records)


async def _seek(log: KafkaLog, group: str, positions: Mapping[Place, int]) -> None:
    """A member that was killed is one until its session is over: so long the broker lets nobody move its group."""
    deadline = time.monotonic() + 2 * log.session + 30
    while True:
        try:
            await log.seek(group, positions)
            return
        except LogAway:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.5)


async def _put_media(settings: Settings, backup: Backup) -> list[str]:
    """Brings back what is not there; what was stored since stays. Returns what is listed and cannot be brought."""
    blobs = Blobs.open(settings.media_url, pixel_limit=settings.media.pixel_limit)
    there, missing = {path for path, _ in await blobs.paths()}, []
    with (backup.folder / LISTING).open("rb") as listing:
        for line in listing:
            path = orjson.loads(line)["path"]
            if path in there:
                continue
            file = backup.folder / "media" / path
            if backup.manifest.media == "copied" and file.is_file():
                await blobs.put_raw(path, file.read_bytes())
            else:
                missing.append(path)
    return missing
