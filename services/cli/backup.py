"""`hetao backup`, `hetao restore`."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from kit.config import load
from kit.errors import StartupError
from kit.log import LogAway
from services.cli import complain, err, out, table

if TYPE_CHECKING:
    from kit.backup.restore import Gone

T = TypeVar("T")

#: Rows of what is gone that are shown; the report has all.
SHOWN = 20


def _told(zh: str, en: str) -> None:
    err.print(f"  {zh} · {en}", markup=False)


def _run(work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except LogAway as error:
        raise StartupError(f"事件日志不可用：{error}", f"the event log is away: {error}") from None


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--without-keys", is_flag=True, help="不含密钥，须另行保管 · without the keys, which are kept elsewhere")
@click.option(
    "--media",
    type=click.Choice(["copy", "list"]),
    help="复制照片或只列出，缺省：本地目录复制，S3 列出 · copy the photos or list them alone; by default copied from a folder, listed in S3",
)
def backup(target: Path, without_keys: bool, media: Literal["copy", "list"] | None) -> None:
    """把整个平台在同一时刻的数据备份到 TARGET（新目录，或 .tar 文件）；平台可同时运行。

    Backs the whole platform up, as of one moment, to TARGET: a new folder, or a file ending in .tar. The platform may run meanwhile.
    """
    from kit.backup.take import take
    from services.registry import MODULES

    manifest = _run(take(load(), MODULES, target, with_keys=not without_keys, media=media, progress=_told))
    size = sum(bytes_ for bytes_, _ in manifest.files.values()) / 2**20
    out.print(f"已备份到 {target}：{manifest.taken_at}，{size:.1f} MiB，{manifest.photos} 个媒体文件", markup=False)
    out.print(
        f"backed up to {target}: {manifest.taken_at}, {size:.1f} MiB, {manifest.photos} media files", markup=False
    )
    if manifest.keys:
        out.print("其中含密钥，请妥善保管 · it holds the keys: keep it where nobody else reads")


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="替换已有的数据 · replace the data that are there")
@click.option("--dry-run", is_flag=True, help="只检查并说明会失去什么 · only check, and tell what would be gone")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="把失去的写入写成 JSON 行 · writes what is gone to a file, as JSON lines",
)
def restore(source: Path, force: bool, dry_run: bool, report: Path | None) -> None:
    """从备份 SOURCE 恢复整个平台；平台的所有进程须先停止。

    Restores the whole platform from the backup SOURCE. All of its processes must have been stopped.
    """
    from kit.backup import Backup
    from kit.backup.restore import restore as put_back
    from services.registry import MODULES

    def write(gone: Sequence[Gone]) -> None:
        if report:
            report.write_bytes(b"".join(one.dumped() + b"\n" for one in gone))

    with Backup.open(source) as opened:
        done = _run(put_back(load(), MODULES, opened, force=force, dry_run=dry_run, progress=_told, before=write))
        taken_at = opened.manifest.taken_at
    keys = {(one.topic, one.key) for one in done.gone}
    if done.gone:
        out.print(
            f"备份时刻 {taken_at} 之后、事件已到达日志的写入：{len(keys)} 项（{len(done.gone)} 个事件），不在恢复后的数据中"
        )
        out.print(
            f"writes after {taken_at} whose events had reached the log: {len(keys)} ({len(done.gone)} events); they are gone"
        )
        table(
            ("时间 · time", "类型 · type", "键 · key", "版本 · version"),
            [(one.time.isoformat(), one.type, one.key, str(one.version or "")) for one in done.gone[:SHOWN]],
        )
        if len(done.gone) > SHOWN and not report:
            out.print(f"另有 {len(done.gone) - SHOWN} 个，见 --report · {len(done.gone) - SHOWN} more: --report FILE")
    else:
        out.print("日志中没有比备份更新的写入 · the log has no writes that are newer than the backup")
    for topic in done.log_lost:
        complain(
            f"主题 {topic} 短于备份时的长度：日志也已丢失，备份中尚未生效的事件已重新写入",
            f"the topic {topic} is shorter than it was: the log was lost too; the backup's own events were written to it again",
        )
    for path in done.photos_missing[:SHOWN]:
        complain(f"媒体缺失：{path}", f"missing in the media store: {path}")
    if dry_run:
        out.print("未做任何更改 · nothing was changed")
        return
    out.print(f"已恢复到 {taken_at}，纪元 {done.epoch} · restored to {taken_at}, epoch {done.epoch}")
    out.print("启动平台后请运行 hetao rebuild · start the platform and run hetao rebuild")
    if done.photos_missing:
        raise SystemExit(1)
