"""A table of actions: by permission, by whose the thing is, by the machine, by the guard, in this order."""

from __future__ import annotations

from dataclasses import dataclass

from hetao.cases.v1 import cases_pb2
from kit.actions import Action, Actions, methods
from kit.errors import FailedPrecondition, NotFound
from kit.identity import Principal
from kit.moves import Moves
from kit.texts import Texts

METHODS = methods(cases_pb2.DESCRIPTOR.services_by_name["CaseService"])
DOORS = Moves(("closed", "open", "opened"), ("opened", "close", "closed"), about="door")
TEXTS = Texts(
    {
        "MOVE_NOT_ALLOWED": ("{state} 不可 {action}", "{state}: no {action}"),
        "JAMMED": ("卡住 {count}", "jammed {count} times"),
        "door.state.opened": ("已开", "open"),
        "action.open": ("开门", "opening"),
    }
)


@dataclass(frozen=True)
class Door:
    mine: bool = True
    jammed: int = 0
    known: bool = True


def check(door: Door) -> None:
    if door.jammed:
        raise FailedPrecondition("JAMMED", count=door.jammed)
    if not door.known:
        raise NotFound("NOT_FOUND")


TABLE: Actions[Door] = Actions(
    TEXTS,
    (
        Action(METHODS["AcceptCase"], DOORS, "open", whose=lambda door: door.mine, guard=check),
        Action(METHODS["DispatchCase"], DOORS, "close", whose=lambda door: door.mine),
        Action(METHODS["AddParty"]),
    ),
)


def who(*permissions: str) -> Principal:
    return Principal("somebody", permissions=frozenset(permissions))


EVERYTHING = who("cases.*")


def shown(state: str, door: Door, principal: Principal = EVERYTHING) -> list[tuple[str, bool, str]]:
    return [(one.name, one.allowed, one.reason) for one in TABLE.of(principal, state, door)]


def test_the_machine_and_then_the_guard_decide() -> None:
    assert shown("closed", Door()) == [
        ("accept", True, ""),
        ("dispatch", False, "MOVE_NOT_ALLOWED"),
        ("addParty", True, ""),
    ]
    assert shown("closed", Door(jammed=2))[0] == ("accept", False, "JAMMED")
    assert shown("opened", Door(jammed=2))[0] == ("accept", False, "MOVE_NOT_ALLOWED"), "the state comes first"
    assert TABLE.names(EVERYTHING, "closed", Door()) == ["accept", "addParty"]
    assert TABLE.names(EVERYTHING, "closed", Door(jammed=1)) == ["addParty"]


def test_a_refusal_is_a_sentence_in_the_subjects_own_words() -> None:
    (refusal,) = [one for one in TABLE.of(EVERYTHING, "opened", Door()) if one.reason]
    assert (refusal.sentence.zh, refusal.sentence.en) == ("已开 不可 开门", "open: no opening")
    (jammed,) = [one for one in TABLE.of(EVERYTHING, "closed", Door(jammed=3)) if one.reason == "JAMMED"]
    assert (jammed.sentence.zh, jammed.sentence.en) == ("卡住 3", "jammed 3 times")
    assert not TABLE.of(EVERYTHING, "closed", Door())[0].HasField("sentence")


def test_what_one_can_never_do_is_left_out() -> None:
    assert shown("closed", Door(mine=False)) == [("addParty", True, "")]
    assert [name for name, *_ in shown("closed", Door(known=False))] == ["dispatch", "addParty"]
    assert shown("closed", Door(), who("cases.cases.dispatch")) == [("dispatch", False, "MOVE_NOT_ALLOWED")]
    assert shown("closed", Door(), who("grid.reports.get")) == []
    assert not TABLE.concern(who("grid.reports.get"))
    assert TABLE.concern(who("cases.cases.accept"))


def test_the_same_answer_is_made_once() -> None:
    assert TABLE.of(EVERYTHING, "closed", Door()) is TABLE.of(who("cases.*"), "closed", Door())
