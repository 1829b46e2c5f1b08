"""The audit's blocks, on a real database, and every way in which somebody may have tampered with an export."""

import asyncio
import json
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from click.testing import CliRunner

from kit import audit
from kit.audit import Head, Sealer, leaf, merkle_root, prove, proven
from kit.errors import StartupError
from kit.postgres import EmbeddedPostgres
from services.cli import cli

NOW = datetime(2026, 3, 2, 8, 0, 0, 123456, UTC)
TABLES = Path(audit.__file__).with_name("migrations") / "0001_kit.sql"
CASE, PARTY = UUID(int=1), UUID(int=2)


@pytest.fixture(scope="module")
async def postgres():
    folder = Path(tempfile.mkdtemp(prefix="hetao-audit-", dir="/tmp"))
    folder.chmod(0o711)
    async with EmbeddedPostgres(folder) as running:
        yield running
    shutil.rmtree(folder)


@pytest.fixture
async def connect(postgres):
    """Opens connections to an empty schema of its own."""
    schema, opened = f"s{uuid4().hex}", []

    async def connect():
        connection = await asyncpg.connect(postgres.dsn(), server_settings={"search_path": schema})
        opened.append(connection)
        return connection

    first = await connect()
    await first.execute(f"create schema {schema}")
    await first.execute(TABLES.read_text(encoding="utf-8"))
    yield connect
    for connection in opened:
        await connection.close()


async def write(connection, entity_id, version, entity="case_file", purpose=""):
    await connection.execute(
        """insert into audit (entity, entity_id, version, at, actor, on_behalf, action, before, after, purpose, trace)
           values ($1, $2, $3, $4, 'dispatcher', '', '/hetao.cases.v1/Accept', $5, $6, $7, '')""",
        entity,
        entity_id,
        version,
        NOW,
        b"before" if version > 1 else None,
        b"after",
        purpose,
    )


async def exported(connection, path, chain="cases"):
    with path.open("ab") as file:
        async for line in audit.export(connection, chain):
            file.write(line)
    return path


async def lines_of_two_blocks(connect, path):
    """An export of five rows in two blocks, as lines."""
    connection, sealer = await connect(), Sealer("cases")
    for version in (1, 2, 3):
        await write(connection, CASE, version, purpose="当事人要求查阅")
    assert await sealer.seal(connection, NOW) == 3
    await write(connection, CASE, 4)
    await write(connection, PARTY, 1, "party")
    assert await sealer.seal(connection, NOW + timedelta(seconds=5)) == 2
    return (await exported(connection, path)).read_text().splitlines()


async def test_a_sound_export_is_found_sound(connect, tmp_path):
    lines = await lines_of_two_blocks(connect, tmp_path / "a.jsonl")
    report = audit.verify(tmp_path / "a.jsonl")
    assert report.sound, report.findings
    assert (report.rows, report.blocks, report.unsealed) == (5, 2, 0)
    assert [str(head) for head in report.heads] == [json.loads(lines[-1])["head"]]
    assert audit.verify(tmp_path / "a.jsonl", report.heads).sound


async def test_rows_that_are_not_sealed_yet_are_counted(connect, tmp_path):
    connection = await connect()
    await write(connection, CASE, 1)
    report = audit.verify(await exported(connection, tmp_path / "a.jsonl"))
    assert report.sound
    assert (report.rows, report.unsealed) == (0, 1)


def _row(lines, nth):
    return [at for at, line in enumerate(lines) if line.startswith('{"row"')][nth]


def _changed(position, value, nth=1):
    def tamper(lines):
        at = _row(lines, nth)
        row = json.loads(lines[at])["row"]
        row[position] = value
        lines[at] = json.dumps({"row": row}, ensure_ascii=False, separators=(",", ":"))

    return tamper


def _block_changed(position, value, nth):
    def tamper(lines):
        at = [at for at, line in enumerate(lines) if line.startswith('{"block"')][nth]
        block = json.loads(lines[at])["block"]
        block[position] = value
        lines[at] = json.dumps({"block": block}, separators=(",", ":"))

    return tamper


def _removed(nth):
    return lambda lines: lines.pop(_row(lines, nth))


def _last_removed_and_count_mended(lines):
    lines.pop(_row(lines, 2))
    _block_changed(4, 2, 0)(lines)


def _swapped(lines):
    one, two = _row(lines, 0), _row(lines, 1)
    lines[one], lines[two] = lines[two], lines[one]


