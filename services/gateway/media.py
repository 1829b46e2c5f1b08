"""Photos over HTTP: the one thing that is no RPC, because bytes have no place in JSON.

    POST /v1/media              a form with the part `file`, or the bytes themselves → {"mediaId": "…", "type": "image/jpeg", …}
    GET  /v1/media/{mediaId}    the rendition for showing: upright, small, without place and time
    GET  /v1/media/{mediaId}?size=small                  the same as a thumbnail: small (160 pixels) or medium (640)
    GET  /v1/media/{mediaId}?original=true&reason=…      the evidence, byte for byte; needs the permission media.evidence
    POST /v1/media:sign         {"mediaIds": […], "size": "small"} → links that work for some minutes without a token, since an image tag sends none

An upload is told by its content, so sending it twice stores it once. It is refused while it comes in, as soon as it is too large.

A photo is for the divisions of whoever brought it. The rendition is seen in their counties, since a report is routed within its county; the
evidence by those alone whose own divisions cover these or lie in them. To all others there is no such photo. Each look at the evidence stands
in the log `hetao.evidence`, before it is given: who, which photo, for what reason.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from os import SEEK_END
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from kit.blobs import Blobs, Photo
from kit.errors import InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from kit.identity import Principal
from kit.module import Runtime
from services.gateway.admission import ANYBODY, Admission
from services.gateway.binding import Label
from services.gateway.problems import problem

UPLOAD, LOOK, EVIDENCE = "media.create", "media.get", "media.evidence"

#: Digits of a county's code.
COUNTY: Final = 6

#: A form is a little larger than the file in it.
FORM: Final = 64 * 1024

#: Larger uploads wait on disk for their turn, not in memory.
IN_MEMORY: Final = 256 * 1024
AT_ONCE: Final = 2

#: Thumbnails: their longest edge in pixels.
SIZES: Final = {"small": 160, "medium": 640}

#: Links that are signed at once.
MOST_LINKS: Final = 50

#: What the id of a photo looks like.
PHOTO_ID: Final = re.compile(r"[0-9a-f]{64}")

#: Purpose of the keyed digests of links.
LINK: Final = "media_link"

#: Content never changes under its id.
FOREVER: Final = "private, max-age=31536000, immutable"

#: What people call the fields.
LABELS: Final = {
    "file": Label("文件", "File"),
    "reason": Label("事由", "Reason"),
    "media_ids": Label("图片编号", "Photos"),
}

#: Characters of the reason for a look at the evidence.
SHORTEST, LONGEST = 4, 200

#: Looks at the evidence. They are written whatever level the other logs have.
evidence = logging.getLogger("hetao.evidence")
evidence.setLevel(logging.INFO)


def router(runtime: Runtime, blobs: Blobs, admission: Admission) -> APIRouter:
    routes = APIRouter()
    limit = runtime.settings.http.upload_limit
    turn = asyncio.Semaphore(AT_ONCE)

    async def principal(request: Request, permission: str) -> Principal:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("TOKEN_MISSING")
        caller = await runtime.verifier.verify(token)
        await admission.count(caller, request.scope, writes=request.method == "POST")
        if not caller.may(permission):
            raise PermissionDenied("PERMISSION_MISSING", permission=permission)
        return caller

    async def receive(request: Request) -> IO[bytes]:
        """The uploaded file, at its beginning. Whoever takes it closes it."""
        is_form = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
        most = limit + FORM if is_form else limit
        declared = request.headers.get("content-length", "")
        try:
            if declared.isdigit() and int(declared) > most:
                raise _TooLarge("declared")
            stream = _limited(request, most)
            file = await (_form_file(request.headers, stream) if is_form else _raw_file(stream))
            if file.seek(0, SEEK_END) > limit:
                file.close()
                raise _TooLarge("file")
        except _TooLarge:
            raise problem(413, "BODY_TOO_LARGE", runtime.texts, limit=limit) from None
        file.seek(0)
        return file

    @routes.post("/v1/media")
    async def upload(request: Request) -> JSONResponse:
        caller = await principal(request, UPLOAD)
        with await receive(request) as file:
            async with turn:
                photo = await blobs.ingest_photo(file.read())
        await blobs.bring(photo.id, caller.account, caller.divisions)
        return JSONResponse(_facts(photo), headers={"Cache-Control": "no-store"})

    async def find(media_id: str, caller: Principal, *, original: bool) -> Photo:
        """One for other divisions is not told from one that is not there, nor does it take longer."""
        brought_for = await blobs.divisions(media_id)
        photo = await blobs.photo(media_id)
        if photo is None or not any(caller.touches(one if original else one[:COUNTY]) for one in brought_for):
            raise NotFound("MEDIA_UNKNOWN")
        return photo

    @routes.post("/v1/media:sign")
    async def sign(request: Request) -> JSONResponse:
        """Of those photos that the caller may see."""
        caller = await principal(request, LOOK)
        ids, size = _links_wanted(await _json(request, limit=MOST_LINKS * 100))
        until = int(runtime.clock.now().timestamp()) + runtime.settings.media.link_minutes * 60
        links = []
        for media_id in ids:
            try:
                photo = await find(media_id, caller, original=False)
            except NotFound:
                continue
            signature = runtime.keys.mark(LINK, _signed(photo.id, size, until)).hex()
            query = (
                f"?size={size}&until={until}&signature={signature}" if size else f"?until={until}&signature={signature}"
            )
            links.append({"mediaId": photo.id, "url": f"/v1/media/{photo.id}/link{query}"})
        expires = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return JSONResponse({"links": links, "expiresAt": expires}, headers={"Cache-Control": "no-store"})

    @routes.api_route("/v1/media/{media_id}/link", methods=["GET", "HEAD"])
    async def follow(request: Request, media_id: str) -> Response:
        """For whoever has a link that was signed here and has not run out: the link is the permission."""
        await admission.count(ANYBODY, request.scope, writes=False)
        size, until, signature = _link(request)
        left = until - int(runtime.clock.now().timestamp())
        good = [mark.hex() for mark in runtime.keys.marks(LINK, _signed(media_id, size, until))]
        if left <= 0 or not any(hmac.compare_digest(signature, one) for one in good):
            raise PermissionDenied("LINK_INVALID")
        photo = await blobs.photo(media_id)
        if photo is None:
            raise NotFound("MEDIA_UNKNOWN")
        return Response(
            await shown(photo, size), media_type="image/jpeg", headers={"Cache-Control": f"private, max-age={left}"}
        )

    async def shown(photo: Photo, size: str) -> bytes:
        return await blobs.scaled(photo, SIZES[size]) if size else await blobs.get(photo.public_id)

    @routes.api_route("/v1/media/{media_id}", methods=["GET", "HEAD"])
    async def show(request: Request, media_id: str) -> Response:
        original, reason, size = _wanted(request)
        caller = await principal(request, EVIDENCE if original else LOOK)
        if original and not (SHORTEST <= len(reason) <= LONGEST and reason.isprintable()):
            raise InvalidArgument("EVIDENCE_REASON", field="reason", least=SHORTEST, most=LONGEST)
        photo = await find(media_id, caller, original=original)
        if not original:
            tag = f'"{photo.public_id}{"-" if size else ""}{size}"'
            headers = {"Cache-Control": FOREVER, "ETag": tag, "Vary": "Authorization"}
            if tag in request.headers.get("if-none-match", ""):
                return Response(status_code=304, headers=headers)
            return Response(await shown(photo, size), media_type="image/jpeg", headers=headers)
        facts = {"account": caller.account, "media": photo.id, "reason": reason}
        evidence.info("the evidence %(media)s is given to %(account)s: %(reason)s", facts, extra={"facts": facts})
        disposition = f'attachment; filename="{photo.id[:16]}"'
        headers = {"Cache-Control": "no-store", "Content-Disposition": disposition}
        return Response(await blobs.get(photo.id), media_type=photo.type, headers=headers)

    return routes


class _TooLarge(MultiPartException):
    """The parser of forms closes its files when it meets an error of its own kind."""


async def _limited(request: Request, most: int) -> AsyncGenerator[bytes, None]:
    """The body as it comes in, until it is too large."""
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > most:
            raise _TooLarge("body")
        yield chunk


async def _raw_file(stream: AsyncGenerator[bytes, None]) -> IO[bytes]:
    file: IO[bytes] = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 - the caller closes it
    try:
        async for chunk in stream:
            file.write(chunk)
    except BaseException:
        file.close()
        raise
    return file


async def _form_file(headers: Headers, stream: AsyncGenerator[bytes, None]) -> IO[bytes]:
    try:
        form = await MultiPartParser(headers, stream, max_files=1, max_fields=8, max_part_size=1024).parse()
    except _TooLarge:
        raise
    except (MultiPartException, KeyError) as error:  # KeyError: no boundary is named
        raise InvalidArgument("FORM_UNREADABLE") from error
    part = form.get("file")
    if part is None or isinstance(part, str):
        await form.close()
        raise InvalidArgument("FILE_MISSING", field="file")
    return part.file


def _wanted(request: Request) -> tuple[bool, str, str]:
    """(whether the evidence is wanted, for what reason, the size of a thumbnail)"""
    query = _query(request)
    original = query.get("original", "false")
    known = {"original", "reason", "size"} if original == "true" else {"original", "size"}
    if query.keys() - known or original not in ("true", "false") or not _is_size(query.get("size", "")):
        raise InvalidArgument("QUERY_UNREADABLE")
    return original == "true", query.get("reason", "").strip(), query.get("size", "")


def _link(request: Request) -> tuple[str, int, str]:
    """(size, until when, signature) of a link. PermissionDenied(LINK_INVALID) for what was never one."""
    query = _query(request)
    size, until, signature = query.get("size", ""), query.get("until", ""), query.get("signature", "")
    whole = until.isascii() and until.isdigit() and len(until) < 12 and signature.isascii()
    if not whole or not _is_size(size) or query.keys() - {"size", "until", "signature"}:
        raise PermissionDenied("LINK_INVALID")
    return size, int(until), signature


def _query(request: Request) -> dict[str, str]:
    given = request.query_params.multi_items()
    query = dict(given)
    if len(query) < len(given):
        raise InvalidArgument("QUERY_UNREADABLE")
    return query


def _is_size(text: str) -> bool:
    return not text or text in SIZES


def _signed(media_id: str, size: str, until: int) -> bytes:
    return f"{media_id}|{size}|{until}".encode()


async def _json(request: Request, limit: int) -> Any:
    """The body, None where it is no JSON or too long."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _links_wanted(body: Any) -> tuple[list[str], str]:
    """(ids, size). InvalidArgument(MEDIA_IDS_INVALID)."""
    if isinstance(body, dict) and not body.keys() - {"mediaIds", "size"}:
        ids, size = body.get("mediaIds"), body.get("size", "")
        if (
            isinstance(ids, list)
            and 1 <= len(ids) <= MOST_LINKS
            and all(isinstance(one, str) and PHOTO_ID.fullmatch(one) for one in ids)
            and isinstance(size, str)
            and _is_size(size)
        ):
            return list(dict.fromkeys(ids)), size
    raise InvalidArgument("MEDIA_IDS_INVALID", field="media_ids", most=MOST_LINKS)


