"""SupervisionService."""

from __future__ import annotations

from uuid import UUID

from hetao.cases.v1 import supervisions_pb2 as pb
from hetao.cases.v1 import types_pb2
from kit.proto import text_of
from kit.unit import Unit
from services.cases.api import convert
from services.cases.service import Cases
from services.cases.service.supervisions import Opened


class SupervisionApi:
    def __init__(self, service: Cases):
        self.supervisions, self.chain = service.supervisions, service.chain

    def _shown(self, opened: Opened) -> pb.Supervision:
        return convert.supervision(self.chain, opened)

    async def CreateSupervision(self, request: pb.CreateSupervisionRequest, unit: Unit) -> pb.CreateSupervisionResponse:
        order = await self.supervisions.create(
            unit,
            UUID(request.case_id),
            UUID(request.task_id) if request.task_id else None,
            request.department_id,
            request.level,
            request.demand,
        )
        return pb.CreateSupervisionResponse(supervision=self._shown(order))

    async def GetSupervision(self, request: pb.GetSupervisionRequest, unit: Unit) -> pb.GetSupervisionResponse:
        order = await self.supervisions.get(unit, UUID(request.supervision_id))
        return pb.GetSupervisionResponse(supervision=self._shown(order))

    async def ListSupervisions(self, request: pb.ListSupervisionsRequest, unit: Unit) -> pb.ListSupervisionsResponse:
        orders, token = await self.supervisions.page(
            unit,
            request,
            request.centre,
            request.department_id,
            text_of(types_pb2.SupervisionState, request.state),
            UUID(request.case_id) if request.case_id else None,
        )
        return pb.ListSupervisionsResponse(supervisions=[self._shown(order) for order in orders], next_page_token=token)

    async def ReplySupervision(self, request: pb.ReplySupervisionRequest, unit: Unit) -> pb.ReplySupervisionResponse:
        order = await self.supervisions.reply(
            unit, UUID(request.supervision_id), request.reply, request.media_ids, request.etag
        )
        return pb.ReplySupervisionResponse(supervision=self._shown(order))

    async def ReleaseSupervision(
        self, request: pb.ReleaseSupervisionRequest, unit: Unit
    ) -> pb.ReleaseSupervisionResponse:
        order = await self.supervisions.release(unit, UUID(request.supervision_id), request.note, request.etag)
        return pb.ReleaseSupervisionResponse(supervision=self._shown(order))

    async def SendBackSupervision(
        self, request: pb.SendBackSupervisionRequest, unit: Unit
    ) -> pb.SendBackSupervisionResponse:
        order = await self.supervisions.send_back(unit, UUID(request.supervision_id), request.reason, request.etag)
        return pb.SendBackSupervisionResponse(supervision=self._shown(order))
