"""The commands of `hetao`: thin; what they do stands in `kit` and the services.

Modules are imported by the command that needs them, for the sake of those that need little.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    #: Results go to standard output, all else to standard error.
    out: Console
    err: Console


def __getattr__(name: str) -> Console:
    """`out` and `err`, made when a command first uses them."""
    if name not in ("out", "err"):
        raise AttributeError(name)
    from rich.console import Console

    made = globals()[name] = Console(stderr=name == "err", soft_wrap=True, highlight=False)
    return made


COMMANDS = {
    "serve": ("services.cli.serve", "启动平台 · start the platform"),
    "config": ("services.cli.settings", "显示各项设置及其来源 · print every setting and where it comes from"),
    "token": ("services.cli.settings", "演示账号的令牌（仅内嵌模式） · a token of a demo account (embedded only)"),
    "migrate": ("services.cli.database", "准备并升级数据库 · prepare the database and migrate it"),
    "topics": ("services.cli.topics", "建立 Kafka 主题 · make the topics of Kafka"),
    "audit": ("services.cli.database", "导出与核验审计 · export and verify the audit"),
    "backup": ("services.cli.backup", "备份整个平台 · back the whole platform up"),
    "restore": ("services.cli.backup", "从备份恢复 · restore from a backup"),
    "keys": ("services.cli.keys", "密钥的更换 · changing the keys"),
    "identity": ("services.cli.identity", "令牌为何成为何人 · who a token makes somebody, and why"),
    "systems": ("services.cli.systems", "登记的外部系统 · the register of outside systems"),
    "sessions": ("services.cli.systems", "终止会话 · end somebody's sessions"),
    "rebuild": ("services.cli.operate", "重建读模型 · build read models anew"),
    "deadletters": ("services.cli.operate", "搁置的事件 · events that were put aside"),
    "demo": ("services.cli.demo", "装载一年的演示案件（仅内嵌模式） · load a made-up year of cases (embedded only)"),
    "deadline": ("services.cli.deadline", "期限说明 · why something is due when it is"),
}


class Commands(click.Group):
    """Lists every command and loads the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, told) for name, (_, told) in COMMANDS.items()])


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """河套：基层治理平台 · Hetao, a platform for grassroots governance."""


def complain(zh: str, en: str) -> None:
    """One line in each language."""
    from services.cli import err

    err.print(f"错误：{zh}", style="red", markup=False)
    err.print(f"error: {en}", style="red", markup=False)


def table(headers: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """A table on a terminal, tab-separated lines elsewhere."""
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(row))
        return
    from rich.console import Console
    from rich.table import Table

    made = Table(*headers, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        made.add_row(*row)
    Console(highlight=False).print(made)
