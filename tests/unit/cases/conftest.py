"""A centre at work, for the tests of cases: the persons of 杭锦后旗 and what they do, in few words."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

import asyncpg
import pytest
from google.protobuf.message import Message
from PIL import Image

from hetao.cases.v1 import (
    agreement_pb2,
    case_pb2,
    cases_pb2,
    cases_pb2_grpc,
    centres_pb2_grpc,
    closing_pb2,
    handling_pb2,
    intake_pb2,
    objections_pb2,
    progress_pb2,
    progress_pb2_grpc,
    statistics_pb2,
    statistics_pb2_grpc,
    tasks_pb2,
    tasks_pb2_grpc,
    types_pb2,
)
from hetao.common.v1 import notice_pb2
from hetao.grid.v1 import events_pb2 as grid_pb
from kit.blobs import Blobs
from kit.clock import VirtualClock
from kit.config import Settings, load
from kit.database import Database
from kit.events import Envelope
from kit.log import Record
from kit.platform import Platform
from kit.postgres import EmbeddedPostgres
from services.cases.module import MODULE
from tests.conftest import copy_database, drop_database, open_folder
from tests.world import MORNING, World

#: Made up, with right check digits.
APPLICANT_ID, RESPONDENT_CODE = "150826198001010013", "91150826MA0N0A0A0C"


def department(code: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"hetao:department:{code}"))


LABOUR, JUSTICE, UNION = (department(f"150826-{name}") for name in ("labour", "justice", "union"))

#: Who works in which department.
OFFICERS = {LABOUR: "department-officer-2", JUSTICE: "justice-officer-2", UNION: "union-officer-2"}


#: Outcomes that carry an agreement, and those that name a channel.
AGREEMENTS = (types_pb2.OUTCOME_WRITTEN_AGREEMENT, types_pb2.OUTCOME_ORAL_AGREEMENT)
CHANNELS = (types_pb2.OUTCOME_FAILED_CHANNEL_TOLD, types_pb2.OUTCOME_TRANSFERRED_OUT)


def person(name: str = "赵秀英", role: int = types_pb2.PARTY_ROLE_APPLICANT, **more: str) -> case_pb2.NewParty:
    return case_pb2.NewParty(role=role, type=types_pb2.PARTY_TYPE_NATURAL_PERSON, name=name, **more)  # type: ignore[arg-type]


def company(name: str = "河套酒业有限公司", **more: str) -> case_pb2.NewParty:
    role, kind = types_pb2.PARTY_ROLE_RESPONDENT, types_pb2.PARTY_TYPE_LEGAL_PERSON
    return case_pb2.NewParty(role=role, type=kind, name=name, **more)


class CentreAtWork:
    """杭锦后旗's centre. Every method is one RPC by the person whose work it is."""

    def __init__(self, world: World):
        self.world = world

    def cases(self, account: str) -> Any:
        return self.world.stub(cases_pb2_grpc.CaseServiceStub, "cases", account)

    def tasks(self, account: str) -> Any:
        return self.world.stub(tasks_pb2_grpc.TaskServiceStub, "cases", account)

    def centres(self, account: str = "dispatcher-2") -> Any:
        return self.world.stub(centres_pb2_grpc.CentreServiceStub, "cases", account)

    def request(self, **more: Any) -> intake_pb2.CreateCaseRequest:
        """A work-injury dispute of two parties."""
        values: dict[str, Any] = {
            "kind": types_pb2.KIND_DISPUTE,
            "division": "150826",
            "title": "工伤待遇纠纷",
            "description": "要求支付工伤待遇",
            "parties": [person(phone="13904781234", id_number=APPLICANT_ID), company(id_number=RESPONDENT_CODE)],
        }
        return intake_pb2.CreateCaseRequest(**(values | more))

    async def create(self, by: str = "window-clerk-2", **more: Any) -> intake_pb2.CreateCaseResponse:
        answer: intake_pb2.CreateCaseResponse = await self.cases(by).CreateCase(self.request(**more))
        return answer

    async def upload(self) -> str:
        """The id of a photo that somebody uploaded."""
        settings, picture = self.world.platform.services["cases"].runtime.settings, BytesIO()
        Image.new("RGB", (8, 8)).save(picture, "PNG")
        blobs = Blobs.open(settings.media_url, pixel_limit=settings.media.pixel_limit)
        return (await blobs.ingest_photo(picture.getvalue())).id

    async def accepted(self, category: str = "10", **more: Any) -> case_pb2.Case:
        said = case_pb2.Classification(category=category)
        answer = await self.create("dispatcher-2", accept=True, classification=said, **more)
        return answer.case

    async def accept(self, case: case_pb2.Case, by: str = "dispatcher-2", **more: Any) -> case_pb2.Case:
        request = intake_pb2.AcceptCaseRequest(case_id=case.case_id, **more)
        return (await self.cases(by).AcceptCase(request)).case  # type: ignore[no-any-return]

    async def dispatch(
        self, case: case_pb2.Case, *assignments: handling_pb2.Assignment, by: str = "dispatcher-2"
    ) -> case_pb2.Case:
        request = handling_pb2.DispatchCaseRequest(case_id=case.case_id, assignments=assignments)
        return (await self.cases(by).DispatchCase(request)).case  # type: ignore[no-any-return]

    async def dispatched(self, **more: Any) -> case_pb2.Case:
        """Accepted, and given to three departments under the lead of labour."""
        lead = handling_pb2.Assignment(department_id=LABOUR, lead=True, limit_days=5)
        others = [handling_pb2.Assignment(department_id=one, limit_days=3) for one in (JUSTICE, UNION)]
        return await self.dispatch(await self.accepted(**more), lead, *others)

    async def sign_in(self, case: case_pb2.Case, task: case_pb2.Task, by: str = "") -> case_pb2.Task:
        request = tasks_pb2.SignInTaskRequest(case_id=case.case_id, task_id=task.task_id)
        return (await self.tasks(by or OFFICERS[task.department_id]).SignInTask(request)).task  # type: ignore[no-any-return]

    async def submit(
        self, case: case_pb2.Case, task: case_pb2.Task, result: str = "已办妥", by: str = "", **more: Any
    ) -> case_pb2.Task:
        request = tasks_pb2.SubmitTaskResultRequest(case_id=case.case_id, task_id=task.task_id, result=result, **more)
        return (await self.tasks(by or OFFICERS[task.department_id]).SubmitTaskResult(request)).task  # type: ignore[no-any-return]

    async def give_back(
        self, case: case_pb2.Case, task: case_pb2.Task, ground: str = "not_competent", by: str = "", **more: Any
    ) -> case_pb2.Task:
        """The department returns its task (退回)."""
        request = objections_pb2.ReturnTaskRequest(
            case_id=case.case_id, task_id=task.task_id, ground=ground, note="不属于本单位职责", **more
        )
        return (await self.tasks(by or OFFICERS[task.department_id]).ReturnTask(request)).task  # type: ignore[no-any-return]

    async def ask_extension(
        self, case: case_pb2.Case, task: case_pb2.Task, days: int = 3, by: str = "", **more: Any
    ) -> case_pb2.Task:
        """The department asks for more time (延期)."""
        request = objections_pb2.RequestExtensionRequest(
            case_id=case.case_id, task_id=task.task_id, days=days, reason="等待伤残鉴定结论", **more
        )
        return (await self.tasks(by or OFFICERS[task.department_id]).RequestExtension(request)).task  # type: ignore[no-any-return]

    async def on_task(
        self, rpc: str, case: case_pb2.Case, task: case_pb2.Task, by: str = "dispatcher-2", **more: Any
    ) -> case_pb2.Case:
        """A decision of the centre on a task; the case after it."""
        request = getattr(objections_pb2, f"{rpc}Request")(case_id=case.case_id, task_id=task.task_id, **more)
        return (await getattr(self.tasks(by), rpc)(request)).case  # type: ignore[no-any-return]

    async def decide_return(
        self, case: case_pb2.Case, task: case_pb2.Task, *, upheld: bool, by: str = "dispatcher-2", **more: Any
    ) -> case_pb2.Case:
        decision = types_pb2.RETURN_DECISION_UPHELD if upheld else types_pb2.RETURN_DECISION_OVERRULED
        return await self.on_task(
            "DecideReturn", case, task, by, decision=decision, **({"reason": "核实后决定"} | more)
        )

    async def decide_extension(
        self, case: case_pb2.Case, task: case_pb2.Task, *, granted: bool, by: str = "dispatcher-2", **more: Any
    ) -> case_pb2.Case:
        decision = types_pb2.EXTENSION_DECISION_GRANTED if granted else types_pb2.EXTENSION_DECISION_REFUSED
        return await self.on_task(
            "DecideExtension", case, task, by, decision=decision, **({"reason": "确有必要"} | more)
        )

    async def replace_lead(
        self, case: case_pb2.Case, department_id: str, by: str = "dispatcher-2", **more: Any
    ) -> case_pb2.Case:
        request = handling_pb2.ReplaceLeadRequest(
            case_id=case.case_id, department_id=department_id, **({"reason": "牵头不力"} | more)
        )
        return (await self.cases(by).ReplaceLead(request)).case  # type: ignore[no-any-return]

    async def answered(self, **more: Any) -> case_pb2.Case:
        """All three departments have answered, the lead last."""
        case = await self.dispatched(**more)
        for task in sorted(case.tasks, key=lambda task: task.lead):
            await self.sign_in(case, task)
            await self.submit(case, task)
        return await self.get(case)

    async def review(self, case: case_pb2.Case, decision: int, *task_ids: str, note: str = "") -> case_pb2.Case:
        request = handling_pb2.ReviewCaseRequest(
            case_id=case.case_id,
            decision=decision,  # type: ignore[arg-type]
            task_ids=task_ids,
            note=note,
        )
        return (await self.cases("dispatcher-2").ReviewCase(request)).case  # type: ignore[no-any-return]

    async def conclude(
        self,
        case: case_pb2.Case,
        outcome: int = types_pb2.OUTCOME_WRITTEN_AGREEMENT,
        by: str = "dispatcher-2",
        **more: Any,
    ) -> case_pb2.Case:
        if outcome in AGREEMENTS:
            more.setdefault("agreement", agreement_pb2.NewAgreement(terms="一次性支付八万元", performed=True))
        if outcome in CHANNELS:
            more.setdefault("channel", "人民法院")
        request = handling_pb2.ConcludeCaseRequest(case_id=case.case_id, outcome=outcome, **more)  # type: ignore[arg-type]
        return (await self.cases(by).ConcludeCase(request)).case  # type: ignore[no-any-return]

    async def concluded(
        self, outcome: int = types_pb2.OUTCOME_WRITTEN_AGREEMENT, perform_by: str = "", **more: Any
    ) -> case_pb2.Case:
        """All the way: three departments, reviewed, concluded; with an agreement that is performed on the spot or by a date."""
        case = await self.answered(**more)
        case = await self.review(case, types_pb2.REVIEW_DECISION_APPROVE)
        if not perform_by:
            return await self.conclude(case, outcome)
        agreed = agreement_pb2.NewAgreement(terms="分期支付八万元", perform_by=perform_by)
        return await self.conclude(case, outcome, agreement=agreed)

    async def ask(
        self,
        case: case_pb2.Case,
        party: case_pb2.Party,
        solved: int = types_pb2.SOLVED_YES,
        by: str = "follow-up-clerk-2",
        **more: Any,
    ) -> case_pb2.Case:
        request = handling_pb2.RecordFollowUpRequest(
            case_id=case.case_id,
            party_id=party.party_id,
            contacted=solved != 0,
            solved=solved,  # type: ignore[arg-type]
            **more,
        )
        return (await self.cases(by).RecordFollowUp(request)).case  # type: ignore[no-any-return]

    async def reopen(
        self, case: case_pb2.Case, ground: str = "unsolved", by: str = "dispatcher-2", **more: Any
    ) -> case_pb2.Case:
        request = closing_pb2.ReopenCaseRequest(case_id=case.case_id, ground=ground, **more)
        return (await self.cases(by).ReopenCase(request)).case  # type: ignore[no-any-return]

    async def reopened(self, case: case_pb2.Case) -> case_pb2.Case:
        """The first party calls it unsolved, and the dispatcher reopens."""
        await self.ask(case, case.parties[0], types_pb2.SOLVED_NO)
        return await self.reopen(case)

    async def perform(
        self, case: case_pb2.Case, performance: int, by: str = "follow-up-clerk-2", **more: Any
    ) -> case_pb2.Case:
        request = closing_pb2.RecordPerformanceRequest(case_id=case.case_id, performance=performance, **more)  # type: ignore[arg-type]
        return (await self.cases(by).RecordPerformance(request)).case  # type: ignore[no-any-return]

    async def close(
        self, case: case_pb2.Case, explanation: str = "已说明法律规定", by: str = "dispatcher-2"
    ) -> case_pb2.Case:
        request = closing_pb2.CloseCaseRequest(case_id=case.case_id, explanation=explanation)
        return (await self.cases(by).CloseCase(request)).case  # type: ignore[no-any-return]

    async def get(self, case: case_pb2.Case, by: str = "dispatcher-2") -> case_pb2.Case:
        return (await self.cases(by).GetCase(cases_pb2.GetCaseRequest(case_id=case.case_id))).case  # type: ignore[no-any-return]

    async def timeline(self, case: case_pb2.Case, by: str = "dispatcher-2") -> list[case_pb2.TimelineEntry]:
        answer = await self.cases(by).ListTimeline(
            handling_pb2.ListTimelineRequest(case_id=case.case_id, page_size=200)
        )
        return list(answer.entries)

    async def look_up(self, code: str, pin: str) -> progress_pb2.LookupCaseProgressResponse:
        stub = self.world.stub(progress_pb2_grpc.CaseProgressServiceStub, "cases")
        answer: progress_pb2.LookupCaseProgressResponse = await stub.LookupCaseProgress(
            progress_pb2.LookupCaseProgressRequest(code=code, pin=pin)
        )
        return answer

    async def figures(
        self, division: str = "150826", first: str = "2026-01-01", last: str = "2026-12-31", by: str = "county-leader-2"
    ) -> statistics_pb2.GetCaseStatisticsResponse:
        await self.world.settle()
        stub = self.world.stub(statistics_pb2_grpc.CaseStatisticsServiceStub, "cases", by)
        request = statistics_pb2.GetCaseStatisticsRequest(**{"division": division, "from": first, "to": last})
        answer: statistics_pb2.GetCaseStatisticsResponse = await stub.GetCaseStatistics(request)
        return answer

    async def notices(self, template: str = "") -> list[notice_pb2.NoticeRequested]:
        """Every notice that was asked for so far, in its order; of one template, where it is named."""
        await self.world.settle()
        rows = await self.world.platform.log._pool.fetch(  # type: ignore[attr-defined]
            "select value from record where type = 'hetao.common.v1.NoticeRequested' order by at, \"offset\""
        )
        said = [notice_pb2.NoticeRequested.FromString(row["value"]) for row in rows]
        return [one for one in said if template in ("", one.template)]

    async def hear(self, message: Message, key: str) -> None:
        """Something that the grid says."""
        await say(self.world.platform, message, key)
        await self.world.settle()


