"""Values that more than one servicer turns to and from messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any
from uuid import UUID

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from hetao.common.v1 import common_pb2
from kit.errors import InvalidArgument
from kit.proto import given_day, text_of
from services.grid.model.points import Point, from_crs


def some_day(text: str, field: str) -> date | None:
    return given_day(text, field) if text else None


def some_id(text: str) -> UUID | None:
    return UUID(text) if text else None


def text_date(value: date | None) -> str:
    return "" if value is None else value.isoformat()


def point(message: common_pb2.Point) -> Point:
    """Into CGCS2000."""
    return from_crs(message.lat, message.lon, text_of(common_pb2.Crs, message.crs))


def to_point(value: Point) -> common_pb2.Point:
    return common_pb2.Point(lat=value.lat, lon=value.lon, crs=common_pb2.CRS_CGCS2000)


def changes(request: Message, mask: FieldMask, allowed: Iterable[str]) -> Mapping[str, Any]:
    """The fields that a PATCH changes, as they stand in the request. InvalidArgument(MASK_UNKNOWN) for any other path."""
    known = set(allowed)
    for path in mask.paths:
        if path not in known:
            raise InvalidArgument("MASK_UNKNOWN", field="update_mask", path=path)
    return {path: getattr(request, path) for path in mask.paths}


def named(changed: Mapping[str, Any]) -> Mapping[str, Any]:
    """Refuses to take a name away."""
    if changed.get("name") == "":
        raise InvalidArgument("NAME_EMPTY", field="name")
    return changed
