"""Who dies, and in what order. A strike returns when what it struck is at work again."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

Strike = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Victim:
    """`what`: what is done to it, for the table."""

    name: str
    what: str
    strike: Strike


def order(victims: Sequence[Victim], seed: int, rounds: int) -> list[Victim]:
    """Each victim once a round, in an order that the seed gives."""
    chance, chosen = random.Random(f"order {seed}"), list[Victim]()
    for _ in range(rounds):
        chosen += chance.sample(victims, len(victims))
    return chosen


def rounds_of(writes: int, victims: int) -> int:
    """So many that each strike comes in the middle of some hundred writes, and at most five."""
    return max(1, min(5, writes // (victims * 1500)))
