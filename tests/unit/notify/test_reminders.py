"""What follows when a message is not read: it is told again among others, it goes to the next channel, the superior is told. Each once."""

import asyncio
import string
from datetime import time

import pytest

from hetao.notify.v1 import deliveries_pb2, messages_pb2
from kit.config import DATA
from kit.statutory import Deadlines
from services.notify.model import ManualRules, Rules, Unread
from services.notify.module import load_templates
from tests.unit.notify.conftest import NotifyWorld, Provider, at, wecom
from tests.world import refused

DISPATCHER = ("centre", "dispatcher")
REMINDER = {"template": "cases.case_reminder", "variables": {"code": "15080226000017", "due": "2026-03-04"}}
OTHER = {"template": "cases.acceptance_reminder", "variables": {"code": "15080226000025", "due": "2026-03-05"}}

CALENDAR = Deadlines.load(DATA).calendar


async def bundles(world: NotifyWorld, account: str = "dispatcher") -> list[messages_pb2.Message]:
    return [one for one in await world.messages(account) if one.template == "notify.bundle"]


async def read(world: NotifyWorld, account: str, message: messages_pb2.Message) -> None:
    await world.inbox(account).MarkMessageRead(messages_pb2.MarkMessageReadRequest(message_id=message.message_id))


async def test_ordinary_reminders_are_told_again_as_one_message(notify_world: NotifyWorld):
    await notify_world.ask(DISPATCHER, **REMINDER)
    await notify_world.ask(DISPATCHER, **OTHER)
    await notify_world.travel("2026-03-02 11:29")
    assert await bundles(notify_world) == []
    await notify_world.travel("2026-03-02 11:31")
    (bundle,) = await bundles(notify_world)
    lines = bundle.text.zh.splitlines()
    assert lines[0].startswith("以下 2 项提醒尚未查看")
    assert sorted(line.split()[-2] for line in lines[1:]) == ["15080226000017", "15080226000025"]
    assert all("/v1/cases/01" in line for line in lines[1:])
    assert "Reminder: a case falls due 15080226000017" in bundle.text.en
    await notify_world.travel("2026-03-04 12:00")
    assert len(await bundles(notify_world)) == 1, "what was told again is not told again"


async def test_who_has_read_them_is_not_told_again(notify_world: NotifyWorld):
    await notify_world.ask(DISPATCHER, **REMINDER)
    await notify_world.ask(DISPATCHER, **OTHER)
    first, second = await notify_world.messages("dispatcher")
    await read(notify_world, "dispatcher", first)
    await notify_world.travel("2026-03-02 11:31")
    (bundle,) = await bundles(notify_world)
    assert bundle.text.zh.startswith("以下 1 项")
    await read(notify_world, "dispatcher", bundle)
    again = await notify_world.inbox("dispatcher").GetMessage(
        messages_pb2.GetMessageRequest(message_id=second.message_id)
    )
    assert again.message.HasField("read_at"), "whoever reads the bundle has read what stands in it"
    await notify_world.ask(DISPATCHER, **REMINDER)
    (third, *_) = await notify_world.messages("dispatcher")
    await read(notify_world, "dispatcher", third)
    await notify_world.travel("2026-03-02 17:01")
    assert len(await bundles(notify_world)) == 1


async def test_a_bundle_is_made_once_also_when_the_process_was_dead_at_that_hour(notify_world: NotifyWorld):
    await notify_world.ask(DISPATCHER, **REMINDER)
    notify_world.clock.move_to(at("2026-03-03 10:00"))  # over three of its hours nothing fires
    await notify_world.ask(DISPATCHER, **OTHER)
    await asyncio.gather(*(notify_world.platform.fire() for _ in range(3)))
    assert [one.text.zh[:4] for one in await bundles(notify_world)] == ["以下 2"]
    await notify_world.travel("2026-03-03 18:00")
    assert len(await bundles(notify_world)) == 1


async def test_a_long_bundle_says_how_many_and_shows_the_first(notify_world: NotifyWorld):
    for _ in range(22):
        await notify_world.ask(DISPATCHER, **REMINDER)
    await notify_world.travel("2026-03-02 11:31")
    (bundle,) = await bundles(notify_world)
    assert bundle.text.zh.startswith("以下 22 项")
    assert len(bundle.text.zh.splitlines()) == 21


async def test_what_is_urgent_is_not_bundled(notify_world: NotifyWorld):
    await notify_world.ask(DISPATCHER, urgent=True, **REMINDER)
    await notify_world.travel("2026-03-03 12:00")
    assert await bundles(notify_world) == []


async def test_an_urgent_message_that_stays_unread_goes_to_the_superior_once(notify_world: NotifyWorld):
    await notify_world.ask(DISPATCHER, urgent=True)
    await notify_world.travel("2026-03-02 11:59")
    assert await notify_world.messages("director") == []
    await notify_world.travel("2026-03-02 12:01")
    (message,) = await notify_world.messages("director")
    assert message.template == "notify.unread"
    assert "150802-2026-0001" in message.text.zh
    await notify_world.travel("2026-03-20 09:00")
    assert len(await notify_world.messages("director")) == 1
    assert await notify_world.messages("county-head") == [], "it does not climb on"


