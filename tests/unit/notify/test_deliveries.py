"""What leaves the platform, and what is known of it afterwards."""

import asyncio
import itertools
import socket
from datetime import timedelta

import httpx
import orjson
import pytest
from fastapi import Response

from hetao.notify.v1 import deliveries_pb2 as pb
from hetao.notify.v1 import endpoints_pb2
from kit.errors import InvalidArgument
from services.notify import module as notify_module
from tests.unit.notify.conftest import NotifyWorld, Provider, signed, wecom
from tests.world import refused

DISPATCHER = ("centre", "dispatcher")
State = pb.DeliveryState


def state(delivery: pb.Delivery) -> str:
    return State.Name(delivery.state).removeprefix("DELIVERY_STATE_").lower()


async def attempts(world: NotifyWorld) -> list[tuple[int, str, str]]:
    """(number, outcome, reason), the oldest first."""
    request = pb.ListDeliveryAttemptsRequest(delivery_id=(await world.delivery()).delivery_id)
    listed = (await world.deliveries().ListDeliveryAttempts(request)).attempts
    return [(attempt.number, attempt.outcome, attempt.reason) for attempt in reversed(listed)]


async def test_a_webhook_gets_a_signed_message_with_its_id(notify_world: NotifyWorld, provider: Provider):
    made = await notify_world.endpoint(provider.url)
    intent = await notify_world.ask(DISPATCHER)
    assert await notify_world.send() == 1
    ((headers, body),) = provider.received
    delivery = await notify_world.delivery()
    assert headers["webhook-id"] == delivery.delivery_id
    assert signed(made.secret, headers, body)
    told = orjson.loads(body)["data"]
    assert (told["deliveryId"], told["intentId"], told["template"]) == (delivery.delivery_id, str(intent), "test.task")
    assert told["title"]["zh"] == "新任务 150802-2026-0001"
    assert told["possibleRepeat"] is False
    assert state(delivery) == "delivered"
    assert await attempts(notify_world) == [(1, "delivered", "")]
    assert await notify_world.send() == 0
    assert len(await notify_world.messages("dispatcher")) == 1, "the inbox has it beside"


async def test_a_group_robot_of_wecom_gets_a_text(notify_world: NotifyWorld, provider: Provider):
    provider.usual = wecom(0)
    made = await notify_world.endpoint(f"{provider.url}?key=secret-key", "wecom_robot")
    assert made.secret == ""
    await notify_world.ask(DISPATCHER)
    await notify_world.send()
    ((_, body),) = provider.received
    told = orjson.loads(body)
    assert told["msgtype"] == "text"
    assert told["text"]["content"].startswith("新任务 150802-2026-0001\n请在")
    assert state(await notify_world.delivery()) == "delivered"


async def test_http_200_with_an_error_in_the_body_is_a_failure(notify_world: NotifyWorld, provider: Provider):
    provider.next = [wecom(45009), wecom(-1), wecom(0)]
    await notify_world.endpoint(provider.url, "wecom_robot")
    await notify_world.ask(DISPATCHER)
    await notify_world.send()
    delivery = await notify_world.delivery()
    assert (state(delivery), delivery.reason, delivery.possible_repeat) == ("failed", "WECOM_45009", False)
    assert delivery.next_attempt_at.ToDatetime() >= notify_world.clock.now().replace(tzinfo=None) + timedelta(
        seconds=60
    )
    assert await notify_world.send() == 0, "it keeps to the robot's rate"
    for _ in range(2):
        await notify_world.travel(timedelta(minutes=5))
        await notify_world.send()
    assert await attempts(notify_world) == [
        (1, "failed", "WECOM_45009"),
        (2, "failed", "WECOM_-1"),
        (3, "delivered", ""),
    ]
    assert state(await notify_world.delivery()) == "delivered"


async def test_a_robot_that_was_removed_is_given_up_at_once(notify_world: NotifyWorld, provider: Provider):
    provider.usual = wecom(93000)
    await notify_world.endpoint(provider.url, "wecom_robot")
    await notify_world.ask(DISPATCHER)
    await notify_world.send()
    delivery = await notify_world.delivery()
    assert (state(delivery), delivery.reason) == ("given_up", "WECOM_93000")


