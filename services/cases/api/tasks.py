"""TaskService."""

from __future__ import annotations

from uuid import UUID

from hetao.cases.v1 import case_pb2, objections_pb2, tasks_pb2, types_pb2
from kit.errors import InvalidArgument
from kit.proto import text_of
from kit.unit import Unit
from services.cases.api import convert
from services.cases.model import Assignment, Task
from services.cases.service import Cases
from services.cases.store.cases import Folder


class TaskApi:
    def __init__(self, service: Cases):
        self.service, self.chain = service, service.chain

    async def ListTasks(self, request: tasks_pb2.ListTasksRequest, unit: Unit) -> tasks_pb2.ListTasksResponse:
        rows, token = await self.service.reading.tasks(unit, request, text_of(types_pb2.TaskState, request.state))
        return tasks_pb2.ListTasksResponse(tasks=[convert.task(self.chain, row) for row in rows], next_page_token=token)

    async def SignInTask(self, request: tasks_pb2.SignInTaskRequest, unit: Unit) -> tasks_pb2.SignInTaskResponse:
        ids = UUID(request.case_id), UUID(request.task_id)
        task = await self.service.handling.sign_in(unit, *ids, request.etag)
        return tasks_pb2.SignInTaskResponse(task=await self._task(unit, task))

    async def StartTask(self, request: tasks_pb2.StartTaskRequest, unit: Unit) -> tasks_pb2.StartTaskResponse:
        ids = UUID(request.case_id), UUID(request.task_id)
        task = await self.service.handling.start(unit, *ids, request.etag)
        return tasks_pb2.StartTaskResponse(task=await self._task(unit, task))

    async def SubmitTaskResult(
        self, request: tasks_pb2.SubmitTaskResultRequest, unit: Unit
    ) -> tasks_pb2.SubmitTaskResultResponse:
        ids = UUID(request.case_id), UUID(request.task_id)
        task = await self.service.handling.submit(unit, *ids, request.result, request.media_ids, request.etag)
        return tasks_pb2.SubmitTaskResultResponse(task=await self._task(unit, task))

    # -- what departments say against their tasks ---------------------------------------------------------------------------

    async def ReturnTask(
        self, request: objections_pb2.ReturnTaskRequest, unit: Unit
    ) -> objections_pb2.ReturnTaskResponse:
        ids = UUID(request.case_id), UUID(request.task_id)
        task = await self.service.objections.give_back(unit, *ids, request.ground, request.note, request.etag)
        return objections_pb2.ReturnTaskResponse(task=await self._task(unit, task))

    async def DecideReturn(
        self, request: objections_pb2.DecideReturnRequest, unit: Unit
    ) -> objections_pb2.DecideReturnResponse:
        ids, objections = (UUID(request.case_id), UUID(request.task_id)), self.service.objections
        if request.decision == types_pb2.RETURN_DECISION_UPHELD:
            instead = _instead(request) if request.department_id else None
            found = await objections.uphold(unit, *ids, instead, request.reason, request.etag)
        else:
            if request.department_id:
                raise InvalidArgument("DEPARTMENT_KEEPS_IT", field="department_id")
            found = await objections.overrule(unit, *ids, request.reason, request.etag)
        return objections_pb2.DecideReturnResponse(case=await self._case(unit, found))

    async def DesignateTask(
        self, request: objections_pb2.DesignateTaskRequest, unit: Unit
    ) -> objections_pb2.DesignateTaskResponse:
        ids = UUID(request.case_id), UUID(request.task_id)
        found = await self.service.objections.designate(
            unit, *ids, request.department_id, request.limit_days, request.reason, request.etag
        )
        return objections_pb2.DesignateTaskResponse(case=await self._case(unit, found))

    async def RequestExtension(
        self, request: objections_pb2.RequestExtensionRequest, unit: Unit
    ) -> objections_pb2.RequestExtensionResponse:
        ids = UUID(request.case_id), UUID(request.task_id)
        task = await self.service.objections.ask_extension(
            unit, *ids, request.days, request.reason, request.media_ids, request.etag
        )
        return objections_pb2.RequestExtensionResponse(task=await self._task(unit, task))

    async def DecideExtension(
        self, request: objections_pb2.DecideExtensionRequest, unit: Unit
    ) -> objections_pb2.DecideExtensionResponse:
        ids = UUID(request.case_id), UUID(request.task_id)
        grant = request.decision == types_pb2.EXTENSION_DECISION_GRANTED
        found = await self.service.objections.decide_extension(unit, *ids, grant, request.reason, request.etag)
        return objections_pb2.DecideExtensionResponse(case=await self._case(unit, found))

    # -- the dispatcher's changes of mind -----------------------------------------------------------------------------------

    async def WaiveTask(self, request: objections_pb2.WaiveTaskRequest, unit: Unit) -> objections_pb2.WaiveTaskResponse:
        ids = UUID(request.case_id), UUID(request.task_id)
        found = await self.service.redirecting.waive(unit, *ids, request.reason, request.etag)
        return objections_pb2.WaiveTaskResponse(case=await self._case(unit, found))

    async def ReassignTask(
        self, request: objections_pb2.ReassignTaskRequest, unit: Unit
    ) -> objections_pb2.ReassignTaskResponse:
        ids = UUID(request.case_id), UUID(request.task_id)
        found = await self.service.redirecting.reassign(unit, *ids, _instead(request), request.reason, request.etag)
        return objections_pb2.ReassignTaskResponse(case=await self._case(unit, found))

    async def CancelTask(
        self, request: objections_pb2.CancelTaskRequest, unit: Unit
    ) -> objections_pb2.CancelTaskResponse:
        ids = UUID(request.case_id), UUID(request.task_id)
        found = await self.service.redirecting.cancel(unit, *ids, request.reason, request.etag)
        return objections_pb2.CancelTaskResponse(case=await self._case(unit, found))

    async def _task(self, unit: Unit, task: Task) -> case_pb2.Task:
        return convert.task(self.chain, await self.service.reading.one(unit, task))

    async def _case(self, unit: Unit, found: Folder) -> case_pb2.Case:
        return convert.case(self.chain, await self.service.reading.whole(unit, found))


def _instead(request: objections_pb2.DecideReturnRequest | objections_pb2.ReassignTaskRequest) -> Assignment:
    """The department that is given a task in place of another; whether it leads follows from that."""
    return Assignment(request.department_id, "", False, request.limit_days, request.demand)
