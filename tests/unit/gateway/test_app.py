"""What the gateway serves beside RPCs: health, the reference, photos, the demo's sign-in."""

import asyncio
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import BytesIO

import httpx
import orjson
import pytest
from PIL import Image

from kit.clock import Clock, VirtualClock
from kit.config import CHECKOUT
from kit.errors import StartupError
from kit.identity import Roles
from kit.issuer import DemoIssuer
from kit.limits import Limits
from kit.logs import Json
from kit.module import Runtime
from kit.redis import Redis
from kit.sealing import Keys
from kit.statutory import Deadlines
from kit.texts import Texts
from kit.verifier import Verifier
from services.gateway import app as gateway
from services.gateway.module import MODULE, listen
from tests.memory_log import MemoryLog
from tests.waiting import until

UPLOADER, LOOKER = "grid-worker", "auditor"
ROLES = Roles(
    {
        UPLOADER: ["media.create", "media.get"],
        LOOKER: ["media.get", "media.evidence"],
        "dispatcher": ["media.create", "media.get", "media.evidence"],
    }
)
FOR_EVIDENCE = {"original": "true", "reason": "核对拍摄地点"}


class Nowhere:
    """A channel to services that are not there."""

    def unary_unary(self, *_, **__):
        async def call(*_, **__):
            raise AssertionError("no service is asked here")

        return call


@pytest.fixture
def runtime(settings):
    settings = settings.model_copy(update={"http": settings.http.model_copy(update={"upload_limit": 64 * 1024})})
    clock = Clock()
    issuer = DemoIssuer.open(settings, clock, CHECKOUT / "data" / "demo" / "accounts.toml")
    keys = Keys.open_or_create(settings.key_file, clock.now(), data_exists=False)
    return Runtime(
        MODULE,
        settings=settings,
        clock=clock,
        keys=keys,
        limits=Limits.of(settings, Redis.open(settings), keys),
        verifier=Verifier.of(settings, ROLES, clock, issuer),
        issuer=issuer,
        deadlines=Deadlines.load(CHECKOUT / "data"),
        texts=Texts.load(CHECKOUT / "data" / "texts"),
        channel=lambda name: Nowhere(),
        pools=None,
        readiness=dict,
        log=MemoryLog(),
    )


@pytest.fixture
async def client(runtime):
    transport = httpx.ASGITransport(gateway.create(runtime), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hetao") as client:
        yield client


def as_(runtime, account):
    return {"Authorization": f"Bearer {runtime.issuer.mint(account)}"}


def picture(size=(64, 48), **options):
    out = BytesIO()
    Image.new("RGB", size, "green").save(out, "JPEG", **options)
    return out.getvalue()


async def test_alive_and_ready(client, runtime):
    assert (await client.get("/healthz")).json() == {"status": "ok"}
    assert (await client.get("/readyz")).json() == {"status": "ok", "waitingFor": {}}
    runtime.readiness = lambda: {"database": "away"}
    waiting = await client.get("/readyz")
    assert waiting.status_code == 503
    assert waiting.json()["waitingFor"] == {"database": "away"}


async def test_the_reference_can_be_read_without_anything_from_elsewhere(client):
    page = await client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path in (
        "/docs",
        "/docs/docs.js",
        "/docs/docs.css",
        "/docs/errors",
        "/progress",
        "/progress/progress.js",
        "/progress/progress.css",
    ):
        answer = await client.get(path)
        assert answer.status_code == 200
        assert "//" not in answer.text.replace("http://www.w3.org", "").replace("// Shows", "")
    assert 'id="NOT_FOUND"' in (await client.get("/docs/errors")).text
    assert (await client.get("/openapi.json")).json()["openapi"] == "3.1.0"


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/nothing", 404, "PATH_UNKNOWN"),
        ("GET", "/v1/nothing", 404, "PATH_UNKNOWN"),
        ("POST", "/healthz", 405, "METHOD_NOT_ALLOWED"),
        ("DELETE", "/v1/media", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/v1/media/", 404, "PATH_UNKNOWN"),
        ("GET", "/v1/media/x?original=maybe", 400, "QUERY_UNREADABLE"),
        ("GET", "/v1/media/x?size=1", 400, "QUERY_UNREADABLE"),
        ("GET", "/v1/media/x?reason=without", 400, "QUERY_UNREADABLE"),
        ("GET", "/v1/media/x?original=true&original=false", 400, "QUERY_UNREADABLE"),
    ],
)
async def test_what_is_not_there_is_told_as_a_problem(client, method, path, status, reason):
    answer = await client.request(method, path)
    assert (answer.status_code, answer.json()["reason"]) == (status, reason)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    if status == 405:
        assert answer.headers["allow"]


