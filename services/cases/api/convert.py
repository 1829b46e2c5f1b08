"""Resources of the proto from what the domain shows, and the other way round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hetao.cases.v1 import case_pb2, closing_pb2, handling_pb2, supervisions_pb2, suspensions_pb2, types_pb2
from hetao.common.v1 import common_pb2
from kit.proto import given_day, number_of, stamp, text_of
from services.cases.model import (
    ISSUED,
    LAPSED,
    Agreement,
    Assignment,
    CaseFile,
    Classification,
    Party,
    Supplement,
    Suspension,
    Task,
    TaskExtension,
    TaskReturn,
)
from services.cases.service.chain import Chain
from services.cases.service.closing import Conclusion, Found, NewAgreement
from services.cases.service.limits import Limited
from services.cases.service.newcase import NewParty
from services.cases.service.reading import Objection, OpenedTask, Whole
from services.cases.service.supervisions import Opened
from services.cases.service.telling import follow_up_counts


def case(chain: Chain, whole: Whole) -> case_pb2.Case:
    """A case as its caller sees it. Who may know the stage alone gets code, place, stage and times."""
    file = whole.case
    return case_pb2.Case(
        case_id=str(file.id),
        code=file.code,
        kind=number_of(types_pb2.Kind, file.kind),
        state=number_of(types_pb2.CaseState, file.state),
        source=number_of(types_pb2.Source, file.source),
        division=file.division,
        county=file.county,
        township=file.township,
        community=file.community,
        centre=file.centre,
        centre_name=whole.centre.name,
        stage_only=not whole.full,
        registered_at=stamp(file.registered_at),
        accepted_at=stamp(file.accepted_at),
        deadline=deadline(chain, file) if file.limited else None,
        overdue_since=stamp(file.overdue_since),
        outcome=number_of(types_pb2.Outcome, file.outcome),
        counts_concluded=file.counts_concluded,
        counts_resolved=file.counts_resolved,
        concluded_at=stamp(file.concluded_at),
        closed_at=stamp(file.closed_at),
        reopened_count=file.reopened_count,
        report_id=str(file.report_id or ""),
        suspension_id=str(file.suspension or ""),
        etag=str(file.version),
        **(_substance(chain, whole) if whole.full else {}),
    )


def _substance(chain: Chain, whole: Whole) -> dict[str, Any]:
    """What is shown to those alone who may know the whole case."""
    file = whole.case
    return {
        "title": whole.content["title"],
        "description": whole.content["description"],
        "place": whole.content["place"],
        "occurred_at": stamp(file.occurred_at),
        "media_ids": file.media_ids,
        "parties": [party(row, values) for row, values in whole.parties],
        "classification": case_pb2.Classification(
            category=file.category,
            scale=number_of(types_pb2.Scale, file.scale),
            risk=number_of(types_pb2.Risk, file.risk),
            complexity=number_of(types_pb2.Complexity, file.complexity),
            restricted=file.restricted,
        ),
        "tasks": [task(chain, opened) for opened in whole.tasks],
        "allowed_actions": whole.actions,
        "registered_by": file.registered_by,
        "refusal": case_pb2.Refusal(ground=file.ground, channel=file.channel) if file.ground else None,
        "transferred_to": file.transferred_to,
        "outcome_note": whole.outcome_note,
        "first_receiver": case_pb2.FirstReceiver(account=file.first_receiver, desk=file.first_desk)
        if file.first_receiver
        else None,
        "supplement": supplement(chain, file, *whole.supplement) if whole.supplement else None,
        "source_system": file.source_system,
        "external_id": file.external_id,
        "outcome_channel": file.channel if file.outcome else "",
        "agreement": agreement(file, *whole.agreement) if whole.agreement else None,
        "follow_up": follow_up(file, [row for row, _ in whole.parties]) if file.concluded_at else None,
        "explanation": whole.explanation,
        "reopen_ground": file.reopen_ground,
    }


def agreement(file: CaseFile, row: Agreement, terms: str, note: str) -> case_pb2.Agreement:
    return case_pb2.Agreement(
        form=number_of(types_pb2.AgreementForm, row.form),
        terms=terms,
        perform_by=row.perform_by.isoformat() if row.perform_by else "",
        performance=number_of(types_pb2.Performance, row.state),
        due=file.performance_due,
        recorded_by=row.recorded_by,
        recorded_at=stamp(row.recorded_at),
        note=note,
        media_ids=row.media_ids,
    )


def follow_up(file: CaseFile, parties: Sequence[Party]) -> case_pb2.CaseFollowUp:
    """What a concluded case waits for, and who is still to be asked."""
    return case_pb2.CaseFollowUp(
        awaits=number_of(types_pb2.Awaits, file.awaits),
        to_ask=[
            case_pb2.PartyToAsk(
                party_id=str(row.id),
                tries=row.tries,
                next_try_on=row.next_try_on.isoformat() if row.next_try_on else "",
            )
            for row in parties
            if not row.settled
        ]
        if not file.closed_at
        else [],
        counts=follow_up_counts(file),
    )


def supplement(chain: Chain, file: CaseFile, row: Supplement, words: str) -> case_pb2.Supplement:
    return case_pb2.Supplement(
        papers=row.papers,
        words=words,
        asked_at=stamp(row.asked_at),
        asked_by=row.asked_by,
        deadline=deadline(chain, row) if row.waiting else None,
        brought_at=stamp(row.brought_at),
        waived=row.waived,
        media_ids=row.media_ids,
        times=file.supplements,
    )


def party(row: Party, values: Mapping[str, str]) -> case_pb2.Party:
    """A party with the values that its caller may see."""
    asked = None
    if row.asked_at is not None:
        asked = case_pb2.FollowUp(
            contacted=row.contacted,
            solved=number_of(types_pb2.Solved, row.solved),
            satisfaction=number_of(types_pb2.Satisfaction, row.satisfaction),
            tries=row.tries,
            unreachable=row.unreachable,
            at=stamp(row.asked_at),
            in_time=number_of(types_pb2.InTime, row.in_time),
            effective=row.contacted,
        )
    return case_pb2.Party(
        party_id=str(row.id),
        role=number_of(types_pb2.PartyRole, row.role),
        type=number_of(types_pb2.PartyType, row.type),
        name=values["name"],
        id_number=values["id_number"],
        phone=values["phone"],
        follow_up=asked,
    )


def task(chain: Chain, opened: OpenedTask) -> case_pb2.Task:
    row = opened.task
    return case_pb2.Task(
        task_id=str(row.id),
        case_id=str(row.case_id),
        department_id=row.department,
        department_name=row.department_name,
        desk=row.desk,
        lead=row.lead,
        state=number_of(types_pb2.TaskState, row.state),
        limit_days=row.limit_amount,
        deadline=deadline(chain, row) if row.running else None,
        demand=opened.demand,
        result=opened.result,
        media_ids=row.media_ids,
        dispatched_at=stamp(row.dispatched_at),
        signed_in_at=stamp(row.signed_in_at),
        signed_in_by=row.signed_in_by,
        submitted_at=stamp(row.submitted_at),
        overdue_since=stamp(row.overdue_since),
        rework_count=row.rework_count,
        etag=str(row.version),
        designated=row.designated,
        returns=[task_return(said) for said in opened.returns],
        extended_days=row.extended_days,
        extensions=[task_extension(row, said) for said in opened.extensions],
        ended_at=stamp(row.ended_at),
        ended_note=opened.ended_note,
        follows=str(row.follows or ""),
        allowed_actions=opened.actions,
    )


def task_return(said: Objection[TaskReturn]) -> case_pb2.TaskReturn:
    row = said.row
    return case_pb2.TaskReturn(
        ground=row.ground,
        note=said.asked,
        returned_by=row.returned_by,
        returned_at=stamp(row.returned_at),
        to_director=row.to_director,
        decision=number_of(types_pb2.ReturnDecision, row.decision),
        reason=said.answer,
        decided_by=row.decided_by,
        decided_at=stamp(row.decided_at),
    )


def task_extension(task: Task, said: Objection[TaskExtension]) -> case_pb2.TaskExtension:
    """What nobody decided on before the task was answered or ended has lapsed."""
    row = said.row
    return case_pb2.TaskExtension(
        days=row.days,
        reason=said.asked,
        media_ids=row.media_ids,
        asked_by=row.asked_by,
        asked_at=stamp(row.asked_at),
        decision=number_of(types_pb2.ExtensionDecision, row.decision or ("" if task.asked_days else LAPSED)),
        note=said.answer,
        decided_by=row.decided_by,
        decided_at=stamp(row.decided_at),
    )


def deadline(chain: Chain, row: Limited) -> common_pb2.Deadline:
    return chain.limits.shown(row, chain.runtime.clock.now())


def suspension(row: Suspension, note: str, decision_note: str) -> suspensions_pb2.Suspension:
    return suspensions_pb2.Suspension(
        suspension_id=str(row.id),
        case_id=str(row.case_id),
        state=number_of(types_pb2.SuspensionState, row.state),
        ground=row.ground,
        days=row.days,
        note=note,
        media_ids=row.media_ids,
        requested_by=row.requested_by,
        requested_at=stamp(row.requested_at),
        decided_by=row.decided_by,
        decided_at=stamp(row.decided_at),
        decision_note=decision_note,
        until=stamp(row.ends),
        ended_by=row.ended_by,
        etag=str(row.version),
    )


def supervision(chain: Chain, opened: Opened) -> supervisions_pb2.Supervision:
    order = opened.order
    return supervisions_pb2.Supervision(
        supervision_id=str(order.id),
        number=order.written,
        case_id=str(order.case_id),
        case_code=order.code,
        task_id=str(order.task_id or ""),
        centre=order.centre,
        department_id=order.department,
        department_name=order.department_name,
        state=number_of(types_pb2.SupervisionState, order.state),
        level=order.level,
        demand=opened.demand,
        automatic=order.automatic,
        issued_by=order.issued_by,
        issued_at=stamp(order.issued_at),
        deadline=deadline(chain, order) if order.state == ISSUED else None,
        reply=opened.reply,
        media_ids=order.media_ids,
        replied_by=order.replied_by,
        replied_at=stamp(order.replied_at),
        sent_back_count=order.sent_back_count,
        released_by=order.released_by,
        released_at=stamp(order.released_at),
        overdue_since=stamp(order.overdue_since),
        etag=str(order.version),
    )


def classification(said: case_pb2.Classification) -> Classification:
    return Classification(
        category=said.category,
        scale=text_of(types_pb2.Scale, said.scale),
        risk=text_of(types_pb2.Risk, said.risk),
        complexity=text_of(types_pb2.Complexity, said.complexity),
        restricted=said.restricted if said.HasField("restricted") else None,
    )


def assignment(given: handling_pb2.Assignment, *, lead: bool = False) -> Assignment:
    return Assignment(given.department_id, given.desk, given.lead or lead, given.limit_days, given.demand)


def conclusion(given: handling_pb2.ConcludeCaseRequest) -> Conclusion:
    agreed = None
    if given.HasField("agreement"):
        new = given.agreement
        day = given_day(new.perform_by, "agreement.perform_by") if new.perform_by else None
        agreed = NewAgreement(new.terms, day, new.performed)
    return Conclusion(text_of(types_pb2.Outcome, given.outcome), given.note, given.channel, agreed)


def performance(given: closing_pb2.RecordPerformanceRequest) -> Found:
    rest_by = given_day(given.perform_by, "perform_by") if given.perform_by else None
    return Found(text_of(types_pb2.Performance, given.performance), rest_by, given.note, given.media_ids)


def new_party(given: case_pb2.NewParty, field: str) -> NewParty:
    return NewParty(
        role=text_of(types_pb2.PartyRole, given.role),
        type=text_of(types_pb2.PartyType, given.type),
        name=given.name,
        id_number=given.id_number,
        phone=given.phone,
        field=field,
    )
