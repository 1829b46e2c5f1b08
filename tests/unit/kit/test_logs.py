"""What a library repeats is said once in a while, and nothing that is logged names a person."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import asyncpg
import orjson
import pytest

from kit.errors import InvalidArgument
from kit.logs import Json, Text
from kit.postgres import EmbeddedPostgres
from kit.quiet import Damper

NAME, NUMBER, PHONE, PIN = "赵秀英", "150826198001010013", "13904781234", "493817"
PLANTED = (NAME, NUMBER, PHONE, PIN)


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


def shown(name: str, text: str, *args: object, error: BaseException | None = None) -> list[str]:
    """How a record is written, both ways."""
    told = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord(name, logging.ERROR, __file__, 1, text, args, told)  # type: ignore[arg-type]
    lines = [Json().format(made), Text("%(name)s: %(message)s").format(made)]
    assert "exc" not in orjson.loads(lines[0])
    return lines


def raised(work: Callable[[], Any]) -> BaseException:
    try:
        work()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def by_the_interpreter() -> list[BaseException]:
    def chained() -> None:
        try:
            int(NUMBER + "x")
        except ValueError:
            raise RuntimeError("the file was not read") from ValueError(NAME)

    def noted() -> None:
        error = ValueError(PHONE)
        error.add_note(f"of {NAME}")
        raise error

    def grouped() -> None:
        raise ExceptionGroup(f"all of {NAME}", [ValueError(PIN), TypeError(NUMBER)])

    return [
        raised(lambda: {}[NAME]),
        raised(lambda: NAME.encode("ascii")),
        raised(lambda: orjson.loads(f'{{"idNumber": {NUMBER}x')),
        raised(lambda: object.__getattribute__("", NAME)),
        raised(chained),
        raised(noted),
        raised(grouped),
        InvalidArgument("PHONE_INVALID", field="phone", value=PHONE, name=NAME),
    ]


async def by_postgres(dsn: str) -> list[BaseException]:
    connection = await asyncpg.connect(dsn)
    found: list[BaseException] = []
    try:
        await connection.execute(
            "create temporary table person (name text primary key, number int check (number < 10), note varchar(3))"
        )
        await connection.execute("insert into person values ($1, 1, '')", NAME)
        for sql, *args in (
            ("insert into person values ($1, 1, '')", NAME),
            ("insert into person values ($1, 11, '')", NUMBER),
            ("insert into person values ($1, 1, $2)", PIN, PHONE),
            (f"select '{NAME}'::uuid",),
            (f"select {NUMBER}::int",),
            (f"select number from {NAME}",),
            ("select $1::int", NUMBER),
            ("select $1::uuid", PHONE),
            ("select $1::text", int(PIN)),
        ):
            try:
                await connection.execute(sql, *args)
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                found.append(error)
        assert len(found) == 9
    finally:
        await connection.close()
    return found


async def test_an_exception_is_told_without_what_it_quotes(server: EmbeddedPostgres) -> None:
    for error in [*by_the_interpreter(), *await by_postgres(server.dsn())]:
        for line in (
            *shown("kit.rpc.pipeline", "unforeseen error in %s", "/a/b", error=error),
            *shown("kit.timers", "it waits: %s", error),
        ):
            assert not [planted for planted in PLANTED if planted in line], line
            assert type(error).__name__ in line


def test_what_helps_to_mend_it_is_told() -> None:
    def deep() -> None:
        nothing: Any = None
        nothing.title()

    error = raised(deep)
    for line in shown("kit.rpc.pipeline", "unforeseen", error=error):
        assert "NoneType" in line
        assert "in deep" in line
        assert "nothing.title()" in line
    unique = asyncpg.UniqueViolationError("duplicate key")
    unique.constraint_name, unique.table_name = "party_pkey", "party"  # type: ignore[attr-defined]
    assert all("table party, constraint party_pkey" in line for line in shown("kit", "x", error=unique))
    assert all(
        "PHONE_INVALID at phone" in line
        for line in shown("kit", "x", error=InvalidArgument("PHONE_INVALID", field="phone"))
    )


def test_what_libraries_write_is_cleared() -> None:
    for text in (
        f"Task exception was never retrieved\nfuture: <Task finished exception=ValueError('{NAME} Zhang San')>",
        f"got {NUMBER} and {PHONE}, +86 {PHONE}, 139 0478 1234",
        f"POST /v1/cases?query={NAME}&pin={PIN}",
    ):
        for line in shown("asyncio", text):
            assert not [planted for planted in (*PLANTED, "Zhang", "0478") if planted in line], line
    for line in shown("aiokafka.conn", "Unable connect to %s after 30000 ms", "node-1"):
        assert "node-1" in line
    for line in shown("kit.consumer", "cases.open cannot digest %s", "0192d3a4-0000-7000-8000-123456789012"):
        assert "0192d3a4-0000-7000-8000-123456789012" in line, "ids are not persons"


def test_a_process_that_breaks_says_so_in_the_log(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kit import logs

    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    error = raised(lambda: {}[NAME])
    logs._uncaught(type(error), error, error.__traceback__)
    assert [record.getMessage() for record in caplog.records] == ["uncaught"]
    assert NAME not in capsys.readouterr().err
