"""What is Kafka's alone: foreign records, unknown outcomes, topics that are not there, encrypted connections."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from cryptography.hazmat.primitives import serialization

from engines.kafka import Kafka
from kit.config import Settings, load
from kit.errors import StartupError
from kit.log import LogAway, lag
from kit.log import kafka as kafka_log
from kit.log.cloudevents import headers_of
from kit.log.kafka import KafkaLog
from kit.log.topics import LARGEST_MESSAGE, apply
from tests.conformance.conftest import TOPIC, KafkaLogs, Reader, drained, readers, record
from tests.waiting import until


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[KafkaLog]:
    log = KafkaLog.of(settings)
    try:
        yield log
    finally:
        await log.close()


async def stored(log: KafkaLog) -> list[str]:
    """The texts that stand in the topic, repeats and all, by partition."""
    return [one.value.decode() for batch in await drained(log, TOPIC) for one in batch.records]


# -- what others may have written --------------------------------------------------------------------------------------


async def test_records_that_are_no_events_of_ours_are_passed_over(kafka_logs: KafkaLogs) -> None:
    ours = record("k", "before")
    good = dict(headers_of(ours.envelope))

    def without(name: str) -> list[tuple[str, bytes]]:
        return [(key, value) for key, value in good.items() if key != name]

    def but(name: str, value: bytes) -> list[tuple[str, bytes]]:
        return [*without(name), (name, value)]

    strange: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]] = [
        (None, b"hello", []),
        (b"k", b"hello", [("x", b"\xff\xfe")]),
        (b"k", None, list(good.items())),
        *(
            (b"k", b"hello", without(name))
            for name in good
            if name not in ("ce_subject", "ce_division", "ce_traceparent")
        ),
        (b"k", b"{}", but("content-type", b"application/json")),
        (b"k", b"hello", but("ce_specversion", b"0.3")),
        (b"k", b"hello", but("ce_id", b"17")),
        (b"k", b"hello", but("ce_type", b"\xff\xfe")),
        (b"k", b"hello", but("ce_time", b"yesterday")),
        (b"k", b"hello", but("ce_time", b"2026-03-02T12:00:00")),
        (b"k", b"hello", but("ce_time", b"0001-01-01T00:00:00+23:00")),
        (b"\xff\xfe", b"hello", list(good.items())),
    ]
    log = await kafka_logs.client()
    producer = AIOKafkaProducer(**log.options, compression_type="gzip")
    await producer.start()
    try:
        await log.append(TOPIC, [ours])
        for key, value, headers in strange:
            await producer.send_and_wait(log.prefix + TOPIC, value, key=key, headers=headers, partition=3)
        await log.append(TOPIC, [record("k", "after")])
    finally:
        await producer.stop()
    reader = Reader(log, [TOPIC])
    async with readers(reader):
        await until(lambda: len(reader.texts) == 2, "ours were read")
        assert sorted(reader.texts) == ["after", "before"]
        await until(lambda: log.foreign == len(strange), "the others were counted")

        async def caught_up() -> bool:
            return await lag(log, "group", [TOPIC]) == 0

        await until(caught_up, "and nothing waits behind them")


async def test_an_event_may_be_as_large_as_a_request(kafka_logs: KafkaLogs) -> None:
    log = await kafka_logs.client()
    large = [
        replace(record("k"), value=bytes([n]) * size) for n, size in enumerate((700_000, 10, LARGEST_MESSAGE // 2, 20))
    ]
    await log.append(TOPIC, large)
    found = [one for batch in await drained(log, TOPIC) for one in batch.records]
    assert found == large


# -- outcomes that are not known ---------------------------------------------------------------------------------------


async def test_what_was_not_answered_is_not_sent_twice_and_not_overtaken(kafka_logs: KafkaLogs) -> None:
    """The broker stands still for longer than anybody waits; the same client says it again, with more behind it."""
    log = await kafka_logs.client()
    log.timeout = 0.5
    said = [record("k", str(n)) for n in range(4)]
    await log.append(TOPIC, said[:1])
    kafka_logs.server.pause()
    try:
        for upto in (2, 3, 3):
            with pytest.raises(LogAway):
                await log.append(TOPIC, said[1:upto])
    finally:
        kafka_logs.server.resume()
    log.timeout = 10.0
    await log.append(TOPIC, said[1:])
    assert await stored(log) == ["0", "1", "2", "3"]


async def test_a_broker_that_was_killed_has_what_it_confirmed(kafka_logs: KafkaLogs) -> None:
    log = await kafka_logs.client()
    said = [record("k", str(n)) for n in range(20)]
    await log.append(TOPIC, said[:10])
    await asyncio.to_thread(kafka_logs.server.kill)
    log.timeout = 0.5
    try:
        with pytest.raises(LogAway):
            await log.append(TOPIC, said[10:])
    finally:
        await asyncio.to_thread(kafka_logs.server.start)
    log.timeout = 10.0
    await log.append(TOPIC, said[10:])
    assert await stored(log) == [str(n) for n in range(20)]


async def test_a_producer_that_never_hears_again_is_replaced(
    kafka_logs: KafkaLogs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it had under way may be there or not; it is said again, in order."""
    monkeypatch.setattr(kafka_log, "STUCK", 0.5)
    log = await kafka_logs.client()
    said = [record("k", str(n)) for n in range(4)]
    await log.append(TOPIC, said[:1])
    log.timeout = 0.3
    first = log._producer
    kafka_logs.server.pause()
    try:

        async def replaced() -> bool:
            with pytest.raises(LogAway):
                await log.append(TOPIC, said[1:3])
            return log._producer is not first

        await until(replaced, "it is given up", 20)
    finally:
        kafka_logs.server.resume()
    log.timeout = 10.0
    await log.append(TOPIC, said[1:])
    assert list(dict.fromkeys(await stored(log))) == ["0", "1", "2", "3"]


