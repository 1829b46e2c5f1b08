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
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level.upper())
    logging.captureWarnings(True)
    # A traceback a second while the database is away; we say it in a line.
    logging.getLogger("asyncpg.pool").setLevel(logging.CRITICAL)
    for noisy in ("httpx", "httpcore", "asyncio", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


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
