"""Reminders before a limit and notices to the superior after it: to the right posts, each once, also after a dead process."""

from __future__ import annotations

from hetao.cases.v1 import events_pb2
from kit.unit import Unit
from tests.unit.cases.conftest import JUSTICE, LABOUR, UNION, CentreAtWork, department

CENTRE = department("150826-centre")


def told(notices: list, template: str) -> list[tuple[str, str]]:  # type: ignore[type-arg]
    return [
        (recipient.department_id, recipient.post)
        for notice in notices
        if notice.template == template
        for recipient in notice.recipients
    ]


async def test_each_duty_officer_is_told_of_the_dispatch_once(centre: CentreAtWork) -> None:
    case = await centre.dispatched()
    notices = await centre.notices("cases.dispatched")
    assert sorted(told(notices, "cases.dispatched")) == sorted(
        (one, "duty_officer") for one in (LABOUR, JUSTICE, UNION)
    )
    assert {variable.name for notice in notices for variable in notice.variables} == {"code", "due", "days"}
    assert len({notice.intent_id for notice in notices}) == 3
    assert {notice.subject for notice in notices} == {f"cases/{case.case_id}"}


async def test_silence_is_reminded_then_told_to_the_head_then_to_the_director(centre: CentreAtWork) -> None:
    await centre.dispatched()
    await centre.world.travel("2026-03-04 12:00")  # three working days: until the end of Thursday the 5th
    assert await centre.notices("cases.task_reminder") == []
    await centre.world.travel("2026-03-05 23:00")
    assert sorted(told(await centre.notices(), "cases.task_reminder")) == sorted(
        [(JUSTICE, "duty_officer"), (UNION, "duty_officer")]
    )
    assert await centre.notices("cases.task_overdue") == []
    await centre.world.travel("2026-03-06 08:00")
    assert sorted(told(await centre.notices(), "cases.task_overdue")) == sorted([(JUSTICE, "head"), (UNION, "head")])
    await centre.world.travel("2026-03-07 08:00")
    supervision = await centre.notices("cases.task_supervision")
    assert told(supervision, "cases.task_supervision") == [(CENTRE, "director")] * 2
    await centre.world.travel("2026-06-01 08:00")
    for template in ("cases.task_reminder", "cases.task_overdue", "cases.task_supervision"):
        notices = await centre.notices(template)
        assert len(notices) == len({notice.intent_id for notice in notices}) == 3  # the lead's own limit has lapsed too
    assert await centre.world.rows("cases", "select from timer") == []


async def test_who_answers_in_time_is_left_in_peace(centre: CentreAtWork) -> None:
    await centre.answered()
    await centre.world.travel("2026-03-10 08:00")
    assert [n.template for n in await centre.notices() if n.template.startswith("cases.task_")] == []


async def test_what_fell_due_while_the_process_was_dead_is_told_once_in_its_order(centre: CentreAtWork) -> None:
    case = await centre.accepted()
    await centre.world.settle()
    centre.world.clock.move_to(centre.world.clock.now().replace(month=6))  # nobody fired anything for three months
    await centre.world.platform.fire()
    await centre.world.platform.fire()
    late = [notice.template for notice in await centre.notices()]
    assert late == ["cases.case_reminder", "cases.case_overdue", "cases.supervision"]
    assert told(await centre.notices(), "cases.case_overdue") == [(CENTRE, "director")]
    case = await centre.get(case)
    # Seven working days after Monday the 2nd.
    assert case.overdue_since.ToJsonString() == case.deadline.due_at.ToJsonString() == "2026-03-11T15:59:59.999Z"
    assert [entry.what for entry in await centre.timeline(case)][-3:] == ["remind", "overdue", "supervise"]


async def test_a_decision_on_acceptance_is_waited_for_too(centre: CentreAtWork) -> None:
    case = (await centre.create()).case
    await centre.world.travel("2026-03-06 08:00")
    # ("", ""): an account, that of who received it first
    assert told(await centre.notices(), "cases.acceptance_reminder") == [(CENTRE, "dispatcher"), ("", "")]
    assert told(await centre.notices(), "cases.acceptance_overdue") == [(CENTRE, "director"), ("", "")]
    case = await centre.accept(case)
    assert not case.HasField("overdue_since")
    assert case.deadline.due_at.ToJsonString().startswith("2026-03-17")


async def test_a_reopened_case_has_new_reminders(centre: CentreAtWork) -> None:
    case = await centre.concluded()
    await centre.reopened(case)
    await centre.world.travel("2026-03-20 08:00")
    templates = [notice.template for notice in await centre.notices()]
    assert templates.count("cases.task_reminder") == templates.count("cases.task_overdue") == 1
    assert templates.count("cases.case_reminder") == templates.count("cases.case_overdue") == 1
    assert templates.count("cases.reopened") == 1


async def test_a_timer_that_fires_without_reason_does_nothing(centre: CentreAtWork) -> None:
    case = await centre.concluded()
    runtime = centre.world.platform.services["cases"].runtime

    async def set_again(unit: Unit) -> None:
        unit.schedule("cases.case", case.case_id, at=unit.now)
        unit.schedule("cases.task", case.tasks[0].task_id, at=unit.now)

    await runtime.transact(set_again, action="test")
    await centre.world.platform.fire()
    assert await centre.world.rows("cases", "select from timer") == []
    assert (await centre.get(case)).etag == case.etag


async def test_the_overdue_case_says_so_in_its_event(centre: CentreAtWork) -> None:
    await centre.accepted()
    await centre.world.travel("2026-03-12 08:00")
    rows = await centre.world.platform.log._pool.fetch(  # type: ignore[attr-defined]
        "select value from record where type = 'hetao.cases.v1.CaseChanged' order by \"offset\""
    )
    events = [events_pb2.CaseChanged.FromString(row["value"]) for row in rows]
    assert [event.what for event in events] == ["accept", "remind", "overdue"]
    assert [event.version for event in events] == [1, 2, 3]
    assert events[-1].HasField("overdue_since")
    assert "赵" not in str(events)
