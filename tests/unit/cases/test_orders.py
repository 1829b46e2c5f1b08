"""Orders of other systems: one case for each, by their own numbers, and news of them alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hetao.cases.v1 import case_pb2, cases_pb2_grpc, feed_pb2, feed_pb2_grpc, intake_pb2, types_pb2
from kit.register import System
from tests.unit.cases.conftest import CentreAtWork, department, person
from tests.world import World, _Signed, refused

CENTRE = department("150826-centre")
HOTLINE = "system-12345"


class Outside:
    """A registered system at work."""

    def __init__(
        self, world: World, account: str = HOTLINE, *divisions: str, roles: tuple[str, ...] = ("intake-system",)
    ):
        verifier = world.platform.services["cases"].runtime.verifier
        system = System(account, roles, divisions or ("150826",), None, enabled=True)
        verifier.register.change([system], [], whole=False, now=world.clock.now().timestamp())
        assert verifier._systems
        signed: Any = _Signed(world.platform.channel("cases"), verifier._systems.mint(account, 30))
        self.cases, self.feed = cases_pb2_grpc.CaseServiceStub(signed), feed_pb2_grpc.CaseFeedServiceStub(signed)

    async def place(self, number: str = "20260302-0001", **more: Any) -> intake_pb2.CreateCaseResponse:
        values: dict[str, Any] = {
            "division": "150826",
            "title": "暖气不热",
            "description": "室温只有14度",
            "external_id": number,
            "external_category": "TS-GR",
            "parties": [person(phone="13904781234")],
        }
        answer: intake_pb2.CreateCaseResponse = await self.cases.CreateCase(
            intake_pb2.CreateCaseRequest(**(values | more))
        )
        return answer

    async def news(self, token: str = "", size: int = 0) -> feed_pb2.ListCaseChangesResponse:
        answer: feed_pb2.ListCaseChangesResponse = await self.feed.ListCaseChanges(
            feed_pb2.ListCaseChangesRequest(page_token=token, page_size=size)
        )
        return answer


@pytest.fixture
def hotline(world: World) -> Outside:
    return Outside(world)


async def test_an_order_becomes_a_case_by_the_mapping_of_its_system(hotline: Outside, centre: CentreAtWork) -> None:
    answer = await hotline.place()
    assert (answer.existing, answer.case.state) == (False, types_pb2.CASE_STATE_REGISTERED)
    assert (answer.case.stage_only, answer.case.title) == (True, "")  # what a hotline brings it does not read here
    assert len(answer.receipts[0].pin) == 6
    case = await centre.get(answer.case)
    assert (case.kind, case.classification.category) == (types_pb2.KIND_DISPUTE, "X05")
    assert (case.source, case.source_system, case.external_id) == (
        types_pb2.SOURCE_HOTLINE, HOTLINE, "20260302-0001",
    )  # fmt: skip
    assert not case.HasField("first_receiver")
    notices = await centre.notices("cases.order_registered")
    assert [(one.department_id, one.post) for one in notices[0].recipients] == [(CENTRE, "dispatcher")]
    assert (await centre.accept(case)).first_receiver.account == "dispatcher-2"


async def test_the_same_order_again_is_the_same_case_as_it_is_now(hotline: Outside, centre: CentreAtWork) -> None:
    first = await hotline.place()
    await centre.accept(first.case)
    again = await hotline.place()
    assert (again.existing, again.case.case_id, list(again.receipts)) == (True, first.case.case_id, [])
    assert again.case.state == types_pb2.CASE_STATE_ACCEPTED
    assert len(await centre.world.rows("cases", "select from case_file")) == 1
    assert (await hotline.place("20260302-0002")).existing is False


async def test_the_same_order_from_all_sides_at_once_is_one_case(hotline: Outside, centre: CentreAtWork) -> None:
    answers = await asyncio.gather(*(hotline.place() for _ in range(6)))
    assert len({answer.case.case_id for answer in answers}) == 1
    assert sorted(answer.existing for answer in answers) == [False] + [True] * 5
    assert len(await centre.world.rows("cases", "select from case_file")) == 1


@pytest.mark.parametrize(
    ("change", "differing"),
    [
        ({"title": "暖气漏水"}, "title"),
        ({"parties": [person("钱大有")]}, "parties"),
        ({"division": "150826108", "place": "蒙海镇"}, "division, place"),
        ({"external_category": "TS-WY"}, "classification, external_category"),
    ],
)
async def test_another_order_under_the_same_number_is_refused_by_what_differs(
    hotline: Outside, centre: CentreAtWork, change: dict[str, Any], differing: str
) -> None:
    await hotline.place()
    refusal = await refused(hotline.place(**change))
    assert (refusal.code, refusal.reason, refusal.fields) == ("ALREADY_EXISTS", "ORDER_DIFFERS", ["external_id"])
    assert refusal.params["differing"] == differing
    assert "钱大有" not in refusal.zh + refusal.en
    assert len(await centre.world.rows("cases", "select from case_file")) == 1


async def test_numbers_are_a_systems_own(world: World, hotline: Outside, centre: CentreAtWork) -> None:
    other = Outside(world, "system-letters")
    code = {"external_category": "", "kind": types_pb2.KIND_PETITION}
    one, two = await hotline.place("7"), await other.place("7", **code)
    assert one.case.case_id != two.case.case_id
    assert (await centre.get(two.case)).source == types_pb2.SOURCE_DEPARTMENT
    assert [change.code for change in (await hotline.news()).changes] == [one.case.code]
    assert [change.code for change in (await other.news()).changes] == [two.case.code]


async def test_a_system_learns_of_its_orders_as_they_are_now_each_change_once(
    hotline: Outside, centre: CentreAtWork
) -> None:
    await centre.create()  # somebody else's
    cases = [(await hotline.place(str(n))).case for n in range(3)]
    first = await hotline.news(size=2)
    assert [(one.external_id, one.state) for one in first.changes] == [
        ("0", types_pb2.CASE_STATE_REGISTERED), ("1", types_pb2.CASE_STATE_REGISTERED),
    ]  # fmt: skip
    rest = await hotline.news(first.next_page_token)
    assert (first.more, rest.more, [one.external_id for one in rest.changes]) == (True, False, ["2"])
    nothing = await hotline.news(rest.next_page_token)
    assert (list(nothing.changes), nothing.more, bool(nothing.next_page_token)) == ([], False, True)

    await centre.accept(cases[1])
    refuse = intake_pb2.RefuseCaseRequest(case_id=cases[0].case_id, ground="in_litigation", channel="法院")
    await centre.cases("dispatcher-2").RefuseCase(refuse)
    seen = await hotline.news(nothing.next_page_token)
    assert [(one.external_id, one.state, one.ground) for one in seen.changes] == [
        ("1", types_pb2.CASE_STATE_ACCEPTED, ""), ("0", types_pb2.CASE_STATE_NOT_ACCEPTED, "in_litigation"),
    ]  # fmt: skip
    assert (seen.changes[0].HasField("accepted_at"), seen.changes[1].HasField("closed_at")) == (True, True)
    assert list((await hotline.news(seen.next_page_token)).changes) == []
    assert "法院" not in str(seen)


async def test_the_news_of_many_at_once_are_all_seen(hotline: Outside, centre: CentreAtWork) -> None:
    seen: list[str] = []

    async def read() -> None:
        token = ""
        while len(seen) < 20:
            answer = await hotline.news(token, size=3)
            seen.extend(one.external_id for one in answer.changes)
            token = answer.next_page_token

    reading = asyncio.create_task(read())
    await asyncio.gather(*(hotline.place(str(n)) for n in range(20)))
    await asyncio.wait_for(reading, 60)
    assert sorted(seen, key=int) == [str(n) for n in range(20)]


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"division": "150802"}, "DIVISION_FOREIGN", "division"),
        ({"external_category": "XX"}, "CODE_UNKNOWN", "external_category"),
        ({"external_category": ""}, "KIND_MISSING", "kind"),
        ({"source": types_pb2.SOURCE_WALK_IN}, "SOURCE_NOT_OWN", "source"),
        ({"source_system": "system-letters"}, "ORDER_NOT_OWN", "source_system"),
        ({"external_id": "有空格 号"}, "REQUEST_INVALID", "external_id"),
    ],
)
async def test_a_system_keeps_to_what_is_its_own(
    hotline: Outside, change: dict[str, Any], reason: str, field: str
) -> None:
    refusal = await refused(hotline.place(**change))
    assert (refusal.reason, refusal.fields) == (reason, [field])


async def test_a_system_registers_and_does_no_more(world: World, hotline: Outside) -> None:
    case = (await hotline.place()).case
    accept = await refused(hotline.place("2", accept=True))
    assert (accept.code, accept.reason) == ("PERMISSION_DENIED", "PERMISSION_MISSING")
    assert (await refused(hotline.place("2", transfer_to="110"))).reason == "PERMISSION_MISSING"
    request = intake_pb2.AcceptCaseRequest(case_id=case.case_id)
    assert (await refused(hotline.cases.AcceptCase(request))).reason == "PERMISSION_MISSING"
    reader = Outside(world, "system-figures", roles=("statistics-system",))
    assert (await refused(reader.place())).reason == "PERMISSION_MISSING"
    assert (await refused(reader.news())).reason == "PERMISSION_MISSING"


@pytest.mark.parametrize(
    ("more", "field"),
    [({"source_system": HOTLINE}, "source_system"), ({"external_id": "1"}, "external_id"), ({"external_category": "TS"}, "external_id")],
)  # fmt: skip
async def test_people_bring_no_orders(centre: CentreAtWork, more: dict[str, str], field: str) -> None:
    refusal = await refused(centre.create(**more))
    assert (refusal.code, refusal.reason, refusal.fields) == ("PERMISSION_DENIED", "ORDER_NOT_OWN", [field])


@pytest.mark.parametrize("source", [types_pb2.SOURCE_HOTLINE, types_pb2.SOURCE_ONLINE, types_pb2.SOURCE_DEPARTMENT])
async def test_a_clerk_says_by_which_way_it_came(centre: CentreAtWork, source: int) -> None:
    assert (await centre.create(source=source)).case.source == source


async def test_an_order_without_a_number_is_registered_and_told_of(hotline: Outside, centre: CentreAtWork) -> None:
    one, two = await hotline.place(""), await hotline.place("")
    assert one.case.case_id != two.case.case_id
    assert [change.code for change in (await hotline.news()).changes] == [one.case.code, two.case.code]
    said: case_pb2.Case = await centre.get(one.case)
    assert (said.source_system, said.external_id) == (HOTLINE, "")
