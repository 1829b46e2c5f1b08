"""JSON Schema (2020-12, as OpenAPI 3.1 uses it) of messages and fields, with the limits that the contracts set by buf.validate.

A message is described twice where it both comes in and goes out. What comes in may hold only known fields and must hold
those without which it would be refused; what goes out always holds every field without presence, and may gain others.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from buf.validate import validate_pb2
from hetao.options.v1 import options_pb2
from services.gateway.comments import Comments
from services.gateway.json_codec import DURATION, FIELD_MASK, HTTP_BODY, INTEGERS, LONGS, TIMESTAMP, object_of

Schema = dict[str, Any]

LONG_PATTERN = "^-?(0|[1-9][0-9]*)$"


def rules_of(fd: FieldDescriptor) -> validate_pb2.FieldRules:
    rules: validate_pb2.FieldRules = fd.GetOptions().Extensions[validate_pb2.field]
    return rules


def reachable(roots: list[Descriptor]) -> dict[str, Descriptor]:
    """These messages and all that they hold, by full name."""
    found: dict[str, Descriptor] = {}
    waiting = list(roots)
    while waiting:
        message = waiting.pop()
        if message.full_name not in found:
            found[message.full_name] = message
            waiting += [inner for fd in message.fields if (inner := object_of(fd)) is not None]
    return found


class Schemas:
    """Component schemas, made as they are asked for. ``incoming`` and ``outgoing``: the messages that come in and go out."""

    def __init__(self, comments: Comments, incoming: list[Descriptor], outgoing: list[Descriptor]):
        self._comments = comments
        messages = reachable(incoming + outgoing)
        self._both = reachable(incoming).keys() & reachable(outgoing).keys()
        enums = {fd.enum_type.full_name: fd.enum_type for m in messages.values() for fd in m.fields if fd.enum_type}
        self._named = Counter(kind.name for kind in [*messages.values(), *enums.values()])
        self._without: dict[str, frozenset[str]] = {}
        self.components: dict[str, Schema] = {}

    def _name(self, kind: Descriptor | EnumDescriptor) -> str:
        """Its own name, with its service's before it where another has the same."""
        name: str = kind.name
        return name if self._named[name] < 2 else kind.file.package.split(".")[1].capitalize() + name

    def message(self, message: Descriptor, *, incoming: bool, without: frozenset[str] = frozenset()) -> Schema:
        """A reference to a message's schema. ``without``: dotted names of fields that come from elsewhere."""
        name = self._name(message) + ("Input" if incoming and message.full_name in self._both else "")
        if self._without.setdefault(name, without) != without:
            raise ValueError(f"{message.full_name} comes in by two paths that bind different fields")
        if name not in self.components:
            self.components[name] = {}  # its place, in the order of first use
            self.components[name] = self._object(message, incoming, without)
        return {"$ref": f"#/components/schemas/{name}"}

    def of(self, reference: Schema) -> Schema:
        """What a reference refers to."""
        return self.components[reference["$ref"].rsplit("/", 1)[1]]

    def ids(self, reference: Schema) -> dict[str, str]:
        """Strings of an answer that may be ids, by name, with where they stand: its own and those of the objects in it."""
        own = self.of(reference).get("properties", {})
        found = {name: name for name, schema in own.items() if schema.get("type") == "string"}
        for name, schema in own.items():
            if "$ref" in schema:
                inner = self.of(schema).get("properties", {})
                strings = (field for field, one in inner.items() if one.get("type") == "string")
                found |= {field: f"{name}/{field}" for field in strings if field not in found}
        return found

    def _object(self, message: Descriptor, incoming: bool, without: frozenset[str]) -> Schema:
        fields = [fd for fd in message.fields if fd.name not in without]
        schema: Schema = {"type": "object"}
        if comment := self._comments.of(message.full_name):
            schema["description"] = comment
        schema["properties"] = {
            fd.json_name: self.field(
                fd,
                incoming=incoming,
                without=frozenset(n.split(".", 1)[1] for n in without if n.startswith(f"{fd.name}.")),
            )
            for fd in fields
        }
        required = [fd.json_name for fd in fields if (needed(fd) if incoming else not fd.has_presence)]
        if required:
            schema["required"] = required
        if incoming:
            schema["additionalProperties"] = False
            if exclusive := list(_exclusive(message)):
                schema["allOf"] = exclusive
        return schema

    def field(self, fd: FieldDescriptor, *, incoming: bool, without: frozenset[str] = frozenset()) -> Schema:
        """A field's schema with its names, its comment and its limits."""
        rules = rules_of(fd)
        schema = self._array(fd, rules, incoming) if fd.is_repeated else self._one(fd, rules, incoming, without)
        titled: Schema = {}
        if zh := fd.GetOptions().Extensions[options_pb2.zh]:
            titled["title"] = zh
        if comment := self._comments.of(fd.full_name):
            titled["description"] = comment
        if fd.GetOptions().Extensions[options_pb2.personal]:
            titled["x-personal"] = True
        return {**titled, **schema}

    def _array(self, fd: FieldDescriptor, rules: validate_pb2.FieldRules, incoming: bool) -> Schema:
        limits = rules.repeated
        schema: Schema = {"type": "array", "items": self._one(fd, limits.items, incoming, frozenset())}
        if incoming:
            least = max(limits.min_items, 1 if rules.required else 0)
            if least and not _ignored(rules):
                schema["minItems"] = least
            if limits.HasField("max_items"):
                schema["maxItems"] = limits.max_items
            if limits.unique:
                schema["uniqueItems"] = True
        return schema

    def _one(
        self, fd: FieldDescriptor, rules: validate_pb2.FieldRules, incoming: bool, without: frozenset[str]
    ) -> Schema:
        inner = object_of(fd)
        if inner is not None:
            return self.message(inner, incoming=incoming, without=without)
        if fd.enum_type is not None:
            return self._enum(fd.enum_type, rules, incoming)
        return scalar(fd, rules if incoming else validate_pb2.FieldRules())

    def _enum(self, enum: EnumDescriptor, rules: validate_pb2.FieldRules, incoming: bool) -> Schema:
        if incoming and (allowed := _allowed(enum, rules)) != set(enum.values_by_number):
            return {"type": "string", "enum": [v.name for v in enum.values if v.number in allowed]}
        name = self._name(enum)
        if name not in self.components:
            schema: Schema = {"type": "string", "enum": [v.name for v in enum.values]}
            lines = [self._comments.of(enum.full_name)]
            told = {v.name: self._comments.of(f"{enum.full_name}.{v.name}") for v in enum.values}
            lines += [f"- `{value}`: {text}" for value, text in told.items() if text]
            if text := "\n".join(line for line in lines if line):
                schema["description"] = text
            self.components[name] = schema
        return {"$ref": f"#/components/schemas/{name}"}


