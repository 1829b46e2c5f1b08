import json
import os
from datetime import UTC, datetime
from itertools import pairwise
from uuid import UUID

import pytest

from kit.errors import StartupError
from kit.sealing import Keys, SealError, canonical

NOW = datetime(2026, 3, 2, tzinfo=UTC)
OWNER = UUID(int=7)
OTHER = UUID(int=8)


@pytest.fixture(params=["aes", "sm"])
def keys(request):
    return Keys.passing(request.param)


def test_a_sealed_value_opens_for_its_field_and_owner_alone(keys):
    sealed = keys.seal("cases.party.phone", OWNER, "13812345678")
    assert b"138" not in sealed
    assert keys.open("cases.party.phone", OWNER, sealed) == "13812345678"
    for name, owner in (("cases.party.phone", OTHER), ("cases.party.name", OWNER)):
        with pytest.raises(SealError):
            keys.open(name, owner, sealed)


def test_the_same_text_is_never_sealed_the_same_way(keys):
    assert keys.seal("f", OWNER, "张三") != keys.seal("f", OWNER, "张三")


@pytest.mark.parametrize("broken", [b"", b"\x01", b"\x01\x00\x01" + bytes(40), b"\x09" + bytes(60)])
def test_what_is_no_sealed_value_is_refused(keys, broken):
    with pytest.raises(SealError):
        keys.open("f", OWNER, broken)


def test_every_changed_byte_is_noticed(keys):
    sealed = keys.seal("f", OWNER, "x")
    for at in range(len(sealed)):
        changed = bytearray(sealed)
        changed[at] ^= 1
        with pytest.raises(SealError):
            keys.open("f", OWNER, bytes(changed))


def test_an_index_finds_the_same_phone_however_it_is_written(keys):
    written = [
        "13812345678",
        "138-1234-5678",
        "138 1234 5678",
        "+86 13812345678",
        "0086-138 1234 5678",
        "１３８１２３４５６７８",
        "8613812345678",
    ]
    assert len({keys.index("phone", text) for text in written}) == 1
    assert keys.index("phone", "13812345679") != keys.index("phone", "13812345678")
    assert keys.index("phone", "13812345678") != keys.index("id_number", "13812345678"), "each purpose has its own key"


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("15080219490314001x", "15080219490314001x"),
        ("15080219490314001X", "15080219490314001x"),
        ("阿拉腾·巴根", "阿拉腾巴根"),
        ("阿拉腾・巴根", "阿拉腾巴根"),
        ("860101", "860101"),
        ("+86 0478-8212345", "04788212345"),
    ],
)
def test_canonical_forms(text, form):
    assert canonical(text) == form


def test_the_keyring_is_made_once_and_only_for_its_owner(tmp_path):
    path = tmp_path / "keys" / "keyring.json"
    first = Keys.open_or_create(path, NOW, data_exists=False)
    assert path.stat().st_mode & 0o777 == 0o600
    again = Keys.open_or_create(path, NOW, data_exists=True)
    assert again.open("f", OWNER, first.seal("f", OWNER, "x")) == "x"
    assert again.fingerprint == first.fingerprint
    assert list(path.parent.iterdir()) == [path]


def test_data_without_its_key_stays_closed(tmp_path):
    with pytest.raises(StartupError, match=r"keyring\.json"):
        Keys.open_or_create(tmp_path / "keyring.json", NOW, data_exists=True)


def test_a_key_file_that_everybody_reads_is_refused(tmp_path):
    path = tmp_path / "keyring.json"
    Keys.open_or_create(path, NOW, data_exists=False)
    os.chmod(path, 0o644)
    with pytest.raises(StartupError, match="600"):
        Keys.load(path)


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"keys": []}', '{"keys": [{"number": 1, "suite": "rot13", "secret": "AA==", "created": ""}]}', "[1]"],
)
def test_a_broken_key_file_is_refused_without_showing_it(tmp_path, text):
    path = tmp_path / "keyring.json"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(StartupError) as refused:
        Keys.load(path)
    assert "AA==" not in str(refused.value)


def test_after_a_rotation_old_values_open_and_both_indexes_are_searched(tmp_path):
    path = tmp_path / "keyring.json"
    old = Keys.open_or_create(path, NOW, data_exists=False)
    sealed, index = old.seal("f", OWNER, "x"), old.index("phone", "13812345678")
    new = Keys.rotate(path, NOW, suite="sm")
    assert new.open("f", OWNER, sealed) == "x"
    assert new.stale(sealed)
    assert not new.stale(new.seal("f", OWNER, "x"))
    assert index in new.indexes("phone", "138 1234 5678")
    assert new.indexes("phone", "13812345678") == [new.index("phone", "13812345678"), index]
    assert new.fingerprint == old.fingerprint
    assert old.open("f", OWNER, new.seal("f", OWNER, "x")) == "x", (
        "a process that was not restarted looks into the file"
    )
    unknown = Keys.passing().seal("f", OWNER, "x")[:1] + b"\x00\x63" + bytes(40)
    with pytest.raises(SealError):
        old.open("f", OWNER, unknown)
    assert [key["suite"] for key in json.loads(path.read_text())["keys"]] == ["aes", "sm"]


def test_digests_are_keyed():
    one, two = Keys.passing(), Keys.passing()
    assert one.digest(b"row") == one.digest(b"row") != two.digest(b"row")
    assert one.digest(b"row") != one.digest(b"other")


@pytest.mark.parametrize("half", [1, 2, 7, 20])
def test_shuffled_numbers_are_each_another_one(keys, half):
    shuffled = [keys.shuffled("code", "150826/260302", number, half) for number in range(half * half)]
    assert sorted(shuffled) == list(range(half * half))


def test_numbers_in_a_row_look_drawn_by_lot():
    keys = Keys.passing()
    series = [[keys.shuffled("code", day, number) for number in range(500)] for day in ("260302", "260303")]
    for shuffled in series:
        assert len(set(shuffled)) == 500
        assert all(0 <= number < 1_000_000 for number in shuffled)
        steps = [abs(after - before) for before, after in pairwise(shuffled)]
        assert 250_000 < sum(steps) / len(steps) < 420_000  # a third of the range, as of numbers drawn by lot
        assert min(steps) < 20_000 < max(steps)
    assert sum(one == other for one, other in zip(*series, strict=True)) < 3
    assert series[0] != [Keys.passing().shuffled("code", "260302", number) for number in range(500)]


def test_a_new_key_does_not_repeat_a_shuffled_number(tmp_path):
    path = tmp_path / "keyring.json"
    old = Keys.open_or_create(path, NOW, data_exists=False)
    first = [old.shuffled("code", "260302", number) for number in range(50)]
    assert Keys.rotate(path, NOW).shuffled("code", "260302", 7) == first[7]
