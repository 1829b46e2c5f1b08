"""The RPCs that the drill uses, as their protos tell them: one JSON body, which goes over REST or over gRPC."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from hetao.cases.v1 import cases_pb2, tasks_pb2
from hetao.grid.v1 import reports_pb2

#: The aggregate that an RPC's writes change, and the row that its answer shows: (table, name of its id in JSON).
ROOTS = {"CaseService": "case_file", "TaskService": "case_file", "ReportService": "report"}
ROWS = {
    "CaseService": ("case_file", "caseId"),
    "TaskService": ("task", "taskId"),
    "ReportService": ("report", "reportId"),
}

_VARIABLE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Call:
    """An RPC. `verb`, `path`: as REST, the path's variables in JSON's spelling; `bare`: the field that REST shows alone; `rpc`: the full path."""

    rpc: str
    service: str
    verb: str
    path: str
    bare: str
    request: type[Message]
    response: type[Message]
    root: str
    row: str
    row_id: str

    @property
    def writes(self) -> bool:
        return self.verb != "GET"

    def rest(self, body: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
        """The path with its variables filled in, and what of the body is left."""
        variables = _VARIABLE.findall(self.path)
        path = self.path.format(**{name: body[name] for name in variables})
        return path, {name: value for name, value in body.items() if name not in variables} if self.writes else None

    def shown(self, answer: dict[str, Any], *, over_rest: bool) -> dict[str, Any]:
        """The row that an answer shows."""
        if self.bare:
            return answer if over_rest else dict(answer[self.bare])
        return dict(answer["case"])


def _call(service: ServiceDescriptor, name: str) -> Call:
    method: MethodDescriptor = service.methods_by_name[name]
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    return Call(
        rpc=f"/{service.full_name}/{name}",
        service=service.full_name.split(".")[1],
        verb=verb.upper(),
        path=_VARIABLE.sub(lambda variable: f"{{{_camel(variable[1])}}}", getattr(rule, verb)),
        bare=rule.response_body,
        request=GetMessageClass(method.input_type),
        response=GetMessageClass(method.output_type),
        root=ROOTS[service.name],
        row=ROWS[service.name][0],
        row_id=ROWS[service.name][1],
    )


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


@lru_cache(maxsize=1)
def _named() -> dict[str, Call]:
    services = [
        cases_pb2.DESCRIPTOR.services_by_name["CaseService"],
        tasks_pb2.DESCRIPTOR.services_by_name["TaskService"],
        reports_pb2.DESCRIPTOR.services_by_name["ReportService"],
    ]
    return {method.name: _call(service, method.name) for service in services for method in service.methods}


def call(name: str) -> Call:
    """`call("CreateCase")`"""
    return _named()[name]
