"""Taking a backup, beside a running platform or not.

The moment: one exported snapshot, in which each schema is dumped. Where the log is Kafka, the relays are kept for a moment from marking what they have
published, from before the log is asked where it ends until the snapshot is there. So the cut is exact: what stands before it in Kafka was
committed before the snapshot; what was committed before the snapshot and stands behind the cut, or nowhere, is still in the snapshot's outboxes.
Where groups had come is asked before the snapshot: everything before these places is in effect in it.

Photos are copied after the database, since a photo is stored before the row that names it; keys last, for a key is only ever added.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import asyncpg
import orjson

from kit.backup import (
    EVENTS,
    FORMAT,
    LISTING,
    MANIFEST,
    Cut,
    Manifest,
    Part,
    Progress,
    digests,
    made_whole,
    silent,
    text_of,
)
from kit.backup.programs import dump, programs_for
from kit.blobs import Blobs, content_of
from kit.clock import Clock
from kit.config import Settings
from kit.database import LOG_SCHEMA, Database
from kit.errors import StartupError
from kit.events import Envelope, topic_of
from kit.log import Log, Place, Record
from kit.migrate import schemas
from kit.module import POSTGRES, Module

if TYPE_CHECKING:
    from kit.log.kafka import KafkaLog

Media = Literal["copy", "list"]


async def take(
    settings: Settings,
    modules: Sequence[Module],
    target: Path,
    *,
    with_keys: bool = True,
    media: Media | None = None,
    progress: Progress = silent,
) -> Manifest:
    """`target`: a folder that is not there yet, or a file ending in .tar. `media`: copied, or listed and checked alone; by default copied from a folder
    and listed in a store of its own (S3). Raises `StartupError`."""
    names = schemas(settings, modules)
    with made_whole(target) as folder:
        async with contextlib.AsyncExitStack() as stack:
            database = await stack.enter_async_context(Database.open(settings, attach=True))
            log = await stack.enter_async_context(kafka_of(settings))
            progress("取快照", "taking the snapshot")
            moment = await _Moment.of(stack, database, names, modules, log)
            (folder / "database").mkdir()
            programs = programs_for(database, moment.server)
            for name in names:
                progress(f"转储 {name}", f"dumping {name}")
                await dump(programs, database, name, moment.snapshots[name], folder / "database" / f"{name}.dump")
            if log is not None:
                progress("日志中尚未生效的事件", "events of the log that are not in effect yet")
                await _write_events(log, moment, folder / EVENTS)
            progress("媒体", "media")
            photos, mode = await _media(settings, folder, media)
            if with_keys:
                _keys(settings, folder / "keys")
        manifest = Manifest(
            format=FORMAT,
            product=_product(),
            taken_at=moment.at.isoformat(),
            root_division=settings.root_division,
            postgres=str(moment.server),
            pg_dump=programs.version,
            services=moment.parts,
            log=moment.cut,
            media=mode,
            photos=photos,
            keys=with_keys,
            files=digests(folder),
        )
        (folder / MANIFEST).write_text(manifest.dumped(), encoding="utf-8")
    return manifest


@contextlib.asynccontextmanager
async def kafka_of(settings: Settings) -> AsyncIterator[KafkaLog | None]:
    """None where the log is in the database, and so in its dump."""
    if settings.kafka.bootstrap is None:
        yield None
        return
    from kit.log.kafka import KafkaLog

    log = KafkaLog.of(settings)
    try:
        yield log
    finally:
        await log.close()


class _Moment:
    """What stood where when the snapshot was taken."""

    def __init__(self) -> None:
        self.at = Clock().now()
        self.server = 0
        self.snapshots: dict[str, str] = {}
        self.parts: dict[str, Part] = {}
        self.cut = Cut("postgresql")
        self.ends: Mapping[Place, int] = {}
        self.groups: dict[str, Mapping[Place, int]] = {}

    @classmethod
    async def of(
        cls,
        stack: contextlib.AsyncExitStack,
        database: Database,
        names: Sequence[str],
        modules: Sequence[Module],
        log: Log | None,
    ) -> _Moment:
        """The snapshots are good as long as the stack's context."""
        moment = cls()
        stored = [module for module in modules if POSTGRES in module.engines]
        readers = {}
        for name in names:
            readers[name] = connection = await database.connect(name, application_name=f"backup {name}")
            stack.push_async_callback(connection.close)
            if not await connection.fetchval(
                "select to_regclass('installation') is not null or $1", name == LOG_SCHEMA
            ):
                raise StartupError(f"{name} 尚无数据可备份", f"there is nothing of {name} to back up yet")
        async with _held(database, [module.name for module in stored] if log else []):
            if log is not None:
                topics = [topic_of(module.name) for module in stored]
                for module in stored:
                    if module.hears:
                        heard = [topic_of(service) for service in module.hears]
                        moment.groups[module.name] = await log.positions(module.name, heard)
                moment.ends = await log.ends(topics)
            exported: dict[str, str] = {}
            for name, reader in readers.items():
                await reader.execute("begin isolation level repeatable read read only")
                url = database.settings.database.urls.get(name)
                where = url.get_secret_value() if url else ""
                if where in exported:
                    await reader.execute(f"set transaction snapshot '{exported[where]}'")
                else:
                    exported[where] = await reader.fetchval("select pg_export_snapshot()")
                moment.snapshots[name] = exported[where]
            moment.at = Clock().now()
        for name, reader in readers.items():
            moment.server = max(moment.server, reader.get_server_version().major)
            moment.parts[name] = await _part(name, reader)
        if log is not None:
            moment.cut = Cut("kafka", _texts(moment.ends), {g: _texts(at) for g, at in moment.groups.items()})
        elif LOG_SCHEMA in readers:
            rows = await readers[LOG_SCHEMA].fetch("select topic, number, next_offset from partition")
            moment.cut = Cut("postgresql", {text_of((row[0], row[1])): row[2] for row in rows})
        return moment


