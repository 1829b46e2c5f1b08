"""Which events are shown while they happen, to whom, and as what: the contracts say it by the option `live`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from functools import cache
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from hetao.options.v1 import options_pb2
from kit.events import Envelope, topic_of
from kit.identity import Principal
from kit.log import Record
from services.gateway import contracts
from services.gateway.json_codec import Encode, encoder


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of event that is shown."""

    name: str
    owner: str
    descriptor: Descriptor
    message: type[Message]
    encode: Encode
    rule: options_pb2.Live


@dataclass(frozen=True, slots=True)
class Shown:
    """An event, ready to be sent to whom it concerns. `to`: a permission each, and the departments of which the reader must have one, unless None."""

    type: str
    subject: str
    division: str
    permission: str
    to: tuple[tuple[str, frozenset[str] | None], ...]
    accounts: frozenset[str]
    body: bytes

    def is_for(self, reader: Principal) -> bool:
        if not reader.may(self.permission):
            return False
        if reader.account in self.accounts:
            return True
        return reader.covers(self.division) and any(
            (not permission or reader.may(permission))
            and (departments is None or not departments.isdisjoint(reader.departments))
            for permission, departments in self.to
        )


@cache
def kinds() -> Mapping[str, Kind]:
    """By the full name of the event's type."""
    return {kind.name: kind for kind in _kinds()}


def topics() -> list[str]:
    """Where they are said."""
    return sorted({topic_of(kind.owner) for kind in kinds().values()})


def owners() -> list[str]:
    """The services that say them."""
    return sorted({kind.owner for kind in kinds().values()})


def _kinds() -> Iterator[Kind]:
    for file in contracts.files():
        for message in file.message_types_by_name.values():
            options = message.GetOptions()
            if options.HasExtension(options_pb2.live):
                yield kind_of(message, options.Extensions[options_pb2.live])


def kind_of(message: Descriptor, rule: options_pb2.Live) -> Kind:
    """Raises TypeError for an event that has no place in JSON, and for a rule that names a field that there is not."""
    names = [rule.unless, *(name for reader in rule.to for name in (reader.department, reader.account))]
    for name in filter(None, names):
        if name not in message.fields_by_name:
            raise TypeError(f"{message.full_name} has no field {name}")
    if not rule.permission or not rule.to:
        raise TypeError(f"{message.full_name} does not say to whom it is shown")
    owner = message.full_name.split(".")[1]
    return Kind(message.full_name, owner, message, GetMessageClass(message), encoder(message), rule)


def is_shown(record: Record) -> bool:
    """Whether it may be for somebody, told by the envelope. A state that is only said again, for read models, is no event of anybody's."""
    return record.envelope.type in kinds() and not record.envelope.snapshot


def hides(record: Record) -> bool:
    """Whether it says that nothing of its subject is to be shown any more."""
    kind = kinds().get(record.envelope.type)
    if kind is None or not kind.rule.unless:
        return False
    try:
        return bool(getattr(kind.message.FromString(record.value), kind.rule.unless))
    except DecodeError:
        return False


def shown(record: Record) -> Shown | None:
    """What is shown of an event; None where it is for nobody."""
    if not is_shown(record):
        return None
    envelope = record.envelope
    kind = kinds()[envelope.type]
    try:
        message: Any = kind.message.FromString(record.value)
    except DecodeError:
        return None
    rule = kind.rule
    if rule.unless and getattr(message, rule.unless):
        return None
    return Shown(
        type=envelope.type,
        subject=envelope.key,
        division=envelope.division,
        permission=rule.permission,
        to=tuple(
            (reader.permission, _texts(message, reader.department) if reader.department else None)
            for reader in rule.to
            if not reader.account
        ),
        accounts=frozenset().union(*(_texts(message, reader.account) for reader in rule.to if reader.account)),
        body=_body(envelope, kind.encode(message)),
    )


def _texts(message: Any, field: str) -> frozenset[str]:
    value = getattr(message, field)
    return frozenset(filter(None, [value] if isinstance(value, str) else value))


def _body(envelope: Envelope, data: Mapping[str, Any]) -> bytes:
    told = {
        "type": envelope.type,
        "id": str(envelope.id),
        "time": envelope.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "subject": envelope.key,
        "division": envelope.division,
        "data": data,
    }
    return b"event: %b\ndata: %b\n\n" % (envelope.type.encode(), orjson.dumps(told))
