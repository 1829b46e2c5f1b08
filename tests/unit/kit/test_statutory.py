"""The statutory-time engine: exact dates around the holidays that matter, and what holds for every date."""

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.statutory import Deadlines, Extension, Pause, Rule, Rules
from kit.statutory.calendar import Calendar

SHANGHAI = ZoneInfo("Asia/Shanghai")
DATA = Path(__file__).parents[3] / "data"
DEADLINES = Deadlines.load(DATA)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


def rule(amount: int, unit: str = "working_days", ends: str = "day") -> Rule:
    return Rule("test.limit", "办理", "handling", amount, unit, "1", date(2004, 1, 1), "测试条例", "F", "第一条", ends)


def due(amount: int, start: str, unit: str = "working_days", ends: str = "day", pauses=(), extensions=()) -> str:
    deadline = DEADLINES.due(rule(amount, unit, ends), at(start), pauses, extensions)
    return f"{deadline.due_at.astimezone(SHANGHAI):%Y-%m-%d %H:%M}" + (" provisional" if deadline.provisional else "")


def pause(begins: str, ends: str) -> Pause:
    return Pause(at(begins), at(ends), "委托鉴定", "测试条例第二条", "expert opinion")


@pytest.mark.parametrize(
    ("amount", "start", "expected"),
    [
        (1, "2026-03-02T09:00", "2026-03-03 23:59"),
        (1, "2026-03-02T23:59", "2026-03-03 23:59"),
        (5, "2026-03-02T09:00", "2026-03-09 23:59"),
        (1, "2026-03-07T10:00", "2026-03-09 23:59"),  # a Saturday: Monday is the first day
        (1, "2026-02-13T10:00", "2026-02-14 23:59"),  # the Saturday before Spring Festival is worked
        (2, "2026-02-13T10:00", "2026-02-24 23:59"),  # then nine days off
        (5, "2026-02-11T10:00", "2026-02-25 23:59"),
        (4, "2026-02-24T10:00", "2026-02-28 23:59"),  # 28 February, a Saturday, is made up too
        (1, "2026-09-19T10:00", "2026-09-20 23:59"),  # Sunday 20 September is made up for the National Day
        (3, "2026-09-30T10:00", "2026-10-10 23:59"),  # 8, 9 and the made-up Saturday 10 October
        (1, "2026-12-31T10:00", "2027-01-04 23:59 provisional"),  # Friday 1 January 2027 is New Year's Day
        (5, "2027-02-03T10:00", "2027-02-12 23:59 provisional"),  # 4, 9, 10, 11, 12 February
        (2, "2028-04-28T10:00", "2028-05-02 23:59 provisional"),  # beyond all overlays: Monday to Friday
        (0, "2026-03-02T09:00", "2026-03-02 23:59"),
        (0, "2026-03-07T09:00", "2026-03-09 23:59"),
    ],
)
def test_working_days(amount: int, start: str, expected: str):
    assert due(amount, start) == expected


@pytest.mark.parametrize(
    ("amount", "start", "expected"),
    [
        (15, "2026-03-02T09:00", "2026-03-17 23:59"),
        (5, "2026-03-02T09:00", "2026-03-09 23:59"),  # ends on Saturday 7 March: the Monday after
        (10, "2026-02-06T09:00", "2026-02-24 23:59"),  # ends on 16 February, in the Spring Festival
        (10, "2026-02-04T09:00", "2026-02-14 23:59"),  # ends on a Saturday that is worked: stays
        (60, "2026-08-03T09:00", "2026-10-08 23:59"),  # ends on 2 October
        (30, "2026-12-02T09:00", "2027-01-04 23:59 provisional"),  # ends on 1 January 2027
        (29, "2026-12-02T09:00", "2026-12-31 23:59"),
        (0, "2026-10-03T09:00", "2026-10-08 23:59"),
    ],
)
def test_calendar_days_move_from_a_day_off_to_the_next_working_day(amount: int, start: str, expected: str):
    assert due(amount, start, "calendar_days") == expected