def _texts(places: Mapping[Place, int]) -> dict[str, int]:
    return {text_of(place): offset for place, offset in sorted(places.items())}


async def _part(name: str, reader: asyncpg.Connection) -> Part:
    rows = await reader.fetch("select source, number, checksum from migration")
    migrations = {f"{row['source']}/{row['number']}": row["checksum"] for row in rows}
    if name == LOG_SCHEMA:
        return Part(f"database/{name}.dump", 0, "", migrations)
    row = await reader.fetchrow("select epoch, keyring from installation")
    assert row is not None
    return Part(f"database/{name}.dump", row["epoch"], row["keyring"], migrations)


#: Undone at the end, whatever was there before.
HOLD = """
insert into lease (name, owner, epoch, until) values ('relay', '00000000-0000-0000-0000-000000000000', 0, '-infinity')
on conflict (name) do update set until = lease.until
"""


@contextlib.asynccontextmanager
async def _held(database: Database, services: Sequence[str]) -> AsyncIterator[None]:
    """Meanwhile no relay of these services takes anything out of its outbox: a marking waits for the lease's row. Where there is none, nobody leads, and
    nobody can until ours is gone again."""
    async with contextlib.AsyncExitStack() as stack:
        for service in services:
            connection = await database.connect(service, application_name=f"backup {service}", lock_timeout="15s")
            stack.push_async_callback(connection.close)
            await connection.execute("begin")
            await connection.execute(HOLD)
        yield


async def _write_events(log: Log, moment: _Moment, file: Path) -> None:
    """What some group has not brought into effect, from where the last of them stands up to the cut: should Kafka be lost as well."""
    least: dict[Place, int] = {}
    for positions in moment.groups.values():
        for place, offset in positions.items():
            least[place] = min(least.get(place, offset), offset)
    stretches = {place: (first, moment.ends[place]) for place, first in least.items() if place in moment.ends}
    with file.open("wb") as out:
        async for batch in log.scan(stretches):
            for record in batch.records:
                out.write(packed(batch.topic, record) + b"\n")


def packed(topic: str, record: Record) -> bytes:
    e = record.envelope
    told = {
        "topic": topic,
        "id": str(e.id),
        "type": e.type,
        "source": e.source,
        "key": e.key,
        "time": e.time.isoformat(),
        "division": e.division,
        "snapshot": e.snapshot,
        "traceparent": e.traceparent,
        "value": base64.b64encode(record.value).decode(),
    }
    return orjson.dumps(told)


async def _media(settings: Settings, folder: Path, wanted: Media | None) -> tuple[int, str]:
    """Lists everything that is stored, and copies it if it is wanted; what says what it contains is held to its word."""
    blobs = Blobs.open(settings.media_url, pixel_limit=settings.media.pixel_limit)
    mode: Media = wanted or ("copy" if blobs.local else "list")
    count = 0
    with (folder / LISTING).open("wb") as listing:
        for path, size in await blobs.paths():
            line = {"path": path, "size": size}
            if mode == "copy":
                data = await blobs.raw(path)
                if data is None:  # nothing is ever taken away, but for what was half written
                    continue
                if (digest := content_of(path)) and hashlib.sha256(data).hexdigest() != digest:
                    raise StartupError(f"媒体文件 {path} 已损坏", f"the media file {path} is damaged")
                await asyncio.to_thread(_write, folder / "media" / path, data)
            listing.write(orjson.dumps(line) + b"\n")
            count += path.startswith("blobs/")
    return count, {"copy": "copied", "list": "listed"}[mode]


def _write(file: Path, data: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)


def _keys(settings: Settings, folder: Path) -> None:
    """Of mode 600 in a folder of mode 700, wherever the backup goes."""
    folder.mkdir(mode=0o700)
    for source, name in (
        (settings.key_file, "keyring.json"),
        (settings.data_dir / "keys" / "issuer.json", "issuer.json"),
    ):
        if source.exists():
            handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with source.open("rb") as opened, os.fdopen(handle, "wb") as out:
                shutil.copyfileobj(opened, out)


def _product() -> str:
    try:
        return version("hetao")
    except PackageNotFoundError:
        return "0"


def unpacked(line: bytes) -> tuple[str, Record]:
    """(topic, record) of a line of `packed`."""
    told = orjson.loads(line)
    envelope = Envelope(
        id=UUID(told["id"]),
        type=told["type"],
        source=told["source"],
        key=told["key"],
        time=datetime.fromisoformat(told["time"]),
        division=told["division"],
        snapshot=told["snapshot"],
        traceparent=told["traceparent"],
    )
    return told["topic"], Record(envelope, base64.b64decode(told["value"]))
