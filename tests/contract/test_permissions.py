"""Who may do what: every RPC by every role, and every RPC by persons of another county.

A role without the permission is refused before its request is looked at. Whoever has the permission, but in another county, finds nothing there.
"""

from __future__ import annotations

import tomllib
from datetime import timedelta
from io import BytesIO
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc.aio import AioRpcError
from PIL import Image

from hetao.options.v1 import options_pb2
from kit.blobs import Blobs
from kit.config import CHECKOUT
from kit.identity import Roles
from services.gateway import contracts
from tests.contract.samples import sample
from tests.world import Refusal, World

METHODS = {f"{s.name}.{method.name}": method for s in contracts.services() for method in s.methods}
ROLES = Roles.load(CHECKOUT / "data" / "roles.toml")
ACCOUNTS = tomllib.loads((CHECKOUT / "data" / "demo" / "accounts.toml").read_text(encoding="utf-8"))["accounts"]

#: The map and the centres are everybody's to read, and whoever sees something may report it, wherever that is.
OPEN = {
    "GetDivision",
    "ListDivisions",
    "SearchDivisions",
    "LocateDivision",
    "ListCentres",
    "LocateCentre",
    "CreateReport",
}

#: Fields by which a request names something of a division.
NAMED = {
    *("division", "community", "grid_code", "account", "department_id", "post_id", "duty_id", "leave_id", "member_id"),
    *("report_id", "case_id", "message_id", "delivery_id", "endpoint_id", "system_id"),
    *("manual_delivery_id", "centre_id"),
    *("suspension_id", "supervision_id"),
}


async def call(world: World, method: MethodDescriptor, request: Message, account: str) -> Message | Refusal:
    """What an account is answered."""
    service = contracts.owner(method.containing_service)
    channel = world.platform.channel(
        (getattr(request, "service", "") or "cases") if service == contracts.OPERATIONS else service
    )
    rpc = channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    signed = [("authorization", f"Bearer {world.token(account)}")] if account else []
    try:
        answer: Message = await rpc(request, metadata=signed)
    except AioRpcError as error:
        return Refusal(error)
    return answer


def is_hidden(answer: Message | Refusal) -> bool:
    """Whether an answer says no more than that there is no such thing, or that the division is not one's own."""
    if not isinstance(answer, Refusal):
        return not answer.ListFields()  # an empty page
    unknown = answer.code == "INVALID_ARGUMENT" and answer.reason.endswith("_UNKNOWN") and set(answer.fields) <= NAMED
    return unknown or answer.code in ("NOT_FOUND", "PERMISSION_DENIED")


def code(answer: Message | Refusal) -> str:
    return answer.code if isinstance(answer, Refusal) else "OK"


async def test_every_rpc_asks_every_role_for_its_permission(world: World) -> None:
    wrong = []
    for name, method in METHODS.items():
        access = method.GetOptions().Extensions[options_pb2.access]
        empty = GetMessageClass(method.input_type)()
        if (anonymous := code(await call(world, method, empty, ""))) != "UNAUTHENTICATED" and not access.public:
            wrong.append(f"{name} answers {anonymous} to nobody in particular")
        for account in (one for one in ACCOUNTS if not one["account"].endswith("-2")):
            permitted = access.public or any(
                _permits(one, access.permission) for one in ROLES.permissions(account["roles"])
            )
            answer = await call(world, method, empty, account["account"])
            refused = isinstance(answer, Refusal) and answer.reason == "PERMISSION_MISSING"
            if refused == permitted:
                wrong.append(f"{name}: {account['account']} is {'refused' if refused else 'let through'}")
    assert not wrong, "\n".join(wrong)


def _permits(pattern: str, permission: str) -> bool:
    return pattern == permission or (pattern.endswith("*") and permission.startswith(pattern[:-1]))


