"""Supervision orders: by hand and by themselves, their replies, their release, and what happens without a reply."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from hetao.cases.v1 import case_pb2, events_pb2, types_pb2
from hetao.cases.v1 import supervisions_pb2 as pb
from hetao.cases.v1 import supervisions_pb2_grpc as rpc
from kit.unit import Unit
from tests.unit.cases.conftest import JUSTICE, LABOUR, OFFICERS, UNION, CentreAtWork, department
from tests.world import refused

CENTRE = department("150826-centre")
LEADER, DIRECTOR = "county-leader-2", "centre-director-2"
HEADS = {LABOUR: "labour-head-2", JUSTICE: "justice-head-2", UNION: "union-head-2"}
ISSUED, REPLIED, RELEASED = (
    types_pb2.SUPERVISION_STATE_ISSUED,
    types_pb2.SUPERVISION_STATE_REPLIED,
    types_pb2.SUPERVISION_STATE_RELEASED,
)


class Supervising:
    """Who issues orders, who replies, who releases."""

    def __init__(self, centre: CentreAtWork):
        self.centre = centre
        issuer = centre.world.platform.issuer
        assert issuer is not None
        for one, account in HEADS.items():
            issuer._accounts[account] = {"roles": ["department-head"], "divisions": ["150826"], "department": one}

    def stub(self, by: str) -> Any:
        return self.centre.world.stub(rpc.SupervisionServiceStub, "cases", by)

    async def issue(self, case: case_pb2.Case, by: str = LEADER, **more: Any) -> pb.Supervision:
        values = {"demand": "三日内查清并书面回复", **more}
        request = pb.CreateSupervisionRequest(case_id=case.case_id, **values)
        return (await self.stub(by).CreateSupervision(request)).supervision  # type: ignore[no-any-return]

    async def reply(self, order: pb.Supervision, by: str = HEADS[LABOUR], text: str = "已约谈双方") -> pb.Supervision:
        request = pb.ReplySupervisionRequest(supervision_id=order.supervision_id, reply=text)
        return (await self.stub(by).ReplySupervision(request)).supervision  # type: ignore[no-any-return]

    async def release(self, order: pb.Supervision, by: str = LEADER, note: str = "") -> pb.Supervision:
        request = pb.ReleaseSupervisionRequest(supervision_id=order.supervision_id, note=note)
        return (await self.stub(by).ReleaseSupervision(request)).supervision  # type: ignore[no-any-return]

    async def send_back(self, order: pb.Supervision, by: str = LEADER) -> pb.Supervision:
        request = pb.SendBackSupervisionRequest(supervision_id=order.supervision_id, reason="没有说明原因")
        return (await self.stub(by).SendBackSupervision(request)).supervision  # type: ignore[no-any-return]

    async def get(self, order: pb.Supervision, by: str = LEADER) -> pb.Supervision:
        request = pb.GetSupervisionRequest(supervision_id=order.supervision_id)
        return (await self.stub(by).GetSupervision(request)).supervision  # type: ignore[no-any-return]

    async def all(self, by: str = LEADER, **more: Any) -> list[pb.Supervision]:
        return list((await self.stub(by).ListSupervisions(pb.ListSupervisionsRequest(**more))).supervisions)


@pytest.fixture
def supervising(centre: CentreAtWork) -> Supervising:
    return Supervising(centre)


async def told(centre: CentreAtWork, template: str) -> list[tuple[str, str, str]]:
    return [
        (recipient.department_id, recipient.post, recipient.account)
        for notice in await centre.notices(template)
        for recipient in notice.recipients
    ]


async def test_an_order_is_issued_answered_sent_back_and_released(
    centre: CentreAtWork, supervising: Supervising
) -> None:
    case = await centre.dispatched()
    order = await supervising.issue(case, level=2)
    assert (order.number, order.level, order.state) == ("督〔2026〕1号", 2, ISSUED)
    assert (order.department_id, order.case_code, order.issued_by) == (LABOUR, case.code, LEADER)
    assert order.deadline.due_at.ToJsonString()[:10] == "2026-03-04"
    assert await told(centre, "cases.supervision") == [(LABOUR, "head", "")]
    replied = await supervising.reply(order)
    assert (replied.state, replied.reply, replied.replied_by) == (REPLIED, "已约谈双方", HEADS[LABOUR])
    assert not replied.HasField("deadline")
    assert await told(centre, "cases.supervision_replied") == [("", "", LEADER)]
    await centre.world.travel("2026-03-06 09:00")
    back = await supervising.send_back(order)
    assert (back.state, back.level, back.sent_back_count) == (ISSUED, 2, 1)
    assert back.deadline.due_at.ToJsonString()[:10] == "2026-03-10"
    await supervising.reply(order, text="原因：当事人外出")
    released = await supervising.release(order)
    assert (released.state, released.released_by, released.reply) == (RELEASED, LEADER, "原因：当事人外出")
    again = await refused(supervising.release(order))
    assert (again.code, again.reason) == ("FAILED_PRECONDITION", "MOVE_NOT_ALLOWED")
    steps = [entry.what for entry in await centre.timeline(case) if entry.what.startswith("superv")]
    assert steps == [
        "supervise",
        "supervision replied",
        "supervision sent back",
        "supervision replied",
        "supervision released",
    ]
    notices = [n for n in await centre.notices() if n.template.startswith("cases.supervision")]
    assert len({n.intent_id for n in notices}) == len(notices) == 5


async def test_numbers_are_counted_by_centre_and_year(centre: CentreAtWork, supervising: Supervising) -> None:
    case = await centre.dispatched()
    numbers = [(await supervising.issue(case, department_id=one)).number for one in (LABOUR, JUSTICE, CENTRE)]
    assert numbers == ["督〔2026〕1号", "督〔2026〕2号", "督〔2026〕3号"]
    refusal = await refused(supervising.issue(case, department_id="nobody"))
    assert (refusal.reason, refusal.fields) == ("DEPARTMENT_NOT_ON_CASE", ["department_id"])
    await centre.world.travel("2027-01-04 09:00")
    other = await centre.dispatched()
    assert (await supervising.issue(other)).number == "督〔2027〕1号"


async def test_who_issues_and_who_replies(centre: CentreAtWork, supervising: Supervising) -> None:
    case = await centre.dispatched()
    for account in ("dispatcher-2", OFFICERS[LABOUR], "window-clerk-2"):
        assert (await refused(supervising.issue(case, by=account))).reason == "PERMISSION_MISSING"
    assert (await refused(supervising.issue(case, by="county-leader"))).code == "NOT_FOUND"
    own = await refused(supervising.issue(case, by=DIRECTOR, department_id=CENTRE))
    assert (own.code, own.reason) == ("PERMISSION_DENIED", "SUPERVISION_OF_ONESELF")
    order = await supervising.issue(case, by=DIRECTOR, task_id=case.tasks[0].task_id)
    assert order.task_id == case.tasks[0].task_id
    assert (await refused(supervising.reply(order, by=OFFICERS[LABOUR]))).reason == "PERMISSION_MISSING"
    foreign = await refused(supervising.reply(order, by=HEADS[JUSTICE]))
    assert (foreign.code, foreign.reason) == (
        "NOT_FOUND",
        "NOT_FOUND",
    )  # it works on the case, and knows nothing of the order
    assert (await refused(supervising.reply(order, by=DIRECTOR))).reason == "SUPERVISION_FOREIGN"
    assert (await refused(supervising.release(order, by=LEADER, note="办妥"))).reason == "SUPERVISION_BY_ISSUER"
    assert (await refused(supervising.release(order, by=DIRECTOR))).reason == "RELEASE_UNEXPLAINED"
    assert (await refused(supervising.send_back(order, by=DIRECTOR))).reason == "MOVE_NOT_ALLOWED"
    assert (await supervising.release(order, by=DIRECTOR, note="案件已办妥")).state == RELEASED
    assert (await refused(supervising.reply(order))).reason == "MOVE_NOT_ALLOWED"


async def test_a_case_that_is_over_is_not_supervised(centre: CentreAtWork, supervising: Supervising) -> None:
    case = await centre.concluded()
    assert (await refused(supervising.issue(case))).reason == "MOVE_NOT_ALLOWED"


async def test_silence_brings_an_order_once(centre: CentreAtWork, supervising: Supervising) -> None:
    case = await centre.dispatched()
    await centre.world.travel("2026-03-07 08:00")
    orders = await supervising.all()
    assert sorted(order.department_id for order in orders) == sorted([JUSTICE, UNION])
    assert {(o.level, o.state, o.automatic, o.issued_by) for o in orders} == {(1, ISSUED, True, "system")}
    assert sorted(order.number for order in orders) == ["督〔2026〕1号", "督〔2026〕2号"]
    assert orders[0].demand == "任务期限 2026-03-05 已过，至今未答复。请立即办理，并书面说明超期原因和办结时间。"
    mine = next(order for order in orders if order.department_id == JUSTICE)
    await supervising.reply(mine, by=HEADS[JUSTICE])
    assert await told(centre, "cases.supervision_replied") == [(CENTRE, "director", "")]
    assert (await refused(supervising.release(mine, by=HEADS[JUSTICE]))).reason == "PERMISSION_MISSING"
    assert (await supervising.release(mine, by=DIRECTOR)).state == RELEASED
    assert [o.department_id for o in await supervising.all(by=HEADS[UNION])] == [UNION]
    assert await supervising.all(by="county-leader") == []
    assert case.case_id in {order.case_id for order in orders}


async def test_what_lapsed_while_the_process_was_dead_is_told_and_ordered_once(
    centre: CentreAtWork, supervising: Supervising
) -> None:
    case = await centre.dispatched()
    await centre.world.settle()
    centre.world.clock.move_to(centre.world.clock.now().replace(month=6))
    for _ in range(3):
        await centre.world.platform.fire()
    templates = [notice.template for notice in await centre.notices()]
    for template in ("cases.task_reminder", "cases.task_overdue", "cases.task_supervision", "cases.supervision"):
        assert templates.count(template) == 3
    orders = await supervising.all(case_id=case.case_id)
    assert sorted(order.department_id for order in orders) == sorted([LABOUR, JUSTICE, UNION])
    steps = [entry.what for entry in await centre.timeline(case)]
    assert (
        steps.count("supervise") == 3
    )  # the case's own limit ran out too: labour, who leads, stands under an order already


async def test_a_case_whose_limit_ran_out_is_ordered_too(centre: CentreAtWork, supervising: Supervising) -> None:
    case = await centre.accepted()  # nobody dispatched it
    await centre.world.travel("2026-03-12 23:00")
    assert await supervising.all() == []
    await centre.world.travel("2026-03-13 09:00")
    (order,) = await supervising.all()
    assert (order.department_id, order.level, order.case_id) == (CENTRE, 1, case.case_id)
    assert "办理期限 2026-03-11 已过" in order.demand
    assert await told(centre, "cases.supervision") == [(CENTRE, "director", "")]
    await supervising.reply(order, by=DIRECTOR)
    own = await refused(supervising.release(order, by=DIRECTOR))
    assert (own.code, own.reason) == ("PERMISSION_DENIED", "SUPERVISION_BY_ISSUER")
    assert (await supervising.release(order, by=LEADER)).state == RELEASED


async def test_without_a_reply_an_order_goes_up_once_per_limit(centre: CentreAtWork, supervising: Supervising) -> None:
    case = await centre.dispatched()
    order = await supervising.issue(case)  # a reply by Thursday
    runtime = centre.world.platform.services["cases"].runtime

    async def set_again(unit: Unit) -> None:
        unit.schedule("cases.supervision", order.supervision_id, at=unit.now)

    await centre.world.travel("2026-03-06 08:00")
    await runtime.transact(set_again, action="test")
    await centre.world.platform.fire()  # without reason
    raised = await supervising.get(order)
    assert (raised.level, raised.state) == (2, ISSUED)
    assert raised.overdue_since.ToJsonString() == "2026-03-05T15:59:59.999Z"
    assert raised.number == order.number
    assert await told(centre, "cases.supervision_raised") == [(LABOUR, "head", ""), (CENTRE, "director", "")]
    await centre.world.travel("2026-06-01 08:00")
    highest = await supervising.get(order)
    assert (highest.level, highest.state) == (3, ISSUED)
    assert len(await centre.notices("cases.supervision_raised")) >= 2
    about = [n for n in await centre.notices() if n.template == "cases.supervision_late"]
    assert len(about) == len({n.intent_id for n in about})
    assert await centre.world.rows("cases", "select from timer") == []
    steps = [e.sentence.zh for e in await centre.timeline(case) if order.number in e.sentence.zh]
    assert sum("升为" in sentence for sentence in steps) == 2
    assert sum("期限 2026-03-1" in sentence and "已过" in sentence for sentence in steps) == 1
    assert (await supervising.reply(order)).state == REPLIED  # late, and taken all the same


async def test_of_a_restricted_case_leaders_read_the_number_alone(
    centre: CentreAtWork, supervising: Supervising
) -> None:
    case = await centre.dispatched()
    order = await supervising.issue(case, by=DIRECTOR)
    assert (await supervising.get(order)).demand
    from hetao.cases.v1 import intake_pb2

    said = case_pb2.Classification(restricted=True)
    await centre.cases("dispatcher-2").ClassifyCase(
        intake_pb2.ClassifyCaseRequest(case_id=case.case_id, classification=said)
    )
    seen = await supervising.get(order)
    assert (seen.number, seen.demand) == (order.number, "")
    assert [one.demand for one in await supervising.all()] == [""]
    assert (await supervising.get(order, by=HEADS[LABOUR])).demand == order.demand


async def test_lists_are_narrowed_and_paged(centre: CentreAtWork, supervising: Supervising) -> None:
    case = await centre.dispatched()
    orders = []
    for one in (LABOUR, JUSTICE, UNION):
        orders.append(await supervising.issue(case, department_id=one))
        await centre.world.travel(timedelta(minutes=1))
    await supervising.reply(orders[0])
    assert [o.number for o in await supervising.all(state=REPLIED)] == [orders[0].number]
    assert [o.number for o in await supervising.all(department_id=JUSTICE)] == [orders[1].number]
    assert len(await supervising.all(centre=CENTRE)) == 3
    assert await supervising.all(centre="another") == []
    stub = supervising.stub(LEADER)
    first = await stub.ListSupervisions(pb.ListSupervisionsRequest(page_size=2))
    rest = await stub.ListSupervisions(pb.ListSupervisionsRequest(page_size=2, page_token=first.next_page_token))
    assert [o.number for o in [*first.supervisions, *rest.supervisions]] == [o.number for o in reversed(orders)]


async def test_the_event_carries_the_public_state(centre: CentreAtWork, supervising: Supervising) -> None:
    case = await centre.dispatched()
    order = await supervising.issue(case, demand="请赵秀英案承办人说明")
    await supervising.reply(order, text="赵秀英已联系")
    await centre.world.settle()
    rows = await centre.world.platform.log._pool.fetch(  # type: ignore[attr-defined]
        "select value from record where type = 'hetao.cases.v1.SupervisionChanged' order by \"offset\""
    )
    events = [events_pb2.SupervisionChanged.FromString(row["value"]) for row in rows]
    assert [(event.what, event.version, event.state) for event in events] == [
        ("supervise", 1, ISSUED),
        ("reply", 2, REPLIED),
    ]
    assert events[0].number == order.number
    assert "赵" not in str(events)
