"""The worked example of docs/design/figures.md, played by the persons and read as leaders read it."""

from __future__ import annotations

import re

from hetao.cases.v1 import case_pb2, intake_pb2, types_pb2
from kit.config import CHECKOUT
from tests.unit.cases.conftest import CentreAtWork, company, person


def table() -> dict[str, list[str]]:
    """The figures of the page: name → the three columns."""
    text = (CHECKOUT / "docs" / "design" / "figures.md").read_text(encoding="utf-8")
    example = text.partition("## A worked example")[2]
    rows = re.findall(r"^\| (\w+) \| ([\d.–]+) \| ([\d.–]+) \| ([\d.–]+) \|$", example, re.MULTILINE)
    return {name: list(columns) for name, *columns in rows}


async def seen(centre: CentreAtWork, first: str, last: str) -> dict[str, str]:
    figures = await centre.figures(first=first, last=last)
    return {
        "accepted": f"{figures.accepted}",
        "resolved": f"{figures.resolved}",
        "resolutionRate": f"{figures.resolution_rate:g}" if figures.HasField("resolution_rate") else "–",
        "concluded": f"{figures.concluded}",
        "reopened": f"{figures.reopened}",
        "overdue": f"{figures.overdue}",
        "resolvedInPeriod": f"{figures.resolved_in_period}",
        "concludedInPeriod": f"{figures.concluded_in_period}",
    }


async def test_the_figures_of_the_documentation(centre: CentreAtWork) -> None:
    matters: dict[str, case_pb2.Case] = {}

    async def accepted(name: str) -> None:
        parties = [person(f"申请人{name}"), company(f"被申请人{name}")]
        matters[name] = await centre.accepted(category="10", parties=parties)

    async def on(day: str) -> None:
        await centre.world.travel(f"{day} 10:00")

    async def agreed(name: str, outcome: int = types_pb2.OUTCOME_WRITTEN_AGREEMENT) -> None:
        matters[name] = await centre.conclude(matters[name], outcome)

    await on("2026-03-30")
    await accepted("G")
    await on("2026-04-03")
    await agreed("G")
    await on("2026-04-07")
    await accepted("A")
    await on("2026-04-08")
    await accepted("B")
    await on("2026-04-09")
    await accepted("C")
    await on("2026-04-13")
    e = (await centre.create()).case
    refusal = intake_pb2.RefuseCaseRequest(case_id=e.case_id, ground="in_litigation", channel="人民法院")
    await centre.cases("dispatcher-2").RefuseCase(refusal)
    f = await centre.create("dispatcher-2", kind=types_pb2.KIND_CONSULTATION, parties=[], accept=True)
    await centre.conclude(f.case, types_pb2.OUTCOME_ADMINISTRATIVE_HANDLING)
    await on("2026-04-14")
    await agreed("A")
    for party in matters["A"].parties:
        await centre.ask(matters["A"], party)
    await on("2026-04-16")
    await agreed("B")
    await on("2026-04-20")
    await centre.reopened(matters["B"])
    await on("2026-04-24")
    await agreed("C", types_pb2.OUTCOME_FAILED_CHANNEL_TOLD)
    await on("2026-04-28")
    await accepted("D")
    await on("2026-04-30")
    at_the_end = await seen(centre, "2026-04-01", "2026-04-30")
    await on("2026-05-06")
    await agreed("B")
    await on("2026-05-08")
    await agreed("D")
    await on("2026-05-11")
    later = await seen(centre, "2026-04-01", "2026-04-30")
    may = await seen(centre, "2026-05-01", "2026-05-31")
    assert {name: [at_the_end[name], later[name], may[name]] for name in at_the_end} == table()
