"""A party looks its case up by code and PIN, and nobody else does."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from hetao.cases.v1 import case_pb2, handling_pb2, intake_pb2, types_pb2
from kit.upkeep import clean_once
from services.cases import model
from tests.unit.cases.conftest import JUSTICE, LABOUR, CentreAtWork
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


async def steps(centre: CentreAtWork, receipt: case_pb2.Receipt) -> list[str]:
    """What a party reads of its case, in Chinese."""
    return [step.sentence.zh for step in (await centre.look_up(receipt.code, receipt.pin)).steps]


async def test_a_party_reads_few_steps_and_none_twice(centre: CentreAtWork) -> None:
    answer = await centre.create("dispatcher-2", accept=True, classification=case_pb2.Classification(category="10"))
    case, respondent = answer.case, answer.receipts[1]
    lead = handling_pb2.Assignment(department_id=LABOUR, lead=True, limit_days=5)
    case = await centre.dispatch(case, lead, handling_pb2.Assignment(department_id=JUSTICE, limit_days=3))
    begun = ["已在杭锦后旗综治中心登记", "已受理，办理期限至 2026-03-11", "已分派杭锦后旗人社局、杭锦后旗司法局办理"]
    assert await steps(centre, respondent) == begun
    for task in reversed(case.tasks):
        await centre.sign_in(case, task)
        await centre.submit(case, task)
    review = "承办部门已提交办理结果，由中心审核"
    assert await steps(centre, respondent) == [*begun, review]
    await centre.review(case, types_pb2.REVIEW_DECISION_SEND_BACK)
    seen = await centre.look_up(respondent.code, respondent.pin)
    assert [step.sentence.zh for step in seen.steps] == begun  # as its stage says: it is being worked on
    assert seen.stage.zh.startswith("承办部门正在办理")
    await centre.submit(case, case.tasks[0])
    assert await steps(centre, respondent) == [*begun, review]
    await centre.review(case, types_pb2.REVIEW_DECISION_APPROVE)
    await centre.conclude(case)
    concluded = [*begun, review, "已办结：书面调解协议", "协议已履行"]
    assert await steps(centre, respondent) == concluded
    await centre.ask(case, case.parties[0])
    await centre.ask(case, case.parties[1])
    assert await steps(centre, respondent) == [*concluded, "已结案"]


async def test_no_party_learns_what_another_told_the_follow_up_clerk(centre: CentreAtWork) -> None:
    answer = await centre.create("dispatcher-2", accept=True, classification=case_pb2.Classification(category="10"))
    case, respondent = await centre.conclude(answer.case), answer.receipts[1]
    case = await centre.reopened(case)
    seen = await centre.look_up(respondent.code, respondent.pin)
    last = seen.steps[-1].sentence
    assert (last.zh, last.en) == ("重新办理，期限至 2026-03-09", "Taken up again, due 2026-03-09")
    for word in ("未解决", "反映", "solved", "party says"):
        assert word not in str(seen)
        assert word not in seen.stage.zh + seen.stage.en + last.zh + last.en
    told = [entry.sentence.zh for entry in await centre.timeline(case)]
    assert any(sentence.startswith("重新办理：当事人反映未解决") for sentence in told)


async def test_who_was_not_accepted_or_transferred_reads_where_to_turn(centre: CentreAtWork) -> None:
    answer = await centre.create()
    request = intake_pb2.RefuseCaseRequest(case_id=answer.case.case_id, ground="in_litigation", channel="人民法院")
    await centre.cases("dispatcher-2").RefuseCase(request)
    assert (await steps(centre, answer.receipts[0]))[1:] == ["不予受理：已进入诉讼、仲裁或行政复议；请向人民法院反映"]
    answer = await centre.create()
    transfer = intake_pb2.TransferCaseRequest(case_id=answer.case.case_id, number="110")
    await centre.cases("window-clerk-2").TransferCase(transfer)
    assert (await steps(centre, answer.receipts[0]))[1:] == ["已即时移送 110"]


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


async def test_old_guards_are_forgotten_also_of_codes_that_are_not_there(centre: CentreAtWork) -> None:
    day, runtime = centre.world.clock.now().date(), centre.world.platform.services["cases"].runtime
    code = (await centre.create()).case.code
    for typed in (code, *(model.case_code("150826", day, 900_000 + number) for number in range(3))):
        await refused(centre.look_up(typed, "000000"))
    await centre.world.travel(timedelta(days=1))
    await refused(centre.look_up(code, "000000"))
    assert await clean_once(runtime) == 0
    await centre.world.travel(timedelta(days=1, minutes=1))
    assert await clean_once(runtime) == 3
    rows = await centre.world.rows("cases", "select code, failures from lookup_guard")
    assert [tuple(row) for row in rows] == [(code, 2)]


async def test_the_pin_is_kept_nowhere_in_the_clear(centre: CentreAtWork) -> None:
    answer = await centre.create(request_id="once")
    for table in ("case_file", "party", "step", "reply", "outbox"):
        text = str(await centre.world.rows("cases", f"select * from {table}"))
        for receipt in answer.receipts:
            assert f"'{receipt.pin}'" not in text
        for secret in ("赵秀英", "150826198001010013", "13904781234", "工伤待遇纠纷"):
            assert secret not in text
