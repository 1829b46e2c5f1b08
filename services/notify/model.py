"""Who is told, when and how a message may fare. No I/O, no clock, no protobuf."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from kit.clock import BUSINESS_ZONE
from kit.errors import InvalidArgument
from kit.moves import Moves

NORMAL, URGENT = "normal", "urgent"
INBOX, WEBHOOK, WECOM_ROBOT = "inbox", "webhook", "wecom_robot"

#: Where the robots of each chat are: what is meant for one goes nowhere else.
ROBOTS: Final = {WECOM_ROBOT: "qyapi.weixin.qq.com"}

PENDING, ATTEMPTED, DELIVERED, FAILED, UNKNOWN, GIVEN_UP, NO_RECIPIENT = (
    "pending",
    "attempted",
    "delivered",
    "failed",
    "unknown",
    "given_up",
    "no_recipient",
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
)


@dataclass(frozen=True, slots=True)
class Text:
    zh: str
    en: str


# -- templates ---------------------------------------------------------------------------------------------------------

#: Codes, dates, numbers. No Chinese, so no name can travel in a message by mistake.
_VALUE = re.compile(r"[0-9A-Za-z .:/_+-]{1,64}", re.ASCII)

#: Every template may use it: made from the notice's subject.
LINK = "link"


def as_it_is(name: str, value: str) -> tuple[str, str]:
    return value, value


@dataclass(frozen=True, slots=True)
class Template:
    """A text with its variables. Which ones it has is declared, and checked against its texts and against each notice."""

    name: str
    variables: frozenset[str]
    title: Text
    text: Text

    @classmethod
    def parsed(cls, name: str, entry: Mapping[str, Any]) -> Template:
        """From its entry in data/templates. Raises ValueError where texts and variables do not agree."""
        template = cls(name, frozenset(entry["variables"]), Text(**entry["title"]), Text(**entry["text"]))
        titles = _placeholders(template.title.zh), _placeholders(template.title.en)
        texts = _placeholders(template.text.zh), _placeholders(template.text.en)
        for zh, en in (titles, texts):
            if zh != en:
                raise ValueError(f"template {name}: the Chinese and the English text do not have the same variables")
        if titles[0] | texts[0] | {LINK} != template.variables | {LINK}:
            raise ValueError(f"template {name}: its texts do not have the variables that it declares")
        return template

    def filled(
        self, values: Mapping[str, str], link: str, words: Callable[[str, str], tuple[str, str]] = as_it_is
    ) -> tuple[Text, Text]:
        """Title and text. `words`: what a code becomes in Chinese and in English, by its variable, where it is one that people do not read.

        InvalidArgument(TEMPLATE_VARIABLES_WRONG | VARIABLE_NOT_PLAIN).
        """
        if values.keys() != self.variables - {LINK}:
            raise InvalidArgument("TEMPLATE_VARIABLES_WRONG", field="variables", template=self.name)
        for name, value in values.items():
            if not _VALUE.fullmatch(value):
                raise InvalidArgument("VARIABLE_NOT_PLAIN", field="variables", template=self.name, variable=name)
        said = {name: words(name, value) for name, value in values.items()} | {LINK: (link, link)}
        zh, en = ({name: word[language] for name, word in said.items()} for language in (0, 1))
        title, text = self.title, self.text
        return (
            Text(title.zh.format_map(zh), title.en.format_map(en)),
            Text(text.zh.format_map(zh), text.en.format_map(en)),
        )


def _placeholders(text: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


# -- who is meant ------------------------------------------------------------------------------------------------------

ACCOUNT, DUTY, HOLDER, SUBSTITUTE, SUPERIOR = "account", "duty", "holder", "substitute", "superior"

#: Posts that stand above the others of their department, the nearest first.
SUPERIORS: Final = ("head", "director", "leader")


@dataclass(frozen=True, slots=True)
class Span:
    """Days on which an account is on duty, or away with a substitute; both days included, business time."""

    begins: date
    ends: date
    account: str

    def covers(self, day: date) -> bool:
        return self.begins <= day <= self.ends


@dataclass(frozen=True, slots=True)
class Post:
    department: UUID
    kind: str
    holder: str
    duties: Sequence[Span] = ()


@dataclass(frozen=True, slots=True)
class Directory:
    """As much of the organisation as one notice needs: `departments` from the one addressed upwards, their posts, who is away."""

    departments: Sequence[UUID]
    posts: Sequence[Post]
    absences: Mapping[str, Sequence[Span]] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()  # accounts of people who have left

    def person_in(self, post: Post, day: date) -> tuple[str, str] | None:
        """(account, ground) of who does the post's work on that day: by roster, else the holder, else who stands in for them."""
        rostered = [duty.account for duty in post.duties if duty.covers(day)]
        candidates = [(account, DUTY) for account in rostered] + ([(post.holder, HOLDER)] if post.holder else [])
        for account, ground in candidates:
            if self._present(account, day):
                return account, ground
        for account, _ in candidates:
            if substitute := self._substitute(account, day):
                return substitute, SUBSTITUTE
        return None

    def find(self, kind: str, day: date) -> tuple[str, str] | None:
        """(account, ground) of who gets a message to the post `kind` of the first department, or None where nobody is found.

        The post itself (several of a kind: the first that is filled), then the superiors of the same department, then those above it.
        """
        for post in self._posts(self.departments[:1], (kind,)):
            if found := self.person_in(post, day):
                return found
        above = SUPERIORS[SUPERIORS.index(kind) + 1 :] if kind in SUPERIORS else SUPERIORS
        for departments, kinds in ((self.departments[:1], above), (self.departments[1:], SUPERIORS)):
            for post in self._posts(departments, kinds):
                if found := self.person_in(post, day):
                    return found[0], SUPERIOR
        return None

    def _posts(self, departments: Iterable[UUID], kinds: Iterable[str]) -> Iterable[Post]:
        listed = list(kinds)
        for department in departments:
            for kind in listed:
                yield from (post for post in self.posts if post.department == department and post.kind == kind)

    def _present(self, account: str, day: date) -> bool:
        return account not in self.gone and not any(span.covers(day) for span in self.absences.get(account, ()))

    def _substitute(self, account: str, day: date) -> str | None:
        """Who stands in, and for them in turn; a circle of people who are all away has nobody."""
        asked: set[str] = set()
        while account not in asked and account not in self.gone:
            asked.add(account)
            span = next((span for span in self.absences.get(account, ()) if span.covers(day) and span.account), None)
            if span is None:
                return None
            account = span.account
            if self._present(account, day):
                return account
        return None


