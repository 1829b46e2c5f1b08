"""CaseStatisticsService."""

from __future__ import annotations

from hetao.cases.v1 import statistics_pb2, types_pb2
from kit.proto import given_day, number_of, stamp
from kit.unit import Unit
from services.cases.service import Cases


class StatisticsApi:
    def __init__(self, service: Cases):
        self.service = service

    async def GetCaseStatistics(
        self, request: statistics_pb2.GetCaseStatisticsRequest, unit: Unit
    ) -> statistics_pb2.GetCaseStatisticsResponse:
        first, last = given_day(getattr(request, "from"), "from"), given_day(request.to, "to")
        figures = await self.service.figures.figures(unit, request.division, first, last)
        shown = ("accepted", "resolved", "concluded", "reopened", "overdue")
        response = statistics_pb2.GetCaseStatisticsResponse(
            division=request.division,
            to=request.to,
            resolution_rate=figures.resolution_rate,
            by_kind=[
                statistics_pb2.KindFigures(kind=number_of(types_pb2.Kind, kind), **{name: sums[name] for name in shown})
                for kind, sums in figures.by_kind.items()
            ],
            by_category=[
                statistics_pb2.CategoryFigures(category=category, **{name: sums[name] for name in shown})
                for category, sums in figures.by_category.items()
            ],
            as_of=stamp(unit.now),
            **figures.disputes,
        )
        setattr(response, "from", getattr(request, "from"))
        return response