def _facts(photo: Photo) -> dict[str, Any]:
    return {"mediaId": photo.id, "type": photo.type, "width": photo.width, "height": photo.height, "size": photo.size}


# ---- what the OpenAPI document says of it ----

TAG: Final = {"name": "Media", "description": "Photos: evidence and what is shown of it."}

SCHEMAS: Final[dict[str, Any]] = {
    "Photo": {
        "type": "object",
        "description": "An uploaded photo.",
        "properties": {
            "mediaId": {
                "type": "string",
                "title": "编号",
                "description": "SHA-256 of the content.",
                "pattern": "^[0-9a-f]{64}$",
            },
            "type": {"type": "string", "title": "类型", "enum": ["image/jpeg", "image/png", "image/webp"]},
            "width": {"type": "integer", "title": "宽", "description": "Pixels."},
            "height": {"type": "integer", "title": "高", "description": "Pixels."},
            "size": {"type": "integer", "title": "大小", "description": "Bytes."},
        },
        "required": ["mediaId", "type", "width", "height", "size"],
    },
    "PhotoLinks": {
        "type": "object",
        "description": "Links to photos that need no token.",
        "properties": {
            "links": {
                "type": "array",
                "title": "链接",
                "description": "Of those photos that the caller may see, in the order they were asked for.",
                "items": {
                    "type": "object",
                    "properties": {
                        "mediaId": {"type": "string", "title": "编号", "pattern": "^[0-9a-f]{64}$"},
                        "url": {
                            "type": "string",
                            "title": "地址",
                            "description": "Relative to the address of the API.",
                        },
                    },
                    "required": ["mediaId", "url"],
                },
            },
            "expiresAt": {"type": "string", "format": "date-time", "title": "失效时间"},
        },
        "required": ["links", "expiresAt"],
    },
}

