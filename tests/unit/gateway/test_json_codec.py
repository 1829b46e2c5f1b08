"""The JSON mapping, held against google.protobuf.json_format."""

import copy
import math

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import FieldDescriptor as F
from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kit.config import DATA
from kit.texts import Texts
from services.gateway.json_codec import check, decoder, encoder

PLAIN = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
SCALARS = {
    F.TYPE_STRING: TEXT,
    F.TYPE_BOOL: st.booleans(),
    F.TYPE_DOUBLE: st.floats(allow_nan=False, allow_infinity=False),
    F.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    F.TYPE_SINT32: st.integers(-(2**31), 2**31 - 1),
    F.TYPE_UINT32: st.integers(0, 2**32 - 1),
    F.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    F.TYPE_UINT64: st.integers(0, 2**64 - 1),
}
NANOS = st.sampled_from([0, 1, 500, 120_000, 123_000_000, 999_999_999])


def values(fd: F) -> st.SearchStrategy:
    if fd.enum_type is not None:
        return st.sampled_from(list(fd.enum_type.values_by_number))
    match fd.message_type and fd.message_type.full_name:
        case None:
            return SCALARS[fd.type]
        case "google.protobuf.Timestamp":
            return st.fixed_dictionaries({"seconds": st.integers(-62135596800, 253402300799), "nanos": NANOS})
        case "google.protobuf.Duration":
            return st.fixed_dictionaries({"seconds": st.integers(0, 315_576_000_000), "nanos": NANOS})
        case "google.protobuf.FieldMask":
            return st.fixed_dictionaries({"paths": st.lists(st.sampled_from(["title", "made_at", "place.lat"]))})
    return messages(fd.message_type)