def _contents_swapped(lines):
    """Two rows change places and keep the numbers of their places."""
    one, two = _row(lines, 0), _row(lines, 1)
    a, b = json.loads(lines[one])["row"], json.loads(lines[two])["row"]
    a[0], b[0] = b[0], a[0]
    lines[one], lines[two] = (json.dumps({"row": row}, ensure_ascii=False, separators=(",", ":")) for row in (b, a))


def _added(lines):
    lines.insert(_row(lines, 2), lines[_row(lines, 2)])


def _first_block_removed(lines):
    del lines[: _row(lines, 2) + 1]


def _cut(lines):
    lines.pop()


def _blocks_swapped(lines):
    second = _row(lines, 2) + 1
    lines[:] = lines[second:-1] + lines[:second] + lines[-1:]


def _moved_to_other_chain(lines):
    lines[:] = [line.replace('"cases"', '"grid"') for line in lines]


@pytest.mark.parametrize(
    "tamper",
    [
        _changed(5, "somebody-else"),
        _changed(7, "/hetao.cases.v1/Conclude"),
        _changed(4, "2026-03-01T08:00:00.123456+00:00"),
        _changed(9, "00"),
        _changed(8, None),
        _changed(10, "别的事由"),
        _changed(3, 7),
        _changed(2, str(PARTY)),
        _removed(0),
        _removed(1),
        _removed(4),
        _last_removed_and_count_mended,
        _swapped,
        _contents_swapped,
        _added,
        _first_block_removed,
        _blocks_swapped,
        _cut,
        _moved_to_other_chain,
        _block_changed(7, "2026-03-02T09:00:00.000000+00:00", 0),
        _block_changed(7, "2026-03-02T09:00:00.000000+00:00", 1),
        _block_changed(2, "00" * 32, 1),
        _block_changed(1, 5, 1),
        lambda lines: lines.append("not JSON"),
        lambda lines: lines.append(lines[_row(lines, 0)]),
        lambda lines: lines.append('{"block": []}'),
        lambda lines: lines.append("[]"),
    ],
)
async def test_tampering_is_found(connect, tmp_path, tamper):
    lines = await lines_of_two_blocks(connect, tmp_path / "a.jsonl")
    tamper(lines)
    (tmp_path / "b.jsonl").write_text("\n".join(lines) + "\n")
    report = audit.verify(tmp_path / "b.jsonl")
    assert not report.sound
    assert all(str(finding) for finding in report.findings)


async def test_a_chain_rewritten_as_a_whole_is_found_by_a_head_that_was_kept(connect, tmp_path):
    connection, sealer = await connect(), Sealer("cases")
    await write(connection, CASE, 1)
    await sealer.seal(connection, NOW)
    kept = audit.verify(await exported(connection, tmp_path / "kept.jsonl")).heads
    await write(connection, CASE, 2)
    await sealer.seal(connection, NOW)
    honest = await exported(connection, tmp_path / "honest.jsonl")
    assert audit.verify(honest, kept).sound, "the head of an older export vouches for a newer one"

    await connection.execute("update audit set actor = 'somebody-else'; delete from audit_block")
    await Sealer("cases").seal(connection, NOW)
    rewritten = await exported(connection, tmp_path / "rewritten.jsonl")
    assert audit.verify(rewritten).sound
    assert not audit.verify(rewritten, kept).sound

    await connection.execute("delete from audit_block; delete from audit")
    emptied = await exported(connection, tmp_path / "emptied.jsonl")
    assert not audit.verify(emptied, kept).sound
    (tmp_path / "nothing.jsonl").write_text("")
    with pytest.raises(StartupError):
        audit.verify(tmp_path / "nothing.jsonl", kept)


async def test_a_row_changed_in_the_database_is_found(connect, tmp_path):
    await lines_of_two_blocks(connect, tmp_path / "a.jsonl")
    connection = await connect()
    await connection.execute("update audit set action = 'nothing' where version = 2")
    assert not audit.verify(await exported(connection, tmp_path / "b.jsonl")).sound


async def test_services_follow_one_another_in_one_file(connect, tmp_path):
    connection = await connect()
    await write(connection, CASE, 1)
    await Sealer("cases").seal(connection, NOW)
    path = await exported(connection, tmp_path / "a.jsonl")
    await connection.execute("delete from audit_block")
    await Sealer("grid").seal(connection, NOW)
    report = audit.verify(await exported(connection, path, "grid"))
    assert report.sound, report.findings
    assert [head.chain for head in report.heads] == ["cases", "grid"]