# -- when --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rules:
    """data/rules/notify.toml."""

    quiet_from: time
    quiet_until: time
    retry_seconds: tuple[int, ...]
    urgent_repeats: int
    resolve_seconds: tuple[int, ...]

    @classmethod
    def parsed(cls, entry: Mapping[str, Any]) -> Rules:
        return cls(
            entry["quiet_from"],
            entry["quiet_until"],
            tuple(entry["retry_seconds"]),
            entry["urgent_repeats"],
            tuple(entry["resolve_seconds"]),
        )

    def not_before(self, moment: datetime, urgency: str) -> datetime:
        """When a message may go out: at once, or at the end of the quiet hours if it can wait."""
        local = moment.astimezone(BUSINESS_ZONE)
        begins, ends = self.quiet_from, self.quiet_until
        over_midnight = begins > ends
        quiet = local.time() >= begins or local.time() < ends if over_midnight else begins <= local.time() < ends
        if urgency == URGENT or not quiet:
            return moment
        day = local.date() + timedelta(days=1) if over_midnight and local.time() >= begins else local.date()
        return datetime.combine(day, ends, BUSINESS_ZONE).astimezone(moment.tzinfo)

    def retry_after(self, failures: int, luck: float) -> timedelta | None:
        """How long to wait after so many failures (1, 2, …), or None when it is to be given up. `luck` in [0, 1) spreads the retries."""
        if failures > len(self.retry_seconds):
            return None
        return timedelta(seconds=self.retry_seconds[failures - 1] * (1 + luck / 5))

    def look_again_after(self, looks: int) -> timedelta | None:
        """How long until the next look for a recipient, after so many in vain (1, 2, …); None: only when a person asks for it."""
        return timedelta(seconds=self.resolve_seconds[looks - 1]) if looks <= len(self.resolve_seconds) else None


# -- what goes out -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Message:
    """A notice in the inbox of one person. Its times are its record: an inbox is nobody's file, and has no rows in the audit."""

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
        """The outcome is unknown. What is urgent goes out again by itself, marked; the rest waits for a person."""
        lost = MOVES.apply(self, "lose", reason=reason, next_at=None)
        return lost.repeat(now) if self.urgency == URGENT and self.attempts <= rules.urgent_repeats else lost

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

    failed      it was not taken, and may be tried again
    refused     it will never be taken
    unknown     no answer came, and a repeat would be seen as a second message
    """

    kind: str
    reason: str = ""
    retry_after: timedelta = timedelta()
    may_have_arrived: bool = False

    DELIVERED = "delivered"
    FAILED = "failed"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message as a provider needs it. `id`: of the delivery, the same in every attempt; `number`, `at`: of this attempt."""

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
