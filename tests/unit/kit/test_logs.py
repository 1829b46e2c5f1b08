"""What a library repeats is said once in a while."""

from __future__ import annotations

import logging

from kit.logs import Damper


def record(name: str, text: str, *args: object, at: float) -> logging.LogRecord:
    made = logging.LogRecord(name, logging.ERROR, __file__, 1, text, args, None)
    made.created = at
    return made


def test_complaints_of_a_client_are_damped() -> None:
    damper = Damper(30.0)
    first, last = (record("aiokafka.conn", "cannot reach %s", "a:1", at=at) for at in (0.0, 31.0))
    assert damper.filter(first)
    assert not any(damper.filter(record("aiokafka.conn", "cannot reach %s", f"b:{n}", at=1.0)) for n in range(50))
    assert damper.filter(record("aiokafka.conn", "something else", at=2.0))
    assert damper.filter(last)
    assert first.getMessage() == "cannot reach a:1"
    assert last.getMessage() == "cannot reach a:1 (and 50 like it before)"


def test_what_we_say_ourselves_is_not() -> None:
    damper = Damper()
    assert all(damper.filter(record("kit.relay", "the relay waits", at=0.0)) for _ in range(5))