_BYTES: Final = {"type": "string", "format": "binary"}


def _refusals(*statuses: int) -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


_SIZE: Final = {
    "name": "size",
    "in": "query",
    "description": "As a thumbnail: 160 or 640 pixels at the longest. Of no effect with original=true.",
    "schema": {"type": "string", "title": "缩略图", "enum": list(SIZES)},
}

_PHOTO_ID: Final = {
    "name": "mediaId",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}

PATHS: Final[dict[str, Any]] = {
    "/v1/media:sign": {
        "post": {
            "operationId": "Media_Sign",
            "tags": ["Media"],
            "summary": "Links to photos for image tags",
            "description": "An image tag of a page or a mini-program sends no token: these links need none, for some minutes (HETAO_MEDIA__LINK_MINUTES). Whoever "
            "has one sees that photo in that size, and nothing else. Photos that the caller may not see are left out.",
            "x-permission": LOOK,
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "properties": {
                                "mediaIds": {
                                    "type": "array",
                                    "title": "图片编号",
                                    "minItems": 1,
                                    "maxItems": MOST_LINKS,
                                    "items": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                                },
                                "size": _SIZE["schema"],
                            },
                            "required": ["mediaIds"],
                            "additionalProperties": False,
                        }
                    }
                },
            },
            "responses": {
                "200": {
                    "description": "OK",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/PhotoLinks"}}},
                },
                **_refusals(400, 401, 403, 503),
            },
        }
    },
    "/v1/media/{mediaId}/link": {
        "get": {
            "operationId": "Media_Follow",
            "tags": ["Media"],
            "summary": "A photo by a signed link",
            "description": "As `/v1/media:sign` has made it, with its query. No token is needed.",
            "security": [],
            "parameters": [
                _PHOTO_ID,
                _SIZE,
                {
                    "name": "until",
                    "in": "query",
                    "required": True,
                    "description": "Seconds since 1970.",
                    "schema": {"type": "string", "title": "失效时间", "pattern": "^[0-9]{1,11}$"},
                },
                {
                    "name": "signature",
                    "in": "query",
                    "required": True,
                    "schema": {"type": "string", "title": "签名", "pattern": "^[0-9a-f]{64}$"},
                },
            ],
            "responses": {
                "200": {"description": "OK", "content": {"image/jpeg": {"schema": _BYTES}}},
                **_refusals(400, 403, 404, 503),
            },
        }
    },
    "/v1/media": {
        "post": {
            "operationId": "Media_Upload",
            "tags": ["Media"],
            "summary": "Uploads a photo",
            "description": "A JPEG, PNG or WebP, known by its content. Its place and time are kept with the evidence alone. It is for the divisions "
            "of whoever brings it; brought by several, for those of all.",
            "x-permission": UPLOAD,
            "requestBody": {
                "required": True,
                "content": {
                    "multipart/form-data": {
                        "schema": {"type": "object", "properties": {"file": _BYTES}, "required": ["file"]},
                    },
                    "application/octet-stream": {"schema": _BYTES},
                },
            },
            "responses": {
                "200": {
                    "description": "OK",
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Photo"}}},
                },
                **_refusals(400, 401, 403, 413, 503),
            },
        }
    },
    "/v1/media/{mediaId}": {
        "get": {
            "operationId": "Media_Get",
            "tags": ["Media"],
            "summary": "A photo",
            "description": "The rendition without place and time, for the counties of whoever brought the photo. With original=true the evidence "
            "as it was sent, for those whose divisions cover a bringer's or lie in one; each look is recorded with its reason. To others "
            "there is no such photo.",
            "x-permission": LOOK,
            "parameters": [
                {
                    "name": "mediaId",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
                },
                {
                    "name": "original",
                    "in": "query",
                    "description": f"Needs the permission {EVIDENCE} and a reason.",
                    "schema": {"type": "boolean", "title": "原件"},
                },
                _SIZE,
                {
                    "name": "reason",
                    "in": "query",
                    "description": "For what the original is needed; recorded. Names no persons. With original=true alone, and required there.",
                    "schema": {"type": "string", "title": "事由", "minLength": SHORTEST, "maxLength": LONGEST},
                },
                {
                    "name": "If-None-Match",
                    "in": "header",
                    "description": "The ETag of the rendition that the caller has.",
                    "schema": {"type": "string"},
                },
            ],
            "responses": {
                "200": {
                    "description": "OK",
                    "content": {kind: {"schema": _BYTES} for kind in ("image/jpeg", "image/png", "image/webp")},
                },
                "304": {"description": "Not modified"},
                **_refusals(400, 401, 403, 404, 503),
            },
        }
    },
}
