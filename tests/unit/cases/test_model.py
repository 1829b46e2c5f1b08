"""The rules alone."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

from kit.errors import InvalidArgument
from kit.statutory import Deadlines
from kit.texts import Texts
from services.cases import model
from services.cases.reference import centres_of
from services.cases.words import Words

DATA = Path(__file__).parents[3] / "data"


def test_a_code_survives_being_typed() -> None:
    code = model.case_code("150826", date(2026, 3, 2), 17)
    assert code.startswith("150826-260302-000017-")
    assert model.read_code(code.replace("-", "")) == code
    assert model.read_code(f" {code[:6]} — {code[7:13]}–{code[14:20]}-{code[21:]}") == code


def test_every_single_wrong_digit_is_found() -> None:
    code = model.case_code("150802", date(2026, 12, 31), 999_999)
    digits = code.replace("-", "")
    for place in range(19):
        for wrong in "0123456789":
            if wrong != digits[place]:
                assert model.read_code(digits[:place] + wrong + digits[place + 1 :]) is None


def test_swapped_neighbours_are_nearly_always_found() -> None:
    missed = swapped = 0
    for number in range(2000):
        digits = model.case_code("150802", date(2026, 3, 2), number * 497).replace("-", "")
        for place in range(18):
            if digits[place] != digits[place + 1]:
                swapped += 1
                turned = digits[:place] + digits[place + 1] + digits[place] + digits[place + 2 :]
                missed += model.read_code(turned) is not None
    assert missed / swapped < 0.03


@pytest.mark.parametrize("typed", ["", "1", "15082626030200001", "１５０８２６" * 3 + "1", "a" * 19])
def test_what_is_no_code_is_none(typed: str) -> None:
    assert model.read_code(typed) is None


def test_the_machines_can_be_drawn_and_every_state_is_reached() -> None:
    for moves, start in (
        (model.CASE_MOVES, model.REGISTERED),
        (model.TASK_MOVES, model.DISPATCHED),
        (model.PERFORMANCE_MOVES, model.NOT_DUE),
    ):
        reached = {start}
        for _ in moves.moves:
            reached |= {target for source, _, target in moves.moves if source in reached}
        assert {source for source, _, _ in moves.moves} <= reached
        assert moves.mermaid().count("-->") == len(moves.moves)


def test_the_words_are_those_of_the_proto_and_all_have_names() -> None:
    from hetao.cases.v1 import types_pb2
    from kit.proto import number_of

    words = Words(DATA)
    today = date(2026, 3, 2)
    for dictionary, enum in (
        (words.kinds, types_pb2.Kind),
        (words.outcomes, types_pb2.Outcome),
        (words.states, types_pb2.CaseState),
        (words.scales, types_pb2.Scale),
        (words.risks, types_pb2.Risk),
        (words.complexities, types_pb2.Complexity),
    ):
        found = dictionary.on(today)
        assert len(found) == len(enum.DESCRIPTOR.values) - 1
        for word in found:
            assert number_of(enum, word.code)
            assert word.zh
            assert word.en
    resolving = {word.code for word in words.outcomes.on(today) if word.counts_resolved}
    assert resolving == {
        "written_agreement", "oral_agreement", "own_settlement", "administrative_handling", "award_or_judgment", "withdrawn_reconciled",
    }  # fmt: skip
    with pytest.raises(InvalidArgument):
        words.categories.get("18", today)
    with pytest.raises(InvalidArgument):
        words.categories.get("01", date(2024, 12, 31))  # before any version was in force


@pytest.mark.parametrize("day", [date(2025, 1, 1), date(2026, 3, 2)])
def test_every_rule_that_a_kind_names_is_there(day: date) -> None:
    """From the first day of the made-up year on."""
    deadlines, words = Deadlines.load(DATA), Words(DATA)
    assert words.parameters(day).most_parties == 20
    for kind in words.kinds.on(day):
        for complexity in ("", "simple", "general", "complex"):
            assert deadlines.rule(kind.rule(complexity), day).amount > 0


def test_what_is_local_says_in_both_languages_where_it_comes_from_and_since_when() -> None:
    day, words, rules = date(2026, 3, 2), Words(DATA), Deadlines.load(DATA).rules
    own = [rules.pick(name, day) for name in rules.names() if name.startswith("cases.")]
    listed = [*words.kinds.on(day), *words.categories.on(day), *words.outcomes.on(day), *words.grounds.on(day)]
    listed += words.reopen_grounds.on(day)
    for one in [*own, *listed, *words.desks.on(day), words.parameters(day)]:
        assert re.search("[\u4e00-\u9fff]", one.source), one
        assert not re.search("[A-Za-z]{3,} [A-Za-z]", one.source), one
        assert re.search("[A-Za-z]", one.source_en), one
        assert not re.search("[\u4e00-\u9fff]", one.source_en), one
        assert str(one.effective_from.year) == one.version.split(".")[0], one


def test_the_centres_are_77_and_cover_everything() -> None:
    centres, covers = centres_of(DATA)
    assert [centre.level for centre in centres].count("township") == 70
    assert set(covers.values()) == {centre.id for centre in centres}
    by_id = {centre.id: centre for centre in centres}
    farms = [division for division in covers if len(division) == 12 and by_id[covers[division]].level == "county"]
    assert len(farms) == 163


def test_every_sentence_has_its_text() -> None:
    """Every step that the code writes, and every reason that it refuses with."""
    texts = Texts.load(DATA / "texts")
    source = "".join(path.read_text("utf-8") for path in (DATA.parent / "services" / "cases").rglob("*.py"))
    reasons = set(
        re.findall(
            r'(?:InvalidArgument|FailedPrecondition|NotFound|PermissionDenied|ResourceExhausted)\(\s*"([A-Z_]+)"',
            source,
        )
    )
    assert len(reasons) > 20
    assert [reason for reason in reasons if reason not in texts] == []
    steps = set(re.findall(r'\bstep\(\s*"([a-z ]+)"', source)) | {
        "grid",
        "overdue",
        "remind",
        "task_overdue",
        "dispatch",
    }
    assert len(steps) > 20
    assert [word for word in steps if f"timeline.{word}" not in texts] == []
    assert set(model.TOLD) <= steps
    assert [word for word in model.TOLD.values() if f"told.{word}" not in texts] == []
