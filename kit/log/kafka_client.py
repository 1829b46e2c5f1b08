"""Connections to Kafka: from the settings to clients of aiokafka, and their end.

An orderly end talks to the broker, and while that is away it takes for ever: it is tried for a moment, then the client is dropped as the end of the
process would drop it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import client as aiokafka_client
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.structs import ConsumerRecord, TopicPartition

from kit.errors import StartupError
from kit.log import LogAway, Place
from kit.sections import Kafka

T = TypeVar("T")

log = logging.getLogger(__name__)

#: What a client raises when the broker is away, slow, or does not want us.
FAULTS = (KafkaError, TimeoutError, OSError, AssertionError)

#: Seconds for an orderly end; between two tries of the same question.
_END, _AGAIN = 3.0, 0.1


def _mend() -> None:
    """What aiokafka does wrong when a broker goes or a caller does not wait.

    Where a connection has just gone, uvloop raises a RuntimeError at the next write; aiokafka expects an OSError there. Unmended it ends tasks of the
    client that nobody looks after, such as the one that looks for the brokers, and whoever waits for them waits for ever.

    A client whose first look at the brokers is cancelled forgets the connection over which it had asked.
    """
    send = AIOKafkaConnection.send

    def sent(self: Any, request: Any, expect_response: bool = True) -> Any:
        try:
            return send(self, request, expect_response)
        except RuntimeError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error

    AIOKafkaConnection.send = sent

    create, bootstrap = aiokafka_client.create_conn, AIOKafkaClient.bootstrap
    first: ContextVar[list[Any]] = ContextVar("first connections")

    async def created(*where: Any, **how: Any) -> Any:
        made = await create(*where, **how)
        if "on_close" not in how:  # a client's later ones are known to it
            first.get([]).append(made)
        return made

    async def bootstrapped(self: Any) -> None:
        mine: list[Any] = []
        first.set(mine)
        try:
            await bootstrap(self)
        except BaseException:
            for made in mine:
                made.close()
            raise

    aiokafka_client.create_conn, AIOKafkaClient.bootstrap = created, bootstrapped


_mend()


def options_of(settings: Kafka) -> dict[str, Any]:
    """What every client takes. Raises `StartupError` for certificates that cannot be read."""
    if settings.bootstrap is None:
        raise StartupError("未设置 HETAO_KAFKA__BOOTSTRAP", "HETAO_KAFKA__BOOTSTRAP is not set")
    tls = settings.tls or settings.tls_ca is not None
    sasl = settings.sasl_user is not None
    options: dict[str, Any] = {
        "bootstrap_servers": settings.bootstrap.split(","),
        "client_id": "hetao",
        "request_timeout_ms": round(settings.request_timeout * 1000),
        "metadata_max_age_ms": 30_000,
        "security_protocol": ("SASL_" if sasl else "") + ("SSL" if tls else "PLAINTEXT"),
    }
    if tls:
        options["ssl_context"] = _context(settings)
    if sasl:
        password = settings.sasl_password.get_secret_value() if settings.sasl_password else ""
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_user,
            "sasl_plain_password": password,
        }
    return options


def _context(settings: Kafka) -> ssl.SSLContext:
    def named(variable: str, path: Path | None) -> str | None:
        if path is not None and not path.is_file():
            raise StartupError(
                f"找不到文件 {path}（HETAO_KAFKA__{variable}）", f"no file {path} (HETAO_KAFKA__{variable})"
            )
        return str(path) if path else None

    certificate = named("TLS_CERTIFICATE", settings.tls_certificate)
    key = named("TLS_KEY", settings.tls_key)
    try:
        context = ssl.create_default_context(cafile=named("TLS_CA", settings.tls_ca))
        if certificate:
            context.load_cert_chain(certificate, key)
    except (ssl.SSLError, OSError) as error:
        raise StartupError(
            f"无法读取 Kafka 的证书（HETAO_KAFKA__TLS_*）：{error}",
            f"cannot read the certificates of Kafka (HETAO_KAFKA__TLS_*): {error}",
        ) from error
    return context


async def started(client: T) -> T:
    """The client, connected. One that fails leaves nothing behind."""
    try:
        await client.start()  # type: ignore[attr-defined]
    except BaseException:
        await abandon(client)
        raise
    return client


async def stop(client: Any) -> None:
    """In an orderly way if the broker is there to hear it."""
    orderly = asyncio.ensure_future(client.close() if isinstance(client, AIOKafkaAdminClient) else client.stop())
    try:
        await asyncio.wait([orderly], timeout=_END)
    finally:
        done = orderly.done()
        orderly.cancel()
        # aiokafka cancels tasks of its own and may come upon their cancellation as if it were ours.
        if not done or orderly.cancelled() or orderly.exception():
            await asyncio.wait([orderly], timeout=_END)
            await abandon(client)


async def abandon(client: Any) -> None:
    """Without a word to anybody, as if the process had ended: tasks are cancelled, sockets closed. aiokafka has no public way to do so."""
    tasks: list[asyncio.Task[Any] | None] = []
    client._closed = True
    if isinstance(client, AIOKafkaProducer):
        accumulator = client._message_accumulator
        for batch in [*accumulator._pending_batches, *(one for line in accumulator._batches.values() for one in line)]:
            if not batch._drain_waiter.done():
                batch._drain_waiter.set_result(None)
        accumulator.fail_all(KafkaConnectionError("the producer was given up"))
        if sending := client._sender.sender_task:
            sending.remove_done_callback(client._sender._fail_all)  # it stumbles where there are no transactions
        tasks = [sending]
        connections = client.client
    else:
        connections = client._client
    if isinstance(client, AIOKafkaConsumer):
        if coordinator := client._coordinator:
            closing = getattr(coordinator, "_closing", None)  # of a member of a group
            if closing and not closing.done():
                closing.set_result(None)
            names = (
                "_coordination_task",
                "_heartbeat_task",
                "_commit_refresh_task",
                "_reassignment_task",
                "_reset_committed_task",
            )
            tasks += [getattr(coordinator, name, None) for name in names]
        if fetcher := client._fetcher:
            fetcher._closed = True
            tasks += [fetcher._fetch_task, *fetcher._pending_tasks]
    running = [task for task in tasks if task is not None]
    await _closed(connections)  # first, so that whoever waits for an answer is told
    for task in running:
        task.cancel()
    if running:
        await asyncio.wait(running, timeout=_END)
        for task in running:
            if task.done() and not task.cancelled():
                task.exception()
    await _closed(connections)  # a task may have been about to make one


async def _closed(connections: Any) -> None:
    with contextlib.suppress(*FAULTS):
        async with asyncio.timeout(_END):
            await connections.close()


class Desk:
    """Answers questions about topics, ends and positions, over connections of its own, which are made when first needed."""

    def __init__(self, options: Mapping[str, Any], timeout: float):
        self._options, self._timeout = options, timeout
        self._admin: AIOKafkaAdminClient | None = None
        self._reader: AIOKafkaConsumer | None = None
        self._opening = asyncio.Lock()

    async def partitions(self) -> dict[str, list[int]]:
        """Of every topic. Topics are never asked for by name: a broker may be set to make those that it does not have."""

        async def work(admin: AIOKafkaAdminClient) -> dict[str, list[int]]:
            topics = await admin.describe_topics()
            return {t["topic"]: sorted(p["partition"] for p in t["partitions"]) for t in topics if not t["error_code"]}

        return await self.ask(work)

    async def brokers(self) -> int:
        async def work(admin: AIOKafkaAdminClient) -> int:
            return len((await admin.describe_cluster())["brokers"])

        return await self.ask(work)

    async def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        return await self._offsets("end_offsets", places)

    async def beginnings(self, places: Iterable[Place]) -> dict[Place, int]:
        return await self._offsets("beginning_offsets", places)

    async def committed(self, group: str, places: Iterable[Place]) -> dict[Place, int]:
        """Where the group stands, for the places where it stands anywhere."""
        asked = [TopicPartition(*place) for place in places]
        if not asked:
            return {}

        async def work(admin: AIOKafkaAdminClient) -> dict[Place, int]:
            found = await admin.list_consumer_group_offsets(group, partitions=asked)
            return {(tp.topic, tp.partition): said.offset for tp, said in found.items() if said.offset >= 0}

        return await self.ask(work)

    async def ask(self, work: Callable[[AIOKafkaAdminClient], Awaitable[T]]) -> T:
        """The answer to a question, asked again while the broker says that it is not ready yet. Raises `LogAway`."""

        async def asked() -> T:
            async with self._opening:
                if self._admin is None:
                    self._admin = await started(AIOKafkaAdminClient(**self._options))
            return await work(self._admin)

        return await self._within(asked)

    async def since(self, places: Iterable[Place], moment: datetime) -> dict[Place, int]:
        at = round(moment.timestamp() * 1000)
        wanted = {TopicPartition(*place): at for place in places}
        if not wanted:
            return {}

        async def asked() -> dict[Place, int]:
            found = await (await self._connected_reader()).offsets_for_times(wanted)
            return {(tp.topic, tp.partition): one.offset if one else 0 for tp, one in found.items()}

        return await self._within(asked)

    async def _connected_reader(self) -> AIOKafkaConsumer:
        async with self._opening:
            if self._reader is None:
                self._reader = await started(AIOKafkaConsumer(**self._options))
            return self._reader

    async def seek(self, group: str, positions: Mapping[Place, int]) -> None:
        """Sets the positions of a group in which nobody is at work. Raises `LogAway`, also where somebody is."""
        wanted = {TopicPartition(*place): offset for place, offset in positions.items()}
        if not wanted:
            return

        async def asked() -> None:
            member = await started(AIOKafkaConsumer(**self._options, group_id=group, enable_auto_commit=False))
            try:
                member.assign(list(wanted))
                await member.commit(wanted)
            finally:
                await stop(member)

        await self._within(asked)

    async def scan(
        self, stretches: Mapping[Place, tuple[int, int]]
    ) -> AsyncIterator[tuple[TopicPartition, list[ConsumerRecord]]]:
        """The records of each stretch [first, past) that are still there, partition by partition. Raises `LogAway`."""
        oldest = await self.beginnings(stretches)
        newest = await self.ends(stretches)
        for place, (first, past) in stretches.items():
            first, past = max(first, oldest.get(place, 0)), min(past, newest.get(place, 0))
            if first >= past:
                continue
            async for raw in self._stretch(TopicPartition(*place), first, past):
                yield TopicPartition(*place), raw

    async def _stretch(self, tp: TopicPartition, first: int, past: int) -> AsyncIterator[list[ConsumerRecord]]:
        reader = await self._within(lambda: started(AIOKafkaConsumer(**self._options, enable_auto_commit=False)))
        try:
            reader.assign([tp])
            reader.seek(tp, first)
            while first < past:
                found = await self._within(lambda: reader.getmany(tp, timeout_ms=1000, max_records=1000))
                for raw in found.values():
                    if kept := [one for one in raw if one.offset < past]:
                        yield kept
                first = await reader.position(tp)  # what is left may be no records at all
        finally:
            await stop(reader)

    async def close(self) -> None:
        clients, self._admin, self._reader = (self._admin, self._reader), None, None
        for client in clients:
            if client is not None:
                await stop(client)

    async def _offsets(self, method: str, places: Iterable[Place]) -> dict[Place, int]:
        wanted = [TopicPartition(*place) for place in places]
        if not wanted:
            return {}

        async def asked() -> dict[Place, int]:
            found = await getattr(await self._connected_reader(), method)(wanted)
            return {(tp.topic, tp.partition): offset for tp, offset in found.items()}

        return await self._within(asked)

    async def _within(self, asked: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(self._timeout):
                while True:
                    try:
                        return await asked()
                    except KafkaError as error:
                        if not error.retriable or isinstance(error, KafkaConnectionError):
                            raise
                    await asyncio.sleep(_AGAIN)
        except FAULTS as error:
            await self.close()
            raise away(error) from error


def away(error: BaseException) -> LogAway:
    """The same for whoever knows nothing of Kafka."""
    if isinstance(error, LogAway):
        return error
    said = str(error).strip()
    return LogAway(f"Kafka: {said or ('no answer' if isinstance(error, TimeoutError) else type(error).__name__)}")
