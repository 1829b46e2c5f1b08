"""Limits are watched: reminded before, the superior told after, each once, in order, whether or not the platform lived when it fell due."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.functional.harness import Hetao, eventually
from tests.functional.modes import on
from tests.functional.story import JUSTICE, LABOUR, UNION, Centre

#: Who is told when a department of 杭锦后旗 lets its limit pass and has no head of its own in the directory: the committee above it.
SUPERIOR = "county-leader-2"

REMINDER, OVERDUE = "cases.task_reminder", "cases.task_overdue"
ORDER, RAISED = "cases.supervision", "cases.supervision_raised"


def inbox(hetao: Hetao, account: str, case: dict[str, Any]) -> Counter[str]:
    """How many messages of each kind about the case somebody has."""
    found = hetao.person(account).messages(subject=f"cases/{case['caseId']}")
    return Counter(one["template"] for one in found if one["template"].startswith("cases."))  # not that they are unread


def wait_for(hetao: Hetao, account: str, case: dict[str, Any], **wanted: int) -> None:
    names = {f"cases.{name}": count for name, count in wanted.items()}
    eventually(
        lambda: all(inbox(hetao, account, case)[name] >= count for name, count in names.items()),
        f"{wanted} to {account}; there are {dict(inbox(hetao, account, case))}",
    )
    found = inbox(hetao, account, case)
    assert {name: found[name] for name in names} == names


@on("own_hetao", "clocks", "all", "replicas")
@pytest.mark.timeout(300)
def test_every_step_of_a_clock_is_told_once_also_after_a_death(own_hetao: Hetao) -> None:
    hetao = own_hetao
    centre = Centre.of(hetao)
    case = centre.dispatch(
        centre.accepted()
    )  # Monday at nine: labour has until the 9th, justice and the union until the 5th
    due = {task["departmentId"]: task["deadline"]["dueAt"] for task in case["tasks"]}
    assert [due[one][:10] for one in (LABOUR, JUSTICE, UNION)] == ["2026-03-09", "2026-03-05", "2026-03-05"]
    for task in case["tasks"]:
        wait_for(hetao, centre.officer(task).account, case, dispatched=1)

    hetao.kill()
    hetao.at("2026-03-06 10:00")  # the reminder and the limit of two of them have passed in the meantime
    hetao.start()
    for officer in ("justice-officer-2", "union-officer-2"):
        wait_for(hetao, officer, case, dispatched=1, task_reminder=1, task_overdue=0)
    wait_for(hetao, SUPERIOR, case, task_overdue=2, task_reminder=0)
    wait_for(hetao, "centre-director-2", case, task_supervision=0)
    read = Centre.of(hetao).read(case)
    assert ["overdueSince" in task for task in read["tasks"]] == [False, True, True]
    assert read["tasks"][1]["overdueSince"] == due[JUSTICE]

    hetao.at("2026-03-09 16:00")  # alive: labour's reminder, and a working day after the others' limit the director
    wait_for(hetao, "department-officer-2", case, task_reminder=1)
    wait_for(hetao, "centre-director-2", case, task_supervision=2)
    hetao.at("2026-03-10 09:30")
    wait_for(hetao, SUPERIOR, case, task_overdue=3)

    hetao.kill()
    hetao.start()
    centre = Centre.of(hetao)
    answered = centre.answer(case)  # the late answers are taken all the same, and end the clocks
    assert answered["state"] == "CASE_STATE_RESULT_SUBMITTED"
    wait_for(hetao, "dispatcher-2", case, result_submitted=1)
    hetao.at("2026-03-11 09:30")
    hetao.at("2026-03-27 10:00")  # the case's own limit comes near, and passes: twenty working days end on the 30th
    wait_for(hetao, "dispatcher-2", case, case_reminder=1, case_overdue=0)
    hetao.at("2026-03-31 10:00")
    wait_for(hetao, "centre-director-2", case, case_overdue=1, task_supervision=2)
    for account in ("department-officer-2", "justice-officer-2", "union-officer-2"):
        assert inbox(hetao, account, case) == {"cases.dispatched": 1, REMINDER: 1}
    # Justice and the union stood under an order each; labour answered before the day of grace was over.
    assert inbox(hetao, SUPERIOR, case) == {OVERDUE: 3, ORDER: 2, RAISED: 2}

    centre = Centre.of(hetao)
    steps = [entry["what"] for entry in centre.timeline(case)]
    assert Counter(steps)["task_reminder"] == 3
    assert Counter(steps)["task_overdue"] == 3
    assert Counter(steps)["task_supervision"] == 2
    assert (Counter(steps)["remind"], Counter(steps)["overdue"]) == (1, 1)
    assert steps.index("task_reminder") < steps.index("task_overdue") < steps.index("task_supervision")
    assert centre.read(case)["overdueSince"] == "2026-03-30T15:59:59.999Z"


@pytest.mark.xdist_group("clocks")
@pytest.mark.timeout(300)
def test_a_decision_on_acceptance_is_waited_for_too(own_hetao: Hetao) -> None:
    hetao = own_hetao
    case = Centre.of(hetao).take_in()["case"]
    hetao.at("2026-03-04 15:00")
    wait_for(hetao, "dispatcher-2", case, acceptance_reminder=1)
    hetao.at("2026-03-05 09:00")
    wait_for(hetao, "centre-director-2", case, acceptance_overdue=1)
    taken = Centre.of(hetao).act(case, "accept")
    assert "overdueSince" not in taken  # the handling begins with its own limit
    assert taken["deadline"]["dueAt"] == "2026-03-16T15:59:59.999Z"