@pytest.mark.parametrize(
    ("channel", "answer", "expected"),
    [
        ("webhook", Response(status_code=503), ("failed", "HTTP_503", True)),
        ("webhook", Response(status_code=429, headers={"retry-after": "120"}), ("failed", "HTTP_429", False)),
        ("webhook", Response(status_code=404), ("given_up", "HTTP_404", False)),
        (
            "webhook",
            Response(status_code=302, headers={"location": "http://127.0.0.1:1/"}),
            ("given_up", "HTTP_302", False),
        ),
        ("wecom_robot", Response(status_code=502), ("unknown", "HTTP_502", False)),
        ("wecom_robot", Response(status_code=404), ("given_up", "HTTP_404", False)),
        ("wecom_robot", Response("<html>sign in</html>"), ("unknown", "ANSWER_UNREADABLE", False)),
        ("wecom_robot", Response('{"errcode":"0"}'), ("failed", "ANSWER_UNREADABLE", False)),
        ("wecom_robot", Response("[]"), ("unknown", "ANSWER_UNREADABLE", False)),
    ],
)
async def test_answers(notify_world: NotifyWorld, provider: Provider, channel, answer, expected):
    provider.usual = answer
    await notify_world.endpoint(provider.url, channel)
    await notify_world.ask(DISPATCHER)
    await notify_world.send()
    delivery = await notify_world.delivery()
    assert (state(delivery), delivery.reason, delivery.possible_repeat) == expected


async def test_failures_are_retried_ever_more_slowly_and_given_up_with_their_reason(
    notify_world: NotifyWorld, provider: Provider
):
    provider.usual = Response(status_code=503)
    await notify_world.endpoint(provider.url)
    await notify_world.ask(DISPATCHER, urgent=True)
    waits = []
    while state(delivery := await notify_world.delivery()) != "given_up":
        await notify_world.send()
        after = await notify_world.delivery()
        if after.HasField("next_attempt_at"):
            wait = after.next_attempt_at.ToDatetime() - notify_world.clock.now().replace(tzinfo=None)
            waits.append(wait)
            await notify_world.travel(wait + timedelta(seconds=1))
    assert len(waits) == 7
    assert all(later > 1.5 * earlier for earlier, later in itertools.pairwise(waits))
    assert timedelta(seconds=30) <= waits[0] < timedelta(seconds=36)
    assert (delivery.reason, delivery.attempts) == ("HTTP_503", 8)
    assert len({headers["webhook-id"] for headers, _ in provider.received}) == 1, "a repeat is known by its id"
    assert len(provider.received) == 8


async def test_nobody_listens(notify_world: NotifyWorld):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        await notify_world.endpoint(f"http://127.0.0.1:{taken.getsockname()[1]}/hook", "wecom_robot")
        await notify_world.ask(DISPATCHER)
        await notify_world.send()
    delivery = await notify_world.delivery()
    assert (state(delivery), delivery.reason, delivery.possible_repeat) == ("failed", "CONNECT_ERROR", False)


async def crash(world: NotifyWorld, provider: Provider) -> None:
    """Dies after the provider has the message and before its answer is recorded."""
    provider.next.append("hang")
    provider.arrived.clear()
    sending = asyncio.create_task(world.send())
    await provider.arrived.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending


async def test_the_attempt_is_recorded_before_the_call(notify_world: NotifyWorld, provider: Provider):
    await notify_world.endpoint(provider.url)
    await notify_world.ask(DISPATCHER)
    await crash(notify_world, provider)
    assert state(await notify_world.delivery()) == "attempted"
    assert await attempts(notify_world) == [(1, "", "")]
    assert await notify_world.send() == 0, "nobody sends it meanwhile"


async def test_an_outcome_that_was_lost_waits_for_a_person(notify_world: NotifyWorld, provider: Provider):
    await notify_world.endpoint(provider.url, "wecom_robot")
    await notify_world.ask(DISPATCHER)
    await crash(notify_world, provider)
    await notify_world.travel(timedelta(hours=5))
    delivery = await notify_world.delivery()
    assert (state(delivery), delivery.reason) == ("unknown", "NO_ANSWER_RECORDED")
    assert await notify_world.send() == 0
    assert len(provider.received) == 1

    provider.usual = wecom(0)
    again = (
        await notify_world.deliveries().ResendDelivery(
            pb.ResendDeliveryRequest(delivery_id=delivery.delivery_id, etag=delivery.etag)
        )
    ).delivery
    assert (state(again), again.possible_repeat) == ("pending", True)
    await notify_world.send()
    assert "可能重复" in orjson.loads(provider.received[1][1])["text"]["content"]
    assert state(await notify_world.delivery()) == "delivered"