async def test_it_ends_while_the_broker_is_away(kafka_logs: KafkaLogs) -> None:
    """With something on its way, a member of a group, and questions asked: in seconds, and nothing is left running."""
    before = asyncio.all_tasks()
    log = KafkaLog.of(kafka_logs.settings)
    log.timeout = 0.5
    await log.append(TOPIC, [record("k", "a")])
    log.timeout = 10.0
    subscription = log.subscribe("group", [TOPIC])

    async def something() -> bool:
        return bool(await subscription.fetch(wait=True))

    await until(something, "something was fetched")
    assert await lag(log, "group", [TOPIC]) == 1
    await asyncio.to_thread(kafka_logs.server.kill)
    log.timeout = 0.5
    try:
        with pytest.raises(LogAway):
            await log.append(TOPIC, [record("k", "b")])
        with pytest.raises(LogAway):
            await log.look([TOPIC])
        async with asyncio.timeout(30):
            await log.close()
        await until(lambda: asyncio.all_tasks() <= before, "nothing is left running")
    finally:
        await asyncio.to_thread(kafka_logs.server.start)


# -- topics --------------------------------------------------------------------------------------------------------------


async def test_a_missing_topic_is_named_and_never_made_by_use(kafka_logs: KafkaLogs) -> None:
    """Though this broker would make it for anybody who asks for it by name."""
    log, missing = await kafka_logs.client(), "hetao.missing.v1"
    with pytest.raises(LogAway, match=r"t.*\.hetao\.missing\.v1; run hetao topics apply"):
        await log.append(missing, [record()])
    with pytest.raises(LogAway, match="hetao.missing.v1; run hetao topics apply"):
        await log.look([TOPIC, missing])
    assert await lag(log, "group", [missing]) == 0
    reader = Reader(log, [missing, TOPIC])
    async with readers(reader):
        await log.append(TOPIC, [record("k", "a")])
        await until(lambda: reader.texts == ["a"], "the other topic was read")
    with pytest.raises(LogAway):
        await log.append(missing, [record()])
    assert log.prefix + missing not in await log.desk.partitions()


