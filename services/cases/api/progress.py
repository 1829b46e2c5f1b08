"""CaseProgressService."""

from __future__ import annotations

from hetao.cases.v1 import progress_pb2, types_pb2
from hetao.common.v1 import common_pb2
from kit.proto import number_of, stamp
from kit.unit import Unit
from services.cases.service import Cases


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
            due_at=stamp(case.due_at) if case.limited and case.accepted_at else None,
            concluded_at=stamp(case.concluded_at),
            outcome=number_of(types_pb2.Outcome, case.outcome),
            channel=case.channel,
            performance=number_of(types_pb2.Performance, case.performance),
            perform_by=case.perform_by.isoformat() if case.perform_by else "",
            steps=[
                progress_pb2.ProgressStep(at=stamp(at), sentence=common_pb2.Text(zh=zh, en=en))
                for at, zh, en in seen.steps
            ],
        )