class Linhe:
    """Something of everything, in 临河区: `known` holds the ids, by the names of the fields that ask for them."""

    def __init__(self, world: World):
        self.world = world
        self.known: dict[str, Any] = {
            "division": "150802",
            "community": "150802013006",
            "grid_code": "150802013006001",
            "account": "grid-worker",
            "page_size": 200,
            "lead": True,
            "service": "cases",
            "category": "10",
            "ground": "in_litigation",
        }

    async def do(self, name: str, account: str, **more: Any) -> Any:
        request = sample(METHODS[name], {**self.known, **more})
        answer = await call(self.world, METHODS[name], request, account)
        assert not isinstance(answer, Refusal), f"{name} by {account}: {answer}"
        return answer

    async def fill(self) -> None:
        departments = (await self.do("DepartmentService.ListDepartments", "admin")).departments
        self.known["department_id"] = next(one.department_id for one in departments if one.code == "150802-housing")
        self.known["system_id"] = (await self.do("SystemService.CreateSystem", "admin")).system.system_id
        self.known["key_id"] = "none"
        self.known["endpoint_id"] = (await self.do("EndpointService.CreateEndpoint", "admin")).endpoint.endpoint_id
        self.known["post_id"] = (await self.do("PostService.ListPosts", "admin")).posts[0].post_id
        days = {"from_date": "2026-03-20", "until_date": "2026-03-21"}
        self.known["leave_id"] = (await self.do("StaffService.CreateLeave", "grid-worker", **days)).leave.leave_id
        self.known["member_id"] = (await self.do("GridService.ListGridMembers", "admin")).members[0].member_id
        self.known["report_id"] = (await self.do("ReportService.CreateReport", "grid-worker")).report.report_id
        refused = (await self.do("CaseService.CreateCase", "dispatcher", kind=1)).case.case_id
        await self.do("CaseService.AddParty", "dispatcher", case_id=refused)
        await self.do("CaseService.RefuseCase", "dispatcher", case_id=refused)
        self.known["case_id"] = (
            await self.do("CaseService.CreateCase", "dispatcher", accept=True, kind=1)
        ).case.case_id
        self.known["party_id"] = (await self.do("CaseService.AddParty", "dispatcher")).case.parties[0].party_id
        await self.do("CaseService.ClassifyCase", "dispatcher")
        dispatched = (await self.do("CaseService.DispatchCase", "dispatcher")).case
        self.known["task_id"] = dispatched.tasks[0].task_id
        settings = self.world.platform.settings
        photo = BytesIO()
        Image.new("RGB", (8, 8)).save(photo, "JPEG")
        blobs = Blobs.open(settings.media_url, pixel_limit=settings.media.pixel_limit)
        self.known["media_id"] = (await blobs.ingest_photo(photo.getvalue())).id
        asked = await self.do("SuspensionService.RequestSuspension", "dispatcher", ground="appraisal")
        self.known["suspension_id"] = asked.suspension.suspension_id
        ordered = await self.do("SupervisionService.CreateSupervision", "centre-director")
        self.known["supervision_id"] = ordered.supervision.supervision_id
        self.known["duty_id"] = (await self.do("PostService.SetDuty", "centre-director", **days)).duty.duty_id
        await self.world.travel(timedelta(minutes=1))
        deliveries = (await self.do("DeliveryService.ListDeliveries", "admin")).deliveries
        self.known["delivery_id"] = deliveries[0].delivery_id
        to_tell = (
            await self.do("ManualDeliveryService.ListManualDeliveries", "window-clerk", case_id=refused)
        ).manual_deliveries
        self.known["manual_delivery_id"], self.known["centre_id"] = to_tell[0].manual_delivery_id, to_tell[0].centre_id
        messages = (await self.do("MessageService.ListMessages", "department-officer")).messages
        self.known["message_id"] = messages[0].message_id


@pytest.fixture
async def linhe(world: World) -> Linhe:
    made = Linhe(world)
    await made.fill()
    return made


async def test_persons_of_another_county_find_nothing(linhe: Linhe) -> None:
    wrong = []
    for name, method in METHODS.items():
        if method.name in OPEN or not NAMED & {fd.name for fd in method.input_type.fields}:
            continue
        request = sample(method, linhe.known)
        for account in foreigners(linhe.world):
            answer = await call(linhe.world, method, request, account)
            if not is_hidden(answer):
                wrong.append(f"{name} answers {account}: {answer}"[:300])
    assert not wrong, "\n".join(wrong)


async def test_lists_show_nothing_of_another_county(linhe: Linhe) -> None:
    ids = {str(value) for name, value in linhe.known.items() if name.endswith("_id") and name != "media_id"}
    seen = []
    for name, method in METHODS.items():
        if method.name.startswith("List"):
            request = sample(
                method, {"page_size": 200, "division": "150826", "account": "grid-worker-2", "service": "cases"}
            )
            for account in foreigners(linhe.world):
                answer = await call(linhe.world, method, request, account)
                if not isinstance(answer, Refusal) and (found := [one for one in ids if one in str(answer)]):
                    seen.append(f"{name} shows {account} {found}")
    assert not seen, "\n".join(seen)


def foreigners(world: World) -> list[str]:
    """Everybody of 杭锦后旗, and somebody there who may do everything."""
    assert world.platform.issuer is not None
    department = next(one for one in ACCOUNTS if one["account"] == "dispatcher-2")["department"]
    everything = {"roles": ROLES.names, "divisions": ["150826"], "department": department}
    world.platform.issuer._accounts["everything-2"] = everything
    abroad = (one["account"] for one in ACCOUNTS if all(code.startswith("150826") for code in one["divisions"]))
    return [*abroad, "everything-2"]
