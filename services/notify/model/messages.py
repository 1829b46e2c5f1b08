"""What goes out, and how it may fare."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from kit.errors import InvalidArgument
from kit.moves import Moves
from services.notify.model.rules import URGENT, Rules
from services.notify.model.templates import Text

INBOX, WEBHOOK, WECOM_ROBOT, SMS = "inbox", "webhook", "wecom_robot", "sms"

#: Channels that whole groups read: nothing that is restricted goes there.
GROUPS: Final = frozenset({WECOM_ROBOT})

#: Where the robots of each chat are: what is meant for one goes nowhere else.
ROBOTS: Final = {WECOM_ROBOT: "qyapi.weixin.qq.com"}

PENDING, ATTEMPTED, DELIVERED, FAILED, UNKNOWN, GIVEN_UP, NO_RECIPIENT, SENT = (
    "pending",
    "attempted",
    "delivered",
    "failed",
    "unknown",
    "given_up",
    "no_recipient",
    "sent",
)

MOVES = Moves(
    (PENDING, "attempt", ATTEMPTED),  # recorded before the call
    (ATTEMPTED, "confirm", DELIVERED),
    (ATTEMPTED, "fail", FAILED),  # certainly not delivered; tried again
    (FAILED, "attempt", ATTEMPTED),
    (ATTEMPTED, "lose", UNKNOWN),  # no answer was recorded: it may have arrived
    (UNKNOWN, "confirm", DELIVERED),
    (UNKNOWN, "fail", FAILED),
    (UNKNOWN, "repeat", PENDING),
    (GIVEN_UP, "repeat", PENDING),
    (PENDING, "give up", GIVEN_UP),
    (ATTEMPTED, "give up", GIVEN_UP),
    (FAILED, "give up", GIVEN_UP),
    (UNKNOWN, "give up", GIVEN_UP),
    (NO_RECIPIENT, "find", DELIVERED),
    (NO_RECIPIENT, "give up", GIVEN_UP),
    (ATTEMPTED, "submit to provider", SENT),  # the provider has it, and will say what became of it
    (UNKNOWN, "submit to provider", SENT),
    (SENT, "confirm", DELIVERED),
    (SENT, "lose", UNKNOWN),
    (SENT, "give up", GIVEN_UP),
)

#: No person has said what became of it, so a provider still may.
UNSETTLED: Final = frozenset({ATTEMPTED, SENT, UNKNOWN})

#: How far a message went on because it stayed unread: not at all, to the next channel, to the superior.
QUIET, NEXT_CHANNEL, SUPERIOR_TOLD = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Message:
    """A notice in the inbox of one person. Its times are its record: an inbox is nobody's file, and has no rows in the audit.

    bundle      the message that told of it again among others
    escalated   how far it went while it stayed unread
    """

    id: UUID
    intent: UUID
    account: str
    template: str
    title_zh: str
    title_en: str
    text_zh: str
    text_en: str
    subject: str
    link: str
    urgency: str
    division: str
    department_id: UUID | None
    post: str
    ground: str
    delivered_at: datetime
    read_at: datetime | None = None
    acted_at: datetime | None = None
    action: str = ""
    bundle: UUID | None = None
    escalated: int = QUIET
    version: int = 1


@dataclass(frozen=True, slots=True)
class Contact:
    """Where text messages reach a person. `phone`: sealed; empty once it was taken away."""

    id: UUID
    account: str
    phone: bytes
    set_at: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address outside the platform. `url` and `secret` are sealed; `address` may be shown."""

    id: UUID
    department_id: UUID
    division: str
    channel: str
    address: str
    url: bytes
    secret: bytes
    active: bool = True
    version: int = 1


