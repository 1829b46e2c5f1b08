"""People of 泰欧社区 and 柴脑包村 at work, in few words. Every method is one RPC by the person whose work it is."""

from __future__ import annotations

from io import BytesIO
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import pytest
from google.protobuf.message import Message
from PIL import Image

from hetao.common.v1 import notice_pb2
from hetao.grid.v1 import (
    departments_pb2_grpc,
    divisions_pb2_grpc,
    grids_pb2_grpc,
    posts_pb2_grpc,
    report_pb2,
    report_steps_pb2,
    reports_pb2,
    reports_pb2_grpc,
    staff_pb2_grpc,
    types_pb2,
)
from kit.blobs import Blobs
from tests.world import World

GRID, NEIGHBOUR, VILLAGE_GRID = "150802013006001", "150802013006002", "150826108203001"


def department(code: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"hetao:department:{code}"))


class Territory:
    def __init__(self, world: World):
        self.world = world
        settings = world.platform.settings
        self.blobs = Blobs.open(settings.media_url, pixel_limit=settings.media.pixel_limit)

    # -- who works ----------------------------------------------------------------------------------------------------

    def divisions(self, account: str = "grid-worker") -> Any:
        return self.world.stub(divisions_pb2_grpc.DivisionServiceStub, "grid", account)

    def departments(self, account: str = "admin") -> Any:
        return self.world.stub(departments_pb2_grpc.DepartmentServiceStub, "grid", account)

    def posts(self, account: str = "admin") -> Any:
        return self.world.stub(posts_pb2_grpc.PostServiceStub, "grid", account)

    def staff(self, account: str = "admin") -> Any:
        return self.world.stub(staff_pb2_grpc.StaffServiceStub, "grid", account)

    def grids(self, account: str = "admin") -> Any:
        return self.world.stub(grids_pb2_grpc.GridServiceStub, "grid", account)

    def reports(self, account: str = "grid-worker") -> Any:
        return self.world.stub(reports_pb2_grpc.ReportServiceStub, "grid", account)

    # -- what they do -------------------------------------------------------------------------------------------------

    async def photo(self, colour: str = "grey") -> str:
        """An uploaded photo's id."""
        picture = BytesIO()
        Image.new("RGB", (8, 8), colour).save(picture, "JPEG")
        return (await self.blobs.ingest_photo(picture.getvalue())).id

    async def both_photos(self) -> list[report_pb2.ReportPhoto]:
        return [
            report_pb2.ReportPhoto(media_id=await self.photo("grey"), phase=types_pb2.PHOTO_PHASE_BEFORE),
            report_pb2.ReportPhoto(media_id=await self.photo("green"), phase=types_pb2.PHOTO_PHASE_AFTER),
        ]

    async def report(self, by: str = "grid-worker", **more: Any) -> report_pb2.Report:
        values = {
            "kind": types_pb2.REPORT_KIND_SANITATION,
            "title": "楼道堆放杂物",
            "description": "二单元楼道堆满纸箱",
            "place": "泰欧花园 2 号楼 2 单元",
        }
        if not more.keys() & {"grid_code", "community", "point"}:
            values |= {"grid_code": GRID}
        request = reports_pb2.CreateReportRequest(**(values | more))
        report: report_pb2.Report = (await self.reports(by).CreateReport(request)).report
        return report

    async def verified(self, by: str = "grid-worker", **more: Any) -> report_pb2.Report:
        made = await self.report(by, **more)
        return await self.step("VerifyReport", made, by)

    async def step(self, name: str, report: report_pb2.Report, by: str = "grid-worker", **more: Any) -> Any:
        """`step("VerifyReport", report)`: the report after it."""
        request = getattr(report_steps_pb2, f"{name}Request")(report_id=report.report_id, **more)
        return (await getattr(self.reports(by), name)(request)).report

    async def hand_over(
        self, report: report_pb2.Report, target: str, by: str = "grid-worker", **more: Any
    ) -> report_pb2.Report:
        more = {"reason": types_pb2.HANDOVER_REASON_BEYOND_ABILITY, "note": "多次劝说无效"} | more
        number = types_pb2.HandoverTarget.Value(f"HANDOVER_TARGET_{target.upper()}")
        handed: report_pb2.Report = await self.step("HandOverReport", report, by, target=number, **more)
        return handed

    async def read(self, report: report_pb2.Report, by: str = "grid-worker") -> report_pb2.Report:
        request = reports_pb2.GetReportRequest(report_id=report.report_id)
        found: report_pb2.Report = (await self.reports(by).GetReport(request)).report
        return found

    async def timeline(self, report: report_pb2.Report, by: str = "grid-worker") -> list[report_pb2.TimelineEntry]:
        request = reports_pb2.ListReportTimelineRequest(report_id=report.report_id)
        return list((await self.reports(by).ListReportTimeline(request)).entries)

    # -- what was told ------------------------------------------------------------------------------------------------

    async def events(self, of: type[Message]) -> list[Any]:
        """Events of a type, in the order in which they were published."""
        await self.world.settle()
        rows = await self.world.platform.log._pool.fetch(  # type: ignore[attr-defined]
            'select value from record where type = $1 order by partition, "offset"', of.DESCRIPTOR.full_name
        )
        return [of.FromString(row["value"]) for row in rows]

    async def notices(self, template: str) -> list[list[str]]:
        """For each notice of a template: its recipients, an account or "department code/post"."""
        names = {
            str(row["id"]): row["code"] for row in await self.world.rows("grid", "select id, code from department")
        }
        return [
            [one.account or f"{names[one.department_id]}/{one.post}" for one in notice.recipients]
            for notice in await self.events(notice_pb2.NoticeRequested)
            if notice.template == template
        ]


@pytest.fixture
def territory(world: World) -> Territory:
    return Territory(world)
