"""State machines as data: checked on every change, drawn in the docs."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from kit.errors import FailedPrecondition
from kit.rows import altered


class HasState(Protocol):
    @property
    def state(self) -> str: ...


T = TypeVar("T", bound=HasState)


class Moves:
    """`Moves((FROM, "action", TO), …)`; one action may lead from several states, never from one state to two.

    `about`: the subject under which data/texts calls some of the states and actions by names of its own.
    """

    def __init__(self, *moves: tuple[str, str, str], about: str = ""):
        self.moves, self.about = moves, about
        self._to = {(source, action): target for source, action, target in moves}
        if len(self._to) != len(moves):
            raise ValueError("an action leads from one state to two")

    def apply(self, thing: T, action: str, **changes: Any) -> T:
        """The thing after the action. FailedPrecondition(MOVE_NOT_ALLOWED) where its state does not allow it."""
        target = self._to.get((thing.state, action))
        if target is None:
            raise self.refusal(thing.state, action)
        return altered(thing, state=target, **changes)

    def refusal(self, state: str, action: str) -> FailedPrecondition:
        """What is said where a state does not allow an action."""
        return FailedPrecondition("MOVE_NOT_ALLOWED", about=self.about, state=state, action=action)

    def allowed(self, state: str) -> tuple[str, ...]:
        """The actions that lead out of a state."""
        return tuple(action for source, action, _ in self.moves if source == state)

    def allows(self, state: str, action: str) -> bool:
        return (state, action) in self._to

    def mermaid(self) -> str:
        """The machine as a Mermaid state diagram."""
        lines = [f"    {source} --> {target}: {action}" for source, action, target in self.moves]
        return "\n".join(["stateDiagram-v2", *lines])
