"""Who gets a message, and what becomes of it in the inbox."""

from datetime import timedelta
from uuid import uuid4

import pytest

from hetao.common.v1 import notice_pb2
from hetao.notify.v1 import messages_pb2 as pb
from tests.unit.notify.conftest import NotifyWorld
from tests.world import refused

DISPATCHER = ("centre", "dispatcher")


async def test_the_holder_of_a_post_gets_the_message(notify_world: NotifyWorld):
    await notify_world.ask(DISPATCHER)
    (message,) = await notify_world.messages("dispatcher")
    assert message.title.zh == "新任务 150802-2026-0001"
    assert message.text.zh.startswith("请在 2026-03-04 18:00 前签收：http")
    assert message.text.en.startswith("Please sign in before 2026-03-04 18:00: http")
    assert message.link.endswith("/v1/cases/01")
    assert (message.ground, message.post) == (pb.RECIPIENT_GROUND_HOLDER, "dispatcher")
    assert message.delivered_at.ToDatetime() == notify_world.clock.now().replace(tzinfo=None)
    assert not message.HasField("read_at")
    assert await notify_world.messages("director") == []


async def test_an_intent_is_in_effect_once_however_often_and_by_whomever_it_comes(notify_world: NotifyWorld):
    intent = await notify_world.ask(DISPATCHER)
    await notify_world.ask(DISPATCHER, intent=intent)
    await notify_world.post("centre", "dispatcher", "deputy")
    await notify_world.ask(DISPATCHER, intent=intent, by="grid")
    assert len(await notify_world.messages("dispatcher")) == 1
    assert await notify_world.messages("deputy") == []


async def test_a_person_with_two_posts_gets_one_message(notify_world: NotifyWorld):
    await notify_world.post("centre", "director", "dispatcher")
    await notify_world.ask(DISPATCHER, ("centre", "director"), "dispatcher")
    assert len(await notify_world.messages("dispatcher")) == 1


@pytest.mark.parametrize(
    ("person", "ground", "arrange"),
    [
        (
            "deputy",
            "DUTY",
            lambda w: [w.post("centre", "dispatcher", "dispatcher", duties=[("2026-03-02", "2026-03-02", "deputy")])],
        ),
        (
            "dispatcher",
            "HOLDER",
            lambda w: [w.post("centre", "dispatcher", "dispatcher", duties=[("2026-03-03", "2026-03-03", "deputy")])],
        ),
        ("deputy", "SUBSTITUTE", lambda w: [w.staff("dispatcher", away=[("2026-02-28", "2026-03-02", "deputy")])]),
        ("dispatcher", "HOLDER", lambda w: [w.staff("dispatcher", away=[("2026-03-03", "2026-03-09", "deputy")])]),
        ("director", "SUPERIOR", lambda w: [w.staff("dispatcher", away=[("2026-03-02", "2026-03-02", "")])]),
        (
            "director",
            "SUPERIOR",
            lambda w: [
                w.staff("dispatcher", away=[("2026-03-02", "2026-03-09", "deputy")]),
                w.staff("deputy", away=[("2026-03-02", "2026-03-09", "dispatcher")]),
            ],
        ),
        ("director", "SUPERIOR", lambda w: [w.post("centre", "dispatcher", "")]),
        ("director", "SUPERIOR", lambda w: [w.staff("dispatcher", active=False)]),
        ("director", "SUPERIOR", lambda w: [w.post("centre", "dispatcher", "dispatcher", active=False)]),
        ("county-head", "SUPERIOR", lambda w: [w.post("centre", "dispatcher", ""), w.post("centre", "director", "")]),
    ],
)
async def test_who_stands_in(notify_world: NotifyWorld, person, ground, arrange):
    for step in arrange(notify_world):
        await step
    await notify_world.ask(DISPATCHER)
    (message,) = await notify_world.messages(person)
    assert pb.RecipientGround.Name(message.ground) == f"RECIPIENT_GROUND_{ground}"


