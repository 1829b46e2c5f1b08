"""What keeps work waiting is said when it begins and when it is over."""

from __future__ import annotations

import logging

import pytest

from kit.log import LogAway
from kit.quiet import Complaint


def test_a_trouble_is_said_once_and_then_that_it_is_over(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    complaint = Complaint(logging.getLogger("kit.test"), "the relay")
    complaint.over()
    for _ in range(20):
        complaint.about(LogAway("no answer"))
    complaint.about(ValueError("what somebody said"))
    complaint.over()
    complaint.over()
    assert caplog.messages == [
        "the relay waits: LogAway: no answer",
        "the relay waits: ValueError",
        "the relay goes on",
    ]
