"""What people wrote, kept sealed: the matter itself, and notes."""

from __future__ import annotations

from uuid import UUID

import orjson

from kit.unit import Unit
from services.cases.model import CaseFile


def seal_note(unit: Unit, case_id: UUID, note: str) -> bytes | None:
    return unit.seal("cases.note", case_id, note) if note else None


def open_note(unit: Unit, case_id: UUID, sealed: bytes | None) -> str:
    return unit.open("cases.note", case_id, sealed) if sealed else ""


def seal_content(unit: Unit, case_id: UUID, content: dict[str, str]) -> bytes:
    """`content`: title, description and place."""
    return unit.seal("cases.content", case_id, orjson.dumps(content).decode())


def open_content(unit: Unit, case: CaseFile) -> dict[str, str]:
    content: dict[str, str] = orjson.loads(unit.open("cases.content", case.id, case.content))
    return content