async def test_an_account_is_told_also_when_it_is_on_leave_but_not_when_it_has_left(notify_world: NotifyWorld):
    await notify_world.staff("deputy", away=[("2026-03-02", "2026-03-09", "")])
    await notify_world.ask("deputy", "somebody-unknown-to-the-directory")
    assert len(await notify_world.messages("deputy")) == 1
    assert len(await notify_world.messages("somebody-unknown-to-the-directory")) == 1
    await notify_world.staff("deputy", active=False)
    await notify_world.ask("deputy")
    assert len(await notify_world.messages("deputy")) == 1
    (message,) = await notify_world.messages("director")
    assert message.ground == pb.RECIPIENT_GROUND_SUPERIOR


async def test_the_directory_keeps_the_newest_whatever_the_order(notify_world: NotifyWorld):
    await notify_world.post("centre", "dispatcher", "deputy")
    notify_world._versions.clear()
    await notify_world.post("centre", "dispatcher", "somebody-late")  # version 1 again
    await notify_world.ask(DISPATCHER)
    assert len(await notify_world.messages("deputy")) == 1
    notify_world._versions.clear()
    await notify_world.post("centre", "dispatcher", "after-the-restore", epoch=2)
    await notify_world.ask(DISPATCHER)
    assert len(await notify_world.messages("after-the-restore")) == 1


async def test_nobody_is_found_and_that_is_seen_and_mended(notify_world: NotifyWorld):
    for department, kind in (("centre", "dispatcher"), ("centre", "director"), ("county", "head")):
        await notify_world.post(department, kind, "")
    await notify_world.ask(DISPATCHER)
    delivery = await notify_world.delivery()
    assert (delivery.state, delivery.post, delivery.reason) == (7, "dispatcher", "NO_RECIPIENT")
    await notify_world.travel(timedelta(minutes=2))
    assert (await notify_world.delivery()).attempts == 2
    await notify_world.post("centre", "dispatcher", "deputy")
    await notify_world.travel(timedelta(minutes=11))
    assert len(await notify_world.messages("deputy")) == 1
    delivery = await notify_world.delivery()
    assert (delivery.state, delivery.account) == (3, "deputy")


async def test_a_notice_that_came_too_late_tells_nobody(notify_world: NotifyWorld):
    await notify_world.ask(DISPATCHER, expires=-timedelta(seconds=1))
    assert await notify_world.messages("dispatcher") == []
    assert await notify_world.outward() == []


async def test_the_search_for_a_recipient_ends_when_the_notice_expires(notify_world: NotifyWorld):
    await notify_world.ask(("unknown", "dispatcher"), expires=timedelta(minutes=5))
    await notify_world.travel(timedelta(minutes=30))
    delivery = await notify_world.delivery()
    assert (delivery.state, delivery.reason) == (6, "EXPIRED")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"template": "test.nothing"}, "TEMPLATE_UNKNOWN"),
        ({"variables": {"code": "1"}}, "TEMPLATE_VARIABLES_WRONG"),
        ({"variables": {"code": "1", "due": "2", "name": "3"}}, "TEMPLATE_VARIABLES_WRONG"),
        ({"variables": {"code": "张三", "due": "2"}}, "VARIABLE_NOT_PLAIN"),
        ({"variables": {"code": "x" * 65, "due": "2"}}, "VARIABLE_NOT_PLAIN"),
    ],
)
async def test_a_notice_that_is_wrong_is_parked_and_the_next_goes_on(notify_world: NotifyWorld, change, reason):
    await notify_world.ask(DISPATCHER, **change)
    await notify_world.ask(DISPATCHER)
    (parked,) = await notify_world.rows("notify", "select handler, error from parked")
    assert parked["error"].startswith(reason)
    assert "张三" not in parked["error"]
    assert len(await notify_world.messages("dispatcher")) == 1


@pytest.mark.parametrize(
    ("intent", "recipient"),
    [
        (str(uuid4()), {}),
        (str(uuid4()), {"department_id": str(uuid4())}),
        (str(uuid4()), {"department_id": str(uuid4()), "post": "duty-officer"}),
        ("not-an-id", {"account": "deputy"}),
    ],
    ids=["nobody", "no post", "no such post", "no intent"],  # the same in every process that shares the tests out
)
async def test_a_message_to_nobody_in_particular_is_parked(notify_world: NotifyWorld, intent, recipient):
    notice = notice_pb2.NoticeRequested(
        intent_id=intent, template="test.plain", recipients=[notice_pb2.Recipient(**recipient)]
    )
    await notify_world.say("cases", notice)
    (parked,) = await notify_world.rows("notify", "select error from parked")
    assert parked["error"].startswith("RECIPIENT_INVALID")


