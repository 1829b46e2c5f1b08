"""Limits as every service shows them."""

from __future__ import annotations

from datetime import datetime

from hetao.common.v1 import common_pb2
from kit.proto import number_of, stamp
from kit.statutory import Deadline, Explanation


def shown(due: Deadline, now: datetime, why: Explanation | None = None) -> common_pb2.Deadline:
    """A limit as it is now. `why`: its explanation, where it has been made already."""
    why = why or due.explanation
    pause = due.pause(now)
    return common_pb2.Deadline(
        due_at=stamp(due.due_at),
        provisional=due.provisional,
        explanation=common_pb2.Text(zh=why.zh, en=why.en),
        colour=number_of(common_pb2.Colour, due.colour(now)),
        paused=common_pb2.Pause(
            since=stamp(pause.begins),
            until=stamp(pause.ends),
            ground=common_pb2.Text(zh=pause.ground, en=pause.ground_en or pause.ground),
        )
        if pause
        else None,
    )