async def test_a_photo_comes_back_without_its_place(client, runtime):
    exif = Image.Exif()
    exif.get_ifd(0x8825)[2] = (40.0, 45.0, 28.0)
    data = picture(exif=exif)
    as_worker, as_auditor = as_(runtime, UPLOADER), as_(runtime, LOOKER)
    by_form = await client.post("/v1/media", files={"file": ("身份.jpg", data, "text/html")}, headers=as_worker)
    assert by_form.status_code == 200
    photo = by_form.json()
    assert photo == {"mediaId": photo["mediaId"], "type": "image/jpeg", "width": 64, "height": 48, "size": len(data)}
    as_bytes = await client.post("/v1/media", content=data, headers={**as_worker, "content-type": "image/jpeg"})
    assert as_bytes.json() == photo

    shown = await client.get(f"/v1/media/{photo['mediaId']}", headers=as_worker)
    assert shown.headers["content-type"] == "image/jpeg"
    assert not Image.open(BytesIO(shown.content)).getexif()
    again = await client.get(
        f"/v1/media/{photo['mediaId']}", headers={**as_worker, "If-None-Match": shown.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")
    assert (await client.head(f"/v1/media/{photo['mediaId']}", headers=as_worker)).status_code == 200

    path = f"/v1/media/{photo['mediaId']}"
    assert (await client.get(path, params=FOR_EVIDENCE, headers=as_worker)).status_code == 403
    original = await client.get(path, params=FOR_EVIDENCE, headers=as_auditor)
    assert original.content == data
    assert original.headers["content-disposition"].startswith("attachment")
    assert original.headers["cache-control"] == "no-store"


async def see(client, runtime, account, photo, **query):
    answer = await client.get(f"/v1/media/{photo}", params=query, headers=as_(runtime, account))
    return answer.status_code if answer.status_code == 200 else (answer.status_code, answer.json()["reason"])


async def upload(client, runtime, account, content):
    answer = await client.post("/v1/media", content=content, headers=as_(runtime, account))
    return answer.json()["mediaId"]


GONE = (404, "MEDIA_UNKNOWN")


async def test_a_photo_of_another_county_is_not_there(client, runtime):
    photo = await upload(client, runtime, UPLOADER, picture())
    assert await see(client, runtime, UPLOADER, photo) == 200
    assert await see(client, runtime, LOOKER, photo, **FOR_EVIDENCE) == 200
    for foreigner in ("grid-worker-2", "dispatcher-2", "auditor-2"):
        assert await see(client, runtime, foreigner, photo) == GONE
    for foreigner in ("dispatcher-2", "auditor-2"):
        assert await see(client, runtime, foreigner, photo, **FOR_EVIDENCE) == GONE
    foreign, unknown = [
        (await client.get(f"/v1/media/{ident}", headers=as_(runtime, "auditor-2"))).json()
        for ident in (photo, "0" * 64)
    ]
    assert {**foreign, "traceId": ""} == {**unknown, "traceId": ""}


async def test_a_photo_that_two_counties_brought_is_for_both(client, runtime):
    photo = await upload(client, runtime, UPLOADER, picture())
    assert photo == await upload(client, runtime, "grid-worker-2", picture())
    for account in (LOOKER, "auditor-2"):
        assert await see(client, runtime, account, photo) == 200
        assert await see(client, runtime, account, photo, **FOR_EVIDENCE) == 200


async def test_the_rendition_is_seen_in_the_whole_county_and_the_evidence_where_it_belongs(client, runtime):
    photo = await upload(client, runtime, UPLOADER, picture())  # of the community 150802013006
    neighbour = {"roles": [LOOKER], "divisions": ["150802002005"]}
    street = {"roles": [LOOKER], "divisions": ["150802013"]}
    runtime.issuer._accounts |= {"neighbour": neighbour, "street": street}
    assert await see(client, runtime, "neighbour", photo) == 200
    assert await see(client, runtime, "neighbour", photo, **FOR_EVIDENCE) == GONE
    assert await see(client, runtime, "street", photo, **FOR_EVIDENCE) == 200


async def test_each_look_at_the_evidence_is_recorded_with_its_reason(client, runtime, caplog):
    photo = await upload(client, runtime, UPLOADER, picture())
    for reason in ({}, {"reason": "看看"}, {"reason": "x" * 201}, {"reason": "一行\n又一行"}):
        path, headers = f"/v1/media/{photo}", as_(runtime, LOOKER)
        refused = (await client.get(path, params={"original": "true", **reason}, headers=headers)).json()
        assert (refused["status"], refused["reason"]) == (400, "EVIDENCE_REASON")
        assert [(one["field"], one["label"]) for one in refused["errors"]] == [("reason", "事由")]
    assert await see(client, runtime, "auditor-2", photo, **FOR_EVIDENCE) == GONE
    assert not [record for record in caplog.records if record.name == "hetao.evidence"]
    assert await see(client, runtime, LOOKER, photo, **FOR_EVIDENCE) == 200
    (record,) = [record for record in caplog.records if record.name == "hetao.evidence"]
    facts = {"account": LOOKER, "media": photo, "reason": "核对拍摄地点"}
    told = orjson.loads(Json().format(record))
    assert told["logger"] == "hetao.evidence"
    assert {name: told[name] for name in facts} == facts


async def test_who_may_not_upload(client, runtime):
    assert (await client.post("/v1/media", content=picture())).status_code == 401
    refused = await client.post("/v1/media", content=picture(), headers=as_(runtime, LOOKER))
    assert (refused.status_code, refused.json()["reason"]) == (403, "PERMISSION_MISSING")
    bad = await client.post("/v1/media", content=picture(), headers={"Authorization": "Bearer x"})
    assert (bad.status_code, bad.headers["www-authenticate"]) == (401, "Bearer")
    missing = await client.get(f"/v1/media/{'0' * 64}", headers=as_(runtime, LOOKER))
    assert (missing.status_code, missing.json()["reason"]) == (404, "MEDIA_UNKNOWN")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"content": b"no photo", "headers": {"content-type": "image/jpeg"}}, "PHOTO_TYPE_UNKNOWN"),
        ({"content": b""}, "PHOTO_TYPE_UNKNOWN"),
        ({"content": b"\xff\xd8\xff broken"}, "PHOTO_UNREADABLE"),
        ({"files": {"other": b"x"}}, "FILE_MISSING"),
        ({"data": {"file": "x"}, "files": {"a": b""}}, "FILE_MISSING"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, "FORM_UNREADABLE"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=a"}}, "FORM_UNREADABLE"),
        ({"files": [("file", b"a"), ("file", b"b")]}, "FORM_UNREADABLE"),
    ],
)
async def test_what_is_no_photo(client, runtime, request_, reason):
    headers = {**as_(runtime, UPLOADER), **request_.pop("headers", {})}
    answer = await client.post("/v1/media", headers=headers, **request_)
    assert (answer.status_code, answer.json()["reason"]) == (400, reason)


