"""REST in, RPC out, against a real gRPC server of the shop contract."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import grpc
import httpx
import pytest

from kit.config import CHECKOUT
from kit.errors import (
    Aborted,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Violation,
)
from kit.identity import Principal
from kit.rpc.status import status_of
from kit.texts import Texts
from services.gateway.transcode import Api, routes

TEXTS = Texts.load(CHECKOUT / "data" / "texts")
LIMIT = 4096
SIGNED = {"Authorization": "Bearer abc"}


class Shop:
    """What the shop answers; errors are raised as domain errors and sent as the kit sends them."""

    def __init__(self, pb):
        self.pb = pb
        self.seen = []

    def GetItem(self, request, metadata):
        if request.item_id == "slow":
            raise TimeoutError
        errors = {
            "missing": NotFound("NOT_FOUND"),
            "foreign": PermissionDenied("PERMISSION_MISSING", permission="shop.items.get"),
            "unknown": Unauthenticated("TOKEN_MISSING"),
            "busy": ResourceExhausted("UNAVAILABLE"),
            "locked": ResourceExhausted(
                "LOOKUP_LOCKED",
                retry_after=timedelta(minutes=14, seconds=59.2),
                until=datetime(2026, 3, 2, 1, 15, tzinfo=UTC),
            ),
            "away": Unavailable("UNAVAILABLE"),
            "broken": ZeroDivisionError(),
        }
        if request.item_id in errors:
            raise errors[request.item_id]
        title = metadata.get("authorization", "") if request.full else "黄河"
        return self.pb.GetItemResponse(item=self.pb.Item(id=request.item_id, title=title, etag="3"))

    def ListItems(self, request, metadata):
        self.seen.append(request)
        return self.pb.ListItemsResponse(items=[self.pb.Item(id="1", etag="9")], next_page_token="n")

    def CreateItem(self, request, metadata):
        if request.title == "长" * 9:
            raise InvalidArgument(
                "REQUEST_INVALID", violations=(Violation("parts[1].place.lat", "double.gte", "must be at least -90"),)
            )
        return self.pb.CreateItemResponse(item=self.pb.Item(title=request.title, note=request.request_id))

    def UpdateItem(self, request, metadata):
        if request.etag and request.etag != "3":
            raise Aborted("ETAG_STALE")
        if request.item.title == "长":
            raise InvalidArgument(
                "REQUEST_INVALID", violations=(Violation("item.title", "string.max_len", "is too long"),)
            )
        return self.pb.UpdateItemResponse(item=self.pb.Item(id=request.item.id, title=request.item.title, etag="4"))

    def CloseItem(self, request, metadata):
        raise FailedPrecondition("MOVE_NOT_ALLOWED", state="closed", action="close")

    def DeleteItem(self, request, metadata):
        return self.pb.google_dot_protobuf_dot_empty__pb2.Empty()


@asynccontextmanager
async def served(pb, shop):
    """The shop's server, and a channel to it."""
    service = pb.DESCRIPTOR.services_by_name["ShopService"]

    def handler(method):
        async def answer(request, context):
            try:
                return getattr(shop, method.name)(request, dict(context.invocation_metadata()))
            except TimeoutError:
                await asyncio.sleep(60)
            except (NotFound, PermissionDenied, Unauthenticated, ResourceExhausted, Unavailable, InvalidArgument, Aborted,
                    FailedPrecondition) as error:  # fmt: skip
                status = status_of(error, TEXTS, method.input_type)
                context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
                await context.abort(error.code, status.message)

        request = getattr(pb, method.input_type.name)
        return grpc.unary_unary_rpc_method_handler(answer, request.FromString, lambda reply: reply.SerializeToString())

    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service.full_name, {m.name: handler(m) for m in service.methods})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


async def elsewhere(scope, receive, send):
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Open:
    """Nobody is counted, and nobody is known."""

    async def admit(self, authorization, scope, **_):
        return Principal.anonymous(), ("hetao-counted", "")


OPEN = Open()


