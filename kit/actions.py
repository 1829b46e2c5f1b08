"""What a caller may do with a resource now, and why not yet.

A service has one table per resource, in services/NAME/service/actions.py, and an RPC is one line of it:

    Action(CASES["ReviewCase"], CASE_MOVES, "approve", "send back", whose=centre)     # the machine decides
    Action(CASES["ConcludeCase"], CASE_MOVES, "conclude", whose=centre, guard=conclusion)
    Action(CASES["ClassifyCase"], whose=centre, guard=classifying)                   # no move: the guard alone

Nothing is decided here: the permission is that of the RPC in the contract, the state machine is the model's own, and a guard is what the model
itself asks before it does the thing, so it raises the very error that the RPC would be refused with.

What the caller can never do is left out: without the permission, with a matter that is not theirs (`whose`), or where the guard raises
`PermissionDenied` or `NotFound`. What is not possible now is listed with its reason. A guard looks at what was read already, and reads nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from hetao.common.v1 import common_pb2
from hetao.options.v1 import options_pb2
from kit.errors import DomainError, NotFound, PermissionDenied
from kit.identity import Principal
from kit.moves import Moves
from kit.texts import Texts

T = TypeVar("T")

#: What is said of an action: a reason with what its sentence is filled with, `()` for what may be done, None for what is left out.
Said = tuple[Any, ...] | None

#: Answers that are kept: so many callers and states look alike that few are ever made.
MOST = 2000


def methods(*services: ServiceDescriptor) -> dict[str, MethodDescriptor]:
    """The RPCs of some services by their names, for a table's lines."""
    return {method.name: method for service in services for method in service.methods}


def name_of(method: MethodDescriptor) -> str:
    """The verb of the RPC's path ("dispatch"), or the RPC's own name where the path has none ("addParty")."""
    http = method.GetOptions().Extensions[annotations_pb2.http]
    verb = str(getattr(http, http.WhichOneof("pattern"))).rpartition("/")[2].partition(":")[2]
    return verb or method.name[0].lower() + method.name[1:]


class Action(Generic[T]):
    """One line of a table. `steps`: moves of which one must be possible, the first of which tells the refusal; `whose`: whether the thing is the caller's
    to work on at all; `guard`: raises the `DomainError` that the RPC would."""

    def __init__(
        self,
        method: MethodDescriptor,
        moves: Moves | None = None,
        *steps: str,
        whose: Callable[[T], bool] | None = None,
        guard: Callable[[T], None] | None = None,
    ):
        self.method, self.name = method, name_of(method)
        self.permission = str(method.GetOptions().Extensions[options_pb2.access].permission)
        self._moves, self._steps, self._whose, self._guard = moves, steps, whose, guard
        self._by_state: dict[str, Said] = {}

    def said(self, state: str, thing: T) -> Said:
        if self._whose is not None and not self._whose(thing):
            return None
        if self._moves is not None:
            told = self._by_state.get(state)
            if told is None:
                told = self._by_state[state] = self._of_state(self._moves, state)
            if told:
                return told
        if self._guard is not None:
            try:
                self._guard(thing)
            except (PermissionDenied, NotFound):
                return None
            except DomainError as refusal:
                return _told(refusal)
        return ()

    def _of_state(self, moves: Moves, state: str) -> Said:
        if any(moves.allows(state, step) for step in self._steps):
            return ()
        return _told(moves.refusal(state, self._steps[0]))


class Actions(Generic[T]):
    """A resource's table. `thing`: whatever its lines look at."""

    def __init__(self, texts: Texts, lines: Sequence[Action[T]]):
        self.lines, self._texts = lines, texts
        self._menus: dict[frozenset[str], tuple[Action[T], ...]] = {}
        self._shown: dict[tuple[Any, ...], list[common_pb2.AllowedAction]] = {}

    def concern(self, principal: Principal) -> bool:
        """Whether the principal has the permission for any of them, so that it is worth finding out whose the thing is."""
        return bool(self._menu(principal))

    def of(self, principal: Principal, state: str, thing: T) -> Sequence[common_pb2.AllowedAction]:
        """What the principal may do with the thing in this state, in the table's order, and what not yet."""
        menu = self._menu(principal)
        if not menu:
            return ()
        key = (menu, *[action.said(state, thing) for action in menu])
        shown = self._shown.get(key)
        if shown is None:
            if len(self._shown) >= MOST:
                self._shown.clear()
            shown = self._shown[key] = [
                self._message(action.name, said) for action, said in zip(menu, key[1:], strict=True) if said is not None
            ]
        return shown

    def names(self, principal: Principal, state: str, thing: T) -> list[str]:
        """Those that may be done now, by name."""
        return [action.name for action in self._menu(principal) if action.said(state, thing) == ()]

    def _menu(self, principal: Principal) -> tuple[Action[T], ...]:
        """The lines for which the principal has the permission."""
        menu = self._menus.get(principal.permissions)
        if menu is None:
            menu = tuple(action for action in self.lines if principal.may(action.permission))
            self._menus[principal.permissions] = menu
        return menu

    def _message(self, name: str, said: tuple[Any, ...]) -> common_pb2.AllowedAction:
        if not said:
            return common_pb2.AllowedAction(name=name, allowed=True)
        reason, about, params = said
        zh, en = self._texts.of(reason, dict(params), about)
        return common_pb2.AllowedAction(name=name, reason=reason, sentence=common_pb2.Text(zh=zh, en=en))


def _told(refusal: DomainError) -> tuple[Any, ...]:
    params: Mapping[str, str] = {**refusal.params, "field": refusal.field}
    return refusal.reason, refusal.about, tuple(params.items())