def test_hours_run_through_holidays():
    assert due(24, "2026-02-16T10:30", "hours") == "2026-02-17 10:30"
    assert due(48, "2026-12-31T12:00", "hours") == "2027-01-02 12:00"


def test_a_rule_may_end_when_business_stops():
    assert due(1, "2026-03-02T09:00", ends="business") == "2026-03-03 17:30"
    assert due(0, "2026-03-02T09:00", ends="business") == "2026-03-02 17:30"
    assert due(0, "2026-03-02T18:00", ends="business") == "2026-03-03 17:30"  # business is over for today


def test_a_pause_within_one_day_costs_nothing_and_each_night_costs_a_day():
    assert due(5, "2026-03-02T09:00", pauses=[pause("2026-03-03T09:00", "2026-03-03T17:00")]) == "2026-03-09 23:59"
    assert due(5, "2026-03-02T09:00", pauses=[pause("2026-03-03T09:00", "2026-03-04T09:00")]) == "2026-03-10 23:59"
    assert due(5, "2026-03-02T09:00", pauses=[pause("2026-03-06T20:00", "2026-03-09T08:00")]) == "2026-03-10 23:59"
    # Over a weekend a calendar limit stands still three days, a limit in working days one.
    assert due(10, "2026-03-02T09:00", "calendar_days") == "2026-03-12 23:59"
    weekend = [pause("2026-03-06T20:00", "2026-03-09T08:00")]
    assert due(10, "2026-03-02T09:00", "calendar_days", pauses=weekend) == "2026-03-16 23:59"  # 15 March is a Sunday


def test_a_pause_of_hours_moves_the_moment():
    pauses = [pause("2026-03-02T12:00", "2026-03-02T15:30"), pause("2026-03-02T15:00", "2026-03-02T16:00")]
    assert due(24, "2026-03-02T09:00", "hours", pauses=pauses) == "2026-03-03 13:00"


def test_a_pause_outside_the_limit_changes_nothing():
    before, after = pause("2026-02-01T09:00", "2026-02-20T09:00"), pause("2026-03-20T09:00", "2026-03-25T09:00")
    assert due(5, "2026-03-02T09:00", pauses=[before, after]) == "2026-03-09 23:59"


def test_a_pause_on_the_days_that_a_last_day_moved_over_moves_it_further():
    # The fifth day is Saturday 7 March, moved to Monday; the clock stands from Sunday to Tuesday.
    stands = [pause("2026-03-08T09:00", "2026-03-11T09:00")]
    assert due(5, "2026-03-02T09:00", "calendar_days", pauses=stands) == "2026-03-11 23:59"


def test_an_extension_adds_to_the_amount():
    more = Extension(15, "centre-director", "案情复杂")
    assert due(45, "2026-03-02T09:00", "calendar_days", extensions=[more]) == "2026-05-06 23:59"  # 1 May is Labour Day


def test_colours_follow_the_share_that_is_left():
    # From the start of Monday to the end of Friday: half is left on Wednesday at noon.
    deadline = DEADLINES.due(rule(4), at("2026-03-02T00:00"))
    assert [deadline.colour(at(f"2026-03-{day:02}T12:00")) for day in (2, 3, 4, 5, 6, 7)] == [
        "green", "green", "yellow", "yellow", "orange", "red",
    ]  # fmt: skip
    assert deadline.remaining(at("2026-03-02T00:00")) == 1
    assert deadline.remaining(deadline.due_at) == 0
    assert not deadline.overdue(deadline.due_at)
    assert (
        DEADLINES.due(rule(4), at("2020-03-02T00:00")).bands == deadline.bands
    )  # what began before there were colours has them too
    assert deadline.overdue(deadline.due_at + timedelta(milliseconds=1))


def test_days_off_do_not_use_up_working_days():
    deadline = DEADLINES.due(rule(10), at("2026-09-28T09:00"))
    assert deadline.remaining(at("2026-10-01T00:00")) == pytest.approx(deadline.remaining(at("2026-10-07T23:59")))