async def test_what_is_urgent_goes_out_again_by_itself_marked_as_a_possible_repeat(
    notify_world: NotifyWorld, provider: Provider
):
    await notify_world.endpoint(provider.url, "wecom_robot")
    await notify_world.ask(DISPATCHER, urgent=True)
    for _ in range(3):
        await crash(notify_world, provider)
        await notify_world.travel(timedelta(minutes=2))
    assert state(await notify_world.delivery()) == "unknown", "twice by itself, then a person decides"
    marked = ["可能重复" in orjson.loads(body)["text"]["content"] for _, body in provider.received]
    assert marked == [False, True, True]


async def test_a_person_who_found_out_settles_it(notify_world: NotifyWorld, provider: Provider):
    await notify_world.endpoint(provider.url)
    await notify_world.ask(DISPATCHER)
    settle = notify_world.deliveries().SettleDelivery
    delivery = await notify_world.delivery()
    early = await refused(
        settle(pb.SettleDeliveryRequest(delivery_id=delivery.delivery_id, arrived=True, note="对方已确认"))
    )
    assert early.reason == "MOVE_NOT_ALLOWED"
    await crash(notify_world, provider)
    await notify_world.travel(timedelta(minutes=2))
    settled = (
        await settle(pb.SettleDeliveryRequest(delivery_id=delivery.delivery_id, arrived=True, note="对方已确认"))
    ).delivery
    assert state(settled) == "delivered"
    (row,) = await notify_world.rows("notify", "select actor, purpose from audit where purpose <> ''")
    assert (row["actor"], row["purpose"]) == ("admin", "对方已确认")


async def test_an_answer_that_comes_late_is_believed(notify_world: NotifyWorld, provider: Provider):
    provider.next = ["hang"]
    await notify_world.endpoint(provider.url)
    await notify_world.ask(DISPATCHER)
    sending = asyncio.create_task(notify_world.send())
    await provider.arrived.wait()
    await notify_world.travel(timedelta(minutes=2))
    assert state(await notify_world.delivery()) == "unknown"
    provider.release.set()
    await sending
    assert state(await notify_world.delivery()) == "delivered"


async def test_two_senders_send_once(notify_world: NotifyWorld, provider: Provider):
    await notify_world.endpoint(provider.url)
    for _ in range(5):
        await notify_world.ask(DISPATCHER)
    await asyncio.gather(*(notify_world.send() for _ in range(3)))
    assert len(provider.received) == 5
    assert {state(delivery) for delivery in await notify_world.outward()} == {"delivered"}


async def test_quiet_hours_hold_back_what_can_wait(notify_world: NotifyWorld, provider: Provider):
    await notify_world.travel("2026-03-02 22:30")
    await notify_world.endpoint(provider.url)
    await notify_world.ask(DISPATCHER)
    assert await notify_world.send() == 0
    assert len(await notify_world.messages("dispatcher")) == 1, "an inbox disturbs nobody"
    await notify_world.ask(DISPATCHER, urgent=True)
    assert await notify_world.send() == 1
    await notify_world.travel("2026-03-03 06:59")
    assert await notify_world.send() == 0
    await notify_world.travel("2026-03-03 07:00")
    assert await notify_world.send() == 1


async def test_what_expired_while_it_waited_is_not_sent(notify_world: NotifyWorld, provider: Provider):
    await notify_world.travel("2026-03-02 22:30")
    await notify_world.endpoint(provider.url)
    await notify_world.ask(DISPATCHER, expires=timedelta(hours=1))
    await notify_world.travel("2026-03-03 07:00")
    await notify_world.send()
    delivery = await notify_world.delivery()
    assert (state(delivery), delivery.reason) == ("given_up", "EXPIRED")
    assert provider.received == []


async def test_one_message_per_intent_and_endpoint(notify_world: NotifyWorld, provider: Provider):
    await notify_world.endpoint(provider.url)
    intent = await notify_world.ask(DISPATCHER, ("centre", "director"))
    await notify_world.ask(DISPATCHER, intent=intent)
    await notify_world.send()
    assert len(provider.received) == 1