@pytest.fixture
async def world(shop):
    """(a client of the API, the shop behind it)"""
    fake = Shop(shop)
    async with served(shop, fake) as channel:
        paths = routes([shop.DESCRIPTOR.services_by_name["ShopService"]], lambda name: channel, [])
        api = Api(elsewhere, paths=paths, admission=OPEN, texts=TEXTS, limit=LIMIT, timeout=0.5)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(api), base_url="http://hetao", headers=SIGNED
        ) as client:
            yield client, fake


async def test_a_resource_is_answered_with_its_etag(world):
    client, _ = world
    answer = await client.get("/v1/items/7")
    assert answer.status_code == 200
    assert answer.json()["title"] == "黄河"
    assert answer.json()["id"] == "7"
    assert answer.headers["etag"] == '"3"'
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize(
    ("tag", "status"), [('"3"', 304), ('W/"3"', 304), ('"1", "3"', 304), ("*", 304), ('"2"', 200), ("3", 200)]
)
async def test_what_the_caller_has_is_not_sent_again(world, tag, status):
    client, _ = world
    answer = await client.get("/v1/items/7", headers={"If-None-Match": tag})
    assert answer.status_code == status
    assert bool(answer.content) == (status == 200)


async def test_the_callers_token_goes_along(world):
    client, _ = world
    answer = await client.get("/v1/items/7?full=true", headers={"Authorization": "Bearer abc"})
    assert answer.json()["title"] == "Bearer abc"


async def test_without_a_token_only_what_is_public_is_read(world):
    client, _ = world
    del client.headers["authorization"]
    answer = await client.get("/v1/items/7")
    assert (answer.status_code, answer.json()["reason"]) == (401, "TOKEN_MISSING")
    assert (await client.post("/v1/items", json={"title": "a"})).status_code == 200


async def test_a_token_that_no_wire_carries_is_no_token(world):
    client, _ = world
    answer = await client.get("/v1/items/7", headers={"Authorization": b"Bearer \xe9"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_query_parameters_are_bound_by_their_json_names(world):
    client, shop = world
    query = "pageSize=20&filter.states=STATE_OPEN&filter.states=STATE_CLOSED&filter.sold=false&tags=a&tags=%E9%BB%84&priceFen=-7"
    query += "&share=0.5&byPrice=true&filter.madeAfter=2026-01-01T00:00:00%2B08:00"
    assert (await client.get(f"/v1/items?{query}")).status_code == 200
    request = shop.seen[0]
    assert request.page_size == 20
    assert list(request.filter.states) == [1, 2]
    assert request.filter.HasField("sold")
    assert not request.filter.sold
    assert list(request.tags) == ["a", "黄"]
    assert request.price_fen == -7
    assert request.share == 0.5
    assert request.by_price
    assert request.filter.made_after.ToJsonString() == "2025-12-31T16:00:00Z"
    await client.get("/v1/shelves/north/items?pageSize=1")
    assert shop.seen[1].filter.shelf == "north"


@pytest.mark.parametrize(
    ("query", "field", "reason"),
    [
        ("page_size=1", "page_size", "FIELD_UNKNOWN"),
        ("pageSize=x", "pageSize", "VALUE_TYPE"),
        ("pageSize=1.0", "pageSize", "VALUE_TYPE"),
        ("pageSize=", "pageSize", "VALUE_TYPE"),
        ("pageSize=99999999999", "pageSize", "VALUE_RANGE"),
        ("pageSize=1&pageSize=2", "pageSize", "PARAMETER_TWICE"),
        ("filter.sold=1", "filter.sold", "VALUE_TYPE"),
        ("filter.states=OPEN", "filter.states", "VALUE_ENUM"),
        ("filter.madeAfter=today", "filter.madeAfter", "VALUE_TIME"),
        ("filter=x", "filter", "FIELD_UNKNOWN"),
        ("tags=%00", "tags", "VALUE_CHARACTER"),
        ("priceFen=1e3", "priceFen", "VALUE_TYPE"),
        ("share=nan", "share", "VALUE_TYPE"),
        ("share=1e999", "share", "VALUE_RANGE"),
        ("byPrice=true&byName=true", "byName", "ONEOF_TWICE"),
        ("tags=%ff", "", "QUERY_UNREADABLE"),
    ],
)
async def test_a_wrong_query_names_its_parameter(world, query, field, reason):
    client, _ = world
    answer = await client.get(f"/v1/items?{query}")
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["field"], error["reason"]) == (field, reason)
    assert error["message"] != error["messageEn"]


async def test_a_problem_is_told_in_both_languages(world):
    client, _ = world
    answer = await client.get("/v1/items/missing", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"})
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "type": "/docs/errors#NOT_FOUND",
        "title": "没有找到",
        "titleEn": "Not found",
        "status": 404,
        "detail": "没有找到",
        "detailEn": "not found",
        "reason": "NOT_FOUND",
        "code": "NOT_FOUND",
        "traceId": answer.json()["traceId"],
        "errors": [],
    }


@pytest.mark.parametrize(
    ("item", "status", "code"),
    [
        ("foreign", 403, "PERMISSION_DENIED"),
        ("unknown", 401, "UNAUTHENTICATED"),
        ("busy", 429, "RESOURCE_EXHAUSTED"),
        ("away", 503, "UNAVAILABLE"),
        ("slow", 504, "DEADLINE_EXCEEDED"),
        ("broken", 500, "UNKNOWN"),
    ],
)
async def test_codes_become_the_status_that_google_rpc_names(world, item, status, code):
    client, _ = world
    answer = await client.get(f"/v1/items/{item}")
    assert answer.status_code == answer.json()["status"] == status
    assert answer.json()["code"] == code
    assert ("retry-after" in answer.headers) == (status in (429, 503))


async def test_who_is_shut_out_is_told_until_when(world):
    client, _ = world
    locked = await client.get("/v1/items/locked")
    assert locked.headers["retry-after"] == "900"
    assert locked.json()["detail"] == "输错次数过多，请于 2026-03-02 09:15 之后再试"
    assert locked.json()["detailEn"] == "too many wrong tries: try again after 2026-03-02 09:15"


async def test_a_service_that_is_not_there_is_unavailable(shop):
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        paths = routes([shop.DESCRIPTOR.services_by_name["ShopService"]], lambda name: channel, [])
        api = Api(elsewhere, paths=paths, admission=OPEN, texts=TEXTS, limit=LIMIT, timeout=5)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(api), base_url="http://hetao", headers=SIGNED
        ) as client:
            answer = await client.get("/v1/items/7")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "服务暂不可用，请稍后重试"


