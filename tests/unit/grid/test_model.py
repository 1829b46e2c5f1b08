"""The rules of grids, reports and the directory, without a database."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from hetao.cases.v1.types_pb2 import CaseState
from hetao.grid.v1 import types_pb2
from kit.clock import CLOCK_SKEW
from kit.config import DATA
from kit.errors import DomainError, FailedPrecondition, InvalidArgument
from kit.ids import uuid7
from kit.proto import text_of
from kit.texts import Texts
from services.grid.model import reports as model
from services.grid.model.directory import Duty, Leave, Post, check_duty, check_leave
from services.grid.model.divisions import Ancestors, readings, search_words
from services.grid.model.grids import RURAL, URBAN, Grid, Member, Triangle, code_of, form_of
from services.grid.model.points import Point
from services.grid.model.reports import MOVES, Handover, Photo, Report, check_times, same_place
from services.grid.service.pinyin import syllables
from services.grid.service.sentences import sentence, variant
from services.grid.service.shipped import centres, read_divisions
from services.grid.words import Words

NOW = datetime(2026, 3, 2, 1, 0, tzinfo=UTC)
TODAY = date(2026, 3, 2)
WORDS = Words(DATA)
ROOMS = WORDS.triangles.on(TODAY).rooms
ID = UUID(int=1)


def reason(refused: pytest.ExceptionInfo[DomainError]) -> str:
    return refused.value.reason


# -- divisions --------------------------------------------------------------------------------------------------------


def test_a_name_has_several_readings_where_a_character_has():
    assert readings([["lin"], ["he"]]) == ("linhe", "lh")
    assert readings([["chang", "zhang"], ["qing"]]) == ("changqing zhangqing", "cq zq")


def test_polyphones_of_places_are_read_as_people_there_do():
    assert readings(syllables("长青社区"))[0].split()[0] == "changqingshequ"
    assert readings(syllables("陕坝镇"))[0].split()[0] == "shanbazhen"
    assert readings(syllables("民乐村"))[0].split()[0] == "minlecun"


def test_ancestors_follow_from_the_code():
    assert Ancestors.of("150802013006001") == Ancestors("150802", "150802013", "150802013006")
    assert Ancestors.of("150802013") == Ancestors("150802", "150802013", "")
    assert Ancestors.of("1508") == Ancestors("", "", "")


def test_queries_are_compared_in_one_form():
    assert search_words(" ＴａｉＯｕ 社区 ") == "taiou社区"


def test_every_county_and_each_of_the_70_townships_has_a_centre():
    made = centres(read_divisions(DATA))
    assert len({c.id for c in made}) == 77
    counties = {c.id: c for c in made if len(c.division) == 6}
    assert len(counties) == 7
    for centre in made:
        if len(centre.division) == 9:
            assert centre.parent_id is not None
            assert counties[centre.parent_id].division == centre.division[:6]


# -- numbers that are data ---------------------------------------------------------------------------------------------


def test_a_day_has_the_version_in_force(tmp_path: Path):
    shipped = (DATA / "rules" / "grid.toml").read_text("utf-8")
    later = shipped[shipped.index("[[parameters]]") :].replace("2025-01-01", "2026-07-01").replace("2025.1", "2026.2")
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "grid.toml").write_text(
        shipped
        + later.replace("same_place_metres = 100", "same_place_metres = 50").replace(
            "longest_duty_days = 31", "longest_duty_days = 7"
        ),
        "utf-8",
    )
    words = Words(tmp_path)
    in_force = words.parameters.on(TODAY), words.parameters.on(date(2026, 7, 1))
    assert [(one.version, one.same_place_metres) for one in in_force] == [("2025.1", 100), ("2026.2", 50)]
    assert words.longest_duty_ever == timedelta(days=31)
    with pytest.raises(LookupError):
        words.parameters.on(date(2024, 12, 31))


def test_every_number_says_where_it_comes_from_and_since_when():
    for one in (*WORDS.parameters.all, *WORDS.triangles.all):
        assert one.source
        assert one.source_en
        assert one.confidence in ("F", "M-H", "M-M", "M-L", "D")
        assert date(2025, 1, 1) <= one.effective_from <= TODAY
    assert {role: (room.least, room.most) for role, room in ROOMS[RURAL].items()} == {
        "party_branch_secretary": (1, 1),
        "grid_worker": (1, 2),
        "centre_household": (1, None),
        "linked_leader": (1, 1),
    }


# -- the directory ----------------------------------------------------------------------------------------------------


def post(**more: Any) -> Post:
    return Post(ID, ID, "150802", "head", "局长", **more)


def test_a_post_is_filled_and_left():
    filled = post().fill("a", date(2026, 3, 1), TODAY)
    assert (filled.holder, filled.holder_since) == ("a", date(2026, 3, 1))
    assert filled.vacate(TODAY, TODAY).holder == ""


@pytest.mark.parametrize(
    ("held", "account", "since", "expected"),
    [
        (post(active=False), "a", TODAY, "POST_GIVEN_UP"),
        (post(), "a", TODAY + timedelta(days=1), "DATE_IN_FUTURE"),
        (post(holder="a", holder_since=TODAY), "a", TODAY, "POST_HELD_ALREADY"),
        (post(holder="b", holder_since=TODAY), "a", TODAY - timedelta(days=1), "DATE_BEFORE_HOLDER"),
    ],
)
def test_a_post_is_not_filled(held: Post, account: str, since: date, expected: str):
    with pytest.raises(DomainError) as refused:
        held.fill(account, since, TODAY)
    assert reason(refused) == expected


YEAR, MONTH = timedelta(days=366), timedelta(days=31)


def test_an_absence_is_checked():
    present = [Leave(ID, ID, "a", date(2026, 3, 10), date(2026, 3, 12))]
    check_leave("a", date(2026, 3, 13), date(2026, 3, 14), "b", TODAY, YEAR, present)
    for first, last, substitute, expected in (
        (date(2026, 3, 1), date(2026, 3, 3), "", "DATE_IN_PAST"),
        (date(2026, 3, 9), date(2026, 3, 8), "", "DATES_REVERSED"),
        (date(2026, 3, 9), date(2027, 6, 1), "", "DATES_TOO_FAR_APART"),
        (date(2026, 3, 20), date(2026, 3, 21), "a", "SUBSTITUTE_IS_SELF"),
        (date(2026, 3, 12), date(2026, 3, 13), "", "LEAVE_OVERLAPS"),
    ):
        with pytest.raises(DomainError) as refused:
            check_leave("a", first, last, substitute, TODAY, YEAR, present)
        assert reason(refused) == expected


def test_an_absence_ends_yesterday_and_one_to_come_has_no_day_left():
    leave = Leave(ID, ID, "a", date(2026, 3, 1), date(2026, 3, 12))
    assert leave.end(TODAY).until_date == date(2026, 3, 1)
    assert not leave.end(TODAY).covers(TODAY)
    to_come = Leave(ID, ID, "a", date(2026, 3, 10), date(2026, 3, 12)).end(TODAY)
    assert to_come.until_date < to_come.from_date
    with pytest.raises(FailedPrecondition):
        Leave(ID, ID, "a", date(2026, 2, 1), date(2026, 2, 12)).end(TODAY)


def test_nobody_is_on_duty_where_somebody_is():
    present = [Duty(ID, ID, ID, "a", date(2026, 3, 2), date(2026, 3, 8))]
    check_duty(date(2026, 3, 9), date(2026, 3, 15), MONTH, present)
    with pytest.raises(FailedPrecondition):
        check_duty(date(2026, 3, 8), date(2026, 3, 15), MONTH, present)
    with pytest.raises(InvalidArgument) as refused:
        check_duty(date(2026, 3, 9), date(2026, 4, 15), MONTH, present)
    assert (reason(refused), refused.value.params["days"]) == ("DATES_TOO_FAR_APART", "31")


# -- grids ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("community", "form"),
    [("150802013006", URBAN), ("150826108203", RURAL), ("150802400401", URBAN), ("150826500501", RURAL)],
)
def test_the_form_follows_from_the_code(community: str, form: str):
    assert form_of(community) == form


def test_a_grid_code_has_three_digits_of_its_own():
    assert code_of("150802013006", 7) == "150802013006007"
    with pytest.raises(FailedPrecondition):
        code_of("150802013006", 1000)


def test_an_outline_keeps_its_box():
    grid = Grid(ID, "150802013006001", "一", "basic", URBAN, "150802013006", "150802013", "150802")
    drawn = grid.drawn([Point(40.75, 107.37), Point(40.75, 107.38), Point(40.76, 107.38)])
    assert (drawn.west, drawn.south, drawn.east, drawn.north) == (107.37, 40.75, 107.38, 40.76)
    assert drawn.corners()[2] == Point(40.76, 107.38)
    assert drawn.drawn([]).west is None


def member(role: str, account: str = "", first: str = "2026-01-01", last: str = "", name: str = "某") -> Member:
    until = date.fromisoformat(last) if last else None
    return Member(uuid7(), ID, "g", "c", role, account, name, "", date.fromisoformat(first), until)


def test_an_empty_grid_lacks_its_whole_triangle():
    for form, rooms in ROOMS.items():
        assert {v.role for v in Triangle(form, rooms).vacancies("g", TODAY)} == set(rooms)


def test_a_full_triangle_lacks_nobody_until_somebody_leaves():
    members = [
        member("party_group_leader"),
        member("grid_worker", "w", last="2026-03-02"),
        member("building_head"),
        member("linked_leader", "l"),
    ]
    triangle = Triangle(URBAN, ROOMS[URBAN], members)
    assert triangle.vacancies("g", TODAY) == []
    assert [v.role for v in triangle.vacancies("g", TODAY + timedelta(days=1))] == ["grid_worker"]


def test_a_place_has_room_for_so_many_at_once():
    first, second = member("grid_worker", "a", last="2026-03-10"), member("grid_worker", "b", "2026-02-01")
    triangle = Triangle(URBAN, ROOMS[URBAN], [first, second])
    with pytest.raises(FailedPrecondition) as refused:
        triangle.check_room(member("grid_worker", "c", "2026-03-01"))
    assert reason(refused) == "PLACE_FULL"
    triangle.check_room(member("grid_worker", "c", "2026-03-11"))
    triangle.check_room(member("grid_worker", "c", "2025-01-01", "2026-01-31"))  # before the second came
    for _ in range(30):
        triangle.check_room(member("building_head"))


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (member("centre_household"), "ROLE_NOT_OF_FORM"),
        (member("grid_worker"), "ROLE_NEEDS_ACCOUNT"),
        (member("building_head", last="2025-12-31"), "DATES_REVERSED"),
        (member("grid_worker", "a", "2026-03-01"), "MEMBER_ALREADY"),
    ],
)
def test_a_member_is_refused(new: Member, expected: str):
    with pytest.raises(DomainError) as refused:
        Triangle(URBAN, ROOMS[URBAN], [member("grid_worker", "a")]).check_room(new)
    assert reason(refused) == expected


def test_a_turn_ends_the_day_before():
    assert member("building_head").end(TODAY).until_date == date(2026, 3, 1)
    with pytest.raises(FailedPrecondition):
        member("building_head", last="2026-02-01").end(TODAY)


# -- reports ----------------------------------------------------------------------------------------------------------


def report(state: str = model.SUBMITTED, **more: Any) -> Report:
    values: dict[str, Any] = {
        "id": UUID("0190c0de-0000-7000-8000-0000deadbeef"), "kind": "sanitation", "level": "ordinary", "state": state,
        "content": b"", "lat": None, "lon": None, "division": "150802013006", "county": "150802",
        "township": "150802013", "community": "150802013006", "grid_id": ID, "grid_code": "150802013006001",
        "department_id": None, "reporter": "w", "outside": False, "occurred_at": NOW, "captured_at": NOW,
        "received_at": NOW,
    }  # fmt: skip
    return Report(**(values | more))


def photo(phase: str) -> Photo:
    return Photo(ID, ID, "a" * 64, phase, None, "w", NOW)


def test_a_report_has_a_number_that_people_can_say():
    assert report().code == "150802-260302-DEADBEEF"


def test_a_report_is_solved_with_both_photos_only():
    handling = report().verify("w", NOW, "major").handle("w")
    assert handling.level == "major"
    for photos, missing in (([], "before"), ([photo("before")], "after"), ([photo("after")], "before")):
        with pytest.raises(FailedPrecondition) as refused:
            handling.solve("w", NOW, b"", photos)
        assert (reason(refused), refused.value.params["phase"]) == ("PHOTO_MISSING", missing)
    solved = handling.solve("w", NOW, b"", [photo("before"), photo("after")])
    assert (solved.state, solved.outcome) == ("solved", "solved")
    assert solved.close(NOW).state == "closed"


def test_every_end_leads_to_closed_and_nothing_leads_on():
    assert MOVES.allowed("closed") == ()
    for state in ("solved", "handed_over", "invalid", "merged"):
        assert "close" in MOVES.allowed(state)
    for state in ("submitted", "verified", "handling"):
        assert "close" not in MOVES.allowed(state)


def test_an_unverified_report_is_neither_handled_nor_handed_over():
    with pytest.raises(FailedPrecondition):
        report().handle("w")
    with pytest.raises(FailedPrecondition):
        report().hand_over("w", ID, "")


def test_a_report_moves_to_the_grid_that_takes_it():
    handed = report("handling").hand_over("w", ID, "150802013005")
    assert handed.offered_to == "150802013005"
    taken = handed.take_over("x", (UUID(int=2), "150826108203001"), None)
    assert (taken.state, taken.county, taken.division) == ("handling", "150826", "150826108203")
    assert (taken.offered_to, taken.sender) == ("", "w")


def test_merging_into_a_closed_report_closes():
    main = report("closed", id=UUID(int=9))
    assert report().merge(main, NOW).state == "closed"
    assert report().merge(report("handling", id=UUID(int=9)), NOW).state == "merged"
    for other, expected in (
        (report(), "MERGE_INTO_ITSELF"),
        (report("merged", id=UUID(int=9), merged_into=ID), "MERGE_TARGET"),
        (report("invalid", id=UUID(int=9), outcome="invalid"), "MERGE_TARGET"),
        (report(id=UUID(int=9), county="150826"), "MERGE_TARGET"),
    ):
        with pytest.raises(DomainError) as refused:
            report().merge(other, NOW)
        assert reason(refused) == expected


def handover(**more: Any) -> Handover:
    values: dict[str, Any] = {
        "id": ID, "report_id": ID, "target": "centre", "department_id": ID, "grid_id": None, "grid_code": "",
        "emergency_number": "", "reason": "beyond_ability", "note": b"", "state": "offered", "handed_by": "w",
        "handed_at": NOW, "due_at": NOW, "rule_version": "1",
    }  # fmt: skip
    return Handover(**(values | more))


def test_a_hand_over_is_answered_once():
    answered = handover().answer("accepted", "c", NOW)
    with pytest.raises(FailedPrecondition):
        answered.answer("refused", "c", NOW)


def test_the_newest_state_of_a_case_wins():
    known = handover(case_epoch=1, case_version=5)
    assert [known.newer(e, v) for e, v in ((1, 5), (1, 4), (1, 6), (2, 1))] == [False, False, True, True]


PAST = timedelta(hours=72)
TOO_MUCH = CLOCK_SKEW + timedelta(seconds=1)


def test_times_may_be_a_little_ahead_and_the_old_says_why():
    check_times(NOW + CLOCK_SKEW, NOW, NOW, PAST, "")
    check_times(NOW - PAST, NOW, NOW, PAST, "")
    check_times(NOW - timedelta(days=30), NOW - timedelta(days=29), NOW, PAST, "牧区无网络")
    for occurred, captured, expected, field in (
        (NOW + TOO_MUCH, NOW, "TIME_IN_FUTURE", "occurred_at"),
        (NOW, NOW + TOO_MUCH, "TIME_IN_FUTURE", "captured_at"),
        (NOW, NOW - timedelta(hours=1), "OCCURRED_AFTER_CAPTURED", "occurred_at"),
        (NOW - PAST - timedelta(seconds=1), NOW, "LATE_REASON_MISSING", "late_reason"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            check_times(occurred, captured, NOW, PAST, "")
        assert (refused.value.reason, refused.value.field) == (expected, field)


def test_places_are_the_same_by_point_or_by_words():
    here, near, far = Point(40.752, 107.372), Point(40.7525, 107.372), Point(40.76, 107.372)
    assert same_place(here, "", near, "别处", 100)
    assert not same_place(here, "", near, "别处", 50)
    assert not same_place(here, "同处", far, "同处", 100)
    assert same_place(None, "1号楼 东侧", here, "1号楼东侧", 100)
    assert not same_place(None, "", None, "", 100)


TEXTS = Texts.load(DATA / "texts")


def test_every_move_has_a_sentence_in_both_languages():
    told = [
        ("submit", {"kind": "dispute", "level": "major", "outside": False}),
        ("submit", {"kind": "other", "level": "minor", "outside": True}),
        ("follow", {"earlier": "150802-260302-DEADBEEF"}),
        ("add photos", {"count": 2}),
        ("verify", {"level": "major"}),
        ("handle", {}),
        ("solve", {}),
        ("invalidate", {}),
        ("merge", {"into": "150802-260302-DEADBEEF"}),
        ("hand over", {"target": "centre", "reason": "several_departments", "to": ""}),
        ("hand over", {"target": "grid", "reason": "elsewhere", "to": "150802013006001"}),
        ("take over", {"target": "community"}),
        ("take over", {"target": "centre", "case_code": "150802-1"}),
        ("give back", {"state": "refused"}),
        (
            "give back",
            {"state": "refused", "ground_zh": "不属于受理范围", "ground_en": "not for it", "channel": "court"},
        ),
        ("give back", {"state": "lapsed"}),
        ("overdue", {}),
        *(("case", {"case_code": "150802-1", "state": text_of(CaseState, n)}) for n in CaseState.values() if n),
        *(("close", {"how": how}) for how in ("own", "acknowledged", "automatic", "emergency", "case", "merged")),
    ]
    assert {action for action, _ in told} >= {action for _, action, _ in MOVES.moves}
    for action, facts in told:
        zh, en = sentence(TEXTS, action, "w", facts, {"w": ("专职网格员", "full-time worker")})
        for text in (zh, en):
            assert "{" not in text
            assert "_" not in text
            assert "timeline" not in text
        assert not re.search("[\u3000-\u9fff]", en)
    keys = {f"report.timeline.{variant(action, facts)}" for action, facts in told}
    assert keys == {key for key, _ in TEXTS.all() if key.startswith("report.timeline.")}


def test_sentences_are_whole():
    titles = {"w": ("专职网格员", "full-time worker")}

    def told(action: str, account: str, **facts: object) -> tuple[str, str]:
        return sentence(TEXTS, action, account, facts, titles)

    assert told("hand over", "w", target="centre", reason="several_departments", to="") == (
        "专职网格员移交综治中心，原因：需多部门协同",
        "Handed over to the governance centre by full-time worker, because it needs several departments",
    )
    assert told("handle", "nobody")[1] == "Taken in hand by a member of staff"
    assert told("verify", "system", level="major")[0] == "系统核实属实，等级为较大"
    assert told("case", "system", case_code="150802-1", state="handling") == (
        "案件 150802-1：办理中",
        "Case 150802-1: being handled",
    )


@pytest.mark.parametrize(
    ("param", "enum"),
    [
        ("report.kind", types_pb2.ReportKind),
        ("report.level", types_pb2.ReportLevel),
        ("report.reason", types_pb2.HandoverReason),
        ("target", types_pb2.HandoverTarget),
        ("phase", types_pb2.PhotoPhase),
        ("handover.state", types_pb2.HandoverState),
    ],
)
def test_every_code_of_a_sentence_has_its_words(param: str, enum: Any):
    assert [text_of(enum, n) for n in enum.values() if n and f"{param}.{text_of(enum, n)}" not in TEXTS] == []


def test_the_machine_can_be_drawn():
    assert "handed_over --> handling: take over" in MOVES.mermaid()


def test_ids_of_one_moment_are_no_order_but_ids_of_two_are():
    ids = [uuid7(ms) for ms in (1, 2, 3)]
    assert all(a < b for a, b in pairwise(ids))
