"""Text messages: to the number that a person has given for itself, with receipts that may come late, twice, or from somebody else."""

from typing import Any
from uuid import uuid4

import orjson
import pytest
from fastapi import Response

from hetao.notify.v1 import deliveries_pb2, messages_pb2, sms_pb2, sms_pb2_grpc
from kit.proto import number_of
from kit.signing import secret_of, sign
from services.gateway.sms_emulator import SmsEmulator
from services.notify.service.sms import SmsProvider
from tests.unit.notify.conftest import NotifyWorld, Provider, signed
from tests.waiting import until
from tests.world import refused

DISPATCHER = ("centre", "dispatcher")
PHONE = "13904781234"
SECRET = secret_of(b"k" * 32)
State = deliveries_pb2.DeliveryState


@pytest.fixture
async def sms_world(notify_world: NotifyWorld, provider: Provider) -> NotifyWorld:
    """The dispatcher has a number, and a provider that takes everything."""
    provider.usual = Response(status_code=202)
    notify_world.sender._service.sms.provider = SmsProvider(provider.url, SECRET)
    await notify_world.contacts("dispatcher").SetContact(sms_pb2.SetContactRequest(phone="139 0478-1234"))
    return notify_world


async def unread_for_an_hour(world: NotifyWorld) -> deliveries_pb2.Delivery:
    """An urgent message to the dispatcher, which nobody reads: the text message that follows, after one round of sending."""
    await world.ask(DISPATCHER, urgent=True)
    await world.travel("2026-03-02 10:01")
    await world.send()
    return await world.delivery()


def receipt(delivery_id: str, status: str = "delivered", secret: str = SECRET, **more: Any) -> Any:
    said = {"receipt_id": "r-1", "reason": "", "timestamp": "1772413200"} | more
    body = f"{delivery_id}:{status.upper()}:{said['reason']}".encode()
    return sms_pb2.RecordSmsReceiptRequest(
        delivery_id=delivery_id,
        status=number_of(sms_pb2.SmsStatus, status),
        signature=sign(secret, said["receipt_id"], said["timestamp"], body),
        **said,
    )


async def report(world: NotifyWorld, request: Any) -> bool:
    """As the provider does, who has no account."""
    stub = world.stub(sms_pb2_grpc.SmsReceiptServiceStub, "notify")
    return bool((await stub.RecordSmsReceipt(request)).counted)


def state(delivery: deliveries_pb2.Delivery) -> str:
    return State.Name(delivery.state).removeprefix("DELIVERY_STATE_").lower()


async def test_everybody_gives_their_own_number_and_sees_it_masked(notify_world: NotifyWorld):
    contacts = notify_world.contacts("dispatcher")
    assert (await contacts.GetContact(sms_pb2.GetContactRequest())).contact.phone == ""
    set_ = await contacts.SetContact(sms_pb2.SetContactRequest(phone="+86 139 0478 1234"))
    assert set_.contact.phone == "139****1234"
    assert (await contacts.GetContact(sms_pb2.GetContactRequest())).contact.phone == "139****1234"
    assert (await notify_world.contacts("deputy").GetContact(sms_pb2.GetContactRequest())).contact.phone == ""
    (row,) = await notify_world.rows("notify", "select phone from contact")
    assert PHONE.encode() not in row["phone"]
    wrong = await refused(contacts.SetContact(sms_pb2.SetContactRequest(phone="0478-8212345")))
    assert (wrong.reason, wrong.fields) == ("PHONE_NOT_MOBILE", ["phone"])
    await contacts.ClearContact(sms_pb2.ClearContactRequest())
    assert (await contacts.GetContact(sms_pb2.GetContactRequest())).contact.phone == ""


async def test_an_unread_message_is_followed_by_a_text_message(sms_world: NotifyWorld, provider: Provider):
    delivery = await unread_for_an_hour(sms_world)
    assert (delivery.channel, delivery.account, state(delivery)) == (4, "dispatcher", "sent")
    ((headers, body),) = provider.received
    assert signed(SECRET, headers, body)
    told = orjson.loads(body)
    assert (told["to"], told["messageId"]) == (PHONE, delivery.delivery_id)
    assert "150802-2026-0001" in told["text"]
    assert told["receiptUrl"].endswith("/v1/smsReceipts")
    assert await report(sms_world, receipt(delivery.delivery_id)) is True
    assert state(await sms_world.delivery()) == "delivered"
    assert await sms_world.messages("director") == []
    await sms_world.travel("2026-03-02 12:30")
    assert len(await sms_world.messages("director")) == 1, "it is still unread"


async def test_who_reads_in_time_gets_no_text_message(sms_world: NotifyWorld, provider: Provider):
    await sms_world.ask(DISPATCHER, urgent=True)
    await sms_world.travel("2026-03-02 10:01")
    (message,) = await sms_world.messages("dispatcher")
    request = messages_pb2.MarkMessageReadRequest(message_id=message.message_id)
    await sms_world.inbox("dispatcher").MarkMessageRead(request)
    await sms_world.send()
    assert provider.received == []
    delivery = await sms_world.delivery()
    assert (state(delivery), delivery.reason) == ("given_up", "READ_MEANWHILE")
    await sms_world.travel("2026-03-03 09:00")
    assert await sms_world.messages("director") == []


async def test_a_number_that_was_taken_away_gets_nothing(sms_world: NotifyWorld, provider: Provider):
    await sms_world.ask(DISPATCHER, urgent=True)
    await sms_world.travel("2026-03-02 10:01")
    await sms_world.contacts("dispatcher").ClearContact(sms_pb2.ClearContactRequest())
    await sms_world.send()
    assert provider.received == []
    assert (await sms_world.delivery()).reason == "NO_NUMBER"
    await sms_world.travel("2026-03-02 10:05")
    assert len(await sms_world.messages("director")) == 1, "the superior is next at once"


