"""`hetao demo load`."""

from __future__ import annotations

import asyncio
import time
from datetime import date

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kit.config import load as load_settings
from services.cli import err, out

#: The year that is played: all of it has passed, and the rules were in force.
YEAR = 2025


@click.group()
def demo() -> None:
    """演示数据（仅内嵌模式） · demo data (embedded only)."""


@demo.command()
def load() -> None:
    """装载一年的演示案件：77 个综治中心受理 4484 件，化解 3762 件。装载时平台须处于停止状态；中断后再次运行即接着装载。

    A made-up year of the 77 centres, played in its own time: 4,484 disputes accepted, 3,762 resolved. Stop the platform first. Run again after an
    interruption, it goes on; run again after its end, it does nothing.
    """
    from services.demo import play
    from services.registry import MODULES

    began = time.monotonic()
    modules = [module for module in MODULES if module.name in ("grid", "cases", "notify")]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("演示年 · demo year", total=None)

        def progress(done: int, total: int, day: date) -> None:
            bar.update(task, completed=done, total=total, description=f"演示年 · demo year {day}")

        played = asyncio.run(play.load(load_settings(), modules, YEAR, progress))
    said = f"受理 {played.accepted}，化解 {played.resolved}，化解率 {played.rate:.4f}"
    out.print(f"{said}（{'用时 %.0f 秒' % (time.monotonic() - began) if played.new else '此前已装载'}）")
    out.print(f"GET /v1/caseStatistics?division=1508&from={YEAR}-01-01&to={YEAR}-12-31")