def scalar(fd: FieldDescriptor, rules: validate_pb2.FieldRules) -> Schema:
    """One value of a field that is no object."""
    not_zero = rules.required and not fd.has_presence
    if fd.enum_type is not None:
        allowed = _allowed(fd.enum_type, rules)
        return {"type": "string", "enum": [v.name for v in fd.enum_type.values if v.number in allowed]}
    if fd.message_type is not None:
        return {
            TIMESTAMP: {"type": "string", "format": "date-time"},
            HTTP_BODY: {"type": "string", "format": "binary"},
            DURATION: {"type": "string", "pattern": "^-?[0-9]{1,12}(\\.[0-9]{1,9})?s$"},
            FIELD_MASK: {"type": "string", "pattern": "^([a-z][a-zA-Z0-9]*(\\.[a-z][a-zA-Z0-9]*)*,?)*$"},
        }[fd.message_type.full_name]
    if fd.type == FieldDescriptor.TYPE_BOOL:
        return {"type": "boolean"} | ({"const": True} if not_zero else {})
    if fd.type == FieldDescriptor.TYPE_STRING:
        return _string(rules, 1 if not_zero else 0)
    if fd.type in LONGS:
        return {"type": "string", "format": "int64", "pattern": LONG_PATTERN}
    if fd.type in INTEGERS:
        kind = "int32" if INTEGERS[fd.type][0] < 0 else "uint32"
        least, most = INTEGERS[fd.type]
        schema: Schema = {"type": "integer", "minimum": least, "maximum": most} | _bounds(getattr(rules, kind), 1)
    else:
        schema = {"type": "number", "format": "double"} | _bounds(rules.double, 0)
    return schema | ({"not": {"const": 0}} if not_zero else {})


