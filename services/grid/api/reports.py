"""ReportService."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from hetao.common.v1 import common_pb2
from hetao.grid.v1 import report_pb2, types_pb2
from hetao.grid.v1 import report_steps_pb2 as steps_pb
from hetao.grid.v1 import reports_pb2 as reports_pb
from kit.deadlines import shown
from kit.paging import Page
from kit.proto import given_moment, number_of, stamp, text_of
from kit.unit import Unit
from services.grid.api.convert import point, some_id, to_point
from services.grid.model.reports import Handover, Photo, Report
from services.grid.service.handling import Handling
from services.grid.service.handover import Handovers, Offer
from services.grid.service.reports import NewPhoto, NewReport, Reports, Whole
from services.grid.service.sentences import sentence
from services.grid.service.telling import text


class ReportApi:
    def __init__(self, reports: Reports, handling: Handling, handovers: Handovers):
        self.reports, self.handling, self.handovers = reports, handling, handovers

    async def _shown(self, unit: Unit, changed: Report) -> report_pb2.Report:
        return report(await self.reports.whole(unit, changed))

    async def CreateReport(
        self, request: reports_pb.CreateReportRequest, unit: Unit
    ) -> reports_pb.CreateReportResponse:
        new = NewReport(
            kind=text_of(types_pb2.ReportKind, request.kind),
            level=text_of(types_pb2.ReportLevel, request.level),
            title=request.title,
            description=request.description,
            place=request.place,
            point=point(request.point) if request.HasField("point") else None,
            grid_code=request.grid_code,
            community=request.community,
            occurred_at=given_moment(request, "occurred_at"),
            captured_at=given_moment(request, "captured_at"),
            late_reason=request.late_reason,
            photos=new_photos(request.photos),
        )
        made = await self.reports.create(unit, new)
        return reports_pb.CreateReportResponse(report=await self._shown(unit, made))

    async def GetReport(self, request: reports_pb.GetReportRequest, unit: Unit) -> reports_pb.GetReportResponse:
        return reports_pb.GetReportResponse(report=report(await self.reports.get(unit, UUID(request.report_id))))

    async def ListReports(self, request: reports_pb.ListReportsRequest, unit: Unit) -> reports_pb.ListReportsResponse:
        rows, token = await self.reports.page(
            unit,
            Page.of(unit, request),
            request.division,
            request.grid_code,
            text_of(types_pb2.ReportState, request.state),
            mine=request.mine,
            offered=request.offered,
        )
        return reports_pb.ListReportsResponse(
            reports=[report(row, explained=False) for row in rows], next_page_token=token
        )

    async def AddReportPhotos(
        self, request: steps_pb.AddReportPhotosRequest, unit: Unit
    ) -> steps_pb.AddReportPhotosResponse:
        done = await self.handling.add_photos(unit, UUID(request.report_id), new_photos(request.photos), request.etag)
        return steps_pb.AddReportPhotosResponse(report=await self._shown(unit, done))

    async def VerifyReport(self, request: steps_pb.VerifyReportRequest, unit: Unit) -> steps_pb.VerifyReportResponse:
        level = text_of(types_pb2.ReportLevel, request.level)
        done = await self.handling.verify(unit, UUID(request.report_id), level, request.etag)
        return steps_pb.VerifyReportResponse(report=await self._shown(unit, done))

    async def HandleReport(self, request: steps_pb.HandleReportRequest, unit: Unit) -> steps_pb.HandleReportResponse:
        done = await self.handling.handle(unit, UUID(request.report_id), request.etag)
        return steps_pb.HandleReportResponse(report=await self._shown(unit, done))

    async def SolveReport(self, request: steps_pb.SolveReportRequest, unit: Unit) -> steps_pb.SolveReportResponse:
        done = await self.handling.solve(
            unit, UUID(request.report_id), request.result, new_photos(request.photos), request.etag
        )
        return steps_pb.SolveReportResponse(report=await self._shown(unit, done))

    async def InvalidateReport(
        self, request: steps_pb.InvalidateReportRequest, unit: Unit
    ) -> steps_pb.InvalidateReportResponse:
        done = await self.handling.invalidate(unit, UUID(request.report_id), request.reason, request.etag)
        return steps_pb.InvalidateReportResponse(report=await self._shown(unit, done))

    async def MergeReport(self, request: steps_pb.MergeReportRequest, unit: Unit) -> steps_pb.MergeReportResponse:
        done = await self.handling.merge(unit, UUID(request.report_id), UUID(request.into), request.etag)
        return steps_pb.MergeReportResponse(report=await self._shown(unit, done))

    async def HandOverReport(
        self, request: steps_pb.HandOverReportRequest, unit: Unit
    ) -> steps_pb.HandOverReportResponse:
        offer = Offer(
            target=text_of(types_pb2.HandoverTarget, request.target),
            department_id=some_id(request.department_id),
            grid_code=request.grid_code,
            emergency_number=request.emergency_number,
            reason=text_of(types_pb2.HandoverReason, request.reason),
            note=request.note,
            category=request.category,
        )
        done = await self.handovers.hand_over(unit, UUID(request.report_id), offer, request.etag)
        return steps_pb.HandOverReportResponse(report=await self._shown(unit, done))

    async def AcceptHandover(
        self, request: steps_pb.AcceptHandoverRequest, unit: Unit
    ) -> steps_pb.AcceptHandoverResponse:
        done = await self.handovers.accept(unit, UUID(request.report_id), request.etag)
        return steps_pb.AcceptHandoverResponse(report=await self._shown(unit, done))

    async def RefuseHandover(
        self, request: steps_pb.RefuseHandoverRequest, unit: Unit
    ) -> steps_pb.RefuseHandoverResponse:
        done = await self.handovers.refuse(unit, UUID(request.report_id), request.reason, request.etag)
        return steps_pb.RefuseHandoverResponse(report=await self._shown(unit, done))

    async def CloseReport(self, request: steps_pb.CloseReportRequest, unit: Unit) -> steps_pb.CloseReportResponse:
        done = await self.handling.close(unit, UUID(request.report_id), request.result, request.etag)
        return steps_pb.CloseReportResponse(report=await self._shown(unit, done))

    async def ListReportTimeline(
        self, request: reports_pb.ListReportTimelineRequest, unit: Unit
    ) -> reports_pb.ListReportTimelineResponse:
        page = Page.of(unit, request)
        after = (page.after or (0,))[0]
        rows, titles = await self.reports.timeline(unit, UUID(request.report_id), after, page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.id,))
        entries = [
            report_pb2.TimelineEntry(
                at=stamp(row.at),
                account=row.account,
                action=row.action,
                sentence=text(sentence(unit.runtime.texts, row.action, row.account, row.facts, titles)),
            )
            for row in shown
        ]
        return reports_pb.ListReportTimelineResponse(entries=entries, next_page_token=token)


# -- messages ---------------------------------------------------------------------------------------------------------


def new_photos(photos: Iterable[report_pb2.ReportPhoto]) -> list[NewPhoto]:
    return [
        NewPhoto(
            photo.media_id,
            text_of(types_pb2.PhotoPhase, photo.phase),
            given_moment(photo, "captured_at", f"photos[{n}].captured_at"),
            f"photos[{n}]",
        )
        for n, photo in enumerate(photos)
    ]


def report(whole: Whole, *, explained: bool = True) -> report_pb2.Report:
    row, place = whole.report, whole.report.point
    return report_pb2.Report(
        report_id=str(row.id),
        code=row.code,
        kind=number_of(types_pb2.ReportKind, row.kind),
        level=number_of(types_pb2.ReportLevel, row.level),
        state=number_of(types_pb2.ReportState, row.state),
        outcome=number_of(types_pb2.ReportOutcome, row.outcome),
        title=whole.content["title"],
        description=whole.content["description"],
        place=whole.content["place"],
        point=to_point(place) if place else None,
        division=row.division,
        county=row.county,
        township=row.township,
        community=row.community,
        grid_code=row.grid_code,
        outside_own_grid=row.outside,
        reporter=row.reporter,
        handler=row.handler,
        occurred_at=stamp(row.occurred_at),
        captured_at=stamp(row.captured_at),
        received_at=stamp(row.received_at),
        late_reason=whole.content["late_reason"],
        photos=map(photo_of, whole.photos),
        verified_at=stamp(row.verified_at),
        solved_at=stamp(row.solved_at),
        closed_at=stamp(row.closed_at),
        result=whole.result,
        merged_into=str(row.merged_into or ""),
        follows_report_id=str(row.follows or ""),
        handover=handover(whole.handover, whole, explained) if whole.handover else None,
        etag=str(row.version),
        allowed_actions=whole.actions,
    )


def photo_of(row: Photo) -> report_pb2.ReportPhoto:
    return report_pb2.ReportPhoto(
        media_id=row.media_id,
        phase=number_of(types_pb2.PhotoPhase, row.phase),
        captured_at=stamp(row.captured_at),
    )


def handover(row: Handover, whole: Whole, explained: bool) -> report_pb2.Handover:
    due = whole.deadline if explained else None
    why = due.explanation if due else None
    return report_pb2.Handover(
        handover_id=str(row.id),
        target=number_of(types_pb2.HandoverTarget, row.target),
        department_id=str(row.department_id or ""),
        grid_code=row.grid_code,
        emergency_number=row.emergency_number,
        reason=number_of(types_pb2.HandoverReason, row.reason),
        note=whole.note,
        state=number_of(types_pb2.HandoverState, row.state),
        handed_over_by=row.handed_by,
        handed_over_at=stamp(row.handed_at),
        answer_due_at=stamp(row.due_at),
        answer_due_explanation=common_pb2.Text(zh=why.zh, en=why.en) if why else None,
        answer_overdue=row.overdue,
        deadline=shown(due, whole.now, why) if due and row.state == "offered" else None,
        answered_by=row.answered_by,
        answered_at=stamp(row.answered_at),
        answer_reason=whole.answer_reason,
        case_id=str(row.case_id or ""),
        case_code=row.case_code,
        case_state=row.case_state,
        case_outcome=row.case_outcome,
        answer_ground=row.answer_ground,
        answer_ground_text=common_pb2.Text(zh=row.answer_ground_zh, en=row.answer_ground_en)
        if row.answer_ground
        else None,
        answer_channel=row.answer_channel,
    )