@pytest.mark.parametrize(
    ("status", "reason", "ends"),
    [("failed", "SMS_ABSENT", "given_up"), ("unknown", "SMS_ABSENT", "unknown")],
)
async def test_what_did_not_arrive_falls_to_the_next_channel_once(sms_world: NotifyWorld, status, reason, ends):
    delivery = await unread_for_an_hour(sms_world)
    assert await report(sms_world, receipt(delivery.delivery_id, status, reason="ABSENT")) is True
    found = await sms_world.delivery()
    assert (state(found), found.reason) == (ends, reason)
    await sms_world.travel("2026-03-02 10:05")
    assert [one.template for one in await sms_world.messages("director")] == ["notify.unread"]
    await sms_world.travel("2026-03-10 10:00")
    assert len(await sms_world.messages("director")) == 1


async def test_a_provider_that_refuses_falls_to_the_next_channel(sms_world: NotifyWorld, provider: Provider):
    provider.usual = Response(status_code=400)
    delivery = await unread_for_an_hour(sms_world)
    assert (state(delivery), delivery.reason) == ("given_up", "HTTP_400")
    await sms_world.travel("2026-03-02 10:05")
    assert len(await sms_world.messages("director")) == 1


async def test_a_receipt_that_never_comes_leaves_the_outcome_unknown(sms_world: NotifyWorld):
    delivery = await unread_for_an_hour(sms_world)
    await sms_world.travel("2026-03-03 10:05")
    found = await sms_world.delivery()
    assert (state(found), found.reason) == ("unknown", "NO_RECEIPT")
    assert await report(sms_world, receipt(delivery.delivery_id)) is True, "late it is still believed"
    assert state(await sms_world.delivery()) == "delivered"


async def test_a_repeat_and_a_later_word_change_nothing(sms_world: NotifyWorld):
    delivery = await unread_for_an_hour(sms_world)
    assert await report(sms_world, receipt(delivery.delivery_id)) is True
    assert await report(sms_world, receipt(delivery.delivery_id)) is False
    assert await report(sms_world, receipt(delivery.delivery_id, "failed", receipt_id="r-2")) is False
    assert state(await sms_world.delivery()) == "delivered"
    rows = await sms_world.rows("notify", "select receipt_id, status, counted from receipt order by 1")
    assert [tuple(row) for row in rows] == [("r-1", "delivered", True), ("r-2", "failed", False)]


async def test_a_receipt_after_a_person_has_settled_it_changes_nothing(sms_world: NotifyWorld):
    delivery = await unread_for_an_hour(sms_world)
    await report(sms_world, receipt(delivery.delivery_id, "unknown"))
    settle = deliveries_pb2.SettleDeliveryRequest(delivery_id=delivery.delivery_id, arrived=False, note="本人称未收到")
    await sms_world.deliveries().SettleDelivery(settle)
    assert await report(sms_world, receipt(delivery.delivery_id, receipt_id="r-2")) is False
    assert state(await sms_world.delivery()) == "given_up"


async def test_a_receipt_with_a_wrong_signature_is_refused_before_anything_is_looked_up(sms_world: NotifyWorld):
    delivery = await unread_for_an_hour(sms_world)
    for request in (
        receipt(delivery.delivery_id, secret=secret_of(b"x" * 32)),
        receipt(str(uuid4()), secret=secret_of(b"x" * 32)),
        sms_pb2.RecordSmsReceiptRequest(
            receipt_id="r", delivery_id=delivery.delivery_id, status=1, timestamp="1", signature="v1,签"
        ),
    ):
        wrong = await refused(report(sms_world, request))
        assert (wrong.code, wrong.reason) == ("PERMISSION_DENIED", "RECEIPT_SIGNATURE_WRONG")
    swapped = receipt(delivery.delivery_id, "failed")
    swapped.status = sms_pb2.SMS_STATUS_DELIVERED
    assert (await refused(report(sms_world, swapped))).reason == "RECEIPT_SIGNATURE_WRONG"
    assert state(await sms_world.delivery()) == "sent"


async def test_a_receipt_for_an_unknown_or_a_foreign_message_is_refused(sms_world: NotifyWorld, provider: Provider):
    assert (await refused(report(sms_world, receipt(str(uuid4()))))).code == "NOT_FOUND"
    await sms_world.endpoint(provider.url)
    await sms_world.ask(DISPATCHER)
    webhook = await sms_world.delivery()
    assert (await refused(report(sms_world, receipt(webhook.delivery_id)))).code == "NOT_FOUND"
    assert await sms_world.rows("notify", "select from receipt") == []


async def test_the_emulator_reports_by_the_last_digit_of_the_number(sms_world: NotifyWorld, provider: Provider):
    """Takes what the channel sends, and reports it as a real provider would."""
    stub = sms_world.stub(sms_pb2_grpc.SmsReceiptServiceStub, "notify")
    emulator = SmsEmulator(SECRET, sms_world.clock, stub.RecordSmsReceipt, after=0)
    await sms_world.contacts("dispatcher").SetContact(sms_pb2.SetContactRequest(phone="13904781230"))
    delivery = await unread_for_an_hour(sms_world)
    ((headers, body),) = provider.received
    assert emulator.take(headers, body + b" ").status_code == 401
    assert emulator.take(headers, body).status_code == 202

    async def failed() -> bool:
        return state(await sms_world.delivery()) == "given_up"

    await until(failed, "the receipt")
    assert (await sms_world.delivery()).reason == "SMS_ABSENT"
    assert emulator.take(headers, body).status_code == 202, "sent again, it is the same message"
    assert delivery.delivery_id in emulator._kept
