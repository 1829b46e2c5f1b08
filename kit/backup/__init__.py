"""Backups of an installation: everything that cannot be made again, as it was at one moment.

A backup is a folder, or one file that holds the same (tar):

    manifest.json          what it is, when it was taken, digests of all that follows; written last
    database/<schema>.dump of each service, by pg_dump, all as of one snapshot
    log.events             events that stood in Kafka and were not in effect everywhere (none where the log is in the database)
    media.jsonl, media/    photos and documents by their content; the files alone where they stand in a local folder
    keys/                  the keyring and the demo issuer's key, for their owner alone; absent if left out

`take` makes one beside a running platform, `restore` puts one back.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from kit.errors import StartupError
from kit.log import Place

FORMAT: Final = 1

MANIFEST, LISTING, EVENTS = "manifest.json", "media.jsonl", "log.events"

#: Tells how far it has come: (Chinese, English).
Progress = Callable[[str, str], None]


def silent(zh: str, en: str) -> None:
    """For nobody."""


@dataclass(frozen=True, slots=True)
class Part:
    """One schema. `migrations`: checksum by "source/number", as applied."""

    dump: str
    epoch: int
    keyring: str
    migrations: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Cut:
    """Where the log stood. `kind`: "postgresql" (it is in the database, and needs no more words) or "kafka". By "topic/partition": `ends`, behind which
    everything is newer than the backup or is still in its outboxes; `groups`, behind which not everything is in effect."""

    kind: str
    ends: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """`media`: "copied" or "listed". `files`: size and SHA-256 of every file, by its path in the backup."""

    format: int
    product: str
    taken_at: str
    root_division: str
    postgres: str
    pg_dump: str
    services: Mapping[str, Part]
    log: Cut
    media: str
    photos: int
    keys: bool
    files: Mapping[str, tuple[int, str]]

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.taken_at)

    @property
    def keyring(self) -> str:
        """The fingerprint of the keyring that the data are sealed with."""
        return next((part.keyring for part in self.services.values() if part.keyring), "")

    def dumped(self) -> str:
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"

    @classmethod
    def parsed(cls, text: str) -> Manifest:
        """ValueError, KeyError or TypeError for what is none."""
        told: dict[str, Any] = json.loads(text)
        told["services"] = {name: Part(**part) for name, part in told["services"].items()}
        told["log"] = Cut(**told["log"])
        told["files"] = {path: (int(size), str(digest)) for path, (size, digest) in told["files"].items()}
        return cls(**told)


def place_of(text: str) -> Place:
    topic, _, partition = text.rpartition("/")
    return topic, int(partition)


def text_of(place: Place) -> str:
    return f"{place[0]}/{place[1]}"


@dataclass(frozen=True, slots=True)
class Backup:
    """One that is there and whole."""

    folder: Path
    manifest: Manifest

    @classmethod
    @contextlib.contextmanager
    def open(cls, path: Path) -> Iterator[Backup]:
        """Unpacks it if need be, and compares every file with its digest. Raises `StartupError` for what is no backup, or none any more."""
        with _folder_of(path) as folder:
            try:
                text = (folder / MANIFEST).read_text(encoding="utf-8")
                version = json.loads(text)["format"]
                if version != FORMAT:
                    raise StartupError(
                        f"备份 {path} 的格式为 {version}，本版本只认 {FORMAT}",
                        f"the backup {path} has the format {version}; this version knows {FORMAT}",
                    )
                manifest = Manifest.parsed(text)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise StartupError(
                    f"{path} 不是备份，或不完整（{type(error).__name__}）",
                    f"{path} is no backup, or not a whole one ({type(error).__name__})",
                ) from error
            for name, (size, digest) in manifest.files.items():
                file = folder / name
                if not file.is_file() or file.stat().st_size != size or digest_of(file) != digest:
                    raise StartupError(f"备份已损坏：{name}", f"the backup is damaged: {name}")
            yield cls(folder, manifest)


@contextlib.contextmanager
def _folder_of(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        raise StartupError(f"没有 {path}", f"there is no {path}")
    with tempfile.TemporaryDirectory(prefix=".restore-", dir=path.parent) as unpacked:
        try:
            with tarfile.open(path) as packed:
                packed.extractall(unpacked, filter="data")
        except (tarfile.TarError, OSError, EOFError) as error:
            raise StartupError(f"无法解开 {path}：{error}", f"cannot unpack {path}: {error}") from error
        yield Path(unpacked)


def digest_of(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def digests(folder: Path) -> dict[str, tuple[int, str]]:
    """Of every file below a folder, but for the manifest."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(folder)): (path.stat().st_size, digest_of(path)) for path in files}


@contextlib.contextmanager
def made_whole(target: Path) -> Iterator[Path]:
    """A folder to fill, for its owner alone. Left without an error it becomes the target, a folder or (.tar) one file; else nothing is left."""
    if target.exists():
        raise StartupError(f"{target} 已存在", f"{target} exists already")
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))  # of mode 700
    try:
        yield fresh
        if target.suffix == ".tar":
            packed = fresh.with_name(fresh.name + ".tar")
            try:
                handle = os.open(packed, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(handle, "wb") as file:
                    with tarfile.open(fileobj=file, mode="w") as tar:
                        for path in sorted(fresh.iterdir()):
                            tar.add(path, path.name)
                    file.flush()
                    os.fsync(file.fileno())
                packed.rename(target)
            finally:
                packed.unlink(missing_ok=True)
        else:
            _sync(fresh)
            fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _sync(folder: Path) -> None:
    """Onto the disk: a backup that is there after a power cut is whole."""
    for path in [*folder.rglob("*"), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
