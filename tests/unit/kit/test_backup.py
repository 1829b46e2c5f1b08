"""What a backup is on disk: whole or not there, and refused if it is not what it says."""

from __future__ import annotations

import json
import stat
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kit.backup import MANIFEST, Backup, Cut, Manifest, Part, digests, made_whole, place_of, text_of
from kit.backup.programs import programs_for, reachable
from kit.backup.restore import _check
from kit.backup.take import packed, unpacked
from kit.clock import Clock
from kit.config import Settings
from kit.database import Database
from kit.errors import StartupError
from kit.migrate import plan
from kit.sealing import Keys
from tests import shelf
from tests.conformance.conftest import record

PARTS = {
    schema: Part(f"database/{schema}.dump", 3, "1:00", {f"{m.source}/{m.number}": m.checksum for m in migrations})
    for schema, migrations in plan([shelf.MODULE]).items()
}


def manifest(folder: Path, **more: object) -> Manifest:
    made = Manifest(
        format=1,
        product="0.1.0",
        taken_at="2026-03-02T09:00:00+08:00",
        root_division="1508",
        postgres="15",
        pg_dump="15.14",
        services=PARTS,
        log=Cut("kafka", {"hetao.shelf.v1/0": 7}, {"shelf": {"hetao.shelf.v1/0": 5}}),
        media="copied",
        photos=0,
        keys=False,
        files=digests(folder),
    )
    return replace(made, **more)  # type: ignore[arg-type]


def make(target: Path, **more: object) -> Path:
    with made_whole(target) as folder:
        (folder / "database").mkdir()
        (folder / "database" / "shelf.dump").write_bytes(b"dump")
        (folder / MANIFEST).write_text(manifest(folder, **more).dumped())
    return target


@pytest.mark.parametrize("name", ["b", "b.tar"])
def test_a_folder_and_a_file_hold_the_same_and_are_their_owners_alone(tmp_path: Path, name: str) -> None:
    target = make(tmp_path / name)
    assert stat.S_IMODE(target.stat().st_mode) == (0o600 if target.is_file() else 0o700)
    with Backup.open(target) as opened:
        assert opened.manifest.services == PARTS
        assert opened.manifest.log.groups == {"shelf": {"hetao.shelf.v1/0": 5}}
        assert (opened.folder / "database" / "shelf.dump").read_bytes() == b"dump"
    assert [path.name for path in tmp_path.iterdir()] == [name], "nothing else is left"


@pytest.mark.parametrize("name", ["b", "b.tar"])
def test_what_fails_half_way_leaves_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(RuntimeError), made_whole(tmp_path / name) as folder:
        (folder / "half").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    make(tmp_path / name)
    with pytest.raises(StartupError, match="exists already"):
        make(tmp_path / name)


def damaged(folder: Path) -> None:
    (folder / "database" / "shelf.dump").write_bytes(b"dumb")


def cut_off(folder: Path) -> None:
    (folder / "database" / "shelf.dump").unlink()


def no_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def broken_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text("{}")


def newer(folder: Path) -> None:
    told = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**told, "format": 2}))


@pytest.mark.parametrize("harm", [damaged, cut_off, no_manifest, broken_manifest, newer])
def test_what_is_damaged_is_refused(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    target = make(tmp_path / "b")
    harm(target)
    with pytest.raises(StartupError), Backup.open(target):
        pass


def test_what_is_no_backup_at_all(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_text("no tar")
    with tarfile.open(tmp_path / "y.tar", "w") as tar:
        tar.add(tmp_path / "x.tar", "../x")
    for name in ("nothing", "x.tar", "y.tar"):
        with pytest.raises(StartupError), Backup.open(tmp_path / name):
            pass
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".restore")]


def test_a_restore_into_the_wrong_place_is_refused_before_anything_is_touched(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", root_division="1508")
    keys = Keys.open_or_create(settings.key_file, Clock().now(), data_exists=False)
    right = {name: replace(part, keyring=keys.fingerprint) for name, part in PARTS.items()}

    def check(**more: object) -> None:
        backup = Backup(tmp_path, manifest(tmp_path, **{"services": right, **more}))
        _check(settings, [shelf.MODULE], backup, force=False)

    check()
    with pytest.raises(StartupError, match="150802"):
        check(root_division="150802")
    with pytest.raises(StartupError, match="newer version"):
        check(services={**right, "shelf": replace(right["shelf"], migrations={"shelf/9": "…"})})
    with pytest.raises(StartupError, match="log"):
        check(services={"shelf": right["shelf"]})
    with pytest.raises(StartupError, match="is not the one"):
        check(services=PARTS)
    settings.key_file.unlink()
    with pytest.raises(StartupError, match="without keys"):
        check()


def test_programs_are_given_no_password_to_show() -> None:
    url, environment = reachable(
        {"dsn": "postgres://admin:s%40y@db:5433/hetao?sslmode=require", "user": "hetao_grid", "password": "p"}
    )
    assert (url, environment) == ("postgresql://hetao_grid@db:5433/hetao?sslmode=require", {"PGPASSWORD": "p"})
    url, environment = reachable({"dsn": "postgres://grid:s%40y@db/hetao"})
    assert (url, environment) == ("postgresql://grid@db/hetao", {"PGPASSWORD": "s@y"})
    assert reachable({"dsn": "postgresql://postgres@/hetao?host=/run/x"})[1] == {}


def test_programs_are_at_least_as_new_as_the_server_and_the_dump() -> None:
    database = Database(Settings())
    found = programs_for(database, 15)
    assert found.major >= 15
    assert programs_for(database, 15, "18.1").major >= 18
    with pytest.raises(StartupError, match="pg_dump"):
        programs_for(database, 99)


def test_events_and_places_come_back_as_they_went() -> None:
    one = record("k", "内容", snapshot=True)
    assert unpacked(packed("hetao.shelf.v1", one)) == ("hetao.shelf.v1", one)
    assert place_of(text_of(("hetao.shelf.v1", 12))) == ("hetao.shelf.v1", 12)
