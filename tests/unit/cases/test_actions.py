"""What a case says may be done with it is true: what is listed as allowed succeeds, what is refused is refused with that very reason, and what is not
listed is refused to this caller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from grpc.aio import AioRpcError

from hetao.cases.v1 import (
    case_pb2,
    cases_pb2_grpc,
    front_pb2,
    handling_pb2,
    supervisions_pb2_grpc,
    suspensions_pb2,
    suspensions_pb2_grpc,
    tasks_pb2_grpc,
    types_pb2,
)
from kit.actions import name_of
from kit.rpc.methods import writes
from services.cases.service.actions import ON_CASE, ON_TASK
from services.gateway import contracts
from services.gateway.binding import bindings
from tests.contract.samples import sample
from tests.unit.cases.conftest import JUSTICE, LABOUR, UNION, CentreAtWork
from tests.unit.cases.test_front import works_here
from tests.unit.cases.test_suspensions import Suspending
from tests.world import Refusal

#: Those of the centre, of its departments, and who looks on.
PEOPLE = (
    *("window-clerk-2", "dispatcher-2", "centre-director-2", "follow-up-clerk-2", "department-officer-2"),
    *("justice-officer-2", "union-officer-2", "township-leader-2", "county-leader-2", "dispatcher", "auditor-2"),
)

STUBS: dict[str, Any] = {
    "CaseService": cases_pb2_grpc.CaseServiceStub,
    "TaskService": tasks_pb2_grpc.TaskServiceStub,
    "SuspensionService": suspensions_pb2_grpc.SuspensionServiceStub,
    "SupervisionService": supervisions_pb2_grpc.SupervisionServiceStub,
}

METHODS = {method.name: method for s in contracts.services() for method in s.methods if contracts.owner(s) == "cases"}


async def given_to_two(centre: CentreAtWork) -> case_pb2.Case:
    """Labour leads, justice helps; the union is free."""
    lead = handling_pb2.Assignment(department_id=LABOUR, lead=True)
    return await centre.dispatch(await centre.accepted(), lead, handling_pb2.Assignment(department_id=JUSTICE))


async def registered(centre: CentreAtWork) -> case_pb2.Case:
    return (await centre.create()).case


async def alone(centre: CentreAtWork) -> case_pb2.Case:
    """With one party."""
    return await centre.accepted(parties=[centre.request().parties[0]])


async def asked_for_papers(centre: CentreAtWork) -> case_pb2.Case:
    case = await registered(centre)
    request = front_pb2.AskSupplementRequest(case_id=case.case_id, words="请带来劳动合同")
    return (await centre.cases("dispatcher-2").AskSupplement(request)).case  # type: ignore[no-any-return]


async def unclassified(centre: CentreAtWork) -> case_pb2.Case:
    return await centre.accept((await centre.create()).case)


async def signed_in(centre: CentreAtWork) -> case_pb2.Case:
    case = await centre.dispatched()
    for task in case.tasks:
        await centre.sign_in(case, task)
    return case


async def not_accepted(centre: CentreAtWork) -> case_pb2.Case:
    case = await registered(centre)
    request = sample(METHODS["RefuseCase"], {"case_id": case.case_id, "ground": "in_litigation"})
    return (await centre.cases("dispatcher-2").RefuseCase(request)).case  # type: ignore[no-any-return]


async def transferred(centre: CentreAtWork) -> case_pb2.Case:
    case = await registered(centre)
    request = sample(METHODS["TransferCase"], {"case_id": case.case_id, "number": "110"})
    return (await centre.cases("dispatcher-2").TransferCase(request)).case  # type: ignore[no-any-return]


async def returned(centre: CentreAtWork) -> case_pb2.Case:
    case = await centre.dispatched()
    await centre.give_back(case, case.tasks[1])
    return case


async def returned_again(centre: CentreAtWork) -> case_pb2.Case:
    case = await returned(centre)
    case = await centre.decide_return(case, case.tasks[1], upheld=True, department_id=UNION)
    await centre.give_back(case, case.tasks[-1])
    return case


async def asked_for_more(centre: CentreAtWork) -> case_pb2.Case:
    case = await signed_in(centre)
    await centre.ask_extension(case, case.tasks[1])
    return case


async def suspension_asked(centre: CentreAtWork) -> case_pb2.Case:
    case = await given_to_two(centre)
    await Suspending(centre).ask(case, by="dispatcher-2")
    return case


async def suspended(centre: CentreAtWork) -> case_pb2.Case:
    case = await given_to_two(centre)
    await Suspending(centre).suspend(case)
    return case


async def at_a_desk(centre: CentreAtWork) -> case_pb2.Case:
    return await centre.dispatch(await centre.accepted(), handling_pb2.Assignment(desk="court", lead=True))


async def reviewed(centre: CentreAtWork) -> case_pb2.Case:
    return await centre.review(await centre.answered(), types_pb2.REVIEW_DECISION_APPROVE)


async def sent_back(centre: CentreAtWork) -> case_pb2.Case:
    return await centre.review(await centre.answered(), types_pb2.REVIEW_DECISION_SEND_BACK)


async def closed(centre: CentreAtWork) -> case_pb2.Case:
    case = await centre.concluded()
    for party in case.parties:
        case = await centre.ask(case, party)
    return case


async def unsolved(centre: CentreAtWork) -> case_pb2.Case:
    case = await centre.concluded()
    return await centre.ask(case, case.parties[0], types_pb2.SOLVED_NO)


async def not_content(centre: CentreAtWork) -> case_pb2.Case:
    case = await centre.concluded()
    await centre.ask(case, case.parties[0], satisfaction=types_pb2.SATISFACTION_DISSATISFIED)
    return await centre.ask(case, case.parties[1])


async def settled(centre: CentreAtWork) -> case_pb2.Case:
    """Without an agreement."""
    return await centre.conclude(await centre.accepted(), types_pb2.OUTCOME_OWN_SETTLEMENT)


async def to_perform(centre: CentreAtWork) -> case_pb2.Case:
    """Everybody was asked, a part is performed."""
    case = await centre.concluded(perform_by="2026-03-31")
    for party in case.parties:
        await centre.ask(case, party)
    return await centre.perform(case, types_pb2.PERFORMANCE_PARTLY_PERFORMED, perform_by="2026-03-31")


async def reopened(centre: CentreAtWork) -> case_pb2.Case:
    return await centre.reopened(await centre.concluded())


async def reopened_twice(centre: CentreAtWork) -> case_pb2.Case:
    """And closed: the director alone takes it up again."""
    case = await centre.conclude(await centre.accepted())
    for _ in range(2):
        case = await centre.conclude(await centre.reopened(case))
    for party in case.parties:
        case = await centre.ask(case, party)
    return case


#: Every state of a case, and its tasks in every state of theirs on the way.
STAGES: dict[str, Callable[[CentreAtWork], Awaitable[case_pb2.Case]]] = {
    "registered": registered,
    "asked for papers": asked_for_papers,
    "not accepted": not_accepted,
    "transferred": transferred,
    "accepted": CentreAtWork.accepted,
    "accepted, one party": alone,
    "accepted, not classified": unclassified,
    "dispatched": given_to_two,
    "signed in": signed_in,
    "returned": returned,
    "returned again": returned_again,
    "asked for more time": asked_for_more,
    "at a desk": at_a_desk,
    "suspension asked": suspension_asked,
    "suspended": suspended,
    "answered": CentreAtWork.answered,
    "sent back": sent_back,
    "reviewed": reviewed,
    "concluded": CentreAtWork.concluded,
    "unsolved": unsolved,
    "not content": not_content,
    "settled": settled,
    "to be performed": to_perform,
    "reopened": reopened,
    "reopened twice": reopened_twice,
    "closed": closed,
}


def decision_of(method: MethodDescriptor, case: case_pb2.Case) -> int:
    if method.name == "DecideReturn":
        return types_pb2.RETURN_DECISION_OVERRULED
    if method.name == "DecideExtension":
        return types_pb2.EXTENSION_DECISION_GRANTED
    waits = case.state == types_pb2.CASE_STATE_RESULT_SUBMITTED
    return types_pb2.REVIEW_DECISION_APPROVE if waits else types_pb2.REVIEW_DECISION_SEND_BACK


def request_for(
    method: MethodDescriptor, case: case_pb2.Case, photo: str, task: case_pb2.Task | None = None
) -> Message:
    """One that nothing but the state and the caller can refuse."""
    new = JUSTICE if any(one.department_id == UNION for one in case.tasks) else UNION
    given: dict[str, Any] = {
        "case_id": case.case_id,
        "task_id": task.task_id if task else "",
        "party_id": min(case.parties, key=lambda one: one.follow_up.contacted).party_id,
        "ground": {
            "ReturnTask": "not_competent",
            "ReopenCase": "wrongly_handled",
            "RequestSuspension": "appraisal",
        }.get(method.name, "in_litigation"),
        "suspension_id": case.suspension_id or str(uuid4()),
        "approve": True,
        "number": "110",
        "category": "10",
        "department_id": {"ReplaceLead": new, "ReassignTask": UNION}.get(
            method.name, task.department_id if task else ""
        ),
        "reason": "情况属实",
        "note": "已带来",
        "words": "请带来劳动合同",
        "account": "window-clerk-2",
        "days": 1,
        "contacted": True,
        "solved": types_pb2.SOLVED_YES,
        "decision": decision_of(method, case),
        "outcome": types_pb2.OUTCOME_OWN_SETTLEMENT,
        "performance": types_pb2.PERFORMANCE_PERFORMED
        if case.agreement.performance != types_pb2.PERFORMANCE_PERFORMED
        else types_pb2.PERFORMANCE_IN_DEFAULT,
    }
    made = sample(method, given)
    for name in ("task_ids", "media_ids", "etag", "request_id"):
        if name in made.DESCRIPTOR.fields_by_name:
            made.ClearField(name)
    if isinstance(made, suspensions_pb2.RequestSuspensionRequest):
        made.media_ids.append(photo)
    if method.name == "DecideReturn":
        made.ClearField("department_id")
    if isinstance(made, handling_pb2.DispatchCaseRequest):
        made.assignments[0].CopyFrom(handling_pb2.Assignment(desk="procuratorate", lead=not case.tasks))
    return made


async def outcome(centre: CentreAtWork, method: MethodDescriptor, request: Message, account: str) -> str:
    """The reason of a refusal, "" for an answer."""
    stub = centre.world.stub(STUBS[method.containing_service.name], "cases", account)
    try:
        await getattr(stub, method.name)(request)
    except AioRpcError as error:
        return Refusal(error).reason
    return ""


async def seen(centre: CentreAtWork, case: case_pb2.Case, account: str) -> case_pb2.Case | None:
    try:
        return await centre.get(case, account)
    except AioRpcError:
        return None


@pytest.mark.parametrize("stage", STAGES)
async def test_what_is_listed_is_what_happens(centre: CentreAtWork, stage: str) -> None:
    centre.dispatched = partial(given_to_two, centre)  # type: ignore[method-assign]
    await works_here(centre, "window-clerk-2")
    case = await centre.get(await STAGES[stage](centre))
    photo = await centre.upload()
    wrong: list[str] = []
    allowed: list[tuple[str, MethodDescriptor, int | None]] = []
    for account in PEOPLE:
        shown = await seen(centre, case, account)
        resources: list[tuple[Any, Any, int | None]] = [(ON_CASE, shown, None)]
        resources += [(ON_TASK, shown.tasks[n] if shown and shown.tasks else None, n) for n in range(len(case.tasks))]
        for lines, resource, nth in resources:
            listed = {one.name: one for one in resource.allowed_actions} if resource is not None else {}
            for line in lines:
                told = listed.get(line.name)
                if told is not None and told.allowed:
                    allowed.append((account, line.method, nth))
                    continue
                task = None if nth is None else case.tasks[nth]
                said = await outcome(centre, line.method, request_for(line.method, case, photo, task), account)
                if told is None and not said:
                    wrong.append(f"{account} is not told of {line.name}, and could")
                elif told is not None and (said != told.reason or not told.sentence.zh or not told.sentence.en):
                    wrong.append(f"{account} is told that {line.name} is {told.reason}, and it is {said or 'done'}")
    assert await centre.get(case) == case, "a refusal changed something"
    for account, method, nth in allowed:
        fresh = await centre.get(await STAGES[stage](centre))
        task = None if nth is None else fresh.tasks[nth]
        if said := await outcome(centre, method, request_for(method, fresh, photo, task), account):
            wrong.append(f"{account} is told to go on with {method.name}, and it is {said}")
    assert not wrong, "\n".join(wrong)


async def test_the_table_misses_no_rpc() -> None:
    """Whatever changes a case or a task by its path is a line of the table."""
    listed = {line.method.full_name for line in (*ON_CASE, *ON_TASK)}
    on_a_case = {
        method.full_name
        for method in METHODS.values()
        if writes(method)
        and "case_id" in method.input_type.fields_by_name
        and next(iter(bindings(method))).verb != "GET"  # what is printed is read, though the look is audited
    }
    assert on_a_case <= listed, "a line of services/cases/service/actions.py is missing"
    for lines in (ON_CASE, ON_TASK):
        names = [line.name for line in lines]
        assert len(names) == len(set(names))


async def test_a_dispatcher_is_told_what_is_missing(centre: CentreAtWork) -> None:
    case = await unclassified(centre)
    told = {one.name: one for one in case.allowed_actions}
    assert told["classify"].allowed
    assert not told["dispatch"].allowed
    assert told["dispatch"].reason == "NOT_CLASSIFIED"
    assert told["accept"].reason == "MOVE_NOT_ALLOWED"
    assert "已受理" in told["accept"].sentence.zh
    assert "recordFollowUp" not in told, "a dispatcher never asks the parties"
    assert [one.name for one in case.allowed_actions][:3] == ["accept", "refuse", "transfer"]


async def test_lists_and_stages_say_nothing_of_it(centre: CentreAtWork) -> None:
    said = case_pb2.Classification(category="01")  # restricted
    case = (await centre.create("dispatcher-2", accept=True, classification=said)).case
    assert case.allowed_actions
    leader = await centre.get(case, "county-leader-2")
    assert leader.stage_only
    assert not leader.allowed_actions
    (row,) = (await centre.cases("dispatcher-2").ListCases(sample(METHODS["ListCases"], {}))).cases
    assert not row.allowed_actions


def test_an_action_is_called_by_its_path() -> None:
    assert name_of(METHODS["DispatchCase"]) == "dispatch"
    assert name_of(METHODS["SubmitTaskResult"]) == "submitResult"
    assert name_of(METHODS["AddParty"]) == "addParty"
    assert name_of(METHODS["RevealParty"]) == "reveal"
