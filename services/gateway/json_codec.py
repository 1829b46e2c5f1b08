"""Messages to JSON and back, by functions compiled once per message type.

What is written is what ``google.protobuf.json_format`` writes with ``always_print_fields_with_no_presence``: names in
lowerCamelCase, enums by name, 64-bit integers as strings, times as RFC 3339. A field without presence is always there,
also with its default, so that a client needs no defaults of its own; a message, an ``optional`` or a ``oneof`` member
that is not set is left out.

What is read is narrower than the protobuf JSON mapping allows, because the OpenAPI document says one form per value and
means it: no ``null``, no numbers as strings, no strings as numbers, no enum by number, no ``original_names``. Whatever
is read means the same to ``json_format``.

Contracts hold no maps, wrappers, bytes, 32-bit floats, ``Any`` or ``Struct``, and no message that contains itself:
compiling one is a TypeError. So the depth of a body is bounded by its contract.
"""

import keyword
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

Encode = Callable[[Any], dict[str, Any]]
Convert = Callable[[Any], Any]

TIMESTAMP, DURATION, FIELD_MASK = "google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.FieldMask"
#: A document, such as a PDF: the body of an answer as it is (services/gateway/binding.py), and never a part of one.
HTTP_BODY = "google.api.HttpBody"

_F = FieldDescriptor
INTEGERS = {
    _F.TYPE_INT32: (-(2**31), 2**31 - 1),
    _F.TYPE_SINT32: (-(2**31), 2**31 - 1),
    _F.TYPE_SFIXED32: (-(2**31), 2**31 - 1),
    _F.TYPE_UINT32: (0, 2**32 - 1),
    _F.TYPE_FIXED32: (0, 2**32 - 1),
}
LONGS = {
    _F.TYPE_INT64: (-(2**63), 2**63 - 1),
    _F.TYPE_SINT64: (-(2**63), 2**63 - 1),
    _F.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    _F.TYPE_UINT64: (0, 2**64 - 1),
    _F.TYPE_FIXED64: (0, 2**64 - 1),
}

_LONG = re.compile(r"-?(0|[1-9][0-9]{0,19})")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)
_DURATION = re.compile(r"(-?)(\d{1,12})(?:\.(\d{1,9}))?s", re.ASCII)
_MASK_PATH = re.compile(r"[a-z][a-zA-Z0-9]*(\.[a-z][a-zA-Z0-9]*)*")
_LONGEST_DURATION = 315_576_000_000


@dataclass(frozen=True, slots=True)
class Flaw:
    """What is wrong with one value: where, in JSON names ("parties[1].idNumber"), and a reason of data/texts."""

    path: str
    reason: str
    params: Mapping[str, str] = field(default_factory=dict)


class Wrong(Exception):
    """A value that is none of its field's. Never leaves the decoder."""

    def __init__(self, reason: str, **params: str):
        super().__init__(reason)
        self.reason, self.params = reason, params


#: What the types of JSON are called in Chinese.
_TYPES = {
    "object": "对象",
    "array": "列表",
    "string": "文本",
    "number": "数字",
    "integer": "整数",
    "boolean": "是/否（true 或 false）",
    "string of digits": "由数字组成的文本",
}


def wrong_type(expected: str) -> Wrong:
    return Wrong("VALUE_TYPE", expected_zh=_TYPES[expected], expected_en=expected)


def object_of(fd: FieldDescriptor) -> Descriptor | None:
    """The type of a field that is a JSON object; None for those of one string, number or boolean, times included."""
    inner = fd.message_type
    return None if inner is None or inner.full_name in (TIMESTAMP, DURATION, FIELD_MASK, HTTP_BODY) else inner


