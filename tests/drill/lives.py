"""What clients do: cases of a centre that works on them itself, cases of three departments, reports that become cases; and some of each that are
left lying, so that their clocks run out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.drill.clients import Client
from tests.functional.harness import department
from tests.functional.story import OFFICERS, WORK_INJURY
from tests.load import matters

#: (dispatcher, follow-up clerk, division) of the two centres that have demo accounts.
LINHE = ("dispatcher", "follow-up-clerk", "150802")
HANGJIN = ("dispatcher-2", "follow-up-clerk-2", "150826")

#: Grid workers, and who takes over at the centre of their street or town.
WORKERS = {"grid-worker": "dispatcher", "grid-worker-2": "dispatcher-2"}

KINDS = ("REPORT_KIND_SANITATION", "REPORT_KIND_FACILITY", "REPORT_KIND_HAZARD")


async def desks(client: Client) -> None:
    """Five writes: taken in and accepted, dispatched to three desks, concluded, both parties asked."""
    dispatcher, clerk, division = client.chance.choice((LINHE, HANGJIN))
    case = await _taken_in(client, dispatcher, division, accept=True)
    if client.chance.random() < 0.05:
        return  # left lying: its clock reminds and then tells the director
    case_id = case["caseId"]
    case = await client.write(dispatcher, "DispatchCase", {"caseId": case_id, **matters.DISPATCH}, case_id)
    await _concluded(client, dispatcher, clerk, case_id)


async def departments(client: Client) -> None:
    """Thirteen writes by seven persons: registered, accepted, dispatched to three departments that sign in and answer, approved, concluded,
    followed up."""
    dispatcher, clerk, division = HANGJIN
    case_id = (await _taken_in(client, dispatcher, division, accept=False))["caseId"]
    if client.chance.random() < 0.05:
        return  # the decision on it is waited for
    await client.write(dispatcher, "AcceptCase", {"caseId": case_id, "classification": WORK_INJURY}, case_id)
    lead, *others = OFFICERS
    assignments = [{"departmentId": lead, "lead": True, "limitDays": 5, "demand": "核实用工与伤情"}]
    assignments += [{"departmentId": one, "limitDays": 3} for one in others]
    case = _bare(
        await client.write(dispatcher, "DispatchCase", {"caseId": case_id, "assignments": assignments}, case_id)
    )
    lying = client.chance.random() < 0.1
    for task in sorted(case["tasks"], key=lambda one: bool(one.get("lead"))):
        officer, which = OFFICERS[task["departmentId"]], {"caseId": case_id, "taskId": task["taskId"]}
        await client.write(officer, "SignInTask", which, case_id)
        if lying:
            return  # two departments and the lead are reminded, and their superiors hear of it
        await client.write(officer, "SubmitTaskResult", {**which, "result": "已核实，双方同意调解"}, case_id)
    review = {"caseId": case_id, "decision": "REVIEW_DECISION_APPROVE"}
    await client.write(dispatcher, "ReviewCase", review, case_id)
    await _concluded(client, dispatcher, clerk, case_id)


async def reports(client: Client) -> None:
    """Six writes in two services: reported, verified, handed over; the centre hears of it, accepts, dispatches and concludes its case."""
    worker, dispatcher = client.chance.choice(list(WORKERS.items()))
    place = f"{client.number} 号院 {client.chance.getrandbits(40):x} 门前"
    body = {"kind": client.chance.choice(KINDS), "title": "堆放杂物", "description": "影响通行", "place": place}
    report_id = _bare(await client.write(worker, "CreateReport", body), "report")["reportId"]
    if client.chance.random() < 0.1:
        return  # nobody verifies it
    await client.write(worker, "VerifyReport", {"reportId": report_id}, report_id)
    offer = {"target": "HANDOVER_TARGET_CENTRE", "reason": "HANDOVER_REASON_SEVERAL_DEPARTMENTS", "note": "需共同处理"}
    await client.write(worker, "HandOverReport", {"reportId": report_id, **offer}, report_id)

    async def its_case() -> str:
        report = _bare(await client.read(worker, "GetReport", {"reportId": report_id}), "report")
        return str(report["handover"].get("caseId", ""))

    case_id = await client.until(its_case, f"the hand-over of report {report_id}")
    if client.chance.random() < 0.1:
        return  # the centre does not decide
    await client.write(dispatcher, "AcceptCase", {"caseId": case_id}, case_id)
    desk = {"assignments": [{"desk": "mediation", "lead": True}]}
    await client.write(dispatcher, "DispatchCase", {"caseId": case_id, **desk}, case_id)
    await client.write(dispatcher, "ConcludeCase", {"caseId": case_id, **matters.CONCLUDE}, case_id)


async def _taken_in(client: Client, dispatcher: str, division: str, *, accept: bool) -> dict[str, Any]:
    body = {**matters.matter(client.chance), "division": division, "accept": accept}
    return dict((await client.write(dispatcher, "CreateCase", body))["case"])


async def _concluded(client: Client, dispatcher: str, clerk: str, case_id: str) -> None:
    case = _bare(await client.write(dispatcher, "ConcludeCase", {"caseId": case_id, **matters.CONCLUDE}, case_id))
    for party in case["parties"]:
        solved = {"contacted": True, "solved": "SOLVED_YES", "satisfaction": "SATISFACTION_SATISFIED"}
        body = {"caseId": case_id, "partyId": party["partyId"], **solved}
        await client.write(clerk, "RecordFollowUp", body, case_id)


def _bare(answer: dict[str, Any], name: str = "case") -> dict[str, Any]:
    """The resource of an answer, which REST shows alone and gRPC in its field."""
    return dict(answer[name]) if name in answer else answer


#: How often each is chosen.
LIVES: list[tuple[int, Callable[[Client], Awaitable[None]]]] = [(6, desks), (3, departments), (2, reports)]


async def life(client: Client) -> None:
    chosen = client.chance.choices([one for _, one in LIVES], weights=[weight for weight, _ in LIVES])[0]
    await chosen(client)


__all__ = ["department", "life"]