async def say(platform: Platform, message: Message, key: str) -> None:
    envelope = Envelope(
        id=uuid4(),
        type=message.DESCRIPTOR.full_name,
        source="/1508/grid",
        key=key,
        time=platform.clock.now(),
        division="150826",
        snapshot=False,
        traceparent="",
    )
    await platform.log.append("hetao.grid.v1", [Record(envelope, message.SerializeToString())])


@pytest.fixture(scope="session")
async def alone(server: EmbeddedPostgres) -> AsyncIterator[Settings]:
    """Settings whose database holds the centres, and the departments that the grid told of, to be copied by each test."""
    folder = open_folder()
    settings = load(data_dir=folder, database={"name": "template_cases"}, http={"port": 0}, grpc={"port": 0})
    database = Database(settings, server)
    clock = VirtualClock(MORNING)
    async with Platform(settings, [MODULE], clock=clock, database=database, listen=False, background=False) as platform:
        for name, zh, en in (
            ("labour", "人社局", "Labour bureau"),
            ("justice", "司法局", "Justice bureau"),
            ("union", "总工会", "Trade unions"),
        ):
            said = grid_pb.DepartmentChanged(
                department_id=department(f"150826-{name}"),
                epoch=1,
                version=1,
                name=f"杭锦后旗{zh}",
                name_en=f"{en} of Hanggin Rear Banner",
                division="150826",
                active=True,
            )
            await say(platform, said, said.department_id)
        await platform.settle()
    yield settings
    shutil.rmtree(folder)


@pytest.fixture
async def world(server: EmbeddedPostgres, alone: Settings) -> AsyncIterator[World]:
    """The service alone, at nine o'clock on Monday, 2 March 2026: what other services say comes by the log."""
    name = f"t{uuid4().hex[:12]}"
    connection = await asyncpg.connect(server.dsn())
    await copy_database(connection, name, alone.database.name)
    await connection.close()
    settings = alone.model_copy(update={"database": alone.database.model_copy(update={"name": name})})
    database = Database(settings, server)
    clock = VirtualClock(MORNING)
    async with Platform(settings, [MODULE], clock=clock, database=database, listen=False, background=False) as platform:
        yield World(platform, clock)
    await drop_database(server, name)


@pytest.fixture
def centre(world: World) -> CentreAtWork:
    return CentreAtWork(world)
