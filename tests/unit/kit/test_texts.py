"""The sentences that people read."""

from __future__ import annotations

import string
import tomllib
from pathlib import Path

import pytest

from kit.config import CHECKOUT
from kit.errors import FailedPrecondition, InvalidArgument
from kit.texts import Texts

SHIPPED = CHECKOUT / "data" / "texts"


@pytest.fixture
def texts(tmp_path: Path) -> Texts:
    (tmp_path / "a.toml").write_text(
        '[TASKS_OPEN]\nzh = "还有 {count} 个任务未办结"\nen = "{count} tasks are open in {field}"\n'
    )
    (tmp_path / "b.toml").write_text('["rule.string.max_len"]\nzh = "太长"\nen = "is too long"\n')
    return Texts.load(tmp_path)


def test_a_reason_has_a_sentence_in_each_language(texts: Texts) -> None:
    assert texts.of("TASKS_OPEN", {"count": "3"}) == ("还有 3 个任务未办结", "3 tasks are open in ")
    assert texts.of("rule.string.max_len", {}) == ("太长", "is too long")
    assert "TASKS_OPEN" in texts
    assert "NOBODY_WROTE_IT" not in texts


def test_an_error_brings_its_parameters_and_its_field(texts: Texts) -> None:
    error = InvalidArgument("TASKS_OPEN", field="tasks[1]", count=3)
    assert texts.of_error(error) == ("还有 3 个任务未办结", "3 tasks are open in tasks[1]")


def test_a_reason_without_a_sentence_shows_its_name(texts: Texts) -> None:
    assert texts.of("NOBODY_WROTE_IT", {"a": "b"}) == ("NOBODY_WROTE_IT", "NOBODY_WROTE_IT")


def test_a_parameter_is_never_a_template(texts: Texts) -> None:
    assert texts.of("TASKS_OPEN", {"count": "{field} {0} %s"})[0] == "还有 {field} {0} %s 个任务未办结"


@pytest.fixture
def wordy(tmp_path: Path) -> Texts:
    """Sentences with values that are words, some of them in a dictionary beside."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "dictionaries").mkdir()
    (tmp_path / "texts" / "a.toml").write_text(
        '[NO]\nzh = "{state}时不能{action}"\nen = "{state}: no {action}"\n'
        '["action.hand over"]\nzh = "移交"\nen = "handing over"\n'
        '["task.state.done"]\nzh = "已认可"\nen = "approved"\n'
    )
    (tmp_path / "dictionaries" / "states.toml").write_text(
        'name = "states"\nparam = "state"\n'
        '[[entries]]\ncode = "done"\nzh = "已结案"\nen = "closed"\neffective_from = 2026-01-01\n'
        '[[entries]]\ncode = "done"\nzh = "结案"\nen = "shut"\neffective_from = 2025-01-01\n'
    )
    (tmp_path / "dictionaries" / "others.toml").write_text(
        'name = "others"\n[[entries]]\ncode = "x"\nzh = "某"\nen = "some"\neffective_from = 2025-01-01\n'
    )
    return Texts.load(tmp_path / "texts")


def test_a_value_is_a_word_in_either_language_where_it_has_one(wordy: Texts) -> None:
    said = {"state": "done", "action": "hand over"}
    assert wordy.of("NO", said) == ("已结案时不能移交", "closed: no handing over")
    assert wordy.of("NO", said, "task") == ("已认可时不能移交", "approved: no handing over")
    assert wordy.of("NO", {"state": "odd", "action": "x"}) == ("odd时不能x", "odd: no x")


def test_an_error_is_told_in_the_words_of_its_subject_and_keeps_its_codes(wordy: Texts) -> None:
    error = FailedPrecondition("NO", about="task", state="done", action="hand over")
    assert wordy.of_error(error) == ("已认可时不能移交", "approved: no handing over")
    assert error.params == {"state": "done", "action": "hand over"}


def test_a_reason_stands_in_one_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text('[X]\nzh = "x"\nen = "x"\n')
    with pytest.raises(ValueError, match=r"b\.toml: X"):
        Texts.load(tmp_path)


def test_the_shipped_sentences_load() -> None:
    assert "NOT_FOUND" in Texts.load(SHIPPED)


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.toml")), ids=lambda path: path.stem)
def test_every_sentence_is_in_its_language(path: Path) -> None:
    """Chinese in the one, none in the other, and plain names of parameters in both."""
    for reason, row in tomllib.loads(path.read_text(encoding="utf-8")).items():
        zh, en = row["zh"], row["en"]
        assert any("\u4e00" <= c <= "\u9fff" for c in zh), reason
        assert not any("\u4e00" <= c <= "\u9fff" for c in en), reason
        for text in (zh, en):
            assert all(name is None or name.isidentifier() for _, name, _, _ in string.Formatter().parse(text)), reason
