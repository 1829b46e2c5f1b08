"""How one RPC is spoken in HTTP: what of its request comes from the path, the query and the body, what of its answer is sent.

The rules are those of ``google/api/http.proto``: fields named in the template come from the path, those of ``body`` from
the body, all others from the query, nested ones by dots. Names are the JSON names. What a caller gets wrong is told field
by field, all at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

import orjson
from google.api import annotations_pb2
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hetao.options.v1 import options_pb2
from kit.limits import counted
from kit.rpc.methods import writes
from services.gateway.json_codec import (
    FIELD_MASK,
    HTTP_BODY,
    Convert,
    Flaw,
    Wrong,
    converter,
    decoder,
    encoder,
    object_of,
)
from services.gateway.paths import Template

#: What a document may be: the browser shows it, and runs nothing of it.
PDF: Final = "application/pdf"

#: In place of a body that has no bytes; JSON's null is a value, and the wrong one.
EMPTY: Final = object()

_INTEGER = re.compile(r"-?[0-9]{1,20}")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")


class Invalid(Exception):
    """The request cannot be read: every flaw that was found."""

    def __init__(self, *flaws: Flaw):
        super().__init__(", ".join(f"{flaw.path}: {flaw.reason}" for flaw in flaws))
        self.flaws = flaws


@dataclass(frozen=True, slots=True)
class Parameter:
    """A field that comes from the path or the query. ``name`` in JSON names ("filter.madeAfter"), ``steps`` in proto names."""

    name: str
    steps: tuple[str, ...]
    fd: FieldDescriptor
    convert: Convert

    def put(self, request: Message, text: str) -> None:
        """Raises Wrong."""
        value = self.convert(text)
        message: Any = request
        for step in self.steps[:-1]:
            message = getattr(message, step)
        last = self.steps[-1]
        if self.fd.is_repeated:
            getattr(message, last).append(value)
        elif self.fd.message_type is not None:
            getattr(message, last).CopyFrom(value)
        else:
            setattr(message, last, value)


@dataclass(frozen=True, slots=True)
class Label:
    """What people call a field."""

    zh: str
    en: str


class Binding:
    """One HTTP rule of one RPC. Raises ValueError or TypeError for a rule that cannot be served."""

    def __init__(self, method: MethodDescriptor, rule: HttpRule):
        self.method = method
        self.verb, self.template = _pattern(rule)
        self.input: Descriptor = method.input_type
        self.output: Descriptor = method.output_type
        self.request_class = GetMessageClass(self.input)
        self.response_class = GetMessageClass(self.output)
        self.body, self.response_body = rule.body, rule.response_body
        access = method.GetOptions().Extensions[options_pb2.access]
        self.permission, self.public = str(access.permission), bool(access.public)
        self.shared_seconds: int = access.shared_seconds
        self.writes, self.free_for = writes(method), "" if counted(method) else self.permission
        self.has_request_id = "request_id" in self.input.fields_by_name
        self.has_etag = "etag" in self.input.fields_by_name
        self.path = {p.name: p for p in map(self._path_parameter, Template.parse(self.template).variables)}
        self._by_variable = {".".join(p.steps): p for p in self.path.values()}
        self.query = {} if self.body == "*" else {p.name: p for p in self._query_parameters(self.input, (), ())}
        self._read_body = self._body_reader()
        self.answers_document = self._answers_document()
        self._encode, self.answers_version = self._answer_writer()
        if self.shared_seconds and (self.verb != "GET" or self.public or self.answers_version):
            raise ValueError(
                f"{method.full_name}: what is shared is a GET for those who may, of something without a version"
            )
        self.answers_etag = self.answers_version or bool(self.shared_seconds)
        self.mask = self._mask_paths()

    # ---- what is bound to what ----

    def _path_parameter(self, variable: Any) -> Parameter:
        steps = tuple(variable.field.split("."))
        fds = list(_fields(self.input, steps))
        if fds[-1].is_repeated or fds[-1].message_type is not None:
            raise ValueError(f"{self.method.full_name}: {variable.field} cannot stand in a path")
        return Parameter(".".join(fd.json_name for fd in fds), steps, fds[-1], from_text(fds[-1]))

    def _query_parameters(
        self, descriptor: Descriptor, above: tuple[str, ...], names: tuple[str, ...]
    ) -> Iterator[Parameter]:
        for fd in descriptor.fields:
            steps, dotted = (*above, fd.name), (*names, fd.json_name)
            if ".".join(steps) in self._by_variable or (not above and fd.name == self.body):
                continue
            inner = object_of(fd)
            if inner is None:
                yield Parameter(".".join(dotted), steps, fd, from_text(fd))
            elif not fd.is_repeated:  # a list of objects has no place in a query
                yield from self._query_parameters(inner, steps, dotted)

    def _body_reader(self) -> Callable[[Any, Message, list[Flaw]], None] | None:
        elsewhere = frozenset(self._by_variable)
        if not self.body:
            return None
        if self.body == "*":
            whole = decoder(self.input, elsewhere)
            return lambda value, request, flaws: whole.read(value, request, "", flaws)
        name = self.body
        fd = self.input.fields_by_name[name]
        inner = object_of(fd)
        if inner is None or fd.is_repeated:
            raise ValueError(f"{self.method.full_name}: its body is no object")
        part = decoder(inner, frozenset(f.removeprefix(f"{name}.") for f in elsewhere if f.startswith(f"{name}.")))

        def read(value: Any, request: Message, flaws: list[Flaw]) -> None:
            target = getattr(request, name)
            target.SetInParent()
            part.read(value, target, "", flaws)

        return read

    def _answers_document(self) -> bool:
        """Whether the answer is no JSON but a document, a ``google.api.HttpBody``."""
        fd = self.output.fields_by_name[self.response_body] if self.response_body else None
        return fd is not None and fd.message_type is not None and fd.message_type.full_name == HTTP_BODY

    def _answer_writer(self) -> tuple[Callable[[Any], dict[str, Any]], bool]:
        if self.answers_document:
            return lambda answer: {}, False
        if not self.response_body:
            return encoder(self.output), "etag" in self.output.fields_by_name
        name = self.response_body
        fd = self.output.fields_by_name[name]
        inner = object_of(fd)
        if inner is None or fd.is_repeated:
            raise ValueError(f"{self.method.full_name}: its response body is no object")
        encode = encoder(inner)
        return lambda answer: encode(getattr(answer, name)), "etag" in inner.fields_by_name

    def _mask_paths(self) -> frozenset[str]:
        """For a PATCH: what its field mask may name."""
        if self.verb != "PATCH":
            return frozenset()
        mask = self.input.fields_by_name.get("update_mask")
        if mask is None or mask.message_type is None or mask.message_type.full_name != FIELD_MASK or not self.body:
            raise ValueError(f"{self.method.full_name}: a PATCH has a body and an update_mask")
        if self.body == "*":
            return frozenset(_leaves(self.input, "")) - {*self._by_variable, "update_mask", "etag", "request_id"}
        inner = object_of(self.input.fields_by_name[self.body])
        assert inner is not None  # _body_reader has seen to it
        return frozenset(_leaves(inner, "")) - {name.removeprefix(f"{self.body}.") for name in self._by_variable}

    # ---- reading and writing ----

    @property
    def takes_body(self) -> bool:
        return self._read_body is not None

    def read(self, path: Mapping[str, str], query: str, body: Any) -> Message:
        """The request. ``path`` by template variables, ``body`` parsed JSON or EMPTY. Raises Invalid."""
        request = self.request_class()
        flaws: list[Flaw] = []
        if body is not EMPTY and self._read_body is not None:
            self._read_body(body, request, flaws)
        if query:
            self._read_query(query, request, flaws)
        for variable, text in path.items():
            parameter = self._by_variable[variable]
            try:
                parameter.put(request, text)
            except Wrong as wrong:
                flaws.append(Flaw(parameter.name, wrong.reason, wrong.params))
        if self.verb == "PATCH" and not flaws:
            self._check_mask(request, flaws)
        if flaws:
            raise Invalid(*flaws)
        return request

    def _read_query(self, query: str, request: Message, flaws: list[Flaw]) -> None:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=1000)
        except ValueError as error:  # UnicodeDecodeError is one
            raise Invalid(Flaw("", "QUERY_UNREADABLE")) from error
        seen: set[str] = set()
        chosen: dict[str, str] = {}
        for name, text in pairs:
            parameter = self.query.get(name)
            if parameter is None:
                flaws.append(Flaw(name, "FIELD_UNKNOWN", {"field": name}))
                continue
            oneof = parameter.fd.containing_oneof
            if name in seen and not parameter.fd.is_repeated:
                flaws.append(Flaw(name, "PARAMETER_TWICE"))
            elif oneof is not None and chosen.setdefault(oneof.full_name, name) != name:
                flaws.append(Flaw(name, "ONEOF_TWICE", {"other": chosen[oneof.full_name]}))
            else:
                try:
                    parameter.put(request, text)
                except Wrong as wrong:
                    flaws.append(Flaw(name, wrong.reason, wrong.params))
            seen.add(name)

    def _check_mask(self, request: Any, flaws: list[Flaw]) -> None:
        paths = request.update_mask.paths
        if not paths:
            flaws.append(Flaw("updateMask", "MASK_MISSING"))
        flaws += [Flaw("updateMask", "MASK_UNKNOWN", {"path": path}) for path in paths if path not in self.mask]

    def write(self, answer: Any) -> bytes:
        return orjson.dumps(self._encode(answer))

    def document(self, answer: Any) -> bytes:
        """ValueError for a document of another type than the contracts know."""
        found = getattr(answer, self.response_body)
        if found.content_type != PDF:
            raise ValueError(f"{self.method.full_name} answers {found.content_type}")
        body: bytes = found.data
        return body

    def etag(self, answer: Any) -> str:
        """The version of what is answered, or "" where it has none."""
        if not self.answers_version:
            return ""
        found: str = (getattr(answer, self.response_body) if self.response_body else answer).etag
        return found

    # ---- what fields are called ----

    def json_path(self, field: str) -> str:
        """Where the caller wrote a field of the request: "parties[1].id_number" → "parties[1].idNumber"."""
        names: list[str] = []
        descriptor: Descriptor | None = self.input
        for part in field.split(".") if field else ():
            name, bracket, index = part.partition("[")
            fd = descriptor.fields_by_name.get(name) if descriptor else None
            names.append((fd.json_name if fd else name) + bracket + index)
            descriptor = fd.message_type if fd else None
        inside_body = self.body and field.startswith(f"{self.body}.") and field not in self._by_variable
        return ".".join(names[1:] if inside_body else names)

    def label(self, json_path: str) -> Label:
        """What people call the field at a JSON path, as ``json_path`` and the flaws give it."""
        parts = json_path.split(".")
        body = self.input.fields_by_name.get(self.body)
        if body is not None and json_path not in self.query and json_path not in self.path:
            found = _label(body.message_type, parts)
            if found is not None:
                return found
        return _label(self.input, parts) or Label("", "")


def bindings(method: MethodDescriptor) -> list[Binding]:
    """Every way an RPC is served in HTTP; empty for one without a ``google.api.http`` option."""
    options = method.GetOptions()
    if not options.HasExtension(annotations_pb2.http):
        return []
    rule = options.Extensions[annotations_pb2.http]
    return [Binding(method, rule), *(Binding(method, more) for more in rule.additional_bindings)]


def from_text(fd: FieldDescriptor) -> Convert:
    """Text of a path or query → what protobuf takes. Raises Wrong."""
    convert = converter(fd)
    if fd.enum_type is not None or fd.message_type is not None:
        return convert
    if fd.type == FieldDescriptor.TYPE_BOOL:
        return lambda text: convert({"true": True, "false": False}.get(text, text))
    if fd.type == FieldDescriptor.TYPE_DOUBLE:
        return lambda text: convert(float(text) if _NUMBER.fullmatch(text) else text)
    if fd.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32):
        return lambda text: convert(int(text) if _INTEGER.fullmatch(text) else text)
    return convert


def _pattern(rule: HttpRule) -> tuple[str, str]:
    kind = rule.WhichOneof("pattern")
    if kind == "custom":
        return rule.custom.kind.upper(), rule.custom.path
    if kind is None:
        raise ValueError("an HTTP rule has no path")
    return kind.upper(), getattr(rule, kind)


def _fields(descriptor: Descriptor, steps: tuple[str, ...]) -> Iterator[FieldDescriptor]:
    at: Descriptor | None = descriptor
    for step in steps:
        fd = at.fields_by_name.get(step) if at else None
        if fd is None:
            raise ValueError(f"{descriptor.full_name} has no field {'.'.join(steps)}")
        yield fd
        at = fd.message_type


def _leaves(descriptor: Descriptor, prefix: str) -> Iterator[str]:
    """Dotted names of all fields, those of nested objects after the object's own."""
    for fd in descriptor.fields:
        yield prefix + fd.name
        inner = object_of(fd)
        if inner is not None and not fd.is_repeated:
            yield from _leaves(inner, f"{prefix}{fd.name}.")


def _label(descriptor: Descriptor | None, parts: list[str]) -> Label | None:
    """None where the path leads nowhere."""
    fd = None
    for part in parts:
        name = part.partition("[")[0]
        fd = next((f for f in descriptor.fields if f.json_name == name), None) if descriptor else None
        if fd is None:
            return None
        descriptor = fd.message_type
    return None if fd is None else label_of(fd)


def label_of(fd: FieldDescriptor) -> Label:
    """The Chinese name that the contract gives, and the field's own name as English words."""
    words = fd.name.replace("_", " ")
    return Label(fd.GetOptions().Extensions[options_pb2.zh], words[:1].upper() + words[1:])
