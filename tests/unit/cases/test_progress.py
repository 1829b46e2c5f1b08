"""A party looks its case up by code and PIN, and nobody else does."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from hetao.cases.v1 import types_pb2
from services.cases import model
from tests.unit.cases.conftest import CentreAtWork
from tests.world import refused


async def test_each_party_sees_its_own_part_and_no_more(centre: CentreAtWork) -> None:
    answer = await centre.create()
    applicant, respondent = answer.receipts
    await centre.accept(answer.case)
    seen = await centre.look_up(applicant.code, applicant.pin)
    assert (seen.role, seen.name) == (types_pb2.PARTY_ROLE_APPLICANT, "赵*")
    assert (await centre.look_up(respondent.code, respondent.pin)).role == types_pb2.PARTY_ROLE_RESPONDENT
    assert "河套酒业" not in str(seen)
    assert "工伤" not in str(seen)
    assert seen.stage.zh.startswith("已受理")
    assert [step.sentence.en for step in seen.steps][-1].startswith("Accepted")
    assert "window-clerk-2" not in str(seen)
    typed = applicant.code.replace("-", " ")
    assert await centre.look_up(typed, applicant.pin) == seen


async def test_a_wrong_pin_and_a_code_that_is_not_there_get_the_same_answer(centre: CentreAtWork) -> None:
    answer = await centre.create()
    pin = answer.receipts[0].pin
    wrong = await refused(centre.look_up(answer.case.code, "xxxxxx"))
    other_code = model.case_code("150826", centre.world.clock.now().date(), 777_777)
    unknown = await refused(centre.look_up(other_code, pin))
    unreadable = await refused(centre.look_up("150826-260302-000017-0", pin))
    assert (wrong.code, wrong.reason) == ("PERMISSION_DENIED", "CODE_OR_PIN_WRONG")
    assert (wrong.code, wrong.reason, wrong.zh) == (unknown.code, unknown.reason, unknown.zh) == (
        unreadable.code, unreadable.reason, unreadable.zh,
    )  # fmt: skip


async def test_five_wrong_tries_lock_the_code_for_a_while_and_longer_each_time(centre: CentreAtWork) -> None:
    answer = await centre.create()
    code, pin = answer.receipts[0].code, answer.receipts[0].pin
    for _ in range(5):
        assert (await refused(centre.look_up(code, "000"))).reason == "CODE_OR_PIN_WRONG"
    locked = await refused(centre.look_up(code, pin))
    assert (locked.code, locked.reason) == ("RESOURCE_EXHAUSTED", "LOOKUP_LOCKED")
    assert "2026-03-02 09:15" in locked.zh
    await centre.world.travel(timedelta(minutes=16))
    assert (await centre.look_up(code, pin)).code == code
    for _ in range(5):
        await refused(centre.look_up(code, "000"))
    await centre.world.travel(timedelta(minutes=16))
    for _ in range(5):
        await refused(centre.look_up(code, "000"))
    await centre.world.travel(timedelta(minutes=16))
    assert (await refused(centre.look_up(code, pin))).reason == "LOOKUP_LOCKED"


async def test_a_code_without_a_case_is_locked_in_the_same_way(centre: CentreAtWork) -> None:
    code = model.case_code("150826", centre.world.clock.now().date(), 777_777)
    reasons = [(await refused(centre.look_up(code, "000000"))).reason for _ in range(6)]
    assert reasons == ["CODE_OR_PIN_WRONG"] * 5 + ["LOOKUP_LOCKED"]


async def test_tries_at_the_same_time_are_counted_one_by_one(centre: CentreAtWork) -> None:
    answer = await centre.create()
    code = answer.case.code
    reasons = await asyncio.gather(*(refused(centre.look_up(code, f"{n:03d}")) for n in range(20)))
    assert [refusal.reason for refusal in reasons].count("CODE_OR_PIN_WRONG") == 5


async def test_old_guards_go_with_the_next_tries(centre: CentreAtWork) -> None:
    day = centre.world.clock.now().date()
    for number in range(3):
        await refused(centre.look_up(model.case_code("150826", day, 900_000 + number), "000000"))
    answer = await centre.create()
    await centre.world.travel(timedelta(days=3))
    for receipt in answer.receipts:
        await centre.look_up(receipt.code, receipt.pin)
    assert await centre.world.rows("cases", "select from lookup_guard") == []


async def test_the_pin_is_kept_nowhere_in_the_clear(centre: CentreAtWork) -> None:
    answer = await centre.create(request_id="once")
    for table in ("case_file", "party", "step", "reply", "outbox"):
        text = str(await centre.world.rows("cases", f"select * from {table}"))
        for receipt in answer.receipts:
            assert f"'{receipt.pin}'" not in text
        for secret in ("赵秀英", "150826198001010013", "13904781234", "工伤待遇纠纷"):
            assert secret not in text
