"""What a use case raises when it cannot do what was asked.

A handler raises one of these and nothing else on purpose; the RPC pipeline turns it into a `google.rpc.Status` and the gateway that
into problem details. Each carries a reason for machines; the sentences for people, Chinese and English, stand in data/texts by reason.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from kit.clock import to_the_minute

if TYPE_CHECKING:
    import grpc


class StartupError(Exception):
    """The platform cannot start, and a person can mend it. One clear line in each language, no traceback."""

    def __init__(self, zh: str, en: str):
        super().__init__(f"{zh} ({en})")
        self.zh, self.en = zh, en


class DomainError(Exception):
    """`reason` is UPPER_SNAKE; `field` the request's field in proto names, dotted; `params` fill the texts and travel along, each up to
    100 characters, moments to the minute where the work is done; `about`: the subject whose words the texts use for them."""

    #: The name of its gRPC code.
    status: ClassVar[str] = "UNKNOWN"

    #: How long the caller should wait before the next try, where that is known.
    retry_after: timedelta | None = None

    def __init__(self, reason: str, *, field: str = "", about: str = "", **params: Any):
        super().__init__(reason)
        self.reason, self.field, self.about = reason, field, about
        self.params = {k: _said(v) for k, v in params.items()}

    @property
    def code(self) -> grpc.StatusCode:
        import grpc  # commands that only read a file do without

        return grpc.StatusCode[self.status]

    def __str__(self) -> str:
        where = f" at {self.field}" if self.field else ""
        return f"{self.reason}{where} {self.params or ''}".rstrip()


def _said(value: Any) -> str:
    return to_the_minute(value) if isinstance(value, datetime) else str(value)[:100]


class InvalidArgument(DomainError):
    """The request is wrong whatever the state of the system."""

    status = "INVALID_ARGUMENT"

    def __init__(self, reason: str, *, field: str = "", violations: tuple[Violation, ...] = (), **params: Any):
        super().__init__(reason, field=field, **params)
        self.violations = violations


class Violation:
    """One field that breaks one rule of its proto: `field` dotted, `rule` such as "string.max_len", `message` English."""

    __slots__ = ("field", "message", "rule")

    def __init__(self, field: str, rule: str, message: str):
        self.field, self.rule, self.message = field, rule, message


class FailedPrecondition(DomainError):
    """Right in itself, but not in the present state."""

    status = "FAILED_PRECONDITION"


class NotFound(DomainError):
    """It does not exist, or not for the caller: the two are never told apart."""

    status = "NOT_FOUND"


class AlreadyExists(DomainError):
    status = "ALREADY_EXISTS"


class Aborted(DomainError):
    """Somebody else was faster (a stale etag); read again and decide again."""

    status = "ABORTED"


class Stale(Aborted):
    """A row is no longer the one that the unit read. `kit` does the unit again, patiently, before anybody hears of it."""

    def __init__(self) -> None:
        super().__init__("ETAG_STALE", present="")


class PermissionDenied(DomainError):
    status = "PERMISSION_DENIED"


class Unauthenticated(DomainError):
    status = "UNAUTHENTICATED"


class ResourceExhausted(DomainError):
    """Too much or too often."""

    status = "RESOURCE_EXHAUSTED"

    def __init__(self, reason: str, *, field: str = "", retry_after: timedelta | None = None, **params: Any):
        super().__init__(reason, field=field, **params)
        self.retry_after = retry_after


class Unavailable(DomainError):
    """Not now, or the outcome is unknown; repeating with the same request id settles it."""

    status = "UNAVAILABLE"


class Unimplemented(DomainError):
    """There is no such method here. Raised by the kit alone."""

    status = "UNIMPLEMENTED"


class DeadlineExceeded(DomainError):
    status = "DEADLINE_EXCEEDED"


class Internal(DomainError):
    """Our fault. Raised by the kit alone, for what nobody foresaw."""

    status = "INTERNAL"


class Refused(Exception):
    """What the unit did so far is kept (committed), and the caller is answered with `error`: a wrong PIN that must be counted."""

    def __init__(self, error: DomainError):
        super().__init__(str(error))
        self.error = error
