"""Keys and evidence are their owner's alone, and a folder that cannot be made is one clear line."""

import os
import stat
from pathlib import Path

import pytest

from kit import folders
from kit.blobs import Blobs
from kit.errors import StartupError
from kit.secretfile import write_secret


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(autouse=True)
def _careless_umask():
    before = os.umask(0o002)
    yield
    os.umask(before)


def test_a_secret_and_its_folder_are_their_owners_alone(tmp_path: Path):
    file = tmp_path / "data" / "keys" / "keyring.json"
    write_secret(file, "{}")
    assert (mode(file), mode(file.parent), mode(file.parent.parent)) == (0o600, 0o700, 0o711)


async def test_photos_are_their_owners_alone(tmp_path: Path):
    media = tmp_path / "data" / "media"
    await Blobs.open(media.as_uri(), pixel_limit=10_000).put(b"hetao")
    found = [media, *media.rglob("*")]
    assert {mode(path) for path in found if path.is_dir()} == {0o700}
    assert {mode(path) for path in found if path.is_file()} == {0o600}
    assert mode(media.parent) == 0o711


def test_a_folder_that_stands_open_is_closed(tmp_path: Path):
    media = tmp_path / "media"
    (media / "blobs").mkdir(parents=True)
    (media / "blobs" / "photo").write_text("")
    outside = tmp_path / "outside"
    outside.write_text("")
    (media / "link").symlink_to(outside)
    folders.close(media)
    assert (mode(media), mode(media / "blobs"), mode(media / "blobs" / "photo")) == (0o700, 0o700, 0o600)
    assert mode(outside) == 0o664
    folders.close(tmp_path / "missing")


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path):
    there = tmp_path / "there"
    there.mkdir(0o750)
    folders.make_private(there)
    folders.make_data_dir(there)
    assert mode(there) == 0o750


def test_the_data_folder_lets_others_walk_through_and_see_nothing(tmp_path: Path):
    folders.make_data_dir(tmp_path / "above" / "data")
    assert mode(tmp_path / "above" / "data") == 0o711


@pytest.mark.parametrize(("place", "zh"), [("/proc/nope", "路径不存在"), ("file/data", "路径中有一部分不是目录")])
def test_a_data_folder_that_cannot_be_made_names_its_setting(tmp_path: Path, place: str, zh: str):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError) as refused:
        folders.make_data_dir(tmp_path / place)
    for said in (refused.value.zh, refused.value.en):
        assert "HETAO_DATA_DIR" in said
        assert place in said
    assert zh in refused.value.zh
    assert "Errno" not in refused.value.zh + refused.value.en


def test_a_secret_that_cannot_be_written_is_one_line(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="cannot write key file"):
        write_secret(tmp_path / "file" / "keyring.json", "{}")