def test_a_pause_holds_the_colour():
    stands = pause("2026-03-03T09:00", "2026-03-12T09:00")
    deadline = DEADLINES.due(rule(5), at("2026-03-02T09:00"), [stands])
    assert deadline.paused(at("2026-03-05T09:00"))
    assert not deadline.paused(at("2026-03-12T09:00"))
    assert deadline.remaining(at("2026-03-11T09:00")) == pytest.approx(deadline.remaining(stands.begins))


def test_2027_has_its_statutory_days_and_nothing_guessed():
    off = [
        "01-01", "02-05", "02-06", "02-07", "02-08", "04-05", "05-01", "05-02", "06-09", "09-15", "10-01", "10-02", "10-03",
    ]  # fmt: skip
    calendar = DEADLINES.calendar
    days = [calendar.day(date(2027, 1, 1) + timedelta(days=n)) for n in range(365)]
    assert [f"{d.date:%m-%d}" for d in days if d.kind == "holiday"] == off
    assert len(off) == 13  # as many as the State Council's rule of 2025 gives
    assert not [d for d in days if d.kind == "make-up"]
    assert all(d.provisional for d in days)


def test_the_make_up_days_of_2026_are_those_of_the_notice():
    days = [DEADLINES.calendar.day(date(2026, 1, 1) + timedelta(days=n)) for n in range(365)]
    made_up = [f"{d.date:%m-%d}" for d in days if d.kind == "make-up"]
    assert made_up == ["01-04", "02-14", "02-28", "05-09", "09-20", "10-10"]
    assert not any(d.provisional for d in days)


def test_a_local_notice_overrides_the_library(tmp_path: Path):
    (tmp_path / "nadam.toml").write_text(
        """
        [[holidays]]
        zh = "那达慕"
        en = "Nadam"
        from = 2026-08-03
        until = 2026-08-04
        [[workdays]]
        zh = "那达慕"
        en = "Nadam"
        from = 2026-08-08
        until = 2026-08-08
        """
    )
    calendar = Calendar.load(tmp_path)
    assert calendar.add_working_days(date(2026, 7, 31), 1) == date(2026, 8, 5)
    assert calendar.working(date(2026, 8, 8))
    assert not calendar.day(date(2026, 8, 3)).provisional
    assert calendar.version != DEADLINES.calendar.version


def test_days_outside_the_tables_are_refused():
    with pytest.raises(ValueError, match="covers 2004-01-01 to 2060-12-31"):
        DEADLINES.working_day(date(2003, 12, 31))
    with pytest.raises(ValueError, match="covers"):
        DEADLINES.add_working_days(date(2060, 12, 30), 20)


def test_negative_working_days_count_back():
    assert DEADLINES.add_working_days(date(2026, 2, 24), -1) == date(2026, 2, 14)
    assert DEADLINES.add_working_days(date(2026, 2, 16), -1) == date(2026, 2, 14)


# -- explanations -----------------------------------------------------------------------------------------------------


def test_an_explanation_names_what_was_skipped_and_what_was_counted():
    text = DEADLINES.due(rule(10), at("2026-02-11T10:00")).explanation
    assert text.zh == (
        "“办理”期限为 10 个工作日（依据：测试条例 第一条；规则 test.limit，版本 1，2004年1月1日（周四）起适用）。"
        "自 2026年2月11日（周三）10:00起算，当日不计入。不计入：春节假期 2026年2月15日至2月23日；周末 1 天。"
        "计入：2月14日（周六）春节调休上班日、2月28日（周六）春节调休上班日。因此于 2026年3月3日（周二）23:59到期。"
    )
    assert text.en == (
        "“handling” is limited to 10 working days (source: 测试条例 第一条; rule test.limit, version 1, in force since Thu 1 Jan 2004). "
        "It starts on Wed 11 Feb 2026 10:00; that day is not counted. Not counted: Spring Festival 15 Feb to 23 Feb 2026; 1 weekend day. "
        "Counted: Sat 14 Feb (made up for Spring Festival), Sat 28 Feb (made up for Spring Festival). So it is due on Tue 3 Mar 2026 23:59."
    )


