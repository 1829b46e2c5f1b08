"""Four books against each other: journal, tables, log, effects. Every difference is found and named.

Left out of the comparison, and said so in the report: attempts whose outcome was unknown (their request was repeated until it was answered, and
the answer counts), requests that never were answered, and repeats of the log, of which the first occurrence counts.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

from hetao.cases.v1 import events_pb2 as cases_pb
from hetao.cases.v1 import types_pb2 as cases_types
from hetao.common.v1 import notice_pb2
from hetao.grid.v1 import events_pb2 as grid_pb
from kit.proto import text_of
from services.cases.model import SUPERIOR, states
from tests.drill.books import REACTIONS, Books
from tests.drill.journal import Pages

T = TypeVar("T")

LOST, DOUBLED, ORDER, DIFFERS = "lost", "doubled", "out of order", "differs"


@dataclass(frozen=True, slots=True)
class Difference:
    """`root_id`, `version`: the step of an aggregate that it is about, as far as that is known, from which follows whose victim it is."""

    kind: str
    what: str
    root_id: str = ""
    version: int = 0


def differences(pages: Pages, books: Books) -> list[Difference]:
    """Where the books disagree; empty is well."""
    checks: list[Callable[[Pages, Books], Iterator[Difference]]] = [
        _journal_and_answers,
        _journal_and_versions,
        lambda _, found: _rows(found),
        lambda _, found: _states_said(found),
        lambda _, found: _handovers_said(found),
        lambda _, found: _notices_said(found),
        lambda _, found: _reactions(found),
        lambda _, found: _projections(found),
        lambda _, found: _figures(found),
        lambda _, found: _clocks(found),
    ]
    found = [Difference(DIFFERS, f"a client was told what nobody may be told: {fault}") for fault in pages.faults]
    found += [Difference(DIFFERS, f"dead letter: {parked}") for parked in books.parked]
    for check in checks:
        found += check(pages, books)
    return found


def _compare(
    wanted: Iterable[T],
    there: Iterable[T],
    book: str,
    other: str,
    say: Callable[[T], tuple[str, str, int]],
) -> Iterator[Difference]:
    """What `book` has not or has too often of what stands in `other`. `say`: (words, aggregate, version)."""
    due, had = Counter(list(wanted)), Counter(list(there))  # a dictionary stands for its keys
    for one in due.keys() | had.keys():
        words, root_id, version = say(one)
        if had[one] < due[one]:
            yield Difference(LOST, f"{book}: {words} is missing, {other} has it", root_id, version)
        elif had[one] > due[one]:
            which = "twice" if due[one] else f"there, and {other} does not have it"
            yield Difference(DOUBLED, f"{book}: {words} is {which}", root_id, version)


# -- journal and tables ------------------------------------------------------------------------------------------------


def _journal_and_answers(pages: Pages, books: Books) -> Iterator[Difference]:
    """Each accepted write has its stored answer, and each stored answer its line in the journal."""
    unknown = {line["id"] for line in pages.unknown}
    at = {write.id: (write.root_id, write.version) for write in pages.accepted}

    def say(one: tuple[str, str, str]) -> tuple[str, str, int]:
        return f"the answer to {one[1]} {one[2]} of {one[0]}", *at.get(one[2], ("", 0))

    wanted = [(write.account, write.rpc, write.id) for write in pages.accepted]
    there = [reply for reply in books.replies if reply[2] not in unknown]
    yield from _compare(wanted, there, "tables", "the journal", say)


def _journal_and_versions(pages: Pages, books: Books) -> Iterator[Difference]:
    """Each accepted write made the version that its client was shown, and raised its aggregate once; nothing else did but what happens by itself."""
    unknown = Counter((line["root_id"], line["rpc"]) for line in pages.unknown)
    versions = {
        (service, one.row, one.row_id, one.version): one.action
        for service, stored in books.stored.items()
        for one in stored
    }
    for write in pages.accepted:
        made = versions.get((write.service, write.row, write.row_id, write.version))
        if made != write.rpc:
            what = f"tables: version {write.version} of {write.row} {write.row_id}"
            said = f"was made by {made}, the journal says {write.rpc}" if made else "is missing, the journal has it"
            yield Difference(DIFFERS if made else LOST, f"{what} {said} {write.id}", write.root_id, write.version)
    raised = [
        (one.row_id, one.action)
        for stored in books.stored.values()
        for one in stored
        if one.row in ("case_file", "report") and one.action.startswith("/hetao.")
    ]
    asked = [(write.root_id, write.rpc) for write in pages.accepted]
    for key, count in unknown.items():  # it may have been done or not
        raised += [key] * max(0, min(count, Counter(asked)[key] - Counter(raised)[key]))
        asked += [key] * max(0, min(count, Counter(raised)[key] - Counter(asked)[key]))
    yield from _compare(
        asked, raised, "tables", "the journal", lambda one: (f"a change of {one[0]} by {one[1]}", one[0], 0)
    )


def _rows(books: Books) -> Iterator[Difference]:
    """Every row is there at its newest version, and its versions have no gaps."""
    for service, stored in books.stored.items():
        versions: dict[tuple[str, str], list[int]] = defaultdict(list)
        for one in stored:
            versions[one.row, one.row_id].append(one.version)
        for (row, row_id), made in versions.items():
            present = books.present[service, row].get(row_id)
            if sorted(made) != list(range(1, len(made) + 1)):
                yield Difference(DIFFERS, f"tables: the versions of {row} {row_id} have gaps: {sorted(made)}", row_id)
            if present is None:
                yield Difference(LOST, f"tables: {row} {row_id} is gone, the audit has it", row_id, max(made))
            elif present != max(made):
                what = f"tables: {row} {row_id} stands at version {present}, the audit at {max(made)}"
                yield Difference(LOST if present < max(made) else DOUBLED, what, row_id, max(made))
        for (of, row), there in books.present.items():
            if of == service:
                for row_id in there.keys() - {row_id for name, row_id in versions if name == row}:
                    yield Difference(DOUBLED, f"tables: {row} {row_id} is there, the audit does not have it", row_id)


# -- tables and log ----------------------------------------------------------------------------------------------------

#: What says the state of which rows: event → (service, table, its id's name).
STATES: dict[type[Any], tuple[str, str, str]] = {
    cases_pb.CaseChanged: ("cases", "case_file", "case_id"),
    grid_pb.ReportChanged: ("grid", "report", "report_id"),
    grid_pb.DepartmentChanged: ("grid", "department", "department_id"),
    grid_pb.PostChanged: ("grid", "post", "post_id"),
    grid_pb.StaffChanged: ("grid", "staff", "staff_id"),
}


def _of(books: Books, kind: type[Any]) -> list[Any]:
    name = kind.DESCRIPTOR.full_name
    return [said.message for said in books.said if said.type == name]


def _states_said(books: Books) -> Iterator[Difference]:
    """Each version of what says its state was said once, and in its order."""
    for kind, (service, table, name) in STATES.items():
        said = [(getattr(message, name), message.version) for message in _of(books, kind)]
        stored = [(one.row_id, one.version) for one in books.stored[service] if one.row == table]
        if table in ("case_file", "report"):
            yield from _compare(
                stored, said, "log", "tables", lambda one: (f"version {one[1]} of {one[0]}", one[0], one[1])
            )
        else:  # those say their newest state, which may be of several versions at once
            for row_id, version in dict(sorted(stored)).items():
                if (row_id, version) not in set(said):
                    yield Difference(LOST, f"log: version {version} of {table} {row_id} is missing, tables have it")
        order: dict[str, list[int]] = defaultdict(list)
        for row_id, version in said:
            order[row_id].append(version)
        for row_id, versions in order.items():
            if versions != sorted(versions):
                yield Difference(ORDER, f"log: versions of {table} {row_id} come as {versions}", row_id, versions[-1])


def _handovers_said(books: Books) -> Iterator[Difference]:
    """Each hand-over to a centre was said once, and each answer."""
    rows = {row["id"]: row["report_id"] for row in books.handovers if row["target"] == "centre"}
    said = [message.handover_id for message in _of(books, grid_pb.ReportHandedOver)]
    yield from _compare(rows, said, "log", "tables", lambda one: (f"hand-over {one}", rows.get(one, ""), 0))
    answered = {
        row["handover_id"]: row["id"] for row in books.cases if row["handover_id"] and row["state"] != "registered"
    }
    said = [message.handover_id for message in _of(books, cases_pb.HandoverAnswered)]
    yield from _compare(
        answered, said, "log", "tables", lambda one: (f"the answer to hand-over {one}", answered.get(one, ""), 0)
    )


#: Steps of a case's timeline, and the notice that goes with each.
CASE_NOTICES = {
    "dispatch": "cases.dispatched",
    "send back": "cases.rework",
    "submit result": "cases.result_submitted",
    "hand over": "cases.registered",
    "reopen": "cases.reopened",
    "to reopen": "cases.to_reopen",
    "to explain": "cases.to_explain",
    "performance due": "cases.performance_due",
    "acceptance remind": "cases.acceptance_reminder",
    "acceptance overdue": "cases.acceptance_overdue",
    "remind": "cases.case_reminder",
    "overdue": "cases.case_overdue",
    "task_reminder": "cases.task_reminder",
    "task_overdue": "cases.task_overdue",
    "task_supervision": "cases.task_supervision",
}

#: Notices of the grid that its tables tell of.
GRID_NOTICES = UNVERIFIED, OVERDUE, OPENED, ENDED = (
    "grid.report-unverified",
    "grid.handover-overdue",
    "grid.case-opened",
    "grid.report-closed",
)

#: After this somebody is reminded of a report that nobody has verified (data/rules, grid.report.verify).
VERIFY_WITHIN = timedelta(hours=24)


def _notices_said(books: Books) -> Iterator[Difference]:
    """Who should be told something was said once for each reason to."""
    wanted: Counter[tuple[str, str]] = Counter()
    for (case_id, what), count in books.steps.items():
        if what in CASE_NOTICES:
            wanted[CASE_NOTICES[what], f"cases/{case_id}"] += count
    timers = {(row["kind"], row["key"]) for row in books.timers}
    for row in books.reports:
        if row["state"] == "submitted" and ("grid.verify", row["id"]) not in timers:
            wanted[UNVERIFIED, f"reports/{row['id']}"] += 1
    for row in books.handovers:
        subject = f"reports/{row['report_id']}"
        if row["overdue"] and row["target"] == "centre":
            wanted[OVERDUE, subject] += 1
        if row["state"] == "accepted" and row["target"] == "centre":
            wanted[OPENED, subject] += 1
            wanted[ENDED, subject] += row["case_state"] == "closed"
    said: Counter[tuple[str, str]] = Counter()
    intents: Counter[str] = Counter()
    for message in _of(books, notice_pb2.NoticeRequested):
        intents[message.intent_id] += 1
        if intents[message.intent_id] == 1:
            said[message.template, message.subject] += 1
        else:
            yield Difference(
                DOUBLED, f"log: {message.template} about {message.subject} was said twice", _id(message.subject)
            )
    for row in books.reports:  # who verified it late may have been reminded, or was faster than a clock that was dead
        key = UNVERIFIED, f"reports/{row['id']}"
        if row["verified_at"] and row["verified_at"] - row["received_at"] >= VERIFY_WITHIN:
            wanted[key] += said[key] == 1
    known = {*GRID_NOTICES, *CASE_NOTICES.values()}
    there = Counter({key: count for key, count in said.items() if key[0] in known})
    yield from _compare(
        wanted.elements(),
        there.elements(),
        "log",
        "tables",
        lambda one: (f"the notice {one[0]} about {one[1]}", _id(one[1]), 0),
    )


def _id(subject: str) -> str:
    return subject.partition("/")[2]


# -- log and effects ---------------------------------------------------------------------------------------------------


def _event(handler: str, keys: dict[UUID, str]) -> Callable[[UUID], tuple[str, str, int]]:
    return lambda event: (f"{handler} of event {event}", keys.get(event, ""), 0)


def _reactions(books: Books) -> Iterator[Difference]:
    """Each event was heard once by everybody who reacts to it, and what came of it is there."""
    for handler, (topics, message) in REACTIONS.items():
        name = message.DESCRIPTOR.full_name
        keys = {said.event_id: said.key for said in books.said if said.type == name and said.topic in topics}
        heard = [event for by, event in books.inbox if by == handler]
        yield from _compare(keys, heard, "effects", "the log", _event(handler, keys))
    for handler in sorted({by for by, _ in books.inbox} - REACTIONS.keys()):
        yield Difference(DIFFERS, f"effects: nobody audits what {handler} hears")
    handed = {message.handover_id: message.report_id for message in _of(books, grid_pb.ReportHandedOver)}
    cases = [row["handover_id"] for row in books.cases if row["handover_id"]]
    yield from _compare(
        handed, cases, "effects", "the log", lambda one: (f"the case of hand-over {one}", handed.get(one, ""), 0)
    )
    answers = {message.handover_id: message for message in _of(books, cases_pb.HandoverAnswered)}
    for row in books.handovers:
        answer = answers.get(row["id"])
        if answer is not None and row["state"] == "offered":
            yield Difference(
                LOST, f"effects: hand-over {row['id']} waits for an answer, which the log has", row["report_id"]
            )
    asked = {UUID(message.intent_id): _id(message.subject) for message in _of(books, notice_pb2.NoticeRequested)}
    yield from _compare(
        asked, books.notices, "effects", "the log", lambda one: (f"the notice {one}", asked.get(one, ""), 0)
    )
    for intent in asked:
        if intent in books.notices and not books.told.get(intent):
            yield Difference(LOST, f"effects: nobody was told the notice {intent}", asked[intent])


def _projections(books: Books) -> Iterator[Difference]:
    """Every read model has the newest that the log says of each id."""
    newest = _newest(books, cases_pb.CaseChanged, "case_id")
    facts = {str(row["case_id"]): (row["epoch"], row["version"]) for row in books.facts}
    said = {case_id: (message.epoch, message.version) for case_id, message in newest.items()}
    yield from _stands(said, facts, "cases.case_fact")
    handed = {message.handover_id: message for message in newest.values() if message.handover_id}
    for row in books.handovers:
        message = handed.get(row["id"])
        if message is not None:
            state = text_of(cases_types.CaseState, message.state)
            wanted = (message.epoch, message.version, state)
            if (row["case_epoch"], row["case_version"], row["case_state"]) != wanted:
                what = f"effects: grid.handover {row['id']} has {row['case_version']} {row['case_state']} of its case, the log {wanted[1:]}"
                yield Difference(LOST, what, row["report_id"])
    for kind, table in (
        (grid_pb.DepartmentChanged, "department"),
        (grid_pb.PostChanged, "post"),
        (grid_pb.StaffChanged, "staff"),
    ):
        newest = _newest(books, kind, f"{table}_id")
        stand = {one: (message.epoch, message.version) for one, message in newest.items()}
        for (service, name), rows in books.directory.items():
            if name == table:
                yield from _stands(stand, rows, f"{service}.{table}")


def _newest(books: Books, kind: type[Any], name: str) -> dict[str, Any]:
    """What was said last of each id, by epoch and version."""
    newest: dict[str, Any] = {}
    for said in (*books.said, *books.restated):
        if said.type == kind.DESCRIPTOR.full_name:
            message, one = said.message, getattr(said.message, name)
            if one not in newest or (newest[one].epoch, newest[one].version) <= (message.epoch, message.version):
                newest[one] = message
    return newest


def _stands(wanted: dict[str, tuple[int, int]], there: dict[str, tuple[int, int]], model: str) -> Iterator[Difference]:
    for one in wanted.keys() | there.keys():
        if wanted.get(one) != there.get(one):
            kind = LOST if one in wanted else DOUBLED
            version = wanted.get(one, (0, 0))[1]
            yield Difference(
                kind, f"effects: {model} has {there.get(one)} of {one}, the log {wanted.get(one)}", one, version
            )


def _figures(books: Books) -> Iterator[Difference]:
    """The sums are those of the facts."""
    for cell in books.sums.keys() | books.figures.keys():
        if books.sums[cell] != books.figures[cell]:
            kind = LOST if books.figures[cell] < books.sums[cell] else DOUBLED
            yield Difference(
                kind,
                f"effects: the figure {'/'.join(cell)} is {books.figures[cell]}, its facts add up to {books.sums[cell]}",
            )


# -- timers ------------------------------------------------------------------------------------------------------------

#: States of a task in which its clock runs.
TASK_RUNS = states.OPEN


def _clocks(books: Books) -> Iterator[Difference]:
    """Whose limit is over has told of it; whose limit is not has a timer. That each is told once, the notices say."""
    timers = {(row["kind"], row["key"]): row for row in books.timers}
    running = [("cases.case", row, row["id"]) for row in books.cases if row["state"] in states.RUNNING]
    running += [
        ("cases.task", row, row["case_id"]) for row in books.tasks if row["state"] in TASK_RUNS and not row["desk"]
    ]
    for kind, row, root_id in running:
        told = row["told"]
        if row["due_at"] <= books.now and told < SUPERIOR:
            yield Difference(LOST, f"effects: the limit of {kind} {row['id']} is over, and told was {told}", root_id)
        elif told < SUPERIOR and (kind, row["id"]) not in timers:
            yield Difference(LOST, f"effects: {kind} {row['id']} has no timer", root_id)
    for row in books.timers:
        if row["parked_at"] is not None:
            yield Difference(DIFFERS, f"effects: the timer {row['kind']} {row['key']} is parked: {row['error']}")
        elif row["due"] <= books.now:
            yield Difference(LOST, f"effects: the timer {row['kind']} {row['key']} was due and has not fired")
