"""Pages: the API for readers (the OpenAPI document, a page that shows it, one that explains every error), and the one at which a party looks its
case up, where the QR code of its receipt leads. Nothing is loaded from elsewhere."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path
from typing import Final

import orjson
from fastapi import APIRouter, Response

from kit.texts import Texts
from services.gateway import contracts, openapi
from services.gateway.comments import Comments
from services.gateway.problems import reasons

PAGES: Final = Path(__file__).parent / "pages"

#: The pages run their own script and style and nothing else.
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@cache
def document() -> bytes:
    """The OpenAPI document. Made when somebody first asks: a tenth of a second."""
    return orjson.dumps(openapi.document(contracts.services(), Comments.load(contracts.DESCRIPTORS)))


def router(texts: Texts) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/openapi.json")
    def described() -> Response:
        return Response(document(), media_type="application/json", headers=HEADERS)

    @routes.get("/docs")
    def page() -> Response:
        return _file("docs.html", "text/html")

    @routes.get("/docs/docs.js")
    def script() -> Response:
        return _file("docs.js", "text/javascript")

    @routes.get("/docs/docs.css")
    def style() -> Response:
        return _file("docs.css", "text/css")

    @routes.get("/progress")
    def progress() -> Response:
        return _file("progress.html", "text/html")

    @routes.get("/progress/progress.js")
    def progress_script() -> Response:
        return _file("progress.js", "text/javascript")

    @routes.get("/progress/progress.css")
    def progress_style() -> Response:
        return _file("progress.css", "text/css")

    @routes.get("/docs/errors")
    def errors() -> Response:
        rows = "".join(
            f'<tr id="{escape(reason)}"><td><code>{escape(reason)}</code></td><td>{escape(zh)}</td><td>{escape(en)}</td></tr>\n'
            for reason, (zh, en) in reasons(texts)
        )
        html = (PAGES / "errors.html").read_text(encoding="utf-8").replace("<!-- rows -->", rows)
        return Response(html, media_type="text/html", headers=HEADERS)

    return routes


def _file(name: str, media_type: str) -> Response:
    return Response((PAGES / name).read_bytes(), media_type=media_type, headers=HEADERS)
