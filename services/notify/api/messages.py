"""MessageService, DeliveryService, EndpointService."""

from __future__ import annotations

from uuid import UUID

from hetao.common.v1 import common_pb2, notice_pb2
from hetao.notify.v1 import deliveries_pb2, endpoints_pb2, messages_pb2
from kit.paging import LAST_ID, Page
from kit.proto import number_of, stamp, text_of
from kit.unit import Unit
from services.notify.model import Delivery, Endpoint, Message
from services.notify.service import UNREAD_MOST, Notify
from services.notify.store import messages as store

#: After every attempt's number.
LAST_NUMBER = 2**31 - 1


class MessageApi:
    def __init__(self, service: Notify) -> None:
        self._service = service

    async def ListMessages(
        self, request: messages_pb2.ListMessagesRequest, unit: Unit
    ) -> messages_pb2.ListMessagesResponse:
        page = Page.of(unit, request)
        rows = await store.messages(unit, (page.after or (LAST_ID,))[0], page.limit, unread=request.unread)
        shown, token = page.cut(rows, key=lambda row: (row.id,))
        return messages_pb2.ListMessagesResponse(messages=map(_message, shown), next_page_token=token)

    async def GetUnreadCount(
        self, request: messages_pb2.GetUnreadCountRequest, unit: Unit
    ) -> messages_pb2.GetUnreadCountResponse:
        count = await store.count_unread(unit, UNREAD_MOST + 1)
        return messages_pb2.GetUnreadCountResponse(count=min(count, UNREAD_MOST), more=count > UNREAD_MOST)

    async def GetMessage(self, request: messages_pb2.GetMessageRequest, unit: Unit) -> messages_pb2.GetMessageResponse:
        return messages_pb2.GetMessageResponse(message=_message(await store.message(unit, UUID(request.message_id))))

    async def MarkMessageRead(
        self, request: messages_pb2.MarkMessageReadRequest, unit: Unit
    ) -> messages_pb2.MarkMessageReadResponse:
        message = await self._service.mark_read(unit, UUID(request.message_id), request.etag)
        return messages_pb2.MarkMessageReadResponse(message=_message(message))

    async def ActOnMessage(
        self, request: messages_pb2.ActOnMessageRequest, unit: Unit
    ) -> messages_pb2.ActOnMessageResponse:
        message = await self._service.act(unit, UUID(request.message_id), request.action, request.etag)
        return messages_pb2.ActOnMessageResponse(message=_message(message))


class DeliveryApi:
    def __init__(self, service: Notify) -> None:
        self._service = service

    async def ListDeliveries(
        self, request: deliveries_pb2.ListDeliveriesRequest, unit: Unit
    ) -> deliveries_pb2.ListDeliveriesResponse:
        page = Page.of(unit, request)
        scope, state = (
            self._service.scope(unit, request.division),
            text_of(deliveries_pb2.DeliveryState, request.state),
        )
        rows = await store.list_deliveries(unit, scope, state, (page.after or (LAST_ID,))[0], page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.id,))
        return deliveries_pb2.ListDeliveriesResponse(deliveries=map(_delivery, shown), next_page_token=token)

    async def GetDelivery(
        self, request: deliveries_pb2.GetDeliveryRequest, unit: Unit
    ) -> deliveries_pb2.GetDeliveryResponse:
        delivery = await store.DELIVERIES.get(unit, UUID(request.delivery_id))
        return deliveries_pb2.GetDeliveryResponse(delivery=_delivery(delivery))

    async def ListDeliveryAttempts(
        self, request: deliveries_pb2.ListDeliveryAttemptsRequest, unit: Unit
    ) -> deliveries_pb2.ListDeliveryAttemptsResponse:
        page = Page.of(unit, request)
        delivery = await store.DELIVERIES.get(unit, UUID(request.delivery_id))
        rows = await store.attempts(unit, delivery.id, (page.after or (LAST_NUMBER,))[0], page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.number,))
        return deliveries_pb2.ListDeliveryAttemptsResponse(attempts=map(_attempt, shown), next_page_token=token)

    async def ResendDelivery(
        self, request: deliveries_pb2.ResendDeliveryRequest, unit: Unit
    ) -> deliveries_pb2.ResendDeliveryResponse:
        delivery = await self._service.resend(unit, UUID(request.delivery_id), request.etag)
        return deliveries_pb2.ResendDeliveryResponse(delivery=_delivery(delivery))

    async def SettleDelivery(
        self, request: deliveries_pb2.SettleDeliveryRequest, unit: Unit
    ) -> deliveries_pb2.SettleDeliveryResponse:
        delivery = await self._service.settle(
            unit, UUID(request.delivery_id), arrived=request.arrived, note=request.note, etag=request.etag
        )
        return deliveries_pb2.SettleDeliveryResponse(delivery=_delivery(delivery))


