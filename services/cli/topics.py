"""`hetao topics`: the topics of the event log on Kafka."""

from __future__ import annotations

import asyncio

import click

from kit.config import load
from kit.errors import StartupError
from services.cli import complain, out, table


@click.group()
def topics() -> None:
    """Kafka 主题 · the topics of the event log."""


@topics.command()
@click.option("--dry-run", is_flag=True, help="只显示将要做的改动 · only shows what would be done")
@click.option(
    "--raise-partitions",
    is_flag=True,
    help="允许增加分区：请先停止写入并等消费完毕 · lets partitions be added: stop writing first, and wait until all is read",
)
def apply(dry_run: bool, raise_partitions: bool) -> None:
    """按设置建立缺少的主题、改其保留期等；重复执行无妨。

    Makes missing topics and sets their retention and the rest as the settings say. It may be repeated. Events of one key keep their order only while
    the number of partitions stays, so that is raised on demand alone.
    """
    from kit.log import LogAway
    from kit.log.topics import apply as apply_topics
    from kit.module import POSTGRES
    from services.registry import MODULES

    settings = load()
    if settings.kafka.bootstrap is None:
        raise StartupError(
            "未设置 HETAO_KAFKA__BOOTSTRAP：事件日志在数据库中，没有主题要建立",
            "HETAO_KAFKA__BOOTSTRAP is not set: the event log is in the database and needs no topics",
        )
    services = [module.name for module in MODULES if POSTGRES in module.engines]
    try:
        changes = asyncio.run(apply_topics(settings, services, dry_run=dry_run, raise_partitions=raise_partitions))
    except LogAway as error:
        raise StartupError(
            f"无法连接 Kafka（{settings.kafka.bootstrap}）：{error}", f"cannot use Kafka: {error}"
        ) from error
    table(("主题 · topic", "改动", "change"), [(change.topic, change.zh, change.en) for change in changes])
    if dry_run:
        out.print("未改动 · nothing was changed")
    elif not raise_partitions and any(change.kind == "partitions" for change in changes):
        complain("分区数未增加，见 --raise-partitions", "partitions were not added, see --raise-partitions")
        raise SystemExit(1)