@dataclass(frozen=True, slots=True)
class Delivery:
    """A notice on its way to one endpoint, or to a post for which nobody was found.

    recipient    what makes it one of its kind within the intent: the endpoint, the post or the account
    traceparent  of what caused it: the provider's call belongs to that trace
    attempts     calls to the provider; for a post without a person, looks for one
    next_at      when the platform will do something by itself
    """

    id: UUID
    intent: UUID
    channel: str
    recipient: str
    endpoint_id: UUID | None
    department_id: UUID | None
    post: str
    account: str
    template: str
    subject: str
    division: str
    urgency: str
    state: str
    created_at: datetime
    traceparent: str = ""
    next_at: datetime | None = None
    expires_at: datetime | None = None
    delivered_at: datetime | None = None
    reason: str = ""
    attempts: int = 0
    possible_repeat: bool = False
    version: int = 1

    def attempt(self) -> Delivery:
        return MOVES.apply(self, "attempt", attempts=self.attempts + 1, next_at=None, reason="")

    def settle(self, outcome: Outcome, now: datetime, rules: Rules, luck: float) -> Delivery:
        """After the provider's answer to the newest attempt."""
        match outcome.kind:
            case Outcome.DELIVERED:
                return self.confirm(now)
            case Outcome.SENT:
                return MOVES.apply(self, "submit to provider", reason="")
            case Outcome.REFUSED:
                return self.give_up(outcome.reason)
            case Outcome.UNKNOWN:
                return self.lose(outcome.reason, now, rules)
        wait = rules.retry_after(self.attempts, luck)
        if wait is None:
            return self.give_up(outcome.reason)
        due = rules.not_before(now + max(wait, outcome.retry_after), self.urgency)
        return MOVES.apply(
            self,
            "fail",
            reason=outcome.reason,
            next_at=due,
            possible_repeat=self.possible_repeat or outcome.may_have_arrived,
        )

    def confirm(self, now: datetime) -> Delivery:
        return MOVES.apply(self, "confirm", delivered_at=now, next_at=None, reason="")

    def lose(self, reason: str, now: datetime, rules: Rules) -> Delivery:
        """The outcome is unknown. What is urgent goes out again by itself, marked; the rest waits for a person. A text message is
        followed by the next channel instead."""
        lost = MOVES.apply(self, "lose", reason=reason, next_at=None)
        again = self.urgency == URGENT and self.channel != SMS and self.attempts <= rules.urgent_repeats
        return lost.repeat(now) if again else lost

    def repeat(self, now: datetime) -> Delivery:
        return MOVES.apply(self, "repeat", next_at=now, possible_repeat=self.attempts > 0)

    def give_up(self, reason: str) -> Delivery:
        return MOVES.apply(self, "give up", reason=reason, next_at=None)

    def find(self, account: str, now: datetime) -> Delivery:
        """Somebody was found after all, and has it in the inbox."""
        return MOVES.apply(self, "find", account=account, delivered_at=now, next_at=None, reason="")

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and now > self.expires_at


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a provider answered. `reason`: a code for machines; `retry_after`: how long it wants to be left alone.

    sent        it was taken, and a receipt will follow
    failed      it was not taken, and may be tried again
    refused     it will never be taken
    unknown     no answer came, and a repeat would be seen as a second message
    """

    kind: str
    reason: str = ""
    retry_after: timedelta = timedelta()
    may_have_arrived: bool = False

    DELIVERED = "delivered"
    SENT = "sent"
    FAILED = "failed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message as a provider needs it. `id`: of the delivery, the same in every attempt; `number`, `at`: of this attempt; `phone`, `receipt_url`: of a text message, and
    where its receipts are to go."""

    id: UUID
    number: int
    channel: str
    url: str
    secret: str
    intent: UUID
    template: str
    title: Text
    text: Text
    subject: str
    link: str
    urgency: str
    division: str
    possible_repeat: bool
    at: datetime
    phone: str = field(default="", repr=False)
    receipt_url: str = ""


def shown_address(url: str, *, insecure_allowed: bool) -> str:
    """What may be shown of an endpoint's address: no user, no query, where keys stand.

    InvalidArgument(URL_INVALID | URL_INSECURE): an address without a host, with a password in it, or without TLS where that is a must.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise InvalidArgument("URL_INVALID", field="url") from None
    if not host or parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidArgument("URL_INVALID", field="url")
    if parts.scheme != "https" and not insecure_allowed:
        raise InvalidArgument("URL_INSECURE", field="url")
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"
