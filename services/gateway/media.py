"""Photos over HTTP: the one thing that is no RPC, because bytes have no place in JSON.

    POST /v1/media              a form with the part `file`, or the bytes themselves → {"mediaId": "…", "type": "image/jpeg", …}
    GET  /v1/media/{mediaId}    the rendition for showing: upright, small, without place and time
    GET  /v1/media/{mediaId}?original=true&reason=…      the evidence, byte for byte; needs the permission media.evidence

An upload is told by its content, so sending it twice stores it once. It is refused while it comes in, as soon as it is too large.

A photo is for the divisions of whoever brought it. The rendition is seen in their counties, since a report is routed within its county; the
evidence by those alone whose own divisions cover these or lie in them. To all others there is no such photo. Each look at the evidence stands
in the log `hetao.evidence`, before it is given: who, which photo, for what reason.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from os import SEEK_END
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartException, MultiPartParser

from kit.blobs import Blobs, Photo
from kit.errors import InvalidArgument, NotFound, PermissionDenied, Unauthenticated
from kit.identity import Principal
from kit.module import Runtime
from services.gateway.admission import Admission
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

#: Content never changes under its id.
FOREVER: Final = "private, max-age=31536000, immutable"

#: What people call the fields.
LABELS: Final = {"file": Label("文件", "File"), "reason": Label("事由", "Reason")}

#: Characters of the reason for a look at the evidence.
SHORTEST, LONGEST = 4, 200

#: Looks at the evidence. They are written whatever level the other logs have.
evidence = logging.getLogger("hetao.evidence")
evidence.setLevel(logging.INFO)


def router(runtime: Runtime, blobs: Blobs, admission: Admission) -> APIRouter:
    routes = APIRouter(prefix="/v1/media")
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

    @routes.post("")
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

    @routes.api_route("/{media_id}", methods=["GET", "HEAD"])
    async def show(request: Request, media_id: str) -> Response:
        original, reason = _wanted(request)
        caller = await principal(request, EVIDENCE if original else LOOK)
        if original and not (SHORTEST <= len(reason) <= LONGEST and reason.isprintable()):
            raise InvalidArgument("EVIDENCE_REASON", field="reason", least=SHORTEST, most=LONGEST)
        photo = await find(media_id, caller, original=original)
        if not original:
            headers = {"Cache-Control": FOREVER, "ETag": f'"{photo.public_id}"', "Vary": "Authorization"}
            if f'"{photo.public_id}"' in request.headers.get("if-none-match", ""):
                return Response(status_code=304, headers=headers)
            return Response(await blobs.get(photo.public_id), media_type="image/jpeg", headers=headers)
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


def _wanted(request: Request) -> tuple[bool, str]:
    """(whether the evidence is wanted, for what reason)"""
    given = request.query_params.multi_items()
    query = dict(given)
    original = query.get("original", "false")
    known = {"original", "reason"} if original == "true" else {"original"}
    if len(query) < len(given) or query.keys() - known or original not in ("true", "false"):
        raise InvalidArgument("QUERY_UNREADABLE")
    return original == "true", query.get("reason", "").strip()


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
    }
}

_BYTES: Final = {"type": "string", "format": "binary"}


def _refusals(*statuses: int) -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


PATHS: Final[dict[str, Any]] = {
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
