"""The hint that the same quarrel is here already."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

from hetao.cases.v1 import case_pb2, types_pb2
from kit.unit import Unit
from services.cases.store import cases as store
from tests.unit.cases.conftest import APPLICANT_ID, CentreAtWork, department, person

ZHANG, LI = person("张伟"), person("李强", types_pb2.PARTY_ROLE_RESPONDENT)


def classified(category: str) -> case_pb2.Classification:
    return case_pb2.Classification(category=category)


async def test_the_same_two_parties_in_either_order_are_hinted_at(centre: CentreAtWork) -> None:
    first = await centre.create(parties=[ZHANG, LI], classification=classified("02"))
    assert list(first.duplicates) == []
    turned = await centre.create(parties=[LI, ZHANG], classification=classified("02"))
    assert [(one.case_id, one.code) for one in turned.duplicates] == [(first.case.case_id, first.case.code)]
    third = await centre.create(parties=[person("王芳"), ZHANG, LI], classification=classified("02"))
    assert len(third.duplicates) == 2


async def test_another_category_another_pair_or_a_month_later_is_another_matter(centre: CentreAtWork) -> None:
    await centre.create(parties=[ZHANG, LI], classification=classified("02"))
    assert not (await centre.create(parties=[ZHANG, LI], classification=classified("10"))).duplicates
    assert not (await centre.create(parties=[ZHANG, person("王芳")], classification=classified("02"))).duplicates
    assert len((await centre.create(parties=[ZHANG, LI])).duplicates) == 2  # not classified yet: may be either
    await centre.world.travel(timedelta(days=31))
    assert not (await centre.create(parties=[ZHANG, LI], classification=classified("02"))).duplicates


async def test_numbers_find_what_names_written_otherwise_do_not(centre: CentreAtWork) -> None:
    number = "152827194903140028"
    first = [person("张伟", id_number=APPLICANT_ID), person("李强", id_number=number)]
    again = [person("李 强（二组）", id_number=number), person("张玮", id_number=APPLICANT_ID)]
    await centre.create(parties=first, classification=classified("02"))
    assert len((await centre.create(parties=again, classification=classified("02"))).duplicates) == 1


async def test_what_the_caller_cannot_open_is_not_hinted_at(centre: CentreAtWork) -> None:
    """That a case is there would already tell who quarrels with whom."""
    case = (await centre.create(parties=[ZHANG, LI], classification=classified("02"))).case

    async def at_a_township(unit: Unit) -> None:
        row = await store.CASES.get(unit, UUID(case.case_id))
        await store.CASES.save(unit, replace(row, centre=department("150826100-centre")))

    await centre.world.platform.services["cases"].runtime.transact(at_a_township, action="test")
    assert list((await centre.create(parties=[ZHANG, LI], classification=classified("02"))).duplicates) == []
    own = await centre.create(parties=[ZHANG, LI], classification=classified("02"))
    assert len(own.duplicates) == 1  # the county centre's own case alone


async def test_hints_are_few(centre: CentreAtWork) -> None:
    for _ in range(7):
        await centre.create(parties=[ZHANG, LI], classification=classified("02"))
        await centre.world.travel(timedelta(minutes=1))
    duplicates = (await centre.create(parties=[ZHANG, LI], classification=classified("02"))).duplicates
    assert len(duplicates) == 5
    newest_first = sorted(duplicates, key=lambda one: one.registered_at.ToMilliseconds(), reverse=True)
    assert list(duplicates) == newest_first


async def test_a_party_that_was_added_later_counts_too(centre: CentreAtWork) -> None:
    from hetao.cases.v1 import intake_pb2

    case = (await centre.create(parties=[ZHANG], classification=classified("02"))).case
    await centre.cases("window-clerk-2").AddParty(intake_pb2.AddPartyRequest(case_id=case.case_id, party=LI))
    again = await centre.create(parties=[LI, ZHANG], classification=classified("02"))
    assert [one.case_id for one in again.duplicates] == [case.case_id]
