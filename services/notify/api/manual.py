"""ManualDeliveryService."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from hetao.common.v1 import common_pb2, notice_pb2
from hetao.notify.v1 import manual_pb2 as pb
from kit.paging import FIRST_ID, FIRST_MOMENT, Page
from kit.proto import given_moment, number_of, stamp, text_of
from kit.unit import Unit
from services.notify.model import ManualDelivery, ManualTry, Proof, Text
from services.notify.service import Notify
from services.notify.store import manual as store


class ManualDeliveryApi:
    def __init__(self, service: Notify) -> None:
        self._notify, self._service = service, service.manual

    async def ListManualDeliveries(
        self, request: pb.ListManualDeliveriesRequest, unit: Unit
    ) -> pb.ListManualDeliveriesResponse:
        page = Page.of(unit, request)
        centres = self._service.centres(unit, request.centre_id)
        after: tuple[datetime, UUID] = page.after or (FIRST_MOMENT, FIRST_ID)
        state = text_of(pb.ManualDeliveryState, request.state)
        case_id = UUID(request.case_id) if request.case_id else None
        rows = await store.list_manual(unit, centres, state, case_id, after, page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.due_at, row.id))
        return pb.ListManualDeliveriesResponse(manual_deliveries=await self._all(unit, shown), next_page_token=token)

    async def GetManualDelivery(self, request: pb.GetManualDeliveryRequest, unit: Unit) -> pb.GetManualDeliveryResponse:
        row, tries = await self._service.detail(unit, UUID(request.manual_delivery_id))
        return pb.GetManualDeliveryResponse(
            manual_delivery=await self._one(unit, row), tries=[_try(one, note) for one, note in tries]
        )

    async def TakeManualDelivery(
        self, request: pb.TakeManualDeliveryRequest, unit: Unit
    ) -> pb.TakeManualDeliveryResponse:
        row = await self._service.take(unit, UUID(request.manual_delivery_id), request.etag)
        return pb.TakeManualDeliveryResponse(manual_delivery=await self._one(unit, row))

    async def CompleteManualDelivery(
        self, request: pb.CompleteManualDeliveryRequest, unit: Unit
    ) -> pb.CompleteManualDeliveryResponse:
        proof = Proof(
            manner=text_of(pb.ProofManner, request.manner),
            made_at=given_moment(request, "made_at") or unit.now,
            note=request.note,
            media_ids=list(request.media_ids),
            tracking_number=request.tracking_number,
        )
        row = await self._service.complete(unit, UUID(request.manual_delivery_id), proof, request.etag)
        return pb.CompleteManualDeliveryResponse(manual_delivery=await self._one(unit, row))

    async def FailManualDelivery(
        self, request: pb.FailManualDeliveryRequest, unit: Unit
    ) -> pb.FailManualDeliveryResponse:
        row = await self._service.fail(
            unit,
            UUID(request.manual_delivery_id),
            text_of(pb.FailReason, request.reason),
            text_of(pb.ManualWay, request.next_way),
            request.note,
            request.etag,
        )
        return pb.FailManualDeliveryResponse(manual_delivery=await self._one(unit, row))

    async def _one(self, unit: Unit, row: ManualDelivery) -> pb.ManualDelivery:
        return (await self._all(unit, [row]))[0]

    async def _all(self, unit: Unit, rows: Sequence[ManualDelivery]) -> list[pb.ManualDelivery]:
        said = await self._notify.said(unit, [row.intent for row in rows])
        return [_manual(row, said, self._notify.link(row.subject)) for row in rows]


def _manual(row: ManualDelivery, said: Mapping[UUID, tuple[Text, Text]], link: str) -> pb.ManualDelivery:
    title, text = said[row.intent]
    return pb.ManualDelivery(
        manual_delivery_id=str(row.id),
        etag=str(row.version),
        intent_id=str(row.intent),
        template=row.template,
        title=common_pb2.Text(zh=title.zh, en=title.en),
        text=common_pb2.Text(zh=text.zh, en=text.en),
        code=row.code,
        subject=row.subject,
        link=link,
        case_id=str(row.case_id),
        party_id=str(row.party_id),
        party_role=row.party_role,
        centre_id=str(row.centre),
        division=row.division,
        restricted=row.restricted,
        urgency=number_of(notice_pb2.Urgency, row.urgency),
        way=number_of(pb.ManualWay, row.way),
        state=number_of(pb.ManualDeliveryState, row.state),
        created_at=stamp(row.created_at),
        due_at=stamp(row.due_at),
        overdue=row.overdue_at is not None,
        tries=row.tries,
        taken_by=row.taken_by,
        taken_at=stamp(row.taken_at),
        completed_at=stamp(row.completed_at),
        reason=number_of(pb.FailReason, row.reason),
    )


def _try(one: ManualTry, note: str) -> pb.ManualTry:
    return pb.ManualTry(
        number=one.number,
        made_by=one.made_by,
        made_at=stamp(one.made_at),
        recorded_at=stamp(one.recorded_at),
        way=number_of(pb.ManualWay, one.way),
        manner=number_of(pb.ProofManner, one.manner),
        reason=number_of(pb.FailReason, one.reason),
        note=note,
        media_ids=one.media_ids,
        tracking_number=one.tracking_number,
    )