async def test_read_and_acted_upon_are_different_things(notify_world: NotifyWorld):
    await notify_world.ask(DISPATCHER)
    inbox = notify_world.inbox("dispatcher")
    (message,) = await notify_world.messages("dispatcher")
    assert (await inbox.GetUnreadCount(pb.GetUnreadCountRequest())).count == 1
    assert not (await inbox.GetMessage(pb.GetMessageRequest(message_id=message.message_id))).message.HasField(
        "read_at"
    ), "looking is not reading"

    await notify_world.travel(timedelta(minutes=1))
    read = (
        await inbox.MarkMessageRead(pb.MarkMessageReadRequest(message_id=message.message_id, etag=message.etag))
    ).message
    assert read.HasField("read_at")
    assert not read.HasField("acted_at")
    await notify_world.travel(timedelta(minutes=1))
    again = (await inbox.MarkMessageRead(pb.MarkMessageReadRequest(message_id=message.message_id))).message
    assert again == read, "the first time stands"
    assert (await inbox.GetUnreadCount(pb.GetUnreadCountRequest())).count == 0

    acted = (
        await inbox.ActOnMessage(pb.ActOnMessageRequest(message_id=message.message_id, action="signed-in"))
    ).message
    assert (acted.action, acted.read_at) == ("signed-in", read.read_at)
    assert acted.acted_at.ToDatetime() > acted.read_at.ToDatetime()
    assert (
        await inbox.ActOnMessage(pb.ActOnMessageRequest(message_id=message.message_id, action="signed-in"))
    ).message == acted
    other = await refused(inbox.ActOnMessage(pb.ActOnMessageRequest(message_id=message.message_id, action="forwarded")))
    assert (other.code, other.reason) == ("FAILED_PRECONDITION", "MESSAGE_ACTED_ON")
    stale = await refused(inbox.MarkMessageRead(pb.MarkMessageReadRequest(message_id=message.message_id, etag="1")))
    assert stale.reason == "ETAG_STALE"


async def test_an_inbox_is_its_owners_alone(notify_world: NotifyWorld):
    await notify_world.ask(DISPATCHER)
    (message,) = await notify_world.messages("dispatcher")
    for account in ("director", "admin", "auditor"):
        inbox = notify_world.inbox(account)
        assert await notify_world.messages(account) == []
        for call in (
            inbox.GetMessage(pb.GetMessageRequest(message_id=message.message_id)),
            inbox.MarkMessageRead(pb.MarkMessageReadRequest(message_id=message.message_id)),
            inbox.ActOnMessage(pb.ActOnMessageRequest(message_id=message.message_id, action="read")),
        ):
            assert (await refused(call)).code == "NOT_FOUND"


async def test_the_newest_come_first_page_by_page(notify_world: NotifyWorld):
    for _ in range(5):
        await notify_world.ask(DISPATCHER)
        await notify_world.travel(timedelta(minutes=1))
    inbox, seen, token = notify_world.inbox("dispatcher"), [], ""
    while True:
        page = await inbox.ListMessages(pb.ListMessagesRequest(page_size=2, page_token=token))
        seen += [message.delivered_at.seconds for message in page.messages]
        if not (token := page.next_page_token):
            break
    assert len(seen) == 5
    assert seen == sorted(seen, reverse=True)
    (first, *_) = await notify_world.messages("dispatcher")
    await inbox.MarkMessageRead(pb.MarkMessageReadRequest(message_id=first.message_id))
    unread = await inbox.ListMessages(pb.ListMessagesRequest(unread=True))
    assert len(unread.messages) == 4


async def test_a_rebuilt_directory_says_the_same(notify_world: NotifyWorld):
    """The projections of notify keep the newest of each id, so a repetition of everything changes nothing."""
    before = await notify_world.rows("notify", "select id, epoch, version, holder from post order by id")
    notify_world._versions.clear()
    await notify_world.post("centre", "dispatcher", "dispatcher")
    await notify_world.post("centre", "director", "director")
    assert await notify_world.rows("notify", "select id, epoch, version, holder from post order by id") == before
