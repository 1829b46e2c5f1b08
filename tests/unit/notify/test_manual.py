"""Parties have no account: a clerk of the centre tells them, and proves it."""

from datetime import timedelta
from io import BytesIO
from uuid import uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from PIL import Image

from hetao.common.v1 import notice_pb2
from hetao.notify.v1 import manual_pb2 as pb
from kit.blobs import Blobs
from kit.proto import moment, stamp
from services.notify.model import MANUAL_MOVES
from tests.unit.notify.conftest import CASE, CENTRE, OTHER_CENTRE, OTHER_PARTY, PARTY, NotifyWorld, at
from tests.world import refused

NOT_ACCEPTED = {
    "template": "cases.party_not_accepted",
    "variables": {"code": "15080226000017", "ground": "in_litigation"},
}
CALLED = {"manner": pb.PROOF_MANNER_CALLED, "note": "已告知本人，听明白了"}


async def asked(world: NotifyWorld, **more) -> pb.ManualDelivery:
    await world.ask(parties=[PARTY], **{**NOT_ACCEPTED, **more})
    (item,) = await world.to_tell()
    return item


async def take(world: NotifyWorld, item: pb.ManualDelivery, account: str = "clerk") -> pb.ManualDelivery:
    request = pb.TakeManualDeliveryRequest(manual_delivery_id=item.manual_delivery_id)
    return (await world.manual(account).TakeManualDelivery(request)).manual_delivery


async def complete(world: NotifyWorld, item: pb.ManualDelivery, account: str = "clerk", **more) -> pb.ManualDelivery:
    request = pb.CompleteManualDeliveryRequest(manual_delivery_id=item.manual_delivery_id, **{**CALLED, **more})
    return (await world.manual(account).CompleteManualDelivery(request)).manual_delivery


async def fail(world: NotifyWorld, item: pb.ManualDelivery, reason: int = pb.FAIL_REASON_NO_ANSWER, **more):
    request = pb.FailManualDeliveryRequest(manual_delivery_id=item.manual_delivery_id, reason=reason, **more)
    return (await world.manual().FailManualDelivery(request)).manual_delivery


async def photo(world: NotifyWorld) -> str:
    made = BytesIO()
    Image.new("RGB", (8, 8)).save(made, "JPEG")
    settings = world.platform.settings
    blobs = Blobs.open(settings.media_url, pixel_limit=settings.media.pixel_limit)
    return (await blobs.ingest_photo(made.getvalue())).id


async def test_a_party_becomes_a_work_item_of_the_centre_without_name_or_number(notify_world: NotifyWorld):
    item = await asked(notify_world)
    assert (item.code, item.party_role, item.party_id, item.case_id) == (
        "15080226000017",
        "applicant",
        str(PARTY),
        str(CASE),
    )
    assert (item.state, item.way) == (pb.MANUAL_DELIVERY_STATE_WAITING, pb.MANUAL_WAY_HAND_OVER)
    assert "已进入诉讼" in item.text.zh
    assert moment(item.due_at) == at("2026-03-03 16:00"), "sixteen business hours after nine on Monday"
    (message,) = await notify_world.messages("clerk")
    assert (message.template, message.post) == ("notify.manual_waiting", "window")
    assert await notify_world.to_tell("clerk-2") == []


async def test_two_parties_are_two_items_and_a_repeat_is_none(notify_world: NotifyWorld):
    intent = await notify_world.ask(parties=[PARTY, OTHER_PARTY, PARTY], **NOT_ACCEPTED)
    await notify_world.ask(parties=[PARTY, OTHER_PARTY], intent=intent, **NOT_ACCEPTED)
    assert {one.party_id for one in await notify_world.to_tell()} == {str(PARTY), str(OTHER_PARTY)}
    assert len(await notify_world.messages("clerk")) == 1


async def test_the_nearest_due_comes_first_page_by_page_and_by_state(notify_world: NotifyWorld):
    for _ in range(3):
        await notify_world.ask(parties=[PARTY], **NOT_ACCEPTED)
        await notify_world.travel(timedelta(minutes=1))
    await notify_world.ask(parties=[PARTY], urgent=True, **NOT_ACCEPTED)
    listed = await notify_world.to_tell()
    assert [one.due_at.ToDatetime() for one in listed] == sorted(one.due_at.ToDatetime() for one in listed)
    assert listed[0].urgency == 2
    answer = await notify_world.manual().ListManualDeliveries(pb.ListManualDeliveriesRequest(page_size=2))
    rest = await notify_world.manual().ListManualDeliveries(
        pb.ListManualDeliveriesRequest(page_size=2, page_token=answer.next_page_token)
    )
    assert [*answer.manual_deliveries, *rest.manual_deliveries] == listed
    await take(notify_world, listed[1])
    taken = await notify_world.to_tell(state=pb.MANUAL_DELIVERY_STATE_TAKEN)
    assert [one.manual_delivery_id for one in taken] == [listed[1].manual_delivery_id]
    assert len(await notify_world.to_tell(centre_id=str(CENTRE), case_id=str(CASE))) == 4
    assert await notify_world.to_tell(case_id=str(uuid4())) == []