async def test_a_row_that_commits_late_is_sealed_later_and_not_skipped(connect, tmp_path):
    one, two, sealing, sealer = await connect(), await connect(), await connect(), Sealer("cases")
    late = one.transaction()
    await late.start()
    await write(one, CASE, 1)
    await write(two, PARTY, 1, "party")  # takes the higher number and commits first
    assert await sealer.seal(sealing, NOW) == 0
    await write(two, PARTY, 2, "party")
    assert await sealer.seal(sealing, NOW) == 0
    await late.commit()
    assert await sealer.seal(sealing, NOW) == 2, "what was there when it first looked"
    assert await sealer.seal(sealing, NOW) == 1
    report = audit.verify(await exported(sealing, tmp_path / "a.jsonl"))
    assert report.sound, report.findings
    assert report.rows == 3


async def test_an_undone_unit_leaves_a_gap_in_the_numbers_alone(connect, tmp_path):
    connection = await connect()
    await write(connection, CASE, 1)
    undone = connection.transaction()
    await undone.start()
    await write(connection, CASE, 2)
    await undone.rollback()
    await write(connection, CASE, 2)
    assert await Sealer("cases").seal(connection, NOW) == 2
    report = audit.verify(await exported(connection, tmp_path / "a.jsonl"))
    assert report.sound, report.findings


async def test_many_sealers_and_writers_make_one_chain(connect, tmp_path, monkeypatch):
    monkeypatch.setattr(audit, "BLOCK_ROWS", 7)
    writers, sealers = [await connect() for _ in range(3)], [await connect() for _ in range(3)]
    done = asyncio.Event()

    async def work(connection, entity):
        for version in range(1, 61):
            async with connection.transaction():
                await write(connection, entity, version)

    async def seal(connection):
        sealer = Sealer("cases")
        while not done.is_set():
            await sealer.seal(connection, NOW)

    async with asyncio.TaskGroup() as tasks:
        sealing = [tasks.create_task(seal(connection)) for connection in sealers]
        await asyncio.gather(*(work(connection, uuid4()) for connection in writers))
        done.set()
        await asyncio.gather(*sealing)
    connection = await connect()
    while await Sealer("cases").seal(connection, NOW):
        pass
    report = audit.verify(await exported(connection, tmp_path / "a.jsonl"))
    assert report.sound, report.findings
    assert (report.rows, report.unsealed) == (180, 0)
    assert report.blocks > 180 // 7


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 13, 100])
def test_a_proof_leads_from_each_leaf_to_the_root_and_to_no_other(size):
    leaves = [leaf(bytes([n])) for n in range(size)]
    root = merkle_root(leaves)
    for index in range(size):
        path = prove(leaves, index)
        assert proven(leaves[index], path, root)
        assert not proven(leaf(b"other"), path, root)
        assert len(path) <= size.bit_length()


def test_the_trees_are_those_of_the_certificate_transparency_standard():
    """Test vectors of RFC 9162's reference trees: leaves "", 00, 10, 2021."""
    leaves = [leaf(bytes.fromhex(text)) for text in ("", "00", "10", "2021")]
    assert merkle_root(leaves[:1]).hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert merkle_root(leaves[:2]).hex() == "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
    assert merkle_root(leaves[:3]).hex() == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert merkle_root(leaves).hex() == "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"


def test_a_head_reads_as_it_is_written():
    head = Head("cases", 12, bytes(range(32)))
    assert Head.parse(str(head) + "\n") == head


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"# Hetao\n\nA platform\n" * 100,
        b"\0" * 3_000_000,
        b"{}\n",
        b"null\n",
        b'"block"\n',
        b'{"id": 1}\n' * 50,
    ],
)
def test_a_file_that_is_no_export_is_one_line(tmp_path, content):
    file = tmp_path / "README.md"
    file.write_bytes(content)
    with pytest.raises(StartupError, match="no export") as refused:
        audit.verify(file)
    assert "README.md" in refused.value.zh


def test_a_thousand_findings_are_told_by_twenty_and_a_number(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"row": []}\n' * 1000)
    report = audit.verify(file)
    assert (len(report.findings), report.more, report.sound) == (20, 980, False)
    said = CliRunner().invoke(cli, ["audit", "verify", str(file)])
    assert said.exit_code == 1
    assert len(said.output.splitlines()) <= 2 * 21 + 3
