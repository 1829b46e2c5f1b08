from datetime import UTC, date, datetime, time, timedelta
from uuid import UUID

import pytest

from kit.config import DATA
from kit.errors import InvalidArgument
from services.notify.model import MOVES, Directory, Post, Rules, Span, Template, shown_address
from services.notify.module import load_templates
from tests.unit.notify.conftest import at

RULES = Rules(time(22), time(7), (30, 120), 2, (60,))
DAY = date(2026, 3, 2)


@pytest.mark.parametrize(
    ("moment", "urgency", "due"),
    [
        ("2026-03-02 09:00", "normal", "2026-03-02 09:00"),
        ("2026-03-02 21:59", "normal", "2026-03-02 21:59"),
        ("2026-03-02 22:00", "normal", "2026-03-03 07:00"),
        ("2026-03-03 00:30", "normal", "2026-03-03 07:00"),
        ("2026-03-03 06:59", "normal", "2026-03-03 07:00"),
        ("2026-03-03 07:00", "normal", "2026-03-03 07:00"),
        ("2026-03-03 00:30", "urgent", "2026-03-03 00:30"),
        ("2026-02-28 23:00", "normal", "2026-03-01 07:00"),
    ],
)
def test_quiet_hours(moment, urgency, due):
    assert RULES.not_before(at(moment).astimezone(UTC), urgency) == at(due)


def test_quiet_hours_within_one_day():
    noon = Rules(time(12), time(14), (), 0, ())
    assert noon.not_before(at("2026-03-02 13:00"), "normal") == at("2026-03-02 14:00")
    assert noon.not_before(at("2026-03-02 15:00"), "normal") == at("2026-03-02 15:00")


def test_retries_spread_and_end():
    assert RULES.retry_after(1, 0.0) == timedelta(seconds=30)
    assert RULES.retry_after(1, 0.5) == timedelta(seconds=33)
    assert RULES.retry_after(3, 0.0) is None
    assert RULES.look_again_after(2) is None


ENTRY = {
    "variables": ["code"],
    "title": {"zh": "{code}", "en": "{code}"},
    "text": {"zh": "见 {link}", "en": "see {link}"},
}


@pytest.mark.parametrize(
    "change",
    [
        {"variables": []},
        {"variables": ["code", "due"]},
        {"title": {"zh": "{code}", "en": "no code"}},
        {"text": {"zh": "{link} {name}", "en": "{link} {name}"}},
        {"text": {"zh": "{", "en": "{"}},
        {"text": {"zh": "{code.real}", "en": "{code.real}"}},
    ],
)
def test_a_template_whose_variables_do_not_agree_is_refused(change):
    Template.parsed("x", ENTRY)
    with pytest.raises(ValueError):  # noqa: PT011
        Template.parsed("x", ENTRY | change)


def test_a_value_never_becomes_part_of_the_text_it_should_not():
    template = Template.parsed("x", ENTRY)
    assert template.filled({"code": "A-1"}, "http://here/v1/cases/1")[1].zh == "见 http://here/v1/cases/1"
    for value in ("", "张三", "{link}", "a\nb", "<b>", "x" * 65):
        with pytest.raises(InvalidArgument):
            template.filled({"code": value}, "link")


def test_a_code_is_told_in_words():
    entry = {
        "variables": ["ground"],
        "title": {"zh": "不予受理", "en": "not accepted"},
        "text": {"zh": "{ground}：{link}", "en": "{ground}: {link}"},
    }
    words = {("ground", "in_court"): ("已进入诉讼", "in court")}
    filled = Template.parsed("x", entry).filled({"ground": "in_court"}, "l", lambda *said: words[said])
    assert (filled[1].zh, filled[1].en) == ("已进入诉讼：l", "in court: l")


def test_the_templates_of_the_product_are_sound():
    load_templates(DATA / "templates")


A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


def test_the_nearest_superior_comes_first():
    posts = [
        Post(A, "leader", "a-leader"),
        Post(A, "head", "a-head"),
        Post(B, "director", "b-director"),
        Post(A, "window", ""),
    ]
    directory = Directory((A, B), posts)
    assert directory.find("window", DAY) == ("a-head", "superior")
    assert directory.find("head", DAY) == ("a-head", "holder")
    away = Directory((A, B), posts, {"a-head": [Span(DAY, DAY, "")]})
    assert away.find("head", DAY) == ("a-leader", "superior")
    assert away.find("leader", DAY) == ("a-leader", "holder")
    gone = Directory((A, B), posts, {}, frozenset({"a-head", "a-leader"}))
    assert gone.find("leader", DAY) == ("b-director", "superior")
    assert gone.find("dispatcher", DAY) == ("b-director", "superior")
    assert Directory((C, A), posts).find("window", DAY) == ("a-head", "superior")
    assert Directory((), posts).find("window", DAY) is None


def test_a_leader_is_not_replaced_by_a_subordinate():
    posts = [Post(A, "leader", ""), Post(A, "head", "a-head")]
    assert Directory((A,), posts).find("leader", DAY) is None


def test_somebody_on_the_roster_who_is_away_is_replaced_by_the_next_and_then_by_a_substitute():
    duties = (Span(DAY, DAY, "one"), Span(DAY, DAY, "two"))
    post = Post(A, "duty_officer", "holder", duties)
    assert Directory((A,), [post], {"one": [Span(DAY, DAY, "three")]}).find("duty_officer", DAY) == ("two", "duty")
    all_away = {
        name: [Span(DAY, DAY, substitute)] for name, substitute in (("one", "two"), ("two", "three"), ("holder", ""))
    }
    assert Directory((A,), [post], all_away).find("duty_officer", DAY) == ("three", "substitute")


def test_addresses():
    assert (
        shown_address("https://qyapi.weixin.qq.com/send?key=1", insecure_allowed=False)
        == "https://qyapi.weixin.qq.com/send"
    )
    assert shown_address("http://10.0.0.1:8080/x", insecure_allowed=True) == "http://10.0.0.1:8080/x"
    with pytest.raises(InvalidArgument):
        shown_address("http://10.0.0.1/x", insecure_allowed=False)


def test_every_state_but_the_last_leads_somewhere():
    states = {source for source, _, _ in MOVES.moves} | {target for _, _, target in MOVES.moves}
    assert {state for state in states if not MOVES.allowed(state)} == {"delivered"}


def test_moments_are_aware():
    assert RULES.not_before(datetime(2026, 3, 2, 15, tzinfo=UTC), "normal").tzinfo is UTC