async def test_a_body_is_read_and_the_idempotency_key_is_the_request_id(world):
    client, _ = world
    for headers in ({"Idempotency-Key": "k1"}, {"Idempotency-Key": '"k1"'}):
        answer = await client.post("/v1/items", json={"title": "a"}, headers=headers)
        assert answer.json()["note"] == "k1"
    answer = await client.post("/v1/items", json={"title": "a", "requestId": "k1"}, headers={"Idempotency-Key": "k1"})
    assert answer.json()["note"] == "k1"
    answer = await client.post("/v1/items", json={"requestId": "k2"}, headers={"Idempotency-Key": "k1"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"{", {}, 400, "BODY_NOT_JSON"),
        (b"NaN", {}, 400, "BODY_NOT_JSON"),
        (b'{"title": "\xff"}', {}, 400, "BODY_NOT_UTF8"),
        (b'{"title": "\\ud800"}', {}, 400, "BODY_NOT_JSON"),
        (b"[" * 4000, {}, 400, "BODY_NOT_JSON"),
        (b"[]", {}, 400, "REQUEST_INVALID"),
        (b"null", {}, 400, "REQUEST_INVALID"),
        (b'{"colour": 1}', {}, 400, "REQUEST_INVALID"),
        (b'{"title": "' + b"a" * LIMIT + b'"}', {}, 413, "BODY_TOO_LARGE"),
        (b"title=a", {"content-type": "application/x-www-form-urlencoded"}, 415, "MEDIA_TYPE_UNSUPPORTED"),
        (b"{}", {"content-type": "application/json; charset=gbk"}, 415, "MEDIA_TYPE_UNSUPPORTED"),
    ],
)
async def test_a_body_that_is_none_is_refused(world, body, headers, status, reason):
    client, _ = world
    answer = await client.post("/v1/items", content=body, headers={"content-type": "application/json", **headers})
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)


