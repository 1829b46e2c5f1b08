"""TaskService."""

from __future__ import annotations

from uuid import UUID

from hetao.cases.v1 import tasks_pb2, types_pb2
from kit.proto import text_of
from kit.unit import Unit
from services.cases.api import convert
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
