"""Events as CloudEvents 1.0 on Kafka, in binary mode: attributes are headers that begin with `ce_`, the value is the protobuf message of `ce_type`.

Any client of CloudEvents reads them. `subject` is the aggregate, and the record's key too; of our own are the extensions `division` (whom it concerns),
`snapshot` (present state said again, nothing new has happened) and, as the distributed tracing extension has it, `traceparent`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from uuid import UUID

from asyncpg.pgproto import pgproto

from kit.events import Envelope

Headers = Sequence[tuple[str, bytes]]

CONTENT_TYPE = "application/protobuf"

#: The driver's own class, which is made in a fraction of the time.
_uuid: Callable[[str], UUID] = pgproto.UUID

_SPECVERSION = ("ce_specversion", b"1.0")
_CONTENT_TYPE = ("content-type", CONTENT_TYPE.encode())


class Foreign(ValueError):
    """A record that is no event of ours, and why."""


def headers_of(envelope: Envelope) -> list[tuple[str, bytes]]:
    """An attribute without a value is left out, as CloudEvents wants it."""
    headers = [
        _SPECVERSION,
        _CONTENT_TYPE,
        ("ce_id", str(envelope.id).encode()),
        ("ce_type", envelope.type.encode()),
        ("ce_source", envelope.source.encode()),
        ("ce_subject", envelope.key.encode()),
        ("ce_time", envelope.time.astimezone(UTC).isoformat().encode()),
    ]
    if envelope.division:
        headers.append(("ce_division", envelope.division.encode()))
    if envelope.snapshot:
        headers.append(("ce_snapshot", b"true"))
    if envelope.traceparent:
        headers.append(("ce_traceparent", envelope.traceparent.encode()))
    return headers


def envelope_of(headers: Headers, key: bytes | None) -> Envelope:
    """Raises `Foreign` for whatever else somebody may have written to the topic."""
    said = dict(headers)
    try:
        if not said["ce_specversion"].startswith(b"1."):
            raise Foreign("another version of CloudEvents")
        if said["content-type"] != _CONTENT_TYPE[1]:
            raise Foreign("not protobuf")
        time = datetime.fromisoformat(said["ce_time"].decode())
        if time.tzinfo is not UTC:
            if time.tzinfo is None:
                raise Foreign("a time without a zone")
            time = time.astimezone(UTC)
        return Envelope(
            id=_uuid(said["ce_id"].decode()),
            type=said["ce_type"].decode(),
            source=said["ce_source"].decode(),
            key=(said["ce_subject"] if key is None else key).decode(),
            time=time,
            division=said.get("ce_division", b"").decode(),
            snapshot=said.get("ce_snapshot") == b"true",
            traceparent=said.get("ce_traceparent", b"").decode(),
        )
    except KeyError as error:
        raise Foreign(f"no {error.args[0]}") from None
    except (AttributeError, OverflowError, ValueError) as error:  # also of a character that is none
        raise error if isinstance(error, Foreign) else Foreign(f"malformed: {type(error).__name__}") from None