def check(descriptor: Descriptor, above: tuple[str, ...] = ()) -> None:
    """Raises TypeError for a message that has no place in a contract, naming the field."""
    if descriptor.full_name in above:
        raise TypeError(f"{descriptor.full_name} contains itself")
    for fd in descriptor.fields:
        if fd.type in (_F.TYPE_BYTES, _F.TYPE_FLOAT, _F.TYPE_GROUP):
            raise TypeError(f"{fd.full_name} is of a type that the JSON of this API does not have")
        inner = object_of(fd)
        if inner is None:
            continue
        if inner.GetOptions().map_entry:
            raise TypeError(f"{fd.full_name} is a map")
        if inner.file.package == "google.protobuf" and inner.fields:
            raise TypeError(f"{fd.full_name}: {inner.full_name} has no place in the JSON of this API")
        check(inner, (*above, descriptor.full_name))


# ---- writing ----


@lru_cache(maxsize=8192)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def time_text(value: Any) -> str:
    """A Timestamp as RFC 3339 in UTC, with 0, 3, 6 or 9 decimals as needed."""
    nanos = value.nanos
    return f"{_second(value.seconds)}{_decimals(nanos)}Z" if nanos else f"{_second(value.seconds)}Z"


def duration_text(value: Any) -> str:
    """A Duration as seconds: ``-1.500s``."""
    seconds, nanos = value.seconds, value.nanos
    sign = "-" if seconds < 0 or nanos < 0 else ""
    return f"{sign}{abs(seconds)}{_decimals(abs(nanos))}s"


def _decimals(nanos: int) -> str:
    if not nanos:
        return ""
    if nanos % 1_000_000 == 0:
        return f".{nanos // 1_000_000:03d}"
    return f".{nanos // 1_000:06d}" if nanos % 1_000 == 0 else f".{nanos:09d}"


def mask_text(value: Any) -> str:
    return ",".join(map(camel, value.paths))


def camel(path: str) -> str:
    """As JSON writes it: "place.built_at" → "place.builtAt"."""
    return re.sub("_([a-z0-9])", lambda match: match[1].upper(), path)


def _number(value: float) -> float | str:
    if isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


class _Names(dict[int, str]):
    """The names of an enum; a number that a newer neighbour knows stays a number."""

    def __missing__(self, number: int) -> int:
        return number


_encoders: dict[str, Encode] = {}


def encoder(descriptor: Descriptor) -> Encode:
    """Message → what orjson dumps. Compiled from source, as ``dataclasses`` does: a loop over fields is slower."""
    known = _encoders.get(descriptor.full_name)
    if known is None:
        check(descriptor)
        known = _encoders[descriptor.full_name] = _compile(descriptor)
    return known


def _compile(descriptor: Descriptor) -> Encode:
    names: dict[str, Any] = {"time": time_text, "duration": duration_text, "mask": mask_text, "number": _number}
    always: list[str] = []
    lines = ["def encode(m):", "    out = {}"]

    def flush() -> None:
        if always:
            lines.append(
                f"    out.update({{{', '.join(always)}}})" if len(lines) > 2 else f"    out = {{{', '.join(always)}}}"
            )
            always.clear()

    for fd in descriptor.fields:
        get = f"m.{fd.name}" if not keyword.iskeyword(fd.name) else f"getattr(m, {fd.name!r})"
        if fd.is_repeated:
            one = _expression(fd, "x", names)
            always.append(f"{fd.json_name!r}: [*{get}]" if one == "x" else f"{fd.json_name!r}: [{one} for x in {get}]")
        elif fd.has_presence:
            flush()
            lines.append(f"    if m.HasField({fd.name!r}): out[{fd.json_name!r}] = {_expression(fd, get, names)}")
        else:
            always.append(f"{fd.json_name!r}: {_expression(fd, get, names)}")
    flush()
    exec("\n".join([*lines, "    return out"]), names)  # the only names in it are identifiers of our own descriptors
    compiled: Encode = names["encode"]
    return compiled


