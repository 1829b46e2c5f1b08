"""The audit made tamper-evident: rows → Merkle blocks → a chain, and a check that needs nothing but the exported file.

A unit writes its audit rows with what they record; nobody locks anything for it and the rows never change. Every few seconds a
`Sealer` closes the next stretch of rows into a block: the Merkle root of the rows, and the hash of the block before. Whoever
keeps an export, or only its last line, can show later that a row was changed, removed, added or moved in what was sealed
until then. It shows nothing about rows that were not sealed yet, and a chain rewritten as a whole is found only by a head that
was kept elsewhere.

Hashes (SHA-256; the trees as in RFC 9162): a leaf is H(0 ‖ row), a node H(1 ‖ left ‖ right), a block H(2 ‖ block), where row and block are the
JSON arrays that `row_bytes` and `Block.header` make, in the order documented there, UTF-8, without spaces.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import orjson

from kit.errors import StartupError

#: Rows of one block at most: a few milliseconds of hashing, so that the loop stays responsive.
BLOCK_ROWS: Final = 500

#: What the first block of a chain names as the one before.
ORIGIN: Final = bytes(32)

_ROW: Final = "seq, entity, entity_id, version, at, actor, on_behalf, action, before, after, purpose, trace"
_BLOCK: Final = "number, previous, root, rows, first, last, sealed_at"

if TYPE_CHECKING:
    import asyncpg

    Connection = asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]


@dataclass(frozen=True, slots=True)
class Block:
    """One stretch of a service's audit: the rows with `first` ≤ seq ≤ `last`. Numbers a rolled-back unit took are missing in it."""

    chain: str
    number: int
    previous: bytes
    root: bytes
    rows: int
    first: int
    last: int
    sealed_at: datetime

    @property
    def header(self) -> list[Any]:
        """chain, number, previous, root, rows, first, last, sealed_at (UTC, microseconds); bytes in hex."""
        return [
            self.chain,
            self.number,
            self.previous.hex(),
            self.root.hex(),
            self.rows,
            self.first,
            self.last,
            _moment(self.sealed_at),
        ]

    @property
    def hash(self) -> bytes:
        return hashlib.sha256(b"\x02" + orjson.dumps(self.header)).digest()


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block of a chain: 32 bytes to keep elsewhere that vouch for everything before."""

    chain: str
    number: int
    hash: bytes

    def __str__(self) -> str:
        return f"{self.chain}:{self.number}:{self.hash.hex()}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """The opposite of `str`. Raises ValueError."""
        chain, number, digest = text.strip().split(":")
        return cls(chain, int(number), bytes.fromhex(digest))


class Sealer:
    """Closes blocks of one service's schema. Any number of processes may run one: the block number is the fence between them.

    Rows become visible out of order: a unit may hold a lower number than one that committed before it. So the sealer notes how far the numbers go
    and then who is writing, and closes that stretch once all of those have ended. Who writes is told by their locks of the table, which they take
    before their first number; a transaction id comes only with the row itself, after the number.
    """

    def __init__(self, chain: str) -> None:
        self._chain = chain
        #: The highest number, and the transactions that may hold a lower one and have not ended.
        self._reached: tuple[int, set[str]] | None = None

    async def seal(self, connection: Connection, now: datetime) -> int:
        """Closes every block that can be closed now and returns the number of rows sealed. Call it again in a few seconds."""
        sealed = 0
        if self._reached is None:
            highest = await connection.fetchval("select coalesce(max(seq), 0) from audit")
            self._reached = highest, await self._writing(connection)
        reached, open_then = self._reached
        if not open_then or open_then.isdisjoint(await self._writing(connection)):
            while rows := await self._close(connection, reached, now):
                sealed += rows
            self._reached = None
        return sealed

    async def _writing(self, connection: Connection) -> set[str]:
        rows = await connection.fetch(
            "select virtualtransaction from pg_locks where relation = 'audit'::regclass and mode = 'RowExclusiveLock' "
            "and database = (select oid from pg_database where datname = current_database())"
        )
        return {row["virtualtransaction"] for row in rows}

    async def _close(self, connection: Connection, reached: int, now: datetime) -> int:
        async with connection.transaction():
            newest = await connection.fetchrow(f"select {_BLOCK} from audit_block order by number desc limit 1")
            before = _block(self._chain, newest) if newest else None
            rows = await connection.fetch(
                f"select {_ROW} from audit where seq > $1 and seq <= $2 order by seq limit $3",
                before.last if before else 0,
                reached,
                BLOCK_ROWS,
            )
            if not rows:
                return 0
            block = Block(
                chain=self._chain,
                number=before.number + 1 if before else 1,
                previous=before.hash if before else ORIGIN,
                root=merkle_root([leaf(row_bytes(row)) for row in rows]),
                rows=len(rows),
                first=rows[0]["seq"],
                last=rows[-1]["seq"],
                sealed_at=now,
            )
            written = await connection.execute(
                f"insert into audit_block ({_BLOCK}) values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing",
                block.number,
                block.previous,
                block.root,
                block.rows,
                block.first,
                block.last,
                block.sealed_at,
            )
            return block.rows if written == "INSERT 0 1" else 0  # 0: another sealer was faster, and goes on


async def export(connection: Connection, chain: str) -> AsyncIterator[bytes]:
    """The sealed audit of one service as JSON lines: each block, then its rows; at the end the head and the rows not sealed yet.

    A consistent snapshot. Files of several services may be written one after the other into one.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        head = Head(chain, 0, ORIGIN)
        last = 0
        async for found in connection.cursor(f"select {_BLOCK} from audit_block order by number", prefetch=50):
            block = _block(chain, found)
            yield orjson.dumps({"block": block.header}) + b"\n"
            for row in await connection.fetch(
                f"select {_ROW} from audit where seq between $1 and $2 order by seq", block.first, block.last
            ):
                yield b'{"row":' + row_bytes(row) + b"}\n"
            head, last = Head(chain, block.number, block.hash), block.last
        unsealed = await connection.fetchval("select count(*) from audit where seq > $1", last)
        yield orjson.dumps({"head": str(head), "unsealed": unsealed}) + b"\n"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was done to the record. `where`: chain, block and row number as far as known."""

    where: str
    zh: str
    en: str

    def __str__(self) -> str:
        return f"{self.where}: {self.zh} ({self.en})"


#: Findings that a report tells one by one; the others are counted.
MOST_FINDINGS: Final = 20

#: Bytes of a line at most: a row's texts are short.
LONGEST_LINE: Final = 1024 * 1024


@dataclass(slots=True)
class Report:
    """What `verify` found in a file. `findings`: the first of them; `more`: how many others there are."""

    rows: int = 0
    blocks: int = 0
    unsealed: int = 0
    heads: list[Head] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    more: int = 0

    @property
    def sound(self) -> bool:
        return not self.findings

    def found(self, where: str, zh: str, en: str) -> None:
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(Finding(where, zh, en))
        else:
            self.more += 1


def verify(path: Path, kept: Iterable[Head] = ()) -> Report:
    """Checks an exported file, offline, in one pass and little memory.

    `kept`: heads from earlier exports; without one, a chain cut at its end or rewritten as a whole looks sound. `StartupError` for a file
    that is no export at all.
    """
    report = Report()
    checks: dict[str, _Chain] = {}
    expected = list(kept)
    current: _Chain | None = None
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), 1):
            entry: Any = None
            try:
                entry = orjson.loads(line)
                if "block" in entry:
                    block = _parsed(entry["block"])
                    current = checks.setdefault(block.chain, _Chain(block.chain, report, expected))
                    current.open(block)
                elif "row" in entry:
                    if current is None:
                        raise ValueError("row before any block")
                    current.add(entry["row"])
                else:
                    head = Head.parse(entry["head"])
                    current = checks.setdefault(head.chain, _Chain(head.chain, report, expected))
                    current.finish(head, int(entry["unsealed"]))
                    current = None
            except (ValueError, KeyError, TypeError, IndexError):
                if number == 1 and not (isinstance(entry, dict) and entry.keys() & {"block", "row", "head"}):
                    raise _no_export(path) from None
                report.found(
                    f"line {number}", "该行无法读取或位置不对", "this line cannot be read or does not belong here"
                )
    if not checks and report.sound:
        raise _no_export(path)
    for check in checks.values():
        if not check.finished:
            report.found(check.name, "文件在此链结束前中断", "the file ends before this chain does")
    known = {head.chain for head in report.heads}
    for head in expected:
        if head.chain not in known:
            report.found(head.chain, "缺少整条链", "the whole chain is missing")
    return report


def _no_export(path: Path) -> StartupError:
    return StartupError(
        f"{path} 不是审计导出文件，或其第一行已损坏", f"{path} is no export of the audit, or its first line is broken"
    )


class _Chain:
    """The checks of one service's blocks, as they come."""

    def __init__(self, name: str, report: Report, kept: Sequence[Head]) -> None:
        self.name, self.report, self.finished = name, report, False
        self._kept = {head.number: head.hash for head in kept if head.chain == name}
        self._block: Block | None = None
        self._leaves: list[bytes] = []
        self._last_seq = 0
        self._head = Head(name, 0, ORIGIN)
        self._versions: dict[tuple[str, str], int] = {}

    def open(self, block: Block) -> None:
        self._close()
        where = f"{self.name} block {block.number}"
        if self.finished:
            self.report.found(where, "链已结束后又出现区块", "a block after the end of its chain")
        if block.number != self._head.number + 1:
            self.report.found(where, f"其前一区块应为 {block.number - 1}，实为 {self._head.number}",
                              f"follows block {self._head.number}: blocks are missing or out of order")  # fmt: skip
        elif block.previous != self._head.hash:
            self.report.found(
                where,
                "与前一区块不衔接，前一区块被改动或替换",
                "does not continue the block before, which was changed or replaced",
            )
        if block.first <= self._last_seq:
            self.report.found(where, "与前一区块的记录范围重叠", "overlaps the rows of the block before")
        kept = self._kept.pop(block.number, None)
        if kept is not None and kept != block.hash:
            self.report.found(where, "与先前留存的区块摘要不符", "differs from the head that was kept")
        self._block, self._leaves = block, []
        self._head = Head(self.name, block.number, block.hash)
        self.report.blocks += 1

    def add(self, row: list[Any]) -> None:
        block = self._block
        if block is None:
            raise ValueError("row before any block")
        seq, entity, entity_id, version = int(row[0]), str(row[1]), str(row[2]), int(row[3])
        where = f"{self.name} block {block.number} row {seq}"
        if not block.first <= seq <= block.last or (self._leaves and seq <= self._last_seq):
            self.report.found(
                where, "记录不属于该区块或顺序颠倒", "does not belong to this block, or stands in the wrong order"
            )
        before = self._versions.get((entity, entity_id), 0)
        if version != before + 1:
            self.report.found(where, f"{entity} {entity_id} 的版本由 {before} 跳到 {version}",
                              f"{entity} {entity_id} goes from version {before} to {version}")  # fmt: skip
        self._versions[entity, entity_id] = version
        self._last_seq = seq
        self._leaves.append(leaf(orjson.dumps(row)))
        self.report.rows += 1

    def finish(self, head: Head, unsealed: int) -> None:
        self._close()
        if (head.number, head.hash) != (self._head.number, self._head.hash):
            self.report.found(f"{self.name} head", "链头与最后一个区块不符", "the head is not that of the last block")
        for number in self._kept:
            self.report.found(
                f"{self.name} block {number}", "先前留存的区块已不存在", "a block whose head was kept is missing"
            )
        self.finished = True
        self.report.unsealed += unsealed
        self.report.heads.append(self._head)

    def _close(self) -> None:
        block, self._block = self._block, None
        if block is None:
            return
        where = f"{self.name} block {block.number}"
        if len(self._leaves) != block.rows:
            self.report.found(where, f"应有 {block.rows} 条记录，实有 {len(self._leaves)} 条",
                              f"has {len(self._leaves)} rows instead of {block.rows}: rows were removed or added")  # fmt: skip
        elif merkle_root(self._leaves) != block.root:
            self.report.found(where, "记录被改动、替换或调换", "rows were changed, replaced or swapped")
        self._last_seq = block.last


