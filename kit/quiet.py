"""Logs of long troubles: what goes on for minutes is said now and then, not all the time."""

from __future__ import annotations

import logging
import time


class Damper(logging.Filter):
    """Of what a library says again and again while a server is away, the first of each kind in a while, with the number of the others.

    A Kafka client complains some hundred times a second.
    """

    LOUD = ("aiokafka", "opentelemetry")

    def __init__(self, seconds: float = 30.0):
        super().__init__()
        self._seconds = seconds
        #: (logger, text without its parameters) → [when it was said, how many were not since]
        self._said: dict[tuple[str, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith(self.LOUD):
            return True
        kind = (record.name, str(record.msg))
        last = self._said.get(kind)
        if last and record.created < last[0] + self._seconds:
            last[1] += 1
            return False
        if last and last[1]:
            record.msg, record.args = f"{record.getMessage()} (and {last[1]:.0f} like it before)", ()
        self._said[kind] = [record.created, 0]
        return True


class Complaint:
    """What keeps work waiting, said when it begins, when it changes and now and then; and that it is over."""

    def __init__(self, logger: logging.Logger, who: str, seconds: float = 30.0):
        self._logger, self._who, self._seconds = logger, who, seconds
        self._why, self._said = "", 0.0

    def about(self, error: BaseException) -> None:
        """Of what it says, only what is meant for operators: others may quote somebody."""
        why = f"{type(error).__name__}{': ' + why if (why := getattr(error, 'why', '')) else ''}"
        if why != self._why or time.monotonic() > self._said + self._seconds:
            self._logger.warning("%s waits: %s", self._who, why)
            self._why, self._said = why, time.monotonic()

    def over(self) -> None:
        if self._why:
            self._logger.info("%s goes on", self._who)
            self._why = ""
