"""What the service tells others: a case's public state, the answer to a hand-over, who should be told what."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from hetao.cases.v1 import events_pb2, types_pb2
from kit import notices
from kit.events import Event
from kit.notices import To, ToParty
from kit.proto import number_of, stamp
from services.cases.model import Asked, CaseFile, Party, Supervision
from services.cases.words import Word

#: Namespace of the intent ids: the same intent has the same id however often it is told.
INTENTS = UUID("4b1d3f0c-7d0b-5c39-9a53-0d8f6c9a7e21")


def case_changed(case: CaseFile, what: str, epoch: int) -> Event:
    """The case after the change: whoever keeps the newest (epoch, version) per id has the truth."""
    message = events_pb2.CaseChanged(
        case_id=str(case.id),
        epoch=epoch,
        version=case.version,
        what=what,
        code=case.code,
        kind=number_of(types_pb2.Kind, case.kind),
        category=case.category,
        state=number_of(types_pb2.CaseState, case.state),
        source=number_of(types_pb2.Source, case.source),
        division=case.division,
        county=case.county,
        township=case.township,
        community=case.community,
        centre=case.centre,
        restricted=case.restricted,
        departments=case.departments,
        outcome=number_of(types_pb2.Outcome, case.outcome),
        counts_concluded=case.counts_concluded,
        counts_resolved=case.counts_resolved,
        registered_at=stamp(case.registered_at),
        accepted_at=stamp(case.accepted_at),
        concluded_at=stamp(case.concluded_at),
        resolved_at=stamp(case.resolved_at),
        closed_at=stamp(case.closed_at),
        reopened_at=stamp(case.reopened_at),
        reopened_count=case.reopened_count,
        due_at=stamp(case.due_at if case.accepted_at else None),
        overdue_since=stamp(case.overdue_since),
        report_id=str(case.report_id or ""),
        handover_id=str(case.handover_id or ""),
        awaits=number_of(types_pb2.Awaits, case.awaits),
        performance=number_of(types_pb2.Performance, case.performance),
        perform_by=case.perform_by.isoformat() if case.perform_by else "",
        follow_up=follow_up_counts(case),
        explained=case.explanation is not None,
        reopen_ground=case.reopen_ground,
    )
    return Event(case.id, message, case.division)


def follow_up_counts(case: CaseFile) -> types_pb2.FollowUpCounts | None:
    """What the parties of the present conclusion said, counted; None before there is one."""
    return types_pb2.FollowUpCounts(**Asked(*case.asked)._asdict()) if case.asked else None


def supervision_changed(order: Supervision, what: str, epoch: int) -> Event:
    """A supervision order after the change."""
    message = events_pb2.SupervisionChanged(
        supervision_id=str(order.id),
        epoch=epoch,
        version=order.version,
        what=what,
        number=order.written,
        case_id=str(order.case_id),
        case_code=order.code,
        centre=order.centre,
        department=order.department,
        division=order.division,
        state=number_of(types_pb2.SupervisionState, order.state),
        level=order.level,
        automatic=order.automatic,
        issued_at=stamp(order.issued_at),
        due_at=stamp(order.due_at),
        replied_at=stamp(order.replied_at),
        released_at=stamp(order.released_at),
    )
    return Event(order.case_id, message, order.division)


def handover_answered(
    case: CaseFile, answer: int, reason: str, by: str, at: datetime, ground: Word | None = None
) -> Event:
    """What the centre decided on a grid's hand-over. `ground`: of a refusal, which names the right channel too."""
    message = events_pb2.HandoverAnswered(
        handover_id=str(case.handover_id),
        report_id=str(case.report_id or ""),
        answer=answer,  # type: ignore[arg-type]
        reason=reason,
        case_id=str(case.id),
        case_code=case.code,
        centre=case.centre,
        answered_by=by,
        answered_at=stamp(at),
        ground_zh=ground.zh if ground else "",
        ground_en=ground.en if ground else "",
        channel=case.channel if ground else "",
    )
    return Event(case.id, message, case.division)


def to_first_receiver(template: str, case: CaseFile, round_: str, by: str, **variables: str) -> list[Event]:
    """Who received the case first is told what others do with it while it is hers. `round_`: what it is about, so that each is told once; `by`: who did it."""
    if case.first_receiver in ("", by):
        return []
    return [notice(template, case, case.id, round_, [], urgent=False, account=case.first_receiver, **variables)]


def notice(
    template: str,
    case: CaseFile,
    about: UUID | str,
    round_: int | str,
    to: Sequence[tuple[str, str]],
    *,
    account: str = "",
    urgent: bool = False,
    **variables: str,
) -> Event:
    """Somebody should be told. `about` and `round_`: what it is about and which of its limits, so that each intent is told once.

    `to`: (department id, post kind); `account`: one person more. Variables are codes, dates and numbers, never names of persons.
    """
    return notices.notice(
        template,
        intents=INTENTS,
        about=f"{about}:{round_}",
        to=[*(To(department, post) for department, post in to), *([To(account=account)] if account else [])],
        variables={"code": case.code, **variables},
        subject=f"cases/{case.id}",
        division=case.division,
        key=case.id,
        urgent=urgent,
        restricted=case.restricted,
    )


def parties(template: str, case: CaseFile, told: Sequence[Party], **variables: str) -> Sequence[Event]:
    """Parties should be told by the clerks of the centre, since they have no account. Nothing where there are none."""
    if not told:
        return ()
    to = [ToParty(case.id, party.id, party.role, case.centre) for party in told]
    notice = notices.notice(
        template,
        intents=INTENTS,
        about=f"{case.id}:{case.reopened_count}",
        to=to,
        variables={"code": case.code, **variables},
        subject=f"cases/{case.id}",
        division=case.division,
        key=case.id,
        restricted=case.restricted,
    )
    return (notice,)
