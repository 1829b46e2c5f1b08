"""The whole wiring of the service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from hetao.cases.v1 import (
    cases_pb2,
    centres_pb2,
    feed_pb2,
    progress_pb2,
    statistics_pb2,
    supervisions_pb2,
    suspensions_pb2,
    tasks_pb2,
)
from kit.config import DATA
from kit.events import Event
from kit.module import BLOBS, LOG, POSTGRES, REDIS, Module, Parts, Runtime
from kit.reseal import Sealed
from kit.unit import Unit
from services.cases import events, jobs, reference
from services.cases.api.cases import CaseApi
from services.cases.api.centres import CentreApi
from services.cases.api.feed import FeedApi
from services.cases.api.progress import ProgressApi
from services.cases.api.statistics import StatisticsApi
from services.cases.api.supervisions import SupervisionApi
from services.cases.api.suspensions import SuspensionApi
from services.cases.api.tasks import TaskApi
from services.cases.model import CaseFile, Supervision
from services.cases.service import Cases, signals
from services.cases.service.finding import expect_keys
from services.cases.service.progress import GUARD_DAYS
from services.cases.service.telling import case_changed, supervision_changed
from services.cases.store import cases as store
from services.cases.store import directory, supervisions

#: Cases whose state is said again at once, for a rebuild.
SNAPSHOTS = 500


def build(runtime: Runtime) -> Parts:
    service = Cases(runtime)

    async def load_reference(unit: Unit) -> None:
        centres, covers = reference.centres_of(DATA)
        root = runtime.settings.root_division
        covers = {division: centre for division, centre in covers.items() if division.startswith(root)}
        await directory.load_centres(unit, [c for c in centres if c.division.startswith(root)], covers)
        service.chain.centres.forget()
        await expect_keys(unit)

    async def snapshots(unit: Unit, after: UUID | None) -> tuple[Sequence[Event], UUID | None]:
        last = after or UUID(int=0)
        cases = await store.cases_after(unit, last, SNAPSHOTS)
        orders = await supervisions.after(unit, last, SNAPSHOTS)
        both: list[CaseFile | Supervision] = [*cases, *orders]
        rows = sorted(both, key=lambda row: row.id)[:SNAPSHOTS]
        said = [
            case_changed(row, "snapshot", runtime.epoch)
            if isinstance(row, CaseFile)
            else supervision_changed(row, "snapshot", runtime.epoch)
            for row in rows
        ]
        return said, rows[-1].id if len(rows) == SNAPSHOTS else None

    return Parts(
        rpc={
            cases_pb2.DESCRIPTOR.services_by_name["CaseService"]: CaseApi(service),
            tasks_pb2.DESCRIPTOR.services_by_name["TaskService"]: TaskApi(service),
            centres_pb2.DESCRIPTOR.services_by_name["CentreService"]: CentreApi(service),
            feed_pb2.DESCRIPTOR.services_by_name["CaseFeedService"]: FeedApi(service),
            suspensions_pb2.DESCRIPTOR.services_by_name["SuspensionService"]: SuspensionApi(service),
            supervisions_pb2.DESCRIPTOR.services_by_name["SupervisionService"]: SupervisionApi(service),
            progress_pb2.DESCRIPTOR.services_by_name["CaseProgressService"]: ProgressApi(service),
            statistics_pb2.DESCRIPTOR.services_by_name["CaseStatisticsService"]: StatisticsApi(service),
        },
        hears=events.handlers(service),
        timers=jobs.timers(service),
        reference=load_reference,
        snapshots=snapshots,
        readings=signals.readings,
    )


MODULE = Module(
    "cases",
    build,
    calls=[],
    hears=["grid", "cases"],
    engines=[POSTGRES, LOG, REDIS, BLOBS],
    egress=[],
    migrations=Path(__file__).parent / "migrations",
    projections=["department", "colleague", "case_fact", "figure"],
    passing={"lookup_guard": ("last_at", GUARD_DAYS)},
    sealed=[
        Sealed("case_file", "content", "cases.content"),
        Sealed("case_file", "outcome_note", "cases.note"),
        Sealed("external_order", "content", "cases.order"),
        Sealed("case_file", "explanation", "cases.note"),
        Sealed("agreement", "terms", "cases.agreement"),
        Sealed("agreement", "note", "cases.agreement"),
        Sealed("party", "identity", "cases.party"),
        Sealed("step", "note", "cases.note", owner="case_id", key=int),
        Sealed("supplement", "words", "cases.supplement"),
        Sealed("suspension", "note", "cases.note", owner="case_id"),
        Sealed("suspension", "decision_note", "cases.note", owner="case_id"),
        Sealed("supervision", "demand", "cases.supervision"),
        Sealed("supervision", "reply", "cases.supervision"),
        Sealed("task", "demand", "cases.task"),
        Sealed("task", "result", "cases.task"),
        Sealed("task", "ended_note", "cases.task"),
        Sealed("task_return", "note", "cases.note", owner="case_id"),
        Sealed("task_return", "reason", "cases.note", owner="case_id"),
        Sealed("task_extension", "reason", "cases.note", owner="case_id"),
        Sealed("task_extension", "note", "cases.note", owner="case_id"),
    ],
)
