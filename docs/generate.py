"""Writes the parts of docs/ that follow from code and data: `python docs/generate.py`, or `--check` to fail when what stands there differs.

A part stands between `<!-- made: NAME -->` and `<!-- /made -->`; everything else on a page is written by hand.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(ROOT / "gen")]

from hetao.options.v1 import options_pb2  # noqa: E402
from kit.clock import BUSINESS_ZONE  # noqa: E402
from kit.config import PREFIX, Settings, describe  # noqa: E402
from kit.statutory import Deadlines  # noqa: E402
from services.cases.model import (  # noqa: E402
    CASE_MOVES,
    PERFORMANCE_MOVES,
    SUPERVISION_MOVES,
    SUSPENSION_MOVES,
    TASK_MOVES,
)
from services.gateway import contracts  # noqa: E402
from services.grid.model.reports import MOVES as REPORT_MOVES  # noqa: E402
from services.notify.model import MANUAL_MOVES  # noqa: E402
from services.notify.model import MOVES as DELIVERY_MOVES  # noqa: E402

MADE = re.compile(r"(<!-- made: ([a-z-]+) -->\n).*?(<!-- /made -->)", re.DOTALL)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def toml(path: str) -> dict[str, Any]:
    return tomllib.loads((ROOT / "data" / path).read_text(encoding="utf-8"))


def diagram(moves: Any) -> str:
    return f"```mermaid\n{moves.mermaid()}\n```\n"


def settings() -> str:
    """Every setting by its section, with its default: whatever stands in the environment is none of the page's business."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    sections: dict[str, list[Sequence[str]]] = defaultdict(list)
    for one in describe(Settings(), {}):
        name = one.variable.removeprefix(PREFIX)
        default = "var" if name == "DATA_DIR" else one.value
        section = name.split("__")[0].lower() if "__" in name else ""
        sections[section].append((f"`{one.variable}`", f"`{default}`" if default else "", f"{one.zh} · {one.en}"))
    head = ("变量 · variable", "缺省 · default", "说明 · meaning")
    return "\n".join(
        (f"### {section}\n\n" if section else "") + table(head, rows) for section, rows in sections.items()
    )


def accounts() -> str:
    listed = toml("demo/accounts.toml")["accounts"]
    rows = [
        (
            f"`{one['account']}`",
            ", ".join(one["roles"]),
            f"{one['title']} · {one['title_en']}",
            ", ".join(one["divisions"]),
        )
        for one in listed
    ]
    return table(("账号 · account", "角色 · role", "是谁 · who", "辖区 · divisions"), rows)


def states() -> str:
    rows = [(f"`{one['code']}`", one["zh"], one["en"]) for one in toml("dictionaries/case_states.toml")["entries"]]
    return table(("state", "中文", "English"), rows)


def outcomes() -> str:
    mark = {True: "✓", False: "–"}
    rows = [
        (
            f"`{one['code']}`",
            one["zh"],
            one["en"],
            mark[one["counts_concluded"]],
            mark[one["counts_resolved"]],
            mark["agreement" in one],
            mark[one.get("channel", False)],
            one["version"],
        )
        for one in toml("dictionaries/outcomes.toml")["entries"]
    ]
    counts = "办结 · concluded", "化解 · resolved"
    return table(("outcome", "中文", "English", *counts, "协议 · agreement", "渠道 · channel", "version"), rows)


def reopen_grounds() -> str:
    shown = {
        "answer": "当事人答复未解决 · a party's answer",
        "performance": "已记录逾期 · the recorded default",
        "": "情况说明 · a note",
    }
    rows = [
        (
            f"`{one['code']}`",
            one["zh"],
            one["en"],
            "计入化解的 · those that count as resolved" if one["resolved"] else "全部 · all",
            shown[one.get("evidence", "")],
        )
        for one in toml("dictionaries/reopen_grounds.toml")["entries"]
    ]
    return table(("ground", "中文", "English", "结果 · outcomes", "依据 · what shows it"), rows)


def rules() -> str:
    units = {"working_days": "个工作日 · working days", "calendar_days": "日 · calendar days", "hours": "小时 · hours"}
    rows = []
    for path in sorted((ROOT / "data" / "rules").glob("*.toml")):
        for one in tomllib.loads(path.read_text(encoding="utf-8")).get("rules", []):
            source = " · ".join(part for part in (one["source"] + one.get("article", ""), one.get("source_en")) if part)
            meaning = f"{one['zh']} · {one['en']}"
            rows.append(
                (
                    f"`{one['name']}`",
                    meaning,
                    f"{one['amount']} {units[one['unit']]}",
                    one["version"],
                    one["confidence"],
                    source,
                )
            )
    return table(("rule", "说明 · meaning", "期限 · limit", "version", "确度 · sure", "来源 · source"), rows)


