"""CaseFeedService."""

from __future__ import annotations

from hetao.cases.v1 import feed_pb2, types_pb2
from kit.proto import number_of, stamp
from kit.unit import Unit
from services.cases.service import Cases
from services.cases.store.orders import Change


class FeedApi:
    def __init__(self, service: Cases):
        self.service = service

    async def ListCaseChanges(
        self, request: feed_pb2.ListCaseChangesRequest, unit: Unit
    ) -> feed_pb2.ListCaseChangesResponse:
        changes, token, more = await self.service.orders.changes(unit, request)
        return feed_pb2.ListCaseChangesResponse(
            changes=[_change(one) for one in changes], next_page_token=token, more=more
        )


def _change(one: Change) -> feed_pb2.CaseChange:
    case = one.case
    return feed_pb2.CaseChange(
        external_id=case.external_id,
        code=case.code,
        case_id=str(case.id),
        state=number_of(types_pb2.CaseState, case.state),
        registered_at=stamp(case.registered_at),
        accepted_at=stamp(case.accepted_at),
        due_at=stamp(case.due_at) if case.running and case.accepted_at else None,
        concluded_at=stamp(case.concluded_at),
        outcome=number_of(types_pb2.Outcome, case.outcome),
        ground=case.ground,
        transferred_to=case.transferred_to,
        closed_at=stamp(case.closed_at),
        changed_at=stamp(one.changed_at),
    )