def _expression(fd: FieldDescriptor, value: str, names: dict[str, Any]) -> str:
    """The source of one value's JSON; adds what it needs to ``names``."""
    if fd.enum_type is not None:
        table = f"enum_{fd.number}"
        names[table] = _Names({number: v.name for number, v in fd.enum_type.values_by_number.items()})
        return f"{table}[{value}]"
    if fd.message_type is not None:
        special = {TIMESTAMP: "time", DURATION: "duration", FIELD_MASK: "mask"}.get(fd.message_type.full_name)
        if special is None:
            special = f"message_{fd.number}"
            names[special] = encoder(fd.message_type)
        return f"{special}({value})"
    if fd.type in LONGS:
        return f"str({value})"
    return f"number({value})" if fd.type == _F.TYPE_DOUBLE else value


# ---- reading ----


class Decoder:
    """JSON → a message of one type. ``without``: fields (dotted proto names) that the path binds, unknown here."""

    def __init__(self, descriptor: Descriptor, without: frozenset[str] = frozenset()):
        self._fields: dict[str, _Field] = {}
        for fd in descriptor.fields:
            if fd.name not in without:
                rest = frozenset(name.split(".", 1)[1] for name in without if name.startswith(fd.name + "."))
                inner = object_of(fd)
                self._fields[fd.json_name] = _Field(fd, decoder(inner, rest) if inner else None)

    def read(self, value: Any, into: Message, path: str, flaws: list[Flaw]) -> None:
        """Adds to ``flaws`` whatever is wrong; then ``into`` is of no use. ``path`` is empty or ends in a dot."""
        if type(value) is not dict:
            wrong = wrong_type("object")
            flaws.append(Flaw(path.rstrip("."), wrong.reason, wrong.params))
            return
        fields = self._fields
        chosen: dict[str, str] = {}
        for key, item in value.items():
            one = fields.get(key)
            if one is None:
                flaws.append(Flaw(path + key, "FIELD_UNKNOWN", {"field": key}))
                continue
            if one.oneof and chosen.setdefault(one.oneof, key) != key:  # which would win is nobody's guess
                flaws.append(Flaw(path + key, "ONEOF_TWICE", {"other": chosen[one.oneof]}))
                continue
            try:
                if one.plain:
                    setattr(into, one.name, one.convert(item))
                elif one.repeated:
                    one.read_list(item, into, path + key, flaws)
                elif one.inner is not None:
                    sub = getattr(into, one.name)
                    sub.SetInParent()
                    one.inner.read(item, sub, path + key + ".", flaws)
                else:
                    getattr(into, one.name).CopyFrom(one.convert(item))
            except Wrong as wrong:
                flaws.append(Flaw(path + key, wrong.reason, wrong.params))


class _Field:
    """How one field is read: ``plain`` ones are simply assigned."""

    __slots__ = ("convert", "inner", "name", "oneof", "plain", "repeated")

    def __init__(self, fd: FieldDescriptor, inner: Decoder | None):
        self.name, self.repeated, self.inner = fd.name, fd.is_repeated, inner
        self.plain = fd.message_type is None and not fd.is_repeated
        oneof = fd.containing_oneof
        self.oneof = oneof.name if oneof is not None and len(oneof.fields) > 1 else ""
        self.convert = converter(fd) if inner is None else _none

    def read_list(self, value: Any, into: Message, path: str, flaws: list[Flaw]) -> None:
        if type(value) is not list:
            raise wrong_type("array")
        target = getattr(into, self.name)
        for index, item in enumerate(value):
            if self.inner is not None:
                self.inner.read(item, target.add(), f"{path}[{index}].", flaws)
                continue
            try:
                target.append(self.convert(item))
            except Wrong as wrong:
                flaws.append(Flaw(f"{path}[{index}]", wrong.reason, wrong.params))


_decoders: dict[tuple[str, frozenset[str]], Decoder] = {}


def decoder(descriptor: Descriptor, without: frozenset[str] = frozenset()) -> Decoder:
    key = descriptor.full_name, without
    known = _decoders.get(key)
    if known is None:
        check(descriptor)
        known = _decoders[key] = Decoder(descriptor, without)
    return known


