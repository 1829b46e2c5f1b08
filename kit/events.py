"""Events: how a service says what happened, and how it says what it listens to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from google.protobuf.message import Message

if TYPE_CHECKING:
    from kit.unit import Unit


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `key`: the aggregate it happened to; events of one key keep their order. `division`: whom it concerns."""

    key: UUID | str
    message: Message
    division: str = ""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What travels with an event: CloudEvents' attributes and ours."""

    id: UUID
    type: str
    source: str
    key: str
    time: datetime
    division: str
    snapshot: bool
    traceparent: str


Effect = Callable[["Unit", Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that hears one type of event. `projection`: keeps the newest state by itself, so repetition cannot hurt it."""

    name: str
    event_type: str
    message: type[Message]
    effect: Effect
    projection: bool


def hears(message: type[Message]) -> Callable[[Effect], Handler]:
    """A reaction: in effect once per event, since an inbox row is written in the same transaction. Does not hear snapshots."""
    return lambda effect: Handler(_name(effect), message.DESCRIPTOR.full_name, message, effect, projection=False)


def projects(message: type[Message]) -> Callable[[Effect], Handler]:
    """A projection: must itself keep the newest (epoch, version) of each id. Hears snapshots too; costs no inbox row."""
    return lambda effect: Handler(_name(effect), message.DESCRIPTOR.full_name, message, effect, projection=True)


def _name(effect: Effect) -> str:
    """Stored with inbox rows: a renamed function would hear everything again."""
    return f"{effect.__module__.removeprefix('services.')}.{effect.__name__}"


def topic_of(service: str) -> str:
    """Each service says what it has to say on one topic of its own."""
    return f"hetao.{service}.v1"
