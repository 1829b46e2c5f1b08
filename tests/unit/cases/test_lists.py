"""How lists of cases are narrowed, ordered and counted, and who is found by a telephone or a number."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from hetao.cases.v1 import case_pb2, cases_pb2, handling_pb2, intake_pb2, types_pb2
from services.cases.service.finding import FILLED_AT_ONCE, expect_keys, fill_keys
from tests.unit.cases.conftest import APPLICANT_ID, LABOUR, RESPONDENT_CODE, CentreAtWork, person
from tests.world import refused


def lead() -> list[handling_pb2.Assignment]:
    return [handling_pb2.Assignment(department_id=LABOUR, lead=True, limit_days=5)]


async def listed(centre: CentreAtWork, by: str = "dispatcher-2", **more: Any) -> cases_pb2.ListCasesResponse:
    answer: cases_pb2.ListCasesResponse = await centre.cases(by).ListCases(cases_pb2.ListCasesRequest(**more))
    return answer


async def ids(centre: CentreAtWork, by: str = "dispatcher-2", **more: Any) -> list[str]:
    return [one.case_id for one in (await listed(centre, by, **more)).cases]


async def test_filters_work_together(centre: CentreAtWork) -> None:
    high = case_pb2.Classification(category="02", risk=types_pb2.RISK_HIGH)
    risky = (await centre.create("dispatcher-2", accept=True, classification=high)).case
    await centre.world.travel(timedelta(minutes=1))
    given = await centre.dispatched()
    await centre.world.travel("2026-03-10 08:30")
    later = (await centre.create()).case
    assert await ids(centre) == [later.case_id, given.case_id, risky.case_id]
    assert await ids(centre, risk=types_pb2.RISK_HIGH) == [risky.case_id]
    assert await ids(centre, category="10") == [given.case_id]
    assert await ids(centre, category="10", risk=types_pb2.RISK_HIGH) == []
    assert await ids(centre, department_id=LABOUR) == [given.case_id]
    assert await ids(centre, registered_from="2026-03-10") == [later.case_id]
    assert await ids(centre, registered_to="2026-03-09") == [given.case_id, risky.case_id]
    assert await ids(centre, registered_from="2026-03-02", registered_to="2026-03-02") == [given.case_id, risky.case_id]
    assert await ids(centre, overdue=True) == [
        one.case_id for one in (given, risky) if (await centre.get(one)).HasField("overdue_since")
    ]
    for by in ("department-officer-2", "county-leader-2", "centre-director-2"):
        assert await ids(centre, by, category="10") == [given.case_id]
    backwards = await refused(listed(centre, registered_from="2026-03-10", registered_to="2026-03-09"))
    assert (backwards.reason, backwards.fields) == ("PERIOD_BACKWARDS", ["registered_to"])
    assert (await refused(listed(centre, registered_from="2026-02-30"))).reason == "DATE_INVALID"


@pytest.mark.parametrize(
    ("by", "more"),
    [
        ("dispatcher-2", {}),
        ("county-leader-2", {}),
        ("city-leader", {}),
        ("centre-director-2", {"division": "150826"}),
        ("department-officer-2", {}),
    ],
)
async def test_the_nearest_limit_first(centre: CentreAtWork, by: str, more: dict[str, Any]) -> None:
    slow = case_pb2.Classification(category="10", complexity=types_pb2.COMPLEXITY_COMPLEX)
    far = await centre.dispatch((await centre.create("dispatcher-2", accept=True, classification=slow)).case, *lead())
    near = await centre.dispatch(await centre.accepted(), *lead())
    ended = await centre.concluded()
    order = {"order": cases_pb2.CASE_ORDER_NEAREST_LIMIT}
    assert await ids(centre, by, **order, **more) == [near.case_id, far.case_id]
    assert ended.case_id in await ids(centre, by, **more)
    page = await listed(centre, by, page_size=1, **order, **more)
    rest = await listed(centre, by, page_size=1, page_token=page.next_page_token, **order, **more)
    assert [one.case_id for one in (*page.cases, *rest.cases)] == [near.case_id, far.case_id]


@pytest.mark.parametrize("by", ["dispatcher-2", "county-leader-2", "city-leader", "department-officer-2"])
async def test_a_total_is_told_where_it_is_asked_for(centre: CentreAtWork, by: str) -> None:
    for _ in range(3):
        await centre.dispatched()
    answer = await listed(centre, by, page_size=1, with_total=True)
    assert (answer.total, answer.total_at_least) == (3, False)
    assert not (await listed(centre, by, page_size=1)).HasField("total")
    assert (await listed(centre, by, with_total=True, state=types_pb2.CASE_STATE_CLOSED)).total == 0
    assert (await listed(centre, by, with_total=True, state=types_pb2.CASE_STATE_HANDLING, category="10")).total == 3


# -- search by party --------------------------------------------------------------------------------------------------


async def found(centre: CentreAtWork, by: str = "window-clerk-2", **who: str) -> list[str]:
    answer = await centre.cases(by).SearchCases(cases_pb2.SearchCasesRequest(**who))
    return [one.case_id for one in answer.cases]


async def test_who_calls_is_found_by_telephone_and_number(centre: CentreAtWork) -> None:
    older = (await centre.create()).case
    await centre.world.travel(timedelta(minutes=1))
    newer = (await centre.create()).case
    await centre.create(parties=[person("别人", phone="13904780000")])
    both = [newer.case_id, older.case_id]
    assert await found(centre, phone="139 0478 1234") == both
    assert await found(centre, id_number=APPLICANT_ID) == both
    assert await found(centre, id_number=RESPONDENT_CODE.lower()) == both
    assert await found(centre, phone="13904789999") == []
    answer = await centre.cases("window-clerk-2").SearchCases(cases_pb2.SearchCasesRequest(phone="13904781234"))
    assert answer.cases[0].title == "工伤待遇纠纷"


async def test_a_party_that_was_added_is_found_too(centre: CentreAtWork) -> None:
    case = (await centre.create()).case
    request = intake_pb2.AddPartyRequest(case_id=case.case_id, party=person("后来者", phone="13904785678"))
    await centre.cases("window-clerk-2").AddParty(request)
    assert await found(centre, phone="13904785678") == [case.case_id]


async def test_a_search_shows_no_more_than_the_caller_may_see(centre: CentreAtWork) -> None:
    case = (await centre.create()).case
    assert await found(centre, "dispatcher", phone="13904781234") == [], "another county"
    assert (await refused(found(centre, "county-leader-2", phone="13904781234"))).reason == "PERMISSION_MISSING"
    assert await found(centre, "police-desk-2", phone="13904781234") == [], "no task of the case"
    assert await found(centre, phone="13904781234") == [case.case_id]


async def test_a_search_stands_in_the_audit_and_what_was_looked_for_nowhere(centre: CentreAtWork) -> None:
    await centre.create()
    await found(centre, phone="13904781234")
    await found(centre, id_number=APPLICANT_ID)
    rows = await centre.world.rows("cases", "select account, by, found from party_search order by id")
    assert {tuple(row) for row in rows} == {("window-clerk-2", "phone", 1), ("window-clerk-2", "id_number", 1)}
    audited = await centre.world.rows("cases", "select actor from audit where entity = 'party_search'")
    assert [row["actor"] for row in audited] == ["window-clerk-2"] * 2
    for table in ("audit", "party_search", "party_key", "step"):
        said = str(await centre.world.rows("cases", f"select t::text from {table} t"))
        assert "13904781234" not in said
        assert APPLICANT_ID not in said


@pytest.mark.parametrize(
    ("who", "reason", "field"),
    [
        ({}, "SEARCH_ONE_OF", "phone"),
        ({"phone": "13904781234", "id_number": APPLICANT_ID}, "SEARCH_ONE_OF", "phone"),
        ({"phone": "12345678901"}, "PHONE_INVALID", "phone"),
        ({"id_number": "150826198001010014"}, "ID_NUMBER_INVALID", "id_number"),
    ],
)
async def test_a_search_is_for_one_whole_number(
    centre: CentreAtWork, who: dict[str, str], reason: str, field: str
) -> None:
    refusal = await refused(found(centre, **who))
    assert (refusal.code, refusal.reason, refusal.fields) == ("INVALID_ARGUMENT", reason, [field])


async def test_parties_from_before_are_given_their_keys(centre: CentreAtWork) -> None:
    case = (await centre.create()).case
    runtime = centre.world.platform.services["cases"].runtime
    await runtime.pool.execute("delete from party_key")
    assert await found(centre, phone="13904781234") == []
    await runtime.transact(expect_keys, action="test")
    await centre.world.platform.fire()
    assert await found(centre, phone="13904781234") == [case.case_id]
    await runtime.transact(fill_keys, action="test")  # again: nothing to do
    await runtime.transact(expect_keys, action="test")
    assert await centre.world.rows("cases", "select from timer where kind = 'cases.partyKeys'") == []
    after = (await centre.world.rows("cases", "select after from party_key_fill"))[0]["after"]
    assert after != UUID(int=0)
    assert FILLED_AT_ONCE > 2
