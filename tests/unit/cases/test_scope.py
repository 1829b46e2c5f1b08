"""Who sees what: division ∧ (centre ∨ department ∨ leader ∨ reporter) ∧ sensitivity. A foreign case is not there."""

from __future__ import annotations

from datetime import timedelta

from hetao.cases.v1 import case_pb2, cases_pb2, centres_pb2, handling_pb2, tasks_pb2, types_pb2
from tests.unit.cases.conftest import LABOUR, CentreAtWork, department
from tests.world import refused


async def listed(work: CentreAtWork, by: str, **filters: object) -> list[str]:
    answer = await work.cases(by).ListCases(cases_pb2.ListCasesRequest(**filters))  # type: ignore[arg-type]
    return [case.case_id for case in answer.cases]


async def test_a_case_of_another_county_is_not_there(centre: CentreAtWork) -> None:
    case = await centre.dispatched()
    for stranger in (
        "dispatcher",
        "window-clerk",
        "centre-director",
        "county-leader",
        "department-officer",
        "grid-worker",
    ):
        refusal = await refused(centre.get(case, by=stranger))
        assert (refusal.code, refusal.reason) == ("NOT_FOUND", "NOT_FOUND")
    assert (await refused(centre.accept(case, by="dispatcher"))).code == "NOT_FOUND"
    assert (await refused(centre.conclude(case, by="dispatcher"))).code == "NOT_FOUND"
    assert await listed(centre, "dispatcher") == []
    assert (
        await refused(centre.cases("dispatcher").ListCases(cases_pb2.ListCasesRequest(division="150826")))
    ).code == "NOT_FOUND"


async def test_a_department_sees_the_cases_that_it_was_given(centre: CentreAtWork) -> None:
    given, other = await centre.dispatched(), await centre.accepted()
    seen = await centre.get(given, by="department-officer-2")
    assert [party.name for party in seen.parties] == ["赵*", "河套酒业有限公司"]
    assert (await refused(centre.get(other, by="department-officer-2"))).code == "NOT_FOUND"
    assert await listed(centre, "department-officer-2") == [given.case_id]
    tasks = await centre.tasks("department-officer-2").ListTasks(tasks_pb2.ListTasksRequest())
    assert [(task.case_id, task.department_id) for task in tasks.tasks] == [(given.case_id, LABOUR)]


async def test_leaders_see_their_division_and_of_a_restricted_matter_the_stage_alone(centre: CentreAtWork) -> None:
    street = await centre.accepted(division="150826108203")
    divorce = await centre.accepted(category="01")  # family matters are restricted by default
    assert (await centre.get(street, by="township-leader-2")).title == "工伤待遇纠纷"
    assert (await refused(centre.get(divorce, by="township-leader-2"))).code == "NOT_FOUND"
    seen = await centre.get(divorce, by="county-leader-2")
    assert (seen.stage_only, seen.state) == (True, types_pb2.CASE_STATE_ACCEPTED)
    assert [seen.title, seen.description, seen.registered_by, list(seen.parties), list(seen.tasks)] == [
        "",
        "",
        "",
        [],
        [],
    ]
    assert (await refused(centre.timeline(divorce, by="county-leader-2"))).code == "NOT_FOUND"
    assert (await centre.get(divorce)).title == "工伤待遇纠纷"
    assert set(await listed(centre, "county-leader-2")) == {street.case_id, divorce.case_id}
    assert await listed(centre, "township-leader-2") == [street.case_id]
    assert set(await listed(centre, "city-leader")) == {street.case_id, divorce.case_id}
    assert await listed(centre, "county-leader-2", division="150826108") == [street.case_id]
    assert await listed(centre, "county-leader-2", division="150826108203") == [street.case_id]
    assert await listed(centre, "county-leader-2", state=types_pb2.CASE_STATE_CLOSED) == []
    assert await listed(centre, "county-leader-2", kind=types_pb2.KIND_HAZARD) == []


async def test_a_category_may_be_unrestricted_and_any_case_restricted_by_hand(centre: CentreAtWork) -> None:
    said = case_pb2.Classification(category="01", restricted=False)
    answer = await centre.create("dispatcher-2", accept=True, classification=said)
    assert not answer.case.classification.restricted
    said = case_pb2.Classification(category="02", restricted=True)
    answer = await centre.create("dispatcher-2", accept=True, classification=said)
    assert (await centre.get(answer.case, by="county-leader-2")).stage_only


async def test_unmasking_takes_a_reason_and_is_audited(centre: CentreAtWork) -> None:
    case = await centre.dispatched()
    stub = centre.cases("department-officer-2")
    request = cases_pb2.RevealPartyRequest(case_id=case.case_id, party_id=case.parties[0].party_id, reason="电话约谈")
    party = (await stub.RevealParty(request)).party
    assert (party.name, party.phone) == ("赵秀英", "13904781234")
    rows = await centre.world.rows("cases", "select actor, purpose, entity from audit where purpose <> ''")
    assert [tuple(row) for row in rows] == [("department-officer-2", "电话约谈", "disclosure")]
    request.reason = " "
    assert set((await refused(stub.RevealParty(request))).fields) == {"reason"}
    request.reason = "想看看"
    assert (await refused(centre.cases("county-leader-2").RevealParty(request))).reason == "PERMISSION_MISSING"
    assert (await centre.timeline(case))[-1].what == "reveal"


