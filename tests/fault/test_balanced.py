"""Two processes of one service behind one channel: one is killed, and nobody who may be answered by the other notices."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import psutil
import pytest

from kit.postgres import EmbeddedPostgres
from kit.rpc.client import ServiceChannel
from kit.sections import Grpc
from tests import shelf
from tests.conftest import drop_database
from tests.fault.books import METADATA, ShelfProcess
from tests.waiting import running, until


@pytest.fixture
async def dsn(server: EmbeddedPostgres) -> AsyncIterator[str]:
    name = f"t{uuid4().hex[:12]}"
    connection = await asyncpg.connect(server.dsn())
    await connection.execute(f"create database {name} template template0")
    await connection.close()
    yield server.dsn(database=name)
    await drop_database(server, name)


async def test_a_killed_replica_costs_no_call_that_may_be_repeated(dsn: str, scratch: Path) -> None:
    environment = {"HETAO_DATABASE_URL": dsn, "HETAO_KEYS__FILE": str(scratch / "keyring.json")}
    replicas = [ShelfProcess(scratch / name, environment) for name in ("one", "other")]
    try:
        for replica in replicas:
            await replica.start()
        channel = ServiceChannel(Grpc(), "shelf", ",".join(replica.address for replica in replicas), None)
        try:
            await _kill_each_in_turn(shelf.rpc.ShelfServiceStub(channel), replicas)
        finally:
            await channel.close()
        for replica in replicas:
            await replica.stop()
    finally:
        for replica in replicas:
            await replica.end()


async def _kill_each_in_turn(stub: Any, replicas: list[ShelfProcess]) -> None:
    done, failed, enough = Counter[str](), list[str](), asyncio.Event()
    things = dict[str, str]()

    async def put(name: str) -> None:
        request_id = f"{name}-{done[name]}"
        request = shelf.pb.PutThingRequest(division="150802", title="a", request_id=request_id)
        things[request_id] = (await stub.PutThing(request, metadata=METADATA, timeout=20.0)).thing.id

    async def get(name: str) -> None:
        await stub.GetThing(shelf.pb.GetThingRequest(id=first), metadata=METADATA, timeout=20.0)

    async def again(name: str, work: Any) -> None:
        while not enough.is_set():
            try:
                await work(name)
                done[name] += 1
            except grpc.aio.AioRpcError as error:
                failed.append(f"{name} {error.code().name} {error.details()}")

    await put("first")
    first = things["first-0"]
    names = {f"get{n}": get for n in range(3)} | {f"put{n}": put for n in range(3)}
    async with running(*(again(name, work) for name, work in names.items())) as callers:

        async def each_has_gone_on(by: int) -> None:
            before = done.copy()
            await until(lambda: all(done[name] >= before[name] + by for name in names), f"{failed} {done}", seconds=30)

        for replica in replicas:
            await each_has_gone_on(20)
            await replica.kill()
            await each_has_gone_on(20)
            await replica.start()
            await until(lambda port=replica.port: _connected(port), "the replica that came back is not found")  # type: ignore[misc]
        await each_has_gone_on(20)
        enough.set()
        await asyncio.gather(*callers)
    assert failed == []
    assert len(set(things.values())) == len(things), "each request has put one thing"
    assert done.total() == len(things) - 1 + sum(done[name] for name in names if name.startswith("get"))


def _connected(port: int) -> bool:
    """Whether this process has a connection to a port: while it has none to one replica, the other must not be killed."""
    connections = psutil.Process().net_connections("tcp")
    return any(one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED for one in connections)
