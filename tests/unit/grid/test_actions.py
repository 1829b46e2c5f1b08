"""What a report says may be done with it is true, for everybody who sees it, in every state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from google.protobuf.message import Message
from grpc.aio import AioRpcError

from hetao.grid.v1 import report_pb2, types_pb2
from kit.actions import Action
from kit.rpc.methods import writes
from services.gateway import contracts
from services.grid.service.actions import ON_REPORT
from tests.contract.samples import sample
from tests.unit.grid.conftest import GRID, NEIGHBOUR, VILLAGE_GRID, Territory
from tests.world import Refusal

PEOPLE = (
    *("grid-worker", "grid-worker-2", "building-head", "community-secretary", "dispatcher"),
    *("township-leader", "county-leader", "county-leader-2", "window-clerk"),
)


async def reported(territory: Territory) -> report_pb2.Report:
    return await territory.report("building-head")


async def verified(territory: Territory) -> report_pb2.Report:
    made = await territory.report("building-head")
    return await territory.step("VerifyReport", made)  # type: ignore[no-any-return]


async def in_hand(territory: Territory) -> report_pb2.Report:
    return await territory.step("HandleReport", await verified(territory))  # type: ignore[no-any-return]


async def solved(territory: Territory) -> report_pb2.Report:
    made = await in_hand(territory)
    return await territory.step("SolveReport", made, result="已清理", photos=await territory.both_photos())  # type: ignore[no-any-return]


async def invalid(territory: Territory) -> report_pb2.Report:
    return await territory.step("InvalidateReport", await reported(territory), reason="查无此事")  # type: ignore[no-any-return]


async def merged(territory: Territory) -> report_pb2.Report:
    main = await territory.report("grid-worker", title="同一问题")
    return await territory.step("MergeReport", await reported(territory), into=main.report_id)  # type: ignore[no-any-return]


async def offered(territory: Territory) -> report_pb2.Report:
    return await territory.hand_over(await verified(territory), "grid", grid_code=VILLAGE_GRID)


async def at_emergency(territory: Territory) -> report_pb2.Report:
    return await territory.hand_over(await verified(territory), "emergency", emergency_number="119")


async def taken_over(territory: Territory) -> report_pb2.Report:
    return await territory.step("AcceptHandover", await offered(territory), "grid-worker-2")  # type: ignore[no-any-return]


async def closed(territory: Territory) -> report_pb2.Report:
    return await territory.step("CloseReport", await invalid(territory), "building-head")  # type: ignore[no-any-return]


STAGES: dict[str, Callable[[Territory], Awaitable[report_pb2.Report]]] = {
    "submitted": reported,
    "verified": verified,
    "in hand": in_hand,
    "solved": solved,
    "invalid": invalid,
    "merged": merged,
    "offered": offered,
    "at an emergency number": at_emergency,
    "taken over": taken_over,
    "closed": closed,
}


async def request_for(territory: Territory, line: Action[Any], report: report_pb2.Report, main: str) -> Message:
    given = {
        "report_id": report.report_id,
        "into": main,
        "target": types_pb2.HANDOVER_TARGET_GRID,
        "grid_code": NEIGHBOUR,
        "reason": types_pb2.HANDOVER_REASON_BEYOND_ABILITY if line.name == "handOver" else "不在我网格",
        "result": "已办妥",
    }
    made: Any = sample(line.method, given)
    for name in ("etag", "request_id"):
        if name in made.DESCRIPTOR.fields_by_name:
            made.ClearField(name)
    if "photos" in made.DESCRIPTOR.fields_by_name:
        made.ClearField("photos")
        made.photos.extend(await territory.both_photos())
    return made  # type: ignore[no-any-return]


async def said(territory: Territory, line: Action[Any], request: Message, account: str) -> str:
    try:
        await getattr(territory.reports(account), line.method.name)(request)
    except AioRpcError as error:
        return Refusal(error).reason
    return ""


@pytest.mark.parametrize("stage", STAGES)
async def test_what_is_listed_is_what_happens(territory: Territory, stage: str) -> None:
    report = await territory.read(await STAGES[stage](territory), "building-head")
    moved = report.county == "150826"
    by, grid_code = ("grid-worker-2", VILLAGE_GRID) if moved else ("grid-worker", GRID)
    main = (await territory.report(by, title="另一问题", place="别处", grid_code=grid_code)).report_id
    wrong: list[str] = []
    allowed: list[tuple[str, Action[Any]]] = []
    for account in PEOPLE:
        try:
            shown = await territory.read(report, account)
        except AioRpcError:
            continue
        listed = {one.name: one for one in shown.allowed_actions}
        for line in ON_REPORT:
            told = listed.get(line.name)
            if told is not None and told.allowed:
                allowed.append((account, line))
                continue
            heard = await said(territory, line, await request_for(territory, line, report, main), account)
            if told is None and not heard:
                wrong.append(f"{account} is not told of {line.name}, and could")
            elif told is not None and (heard != told.reason or not told.sentence.zh or not told.sentence.en):
                wrong.append(f"{account} is told that {line.name} is {told.reason}, and it is {heard or 'done'}")
    assert (await territory.read(report, "building-head")).etag == report.etag, "a refusal changed something"
    for n, (account, line) in enumerate(allowed):
        fresh = await STAGES[stage](_Elsewhere(territory, n))
        if heard := await said(territory, line, await request_for(territory, line, fresh, main), account):
            wrong.append(f"{account} is told to go on with {line.name}, and it is {heard}")
    assert not wrong, "\n".join(wrong)


class _Elsewhere(Territory):
    """Reports at a place of their own each: those of one place are one."""

    def __init__(self, territory: Territory, n: int):
        self.__dict__ = dict(territory.__dict__)
        self._place = f"{n} 号楼"

    async def report(self, by: str = "grid-worker", **more: Any) -> report_pb2.Report:
        return await super().report(by, **{"place": self._place, **more})


def test_the_table_misses_no_rpc() -> None:
    listed = {line.method.full_name for line in ON_REPORT}
    (service,) = (one for one in contracts.services() if one.name == "ReportService")
    assert {m.full_name for m in service.methods if writes(m)} - listed == {"hetao.grid.v1.ReportService.CreateReport"}


async def test_lists_say_nothing_of_it(territory: Territory) -> None:
    report = await territory.report()
    assert report.allowed_actions
    (listed,) = (await territory.reports().ListReports(sample(_list_method(), {}))).reports
    assert not listed.allowed_actions


def _list_method() -> Any:
    (service,) = (one for one in contracts.services() if one.name == "ReportService")
    return service.methods_by_name["ListReports"]