async def test_it_is_completed_with_proof_and_then_done(notify_world: NotifyWorld):
    item = await take(notify_world, await asked(notify_world))
    assert (item.state, item.taken_by) == (pb.MANUAL_DELIVERY_STATE_TAKEN, "clerk")
    media = [await photo(notify_world)]
    proof = {"manner": pb.PROOF_MANNER_LEFT_WITH_ADULT, "note": "交其子签收", "media_ids": media}
    done = await complete(notify_world, item, **proof)
    assert done.state == pb.MANUAL_DELIVERY_STATE_COMPLETED
    assert await notify_world.to_tell() == []
    request = pb.GetManualDeliveryRequest(manual_delivery_id=item.manual_delivery_id)
    (made,) = (await notify_world.manual().GetManualDelivery(request)).tries
    assert (made.number, made.made_by, made.note, list(made.media_ids)) == (1, "clerk", "交其子签收", media)
    (row,) = await notify_world.rows("notify", "select note from manual_try")
    assert "签收".encode() not in row["note"]
    await notify_world.travel("2026-03-20 09:00")
    assert await notify_world.messages("director") == [], "what is done is not overdue"


async def test_completing_twice_is_refused(notify_world: NotifyWorld):
    item = await take(notify_world, await asked(notify_world))
    await complete(notify_world, item)
    twice = await refused(complete(notify_world, item))
    assert (twice.code, twice.reason) == ("FAILED_PRECONDITION", "MOVE_NOT_ALLOWED")
    assert "已送达" in twice.zh
    assert (await refused(take(notify_world, item))).reason == "MOVE_NOT_ALLOWED"
    assert (await refused(fail(notify_world, item))).reason == "MOVE_NOT_ALLOWED"


async def test_a_foreign_centre_finds_nothing(notify_world: NotifyWorld):
    item = await asked(notify_world)
    for call in (take(notify_world, item, "clerk-2"), complete(notify_world, item, "clerk-2")):
        assert (await refused(call)).code == "NOT_FOUND"
    request = pb.GetManualDeliveryRequest(manual_delivery_id=item.manual_delivery_id)
    assert (await refused(notify_world.manual("clerk-2").GetManualDelivery(request))).code == "NOT_FOUND"
    foreign = await refused(notify_world.to_tell(centre_id=str(OTHER_CENTRE)))
    assert (foreign.code, foreign.fields) == ("NOT_FOUND", ["centre_id"])


@pytest.mark.parametrize(
    ("proof", "field"),
    [
        ({"manner": pb.PROOF_MANNER_CALLED, "note": "  "}, "note"),
        ({"manner": pb.PROOF_MANNER_HANDED_OVER}, "media_ids"),
        ({"manner": pb.PROOF_MANNER_POSTED}, "tracking_number"),
        ({"manner": pb.PROOF_MANNER_LEFT_WITH_ADULT, "note": "交其子"}, "media_ids"),
    ],
)
async def test_without_its_proof_nothing_is_completed(notify_world: NotifyWorld, proof, field):
    item = await take(notify_world, await asked(notify_world))
    missing = await refused(complete(notify_world, item, **proof))
    assert (missing.code, missing.reason, missing.fields) == ("INVALID_ARGUMENT", "PROOF_MISSING", [field])
    assert missing.en.startswith("the proof is missing")
    assert len(await notify_world.to_tell()) == 1


async def test_what_proves_nothing_is_refused(notify_world: NotifyWorld):
    item = await take(notify_world, await asked(notify_world))
    unknown = {"manner": pb.PROOF_MANNER_HANDED_OVER, "media_ids": ["0" * 64]}
    assert (await refused(complete(notify_world, item, **unknown))).reason == "PHOTO_UNKNOWN"
    now = notify_world.clock.now()
    assert (await refused(complete(notify_world, item, made_at=stamp(now + timedelta(hours=1))))).reason == (
        "TIME_IN_FUTURE"
    )
    early: Timestamp | None = stamp(now - timedelta(days=1))
    assert (await refused(complete(notify_world, item, made_at=early))).reason == "PROOF_TOO_EARLY"