def test_each_language_names_the_source_in_its_own_words():
    local = replace(rule(2), article="", source="本产品建议值", source_en="proposed by this product")
    text = DEADLINES.due(local, at("2026-03-02T09:00")).explanation
    assert "依据：本产品建议值；" in text.zh
    assert "source: proposed by this product;" in text.en
    assert "proposed" not in text.zh


def test_an_explanation_names_pauses_extensions_the_moved_day_and_provisional_years():
    deadline = DEADLINES.due(
        rule(25, "calendar_days"),
        at("2026-12-02T09:00"),
        [pause("2026-12-07T09:00", "2026-12-10T09:00")],
        [Extension(2, "centre-director", "案情复杂", "测试条例第三条", "complex matter")],
    )
    assert deadline.provisional
    zh, en = deadline.explanation.zh, deadline.explanation.en
    for part in ("加上暂停 3 日（2026年12月7日（周一）09:00 至 2026年12月10日（周四）09:00，事由：委托鉴定；依据：测试条例第二条）。",
                 "经 centre-director 批准延长 2 日（事由：案情复杂；依据：测试条例第三条）",
                 "最后一日 2027年1月1日（周五）为元旦假期，顺延至其后第一个工作日（民法典第二百零三条）",
                 "2027年1月4日（周一）23:59到期", "此日期为暂定"):  # fmt: skip
        assert part in zh
    for part in ("Plus 3 calendar days standing still (Mon 7 Dec 2026 09:00 to Thu 10 Dec 2026 09:00, ground: expert opinion",
                 "Extended by 2 calendar days, approved by centre-director (ground: complex matter; source: 测试条例第三条)",
                 "falls in the New Year's Day holiday", "due on Mon 4 Jan 2027 23:59", "provisional"):  # fmt: skip
        assert part in en


# -- rules as data ----------------------------------------------------------------------------------------------------

TWO_VERSIONS = """
[[rules]]
name = "test.accept"
zh = "受理"
en = "acceptance"
amount = 5
unit = "working_days"
version = "2024.1"
effective_from = 2024-01-01
source = "旧办法"
confidence = "F"
[[rules]]
name = "test.accept"
zh = "受理"
en = "acceptance"
amount = 3
unit = "working_days"
version = "2026.1"
effective_from = 2026-07-01
source = "新办法"
confidence = "F"
"""


def test_a_rule_is_picked_by_its_day_and_a_running_matter_keeps_its_version(tmp_path: Path):
    (tmp_path / "rules.toml").write_text(TWO_VERSIONS + '[[others]]\nleft = "alone"\n')
    rules = Rules.load(tmp_path)
    assert rules.pick("test.accept", date(2026, 6, 30)).amount == 5
    assert rules.pick("test.accept", date(2026, 7, 1)).amount == 3
    assert rules.pick("test.accept", date(2026, 7, 1), "2024.1").amount == 5
    with pytest.raises(LookupError, match=r"test\.accept.* in force on 2023-12-31"):
        rules.pick("test.accept", date(2023, 12, 31))
    with pytest.raises(LookupError, match=r"no rule 'test\.nothing'"):
        rules.pick("test.nothing", date(2026, 1, 1))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ('unit = "weeks"', "unit 'weeks' is none of"),
        ('ends = "noon"', "ends 'noon' is neither"),
        ("amount = -1", "amount -1 is no limit"),
        ('colour = "blue"', "unknown colour"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_file(tmp_path: Path, wrong: str, said: str):
    key = wrong.split(" = ")[0]
    lines = [line for line in TWO_VERSIONS.split("[[rules]]")[1].splitlines() if not line.startswith(f"{key} =")]
    (tmp_path / "local.toml").write_text("[[rules]]" + "\n".join([*lines, wrong]))
    with pytest.raises(ValueError, match=f"local.toml.*{said}"):
        Rules.load(tmp_path)


def test_every_shipped_rule_says_where_it_comes_from():
    names = DEADLINES.rules.names()
    for shipped in (DEADLINES.rule(name, date(2026, 11, 1)) for name in names):
        assert shipped.source, shipped.name
        assert shipped.confidence in ("F", "M-H", "M-M", "M-L", "D"), shipped.name
        assert shipped.zh, shipped.name


def test_explain_answers_the_command_line():
    deadlines = Deadlines(DEADLINES.calendar, Rules([rule(5)], [DEADLINES.rules.bands(date(2026, 1, 1))]))
    assert "2026年3月9日（周一）23:59到期" in deadlines.explain("test.limit", at("2026-03-02T09:00"))
    assert "Mon 9 Mar 2026 23:59" in deadlines.explain("test.limit", at("2026-03-02T09:00"), language="en")


# -- what holds for every date ----------------------------------------------------------------------------------------

moments = st.integers(0, 6 * 365 * 86400).map(lambda s: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=s))
units = st.sampled_from(["calendar_days", "working_days", "hours"])
rules_any = st.builds(rule, st.integers(1, 90), units, st.sampled_from(["day", "business"]))
lengths = st.timedeltas(timedelta(0), timedelta(days=40))