def messages(descriptor) -> st.SearchStrategy:
    """Any message of a type, as the keyword arguments that build it."""
    fields = {fd.name: st.lists(values(fd), max_size=3) if fd.is_repeated else values(fd) for fd in descriptor.fields}

    def one_of_each_oneof(chosen: dict) -> dict:
        taken = set()
        for fd in descriptor.fields:
            if fd.name in chosen and fd.containing_oneof is not None:
                if fd.containing_oneof.name in taken:
                    del chosen[fd.name]
                taken.add(fd.containing_oneof.name)
        return chosen

    return st.fixed_dictionaries({}, optional=fields).map(one_of_each_oneof)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
    | st.sampled_from(["STATE_OPEN", "2026-01-02T03:04:05+08:00", "-1.5s", "title,madeAt", "12", "-0", "1e3", "NaN"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)  # fmt: skip


def to_dict(message) -> dict:
    return json_format.MessageToDict(message, always_print_fields_with_no_presence=True)


def read(cls, value):
    """The message, or the flaws."""
    message, flaws = cls(), []
    decoder(cls.DESCRIPTOR).read(value, message, "", flaws)
    return flaws or message


def problem(cls, value) -> tuple[str, str]:
    (only,) = read(cls, value)
    return only.path, only.reason


@PLAIN
@given(st.data())
def test_what_is_written_is_what_json_format_writes_and_reads_back(shop, data):
    item = shop.Item(**data.draw(messages(shop.Item.DESCRIPTOR)))
    written = encoder(shop.Item.DESCRIPTOR)(item)
    assert written == to_dict(item)
    assert read(shop.Item, written) == item


@PLAIN
@given(st.data())
def test_whatever_is_read_means_the_same_to_json_format(shop, data):
    value = to_dict(shop.Item(**data.draw(messages(shop.Item.DESCRIPTOR))))
    value = copy.deepcopy(value)
    place, keys = value, sorted(value)
    if value["parts"] and data.draw(st.booleans()):
        place = data.draw(st.sampled_from(value["parts"]))
        keys = sorted(place)
    place[data.draw(st.sampled_from([*keys, "madeAt", "keepsFor", "seen", "unknown", "price_fen"]))] = data.draw(
        ANYTHING
    )
    ours = read(shop.Item, value)
    if not isinstance(ours, list):
        assert ours == json_format.ParseDict(value, shop.Item())


def test_defaults_are_written_and_what_has_presence_only_when_set(shop):
    written = encoder(shop.Item.DESCRIPTOR)(shop.Item())
    assert written["title"] == ""
    assert written["state"] == "STATE_UNSPECIFIED"
    assert written["priceFen"] == "0"
    assert written["parts"] == []
    assert not {"madeAt", "place", "note", "rank", "person"} & set(written)
    item = shop.Item(note="", rank=0, person="")
    item.place.SetInParent()
    assert {"note": "", "rank": 0, "person": "", "place": {"lat": 0.0, "lon": 0.0}}.items() <= encoder(
        shop.Item.DESCRIPTOR
    )(item).items()


def test_numbers_that_json_lacks_are_written_as_json_format_does(shop):
    item = shop.Item(shares=[math.inf, -math.inf, 0.5], share=math.nan)
    assert encoder(shop.Item.DESCRIPTOR)(item)["shares"] == ["Infinity", "-Infinity", 0.5]
    assert encoder(shop.Item.DESCRIPTOR)(item)["share"] == "NaN"
    assert encoder(shop.Item.DESCRIPTOR)(shop.Item(state=77))["state"] == 77


@pytest.mark.parametrize(
    ("value", "path", "reason"),
    [
        ([], "", "VALUE_TYPE"),
        (None, "", "VALUE_TYPE"),
        ({"colour": 1}, "colour", "FIELD_UNKNOWN"),
        ({"price_fen": "1"}, "price_fen", "FIELD_UNKNOWN"),
        ({"title": 1}, "title", "VALUE_TYPE"),
        ({"title": None}, "title", "VALUE_TYPE"),
        ({"title": "a\0b"}, "title", "VALUE_CHARACTER"),
        ({"count": "1"}, "count", "VALUE_TYPE"),
        ({"count": 1.5}, "count", "VALUE_TYPE"),
        ({"count": True}, "count", "VALUE_TYPE"),
        ({"count": 2**31}, "count", "VALUE_RANGE"),
        ({"count": 1e300}, "count", "VALUE_RANGE"),
        ({"weight": -1}, "weight", "VALUE_RANGE"),
        ({"priceFen": 1}, "priceFen", "VALUE_TYPE"),
        ({"priceFen": "1.0"}, "priceFen", "VALUE_TYPE"),
        ({"priceFen": "٣"}, "priceFen", "VALUE_TYPE"),
        ({"priceFen": str(2**63)}, "priceFen", "VALUE_RANGE"),
        ({"priceFen": "9" * 5000}, "priceFen", "VALUE_TYPE"),
        ({"sold": 1}, "sold", "VALUE_TYPE"),
        ({"sold": "true"}, "sold", "VALUE_TYPE"),
        ({"share": "0.5"}, "share", "VALUE_TYPE"),
        ({"share": "NaN"}, "share", "VALUE_TYPE"),
        ({"state": "STATE_BROKEN"}, "state", "VALUE_ENUM"),
        ({"state": 1}, "state", "VALUE_ENUM"),
        ({"state": []}, "state", "VALUE_ENUM"),
        ({"madeAt": "2026-02-30T00:00:00Z"}, "madeAt", "VALUE_TIME"),
        ({"madeAt": "2026-01-01"}, "madeAt", "VALUE_TIME"),
        ({"madeAt": "2026-01-01T00:00:00"}, "madeAt", "VALUE_TIME"),
        ({"madeAt": "2026-01-01T00:00:60Z"}, "madeAt", "VALUE_TIME"),
        ({"madeAt": "2026-01-01T00:00:00.1234567890Z"}, "madeAt", "VALUE_TIME"),
        ({"madeAt": "0001-01-01T00:00:00+08:00"}, "madeAt", "VALUE_TIME"),
        ({"madeAt": "0000-01-01T00:00:00Z"}, "madeAt", "VALUE_TIME"),
        ({"madeAt": 5}, "madeAt", "VALUE_TIME"),
        ({"keepsFor": "1"}, "keepsFor", "VALUE_DURATION"),
        ({"keepsFor": "999999999999s"}, "keepsFor", "VALUE_DURATION"),
        ({"seen": "made_at"}, "seen", "VALUE_MASK"),
        ({"seen": "a,,b"}, "seen", "VALUE_MASK"),
        ({"parts": {}}, "parts", "VALUE_TYPE"),
        ({"parts": [{"name": "a"}, {"place": {"lat": "x"}}]}, "parts[1].place.lat", "VALUE_TYPE"),
        ({"parts": [{"tags": ["a", 1]}]}, "parts[0].tags[1]", "VALUE_TYPE"),
        ({"parts": [None]}, "parts[0]", "VALUE_TYPE"),
        ({"place": []}, "place", "VALUE_TYPE"),
        ({"history": ["STATE_OPEN", "open"]}, "history[1]", "VALUE_ENUM"),
        ({"person": "a", "company": "b"}, "company", "ONEOF_TWICE"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_by_its_path(shop, value, path, reason):
    assert problem(shop.Item, value) == (path, reason)


@pytest.mark.parametrize(
    ("value", "zh", "en"),
    [
        ({"place": []}, "对象", "object"),
        ({"parts": {}}, "列表", "array"),
        ({"title": 1}, "文本", "string"),
        ({"share": "x"}, "数字", "number"),
        ({"count": "x"}, "整数", "integer"),
        ({"sold": 1}, "是/否（true 或 false）", "boolean"),
        ({"priceFen": 1}, "由数字组成的文本", "string of digits"),
    ],
)
def test_a_wrong_type_is_told_in_both_languages(shop, value, zh, en):
    (flaw,) = read(shop.Item, value)
    told = Texts.load(DATA / "texts").of(flaw.reason, flaw.params)
    assert told == (f"类型不对，应为{zh}", f"has the wrong type; {en} is expected")


def test_all_problems_are_told_at_once(shop):
    flaws = read(shop.Item, {"title": 1, "parts": [{"name": 2}, {"x": 3}]})
    assert [p.path for p in flaws] == ["title", "parts[0].name", "parts[1].x"]


def test_an_integer_may_be_written_as_json_writes_numbers(shop):
    assert read(shop.Item, {"count": 3.0, "balance": -0.0}).count == 3


def test_an_offset_is_converted(shop):
    item = read(shop.Item, {"madeAt": "2026-01-01T00:00:00.5+08:00"})
    assert item.made_at.ToJsonString() == "2025-12-31T16:00:00.500Z"


def test_fields_bound_elsewhere_are_unknown_in_the_body(shop):
    body = decoder(shop.UpdateItemRequest.DESCRIPTOR, frozenset({"item.id", "etag"}))
    message, flaws = shop.UpdateItemRequest(), []
    body.read({"item": {"id": "7", "title": "x"}, "etag": "1"}, message, "", flaws)
    assert [p.path for p in flaws] == ["item.id", "etag"]


@pytest.mark.parametrize(
    ("field", "complaint"),
    [
        ({"type": F.TYPE_BYTES}, "type"),
        ({"type": F.TYPE_FLOAT}, "type"),
        ({"type": F.TYPE_MESSAGE, "type_name": ".trap.Trap"}, "itself"),
        ({"type": F.TYPE_MESSAGE, "type_name": ".google.protobuf.Struct"}, "no place"),
        ({"type": F.TYPE_MESSAGE, "type_name": ".google.protobuf.StringValue"}, "no place"),
    ],
)
def test_what_contracts_may_not_hold_does_not_compile(field, complaint):
    pool = DescriptorPool()
    from google.protobuf import struct_pb2, wrappers_pb2

    for known in (struct_pb2, wrappers_pb2):
        pool.AddSerializedFile(known.DESCRIPTOR.serialized_pb)
    fields = [FieldDescriptorProto(name="it", number=1, label=F.LABEL_OPTIONAL, **field)]
    deps = ["google/protobuf/struct.proto", "google/protobuf/wrappers.proto"]
    trap = FileDescriptorProto(
        name="trap.proto", package="trap", syntax="proto3", dependency=deps,
        message_type=[DescriptorProto(name="Trap", field=fields)],
    )  # fmt: skip
    pool.AddSerializedFile(trap.SerializeToString())
    descriptor = GetMessageClass(pool.FindMessageTypeByName("trap.Trap")).DESCRIPTOR
    with pytest.raises(TypeError, match=complaint):
        check(descriptor)