def explained() -> str:
    """One deadline over the National Day holiday, in the engine's own words."""
    start = datetime(2026, 9, 28, 10, 0, tzinfo=BUSINESS_ZONE)
    deadlines = Deadlines.load(ROOT / "data")
    due = deadlines.due(deadlines.rule("cases.dispute.general", start.date()), start)
    return f"```\n{due.explanation.zh}\n{due.explanation.en}\n```\n"


def permissions() -> str:
    """Every RPC and the roles that may call it."""
    roles = toml("roles.toml")
    made = []
    for service in contracts.services():
        rows = []
        for method in service.methods:
            access = method.GetOptions().Extensions[options_pb2.access]
            who = (
                "任何人 · anybody"
                if access.public
                else ", ".join(name for name, role in roles.items() if permits(role, access.permission))
            )
            rows.append((method.name, f"`{access.permission}`" if access.permission else "", who or "–"))
        made.append(f"### {service.name}\n\n" + table(("RPC", "权限 · permission", "角色 · roles"), rows))
    return "\n".join(made)


def permits(role: dict[str, Any], permission: str) -> bool:
    return any(
        permission.startswith(one[:-1]) if one.endswith("*") else permission == one for one in role["permissions"]
    )


def signals() -> dict[str, Any]:
    return tomllib.loads((DOCS / "operate" / "signals.toml").read_text(encoding="utf-8"))


def exposed(metric: dict[str, Any]) -> str:
    """A metric's name as Prometheus has it."""
    unit = {"s": "_seconds", "By": "_bytes"}.get(metric["unit"], "")
    return metric["name"].replace(".", "_") + unit + ("_total" if metric["kind"] == "counter" else "")


def listed(names: Sequence[str]) -> str:
    """`?` marks what is not always there."""
    return ", ".join(f"`{name.rstrip('?')}`" + ("?" if name.endswith("?") else "") for name in names)


def metrics() -> str:
    rows = [
        (
            f"`{one['name']}`<br>`{exposed(one)}`",
            f"{one['zh']} · {one['en']}" + ("" if one["seen"] == "always" else f" ({one['seen']})"),
            listed(one["labels"]),
            ", ".join(one["where"]),
            one["worry_zh"] if one["worry_zh"] == one["worry_en"] else f"{one['worry_zh']} · {one['worry_en']}",
        )
        for one in signals()["metrics"]
    ]
    return table(("指标 · metric", "说明 · meaning", "标签 · labels", "where", "何时要管 · when to worry"), rows)


def spans() -> str:
    rows = [
        (
            f"`{one['name']}`",
            one["kind"].lower(),
            f"{one['zh']} · {one['en']}",
            listed(one["attributes"]),
            ", ".join(one["where"]),
        )
        for one in signals()["spans"]
    ]
    return table(("span", "kind", "说明 · meaning", "attributes", "where"), rows)


PARTS: dict[str, Callable[[], str]] = {
    "settings": settings,
    "accounts": accounts,
    "case-moves": lambda: diagram(CASE_MOVES),
    "performance-moves": lambda: diagram(PERFORMANCE_MOVES),
    "task-moves": lambda: diagram(TASK_MOVES),
    "suspension-moves": lambda: diagram(SUSPENSION_MOVES),
    "supervision-moves": lambda: diagram(SUPERVISION_MOVES),
    "report-moves": lambda: diagram(REPORT_MOVES),
    "delivery-moves": lambda: diagram(DELIVERY_MOVES),
    "manual-moves": lambda: diagram(MANUAL_MOVES),
    "states": states,
    "outcomes": outcomes,
    "reopen-grounds": reopen_grounds,
    "rules": rules,
    "explained": explained,
    "permissions": permissions,
    "metrics": metrics,
    "spans": spans,
}


def pages() -> Iterator[tuple[Path, str, str]]:
    """Each page with made parts: what stands there, and what should."""
    for path in sorted(DOCS.rglob("*.md")):
        found = path.read_text(encoding="utf-8")
        wanted = MADE.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n{part[3]}", found)
        if MADE.search(found):
            yield path, found, wanted


def differing() -> list[str]:
    return [str(path.relative_to(ROOT)) for path, found, wanted in pages() if found != wanted]


def main() -> None:
    if "--check" in sys.argv:
        if wrong := differing():
            raise SystemExit("these pages do not follow code and data (run make docs): " + ", ".join(wrong))
        return
    for path, found, wanted in pages():
        if found != wanted:
            path.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