async def test_every_division_has_a_responsible_centre(centre: CentreAtWork) -> None:
    rows = await centre.world.rows("cases", "select division, centre from coverage")
    assert len(rows) == 1052  # all but the city itself
    levels = await centre.world.rows("cases", "select level, count(*) as n from centre group by level order by level")
    assert [tuple(row) for row in levels] == [("county", 7), ("township", 70)]
    located = await centre.centres().LocateCentre(centres_pb2.LocateCentreRequest(division="150826500"))  # 太阳庙农场
    assert located.centre.name == "杭锦后旗综治中心"
    located = await centre.centres().LocateCentre(centres_pb2.LocateCentreRequest(division="150826108203"))
    assert (located.centre.name, located.centre.level) == ("杭锦后旗蒙海镇综治中心", types_pb2.CENTRE_LEVEL_TOWNSHIP)
    assert located.centre.centre == department("150826108-centre")
    unknown = await refused(centre.centres().LocateCentre(centres_pb2.LocateCentreRequest(division="150826999")))
    assert unknown.reason == "DIVISION_UNKNOWN"
    page = await centre.centres().ListCentres(centres_pb2.ListCentresRequest(division="150826", page_size=4))
    rest = await centre.centres().ListCentres(
        centres_pb2.ListCentresRequest(division="150826", page_size=200, page_token=page.next_page_token)
    )
    assert (len(page.centres), len(rest.centres)) == (4, 6)


async def test_the_next_office_may_not_do_this_ones_work(centre: CentreAtWork) -> None:
    """The county's centre is asked where another town's centre is responsible: it sees nothing of it, and its director may not act."""
    from hetao.cases.v1 import intake_pb2
    from kit.unit import Unit
    from services.cases.store import cases as store

    case = await centre.accepted(division="150826100")

    async def to_the_township(unit: Unit) -> None:
        from dataclasses import replace
        from uuid import UUID

        row = await store.CASES.get(unit, UUID(case.case_id))
        await store.CASES.save(unit, replace(row, centre=department("150826100-centre")))

    await centre.world.platform.services["cases"].runtime.transact(to_the_township, action="test")
    assert (await refused(centre.get(case))).code == "NOT_FOUND"
    assert (await centre.get(case, by="centre-director-2")).centre_name == "杭锦后旗陕坝镇综治中心"
    said = intake_pb2.ClassifyCaseRequest(case_id=case.case_id, classification=case_pb2.Classification(category="02"))
    refusal = await refused(centre.cases("centre-director-2").ClassifyCase(said))
    assert (refusal.code, refusal.reason) == ("PERMISSION_DENIED", "CENTRE_NOT_RESPONSIBLE")
    lead = handling_pb2.Assignment(department_id=LABOUR, lead=True)
    assert (await refused(centre.dispatch(case, lead, by="centre-director-2"))).reason == "CENTRE_NOT_RESPONSIBLE"


async def test_who_serves_two_centres_works_for_both(centre: CentreAtWork) -> None:
    """The county's people also hold the posts of 蒙海镇's centre."""
    from dataclasses import replace
    from uuid import UUID

    from kit.unit import Unit
    from services.cases.store import cases as store

    town, village = department("150826108-centre"), "150826108203"
    here = await centre.accepted()
    await centre.world.travel(timedelta(minutes=1))
    there = await centre.accepted(division=village)

    async def to_the_town(unit: Unit) -> None:
        row = await store.CASES.get(unit, UUID(there.case_id))
        await store.CASES.save(unit, replace(row, centre=town))

    await centre.world.platform.services["cases"].runtime.transact(to_the_town, action="test")
    newest_first = [there.case_id, here.case_id]
    for by in ("dispatcher-2", "window-clerk-2", "follow-up-clerk-2", "centre-director-2"):
        assert await listed(centre, by) == newest_first
        assert await listed(centre, by, page_size=1) == newest_first[:1]
        assert await listed(centre, by, centre=town) == [there.case_id]
        assert await listed(centre, by, division="150826108") == [there.case_id]
        assert await listed(centre, by, division="150826", state=types_pb2.CASE_STATE_ACCEPTED) == newest_first
    assert await listed(centre, "dispatcher-2", division=village, centre=department("150826-centre")) == []
    lead = handling_pb2.Assignment(department_id=LABOUR, lead=True)
    assert (await centre.dispatch(there, lead)).state == types_pb2.CASE_STATE_HANDLING
    assert await listed(centre, "department-officer-2", division="150826108") == [there.case_id]
    assert await listed(centre, "department-officer-2", centre=department("150826-centre")) == []
    assert await listed(centre, "county-leader-2", centre=town) == [there.case_id]
    assert await listed(centre, "county-leader-2", division=village, centre=department("150826-centre")) == []


async def test_a_filter_never_shows_more_than_ones_post(centre: CentreAtWork) -> None:
    await centre.accepted()
    abroad = department("150826-centre")
    assert await listed(centre, "county-leader", centre=abroad) == []
    for stranger, filters in (("dispatcher", {"centre": abroad}), ("county-leader", {"division": "150826"})):
        refusal = await refused(centre.cases(stranger).ListCases(cases_pb2.ListCasesRequest(**filters)))
        assert (refusal.code, refusal.fields) == ("NOT_FOUND", list(filters))