def changed(settings: Settings, **sections: dict[str, Any]) -> Settings:
    updates = {name: getattr(settings, name).model_copy(update=values) for name, values in sections.items()}
    return settings.model_copy(update=updates)


async def test_topics_are_made_as_declared(kafka_logs: KafkaLogs) -> None:
    settings, services = kafka_logs.settings, ["one", "two"]
    names = [settings.kafka.prefix + f"hetao.{service}.v1" for service in services]

    async def configs(name: str) -> dict[str, str]:
        resource = ConfigResource(ConfigResourceType.TOPIC, name)
        (answer,) = await kafka_logs.kit.desk.ask(lambda admin: admin.describe_configs([resource]))
        return {entry[0]: entry[1] for _, _, _, _, entries in answer.resources for entry in entries}

    async def kinds(settings: Settings, **more: bool) -> list[str]:
        return [change.kind for change in await apply(settings, services, **more)]

    assert await kinds(settings, dry_run=True) == ["create", "create"]
    assert await kinds(settings, dry_run=True) == ["create", "create"], "nothing was done"
    both = await asyncio.gather(kinds(settings), kinds(settings))
    assert ["create", "create"] in both
    assert await kinds(settings) == ["none", "none"]
    found = await kafka_logs.kit.desk.partitions()
    assert [len(found[name]) for name in names] == [8, 8]
    day = 24 * 60 * 60 * 1000
    is_ = await configs(names[0])
    assert (is_["retention.ms"], is_["segment.ms"], is_["cleanup.policy"]) == (str(30 * day), str(day), "delete")
    assert is_["message.timestamp.type"] == "LogAppendTime"

    own = ConfigResource(
        ConfigResourceType.TOPIC, names[0], {**{k: is_[k] for k in ("retention.ms",)}, "flush.ms": "5000"}
    )
    await kafka_logs.kit.desk.ask(lambda admin: admin.alter_configs([own]))

    async def told() -> bool:
        return (await configs(names[0]))["flush.ms"] == "5000"

    await until(told, "the broker has heard of it")
    shorter = changed(settings, retention={"topic_days": 10, "inbox_days": 11})
    assert await kinds(shorter, dry_run=True) == ["settings", "settings"]
    assert (await configs(names[0]))["retention.ms"] == str(30 * day)
    assert await kinds(shorter) == ["settings", "settings"]
    is_ = await configs(names[0])
    assert is_["retention.ms"] == str(10 * day)
    assert is_["segment.ms"] == str(day // 2), "no segment outlives the inbox"
    assert is_["flush.ms"] == "5000", "what others have set stays"
    assert await kinds(shorter) == ["none", "none"]

    more = changed(shorter, log={"partitions": 12})
    assert await kinds(more) == ["partitions", "partitions"]
    assert len((await kafka_logs.kit.desk.partitions())[names[0]]) == 8, "only on demand: keys move"
    both = await asyncio.gather(kinds(more, raise_partitions=True), kinds(more, raise_partitions=True))
    assert ["partitions", "partitions"] in both
    assert await kinds(more) == ["none", "none"]
    assert await kinds(shorter) == ["keep", "keep"], "partitions cannot be taken away"
    assert await kinds(changed(more, kafka={"replication": 2})) == ["keep", "keep"]
    with pytest.raises(StartupError, match="MIN_INSYNC"):
        await apply(changed(more, kafka={"min_insync": 2}), services)
    with pytest.raises(StartupError, match="hetao.three.v1"):  # there is one broker
        await apply(changed(settings, kafka={"replication": 2}), ["three"])


def hetao(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HETAO_")}
    root = Path(__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-m", "services", *arguments],
        env={**clean, **environment, "PYTHONPATH": f"{root}:{root / 'gen'}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_shows_and_makes_topics(kafka_logs: KafkaLogs, scratch: Path) -> None:
    chosen = kafka_logs.settings.kafka
    where = {
        "HETAO_DATA_DIR": str(scratch),
        "HETAO_KAFKA__BOOTSTRAP": chosen.bootstrap or "",
        "HETAO_KAFKA__PREFIX": chosen.prefix + "cli.",
    }
    shown = hetao("topics", "apply", "--dry-run", **where)
    assert shown.returncode == 0, shown.stderr
    assert "hetao.cases.v1\t新建：8 个分区" in shown.stdout
    assert "nothing was changed" in shown.stdout
    made = hetao("topics", "apply", **where)
    assert made.returncode == 0, made.stderr
    more = hetao("topics", "apply", **where, HETAO_LOG__PARTITIONS="9")
    assert more.returncode == 1
    assert "--raise-partitions" in more.stderr
    nobody = hetao("topics", "apply", **{**where, "HETAO_KAFKA__BOOTSTRAP": "127.0.0.1:1"})
    assert nobody.returncode == 1
    assert "127.0.0.1:1" in nobody.stderr
    assert "Traceback" not in nobody.stderr


# -- encrypted and with passwords --------------------------------------------------------------------------------------


@pytest.fixture
def secured(kafka: Kafka, scratch: Path) -> Iterator[tuple[Kafka, dict[str, Any]]]:
    """A broker that takes TLS and a password alone, and the settings that please it."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(scratch / "ca.pem")
    own, client = ca.issue_cert("127.0.0.1"), ca.issue_cert("hetao@example.org")
    key = serialization.load_pem_private_key(own.private_key_pem.bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (scratch / "broker.pem").write_bytes(key.private_bytes(*form) + b"".join(c.bytes() for c in own.cert_chain_pems))
    client.private_key_pem.write_to_path(scratch / "key.pem")
    client.cert_chain_pems[0].write_to_path(scratch / "certificate.pem")
    users = 'org.apache.kafka.common.security.plain.PlainLoginModule required username="b" password="b" user_b="b" user_hetao="secret";'
    settings = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(scratch / "broker.pem"),
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": users,
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(scratch / "ca.pem"),
        "listener.name.sasl_ssl.ssl.client.auth": "required",
    }
    with Kafka(settings=settings, security="SASL_SSL") as broker:
        yield (
            broker,
            {
                "bootstrap": broker.address,
                "tls_ca": scratch / "ca.pem",
                "tls_certificate": scratch / "certificate.pem",
                "tls_key": scratch / "key.pem",
                "sasl_mechanism": "PLAIN",
                "sasl_user": "hetao",
                "sasl_password": "secret",
            },
        )


async def test_tls_and_a_password(secured: tuple[Kafka, dict[str, Any]], scratch: Path) -> None:
    _, pleased = secured
    log = {"send_timeout": 10.0}
    settings = load(data_dir=scratch, kafka=pleased, log=log)
    await apply(settings, ["test"])
    async with opened(settings) as good:
        await good.append(TOPIC, [record("k", "a")])
        assert await stored(good) == ["a"]
    foreign = trustme.CA()
    foreign.cert_pem.write_to_path(scratch / "foreign.pem")
    quick = {"send_timeout": 3.0}
    for wrong in (
        {"tls_certificate": None},
        {"tls_ca": scratch / "foreign.pem"},
        {"sasl_password": "wrong"},
        {"tls_ca": None},
        {"sasl_user": None},
    ):
        async with opened(load(data_dir=scratch, kafka={**pleased, **wrong}, log=quick)) as bad:
            with pytest.raises(LogAway):
                await bad.append(TOPIC, [record("k", "b")])
            with pytest.raises(LogAway):
                await bad.look([TOPIC])


async def test_certificates_that_cannot_be_read(scratch: Path) -> None:
    nothing = load(data_dir=scratch, kafka={"bootstrap": "127.0.0.1:1", "tls_ca": scratch / "no.pem"})
    with pytest.raises(StartupError, match="HETAO_KAFKA__TLS_CA"):
        KafkaLog.of(nothing)
    (scratch / "bad.pem").write_text("no certificate")
    nonsense = load(data_dir=scratch, kafka={"bootstrap": "127.0.0.1:1", "tls_ca": scratch / "bad.pem"})
    with pytest.raises(StartupError, match="HETAO_KAFKA__TLS"):
        KafkaLog.of(nonsense)
