"""Errors as problem details (RFC 9457), for people in Chinese and English and for programs by reason.

{"type": "/docs/errors#TASKS_OPEN", "title": "请求有误", "titleEn": "Bad request", "status": 400, "detail": "还有 3 个任务未办结",
 "detailEn": "3 tasks are still open", "reason": "TASKS_OPEN", "code": "FAILED_PRECONDITION", "traceId": "…",
 "errors": [{"field": "parties[1].idNumber", "label": "证件号码", "labelEn": "Id number", "reason": "…", "message": "…", "messageEn": "…"}]}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import grpc
import orjson
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, LocalizedMessage, RetryInfo
from google.rpc.status_pb2 import Status

from kit.texts import Texts
from services.gateway.binding import Binding, Invalid, Label

CONTENT_TYPE: Final = b"application/problem+json"

#: google/rpc/code.proto says which status stands for which code.
STATUS: Final[Mapping[grpc.StatusCode, int]] = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DATA_LOSS: 500,
}

TITLES: Final[Mapping[int, tuple[str, str]]] = {
    400: ("请求有误", "Bad request"),
    401: ("请先登录", "Not signed in"),
    403: ("没有权限", "Not permitted"),
    404: ("没有找到", "Not found"),
    405: ("不支持此方法", "Method not allowed"),
    409: ("内容冲突", "Conflict"),
    412: ("内容已变更", "Precondition failed"),
    413: ("内容过大", "Content too large"),
    415: ("不支持的内容类型", "Unsupported media type"),
    429: ("请求过于频繁", "Too many requests"),
    499: ("请求已取消", "Request cancelled"),
    500: ("系统内部错误", "Internal error"),
    501: ("尚未提供", "Not implemented"),
    503: ("服务暂不可用", "Unavailable"),
    504: ("处理超时", "Timed out"),
}

#: No client learns more from the hundredth wrong field.
MOST_ERRORS: Final = 50


class Problem(Exception):
    """An answer that says what went wrong."""

    def __init__(
        self,
        status: int,
        reason: str,
        sentences: tuple[str, str],
        *,
        code: str = "",
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(reason)
        self.status, self.reason, self.sentences, self.code = status, reason, sentences, code
        self.errors, self.headers = errors, dict(headers or {})
        if status == 401:
            self.headers.setdefault("www-authenticate", "Bearer")

    def document(self, trace_id: str) -> dict[str, Any]:
        title, title_en = TITLES.get(self.status, TITLES[500])
        zh, en = self.sentences
        return {
            "type": f"/docs/errors#{self.reason}",
            "title": title,
            "titleEn": title_en,
            "status": self.status,
            "detail": zh,
            "detailEn": en,
            "reason": self.reason,
            "code": self.code,
            "traceId": trace_id,
            "errors": list(self.errors[:MOST_ERRORS]),
        }

    def body(self, trace_id: str) -> bytes:
        return orjson.dumps(self.document(trace_id))


def problem(
    status: int, reason: str, texts: Texts, *, headers: Mapping[str, str] | None = None, **params: Any
) -> Problem:
    """What the gateway itself refuses. The sentences stand in data/texts/gateway.toml."""
    code = next((code.name for code, number in STATUS.items() if number == status), "INVALID_ARGUMENT")
    code = "ABORTED" if status == 412 else code
    named = {name: str(value) for name, value in params.items()}
    return Problem(status, reason, texts.of(reason, named), code=code, headers=headers)


def of_invalid(invalid: Invalid, binding: Binding, texts: Texts) -> Problem:
    """A request that could not be read, field by field."""
    errors = []
    for flaw in invalid.flaws[:MOST_ERRORS]:
        zh, en = texts.of(flaw.reason, dict(flaw.params))
        errors.append(field_error(flaw.path, binding.label(flaw.path), flaw.reason, zh, en))
    return Problem(400, "REQUEST_INVALID", texts.of("REQUEST_INVALID", {}), code="INVALID_ARGUMENT", errors=errors)


def of_rpc(error: grpc.aio.AioRpcError, binding: Binding, texts: Texts, *, conditional: bool) -> Problem:
    """What a service answered. ``conditional``: the caller sent If-Match, so a stale etag is a precondition that failed."""
    info, bad, sentences, retry = ErrorInfo(), BadRequest(), {}, RetryInfo()
    for detail in _status(error).details:
        sentence = LocalizedMessage()
        if detail.Unpack(sentence):
            sentences[sentence.locale] = sentence.message
        else:
            _ = detail.Unpack(info) or detail.Unpack(bad) or detail.Unpack(retry)
    code = error.code()
    status = 412 if code is grpc.StatusCode.ABORTED and conditional else STATUS.get(code, 500)
    reason = info.reason or code.name
    zh, en = texts.of(reason, dict(info.metadata)) if reason in texts else TITLES.get(status, TITLES[500])
    errors = []
    for violation in bad.field_violations[:MOST_ERRORS]:
        path = binding.json_path(violation.field)
        message = violation.localized_message.message or violation.description
        errors.append(field_error(path, binding.label(path), violation.reason, message, violation.description))
    headers = {"retry-after": str(max(1, retry.retry_delay.seconds))} if status in (429, 503) else {}
    found = sentences.get("zh-CN", zh), sentences.get("en", en)
    return Problem(status, reason, found, code=code.name, errors=errors, headers=headers)


def reasons(texts: Texts) -> list[tuple[str, tuple[str, str]]]:
    """Every reason with its sentences (the texts hold others, which are no errors)."""
    return [(reason, sentences) for reason, sentences in texts.all() if reason.isupper()]


def field_error(path: str, label: Label, reason: str, zh: str, en: str) -> dict[str, str]:
    return {"field": path, "label": label.zh, "labelEn": label.en, "reason": reason, "message": zh, "messageEn": en}


def _status(error: grpc.aio.AioRpcError) -> Status:
    """The details that came with an error; empty where none came (a connection that broke)."""
    trailing: Any = error.trailing_metadata() or ()
    for key, value in trailing:
        if key == "grpc-status-details-bin":
            try:
                return Status.FromString(value)
            except DecodeError:
                break
    return Status()
