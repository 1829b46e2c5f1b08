"""`hetao deadline`."""

from __future__ import annotations

from datetime import datetime

import click

from kit.clock import BUSINESS_ZONE, Clock, business_date
from kit.errors import StartupError
from kit.statutory.deadline import Deadlines, Extension, Pause
from services.cli import out


@click.group()
def deadline() -> None:
    """期限 · deadlines."""


def _moment(_: click.Context, __: click.Parameter, text: str | None) -> datetime:
    """A time as people write it is Beijing time, unless it says otherwise."""
    return _parsed(text) if text else Clock().now()


def _parsed(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r}: 2026-09-30T10:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=BUSINESS_ZONE)


@deadline.command()
@click.argument("rule")
@click.option("--start", callback=_moment, help="起算时刻，缺省为现在 · when it starts, now if unset: 2026-09-30T10:00")
@click.option("--pause", "pauses", multiple=True, help="中止：起/止 · a pause: 2026-10-09T09:00/2026-10-12T09:00")
@click.option("--extend", "extensions", multiple=True, type=int, help="延长多少 · more time, in the rule's unit")
@click.option("--version", help="规则版本，缺省为当时有效者 · the rule's version; the one then in force if unset")
def explain(
    rule: str, start: datetime, pauses: tuple[str, ...], extensions: tuple[int, ...], version: str | None
) -> None:
    """说明适用规则 RULE（例如 cases.general）的事项为什么在那一天到期。

    Explains why a matter under RULE is due when it is.
    """
    from kit.config import DATA

    deadlines = Deadlines.load(DATA)
    ends = [pause.partition("/") for pause in pauses]
    stands = [Pause(_parsed(begin), _parsed(end), "命令行", "命令行", "command line") for begin, _, end in ends]
    granted = [Extension(amount, "命令行", "命令行", "", "command line") for amount in extensions]
    try:
        due = deadlines.due(deadlines.rule(rule, business_date(start), version), start, stands, granted)
    except LookupError:
        names = ", ".join(deadlines.rules.names())
        raise StartupError(f"没有规则 {rule}；现有：{names}", f"there is no rule {rule}; there are: {names}") from None
    out.print(due.explanation.zh, markup=False)
    out.print(due.explanation.en, markup=False)
