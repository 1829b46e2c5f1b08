"""When a message goes out, who is told next, and what proves that somebody was told: data/rules/notify.toml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any

from kit.clock import BUSINESS_ZONE
from kit.statutory import Calendar

NORMAL, URGENT = "normal", "urgent"


@dataclass(frozen=True, slots=True)
class Unread:
    """When an unread message goes on, in working hours: after `next_hours` to the next channel, `superior_hours` later to the superior's post."""

    next_hours: float
    superior_hours: float


@dataclass(frozen=True, slots=True)
class ManualRules:
    """How parties are told by hand. `hours`, `urgent_hours`, `again_hours`: working hours until a party must be told, and after a try in vain;
    `ways`: the way of the first try, by template; `proof`: what each manner must be proved with."""

    tries: int = 3
    hours: float = 16
    urgent_hours: float = 4
    again_hours: float = 8
    ways: Mapping[str, str] = field(default_factory=dict)
    proof: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def parsed(cls, entry: Mapping[str, Any]) -> ManualRules:
        proof = {manner: tuple(wanted) for manner, wanted in entry["proof"].items()}
        hours = entry["hours"], entry["urgent_hours"], entry["again_hours"]
        return cls(entry["tries"], *hours, entry["ways"], proof)

    def way(self, template: str) -> str:
        return self.ways.get(template, "call")

    def due(self, moment: datetime, urgency: str, calendar: Calendar) -> datetime:
        return calendar.after_working_hours(moment, self.urgent_hours if urgency == URGENT else self.hours)

    def due_again(self, moment: datetime, calendar: Calendar) -> datetime:
        return calendar.after_working_hours(moment, self.again_hours)


@dataclass(frozen=True, slots=True)
class Rules:
    """data/rules/notify.toml."""

    quiet_from: time
    quiet_until: time
    retry_seconds: tuple[int, ...]
    urgent_repeats: int
    resolve_seconds: tuple[int, ...]
    bundle_at: tuple[time, ...] = ()
    bundled: frozenset[str] = frozenset()
    bundle_lines: int = 20
    unread_by_template: Mapping[str, Unread] = field(default_factory=dict)
    unread_by_urgency: Mapping[str, Unread] = field(default_factory=dict)
    receipt_hours: float = 24
    manual: ManualRules = field(default_factory=ManualRules)

    @classmethod
    def parsed(cls, entry: Mapping[str, Any]) -> Rules:
        return cls(
            entry["quiet_from"],
            entry["quiet_until"],
            tuple(entry["retry_seconds"]),
            entry["urgent_repeats"],
            tuple(entry["resolve_seconds"]),
            tuple(sorted(entry["bundle"]["at"])),
            frozenset(entry["bundle"]["templates"]),
            entry["bundle"]["lines"],
            {name: _unread(row) for row in entry["unread"] for name in row.get("templates", ())},
            {row["urgency"]: _unread(row) for row in entry["unread"] if "urgency" in row},
            entry["sms"]["receipt_hours"],
            ManualRules.parsed(entry["manual"]),
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

    def bundled_at(self, template: str, urgency: str, moment: datetime, calendar: Calendar) -> datetime | None:
        """When an ordinary reminder is told again among others, if it is one that is not read by then: the next of the hours on a working day."""
        if urgency == URGENT or template not in self.bundled or not self.bundle_at:
            return None
        local = moment.astimezone(BUSINESS_ZONE)
        if calendar.working(local.date()):
            for at in self.bundle_at:
                if at > local.time():
                    return datetime.combine(local.date(), at, BUSINESS_ZONE).astimezone(moment.tzinfo)
        day = calendar.add_working_days(local.date(), 1)
        return datetime.combine(day, self.bundle_at[0], BUSINESS_ZONE).astimezone(moment.tzinfo)

    def unread(self, template: str, urgency: str) -> Unread | None:
        """What follows when such a message stays unread; None: nothing."""
        return self.unread_by_template.get(template) or self.unread_by_urgency.get(urgency)


def _unread(row: Mapping[str, Any]) -> Unread:
    return Unread(row["next_hours"], row["superior_hours"])