async def test_a_message_that_is_read_goes_nowhere(notify_world: NotifyWorld):
    await notify_world.ask(DISPATCHER, urgent=True)
    await notify_world.ask("deputy", urgent=True)
    for account in ("dispatcher", "deputy"):
        (message,) = await notify_world.messages(account)
        await read(notify_world, account, message)
    await notify_world.travel("2026-03-20 09:00")
    assert await notify_world.messages("director") == []


async def test_a_message_to_an_account_goes_to_the_head_of_its_department(notify_world: NotifyWorld):
    await notify_world.ask("deputy", urgent=True)
    await notify_world.travel("2026-03-03 09:00")
    assert [one.template for one in await notify_world.messages("director")] == ["notify.unread"]


async def test_ordinary_messages_that_no_rule_names_stay_where_they_are(notify_world: NotifyWorld):
    await notify_world.ask(DISPATCHER)
    await notify_world.travel("2026-03-20 09:00")
    assert await notify_world.messages("director") == []


async def test_nights_and_weekends_are_no_working_hours(notify_world: NotifyWorld):
    await notify_world.travel("2026-03-06 17:00")  # a Friday
    await notify_world.ask(DISPATCHER, urgent=True)
    await notify_world.travel("2026-03-09 10:59")
    assert await notify_world.messages("director") == []
    await notify_world.travel("2026-03-09 11:01")
    assert len(await notify_world.messages("director")) == 1


async def test_what_is_restricted_never_goes_to_a_group(notify_world: NotifyWorld, provider: Provider):
    provider.usual = wecom(0)
    await notify_world.endpoint(f"{provider.url}?key=k", "wecom_robot")
    await notify_world.endpoint(provider.url)
    await notify_world.ask(DISPATCHER, restricted=True)
    by_channel = {one.channel: one for one in await notify_world.outward()}
    group = by_channel[3]
    assert (group.state, group.reason) == (deliveries_pb2.DELIVERY_STATE_GIVEN_UP, "RESTRICTED_NOT_TO_A_GROUP")
    request = deliveries_pb2.ResendDeliveryRequest(delivery_id=group.delivery_id)
    again = await refused(notify_world.deliveries().ResendDelivery(request))
    assert (again.code, again.reason) == ("FAILED_PRECONDITION", "RESTRICTED_NOT_TO_A_GROUP")
    assert "群聊" in again.zh
    assert await notify_world.send() == 1, "a department's own system is no group"
    assert len(await notify_world.messages("dispatcher")) == 1


def test_no_template_has_a_place_for_a_title_or_a_name():
    allowed = {"code", "case", "due", "days", "ground", "outcome", "role", "count", "link"}
    for name, template in load_templates(DATA / "templates").items():
        texts = (template.title.zh, template.title.en, template.text.zh, template.text.en)
        used = {variable for text in texts for _, variable, _, _ in string.Formatter().parse(text) if variable}
        assert used - allowed <= template.variables - {"title", "name", "place", "description"}, name
        assert not template.variables & {"title", "name", "place", "phone", "description"}, name


@pytest.mark.parametrize(
    ("moment", "hours", "after"),
    [
        ("2026-03-02 09:00", 0, "2026-03-02 09:00"),
        ("2026-03-02 09:00", 1, "2026-03-02 10:00"),
        ("2026-03-02 17:00", 1, "2026-03-03 09:00"),
        ("2026-03-02 06:00", 1, "2026-03-02 09:30"),
        ("2026-03-02 20:00", 1, "2026-03-03 09:30"),
        ("2026-03-06 17:30", 9, "2026-03-09 17:30"),
        ("2026-03-07 12:00", 0.5, "2026-03-09 09:00"),
        ("2026-09-30 17:00", 1, "2026-10-08 09:00"),
    ],
)
def test_working_hours(moment, hours, after):
    assert CALENDAR.after_working_hours(at(moment), hours) == at(after)


@pytest.mark.parametrize(
    ("moment", "at_"),
    [
        ("2026-03-02 09:00", "2026-03-02 11:30"),
        ("2026-03-02 11:30", "2026-03-02 17:00"),
        ("2026-03-02 17:00", "2026-03-03 11:30"),
        ("2026-03-06 18:00", "2026-03-09 11:30"),
        ("2026-03-07 08:00", "2026-03-09 11:30"),
    ],
)
def test_the_hours_of_bundles(moment, at_):
    rules = Rules(time(22), time(7), (), 0, (), (time(11, 30), time(17)), frozenset({"x"}))
    assert rules.bundled_at("x", "normal", at(moment), CALENDAR) == at(at_)
    assert rules.bundled_at("x", "urgent", at(moment), CALENDAR) is None
    assert rules.bundled_at("y", "normal", at(moment), CALENDAR) is None


def test_a_rule_for_the_template_comes_before_that_for_the_urgency():
    by_template, by_urgency = Unread(1, 1), Unread(2, 2)
    rules = Rules(
        time(22), time(7), (), 0, (), unread_by_template={"x": by_template}, unread_by_urgency={"urgent": by_urgency}
    )
    assert rules.unread("x", "urgent") == by_template
    assert rules.unread("y", "urgent") == by_urgency
    assert rules.unread("y", "normal") is None
    assert ManualRules(ways={"x": "post"}).way("x") == "post"
    assert ManualRules().way("x") == "call"
