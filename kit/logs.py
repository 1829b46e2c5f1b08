"""Logs: a line of JSON each for machines, or plain text on a terminal. Every line names its trace, and none a person.

What we log ourselves says kinds, ids and counts. An exception, though, may quote what somebody typed ("invalid input for query argument $1: '赵秀英'"), so
it is told by its class and the place it came from; its text only where we know that it quotes nobody. What libraries write is cleared of everything that
could be a name or a number of a person.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

import asyncpg
import grpc
import orjson

from kit.errors import DomainError, StartupError
from kit.quiet import Damper
from kit.sections import Telemetry
from kit.telemetry import trace_id

#: PostgreSQL's detail of an error quotes the row's values, which may be a person's.
_VALUES = re.compile(r"^(DETAIL|CONTEXT|HINT|QUERY):.*$", re.MULTILINE)

#: In the lines of libraries: Chinese, numbers that could be a person's, and what asyncio shows of an exception or an object's arguments.
_TELLING: Final = (
    (re.compile(r"exception=(\w+)\(.*\)>", re.DOTALL), r"exception=\1>"),
    (re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"), "※"),
    (re.compile(r"(?<![0-9a-fA-F-])\+?\d[\d -]{4,}\d[Xx]?(?![0-9a-fA-F-])"), "#"),
)

#: Loggers whose lines are ours, and are held to say nothing of persons.
_OURS: Final = ("kit", "services", "hetao", "engines")

#: Errors whose text is made of names in the code, of files or of our own words.
_PLAIN: Final = (
    AttributeError,
    NameError,
    ImportError,
    RuntimeError,
    NotImplementedError,
    AssertionError,
    StartupError,
)


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
    logging.getLogger("hetao.access").disabled = not settings.access_log
    # A traceback a second while the database is away; we say it in a line.
    logging.getLogger("asyncpg.pool").setLevel(logging.CRITICAL)
    # Debug lines of a Kafka client hold events, those of an HTTP client addresses, which may be sealed but are nobody's business.
    for noisy in ("httpx", "httpcore", "asyncio", "uvicorn", "opentelemetry", "urllib3", "aiokafka"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    sys.excepthook = _uncaught
    threading.excepthook = lambda told: _uncaught(told.exc_type, told.exc_value, told.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, place: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt) or error is None:
        sys.__excepthook__(kind, error or kind(), place)
    else:
        logging.getLogger("hetao").critical("uncaught", exc_info=error)


def told(error: BaseException) -> str:
    """An exception in a line, without what it may quote."""
    name = type(error).__qualname__
    match error:
        case asyncpg.PostgresError():
            facts = {"sqlstate": error.sqlstate, "table": error.table_name, "constraint": error.constraint_name}
            facts["column"] = error.column_name
            return f"{name} ({', '.join(f'{key} {value}' for key, value in facts.items() if value)})"
        case DomainError():
            return f"{name}: {error.reason}{f' at {error.field}' if error.field else ''}"
        case grpc.RpcError():
            code = error.code() if hasattr(error, "code") else None
            return f"{name}: {code.name}" if code is not None else name
        case OSError():
            return f"{name}: {error.strerror}" if error.strerror else name
        case _ if isinstance(error, _PLAIN) or type(error) is asyncpg.InterfaceError:
            return f"{name}: {cleared(str(error))}"
        case _:
            return name


def cleared(text: str) -> str:
    """A text without what could be a person's name or number."""
    for pattern, instead in _TELLING:
        text = pattern.sub(instead, text)
    return _VALUES.sub("", text)


class Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """The record is left as it was: other handlers may have their own way."""
        clean = logging.makeLogRecord(record.__dict__ | {"msg": message(record), "args": None, "exc_text": None})
        return super().format(clean)

    def formatException(self, ei: Any) -> str:
        return "\n".join(_lines(ei[1], set()))


class Json(Text):
    """Keys: time (RFC 3339, UTC), level, logger, message, and where they exist trace, exception and the record's own `facts`."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": message(record),
        }
        entry |= getattr(record, "facts", {})
        if trace := trace_id():
            entry["trace"] = trace
        if record.exc_info and record.exc_info[1]:
            entry["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(entry).decode()


def message(record: logging.LogRecord) -> str:
    """What a record says; exceptions among its arguments are told as everywhere."""
    args = record.args
    if isinstance(args, tuple) and any(isinstance(one, BaseException) for one in args):
        args = tuple(told(one) if isinstance(one, BaseException) else one for one in args)
        record = logging.makeLogRecord(record.__dict__ | {"args": args})
    text = record.getMessage()
    return _VALUES.sub("", text) if record.name.partition(".")[0] in _OURS else cleared(text)


def _lines(error: BaseException | None, seen: set[int]) -> Iterator[str]:
    """As Python shows an exception and what it came from, but for the texts."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _lines(before, seen)
        yield "The above led to:"
    yield "Traceback (most recent call last):"
    yield from (line.rstrip("\n") for line in traceback.format_tb(error.__traceback__))
    yield told(error)
    for one in getattr(error, "exceptions", ()):
        yield from (f"  {line}" for line in _lines(one, seen))
