"""Changing the keys under a platform that works: nobody notices, whoever dies, and in the end nothing is sealed under the old key."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import asyncpg
import pytest

from hetao.cases.v1 import progress_pb2, progress_pb2_grpc, types_pb2
from kit.reseal import Sealed, reseal, waiting
from kit.sealing import Keys, SealError
from services.registry import MODULES
from tests.unit.cases.conftest import CentreAtWork
from tests.world import World

SEALED = {module.name: module.sealed for module in MODULES if module.sealed}

#: Columns of bytes that hold no sealed value: keyed hashes, and what the kit keeps for a while.
NOT_SEALED = {"party.pin", "party_pair.key", "party_key.key", "used_token.digest"}


async def connected(world: World, service: str) -> asyncpg.Connection:
    return await world.platform.database.connect(service)


async def resealed(world: World, keys: Keys, service: str, columns: Sequence[Sealed] = ()) -> int:
    connection = await connected(world, service)
    try:
        return await reseal(connection, keys, columns or SEALED[service])
    finally:
        await connection.close()


async def left(world: World, keys: Keys) -> int:
    total = 0
    for service, columns in SEALED.items():
        connection = await connected(world, service)
        total += await waiting(connection, keys, columns)
        await connection.close()
    return total


async def test_every_column_that_may_hold_sealed_values_is_declared(world: World) -> None:
    for service, columns in SEALED.items():
        rows = await world.rows(
            service,
            "select table_name || '.' || column_name from information_schema.columns "
            "where table_schema = $1 and data_type = 'bytea'",
            service,
        )
        kits = {"outbox.value", "parked.value", "reply.digest", "reply.answer", "audit.before", "audit.after"}
        kits |= {"audit_block.previous", "audit_block.root"}
        found = {row[0] for row in rows} - kits - NOT_SEALED
        assert found == {f"{one.table}.{one.column}" for one in columns}


@pytest.fixture
def rotate(world: World, scratch: Path) -> Callable[..., Keys]:
    """Adds a key to the world's key file, which is its own here; the process that is at work is not told."""
    keys, file = world.platform.keys, scratch / "keyring.json"
    shutil.copy2(world.platform.settings.key_file, file)
    keys._path = file
    return lambda **suite: Keys.rotate(file, world.clock.now(), **suite)


async def test_values_are_sealed_anew_and_nobody_notices(world: World, rotate: Callable[..., Keys]) -> None:
    centre = CentreAtWork(world)
    before = await centre.create(title="更换之前")
    keys = rotate(suite="sm")
    waits = await left(world, keys)
    assert waits >= 3  # the matter and two parties
    assert sum([await resealed(world, keys, service) for service in SEALED]) == waits
    assert await left(world, keys) == 0
    assert sum([await resealed(world, keys, service) for service in SEALED]) == 0

    # The process that is at work has not been restarted: it looks for the key that it does not know.
    read = await centre.get(before.case)
    assert (read.title, read.etag) == ("更换之前", before.case.etag)
    receipt = before.receipts[0]
    anybody = world.stub(progress_pb2_grpc.CaseProgressServiceStub, "cases")
    for _ in range(3):  # the PIN is found under whichever key
        request = progress_pb2.LookupCaseProgressRequest(code=receipt.code, pin=receipt.pin)
        assert (await anybody.LookupCaseProgress(request)).code == receipt.code
        newer = rotate()
        await resealed(world, newer, "cases")
        world.platform.keys._looked_at = 0.0
        await centre.get(before.case)
    after = await centre.create(title="更换之后")
    assert before.case.code in str(after.duplicates)


async def test_two_jobs_writers_and_a_death_in_the_middle(world: World, rotate: Callable[..., Keys]) -> None:
    centre = CentreAtWork(world)
    cases = [(await centre.create(title=f"第 {n} 件")).case for n in range(12)]
    keys = rotate()
    stopped = asyncio.create_task(resealed(world, keys, "cases"))
    await asyncio.sleep(0.01)
    stopped.cancel()
    await asyncio.gather(stopped, return_exceptions=True)

    async def write() -> None:
        for case in cases:
            await centre.accept(case)

    await asyncio.gather(resealed(world, keys, "cases"), resealed(world, keys, "cases"), write())
    await resealed(world, keys, "cases")
    assert await left(world, keys) == 0
    for case in cases:
        read = await centre.get(case)
        assert (read.title, read.state) == (case.title, types_pb2.CASE_STATE_ACCEPTED)


async def test_a_value_that_was_changed_or_whose_key_is_missing_is_told(
    world: World, rotate: Callable[..., Keys]
) -> None:
    await CentreAtWork(world).create()
    rotate()
    with pytest.raises(SealError):
        await resealed(world, Keys.passing("sm"), "cases")


async def test_a_key_file_that_cannot_be_read_again_stops_nobody(world: World, rotate: Callable[..., Keys]) -> None:
    centre, keys = CentreAtWork(world), world.platform.keys
    case = (await centre.create(title="照旧")).case
    assert keys._path
    keys._path.write_text("broken")
    with pytest.raises(SealError):
        keys.open_bytes("a", "b", b"\x01\x00\x63" + bytes(40))
    assert (await centre.get(case)).title == "照旧"
