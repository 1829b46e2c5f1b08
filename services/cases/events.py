"""What it hears: hand-overs and departments of the grid, and its own cases for the figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from uuid import UUID

import orjson
from google.protobuf.timestamp_pb2 import Timestamp

from hetao.cases.v1 import events_pb2, types_pb2
from hetao.grid.v1 import events_pb2 as grid_pb
from hetao.grid.v1 import types_pb2 as grid_types
from kit.clock import business_date
from kit.events import Handler, hears, projects
from kit.proto import moment, text_of
from kit.unit import Unit
from services.cases.model import Classification
from services.cases.service import Cases
from services.cases.service.newcase import Handover, NewCase
from services.cases.store import directory, figures
from services.cases.store.cases import Step
from services.cases.store.directory import Colleague, Department
from services.cases.store.figures import Fact

#: What a problem in a grid is at a centre; everything else is somebody's request.
KINDS = {
    grid_types.REPORT_KIND_DISPUTE: "dispute",
    grid_types.REPORT_KIND_HAZARD: "hazard",
    grid_types.REPORT_KIND_SECURITY: "security_clue",
}


def handlers(service: Cases) -> Sequence[Handler]:
    @hears(grid_pb.ReportHandedOver)
    async def take_over(unit: Unit, event: grid_pb.ReportHandedOver) -> None:
        """A report becomes a case at the centre it was handed to, with its content, photos and history."""
        handover_id = UUID(event.handover_id)
        content = orjson.loads(unit.open("handover.content", handover_id, event.content))
        note = content.get("note", "")
        kind = KINDS.get(event.kind, "request")
        known = service.chain.words.categories.find(event.category, unit.today)
        await service.intake.from_handover(
            unit,
            NewCase(
                kind=kind,
                source="grid",
                division=event.division,
                title=content["title"],
                description="\n".join(part for part in (content.get("description", ""), note) if part),
                place=content.get("place", ""),
                occurred_at=moment(event.occurred_at) if event.HasField("occurred_at") else None,
                media_ids=[photo.media_id for photo in event.photos],
                classification=Classification(category=event.category)
                if known and kind == "dispute"
                else Classification(),
            ),
            Handover(
                id=handover_id,
                report_id=UUID(event.report_id),
                centre=event.centre,
                reporter=event.reporter,
                history=[
                    Step("grid", {"zh": one.sentence.zh, "en": one.sentence.en}, at=moment(one.at), actor=one.account)
                    for one in event.history
                ],
            ),
        )

    @projects(grid_pb.DepartmentChanged)
    async def keep_department(unit: Unit, event: grid_pb.DepartmentChanged) -> None:
        department = Department(event.department_id, event.name, event.name_en, event.division)
        await directory.keep_department(unit, department, event.active, event.epoch, event.version)

    @projects(grid_pb.StaffChanged)
    async def keep_staff(unit: Unit, event: grid_pb.StaffChanged) -> None:
        who = Colleague(UUID(event.staff_id), event.account, event.department_id, event.active)
        await directory.keep_colleague(unit, who, event.epoch, event.version)

    @projects(grid_pb.PostChanged)
    async def keep_holder(unit: Unit, event: grid_pb.PostChanged) -> None:
        who = Colleague(UUID(event.post_id), event.holder, event.department_id, event.active and bool(event.holder))
        await directory.keep_colleague(unit, who, event.epoch, event.version)

    @projects(events_pb2.CaseChanged)
    async def keep_figures(unit: Unit, event: events_pb2.CaseChanged) -> None:
        accepted, resolved = _day(event, "accepted_at"), _day(event, "resolved_at")
        figures.keep(
            unit,
            Fact(
                case_id=UUID(event.case_id),
                epoch=event.epoch,
                version=event.version,
                kind=text_of(types_pb2.Kind, event.kind),
                category=event.category,
                county=event.county,
                township=event.township,
                accepted_on=accepted,
                concluded_on=_day(event, "concluded_at") if event.counts_concluded else None,
                resolved_on=resolved if event.counts_resolved else None,
                reopened=event.reopened_count > 0,
                overdue=event.HasField("overdue_since"),
            ),
        )

    return [take_over, keep_department, keep_staff, keep_holder, keep_figures]


def _day(event: events_pb2.CaseChanged, field: str) -> date | None:
    """The calendar day of a moment of the case, where the work is done."""
    value: Timestamp = getattr(event, field)
    return business_date(moment(value)) if event.HasField(field) else None  # type: ignore[arg-type]