@st.composite
def facts(draw: st.DrawFn) -> tuple[Rule, datetime, list[Pause]]:
    start = draw(moments)
    offsets = draw(st.lists(st.tuples(lengths, lengths), max_size=3))
    return draw(rules_any), start, [Pause(start + a, start + a + b, "x", "y") for a, b in offsets]


@given(facts(), lengths)
def test_starting_later_is_never_due_earlier(fact: tuple[Rule, datetime, list[Pause]], later: timedelta):
    limit, start, _ = fact
    assert DEADLINES.due(limit, start).due_at <= DEADLINES.due(limit, start + later).due_at


@given(facts(), st.integers(1, 30))
def test_an_extension_never_shortens(fact: tuple[Rule, datetime, list[Pause]], more: int):
    limit, start, pauses = fact
    plain = DEADLINES.due(limit, start, pauses)
    extended = DEADLINES.due(limit, start, pauses, [Extension(more, "a", "b")])
    assert plain.due_at <= extended.due_at
    if limit.unit != "calendar_days":  # a moved last day may swallow the first days of an extension
        assert plain.due_at < extended.due_at


@given(facts(), lengths, lengths)
def test_a_pause_never_shortens_and_a_longer_one_never_does_either(
    fact: tuple[Rule, datetime, list[Pause]], begins: timedelta, length: timedelta
):
    limit, start, pauses = fact
    one = [*pauses, Pause(start + begins, start + begins + length, "x", "y")]
    two = [*pauses, Pause(start + begins, start + begins + length + timedelta(days=1), "x", "y")]
    assert DEADLINES.due(limit, start, pauses).due_at <= DEADLINES.due(limit, start, one).due_at
    assert DEADLINES.due(limit, start, one).due_at <= DEADLINES.due(limit, start, two).due_at


@given(facts())
def test_the_order_and_the_cutting_of_pauses_do_not_matter(fact: tuple[Rule, datetime, list[Pause]]):
    limit, start, pauses = fact
    halves = [
        half
        for p in reversed(pauses)
        for half in (Pause(p.begins, p.begins + (p.ends - p.begins) / 2, "x", "y"),
                     Pause(p.begins + (p.ends - p.begins) / 2, p.ends, "x", "y"))
    ]  # fmt: skip
    assert DEADLINES.due(limit, start, pauses).due_at == DEADLINES.due(limit, start, halves).due_at


@given(facts())
def test_days_end_on_a_working_day_on_which_the_clock_runs(fact: tuple[Rule, datetime, list[Pause]]):
    limit, start, pauses = fact
    deadline = DEADLINES.due(limit, start, pauses)
    assert deadline.due_at > start
    assert not deadline.paused(deadline.due_at) or limit.unit == "hours"
    if limit.unit != "hours":
        assert DEADLINES.working_day(deadline.last_day)
        assert deadline.due_at == DEADLINES.calendar.day_end(deadline.last_day, business=limit.ends == "business")


