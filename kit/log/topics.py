"""The topics of a deployment on Kafka: declared here, made by `hetao topics apply` and by nothing else.

Each service that keeps something has one topic. Partitions and retention are the settings'; the rest follows from what the platform needs of them:

- `retention.ms`, and segments short enough that no event outlives its inbox row, or it could come into effect twice;
- `message.timestamp.type=LogAppendTime`: retention counts from the arrival, so that an event that waited long in the outbox is kept as long as others;
- `min.insync.replicas` with the producers' acks=all: an acknowledged event survives the loss of all but that many brokers less one;
- `compression.type=uncompressed`: whatever somebody's producer sends, our readers can read;
- `max.message.bytes` above what an RPC may bring.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidPartitionsError, KafkaError, TopicAlreadyExistsError, for_code

from kit.config import Settings
from kit.errors import StartupError
from kit.events import topic_of
from kit.log.kafka import KafkaLog

_DAY = 24 * 60 * 60 * 1000

LARGEST_MESSAGE = 8 * 1024 * 1024

#: What somebody has set on the topic itself, among the sources of a setting.
_OF_THE_TOPIC = 1


@dataclass(frozen=True, slots=True)
class Change:
    """What a topic needs. `kind`: "create", "none", "settings", "partitions", or "keep" for what differs and cannot be changed here."""

    topic: str
    kind: str
    zh: str
    en: str


@dataclass(frozen=True, slots=True)
class Declared:
    """What a topic should be."""

    partitions: int
    replication: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Present:
    """What a topic is. `own`: settings that somebody made on it."""

    partitions: int
    replication: int
    own: Mapping[str, str]


def declared(settings: Settings, brokers: int) -> Declared:
    retention, kafka = settings.retention, settings.kafka
    replication = kafka.replication or max(1, min(3, brokers))
    if (kafka.min_insync or 1) > replication:
        raise StartupError(
            f"HETAO_KAFKA__MIN_INSYNC（{kafka.min_insync}）大于副本数（{replication}）",
            f"HETAO_KAFKA__MIN_INSYNC ({kafka.min_insync}) is more than there are copies ({replication})",
        )
    slack = (retention.inbox_days - retention.topic_days) * _DAY
    return Declared(
        settings.log.partitions,
        replication,
        {
            "cleanup.policy": "delete",
            "retention.ms": str(retention.topic_days * _DAY),
            "segment.ms": str(min(_DAY, slack // 2)),
            "min.insync.replicas": str(kafka.min_insync or max(1, replication - 1)),
            "message.timestamp.type": "LogAppendTime",
            "compression.type": "uncompressed",
            "max.message.bytes": str(LARGEST_MESSAGE),
        },
    )


async def apply(
    settings: Settings, services: Sequence[str], *, dry_run: bool = False, raise_partitions: bool = False
) -> list[Change]:
    """Makes the topics of these services what they should be, and tells what was (or is) to be done. To repeat it, or to do it twice at once, does
    no harm. Raises `LogAway`, and `StartupError` if the broker refuses."""
    log = KafkaLog.of(settings)
    try:
        target = declared(settings, await log.desk.brokers())
        names = [settings.kafka.prefix + topic_of(service) for service in services]
        present = await _present(log, names)
        changes = [change for name in names for change in _needed(name, present.get(name), target)]
        if not dry_run:
            for change in changes:
                if change.kind != "partitions" or raise_partitions:
                    await log.desk.ask(lambda admin, change=change: _make(admin, change, target, present))  # type: ignore[misc]
        return changes
    finally:
        await log.close()


async def _present(log: KafkaLog, names: Sequence[str]) -> dict[str, Present]:
    async def work(admin: AIOKafkaAdminClient) -> dict[str, Present]:
        found = {t["topic"]: t["partitions"] for t in await admin.describe_topics() if not t["error_code"]}
        there = [name for name in names if name in found]
        if not there:
            return {}
        own = await _own(admin, there)
        return {
            name: Present(len(found[name]), min(len(p["replicas"]) for p in found[name]), own[name]) for name in there
        }

    return await log.desk.ask(work)


async def _own(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """What somebody has set on these topics."""
    own: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name) for name in names]):
        for code, _, _, name, entries in answer.resources:
            if code:
                raise for_code(code)(name)
            own[name] = {entry[0]: entry[1] for entry in entries if entry[3] == _OF_THE_TOPIC}
    return own


def _needed(name: str, is_: Present | None, to_be: Declared) -> list[Change]:
    if is_ is None:
        zh = f"新建：{to_be.partitions} 个分区，{to_be.replication} 个副本，保留 {_days(to_be.configs)} 天"
        en = f"create: {to_be.partitions} partitions, {to_be.replication} copies, kept {_days(to_be.configs)} days"
        return [Change(name, "create", zh, en)]
    changes = []
    if differing := {key: value for key, value in to_be.configs.items() if is_.own.get(key) != value}:
        said = ", ".join(f"{key} {is_.own.get(key, '—')} → {value}" for key, value in differing.items())
        changes.append(Change(name, "settings", f"改设置：{said}", f"settings: {said}"))
    if is_.partitions < to_be.partitions:
        said = f"{is_.partitions} → {to_be.partitions}"
        zh, en = (
            f"增加分区：{said}；键会换分区，其事件可能一时失序",
            f"more partitions: {said}; keys move, and their events may be out of order for a while",
        )
        changes.append(Change(name, "partitions", zh, en))
    if is_.partitions > to_be.partitions:
        zh, en = (
            f"分区多于设置（{is_.partitions} > {to_be.partitions}），不能减少",
            f"more partitions than set ({is_.partitions} > {to_be.partitions}): they cannot be taken away",
        )
        changes.append(Change(name, "keep", zh, en))
    if is_.replication != to_be.replication:
        zh = f"副本数 {is_.replication}，设置为 {to_be.replication}：请用 Kafka 的 kafka-reassign-partitions 调整"
        en = (
            f"{is_.replication} copies, {to_be.replication} are set: change them with Kafka's kafka-reassign-partitions"
        )
        changes.append(Change(name, "keep", zh, en))
    return changes or [Change(name, "none", "无需改动", "as it should be")]


async def _make(admin: AIOKafkaAdminClient, change: Change, to_be: Declared, present: Mapping[str, Present]) -> None:
    try:
        if change.kind == "create":
            new = NewTopic(change.topic, to_be.partitions, to_be.replication, topic_configs=dict(to_be.configs))
            _check((await admin.create_topics([new])).topic_errors, but=TopicAlreadyExistsError)
            await _has(admin, change.topic, to_be.partitions)
        elif change.kind == "settings":
            # This request replaces all that was set on the topic, so what others have set goes along.
            configs = {**present[change.topic].own, **to_be.configs}
            for answer in await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, change.topic, configs)]):
                _check([(name, code, message) for code, message, _, name in answer.resources])
            for _ in range(30):  # the broker that we ask hears of it a moment later
                if configs.items() <= (await _own(admin, [change.topic]))[change.topic].items():
                    break
                await asyncio.sleep(0.1)
        elif change.kind == "partitions":
            try:
                await admin.create_partitions({change.topic: NewPartitions(to_be.partitions)})
            except InvalidPartitionsError:
                if not await _has(admin, change.topic, to_be.partitions):
                    raise
            await _has(admin, change.topic, to_be.partitions)
    except KafkaError as error:
        if error.retriable:
            raise
        said = str(error)
        raise StartupError(
            f"Kafka 拒绝改动主题 {change.topic}：{said}", f"Kafka refused to change the topic {change.topic}: {said}"
        ) from error


async def _has(admin: AIOKafkaAdminClient, name: str, partitions: int) -> bool:
    """Somebody else was faster perhaps, and the broker that we ask may not have heard of it yet."""
    for _ in range(30):
        if any(
            topic["topic"] == name and len(topic["partitions"]) == partitions for topic in await admin.describe_topics()
        ):
            return True
        await asyncio.sleep(0.1)
    return False


def _check(errors: Sequence[tuple[Any, ...]], but: type[KafkaError] | None = None) -> None:
    """These answers tell errors and raise none."""
    for _, code, *message in errors:
        error = for_code(code)
        if code and error is not but:
            raise error(*message)


def _days(configs: Mapping[str, str]) -> int:
    return int(configs["retention.ms"]) // _DAY
