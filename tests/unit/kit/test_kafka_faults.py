"""What aiokafka lets through when the broker dies at the wrong moment: the log is away then, and nothing of ours ends or waits for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from kit.log import Batch, LogAway, kafka
from kit.log.kafka import KafkaLog
from kit.relay import Relay
from tests.unit.kit.conftest import ShelfWorld


async def test_a_connection_that_goes_while_it_is_written_to_is_broken() -> None:
    class Gone:
        """As uvloop has it."""

        def write(self, data: bytes) -> None:
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

        def close(self) -> None:
            pass

    connection: Any = AIOKafkaConnection("127.0.0.1", 1)
    connection._writer, connection._versions = Gone(), {MetadataRequest.API_KEY: (0, 1)}
    with pytest.raises(KafkaConnectionError):
        connection.send(MetadataRequest([]))
    assert not connection.connected()


async def test_a_member_that_is_not_answered_twice_joins_anew() -> None:
    class Silent:
        async def commit(self, places: Any) -> None:
            await asyncio.Event().wait()

    log = KafkaLog({"bootstrap_servers": ["127.0.0.1:1"]}, timeout=0.01)
    subscription = log.subscribe("shelf", ["hetao.shelf.v1"])
    batch, dropped = Batch("hetao.shelf.v1", 0, [], 1), []

    async def drop() -> None:
        dropped.append(True)

    subscription._consumer, subscription.drop = Silent(), drop  # type: ignore[assignment,method-assign]
    subscription._open = {TopicPartition("hetao.shelf.v1", 0): [(0, batch)]}
    for times in (0, 1):
        with pytest.raises(LogAway):
            await subscription.commit(batch)
        assert len(dropped) == times


async def test_a_producer_that_is_never_answered_is_replaced_by_the_relays_log(
    shelf_world: ShelfWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay is more patient than its log, which so is the first to see it."""
    runtime = shelf_world.platform.services["shelf"].runtime
    quick = runtime.settings.log.model_copy(update={"send_timeout": 0.05})
    runtime.settings = runtime.settings.model_copy(update={"log": quick})
    log, given_up = KafkaLog({"bootstrap_servers": ["127.0.0.1:1"]}, timeout=quick.send_timeout), []

    async def silent() -> Any:
        await asyncio.Event().wait()

    async def give_up() -> None:
        given_up.append(True)

    monkeypatch.setattr(kafka, "STUCK", 0.0)
    monkeypatch.setattr(log, "_connected", silent)
    monkeypatch.setattr(log, "_give_up_producer", give_up)
    await shelf_world.put("thing")
    await runtime.pool.execute("delete from lease")  # whoever leads in this process
    relay = Relay(runtime, log)
    for times in (0, 1):
        with pytest.raises(LogAway):
            await relay.step()
        assert len(given_up) == times
