"""The zero-loss drill with three thousand writes, and whether its audit finds what is missing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from rich.console import Console

from tests.drill import audit, books, drill, journal, report
from tests.drill.books import Books, Record
from tests.drill.journal import Pages
from tests.drill.site import Site
from tests.drill.sites import SITES
from tests.functional.split import need_engines

#: One drill for all of them.
pytestmark = [pytest.mark.xdist_group("drill"), pytest.mark.timeout(600)]

WRITES, SEED = 3000, 7


@dataclass
class Drilled:
    """A platform after its drill: at rest, and still running."""

    site: Site
    outcome: report.Outcome
    pages: Pages


@pytest.fixture(scope="module")
async def drilled(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Drilled]:
    need_engines()
    folder = tmp_path_factory.mktemp("drill")
    said: list[str] = []

    def progress(what: str, accepted: int) -> None:
        if not said or said[-1] != what:
            said.append(what)
            print(f"{accepted:>6}  {what}", flush=True)

    with SITES["split"]() as site:
        outcome = await drill.run(site, WRITES, SEED, folder, progress)
        yield Drilled(site, outcome, journal.read(folder / "journal.jsonl"))


async def test_nothing_is_lost_doubled_or_out_of_order(drilled: Drilled) -> None:
    report.show(Console(width=160), drilled.outcome)
    assert [one.what for one in drilled.outcome.differences] == []
    assert drilled.outcome.accepted >= WRITES
    assert not drilled.outcome.never
    assert {row.victim for row in drilled.outcome.rows} == {"nobody", *(v.name for v in drilled.site.victims())}
    assert all(row.accepted for row in drilled.outcome.rows)


A_CASE = "(select id from cases.case_file where state = 'closed' order by id limit 1)"

#: What somebody does to a row behind the platform's back, and what the audit says of it.
BY_HAND = {
    "a case": (f"delete from cases.case_file where id = {A_CASE}", "case_file {id} is gone"),
    "a case set back": (
        f"update cases.case_file set version = version - 1 where id = {A_CASE}",
        "case_file {id} stands at version",
    ),
    "a version": (
        f"delete from cases.audit where version = 1 and entity = 'case_file' and entity_id = {A_CASE}",
        "version 1 of case_file {id} is missing",
    ),
    "a step of a timeline": (
        (
            "with one as (select id, case_id from cases.step where what = 'acceptance remind' limit 1) "
            "delete from cases.step where id = (select id from one)"
        ),
        "the notice cases.acceptance_reminder about cases/{id} is there, and tables does not have it",
    ),
    "a stored answer": (
        "delete from cases.reply where ctid = (select ctid from cases.reply limit 1)",
        "tables: the answer to /hetao.cases.v1.",
    ),
    "an inbox row": (
        "delete from notify.inbox where ctid = (select ctid from notify.inbox limit 1)",
        "effects: notify.events.tell of event",
    ),
    "a message": (
        "delete from notify.message where intent = (select intent from notify.message order by id desc limit 1)",
        "effects: nobody was told the notice",
    ),
    "a notice": (
        "delete from notify.notice where id = (select id from notify.notice order by requested_at desc limit 1)",
        "effects: the notice",
    ),
    "a fact": (f"delete from cases.case_fact where case_id = {A_CASE}", "cases.case_fact has None of {id}"),
    "a figure": (
        (
            "update cases.figure set accepted = accepted + 1 where (division, day) = "
            "(select division, day from cases.figure order by day limit 1)"
        ),
        "effects: the figure 1508",
    ),
    "a case that came from the grid": (
        (
            "update cases.case_file set handover_id = null "
            "where id = (select id from cases.case_file where handover_id is not null limit 1)"
        ),
        "effects: the case of hand-over",
    ),
    "a reminder that was not given": (
        "update cases.case_file set told = 0 where id = (select id from cases.case_file where state = 'registered' limit 1)",
        "the limit of cases.case",
    ),
}


@pytest.mark.parametrize("what", BY_HAND)
async def test_a_row_that_is_deleted_by_hand_is_found_and_named(drilled: Drilled, what: str) -> None:
    sql, says = BY_HAND[what]
    async with drilled.site.database() as connection:
        case_id = await connection.fetchval(f"select {A_CASE}")
        records = await drilled.site.records(connection)
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute("set local session_replication_role to replica")  # foreign keys would hold it back
            assert (await connection.execute(sql)).split()[-1] != "0"
            found = audit.differences(drilled.pages, await _read(drilled, connection, records))
        finally:
            await transaction.rollback()
    if what == "a step of a timeline":
        case_id, says = "", says.partition("{id}")[0]
    assert any(says.format(id=case_id) in one.what for one in found), found


async def test_an_event_that_is_taken_from_the_log_is_found_and_named(drilled: Drilled) -> None:
    async with drilled.site.database() as connection:
        records = await drilled.site.records(connection)
        for kind in ("CaseChanged", "ReportHandedOver", "NoticeRequested"):
            at, taken = next((n, one) for n, one in enumerate(records) if one.type.endswith(kind))
            rest = [one for one in records if one.event_id != taken.event_id]
            found = audit.differences(drilled.pages, await _read(drilled, connection, rest))
            assert any(one.kind == audit.LOST and one.what.startswith("log: ") for one in found), (kind, found)
            twice = [
                *records[: at + 1],
                taken._replace(event_id=UUID(int=1)),
                *records[at + 1 :],
            ]
            found = audit.differences(drilled.pages, await _read(drilled, connection, twice))
            assert any(one.kind == audit.DOUBLED and one.what.startswith("log: ") for one in found), (kind, found)
        swapped = _swapped(records)
        found = audit.differences(drilled.pages, await _read(drilled, connection, swapped))
        assert any(one.kind == audit.ORDER for one in found), found
        assert [
            one.kind for one in audit.differences(drilled.pages, await _read(drilled, connection, [*records, *records]))
        ] == []


async def test_a_line_that_is_taken_from_the_journal_is_found_and_named(drilled: Drilled) -> None:
    there = await drilled.site.books()
    *rest, last = drilled.pages.accepted
    found = audit.differences(replace(drilled.pages, accepted=rest), there)
    assert any(last.id in one.what and "the journal does not have it" in one.what for one in found), found
    again = replace(drilled.pages, accepted=[*drilled.pages.accepted, last])
    assert any(one.kind == audit.LOST for one in audit.differences(again, there))
    never = {"id": last.id, "rpc": last.rpc, "account": last.account, "root_id": last.root_id}
    unknown = replace(drilled.pages, accepted=rest, unknown=[never])
    assert audit.differences(unknown, there) == []  # it may have been done or not


def _swapped(records: list[Record]) -> list[Record]:
    """The first two versions of a case the other way round."""
    of: dict[str, int] = {}
    for n, record in enumerate(records):
        if record.type.endswith("CaseChanged"):
            if record.key in of:
                swapped = list(records)
                swapped[n], swapped[of[record.key]] = records[of[record.key]], record
                return swapped
            of[record.key] = n
    raise AssertionError("no case has two versions")


async def _read(drilled: Drilled, connection: asyncpg.Connection, records: Any) -> Books:
    return await books.read(connection, records, drilled.site.now)
