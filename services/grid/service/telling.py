"""What the service tells others: the state of the directory and of reports, hand-overs to centres, and who should be told what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

import orjson

from hetao.common.v1 import common_pb2
from hetao.grid.v1 import events_pb2, types_pb2
from kit import notices
from kit.events import Event
from kit.notices import To
from kit.proto import number_of, stamp
from kit.unit import Unit
from services.grid.model import directory, reports
from services.grid.service.pinyin import spelt
from services.grid.service.sentences import sentence
from services.grid.store.reports import Entry

#: Namespace of the intent ids: the same intent has the same id however often it is told.
INTENTS = UUID("7d0f2a54-52c1-5d0b-8a36-6a7f0c5f3b92")


def department_changed(unit: Unit, department: directory.Department) -> Event:
    message = events_pb2.DepartmentChanged(
        department_id=str(department.id),
        epoch=unit.runtime.epoch,
        version=department.version,
        code=department.code,
        name=department.name,
        name_en=department.name_en or spelt(department.name),
        kind=number_of(types_pb2.DepartmentKind, department.kind),
        division=department.division,
        parent_id=str(department.parent_id or ""),
        active=department.active,
    )
    return Event(department.id, message, department.division)


def post_changed(unit: Unit, post: directory.Post, duties: Sequence[directory.Duty]) -> Event:
    """`duties`: those that are not over."""
    message = events_pb2.PostChanged(
        post_id=str(post.id),
        epoch=unit.runtime.epoch,
        version=post.version,
        department_id=str(post.department_id),
        kind=number_of(types_pb2.PostKind, post.kind),
        holder=post.holder,
        duties=[
            events_pb2.Duty(from_date=str(d.from_date), until_date=str(d.until_date), account=d.account) for d in duties
        ],
        active=post.active,
        division=post.division,
    )
    return Event(post.id, message, post.division)


def staff_changed(unit: Unit, staff: directory.Staff, leaves: Sequence[directory.Leave]) -> Event:
    """`leaves`: those that are not over."""
    message = events_pb2.StaffChanged(
        staff_id=str(staff.id),
        epoch=unit.runtime.epoch,
        version=staff.version,
        account=staff.account,
        department_id=str(staff.department_id),
        active=staff.active,
        absences=[
            events_pb2.Absence(from_date=str(a.from_date), until_date=str(a.until_date), substitute=a.substitute)
            for a in leaves
        ],
        division=staff.division,
    )
    return Event(staff.id, message, staff.division)


def report_changed(unit: Unit, report: reports.Report, what: str, handover: reports.Handover | None = None) -> Event:
    """The report after the change. `handover`: the one it stands under or came out by."""
    message = events_pb2.ReportChanged(
        report_id=str(report.id),
        epoch=unit.runtime.epoch,
        version=report.version,
        what=what,
        code=report.code,
        kind=number_of(types_pb2.ReportKind, report.kind),
        level=number_of(types_pb2.ReportLevel, report.level),
        state=number_of(types_pb2.ReportState, report.state),
        outcome=number_of(types_pb2.ReportOutcome, report.outcome),
        division=report.division,
        county=report.county,
        township=report.township,
        community=report.community,
        grid_code=report.grid_code,
        reporter=report.reporter,
        handler=report.handler,
        outside_own_grid=report.outside,
        occurred_at=stamp(report.occurred_at),
        captured_at=stamp(report.captured_at),
        received_at=stamp(report.received_at),
        verified_at=stamp(report.verified_at),
        solved_at=stamp(report.solved_at),
        closed_at=stamp(report.closed_at),
        merged_into=str(report.merged_into or ""),
        follows_report_id=str(report.follows or ""),
        target=number_of(types_pb2.HandoverTarget, handover.target if handover else ""),
        case_id=str(handover.case_id or "") if handover else "",
        case_code=handover.case_code if handover else "",
    )
    return Event(report.id, message, report.division)


def report_handed_over(
    unit: Unit,
    report: reports.Report,
    handover: reports.Handover,
    centre: directory.Department,
    content: dict[str, str],
    category: str,
    photos: Sequence[reports.Photo],
    history: Sequence[Entry],
    titles: Mapping[str, tuple[str, str]],
) -> Event:
    """For the centre that makes a case of it. `content` travels sealed; `titles`: what the persons of its history are called at work."""
    message = events_pb2.ReportHandedOver(
        handover_id=str(handover.id),
        report_id=str(report.id),
        report_code=report.code,
        centre=str(centre.id),
        centre_code=centre.code,
        division=report.division,
        grid_code=report.grid_code,
        kind=number_of(types_pb2.ReportKind, report.kind),
        level=number_of(types_pb2.ReportLevel, report.level),
        category=category,
        reason=number_of(types_pb2.HandoverReason, handover.reason),
        occurred_at=stamp(report.occurred_at),
        handed_over_at=stamp(handover.handed_at),
        reporter=report.reporter,
        handed_over_by=handover.handed_by,
        answer_due_at=stamp(handover.due_at),
        photos=[
            events_pb2.HandedPhoto(
                media_id=p.media_id,
                phase=number_of(types_pb2.PhotoPhase, p.phase),
                captured_at=stamp(p.captured_at),
            )
            for p in photos
        ],
        history=[
            events_pb2.HistoryEntry(
                at=stamp(e.at),
                account=e.account,
                action=e.action,
                sentence=text(sentence(unit.runtime.texts, e.action, e.account, e.facts, titles)),
            )
            for e in history
        ],
        content=unit.seal("handover.content", handover.id, orjson.dumps(content).decode()),
    )
    return Event(handover.id, message, report.division)


def notice(
    template: str,
    report: reports.Report,
    about: UUID,
    to: Sequence[To],
    *,
    urgent: bool = False,
    case: str = "",
    ground: str = "",
) -> Event:
    """Somebody should be told, once for `about`. Variables are codes, never names of persons: of the report, of a case, of a centre's ground."""
    given = {"code": report.code, "case": case, "ground": ground}
    values = {name: value for name, value in given.items() if value}
    return notices.notice(
        template,
        intents=INTENTS,
        about=str(about),
        to=to,
        variables=values,
        subject=f"reports/{report.id}",
        division=report.division,
        key=report.id,
        urgent=urgent,
    )


def text(pair: tuple[str, str]) -> common_pb2.Text:
    return common_pb2.Text(zh=pair[0], en=pair[1])
