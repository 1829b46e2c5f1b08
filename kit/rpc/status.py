"""Domain errors as `google.rpc.Status`: code, reason, fields, and sentences in both languages."""

from __future__ import annotations

from math import ceil

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.descriptor import Descriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, LocalizedMessage, RetryInfo
from google.rpc.status_pb2 import Status

from hetao.options.v1 import options_pb2
from kit.errors import DomainError, InvalidArgument, Violation
from kit.texts import Texts

DOMAIN = "hetao"
DETAILS = "grpc-status-details-bin"

#: Bytes. A client takes 8 KiB of metadata by default, and these travel in base64, beside the message itself.
LARGEST_STATUS = 4500


class Failed(Exception):
    """An RPC's failure, ready to be sent."""

    def __init__(self, status: Status):
        super().__init__(status.message)
        self.status = status

    @property
    def code(self) -> grpc.StatusCode:
        return CODES[self.status.code]

    def trailing(self) -> tuple[tuple[str, bytes], ...]:
        return ((DETAILS, self.status.SerializeToString()),)


CODES = {code.value[0]: code for code in grpc.StatusCode}


def status_of(error: DomainError, texts: Texts, request: Descriptor | None = None) -> Status:
    """The status of an error. `request`: the type whose fields the error names."""
    zh, en = texts.of_error(error)
    details: list[Message] = [
        ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.params),
        LocalizedMessage(locale="zh-CN", message=zh),
        LocalizedMessage(locale="en", message=en),
    ]
    if error.retry_after is not None:
        details.append(RetryInfo(retry_delay=Duration(seconds=ceil(error.retry_after.total_seconds()))))
    violations = [_violation(v, texts, request) for v in getattr(error, "violations", ())]
    if error.field and not violations:
        label = label_of(request, error.field)
        violations = [
            BadRequest.FieldViolation(
                field=error.field,
                description=en,
                reason=error.reason,
                localized_message=LocalizedMessage(locale="zh-CN", message=f"{label}：{zh}" if label else zh),
            )
        ]
    while True:
        named: list[Message] = [BadRequest(field_violations=violations)] if violations else []
        packed = [_pack(detail) for detail in (details[0], *named, *details[1:])]
        status = Status(code=error.code.value[0], message=en, details=packed)
        if status.ByteSize() <= LARGEST_STATUS or not violations:
            return status
        violations = violations[: len(violations) // 2]


def _violation(violation: Violation, texts: Texts, request: Descriptor | None) -> BadRequest.FieldViolation:
    rule = f"rule.{violation.rule}"
    zh = texts.of(rule, {})[0] if rule in texts else violation.message
    label = label_of(request, violation.field)
    return BadRequest.FieldViolation(
        field=violation.field,
        description=violation.message,
        reason=violation.rule.upper().replace(".", "_"),
        localized_message=LocalizedMessage(locale="zh-CN", message=f"{label}：{zh}" if label else zh),
    )


def label_of(message: Descriptor | None, field: str) -> str:
    """The Chinese name of a field given by its dotted path ("parties[1].name"); "" where there is none."""
    label = ""
    for part in field.split("."):
        descriptor = message.fields_by_name.get(part.split("[")[0]) if message else None
        if descriptor is None:
            return label
        label = descriptor.GetOptions().Extensions[options_pb2.zh] or label
        message = descriptor.message_type
    return label


def _pack(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


def unreadable(texts: Texts) -> Status:
    return status_of(InvalidArgument("REQUEST_UNREADABLE"), texts)