async def test_too_large_an_upload_is_refused_while_it_comes_in(client, runtime):
    sent = 0

    async def endless():
        nonlocal sent
        while sent < 10 * 1024 * 1024:
            sent += 8192
            yield b"\xff\xd8\xff" + b" " * 8189

    answer = await client.post("/v1/media", content=endless(), headers=as_(runtime, UPLOADER))
    assert (answer.status_code, answer.json()["reason"]) == (413, "BODY_TOO_LARGE")
    assert sent < 100 * 1024
    declared = {"content-length": str(10**8), **as_(runtime, UPLOADER)}
    assert (await client.post("/v1/media", content=b"x", headers=declared)).status_code == 413
    form = await client.post("/v1/media", files={"file": b"x" * 70_000}, headers=as_(runtime, UPLOADER))
    assert form.status_code == 413


async def test_a_page_of_another_origin_is_served_only_when_configured(client, runtime):
    preflight = {"Origin": "https://app.example.cn", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in (await client.options("/v1/cases", headers=preflight)).headers
    http = runtime.settings.http.model_copy(update={"cors_origins": ["https://app.example.cn"]})
    runtime.settings = runtime.settings.model_copy(update={"http": http})
    transport = httpx.ASGITransport(gateway.create(runtime))
    async with httpx.AsyncClient(transport=transport, base_url="http://hetao") as allowed:
        answer = await allowed.options("/v1/cases", headers=preflight)
        assert answer.headers["access-control-allow-origin"] == "https://app.example.cn"
        other = await allowed.options("/v1/cases", headers={**preflight, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers


async def test_the_access_log_names_no_photo(client, runtime, caplog):
    caplog.set_level("INFO", logger="hetao.access")
    await client.get(f"/v1/media/{'0' * 64}", headers=as_(runtime, LOOKER))
    await client.get("/healthz")
    await client.get("/v1/cases/secret?division=secret")
    lines = [record.getMessage().rsplit(" ", 2)[0] for record in caplog.records if record.name == "hetao.access"]
    assert lines == ["GET /v1/media/{media_id} 404", "GET /v1/cases/{case_id} 401"]


async def test_an_unforeseen_error_shows_nothing_of_itself(client, runtime, monkeypatch):
    async def broken(token):
        raise RuntimeError("secret")

    monkeypatch.setattr(runtime.verifier, "verify", broken)
    answer = await client.get(f"/v1/media/{'0' * 64}", headers={"Authorization": "Bearer x"})
    assert answer.status_code == 500
    assert answer.json()["reason"] == "INTERNAL"
    assert "secret" not in answer.text


async def test_the_demo_issuer_signs_people_in(client, runtime):
    answer = await client.post("/issuer/token", data={"grant_type": "password", "username": UPLOADER})
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert (await client.get(f"/v1/media/{'0' * 64}", headers=headers)).status_code == 404


def test_a_taken_port_is_one_clear_line():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(StartupError, match="HETAO_HTTP__PORT"):
            listen("127.0.0.1", port)


async def test_the_server_answers_on_its_port_and_drains(runtime):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    http = runtime.settings.http.model_copy(update={"port": port})
    runtime.settings = runtime.settings.model_copy(update={"http": http})
    serve, _ = MODULE.build(runtime).workers
    serving = asyncio.create_task(serve())
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        answers: list[httpx.Response] = []

        async def answered() -> bool:
            with suppress(httpx.ConnectError):
                answers.append(await client.get("/healthz"))
            return bool(answers)

        await until(answered, "it answers")
        (answer,) = answers
        assert answer.json() == {"status": "ok"}
        assert "server" not in answer.headers
        body = orjson.dumps({"title": "x" * 2_000_000})
        headers = {"content-type": "application/json", **as_(runtime, UPLOADER)}
        large = await client.post("/v1/cases", content=body, headers=headers)
        assert large.status_code == 413
        assert (await client.get("/healthz")).status_code == 200
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


# -- thumbnails, and links for image tags ------------------------------------------------------------------------------


async def links(client, runtime, account, **body):
    return await client.post("/v1/media:sign", json=body, headers=as_(runtime, account))


async def test_a_thumbnail_is_small_and_made_once(client, runtime):
    photo = await upload(client, runtime, UPLOADER, picture(size=(2000, 1000)))
    for size, edge in (("small", 160), ("medium", 640)):
        for _ in range(2):
            shown = await client.get(f"/v1/media/{photo}?size={size}", headers=as_(runtime, LOOKER))
            assert Image.open(BytesIO(shown.content)).size == (edge, edge // 2)
        unchanged = {**as_(runtime, LOOKER), "If-None-Match": shown.headers["etag"]}
        assert (await client.get(f"/v1/media/{photo}?size={size}", headers=unchanged)).status_code == 304
        assert (await client.get(f"/v1/media/{photo}", headers=unchanged)).status_code == 200
    tiny = await upload(client, runtime, UPLOADER, picture())
    shown = await client.get(f"/v1/media/{tiny}?size=medium", headers=as_(runtime, LOOKER))
    assert Image.open(BytesIO(shown.content)).size == (64, 48), "nothing is made larger"


async def test_a_link_shows_a_photo_without_a_token(client, runtime):
    photo = await upload(client, runtime, UPLOADER, picture(size=(800, 400)))
    answer = await links(client, runtime, LOOKER, mediaIds=[photo, photo, "0" * 64], size="small")
    assert answer.headers["cache-control"] == "no-store"
    (link,) = answer.json()["links"]
    assert link["mediaId"] == photo
    shown = await client.get(link["url"])
    assert shown.status_code == 200
    assert Image.open(BytesIO(shown.content)).size == (160, 80)
    assert shown.headers["cache-control"].startswith("private, max-age=")
    assert (await client.head(link["url"])).status_code == 200
    (whole,) = (await links(client, runtime, LOOKER, mediaIds=[photo])).json()["links"]
    assert Image.open(BytesIO((await client.get(whole["url"])).content)).size == (800, 400)


async def test_a_link_is_for_one_photo_in_one_size_for_some_minutes(client, runtime):
    photo, other = [await upload(client, runtime, UPLOADER, picture(size=(800, n))) for n in (400, 300)]
    (link,) = (await links(client, runtime, LOOKER, mediaIds=[photo], size="small")).json()["links"]
    url = link["url"]
    until = int(url.partition("until=")[2].partition("&")[0])
    for wrong in (
        url.replace(photo, other),
        url.replace("size=small", "size=medium"),
        url.replace("size=small&", ""),
        url.replace(f"until={until}", f"until={until + 60}"),
        url[:-1] + ("0" if url[-1] != "0" else "1"),
        url.partition("&signature")[0],
        url + "&reason=x",
    ):
        refused = (await client.get(wrong)).json()
        assert (refused["status"], refused["reason"]) == (403, "LINK_INVALID"), wrong
    runtime.clock = VirtualClock(datetime.fromtimestamp(until - 1, UTC))
    late = await client.get(url)
    assert late.status_code == 200
    assert late.headers["cache-control"] == "private, max-age=1"
    runtime.clock.move(timedelta(seconds=1))
    assert (await client.get(url)).json()["reason"] == "LINK_INVALID"


async def test_links_are_made_of_what_the_caller_may_see(client, runtime):
    photo = await upload(client, runtime, UPLOADER, picture())
    assert (await links(client, runtime, "auditor-2", mediaIds=[photo])).json()["links"] == []
    assert (await client.post("/v1/media:sign", json={"mediaIds": [photo]})).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"mediaIds": []},
        {"mediaIds": ["0" * 64] * 51},
        {"mediaIds": [1]},
        {"mediaIds": [""]},
        {"mediaIds": "0" * 64},
        {"mediaIds": ["0" * 64], "size": "huge"},
        {"mediaIds": ["0" * 64], "size": 1},
        {"mediaIds": ["0" * 64], "more": 1},
        [],
        "x",
    ],
)
async def test_what_asks_for_no_links_is_refused(client, runtime, body):
    answer = await client.post("/v1/media:sign", json=body, headers=as_(runtime, LOOKER))
    assert (answer.status_code, answer.json()["reason"]) == (400, "MEDIA_IDS_INVALID")
