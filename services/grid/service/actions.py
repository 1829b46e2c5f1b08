"""What a caller may do with a report: one line per RPC, by what its use case asks itself. A new RPC on a report is a line here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hetao.grid.v1 import reports_pb2
from kit.actions import Action, methods
from services.grid.model.reports import MOVES, Handover, Report


@dataclass(frozen=True, slots=True)
class Seen:
    """A report as one account sees it. `responsible`: as `Reports.check_responsible` asks; `receiver`: its last hand-over was to the account's grid or
    community."""

    report: Report
    handover: Handover | None
    account: str
    responsible: bool
    receiver: bool


def responsible(seen: Seen) -> bool:
    return seen.responsible


def receiver(seen: Seen) -> bool:
    return seen.receiver


def concerned(seen: Seen) -> bool:
    return seen.responsible or seen.report.reporter == seen.account


def _closing(seen: Seen) -> None:
    seen.report.check_close(seen.account, seen.handover, seen.responsible)


REPORTS = methods(reports_pb2.DESCRIPTOR.services_by_name["ReportService"])

ON_REPORT: Sequence[Action[Seen]] = (
    Action(REPORTS["VerifyReport"], MOVES, "verify", whose=responsible),
    Action(REPORTS["HandleReport"], MOVES, "handle", whose=responsible),
    Action(REPORTS["SolveReport"], MOVES, "solve", "handle", whose=responsible),
    Action(REPORTS["InvalidateReport"], MOVES, "invalidate", whose=responsible),
    Action(REPORTS["MergeReport"], MOVES, "merge", whose=responsible),
    Action(REPORTS["HandOverReport"], MOVES, "hand over", "handle", whose=responsible),
    Action(REPORTS["AcceptHandover"], whose=receiver, guard=lambda seen: seen.report.check_offered(seen.handover)),
    Action(REPORTS["RefuseHandover"], whose=receiver, guard=lambda seen: seen.report.check_offered(seen.handover)),
    Action(REPORTS["AddReportPhotos"], whose=concerned, guard=lambda seen: seen.report.check_open()),
    Action(REPORTS["CloseReport"], MOVES, "close", whose=concerned, guard=_closing),
)