def row_bytes(row: asyncpg.Record) -> bytes:
    """A row as it is hashed and exported: seq, entity, entity_id, version, at, actor, on_behalf, action, before, after, purpose, trace."""
    before: bytes | None = row["before"]
    entity_id: UUID = row["entity_id"]
    return orjson.dumps(
        [
            row["seq"],
            row["entity"],
            str(entity_id),
            row["version"],
            _moment(row["at"]),
            row["actor"],
            row["on_behalf"],
            row["action"],
            None if before is None else before.hex(),
            row["after"].hex(),
            row["purpose"],
            row["trace"],
        ]
    )


def leaf(row: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + row).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root of a non-empty list of leaves; an odd node at the end of a level moves up as it is, which is RFC 9162's tree."""
    level = list(leaves)
    while len(level) > 1:
        paired = [_node(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level = paired + level[len(paired) * 2 :]
    return level[0]


def prove(leaves: Sequence[bytes], index: int) -> list[tuple[bool, bytes]]:
    """Shows that the leaf at `index` is in the tree without giving away another row: (stands to the left?, hash), from the leaf up."""
    path: list[tuple[bool, bytes]] = []
    level = list(leaves)
    while len(level) > 1:
        other = index ^ 1
        if other < len(level):
            path.append((other < index, level[other]))
        paired = [_node(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
        level, index = paired + level[len(paired) * 2 :], index // 2
    return path


def proven(start: bytes, path: Sequence[tuple[bool, bytes]], root: bytes) -> bool:
    """Whether `path` (from `prove`) leads from this leaf to this root."""
    reached = start
    for left, other in path:
        reached = _node(other, reached) if left else _node(reached, other)
    return reached == root


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _block(chain: str, row: asyncpg.Record) -> Block:
    return Block(
        chain, row["number"], row["previous"], row["root"], row["rows"], row["first"], row["last"], row["sealed_at"]
    )


def _parsed(header: list[Any]) -> Block:
    chain, number, previous, root, rows, first, last, sealed_at = header
    moment = datetime.fromisoformat(sealed_at)
    return Block(chain, number, bytes.fromhex(previous), bytes.fromhex(root), rows, first, last, moment)
