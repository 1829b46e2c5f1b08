from datetime import UTC, date, datetime
from uuid import UUID

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from kit.errors import InvalidArgument
from kit.paging import Page
from kit.sealing import Keys


def _request_type(name):
    """A list request as a service would have it."""
    field = descriptor_pb2.FieldDescriptorProto
    message = descriptor_pb2.DescriptorProto(name=name)
    for number, (label, kind) in enumerate(
        {"county": field.TYPE_STRING, "page_size": field.TYPE_INT32, "page_token": field.TYPE_STRING}.items(), 1
    ):
        message.field.add(name=label, number=number, type=kind, label=field.LABEL_OPTIONAL)
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{name}.proto", package="paging_test", syntax="proto3", message_type=[message]
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"paging_test.{name}"))


ListItems, ListOthers = _request_type("ListItemsRequest"), _request_type("ListOthersRequest")
KEYS = Keys.passing()


def test_pages_follow_one_another_to_the_end():
    rows, seen, token = list(range(1, 8)), [], ""
    while True:
        page = Page.of(KEYS, ListItems(county="150802", page_size=3, page_token=token))
        after = page.after[0] if page.after else 0
        shown, token = page.cut([row for row in rows if row > after][: page.limit], key=lambda row: (row,))
        seen.append(list(shown))
        if not token:
            break
    assert seen == [[1, 2, 3], [4, 5, 6], [7]]


def test_a_last_full_page_has_no_next():
    page = Page.of(KEYS, ListItems(page_size=3))
    assert page.cut([1, 2, 3], key=lambda row: (row,)) == ([1, 2, 3], "")


@pytest.mark.parametrize(("asked", "limit"), [(0, 51), (1, 2), (200, 201), (5000, 201), (-1, 51)])
def test_page_size(asked, limit):
    assert Page.of(KEYS, ListItems(page_size=asked)).limit == limit


def test_a_key_comes_back_as_it_was():
    key = (datetime(2026, 3, 2, 1, 2, 3, 456789, UTC), UUID(int=5), date(2026, 3, 2), "乡镇", 5, None, True)
    _, token = Page.of(KEYS, ListItems(page_size=1)).cut(["row", "more"], key=lambda _: key)
    assert Page.of(KEYS, ListItems(page_size=1, page_token=token)).after == key
    assert len(token) < 500


def _token(request):
    return Page.of(KEYS, request).cut(["row"] * 60, key=lambda _: ("key",))[1]


@pytest.mark.parametrize(
    "request_",
    [
        ListItems(county="150826", page_token=_token(ListItems(county="150802"))),
        ListOthers(county="150802", page_token=_token(ListItems(county="150802"))),
        ListItems(page_token="x"),
        ListItems(page_token="====="),
        ListItems(page_token="页"),
        ListItems(page_token=_token(ListItems())[:-2]),
        ListItems(page_token=_token(ListItems())[::-1]),
    ],
    ids=["other filter", "other list", "short", "padding", "not ASCII", "cut", "changed"],
)
def test_a_token_of_another_query_is_refused(request_):
    with pytest.raises(InvalidArgument) as refused:
        Page.of(KEYS, request_)
    assert (refused.value.reason, refused.value.field) == ("PAGE_TOKEN_INVALID", "page_token")


def test_the_page_size_may_change_on_the_way():
    token = Page.of(KEYS, ListItems(page_size=1)).cut(["a", "b"], key=lambda row: (row,))[1]
    assert Page.of(KEYS, ListItems(page_size=7, page_token=token)).after == ("a",)
