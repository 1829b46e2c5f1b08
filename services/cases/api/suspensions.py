"""SuspensionService."""

from __future__ import annotations

from uuid import UUID

from hetao.cases.v1 import suspensions_pb2 as pb
from kit.unit import Unit
from services.cases.api import convert
from services.cases.model import Suspension
from services.cases.service import Cases
from services.cases.service.sealed import open_note


class SuspensionApi:
    def __init__(self, service: Cases):
        self.suspensions = service.suspensions

    def _shown(self, unit: Unit, row: Suspension) -> pb.Suspension:
        notes = (open_note(unit, row.case_id, note) for note in (row.note, row.decision_note))
        return convert.suspension(row, *notes)

    async def RequestSuspension(self, request: pb.RequestSuspensionRequest, unit: Unit) -> pb.RequestSuspensionResponse:
        asked = await self.suspensions.request(
            unit,
            UUID(request.case_id),
            request.ground,
            request.days,
            request.note,
            request.media_ids,
            request.etag,
        )
        return pb.RequestSuspensionResponse(suspension=self._shown(unit, asked))

    async def DecideSuspension(self, request: pb.DecideSuspensionRequest, unit: Unit) -> pb.DecideSuspensionResponse:
        ids = UUID(request.case_id), UUID(request.suspension_id)
        decided = await self.suspensions.decide(unit, *ids, request.approve, request.note, request.etag)
        return pb.DecideSuspensionResponse(suspension=self._shown(unit, decided))

    async def ResumeCase(self, request: pb.ResumeCaseRequest, unit: Unit) -> pb.ResumeCaseResponse:
        ended = await self.suspensions.resume(unit, UUID(request.case_id), request.note, request.etag)
        return pb.ResumeCaseResponse(suspension=self._shown(unit, ended))

    async def ListSuspensions(self, request: pb.ListSuspensionsRequest, unit: Unit) -> pb.ListSuspensionsResponse:
        rows, token = await self.suspensions.page(unit, UUID(request.case_id), request)
        return pb.ListSuspensionsResponse(suspensions=[self._shown(unit, row) for row in rows], next_page_token=token)