async def test_a_closed_endpoint_gets_nothing_more(notify_world: NotifyWorld, provider: Provider):
    made = await notify_world.endpoint(provider.url)
    await notify_world.ask(DISPATCHER)
    closed = await notify_world.endpoints().CloseEndpoint(
        endpoints_pb2.CloseEndpointRequest(endpoint_id=made.endpoint.endpoint_id)
    )
    assert not closed.endpoint.active
    await notify_world.send()
    await notify_world.ask(DISPATCHER)
    await notify_world.send()
    assert provider.received == []
    delivery = await notify_world.delivery()
    assert (state(delivery), delivery.reason) == ("given_up", "ENDPOINT_CLOSED")


async def test_an_endpoints_address_is_kept_sealed_and_shown_without_its_key(notify_world: NotifyWorld):
    made = await notify_world.endpoint("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=693a91f6", "wecom_robot")
    assert made.endpoint.address == "https://qyapi.weixin.qq.com/cgi-bin/webhook/send"
    (row,) = await notify_world.rows("notify", "select url, address from endpoint")
    assert b"693a91f6" not in row["url"]
    listed = await notify_world.endpoints("auditor").ListEndpoints(
        endpoints_pb2.ListEndpointsRequest(division="150802")
    )
    assert [endpoint.endpoint_id for endpoint in listed.endpoints] == [made.endpoint.endpoint_id]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://host/", "REQUEST_INVALID"),
        ("https:///path", "URL_INVALID"),
        ("https://user:pass@host/", "URL_INVALID"),
        ("https://host:99999/", "URL_INVALID"),
        ("https://host/#x", "URL_INVALID"),
        ("http://10.0.0.1/hook", "URL_FORBIDDEN"),
        ("http://169.254.169.254/latest/meta-data", "URL_FORBIDDEN"),
        ("https://[fd00:ec2::254]/", "URL_FORBIDDEN"),
        ("https://0xa000001/", "URL_FORBIDDEN"),
    ],
)
async def test_addresses_that_are_refused(notify_world: NotifyWorld, url, reason):
    answer = await refused(notify_world.endpoint(url))
    assert (answer.code, answer.reason) == ("INVALID_ARGUMENT", reason)
    assert answer.fields == ["url"]


async def test_what_is_meant_for_a_robot_goes_nowhere_else(notify_world: NotifyWorld, provider: Provider):
    answer = await refused(notify_world.endpoint("https://collector.example.cn/?key=1", "wecom_robot"))
    assert (answer.reason, answer.fields) == ("URL_NOT_THE_ROBOTS", ["url"])
    assert "qyapi.weixin.qq.com" in answer.zh
    await notify_world.endpoint("https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=1", "wecom_robot")


async def test_in_production_an_endpoint_is_not_on_this_machine(notify_world: NotifyWorld, provider: Provider):
    runtime = notify_world.platform.services["notify"].runtime
    runtime.settings = runtime.settings.model_copy(update={"profile": "production"})
    api = notify_module.build(runtime).rpc[endpoints_pb2.DESCRIPTOR.services_by_name["EndpointService"]]
    for url, channel in (
        ("https://127.0.0.1/", "webhook"),
        ("https://localhost/", "webhook"),
        ("https://[::1]/", "wecom_robot"),
    ):
        with pytest.raises(InvalidArgument, match="URL_FORBIDDEN"):
            api._service._check_host(channel, httpx.URL(url).host)


@pytest.mark.parametrize("channel", ["webhook", "wecom_robot"])
async def test_a_name_that_leads_inside_is_given_up_when_it_is_called(
    notify_world: NotifyWorld, monkeypatch: pytest.MonkeyPatch, channel: str
):
    await notify_world.endpoint(
        "https://qyapi.weixin.qq.com/hook" if channel == "wecom_robot" else "https://hooks.example.cn/", channel
    )
    await notify_world.ask(DISPATCHER)

    async def rebound(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 0))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", rebound)
    await notify_world.send()
    delivery = await notify_world.delivery()
    assert (state(delivery), delivery.reason) == ("given_up", "ADDRESS_FORBIDDEN")