async def test_a_field_that_is_there_twice_is_named(world):
    client, _ = world
    headers = {"content-type": "application/json"}
    answer = await client.post("/v1/items", content=b'{"title": "a", "title": "b"}', headers=headers)
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["field"], error["reason"]) == ("title", "FIELD_TWICE")
    assert (error["message"], error["messageEn"]) == ("同一字段写了两次", "the field is there twice")


async def test_an_endless_body_is_refused_while_it_comes_in(world):
    client, _ = world
    sent = 0

    async def endless():
        nonlocal sent
        while sent < 100 * LIMIT:
            sent += 1024
            yield b" " * 1024

    answer = await client.post("/v1/items", content=endless(), headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert sent <= 2 * LIMIT


async def test_a_rule_that_the_service_found_broken_names_the_callers_field(world):
    client, _ = world
    answer = await client.post("/v1/items", json={"title": "长" * 9})
    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert error["field"] == "parts[1].place.lat"
    assert error["labelEn"] == "Lat"
    assert error["messageEn"] == "must be at least -90"
    assert error["reason"] == "DOUBLE_GTE"


async def test_a_patch_names_what_it_changes(world):
    client, _ = world
    answer = await client.patch("/v1/items/7?updateMask=title,place.lat", json={"title": "b"})
    assert answer.status_code == 200
    assert answer.json()["title"] == "b"
    assert answer.json()["id"] == "7"
    for query, reason in {"": "MASK_MISSING", "?updateMask=": "MASK_MISSING", "?updateMask=colour": "MASK_UNKNOWN",
                          "?updateMask=id": "MASK_UNKNOWN"}.items():  # fmt: skip
        answer = await client.patch(f"/v1/items/7{query}", json={"title": "b"})
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["reason"] == reason
    answer = await client.patch("/v1/items/7?updateMask=title", json={"id": "8"})
    assert answer.json()["errors"][0]["field"] == "id"
    answer = await client.patch("/v1/items/7?updateMask=title", json={"title": "长"})
    assert answer.json()["errors"][0]["field"] == "title"


async def test_if_match_is_the_etag(world):
    client, _ = world
    url, body = "/v1/items/7?updateMask=title", {"title": "b"}
    assert (await client.patch(url, json=body, headers={"If-Match": '"3"'})).status_code == 200
    assert (await client.patch(url, json=body, headers={"If-Match": "*"})).status_code == 200
    stale = await client.patch(url, json=body, headers={"If-Match": '"2"'})
    assert (stale.status_code, stale.json()["reason"]) == (412, "ETAG_STALE")
    weak = await client.patch(url, json=body, headers={"If-Match": 'W/"3"'})
    assert weak.status_code == 412
    without = await client.patch(f"{url}&etag=2", json=body)
    assert (without.status_code, without.json()["reason"]) == (409, "ETAG_STALE")
    for tag in ("3", '"1", "3"', ""):
        assert (await client.patch(url, json=body, headers={"If-Match": tag})).status_code == 400
    assert (await client.patch(f"{url}&etag=2", json=body, headers={"If-Match": '"3"'})).status_code == 400
    assert (await client.post("/v1/items", json={}, headers={"If-Match": '"3"'})).status_code == 400


async def test_a_state_that_does_not_allow_it(world):
    client, _ = world
    answer = await client.post("/v1/items/7:close")
    assert answer.status_code == 400
    assert answer.json()["detail"] == "当前状态（已结案）不允许此操作（结案）"


async def test_methods(world):
    client, _ = world
    answer = await client.put("/v1/items/7")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"
    head = await client.head("/v1/items/7")
    assert (head.status_code, head.content) == (200, b"")
    assert int(head.headers["content-length"]) > 0
    options = await client.options("/v1/items/7")
    assert (options.status_code, options.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, PATCH")
    assert (await client.options("/v1/nothing")).status_code == 404
    assert (await client.delete("/v1/items/7")).json() == {}


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/nothing", 404), ("/v1/items/%ff", 400), ("/v1/items/", 404), ("/", 299), ("/v1/media", 299)],
)
async def test_paths(world, path, status):
    client, _ = world
    assert (await client.get(path)).status_code == status
