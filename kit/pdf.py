"""Papers to print: a page of Chinese text with a title, a table of what is filled in, and a QR code.

The font is one of the Chinese ones that every reader of PDF brings (STSong-Light), so a paper is a few kilobytes and no font has to be installed or
shipped. It covers what Unicode's first plane holds; a rare character of a name beyond it is printed as a box, to be written by hand, as on any form.
Whoever prints says so on the paper: see `rare`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from html import escape
from io import BytesIO
from typing import Any, Final

from reportlab.graphics.barcode.qr import QrCodeWidget
from reportlab.graphics.shapes import Drawing
from reportlab.lib.enums import TA_CENTER, TA_RIGHT
from reportlab.lib.pagesizes import A4, A5
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.platypus import Flowable, PageBreak, Paragraph, SimpleDocTemplate, Spacer, Table, TableStyle

FONT: Final = "STSong-Light"
BOX: Final = "□"

#: Millimetres of a QR code's side; a telephone reads it from a hand's width.
QR_SIDE: Final = 32


@dataclass(frozen=True, slots=True)
class Sheet:
    """A page, or several where the text is long. `rows`: what is filled in, (label, value); `qr`: the text of the QR code; `foot`: right-aligned last lines."""

    title: str
    lead: Sequence[str] = ()
    rows: Sequence[tuple[str, str]] = ()
    body: Sequence[str] = ()
    foot: Sequence[str] = ()
    small: Sequence[str] = ()
    qr: str = ""


def rare(text: str) -> bool:
    """Whether a text holds characters that are printed as boxes."""
    return any(ord(character) > 0xFFFF for character in text)


def printed(sheets: Sequence[Sheet], *, half: bool = False) -> bytes:
    """The sheets as a PDF of A4, or of A5 (`half`). The same sheets give the same bytes. It says of itself no more than its title."""
    out = BytesIO()
    margin = (14 if half else 25) * mm
    document = SimpleDocTemplate(
        out,
        pagesize=A5 if half else A4,
        leftMargin=margin,
        rightMargin=margin,
        topMargin=margin,
        bottomMargin=margin,
        title=sheets[0].title,
        author="",
        invariant=1,
    )
    styles, flow = _styles(half), list[Flowable]()
    for n, sheet in enumerate(sheets):
        if n:
            flow.append(PageBreak())
        flow += _flow(sheet, styles, document.width)
    document.build(flow)
    return out.getvalue()


def _flow(sheet: Sheet, styles: dict[str, ParagraphStyle], width: float) -> list[Flowable]:
    flow: list[Flowable] = [_text(sheet.title, styles["title"]), Spacer(1, 4 * mm)]
    flow += [_text(line, styles["body"]) for line in sheet.lead]
    if sheet.rows:
        cells = [[_text(label, styles["cell"]), _text(value, styles["cell"])] for label, value in sheet.rows]
        table = Table(cells, colWidths=[width * 0.27, width * 0.73])
        table.setStyle(TableStyle([("GRID", (0, 0), (-1, -1), 0.5, "black"), ("VALIGN", (0, 0), (-1, -1), "MIDDLE")]))
        flow += [Spacer(1, 2 * mm), table, Spacer(1, 3 * mm)]
    flow += [_text(line, styles["body"]) for line in sheet.body]
    if sheet.qr:
        flow += [Spacer(1, 3 * mm), _qr(sheet.qr)]
    flow += [_text(line, styles["small"]) for line in sheet.small]
    if sheet.foot:
        flow += [Spacer(1, 8 * mm), *(_text(line, styles["foot"]) for line in sheet.foot)]
    return flow


def _text(text: str, style: ParagraphStyle) -> Paragraph:
    shown = "".join(BOX if ord(character) > 0xFFFF else character for character in text)
    return Paragraph(escape(shown).replace("\n", "<br/>"), style)


def _qr(text: str) -> Drawing:
    side = QR_SIDE * mm
    drawing = Drawing(side, side)
    drawing.hAlign = "CENTER"
    widget: Any = QrCodeWidget(text, barWidth=side, barHeight=side, barLevel="M")
    drawing.add(widget)
    return drawing


@cache
def _styles(half: bool) -> dict[str, ParagraphStyle]:
    pdfmetrics.registerFont(UnicodeCIDFont(FONT))
    size = 10 if half else 12
    base = ParagraphStyle("body", fontName=FONT, fontSize=size, leading=size * 1.7, wordWrap="CJK")

    def style(name: str, **more: Any) -> ParagraphStyle:
        return ParagraphStyle(name, parent=base, **more)

    return {
        "title": style("title", fontSize=size * 1.7, leading=size * 2.3, alignment=TA_CENTER),
        "body": style("body", firstLineIndent=size * 2),
        "cell": style("cell", leading=size * 1.4),
        "foot": style("foot", alignment=TA_RIGHT),
        "small": style("small", fontSize=size * 0.85, leading=size * 1.3),
    }
