"""CaseService."""

from __future__ import annotations

from uuid import UUID

from hetao.cases.v1 import case_pb2, cases_pb2, handling_pb2, intake_pb2, types_pb2
from hetao.common.v1 import common_pb2
from kit.errors import InvalidArgument
from kit.proto import given_moment, number_of, stamp, text_of
from kit.unit import Unit
from services.cases.api import convert
from services.cases.model import Assignment
from services.cases.service import Cases
from services.cases.service.intake import NewCase
from services.cases.service.reading import masked
from services.cases.store.cases import Folder


class CaseApi:
    def __init__(self, service: Cases):
        self.service, self.chain = service, service.chain

    async def _shown(self, unit: Unit, found: Folder) -> case_pb2.Case:
        return convert.case(self.chain, await self.service.reading.whole(unit, found))

    async def CreateCase(self, request: intake_pb2.CreateCaseRequest, unit: Unit) -> intake_pb2.CreateCaseResponse:
        new = NewCase(
            kind=text_of(types_pb2.Kind, request.kind),
            source=text_of(types_pb2.Source, request.source) or "walk_in",
            division=request.division,
            title=request.title,
            description=request.description,
            place=request.place,
            occurred_at=given_moment(request, "occurred_at"),
            media_ids=request.media_ids,
            parties=[convert.new_party(party, f"parties[{n}]") for n, party in enumerate(request.parties)],
            classification=convert.classification(request.classification),
            accept=request.accept,
        )
        registered = await self.service.intake.create(unit, new)
        whole = await self.service.reading.whole(unit, registered.folder)
        receipts = [
            case_pb2.Receipt(party_id=str(party.id), name=values["name"], code=whole.case.code, pin=registered.pins[n])
            for n, (party, values) in enumerate(whole.parties)
        ]
        duplicates = [
            case_pb2.Duplicate(
                case_id=str(one.id),
                code=one.code,
                state=number_of(types_pb2.CaseState, one.state),
                registered_at=stamp(one.registered_at),
            )
            for one in registered.duplicates
        ]
        return intake_pb2.CreateCaseResponse(
            case=convert.case(self.chain, whole), receipts=receipts, duplicates=duplicates
        )

    async def GetCase(self, request: cases_pb2.GetCaseRequest, unit: Unit) -> cases_pb2.GetCaseResponse:
        whole = await self.service.reading.get(unit, request.case_id)
        return cases_pb2.GetCaseResponse(case=convert.case(self.chain, whole))

    async def ListCases(self, request: cases_pb2.ListCasesRequest, unit: Unit) -> cases_pb2.ListCasesResponse:
        state, kind = text_of(types_pb2.CaseState, request.state), text_of(types_pb2.Kind, request.kind)
        rows, token = await self.service.reading.page(unit, request, state, kind, request.division, request.centre)
        return cases_pb2.ListCasesResponse(cases=[convert.case(self.chain, row) for row in rows], next_page_token=token)

    async def AddParty(self, request: intake_pb2.AddPartyRequest, unit: Unit) -> intake_pb2.AddPartyResponse:
        new = convert.new_party(request.party, "party")
        found, pin = await self.service.intake.add_party(unit, UUID(request.case_id), new, request.etag)
        party = found.parties[-1]
        name = masked(party, self.service.reading.identity(unit, party))["name"]
        receipt = case_pb2.Receipt(party_id=str(party.id), name=name, code=found.case.code, pin=pin)
        return intake_pb2.AddPartyResponse(case=await self._shown(unit, found), receipt=receipt)

    async def RevealParty(self, request: cases_pb2.RevealPartyRequest, unit: Unit) -> cases_pb2.RevealPartyResponse:
        party, identity = await self.service.reading.reveal(
            unit, UUID(request.case_id), UUID(request.party_id), request.reason
        )
        return cases_pb2.RevealPartyResponse(party=convert.party(party, identity))

    async def AcceptCase(self, request: intake_pb2.AcceptCaseRequest, unit: Unit) -> intake_pb2.AcceptCaseResponse:
        said = convert.classification(request.classification)
        found = await self.service.intake.accept(unit, UUID(request.case_id), said, request.etag)
        return intake_pb2.AcceptCaseResponse(case=await self._shown(unit, found))

    async def RefuseCase(self, request: intake_pb2.RefuseCaseRequest, unit: Unit) -> intake_pb2.RefuseCaseResponse:
        found = await self.service.intake.refuse(
            unit, UUID(request.case_id), request.ground, request.channel, request.etag
        )
        return intake_pb2.RefuseCaseResponse(case=await self._shown(unit, found))

    async def TransferCase(
        self, request: intake_pb2.TransferCaseRequest, unit: Unit
    ) -> intake_pb2.TransferCaseResponse:
        found = await self.service.intake.transfer(
            unit, UUID(request.case_id), request.number, request.note, request.etag
        )
        return intake_pb2.TransferCaseResponse(case=await self._shown(unit, found))

    async def ClassifyCase(
        self, request: intake_pb2.ClassifyCaseRequest, unit: Unit
    ) -> intake_pb2.ClassifyCaseResponse:
        said = convert.classification(request.classification)
        found = await self.service.intake.classify(unit, UUID(request.case_id), said, request.etag)
        return intake_pb2.ClassifyCaseResponse(case=await self._shown(unit, found))

    async def DispatchCase(
        self, request: handling_pb2.DispatchCaseRequest, unit: Unit
    ) -> handling_pb2.DispatchCaseResponse:
        assignments = [
            Assignment(one.department_id, one.desk, one.lead, one.limit_days, one.demand) for one in request.assignments
        ]
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
        outcome = text_of(types_pb2.Outcome, request.outcome)
        found = await self.service.handling.conclude(unit, UUID(request.case_id), outcome, request.note, request.etag)
        return handling_pb2.ConcludeCaseResponse(case=await self._shown(unit, found))

    async def RecordFollowUp(
        self, request: handling_pb2.RecordFollowUpRequest, unit: Unit
    ) -> handling_pb2.RecordFollowUpResponse:
        found = await self.service.handling.follow_up(
            unit,
            UUID(request.case_id),
            UUID(request.party_id),
            request.contacted,
            text_of(types_pb2.Solved, request.solved),
            text_of(types_pb2.Satisfaction, request.satisfaction),
            request.note,
            request.etag,
        )
        return handling_pb2.RecordFollowUpResponse(case=await self._shown(unit, found))

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