async def test_it_is_for_the_clerk_who_has_it(notify_world: NotifyWorld):
    item = await asked(notify_world)
    assert (await refused(complete(notify_world, item))).reason == "MOVE_NOT_ALLOWED", "not taken yet"
    await take(notify_world, item)
    assert (await take(notify_world, item)).etag == "2", "taken again it stays"
    assert (await refused(take(notify_world, item, "colleague"))).reason == "MANUAL_TAKEN"
    assert (await refused(complete(notify_world, item, "colleague"))).reason == "MANUAL_TAKEN"
    assert (await take(notify_world, item, "boss")).taken_by == "boss", "who may, takes it over"
    assert (await refused(complete(notify_world, item))).reason == "MANUAL_TAKEN"
    stale = pb.TakeManualDeliveryRequest(manual_delivery_id=item.manual_delivery_id, etag="1")
    assert (await refused(notify_world.manual("boss").TakeManualDelivery(stale))).code == "ABORTED"


async def test_a_try_in_vain_is_followed_by_another_way_and_in_the_end_by_the_director(notify_world: NotifyWorld):
    item = await take(notify_world, await asked(notify_world))
    item = await fail(notify_world, item, pb.FAIL_REASON_ABSENT, next_way=pb.MANUAL_WAY_CALL, note="家中无人")
    assert (item.state, item.way, item.tries) == (pb.MANUAL_DELIVERY_STATE_WAITING, pb.MANUAL_WAY_CALL, 1)
    assert (item.reason, item.taken_by) == (pb.FAIL_REASON_ABSENT, "")
    item = await fail(notify_world, await take(notify_world, item))
    assert item.way == pb.MANUAL_WAY_CALL
    item = await fail(notify_world, await take(notify_world, item), next_way=pb.MANUAL_WAY_POST)
    assert (item.state, item.tries) == (pb.MANUAL_DELIVERY_STATE_UNDELIVERED, 3)
    (message,) = await notify_world.messages("director")
    assert message.template == "notify.manual_undelivered"
    assert "申请人" in message.text.zh
    request = pb.GetManualDeliveryRequest(manual_delivery_id=item.manual_delivery_id)
    tries = (await notify_world.manual().GetManualDelivery(request)).tries
    assert [(one.number, one.way) for one in tries] == [
        (1, pb.MANUAL_WAY_HAND_OVER),
        (2, pb.MANUAL_WAY_CALL),
        (3, pb.MANUAL_WAY_CALL),
    ]


async def test_what_is_overdue_is_told_to_the_director_once(notify_world: NotifyWorld):
    item = await asked(notify_world)
    await notify_world.travel("2026-03-10 09:00")
    (message,) = await notify_world.messages("director")
    assert (message.template, message.post) == ("notify.manual_overdue", "director")
    (late,) = await notify_world.to_tell()
    assert late.overdue
    await fail(notify_world, await take(notify_world, item))
    await notify_world.travel("2026-03-20 09:00")
    assert len(await notify_world.messages("director")) == 1


async def test_a_restricted_case_shows_no_more_than_its_code(notify_world: NotifyWorld):
    item = await asked(notify_world, restricted=True)
    assert item.restricted
    (message,) = await notify_world.messages("clerk")
    assert "15080226000017" in message.text.zh


@pytest.mark.parametrize("field", ["case_id", "party_id", "centre_id"])
async def test_a_party_that_is_nobody_is_parked(notify_world: NotifyWorld, field):
    party = {"case_id": str(CASE), "party_id": str(PARTY), "centre_id": str(CENTRE), field: "nobody"}
    recipient = notice_pb2.Recipient(party=notice_pb2.PartyAddress(role="applicant", **party))
    notice = notice_pb2.NoticeRequested(
        intent_id=str(uuid4()), template="test.plain", recipients=[recipient], subject="cases/1", division="150802"
    )
    await notify_world.say("cases", notice)
    (parked,) = await notify_world.rows("notify", "select error from parked")
    assert parked["error"].startswith("RECIPIENT_INVALID")
    assert await notify_world.to_tell() == []


def test_only_the_ends_lead_nowhere():
    states = {source for source, _, _ in MANUAL_MOVES.moves} | {target for _, _, target in MANUAL_MOVES.moves}
    assert {state for state in states if not MANUAL_MOVES.allowed(state)} == {"completed", "undelivered"}
