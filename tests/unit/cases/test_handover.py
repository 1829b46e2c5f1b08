"""A grid's hand-over becomes a case once, with content, photos and history; the answer goes back."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

from hetao.cases.v1 import cases_pb2, events_pb2, intake_pb2, types_pb2
from hetao.common.v1 import common_pb2
from hetao.grid.v1 import events_pb2 as grid_pb
from hetao.grid.v1 import types_pb2 as grid_types
from kit.proto import stamp
from tests.unit.cases.conftest import CentreAtWork, department, person
from tests.world import refused

CENTRE = department("150826108-centre")


def handed_over(work: CentreAtWork, **more: object) -> grid_pb.ReportHandedOver:
    handover_id = uuid4()
    content = {"title": "邻里争吵", "description": "因排水争吵多日", "place": "二组", "note": "双方情绪激动"}
    keys = work.world.platform.keys
    now = work.world.clock.now()
    values: dict[str, object] = {
        "handover_id": str(handover_id),
        "report_id": str(uuid4()),
        "centre": department("150826-centre"),
        "division": "150826108203",
        "kind": grid_types.REPORT_KIND_DISPUTE,
        "category": "02",
        "reason": grid_types.HANDOVER_REASON_SEVERAL_DEPARTMENTS,
        "reporter": "grid-worker-2",
        "handed_over_by": "grid-worker-2",
        "handed_over_at": stamp(now),
        "photos": [grid_pb.HandedPhoto(media_id="a" * 64)],
        "history": [
            grid_pb.HistoryEntry(
                at=stamp(now),
                account="grid-worker-2",
                action="submit",
                sentence=common_pb2.Text(zh="上报", en="Reported"),
            )
        ],
        "content": keys.seal("handover.content", handover_id, json.dumps(content)),
    }
    return grid_pb.ReportHandedOver(**(values | more))  # type: ignore[arg-type]


async def answers(centre: CentreAtWork) -> list[events_pb2.HandoverAnswered]:
    await centre.world.settle()
    rows = await centre.world.platform.log._pool.fetch(  # type: ignore[attr-defined]
        "select value from record where type = 'hetao.cases.v1.HandoverAnswered'"
    )
    return [events_pb2.HandoverAnswered.FromString(row["value"]) for row in rows]


async def only_case(centre: CentreAtWork, by: str = "dispatcher-2") -> cases_pb2.ListCasesResponse:
    answer: cases_pb2.ListCasesResponse = await centre.cases(by).ListCases(cases_pb2.ListCasesRequest())
    assert len(answer.cases) == 1
    return answer


async def test_a_hand_over_becomes_one_case_with_all_that_belongs_to_it(centre: CentreAtWork) -> None:
    event = handed_over(centre)
    await centre.hear(event, event.handover_id)
    await centre.hear(event, event.handover_id)  # another event with the same hand-over cannot be: the row is unique
    case = (await only_case(centre)).cases[0]
    assert (case.title, case.place, case.source) == ("邻里争吵", "二组", types_pb2.SOURCE_GRID)
    assert "双方情绪激动" in case.description
    assert list(case.media_ids) == ["a" * 64]
    assert (case.state, case.report_id) == (types_pb2.CASE_STATE_REGISTERED, event.report_id)
    told = await centre.timeline(case)
    assert [(entry.what, entry.actor) for entry in told][:2] == [("grid", "grid-worker-2"), ("hand over", "system")]
    assert told[0].sentence.zh == "网格：上报"
    assert [notice.template for notice in await centre.notices()] == ["cases.registered"]


async def test_the_answer_goes_back_to_the_grid(centre: CentreAtWork) -> None:
    event = handed_over(centre)
    await centre.hear(event, event.handover_id)
    case = (await only_case(centre)).cases[0]
    await centre.accept(case)
    (answer,) = await answers(centre)
    assert (answer.handover_id, answer.answer) == (event.handover_id, events_pb2.HANDOVER_ANSWER_ACCEPTED)
    assert (answer.case_code, answer.answered_by) == (case.code, "dispatcher-2")
    assert (answer.ground_zh, answer.ground_en, answer.channel) == ("", "", "")


async def test_a_refused_hand_over_says_why(centre: CentreAtWork) -> None:
    event = handed_over(centre)
    await centre.hear(event, event.handover_id)
    case = (await only_case(centre)).cases[0]
    request = intake_pb2.RefuseCaseRequest(case_id=case.case_id, ground="not_clear", channel="社区居委会")
    await centre.cases("dispatcher-2").RefuseCase(request)
    (answer,) = await answers(centre)
    assert (answer.answer, answer.reason) == (events_pb2.HANDOVER_ANSWER_REFUSED, "not_clear")
    assert answer.ground_zh == "事实或对象不清，无法办理"
    assert answer.ground_en == "facts or persons not clear enough to work on"
    assert answer.channel == "社区居委会"


async def test_the_worker_sees_the_stage_of_what_she_reported(centre: CentreAtWork) -> None:
    event = handed_over(centre)
    await centre.hear(event, event.handover_id)
    case = (await only_case(centre, by="grid-worker-2")).cases[0]
    assert (case.stage_only, case.title, case.state) == (True, "", types_pb2.CASE_STATE_REGISTERED)
    assert (await refused(centre.get(case, by="grid-worker"))).code == "NOT_FOUND"
    assert (await refused(centre.get(case, by="building-head-2"))).reason == "PERMISSION_MISSING"


async def test_parties_come_later_and_then_it_can_be_concluded(centre: CentreAtWork) -> None:
    event = handed_over(centre)
    await centre.hear(event, event.handover_id)
    case = await centre.accept((await only_case(centre)).cases[0])
    for name in ("王丽", "李强"):
        request = intake_pb2.AddPartyRequest(case_id=case.case_id, party=person(name))
        answer = await centre.cases("window-clerk-2").AddParty(request)
        assert (await centre.look_up(answer.receipt.code, answer.receipt.pin)).code == case.code
    assert (await centre.conclude(case)).state == types_pb2.CASE_STATE_FOLLOW_UP


async def test_a_hand_over_that_cannot_be_opened_is_put_aside_and_the_rest_goes_on(centre: CentreAtWork) -> None:
    broken = handed_over(centre, content=b"not sealed at all, and long enough to be read")
    await centre.hear(broken, broken.handover_id)
    fine = handed_over(centre)
    await centre.hear(fine, fine.handover_id)
    assert (await only_case(centre)).cases[0].report_id == fine.report_id
    parked = await centre.world.rows("cases", "select handler, key from parked")
    assert [tuple(row) for row in parked] == [("cases.events.take_over", broken.handover_id)]


async def test_an_unknown_centre_falls_back_to_the_one_that_is_responsible(centre: CentreAtWork) -> None:
    event = handed_over(centre, centre=str(UUID(int=7)))
    await centre.hear(event, event.handover_id)
    rows = await centre.world.rows("cases", "select centre from case_file")
    assert [row["centre"] for row in rows] == [CENTRE]
