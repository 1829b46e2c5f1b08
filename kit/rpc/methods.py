"""The RPCs of a service, read from its descriptors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hetao.options.v1 import options_pb2
from kit.limits import counted
from kit.unit import Unit


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC. `path` as gRPC writes it; `repeatable`: its requests carry a request id."""

    path: str
    descriptor: MethodDescriptor
    request: type[Message]
    response: type[Message]
    permission: str
    public: bool
    writes: bool
    counted: bool
    repeatable: bool
    handler: Callable[[Any, Unit], Awaitable[Any]]


def methods_of(rpc: Mapping[ServiceDescriptor, Any]) -> dict[str, Method]:
    """Every RPC of the servicers, by path. A missing handler or access option is an error at start, not at the first call."""
    found: dict[str, Method] = {}
    for service, servicer in rpc.items():
        for descriptor in service.methods:
            access = descriptor.GetOptions().Extensions[options_pb2.access]
            if not (access.permission or access.public):
                raise ValueError(f"{descriptor.full_name} has no access option")
            path = f"/{service.full_name}/{descriptor.name}"
            found[path] = Method(
                path=path,
                descriptor=descriptor,
                request=GetMessageClass(descriptor.input_type),
                response=GetMessageClass(descriptor.output_type),
                permission=access.permission,
                public=access.public,
                writes=writes(descriptor),
                counted=counted(descriptor),
                repeatable="request_id" in descriptor.input_type.fields_by_name,
                handler=getattr(servicer, descriptor.name),
            )
    return found


def writes(descriptor: MethodDescriptor) -> bool:
    """Whether an RPC changes something: all do but GETs and those that say NO_SIDE_EFFECTS. A GET that leaves a trace, such as who looked, says
    IDEMPOTENT."""
    options = descriptor.GetOptions()
    level = options.idempotency_level
    if level != MethodOptions.IDEMPOTENCY_UNKNOWN:
        return bool(level == MethodOptions.IDEMPOTENT)
    return bool(options.Extensions[annotations_pb2.http].WhichOneof("pattern") != "get")


class Repeat(Enum):
    """Whether a request may arrive a second time."""

    ALWAYS = auto()
    BY_ID = auto()  # where it carries a request id: the stored reply answers it
    NEVER = auto()


def repeat(descriptor: MethodDescriptor) -> Repeat:
    """What the contract says of repeats. What leaves another trace each time may still be asked again. Replies are stored by the caller's account, so writes that anybody may make are never repeated."""
    options = descriptor.GetOptions()
    if not writes(descriptor) or options.idempotency_level == MethodOptions.IDEMPOTENT:
        return Repeat.ALWAYS
    public = options.Extensions[options_pb2.access].public
    return Repeat.BY_ID if "request_id" in descriptor.input_type.fields_by_name and not public else Repeat.NEVER
