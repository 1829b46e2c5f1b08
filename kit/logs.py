"""Logs: a line of JSON each for machines, or plain text on a terminal. Every line names its trace."""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime

import orjson

from kit.config import Telemetry
from kit.telemetry import trace_id

#: PostgreSQL's detail of an error quotes the row's values, which may be a person's.
_VALUES = re.compile(r"^(DETAIL|CONTEXT):.*$", re.MULTILINE)


def set_up(settings: Telemetry) -> None:
    """Once per process: logs go to standard error. "auto" is text on a terminal and JSON elsewhere."""
    as_text = settings.log_format == "text" or (settings.log_format == "auto" and sys.stderr.isatty())
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Text("%(asctime)s %(levelname)-7s %(name)s: %(message)s") if as_text else Json())
    handler.addFilter(Damper())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    logging.captureWarnings(True)
    # A traceback a second while the database is away; we say it in a line.
    logging.getLogger("asyncpg.pool").setLevel(logging.CRITICAL)
    for noisy in ("httpx", "httpcore", "asyncio", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("aiokafka").setLevel(
        logging.WARNING
    )  # its debug lines hold events, which may be sealed but are nobody's business


class Damper(logging.Filter):
    """Of what a library says again and again while a server is away, the first of each kind in a while, with the number of the others.

    A Kafka client complains some hundred times a second.
    """

    LOUD = ("aiokafka",)

    def __init__(self, seconds: float = 30.0):
        super().__init__()
        self._seconds = seconds
        self._said: dict[
            tuple[str, str], list[float]
        ] = {}  # (logger, text without its parameters) → [when, how many since]

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


class Text(logging.Formatter):
    def formatException(self, ei: object) -> str:
        return _VALUES.sub("", super().formatException(ei))  # type: ignore[arg-type]


class Json(Text):
    """Keys: time (RFC 3339, UTC), level, logger, message, and where they exist trace, exception and the record's own `facts`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _VALUES.sub("", record.getMessage()),
        }
        entry |= getattr(record, "facts", {})
        if trace := trace_id():
            entry["trace"] = trace
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry).decode()
