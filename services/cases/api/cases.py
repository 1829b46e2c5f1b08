"""CaseService, from the decision on acceptance on; what comes before it stands in `front`."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from uuid import UUID

from hetao.cases.v1 import case_pb2, cases_pb2, closing_pb2, handling_pb2, intake_pb2, types_pb2
from hetao.common.v1 import common_pb2
from kit.clock import BUSINESS_ZONE
from kit.errors import InvalidArgument
from kit.ids import first_id
from kit.proto import given_day, stamp, text_of
from kit.unit import Unit
from services.cases.api import convert
from services.cases.api.front import FrontApi
from services.cases.model import Assignment
from services.cases.service.closing import Answers
from services.cases.store.lists import Filters


def registered_between(request: cases_pb2.ListCasesRequest) -> tuple[UUID | None, UUID | None]:
    """Ids of the bounds of the days of registration, the last day included. InvalidArgument(DATE_INVALID | PERIOD_BACKWARDS)."""
    first = given_day(request.registered_from, "registered_from") if request.registered_from else None
    last = given_day(request.registered_to, "registered_to") if request.registered_to else None
    if first and last and last < first:
        raise InvalidArgument("PERIOD_BACKWARDS", field="registered_to")
    return _midnight(first) if first else None, _midnight(last + timedelta(days=1)) if last else None


def _midnight(day: date) -> UUID:
    return first_id(datetime.combine(day, time(), BUSINESS_ZONE))


class CaseApi(FrontApi):
    async def GetCase(self, request: cases_pb2.GetCaseRequest, unit: Unit) -> cases_pb2.GetCaseResponse:
        whole = await self.service.reading.get(unit, request.case_id)
        return cases_pb2.GetCaseResponse(case=convert.case(self.chain, whole))

    async def ListCases(self, request: cases_pb2.ListCasesRequest, unit: Unit) -> cases_pb2.ListCasesResponse:
        first, last = registered_between(request)
        filters = Filters(
            state=text_of(types_pb2.CaseState, request.state),
            kind=text_of(types_pb2.Kind, request.kind),
            risk=text_of(types_pb2.Risk, request.risk),
            category=request.category,
            department=request.department_id,
            overdue=request.overdue,
            first=first,
            last=last,
        )
        listed = await self.service.reading.page(
            unit,
            request,
            filters,
            request.division,
            request.centre,
            by_limit=request.order == cases_pb2.CASE_ORDER_NEAREST_LIMIT,
            counted=request.with_total,
        )
        return cases_pb2.ListCasesResponse(
            cases=[convert.case(self.chain, row) for row in listed.rows],
            next_page_token=listed.token,
            total=listed.total if request.with_total else None,
            total_at_least=listed.more,
        )

    async def SearchCases(self, request: cases_pb2.SearchCasesRequest, unit: Unit) -> cases_pb2.SearchCasesResponse:
        rows, more = await self.service.reading.by_party(unit, request.phone, request.id_number)
        return cases_pb2.SearchCasesResponse(cases=[convert.case(self.chain, row) for row in rows], more=more)

    async def RevealParty(self, request: cases_pb2.RevealPartyRequest, unit: Unit) -> cases_pb2.RevealPartyResponse:
        party, identity = await self.service.reading.reveal(
            unit, UUID(request.case_id), UUID(request.party_id), request.reason
        )
        return cases_pb2.RevealPartyResponse(party=convert.party(party, identity))

    async def ClassifyCase(
        self, request: intake_pb2.ClassifyCaseRequest, unit: Unit
    ) -> intake_pb2.ClassifyCaseResponse:
        said = convert.classification(request.classification)
        found = await self.service.intake.classify(unit, UUID(request.case_id), said, request.etag)
        return intake_pb2.ClassifyCaseResponse(case=await self._shown(unit, found))

    async def DispatchCase(
        self, request: handling_pb2.DispatchCaseRequest, unit: Unit
    ) -> handling_pb2.DispatchCaseResponse:
        assignments = [convert.assignment(one) for one in request.assignments]
        found = await self.service.handling.dispatch(unit, UUID(request.case_id), assignments, request.etag)
        return handling_pb2.DispatchCaseResponse(case=await self._shown(unit, found))

    async def ReplaceLead(
        self, request: handling_pb2.ReplaceLeadRequest, unit: Unit
    ) -> handling_pb2.ReplaceLeadResponse:
        lead = Assignment(request.department_id, "", True, request.limit_days, request.demand)
        found = await self.service.redirecting.replace_lead(
            unit, UUID(request.case_id), lead, request.cancel_former, request.reason, request.etag
        )
        return handling_pb2.ReplaceLeadResponse(case=await self._shown(unit, found))

    async def ReviewCase(self, request: handling_pb2.ReviewCaseRequest, unit: Unit) -> handling_pb2.ReviewCaseResponse:
        case_id, handling = UUID(request.case_id), self.service.handling
        if request.decision == types_pb2.REVIEW_DECISION_APPROVE:
            if request.task_ids:
                raise InvalidArgument("TASKS_WITH_APPROVAL", field="task_ids")
            found = await handling.approve(unit, case_id, request.note, request.etag)
        else:
            tasks = [UUID(task_id) for task_id in request.task_ids]
            found = await handling.send_back(unit, case_id, tasks, request.note, request.etag)
        return handling_pb2.ReviewCaseResponse(case=await self._shown(unit, found))

    async def ConcludeCase(
        self, request: handling_pb2.ConcludeCaseRequest, unit: Unit
    ) -> handling_pb2.ConcludeCaseResponse:
        said = convert.conclusion(request)
        found = await self.service.closing.conclude(unit, UUID(request.case_id), said, request.etag)
        return handling_pb2.ConcludeCaseResponse(case=await self._shown(unit, found))

    async def RecordFollowUp(
        self, request: handling_pb2.RecordFollowUpRequest, unit: Unit
    ) -> handling_pb2.RecordFollowUpResponse:
        said = Answers(
            contacted=request.contacted,
            in_time=text_of(types_pb2.InTime, request.in_time),
            solved=text_of(types_pb2.Solved, request.solved),
            satisfaction=text_of(types_pb2.Satisfaction, request.satisfaction),
            note=request.note,
        )
        ids = UUID(request.case_id), UUID(request.party_id)
        found = await self.service.closing.follow_up(unit, *ids, said, request.etag)
        return handling_pb2.RecordFollowUpResponse(case=await self._shown(unit, found))

    async def RecordPerformance(
        self, request: closing_pb2.RecordPerformanceRequest, unit: Unit
    ) -> closing_pb2.RecordPerformanceResponse:
        what = convert.performance(request)
        found = await self.service.closing.record_performance(unit, UUID(request.case_id), what, request.etag)
        return closing_pb2.RecordPerformanceResponse(case=await self._shown(unit, found))

    async def CloseCase(self, request: closing_pb2.CloseCaseRequest, unit: Unit) -> closing_pb2.CloseCaseResponse:
        found = await self.service.closing.close(unit, UUID(request.case_id), request.explanation, request.etag)
        return closing_pb2.CloseCaseResponse(case=await self._shown(unit, found))

    async def ReopenCase(self, request: closing_pb2.ReopenCaseRequest, unit: Unit) -> closing_pb2.ReopenCaseResponse:
        lead = convert.assignment(request.lead, lead=True) if request.HasField("lead") else None
        case_id = UUID(request.case_id)
        found = await self.service.closing.reopen(unit, case_id, request.ground, request.note, lead, request.etag)
        return closing_pb2.ReopenCaseResponse(case=await self._shown(unit, found))

    async def ListTimeline(
        self, request: handling_pb2.ListTimelineRequest, unit: Unit
    ) -> handling_pb2.ListTimelineResponse:
        entries, token = await self.service.reading.timeline(unit, UUID(request.case_id), request)
        shown = [
            case_pb2.TimelineEntry(
                at=stamp(one.at),
                what=one.what,
                sentence=common_pb2.Text(zh=one.zh, en=one.en),
                actor=one.actor,
                note=one.note,
            )
            for one in entries
        ]
        return handling_pb2.ListTimelineResponse(entries=shown, next_page_token=token)
