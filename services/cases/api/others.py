"""TaskService, CentreService, CaseProgressService, CaseStatisticsService."""

from __future__ import annotations

from uuid import UUID

from hetao.cases.v1 import centres_pb2, progress_pb2, statistics_pb2, tasks_pb2, types_pb2
from hetao.common.v1 import common_pb2
from kit.errors import InvalidArgument
from kit.paging import Page
from kit.proto import given_day, number_of, stamp, text_of
from kit.unit import Unit
from services.cases.api import convert
from services.cases.model import Centre
from services.cases.service import Cases


class TaskApi:
    def __init__(self, service: Cases):
        self.service, self.chain = service, service.chain

    async def ListTasks(self, request: tasks_pb2.ListTasksRequest, unit: Unit) -> tasks_pb2.ListTasksResponse:
        rows, token = await self.service.reading.tasks(unit, request, text_of(types_pb2.TaskState, request.state))
        return tasks_pb2.ListTasksResponse(
            tasks=[convert.task(self.chain, *row) for row in rows], next_page_token=token
        )

    async def SignInTask(self, request: tasks_pb2.SignInTaskRequest, unit: Unit) -> tasks_pb2.SignInTaskResponse:
        ids = UUID(request.case_id), UUID(request.task_id)
        task = await self.service.handling.sign_in(unit, *ids, request.etag)
        return tasks_pb2.SignInTaskResponse(task=convert.task(self.chain, *self.service.reading.opened(unit, task)))

    async def StartTask(self, request: tasks_pb2.StartTaskRequest, unit: Unit) -> tasks_pb2.StartTaskResponse:
        ids = UUID(request.case_id), UUID(request.task_id)
        task = await self.service.handling.start(unit, *ids, request.etag)
        return tasks_pb2.StartTaskResponse(task=convert.task(self.chain, *self.service.reading.opened(unit, task)))

    async def SubmitTaskResult(
        self, request: tasks_pb2.SubmitTaskResultRequest, unit: Unit
    ) -> tasks_pb2.SubmitTaskResultResponse:
        ids = UUID(request.case_id), UUID(request.task_id)
        task = await self.service.handling.submit(unit, *ids, request.result, request.media_ids, request.etag)
        return tasks_pb2.SubmitTaskResultResponse(
            task=convert.task(self.chain, *self.service.reading.opened(unit, task))
        )


class CentreApi:
    def __init__(self, service: Cases):
        self.service, self.chain = service, service.chain

    async def ListCentres(self, request: centres_pb2.ListCentresRequest, unit: Unit) -> centres_pb2.ListCentresResponse:
        page = Page.of(unit, request)
        (after,) = page.after or ("",)
        centres = sorted((await self.chain.centres(unit)).values(), key=lambda centre: centre.division)
        wanted = [one for one in centres if one.division > after and one.division.startswith(request.division)]
        rows, token = page.cut(wanted[: page.limit], key=lambda centre: (centre.division,))
        return centres_pb2.ListCentresResponse(centres=[self._centre(unit, row) for row in rows], next_page_token=token)

    async def LocateCentre(
        self, request: centres_pb2.LocateCentreRequest, unit: Unit
    ) -> centres_pb2.LocateCentreResponse:
        centre = await self.chain.centre_for(unit, request.division)
        if centre is None:
            raise InvalidArgument("DIVISION_UNKNOWN", field="division", division=request.division)
        return centres_pb2.LocateCentreResponse(centre=self._centre(unit, centre))

    def _centre(self, unit: Unit, centre: Centre) -> centres_pb2.Centre:
        desks = [desk for desk in self.chain.words.desks.on(unit.today) if centre.level in desk.levels]
        return centres_pb2.Centre(
            centre=centre.id,
            name=centre.name,
            level=number_of(types_pb2.CentreLevel, centre.level),
            division=centre.division,
            superior=centre.superior,
            desks=[
                centres_pb2.Desk(desk=desk.code, name=desk.zh, mode=number_of(types_pb2.DeskMode, desk.mode))
                for desk in desks
            ],
        )


class ProgressApi:
    def __init__(self, service: Cases):
        self.service = service

    async def LookupCaseProgress(
        self, request: progress_pb2.LookupCaseProgressRequest, unit: Unit
    ) -> progress_pb2.LookupCaseProgressResponse:
        seen = await self.service.progress.look_up(unit, request.code, request.pin)
        case = seen.case
        zh, en = seen.stage
        return progress_pb2.LookupCaseProgressResponse(
            code=case.code,
            kind=number_of(types_pb2.Kind, case.kind),
            state=number_of(types_pb2.CaseState, case.state),
            stage=common_pb2.Text(zh=zh, en=en),
            role=number_of(types_pb2.PartyRole, seen.party.role),
            name=seen.name,
            centre_name=seen.centre_name,
            departments=seen.departments,
            registered_at=stamp(case.registered_at),
            accepted_at=stamp(case.accepted_at),
            due_at=stamp(case.due_at) if case.running and case.accepted_at else None,
            concluded_at=stamp(case.concluded_at),
            outcome=number_of(types_pb2.Outcome, case.outcome),
            channel=case.channel,
            steps=[
                progress_pb2.ProgressStep(at=stamp(at), sentence=common_pb2.Text(zh=zh, en=en))
                for at, zh, en in seen.steps
            ],
        )


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
