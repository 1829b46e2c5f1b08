"""Several at one case at the same moment: nobody fails, nothing is lost."""

from __future__ import annotations

import asyncio

from hetao.cases.v1 import case_pb2, handling_pb2, intake_pb2, types_pb2
from tests.unit.cases.conftest import CentreAtWork
from tests.world import refused


async def test_changes_of_one_case_at_once_all_take_effect(centre: CentreAtWork) -> None:
    case = await centre.accepted()
    risks = [types_pb2.RISK_LOW, types_pb2.RISK_MEDIUM, types_pb2.RISK_HIGH] * 4

    async def classify(risk: int) -> case_pb2.Case:
        said = case_pb2.Classification(risk=risk)  # type: ignore[arg-type]
        request = intake_pb2.ClassifyCaseRequest(case_id=case.case_id, classification=said)
        return (await centre.cases("dispatcher-2").ClassifyCase(request)).case  # type: ignore[no-any-return]

    answers = await asyncio.gather(*(classify(risk) for risk in risks))
    assert sorted(int(answer.etag) for answer in answers) == list(range(2, len(risks) + 2))
    rows = await centre.world.rows(
        "cases", "select version from audit where entity = 'case_file' and entity_id = $1 order by seq", case.case_id
    )
    assert [row["version"] for row in rows] == list(range(1, len(risks) + 2))


async def test_of_two_conclusions_at_once_one_counts(centre: CentreAtWork) -> None:
    case = await centre.accepted()
    case = await centre.dispatch(case, handling_pb2.Assignment(desk="mediation", lead=True))
    outcomes = [types_pb2.OUTCOME_WRITTEN_AGREEMENT, types_pb2.OUTCOME_ORAL_AGREEMENT]
    results = await asyncio.gather(*(centre.conclude(case, outcome) for outcome in outcomes), return_exceptions=True)
    (failed,) = [result for result in results if isinstance(result, BaseException)]

    async def again() -> None:
        raise failed

    assert (await refused(again())).reason == "MOVE_NOT_ALLOWED"
    told = [entry.what for entry in await centre.timeline(case)]
    assert told.count("conclude") == 1
