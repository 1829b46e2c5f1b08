"""Deadlines as sentences: which days were not counted and why, in Chinese and in English."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING

from kit.clock import BUSINESS_ZONE, business_date
from kit.statutory.calendar import HOLIDAY, MAKE_UP, WEEKEND, Day
from kit.statutory.rules import CALENDAR_DAYS, HOURS, WORKING_DAYS

if TYPE_CHECKING:
    from kit.statutory.deadline import Deadline

WEEKDAYS_ZH = "一二三四五六日"
WEEKDAYS_EN = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS_EN = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
UNITS_ZH = {CALENDAR_DAYS: "日", WORKING_DAYS: "个工作日", HOURS: "小时"}
UNITS_EN = {CALENDAR_DAYS: "calendar day", WORKING_DAYS: "working day", HOURS: "hour"}


@dataclass(frozen=True, slots=True)
class Span:
    """Days in a row under one name, holidays or make-up days."""

    first: date
    last: date
    day: Day


def chinese(d: Deadline) -> str:
    rule = d.rule
    lead = f"“{rule.zh}”期限为 {rule.amount} {UNITS_ZH[rule.unit]}（依据：{_source(d)}；规则 {rule.name}，版本 {rule.version}，{_zh(rule.effective_from)}起适用"
    parts = [lead + ("" if rule.confidence == "F" else f"；可信度 {rule.confidence}，可按当地规定调整") + "）。"]
    how = "按小时计算，节假日不扣除" if rule.unit == HOURS else "当日不计入" if d.amount else "当日到期"
    parts.append(f"自 {_zh(d.start)}起算，{how}。")
    weekend, holidays, make_up = _skipped(d)
    off = [f"{s.day.zh}假期 {_zh_span(s)}" for s in holidays] + ([f"周末 {weekend} 天"] if weekend else [])
    if off:
        parts.append(f"不计入：{'；'.join(off)}。")
    if make_up:
        parts.append(f"计入：{'、'.join(f'{_zh(s.first, year=False)}{s.day.zh}调休上班日' for s in make_up)}。")
    for p in d.pauses:
        what = f"{_zh(p.begins)} 至 {_zh(p.ends)}，事由：{p.ground}；依据：{p.source}"
        if rule.unit == HOURS:
            parts.append(f"{p.zh}（{what}），期间不计入。")
        elif days := d.moved_by(p):
            parts.append(f"加上{p.zh} {days} {UNITS_ZH[rule.unit]}（{what}）。")
        else:
            parts.append(f"{p.zh}（{what}）未跨过计入的日终，不顺延。")
    for extension in d.extensions:
        source = f"；依据：{extension.source}" if extension.source else ""
        parts.append(
            f"经 {extension.approver} 批准延长 {extension.amount} {UNITS_ZH[rule.unit]}（事由：{extension.ground}{source}）。"
        )
    if d.counted_to != d.last_day:
        why = _named(d, lambda day: f"为{day.zh}假期" if day.kind == HOLIDAY else "为周末")
        parts.append(f"最后一日 {_zh(d.counted_to)}{why}，顺延至其后第一个工作日（民法典第二百零三条）。")
    closing = "（停止业务活动的时间）" if rule.ends == "business" else ""
    parts.append(f"因此于 {_zh(d.due_at)}{closing}到期。")
    if d.provisional:
        parts.append("所涉年份的放假安排尚未公布，此日期为暂定，公布后重新计算。")
    return "".join(parts)


def english(d: Deadline) -> str:
    rule = d.rule
    source = rule.source_en or _source(d)
    lead = f"“{rule.en}” is limited to {_count(rule.amount, UNITS_EN[rule.unit])} (source: {source}; rule {rule.name}, version {rule.version}, "
    lead += f"in force since {_en(rule.effective_from)}"
    parts = [lead + ("" if rule.confidence == "F" else f"; confidence {rule.confidence}, set locally") + ")."]
    how = (
        "hours run through holidays"
        if rule.unit == HOURS
        else "that day is " + ("not counted" if d.amount else "its last")
    )
    parts.append(f"It starts on {_en(d.start)}; {how}.")
    weekend, holidays, make_up = _skipped(d)
    off = [f"{s.day.en} {_en_span(s)}" for s in holidays] + ([_count(weekend, "weekend day")] if weekend else [])
    if off:
        parts.append(f"Not counted: {'; '.join(off)}.")
    if make_up:
        parts.append(f"Counted: {', '.join(f'{_en(s.first, year=False)} (made up for {s.day.en})' for s in make_up)}.")
    for p in d.pauses:
        what = f"{_en(p.begins)} to {_en(p.ends)}, ground: {p.ground_en or p.ground}; source: {p.source_en or p.source}"
        if rule.unit == HOURS:
            parts.append(f"Not counted, {p.en}: {what}.")
        elif days := d.moved_by(p):
            parts.append(f"Plus {_count(days, UNITS_EN[rule.unit])} {p.en} ({what}).")
        else:
            parts.append(f"No day that counts ended while {p.en} ({what}), so it is not moved by that.")
    for extension in d.extensions:
        source = f"; source: {extension.source}" if extension.source else ""
        more = _count(extension.amount, UNITS_EN[rule.unit])
        parts.append(
            f"Extended by {more}, approved by {extension.approver} (ground: {extension.ground_en or extension.ground}{source})."
        )
    if d.counted_to != d.last_day:
        why = _named(d, lambda day: f"in the {day.en} holiday" if day.kind == HOLIDAY else "on a weekend")
        parts.append(
            f"The last day, {_en(d.counted_to)}, falls {why}, so the next working day takes its place (Civil Code 203)."
        )
    closing = " (end of business)" if rule.ends == "business" else ""
    parts.append(f"So it is due on {_en(d.due_at)}{closing}.")
    if d.provisional:
        parts.append(
            "The holidays of a year that matters here are not published yet: the date is provisional and will be computed again."
        )
    return " ".join(parts)


def _skipped(d: Deadline) -> tuple[int, list[Span], list[Span]]:
    """What a reader would ask about: weekend days left out, holidays left out, make-up days counted. Only working days leave days out."""
    if d.rule.unit != WORKING_DAYS:
        return 0, [], []
    days = list(d.calendar.days(business_date(d.start), d.last_day))
    weekend = sum(day.kind == WEEKEND for day in days)
    return weekend, _spans(days, HOLIDAY), _spans(days, MAKE_UP, apart=True)


def _spans(days: list[Day], kind: str, *, apart: bool = False) -> list[Span]:
    chosen = [day for day in days if day.kind == kind]
    if apart:
        return [Span(day.date, day.date, day) for day in chosen]
    # The position of a day among the chosen ones differs from its date by a constant as long as the days follow each other.
    runs = groupby(enumerate(chosen), key=lambda pair: (pair[1].date - timedelta(days=pair[0]), pair[1].zh))
    grouped = [[day for _, day in run] for _, run in runs]
    return [Span(run[0].date, run[-1].date, run[0]) for run in grouped]


def _named(d: Deadline, say: Callable[[Day], str]) -> str:
    return say(d.calendar.day(d.counted_to))


def _source(d: Deadline) -> str:
    return f"{d.rule.source} {d.rule.article}".strip()


def _count(amount: int, unit: str) -> str:
    return f"{amount} {unit}{'' if amount == 1 else 's'}"


def _zh(when: date | datetime, *, year: bool = True) -> str:
    day = when.astimezone(BUSINESS_ZONE) if isinstance(when, datetime) else when
    text = (f"{day.year}年" if year else "") + f"{day.month}月{day.day}日（周{WEEKDAYS_ZH[day.weekday()]}）"
    return f"{text}{day:%H:%M}" if isinstance(day, datetime) else text


def _en(when: date | datetime, *, year: bool = True) -> str:
    day = when.astimezone(BUSINESS_ZONE) if isinstance(when, datetime) else when
    text = f"{WEEKDAYS_EN[day.weekday()]} {day.day} {MONTHS_EN[day.month - 1]}" + (f" {day.year}" if year else "")
    return f"{text} {day:%H:%M}" if isinstance(day, datetime) else text


def _zh_span(s: Span) -> str:
    first = f"{s.first.year}年{s.first.month}月{s.first.day}日"
    return first if s.first == s.last else f"{first}至{s.last.month}月{s.last.day}日"


def _en_span(s: Span) -> str:
    last = f"{s.last.day} {MONTHS_EN[s.last.month - 1]} {s.last.year}"
    if s.first == s.last:
        return last
    return f"{s.first.day} {MONTHS_EN[s.first.month - 1]} to {last}"
