"""State machines as data."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from kit.errors import FailedPrecondition
from kit.moves import Moves


@dataclass(frozen=True, slots=True)
class Door:
    state: str
    opened: int = 0


DOORS = Moves(
    ("closed", "open", "opened"),
    ("opened", "close", "closed"),
    ("closed", "lock", "locked"),
    ("locked", "open", "opened"),
)


def test_an_action_leads_to_the_next_state_with_its_changes() -> None:
    closed = Door("closed")
    opened = DOORS.apply(closed, "open", opened=1)
    assert opened == Door("opened", 1)
    assert closed == Door("closed"), "what was is not touched"
    assert DOORS.apply(DOORS.apply(DOORS.apply(opened, "close"), "lock"), "open").state == "opened"


@pytest.mark.parametrize(
    ("state", "action"), [("opened", "lock"), ("opened", "open"), ("closed", "paint"), ("nowhere", "open"), ("", "")]
)
def test_what_a_state_does_not_allow_is_refused(state: str, action: str) -> None:
    with pytest.raises(FailedPrecondition) as caught:
        DOORS.apply(Door(state), action)
    assert (caught.value.reason, caught.value.params) == ("MOVE_NOT_ALLOWED", {"state": state, "action": action})
    assert not DOORS.allows(state, action)


def test_a_refusal_says_what_it_is_about() -> None:
    with pytest.raises(FailedPrecondition) as caught:
        Moves(("closed", "open", "opened"), about="door").apply(Door("opened"), "open")
    assert (caught.value.about, caught.value.params) == ("door", {"state": "opened", "action": "open"})


def test_what_a_state_allows() -> None:
    assert DOORS.allowed("closed") == ("open", "lock")
    assert DOORS.allowed("nowhere") == ()
    assert DOORS.allows("locked", "open")


def test_an_action_leads_to_one_state() -> None:
    with pytest.raises(ValueError, match="one state to two"):
        Moves(("a", "go", "b"), ("a", "go", "c"))


def test_every_move_is_drawn() -> None:
    assert DOORS.mermaid().splitlines() == [
        "stateDiagram-v2",
        "    closed --> opened: open",
        "    opened --> closed: close",
        "    closed --> locked: lock",
        "    locked --> opened: open",
    ]
