"""A valid request for any RPC, made from the limits of its contract."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from services.gateway.binding import bindings
from services.gateway.json_codec import object_of
from services.gateway.schema import needed, rules_of

#: One of these fits whatever pattern a contract asks for.
TEXTS = [
    "河套",
    "2026-03-10",
    "150802",
    "150802013006",
    "150826108203001",
    "13904781234",
    "110",
    "1",
    "3",
    "150802-sample",
    "intake-system",
    "system-sample",
    "https://example.cn/hook",
    "a" * 32,
    "a" * 64,
]

UUID = "0192f0c5-aaaa-7bbb-8ccc-0123456789ab"


def sample(method: Any, known: Mapping[str, Any]) -> Message:
    """`known`: values of fields by their names, given wherever a request has such a field; else only what it must have."""
    request = message_of(method.input_type, known)
    if masks := [binding.mask for binding in bindings(method) if binding.mask]:
        request.update_mask.paths.append(min(masks[0]))  # type: ignore[attr-defined]
    return request


def message_of(descriptor: Descriptor, known: Mapping[str, Any]) -> Message:
    message = GetMessageClass(descriptor)()
    for fd in descriptor.fields:
        if fd.name in known and object_of(fd) is None and not fd.is_repeated:
            setattr(message, fd.name, known[fd.name])
        elif needed(fd) and fd.name != "update_mask":
            _fill(message, fd, known)
    return message


def _fill(message: Message, fd: FieldDescriptor, known: Mapping[str, Any]) -> None:
    rules = rules_of(fd)
    if fd.is_repeated:
        one = known.get(fd.name.removesuffix("s"))
        getattr(message, fd.name).append(_one(fd, rules.repeated.items, known) if one is None else one)
    elif fd.message_type is not None:
        getattr(message, fd.name).CopyFrom(_one(fd, rules, known))
    else:
        setattr(message, fd.name, _one(fd, rules, known))


def _one(fd: FieldDescriptor, rules: Any, known: Mapping[str, Any]) -> Any:
    if fd.message_type is not None:
        if fd.message_type.full_name == "google.protobuf.Timestamp":
            return GetMessageClass(fd.message_type)(seconds=1_772_413_200)
        return message_of(fd.message_type, known)
    if fd.enum_type is not None:
        refused = {0, *rules.enum.not_in}
        allowed = getattr(rules.enum, "in") or list(fd.enum_type.values_by_number)
        return next(number for number in allowed if number not in refused)
    if fd.type == FieldDescriptor.TYPE_BOOL:
        return True
    if fd.type == FieldDescriptor.TYPE_STRING:
        return _text(fd, rules.string)
    return 1


def _text(fd: FieldDescriptor, limits: Any) -> str:
    if limits.uuid:
        return UUID
    if values := getattr(limits, "in"):
        return str(values[0])
    texts = [*TEXTS, *(text * 10 for text in TEXTS)]
    most = limits.max_len or 10**6
    fits = (t for t in texts if limits.min_len <= len(t) <= most and re.search(limits.pattern, t))
    found = next(fits, None)
    assert found is not None, f"{fd.full_name}: add a text that fits {limits.pattern} to TEXTS"
    return found
