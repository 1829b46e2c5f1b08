"""A body that says two things of one field."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.keys_twice import key_twice


def found(body: str) -> str:
    return key_twice(body.encode(), orjson.loads(body))


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ('{"title": "a", "title": "b"}', "title"),
        ('{"title": "a", "place": "title", "\\u0074itle" : "a"}', "title"),
        ('{"parties": [{"name": "王"}, {"name": "李", "phone": "1", "name": "赵"}]}', "parties[1].name"),
        ('{"a": {"b": [1, [2, {"c": 1,\n"c"\n: 2}]]}}', "a.b[1][1].c"),
        ('{"a": {"x": 1}, "b": {"x": 1}, "a": 3}', "a"),
        ('{"标题": 1, "标题": 1}', "标题"),
        ('[{"a": 1, "a": 2}]', "[0].a"),
        ("[" * 900 + '{"a": 1, "a": 2}' + "]" * 900, "[0]" * 900 + ".a"),
    ],
)
def test_the_key_is_named(body: str, path: str) -> None:
    assert found(body) == path


@pytest.mark.parametrize(
    "body",
    [
        '{"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 1}]}',
        '{"text": "\\"a\\": 1, \\"a\\": 2", "more": "{\\"text\\": [}"}',
        '{"end": "\\\\", "a": "\\\\\\":"}',
        '"a"',
        "[]",
        "7",
    ],
)
def test_what_only_looks_so_is_nothing(body: str) -> None:
    assert found(body) == ""


scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text('":\\{}[], a\n\u4e00', max_size=8)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('":\\ab', max_size=4), inner, max_size=4),
)


@given(documents, st.sampled_from([None, 2]), st.booleans())
def test_no_document_of_single_keys_is_refused(document: object, indent: int | None, ascii_alone: bool) -> None:
    assert found(json.dumps(document, indent=indent, ensure_ascii=ascii_alone)) == ""


@given(documents, st.text('":\\ab', max_size=4))
def test_one_key_more_is_found(document: object, key: str) -> None:
    said = json.dumps(key)
    assert found(f'{{"x": {json.dumps(document)}, "y": {{{said}: 1, {said}: 2}}}}') == f"y.{key}"
