"""DictionaryService."""

from __future__ import annotations

from collections.abc import Mapping

from hetao.common.v1 import common_pb2
from hetao.grid.v1 import dictionaries_pb2 as pb
from kit.dictionaries import Dictionary, Entry
from kit.errors import NotFound
from kit.paging import Page
from kit.unit import Unit
from services.grid.api.convert import some_day, text_date


class DictionaryApi:
    def __init__(self, dictionaries: Mapping[str, Dictionary]):
        self.dictionaries = dictionaries

    async def ListDictionaries(self, request: pb.ListDictionariesRequest, unit: Unit) -> pb.ListDictionariesResponse:
        page = Page.of(unit, request)
        (after,) = page.after or ("",)
        wanted = [one for name, one in sorted(self.dictionaries.items()) if name > after]
        rows, token = page.cut(wanted[: page.limit], key=lambda one: (one.name,))
        listed = [pb.Dictionary(name=row.name, title=_text(row.zh, row.en)) for row in rows]
        return pb.ListDictionariesResponse(dictionaries=listed, next_page_token=token)

    async def GetDictionary(self, request: pb.GetDictionaryRequest, unit: Unit) -> pb.GetDictionaryResponse:
        found, day = self.dictionaries.get(request.name), some_day(request.day, "day")
        if found is None:
            raise NotFound("NOT_FOUND", field="name", resource="dictionary")
        entries = [_entry(one) for one in found.entries if day is None or one.on(day)]
        return pb.GetDictionaryResponse(
            dictionary=pb.Dictionary(name=found.name, title=_text(found.zh, found.en), entries=entries)
        )


def _entry(one: Entry) -> pb.DictionaryEntry:
    return pb.DictionaryEntry(
        code=one.code,
        name=_text(one.zh, one.en),
        version=one.version,
        effective_from=text_date(one.first),
        effective_until=text_date(one.last),
        source=_text(one.source, one.source_en or one.source) if one.source else None,
        confidence=one.confidence,
        attributes=[pb.DictionaryAttribute(name=name, value=value) for name, value in one.more.items()],
    )


def _text(zh: str, en: str) -> common_pb2.Text:
    return common_pb2.Text(zh=zh, en=en)