def _allowed(enum: EnumDescriptor, rules: validate_pb2.FieldRules) -> set[int]:
    """The numbers that the rules let through."""
    refused = {*rules.enum.not_in, *([0] if rules.required else [])}
    return (set(getattr(rules.enum, "in")) or set(enum.values_by_number)) - refused


def _string(rules: validate_pb2.FieldRules, least: int) -> Schema:
    limits = rules.string
    schema: Schema = {"type": "string"}
    if values := list(getattr(limits, "in")):
        return {"type": "string", "enum": ["", *values] if _ignored(rules) else values}
    if limits.HasField("const"):
        return {"const": limits.const}
    if limits.uuid:
        schema["format"] = "uuid"
    if limits.uri:
        schema["format"] = "uri"
    if least := max(limits.min_len, least):
        schema["minLength"] = least
    if limits.HasField("max_len"):
        schema["maxLength"] = limits.max_len
    if limits.HasField("len"):
        schema["minLength"] = schema["maxLength"] = limits.len
    if limits.HasField("pattern"):
        schema["pattern"] = limits.pattern
    if _ignored(rules) and len(schema) > 1:
        return {"anyOf": [{"type": "string", "maxLength": 0}, schema]}
    return schema


def _bounds(limits: Any, step: int) -> Schema:
    """``step`` 1 turns "greater than 3" into "at least 4"."""
    schema: Schema = {}
    for name, key, exclusive, delta in (
        ("gte", "minimum", "minimum", 0),
        ("lte", "maximum", "maximum", 0),
        ("gt", "minimum", "exclusiveMinimum", 1),
        ("lt", "maximum", "exclusiveMaximum", -1),
    ):
        if limits.HasField(name):
            value = getattr(limits, name)
            if step:
                schema[key] = value + delta
            else:
                schema[exclusive] = value
    return schema


def _ignored(rules: validate_pb2.FieldRules) -> bool:
    """Whether the rules are not asked of an empty value."""
    return rules.ignore in (validate_pb2.IGNORE_IF_ZERO_VALUE, validate_pb2.IGNORE_ALWAYS)


def needed(fd: FieldDescriptor) -> bool:
    """Whether a request without the field is refused: what is absent reads as empty, and an empty value breaks a rule."""
    rules = rules_of(fd)
    if rules.required:
        return True
    if fd.has_presence or _ignored(rules):
        return False
    if fd.is_repeated:
        return rules.repeated.min_items > 0
    if fd.enum_type is not None:
        return 0 not in _allowed(fd.enum_type, rules)
    if fd.type == FieldDescriptor.TYPE_STRING:
        limits = rules.string
        values = getattr(limits, "in")
        return bool(
            limits.min_len
            or limits.len
            or limits.uuid
            or limits.uri
            or (values and "" not in values)
            or (limits.HasField("pattern") and not re.search(limits.pattern, ""))
        )
    if fd.type in INTEGERS:
        bounds = rules.int32 if INTEGERS[fd.type][0] < 0 else rules.uint32
        return bounds.gt >= 0 if bounds.HasField("gt") else bounds.gte > 0
    if fd.type == FieldDescriptor.TYPE_DOUBLE:
        return rules.double.gt >= 0 if rules.double.HasField("gt") else rules.double.gte > 0
    return False


def _exclusive(message: Descriptor) -> Iterator[Schema]:
    """At most one of a oneof's fields."""
    for oneof in message.oneofs:
        names = [fd.json_name for fd in oneof.fields]
        for index, first in enumerate(names):
            for second in names[index + 1 :]:
                yield {"not": {"required": [first, second]}}
