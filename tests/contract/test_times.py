"""Moments that no clock has said: only gRPC can carry them, and whoever takes a moment from a request refuses them by the field's name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor
from google.protobuf.timestamp_pb2 import Timestamp

from tests.contract.samples import message_of, sample
from tests.contract.test_permissions import ACCOUNTS, METHODS, ROLES, call, options_pb2
from tests.world import Refusal, World

MOMENT = Timestamp.DESCRIPTOR.full_name

#: Beyond what a Timestamp may hold, at either end; not in order; of another age.
STRANGE = [
    {"seconds": 10**15},
    {"seconds": -(10**15)},
    {"seconds": 2**63 - 1, "nanos": 2**31 - 1},
    {"seconds": 1_772_413_200, "nanos": -1},
    {"seconds": 1_772_413_200, "nanos": 10**9},
    {"seconds": -5_000_000_000},
    {"seconds": 253_402_300_799},
]


def moments(of: Descriptor, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all moments in a message."""
    for fd in of.fields:
        if fd.message_type is None:
            continue
        if fd.message_type.full_name == MOMENT:
            yield (*path, fd.name)
        else:
            yield from moments(fd.message_type, (*path, fd.name))


ASKED = [(name, path) for name, method in METHODS.items() for path in moments(method.input_type)]


def with_moment(request: Any, path: tuple[str, ...], value: dict[str, int]) -> Any:
    """The request with a value in one of its moments; in the first element of each list on the way."""
    at = request
    for name in path[:-1]:
        field, inner = at.DESCRIPTOR.fields_by_name[name], getattr(at, name)
        if field.is_repeated and not inner:
            inner.append(message_of(field.message_type, {}))
        at = inner[0] if field.is_repeated else inner
    getattr(at, path[-1]).CopyFrom(Timestamp(**value))
    return request


def who_may(name: str) -> str:
    permission = METHODS[name].GetOptions().Extensions[options_pb2.access].permission
    return next(
        one["account"]
        for one in ACCOUNTS
        if any(
            permission == p or (p.endswith("*") and permission.startswith(p[:-1]))
            for p in ROLES.permissions(one["roles"])
        )
    )


async def test_a_moment_that_cannot_be_is_refused_everywhere(world: World) -> None:
    assert len(ASKED) > 5
    wrong = []
    for name, path in ASKED:
        for value in STRANGE:
            request = with_moment(sample(METHODS[name], {"division": "150802"}), path, value)
            answer = await call(world, METHODS[name], request, who_may(name))
            if not isinstance(answer, Refusal) or (answer.code, answer.reason) != ("INVALID_ARGUMENT", "DATE_INVALID"):
                wrong.append(f"{name} {'.'.join(path)} {value}: {answer}")
            elif path[-1] not in answer.fields[0]:
                wrong.append(f"{name} names {answer.fields} for {'.'.join(path)}")
    assert not wrong, "\n".join(wrong)
