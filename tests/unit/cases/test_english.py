"""What people read in English has no Chinese in it, but for what somebody wrote."""

from __future__ import annotations

import csv
import re

from hetao.cases.v1 import case_pb2, handling_pb2, types_pb2
from kit.config import DATA
from services.cases.reference import centres_of
from tests.unit.cases.conftest import JUSTICE, LABOUR, CentreAtWork

CHINESE = re.compile("[\u3400-\u9fff]")


async def test_a_timeline_reads_in_english(centre: CentreAtWork) -> None:
    answer = await centre.create("dispatcher-2", accept=True, classification=case_pb2.Classification(category="10"))
    lead = handling_pb2.Assignment(department_id=LABOUR, lead=True, limit_days=5)
    other = handling_pb2.Assignment(department_id=JUSTICE, limit_days=2)
    case = await centre.dispatch(answer.case, lead, other, handling_pb2.Assignment(desk="mediation"))
    labour, justice, _ = case.tasks
    await centre.sign_in(case, labour)
    await centre.world.travel("2026-03-06 10:00")  # reminded and overdue meanwhile
    await centre.sign_in(case, justice)
    await centre.submit(case, justice)
    await centre.submit(case, labour)
    await centre.review(case, types_pb2.REVIEW_DECISION_SEND_BACK, labour.task_id)
    await centre.submit(case, labour)
    await centre.review(case, types_pb2.REVIEW_DECISION_APPROVE)
    case = await centre.conclude(await centre.get(case))
    await centre.reopened(case)
    said = [entry.sentence.en for entry in await centre.timeline(case)]
    assert [sentence for sentence in said if CHINESE.search(sentence)] == []
    assert said[0] == "Registered at Governance centre of Hanggin Rear Banner: dispute (walk-in)"
    assert any(sentence.startswith("Dispatched to Labour bureau of Hanggin Rear Banner (lead)") for sentence in said)
    assert "Justice bureau of Hanggin Rear Banner is overdue since 2026-03-04; its head was told" in said
    party = await centre.look_up(answer.receipts[0].code, answer.receipts[0].pin)
    told = [step.sentence.en for step in party.steps]
    assert [sentence for sentence in [*told, party.stage.en] if CHINESE.search(sentence)] == []
    given = "Given to Labour bureau of Hanggin Rear Banner, Justice bureau of Hanggin Rear Banner, people's mediation to work on"
    assert given in told


def test_every_division_and_centre_has_an_english_name() -> None:
    with (DATA / "divisions.csv").open(encoding="utf-8", newline="") as file:
        divisions = [row["code"] for row in csv.DictReader(file)]
    with (DATA / "divisions_en.csv").open(encoding="utf-8", newline="") as file:
        english = {row["code"]: row["name_en"] for row in csv.DictReader(file)}
    assert list(english) == divisions
    assert all(name and name.isascii() for name in english.values())
    centres, _ = centres_of(DATA)
    assert all(centre.name_en.isascii() for centre in centres)
    assert len({centre.name_en for centre in centres}) == len(centres)
