"""What the grid hears: how the centres answer its hand-overs, and what becomes of their cases."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from hetao.cases.v1 import events_pb2 as cases_pb
from hetao.cases.v1 import types_pb2 as cases_types
from kit.events import Handler, hears, projects
from kit.proto import text_of
from kit.unit import Unit
from services.grid.service.handover import CaseNews, Handovers, Refusal


def handlers(handovers: Handovers) -> Sequence[Handler]:
    @hears(cases_pb.HandoverAnswered)
    async def hear_answer(unit: Unit, event: cases_pb.HandoverAnswered) -> None:
        handover_id, case_id, by = UUID(event.handover_id), UUID(event.case_id), event.answered_by
        if event.answer == cases_pb.HANDOVER_ANSWER_ACCEPTED:
            await handovers.case_accepted(unit, handover_id, case_id, event.case_code, by)
        elif event.answer == cases_pb.HANDOVER_ANSWER_REFUSED:
            refusal = Refusal(
                event.reason, event.ground_zh or event.reason, event.ground_en or event.reason, event.channel
            )
            await handovers.case_refused(unit, handover_id, case_id, refusal, by)
        elif event.answer == cases_pb.HANDOVER_ANSWER_TRANSFERRED:
            await handovers.case_transferred(unit, handover_id, case_id, event.case_code, by)

    @projects(cases_pb.CaseChanged)
    async def keep_case(unit: Unit, event: cases_pb.CaseChanged) -> None:
        """The newest state of a case that a hand-over became; all other cases are none of ours."""
        if not event.handover_id:
            return
        news = CaseNews(
            handover_id=UUID(event.handover_id),
            case_id=UUID(event.case_id),
            case_code=event.code,
            state=text_of(cases_types.CaseState, event.state),
            outcome=text_of(cases_types.Outcome, event.outcome),
            epoch=event.epoch,
            version=event.version,
        )
        await handovers.case_moved(unit, news)

    return [hear_answer, keep_case]