async def test_another_countys_administrator_sees_and_does_nothing(notify_world: NotifyWorld, provider: Provider):
    made = await notify_world.endpoint(provider.url)
    await notify_world.ask(DISPATCHER)
    delivery = await notify_world.delivery()
    deliveries, endpoints = notify_world.deliveries("admin-2"), notify_world.endpoints("admin-2")
    assert not (await deliveries.ListDeliveries(pb.ListDeliveriesRequest())).deliveries
    assert not (await endpoints.ListEndpoints(endpoints_pb2.ListEndpointsRequest())).endpoints
    for call in (
        deliveries.ListDeliveries(pb.ListDeliveriesRequest(division="150802")),
        deliveries.GetDelivery(pb.GetDeliveryRequest(delivery_id=delivery.delivery_id)),
        deliveries.ListDeliveryAttempts(pb.ListDeliveryAttemptsRequest(delivery_id=delivery.delivery_id)),
        deliveries.ResendDelivery(pb.ResendDeliveryRequest(delivery_id=delivery.delivery_id)),
        deliveries.SettleDelivery(pb.SettleDeliveryRequest(delivery_id=delivery.delivery_id, note="x")),
        endpoints.ListEndpoints(endpoints_pb2.ListEndpointsRequest(division="150802")),
        endpoints.GetEndpoint(endpoints_pb2.GetEndpointRequest(endpoint_id=made.endpoint.endpoint_id)),
        endpoints.CloseEndpoint(endpoints_pb2.CloseEndpointRequest(endpoint_id=made.endpoint.endpoint_id)),
    ):
        assert (await refused(call)).code == "NOT_FOUND"
    create = endpoints_pb2.CreateEndpointRequest(department_id=made.endpoint.department_id, channel=2, url=provider.url)
    assert (await refused(endpoints.CreateEndpoint(create))).reason == "ENDPOINT_DEPARTMENT_UNKNOWN"


async def test_people_without_the_permission_are_refused(notify_world: NotifyWorld):
    assert (
        await refused(notify_world.deliveries("dispatcher").ListDeliveries(pb.ListDeliveriesRequest()))
    ).code == "PERMISSION_DENIED"
    resend = notify_world.deliveries("auditor").ResendDelivery(
        pb.ResendDeliveryRequest(delivery_id="0190a000-0000-7000-8000-000000000000")
    )
    assert (await refused(resend)).code == "PERMISSION_DENIED"


async def test_deliveries_are_listed_by_division_and_state(notify_world: NotifyWorld, provider: Provider):
    provider.next = [Response(status_code=404)]
    await notify_world.endpoint(provider.url)
    await notify_world.ask(DISPATCHER, division="150802013")
    await notify_world.send()
    await notify_world.ask(DISPATCHER, division="150802013006")
    await notify_world.send()
    listed = notify_world.deliveries().ListDeliveries
    for division, count in (("", 2), ("150802", 2), ("150802013", 2), ("150802013006", 1), ("150802014", 0)):
        assert len((await listed(pb.ListDeliveriesRequest(division=division))).deliveries) == count
    assert len(await notify_world.outward("given_up")) == 1
    assert len(await notify_world.outward("delivered")) == 1
    assert len(await notify_world.outward("unknown")) == 0


async def test_the_audit_of_deliveries_has_no_gaps(notify_world: NotifyWorld, provider: Provider):
    provider.next = [Response(status_code=503)]
    await notify_world.endpoint(provider.url)
    await notify_world.ask(DISPATCHER)
    await notify_world.send()
    await notify_world.travel(timedelta(minutes=5))
    await notify_world.send()
    rows = await notify_world.rows(
        "notify", "select version, action from audit where entity = 'delivery' order by version"
    )
    assert [row["version"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[1]["action"] == "notify.attempt"


async def test_calls_under_way_are_finished_when_the_process_drains(notify_world: NotifyWorld, provider: Provider):
    provider.next = ["hang"]
    await notify_world.endpoint(provider.url)
    await notify_world.ask(DISPATCHER)
    worker = asyncio.create_task(notify_world.sender.run())
    await provider.arrived.wait()
    worker.cancel()
    provider.release.set()
    with pytest.raises(asyncio.CancelledError):
        await worker
    assert state(await notify_world.delivery()) == "delivered"


async def test_what_cannot_be_begun_does_not_stand_in_the_way(notify_world: NotifyWorld, provider: Provider):
    await notify_world.endpoint(provider.url)
    await notify_world.ask(DISPATCHER)
    await notify_world.platform.services["notify"].runtime.pool.execute("update endpoint set url = 'broken'")
    await notify_world.send()
    delivery = await notify_world.delivery()
    assert (state(delivery), delivery.reason) == ("given_up", "INTERNAL")
