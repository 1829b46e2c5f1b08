"""Golden bytes of every event: what was once written must decode for ever, whatever becomes of the contract.

    python -m tests.contract.golden        writes the bytes of new events; what is there stays

Beside the bytes (`.bin`) stands what they mean (`.json`, in proto names). A change of an event that is no mere addition shows here, and is not to be
answered by writing the file anew: give the event a new name or the field a new number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from services.gateway import contracts

FOLDER = Path(__file__).parent / "golden"


def events() -> Iterator[Descriptor]:
    """Every message that travels by the log."""
    for file in contracts.files():
        if file.name.endswith(("/events.proto", "/notice.proto")):
            yield from file.message_types_by_name.values()


def example(descriptor: Descriptor) -> Message:
    """A message with every field set, and always in the same way."""
    message = GetMessageClass(descriptor)()
    taken: set[str] = set()
    for fd in descriptor.fields:
        oneof = fd.containing_oneof
        if oneof is not None and oneof.name in taken:
            continue
        if oneof is not None:
            taken.add(oneof.name)
        if fd.is_repeated:
            getattr(message, fd.name).extend(_value(fd, n) for n in (1, 2))
        elif fd.message_type is not None:
            getattr(message, fd.name).CopyFrom(_value(fd, 1))
        else:
            setattr(message, fd.name, _value(fd, 1))
    return message


def _value(fd: FieldDescriptor, nth: int) -> Any:
    if fd.message_type is not None:
        if fd.message_type.full_name == "google.protobuf.Timestamp":
            return fd.message_type._concrete_class(seconds=1_772_413_200 + fd.number, nanos=nth * 1_000_000)
        return example(fd.message_type)
    if fd.enum_type is not None:
        return fd.enum_type.values[min(nth, len(fd.enum_type.values) - 1)].number
    match fd.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return bytes([fd.number, nth]) if fd.type == FieldDescriptor.TYPE_BYTES else f"{fd.name} {nth} 河套"
        case FieldDescriptor.CPPTYPE_BOOL:
            return True
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return fd.number + nth / 4
        case _:
            return fd.number * 1000 + nth


def meaning(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True, use_integers_for_enums=True)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for descriptor in events():
        path = FOLDER / f"{descriptor.full_name}.bin"
        if not path.exists():
            message = example(descriptor)
            path.write_bytes(message.SerializeToString(deterministic=True))
            told = json.dumps(meaning(message), ensure_ascii=False, indent=1, sort_keys=True)
            path.with_suffix(".json").write_text(told + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