@given(facts())
def test_working_days_are_as_many_as_the_rule_says(fact: tuple[Rule, datetime, list[Pause]]):
    """Counted the slow way, day by day."""
    limit, start, pauses = fact
    if limit.unit != "working_days":
        return
    deadline = DEADLINES.due(limit, start, pauses)
    counted, day = 0, start.astimezone(SHANGHAI).date()
    while day < deadline.last_day:
        day += timedelta(days=1)
        end = DEADLINES.calendar.day_end(day, business=limit.ends == "business")
        counted += DEADLINES.working_day(day) and not deadline.paused(end)
    assert counted == limit.amount


@given(facts(), st.lists(st.floats(0, 1.2), min_size=2, max_size=5))
def test_what_is_left_only_falls(fact: tuple[Rule, datetime, list[Pause]], shares: list[float]):
    limit, start, pauses = fact
    deadline = DEADLINES.due(limit, start, pauses)
    left = [deadline.remaining(start + (deadline.due_at - start) * share) for share in sorted(shares)]
    assert all(0 <= value <= 1 for value in left)
    assert left == sorted(left, reverse=True)


@given(facts(), st.floats(0, 1))
def test_the_moment_of_a_share_is_the_moment_at_which_it_is_left(
    fact: tuple[Rule, datetime, list[Pause]], share: float
):
    limit, start, pauses = fact
    deadline = DEADLINES.due(limit, start, pauses)
    moment = deadline.moment(share)
    assert start <= moment <= deadline.due_at or share == 1
    if deadline._running(deadline.due_at) > 60:
        assert deadline.remaining(moment) == pytest.approx(share, abs=1e-4)


@given(facts())
def test_every_deadline_can_explain_itself(fact: tuple[Rule, datetime, list[Pause]]):
    text = DEADLINES.due(*fact).explanation
    assert "到期" in text.zh
    assert "due on" in text.en


# -- pauses in working days -------------------------------------------------------------------------------------------


@given(st.dates(date(2025, 1, 1), date(2027, 12, 31)), st.times(), st.integers(1, 60))
def test_a_clock_that_stands_for_days_misses_just_these(day: date, clock: time, days: int):
    begins = datetime.combine(day, clock.replace(microsecond=0), SHANGHAI)
    ends = DEADLINES.days_on(begins, days)
    assert ends > begins
    assert DEADLINES.days_within(begins, ends) == days
    assert DEADLINES.days_within(begins, ends - timedelta(seconds=1)) == days - 1


@given(
    st.dates(date(2025, 1, 1), date(2027, 6, 30)),
    st.times(),
    st.integers(1, 20),
    st.integers(0, 20),
    st.integers(1, 20),
)
def test_a_pause_moves_a_limit_in_working_days_by_its_own(day: date, clock: time, amount: int, later: int, days: int):
    """Over every holiday and every day that is made up for one."""
    begun = datetime.combine(day, clock.replace(microsecond=0), SHANGHAI)
    plain = DEADLINES.due(rule(amount), begun)
    begins = begun + timedelta(hours=24 * later)
    if begins > plain.due_at:
        return
    stands = Pause(begins, DEADLINES.days_on(begins, days), "委托鉴定", "测试条例第二条")
    moved = DEADLINES.due(rule(amount), begun, [stands])
    calendar = DEADLINES.calendar
    # The day of the start counts in no limit, so nothing is missed by standing on it.
    missed = days - (1 if later == 0 and calendar.working(begun.date()) else 0)
    assert moved.last_day == calendar.add_working_days(plain.last_day, missed) if missed else plain.last_day
    assert moved.moved_by(stands) == missed
    assert moved.pause(begins) == stands
    assert moved.pause(stands.ends) is None
