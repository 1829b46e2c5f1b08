"""Whatever is refused is told in Chinese and English, with every value that the sentence speaks of."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from string import Formatter

import pytest
from google.protobuf.descriptor import FieldDescriptor

from kit import errors
from kit.config import CHECKOUT
from kit.moves import Moves
from kit.texts import Texts
from services.cases.model import CASE_MOVES, PERFORMANCE_MOVES, TASK_MOVES
from services.gateway import contracts
from services.gateway.schema import reachable, rules_of
from services.grid.model.reports import MOVES as REPORT_MOVES
from services.notify.model import MANUAL_MOVES
from services.notify.model import MOVES as DELIVERY_MOVES

TEXTS = Texts.load(CHECKOUT / "data" / "texts")

#: What is called with a reason first.
RAISED = {
    name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.DomainError)
}
TOLD = {"Flaw": 1, "problem": 1, "Wrong": 0} | dict.fromkeys(RAISED, 0)

REASON = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


def told() -> Iterator[tuple[str, str, set[str] | None]]:
    """(where, reason, names of the values that come along; None where they cannot be seen)"""
    for path in [*(CHECKOUT / "kit").rglob("*.py"), *(CHECKOUT / "services").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id not in TOLD:
                continue
            nth = TOLD[node.func.id]
            if (
                len(node.args) > nth
                and isinstance(reason := node.args[nth], ast.Constant)
                and isinstance(reason.value, str)
            ):
                names = {word.arg for word in node.keywords}
                seen = None if None in names or node.func.id == "Flaw" else {name for name in names if name}
                yield f"{path.relative_to(CHECKOUT)}:{node.lineno}", reason.value, seen


@pytest.mark.parametrize(
    ("where", "reason", "values"), sorted(told(), key=str), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_reason_has_its_sentences(where: str, reason: str, values: set[str] | None) -> None:
    assert REASON.fullmatch(reason)
    assert reason in TEXTS, f"{where}: data/texts has no {reason}"
    if values is not None:
        zh, en = dict(TEXTS.all())[reason]
        assert spoken_of(zh) | spoken_of(en) <= values | {"field"}, (
            f"{where}: the sentences speak of more than comes along"
        )


@pytest.mark.parametrize(
    ("reason", "sentences"), TEXTS.all(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_sentence_is_told_in_both_languages(reason: str, sentences: tuple[str, str]) -> None:
    zh, en = sentences
    assert re.search("[\u4e00-\u9fff]", zh)
    assert en
    assert not re.search("[\u3000-\u9fff\uff00-\uffef]", en)
    # a code word such as a state's may stand in the English sentence alone
    assert {re.sub("zh$", "", name) for name in spoken_of(zh)} <= {re.sub("en$", "", name) for name in spoken_of(en)}


def test_no_sentence_is_left_over() -> None:
    code = "\n".join(
        path.read_text(encoding="utf-8") for folder in ("kit", "services") for path in (CHECKOUT / folder).rglob("*.py")
    )
    left = [reason for reason, _ in TEXTS.all() if REASON.fullmatch(reason) and f'"{reason}"' not in code]
    assert left == []


@pytest.mark.parametrize(
    "moves",
    [CASE_MOVES, TASK_MOVES, PERFORMANCE_MOVES, REPORT_MOVES, DELIVERY_MOVES, MANUAL_MOVES],
    ids=["case", "task", "performance", "report", "delivery", "manual"],
)
def test_every_state_and_action_has_its_words(moves: Moves) -> None:
    codes = {("state", state) for source, _, target in moves.moves for state in (source, target)}
    codes |= {("action", action) for _, action, _ in moves.moves}
    for name, code in sorted(codes):
        zh, _ = TEXTS.of("MOVE_NOT_ALLOWED", {name: code}, moves.about)
        assert code not in zh
        assert f"{name}.{code}" in TEXTS or f"{moves.about}.{name}.{code}" in TEXTS


def test_a_move_that_is_refused_by_hand_has_its_words_too() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (CHECKOUT / "services").rglob("*.py"))
    for action in re.findall(r'"MOVE_NOT_ALLOWED"[^)]*action="([a-z ]+)"', code):
        assert f"action.{action}" in TEXTS


def test_every_rule_of_the_contracts_has_its_sentence() -> None:
    methods = [method for service in contracts.services() for method in service.methods]
    messages = reachable([method.input_type for method in methods]).values()
    broken = {rule for message in messages for fd in message.fields for rule in rules(rules_of(fd))}
    assert {rule for rule in broken if f"rule.{rule}" not in TEXTS} == set()


def rules(of: object) -> Iterator[str]:
    """The names by which protovalidate tells that a field's rules are broken."""
    if of.required:  # type: ignore[attr-defined]
        yield "required"
    kind = of.WhichOneof("type")  # type: ignore[attr-defined]
    if kind is None:
        return
    limits = getattr(of, kind)
    names = {
        fd.name
        for fd, _ in limits.ListFields()
        if not (fd.type == FieldDescriptor.TYPE_BOOL and not getattr(limits, fd.name))
    }
    if bounds := [name for name in ("gt", "gte", "lt", "lte") if name in names]:
        yield f"{kind}.{'_'.join(bounds)}"
    if "items" in names:
        yield from rules(limits.items)
    if "uuid" in names:
        yield "string.uuid_empty"
    for name in names - {"gt", "gte", "lt", "lte", "items"}:
        yield f"{kind}.{name}"


def spoken_of(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}