def converter(fd: FieldDescriptor) -> Convert:
    """JSON value → what protobuf takes, for a scalar in the sense of ``is_scalar``. Raises Wrong."""
    if fd.enum_type is not None:
        return _enum({v.name: v.number for v in fd.enum_type.values})
    if fd.message_type is not None:
        return {TIMESTAMP: read_time, DURATION: read_duration, FIELD_MASK: read_mask}[fd.message_type.full_name]
    if fd.type in INTEGERS:
        return _integer(*INTEGERS[fd.type])
    if fd.type in LONGS:
        return _long(*LONGS[fd.type])
    return {_F.TYPE_STRING: _text, _F.TYPE_BOOL: _boolean, _F.TYPE_DOUBLE: _double}[fd.type]


def _none(value: Any) -> Any:
    raise wrong_type("object")


def _text(value: Any) -> str:
    if type(value) is not str:
        raise wrong_type("string")
    if "\0" in value:  # PostgreSQL's text cannot hold it
        raise Wrong("VALUE_CHARACTER")
    return value


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise wrong_type("boolean")
    return value


def _double(value: Any) -> float:
    if type(value) is not float and type(value) is not int:
        raise wrong_type("number")
    if not isfinite(value):
        raise Wrong("VALUE_RANGE", least="-1.7e308", most="1.7e308")
    return value


def _integer(least: int, most: int) -> Convert:
    def convert(value: Any) -> int:
        if type(value) is float and value.is_integer():  # to JSON, 1.0 is the integer 1
            value = int(value)
        if type(value) is not int:
            raise wrong_type("integer")
        if not least <= value <= most:
            raise Wrong("VALUE_RANGE", least=str(least), most=str(most))
        return value

    return convert


def _long(least: int, most: int) -> Convert:
    def convert(value: Any) -> int:
        if type(value) is not str or not _LONG.fullmatch(value):
            raise wrong_type("string of digits")
        if not least <= int(value) <= most:
            raise Wrong("VALUE_RANGE", least=str(least), most=str(most))
        return int(value)

    return convert


def _enum(numbers: dict[str, int]) -> Convert:
    def convert(value: Any) -> int:
        number = numbers.get(value) if type(value) is str else None
        if number is None:
            raise Wrong("VALUE_ENUM", values=", ".join(numbers))
        return number

    return convert


def read_time(value: Any) -> Timestamp:
    """RFC 3339 with an offset, years 1 to 9999, at most nine decimals; no leap second."""
    match = _TIME.fullmatch(value) if type(value) is str else None
    if match is None:
        raise Wrong("VALUE_TIME")
    try:
        moment = datetime.fromisoformat(match[1] + ("+00:00" if match[3] == "Z" else match[3])).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise Wrong("VALUE_TIME") from error
    return Timestamp(seconds=int(moment.timestamp()), nanos=int((match[2] or "").ljust(9, "0")))


def read_duration(value: Any) -> Duration:
    """Seconds with at most nine decimals and an ``s``; up to 10,000 years either way."""
    match = _DURATION.fullmatch(value) if type(value) is str else None
    if match is None or int(match[2]) > _LONGEST_DURATION:
        raise Wrong("VALUE_DURATION")
    sign = -1 if match[1] else 1
    return Duration(seconds=sign * int(match[2]), nanos=sign * int((match[3] or "").ljust(9, "0")))


def read_mask(value: Any) -> FieldMask:
    """JSON names, separated by commas."""
    if type(value) is not str:
        raise wrong_type("string")
    paths = value.split(",") if value else []
    if not all(_MASK_PATH.fullmatch(path) for path in paths):
        raise Wrong("VALUE_MASK")
    return FieldMask(paths=[re.sub("[A-Z]", lambda m: "_" + m[0].lower(), path) for path in paths])