class EndpointApi:
    def __init__(self, service: Notify) -> None:
        self._service = service

    async def ListEndpoints(
        self, request: endpoints_pb2.ListEndpointsRequest, unit: Unit
    ) -> endpoints_pb2.ListEndpointsResponse:
        page = Page.of(unit, request)
        scope = self._service.scope(unit, request.division)
        rows = await store.list_endpoints(unit, scope, (page.after or (LAST_ID,))[0], page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.id,))
        return endpoints_pb2.ListEndpointsResponse(endpoints=map(_endpoint, shown), next_page_token=token)

    async def GetEndpoint(
        self, request: endpoints_pb2.GetEndpointRequest, unit: Unit
    ) -> endpoints_pb2.GetEndpointResponse:
        endpoint = await store.ENDPOINTS.get(unit, UUID(request.endpoint_id))
        return endpoints_pb2.GetEndpointResponse(endpoint=_endpoint(endpoint))

    async def CreateEndpoint(
        self, request: endpoints_pb2.CreateEndpointRequest, unit: Unit
    ) -> endpoints_pb2.CreateEndpointResponse:
        channel = text_of(endpoints_pb2.Channel, request.channel)
        endpoint, secret = await self._service.create_endpoint(unit, UUID(request.department_id), channel, request.url)
        return endpoints_pb2.CreateEndpointResponse(endpoint=_endpoint(endpoint), secret=secret)

    async def CloseEndpoint(
        self, request: endpoints_pb2.CloseEndpointRequest, unit: Unit
    ) -> endpoints_pb2.CloseEndpointResponse:
        endpoint = await self._service.close_endpoint(unit, UUID(request.endpoint_id), request.etag)
        return endpoints_pb2.CloseEndpointResponse(endpoint=_endpoint(endpoint))


def _message(message: Message) -> messages_pb2.Message:
    return messages_pb2.Message(
        message_id=str(message.id),
        etag=str(message.version),
        template=message.template,
        title=common_pb2.Text(zh=message.title_zh, en=message.title_en),
        text=common_pb2.Text(zh=message.text_zh, en=message.text_en),
        subject=message.subject,
        link=message.link,
        urgency=number_of(notice_pb2.Urgency, message.urgency),
        division=message.division,
        department_id=str(message.department_id or ""),
        post=message.post,
        ground=number_of(messages_pb2.RecipientGround, message.ground),
        delivered_at=stamp(message.delivered_at),
        read_at=stamp(message.read_at),
        acted_at=stamp(message.acted_at),
        action=message.action,
    )


def _delivery(delivery: Delivery) -> deliveries_pb2.Delivery:
    return deliveries_pb2.Delivery(
        delivery_id=str(delivery.id),
        etag=str(delivery.version),
        intent_id=str(delivery.intent),
        channel=number_of(endpoints_pb2.Channel, delivery.channel),
        endpoint_id=str(delivery.endpoint_id or ""),
        department_id=str(delivery.department_id or ""),
        post=delivery.post,
        account=delivery.account,
        template=delivery.template,
        subject=delivery.subject,
        division=delivery.division,
        urgency=number_of(notice_pb2.Urgency, delivery.urgency),
        state=number_of(deliveries_pb2.DeliveryState, delivery.state),
        reason=delivery.reason,
        attempts=delivery.attempts,
        possible_repeat=delivery.possible_repeat,
        created_at=stamp(delivery.created_at),
        next_attempt_at=stamp(delivery.next_at),
        delivered_at=stamp(delivery.delivered_at),
    )


def _attempt(attempt: store.Attempt) -> deliveries_pb2.DeliveryAttempt:
    return deliveries_pb2.DeliveryAttempt(
        number=attempt.number,
        begun_at=stamp(attempt.begun_at),
        ended_at=stamp(attempt.ended_at),
        outcome=attempt.outcome,
        reason=attempt.reason,
    )


def _endpoint(endpoint: Endpoint) -> endpoints_pb2.Endpoint:
    return endpoints_pb2.Endpoint(
        endpoint_id=str(endpoint.id),
        etag=str(endpoint.version),
        department_id=str(endpoint.department_id),
        division=endpoint.division,
        channel=number_of(endpoints_pb2.Channel, endpoint.channel),
        address=endpoint.address,
        active=endpoint.active,
    )
