"""What aiokafka lets through when the broker dies at the wrong moment: the log is away then, and nothing of ours ends."""

from __future__ import annotations

from typing import Any

import pytest
from aiokafka import TopicPartition

from kit.log import Batch, LogAway
from kit.log.kafka import KafkaLog


async def test_a_connection_that_goes_while_it_is_written_to_is_a_broker_that_is_away() -> None:
    class Broken:
        async def commit(self, places: Any) -> None:
            raise RuntimeError(
                "unable to perform operation on <TCPTransport closed=True>; the handler is closed"
            )  # uvloop

    subscription = KafkaLog({"bootstrap_servers": ["127.0.0.1:1"]}).subscribe("shelf", ["hetao.shelf.v1"])
    batch = Batch("hetao.shelf.v1", 0, [], 1)
    subscription._consumer, subscription._open = Broken(), {TopicPartition("hetao.shelf.v1", 0): [(0, batch)]}
    with pytest.raises(LogAway):
        await subscription.commit(batch)
    assert subscription._open  # it is committed when the broker is back, or read again
