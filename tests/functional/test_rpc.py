"""The same platform as another system has it: gRPC on a port, with reflection, health and the same tokens."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from hetao.cases.v1 import (
    case_pb2,
    cases_pb2,
    cases_pb2_grpc,
    handling_pb2,
    intake_pb2,
    progress_pb2,
    progress_pb2_grpc,
    tasks_pb2,
    tasks_pb2_grpc,
    types_pb2,
)
from hetao.notify.v1 import messages_pb2, messages_pb2_grpc
from tests.functional.harness import CHECKOUT, Hetao, eventually, new_key
from tests.functional.story import JUSTICE, LABOUR

pytestmark = pytest.mark.xdist_group("story")


def signed(hetao: Hetao, account: str) -> dict[str, Any]:
    return {"metadata": [("authorization", f"Bearer {hetao.person(account).token}")], "timeout": 15}


def refusal(call: Any, *args: Any, **options: Any) -> tuple[grpc.StatusCode, str, list[str]]:
    with pytest.raises(grpc.RpcError) as refused:
        call(*args, **options)
    error: Any = refused.value
    status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
    info, bad = ErrorInfo(), BadRequest()
    for detail in status.details:
        _ = detail.Unpack(info) or detail.Unpack(bad)
    return error.code(), info.reason, [violation.field for violation in bad.field_violations]


def test_a_case_on_its_way_by_grpc(hetao: Hetao) -> None:
    with hetao.rpc() as channel:
        cases, tasks = cases_pb2_grpc.CaseServiceStub(channel), tasks_pb2_grpc.TaskServiceStub(channel)
        clerk, dispatcher = signed(hetao, "window-clerk-2"), signed(hetao, "dispatcher-2")
        officer = signed(hetao, "department-officer-2")
        parties = [
            case_pb2.NewParty(role=role, type=types_pb2.PARTY_TYPE_NATURAL_PERSON, name=name)
            for role, name in ((types_pb2.PARTY_ROLE_APPLICANT, "巴图"), (types_pb2.PARTY_ROLE_RESPONDENT, "孟和"))
        ]
        request = intake_pb2.CreateCaseRequest(
            kind=types_pb2.KIND_DISPUTE, division="150826", title="牲畜越界", parties=parties, request_id=new_key()
        )
        first = cases.CreateCase(request, **clerk)
        assert cases.CreateCase(request, **clerk) == first
        case_id = first.case.case_id
        said = case_pb2.Classification(category="X03", complexity=types_pb2.COMPLEXITY_GENERAL)
        cases.AcceptCase(intake_pb2.AcceptCaseRequest(case_id=case_id, classification=said), **dispatcher)
        given = [
            handling_pb2.Assignment(department_id=LABOUR, lead=True),
            handling_pb2.Assignment(department_id=JUSTICE),
        ]
        case = cases.DispatchCase(
            handling_pb2.DispatchCaseRequest(case_id=case_id, assignments=given), **dispatcher
        ).case
        task = tasks_pb2.SignInTaskRequest(case_id=case_id, task_id=case.tasks[0].task_id)
        assert tasks.SignInTask(task, **officer).task.signed_in_by == "department-officer-2"
        assert refusal(tasks.SignInTask, task, **officer)[:2] == (
            grpc.StatusCode.FAILED_PRECONDITION, "MOVE_NOT_ALLOWED",
        )  # fmt: skip

        inbox = messages_pb2_grpc.MessageServiceStub(channel)

        def told() -> list[str]:
            found = inbox.ListMessages(messages_pb2.ListMessagesRequest(page_size=200), **officer).messages
            return [one.template for one in found if one.subject == f"cases/{case_id}"]

        assert eventually(told) == ["cases.dispatched"]
        lookup = progress_pb2.LookupCaseProgressRequest(code=first.receipts[0].code, pin=first.receipts[0].pin)
        seen = progress_pb2_grpc.CaseProgressServiceStub(channel).LookupCaseProgress(lookup, timeout=15)
        assert (seen.state, seen.name) == (types_pb2.CASE_STATE_HANDLING, "巴*")


def test_the_same_rules_hold_over_grpc(hetao: Hetao) -> None:
    with hetao.rpc() as channel:
        cases = cases_pb2_grpc.CaseServiceStub(channel)
        nobody = cases_pb2.GetCaseRequest(case_id="01900000-0000-7000-8000-000000000000")
        assert refusal(cases.GetCase, nobody, timeout=15)[:2] == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_MISSING")
        clerk = signed(hetao, "window-clerk-2")
        assert refusal(cases.GetCase, nobody, **clerk)[:2] == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
        wrong = intake_pb2.CreateCaseRequest(kind=types_pb2.KIND_DISPUTE, division="150826", title="")
        code, reason, fields = refusal(cases.CreateCase, wrong, **clerk)
        assert (code, reason, set(fields)) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_INVALID", {"title"})


def test_it_says_what_it_serves_and_that_it_is_well(hetao: Hetao) -> None:
    with hetao.rpc() as channel:
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=15)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]), timeout=15)
        names = {service.name for service in answer.list_services_response.service}
        assert {"hetao.cases.v1.CaseService", "hetao.grid.v1.ReportService", "hetao.notify.v1.MessageService"} <= names


def test_the_client_of_the_documentation_works(hetao: Hetao) -> None:
    client = CHECKOUT / "docs" / "start" / "client.py"
    assert len(client.read_text(encoding="utf-8").splitlines()) <= 20
    token = hetao.person("window-clerk-2").token
    ran = subprocess.run(
        [sys.executable, str(client), hetao.rpc_address, token], env=hetao.environment(), capture_output=True, text=True, timeout=60, check=True
    )  # fmt: skip
    code_and_pin, state_and_centre = ran.stdout.splitlines()
    assert len(code_and_pin.split()) == 2
    assert state_and_centre == "CASE_STATE_REGISTERED 杭锦后旗综治中心"
