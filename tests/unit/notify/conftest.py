"""notify in a world of its own: two bare neighbours say what grid and cases would, and providers are emulated on loopback."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import shutil
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

import asyncpg
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from hetao.cases.v1 import events_pb2 as cases
from hetao.common.v1 import notice_pb2
from hetao.grid.v1 import events_pb2 as grid
from hetao.grid.v1 import types_pb2 as grid_types
from hetao.notify.v1 import (
    deliveries_pb2,
    deliveries_pb2_grpc,
    endpoints_pb2,
    endpoints_pb2_grpc,
    manual_pb2,
    manual_pb2_grpc,
    messages_pb2,
    messages_pb2_grpc,
    sms_pb2_grpc,
)
from kit.clock import BUSINESS_ZONE, VirtualClock
from kit.config import DATA, Settings, load
from kit.database import Database
from kit.events import Event
from kit.identity import Principal, Roles
from kit.module import LOG, POSTGRES, Module, Parts
from kit.platform import Platform
from kit.postgres import EmbeddedPostgres
from kit.proto import number_of, stamp
from services.notify import module as notify
from services.notify.jobs import Sender
from tests.conftest import copy_database, drop_database, open_folder
from tests.waiting import until
from tests.world import MORNING, World

#: They have no service of their own, only an outbox.
GRID, CASES = (Module(name, lambda runtime: Parts(), engines=[POSTGRES, LOG]) for name in ("grid", "cases"))
MODULES = [GRID, CASES, notify.MODULE]

NAMES = UUID(int=150802)
CASE, PARTY, OTHER_PARTY = UUID(int=1), UUID(int=11), UUID(int=12)
CENTRE, OTHER_CENTRE = (uuid5(NAMES, code) for code in ("centre", "centre-2"))

#: Division, roles and department of accounts; "": of all others.
PEOPLE = {
    "": ("150802", ["dispatcher"], ""),
    "admin": ("150802", ["admin"], ""),
    "auditor": ("150802", ["auditor"], ""),
    "admin-2": ("150826", ["admin"], ""),
    "clerk": ("150802", ["window-clerk"], str(CENTRE)),
    "colleague": ("150802", ["follow-up-clerk"], str(CENTRE)),
    "boss": ("150802", ["centre-director"], str(CENTRE)),
    "clerk-2": ("150826", ["window-clerk"], str(OTHER_CENTRE)),
}


class Roster:
    """A verifier that takes an account's name for its token."""

    def __init__(self) -> None:
        self._roles = Roles.load(DATA / "roles.toml")

    async def verify(self, token: str) -> Principal:
        division, roles, department = PEOPLE.get(token, PEOPLE[""])
        return Principal(token, tuple(roles), department, (division,), self._roles.permissions(roles), token=token)


class NotifyWorld(World):
    def __init__(self, platform: Platform, clock: VirtualClock) -> None:
        super().__init__(platform, clock)
        self._versions: dict[UUID, int] = {}

    def token(self, account: str) -> str:
        return account

    # -- what grid and cases say ---------------------------------------------------------------------------------------

    async def say(self, service: str, *messages: Any) -> None:
        """Emits events of a neighbour."""

        async def work(unit: Any) -> None:
            for message in messages:
                unit.emit(Event(uuid4(), message, "150802"))

        await self.platform.services[service].runtime.transact(work, action="test")
        await self.settle()

    def version(self, of: UUID) -> int:
        self._versions[of] = self._versions.get(of, 0) + 1
        return self._versions[of]

    async def department(self, code: str, *, parent: str = "", division: str = "150802", active: bool = True) -> UUID:
        ident = uuid5(NAMES, code)
        await self.say(
            "grid",
            grid.DepartmentChanged(
                department_id=str(ident),
                epoch=1,
                version=self.version(ident),
                code=code,
                division=division,
                parent_id=str(uuid5(NAMES, parent)) if parent else "",
                active=active,
            ),
        )
        return ident

    async def post(
        self, department: str, kind: str, holder: str = "", *, duties: Sequence[tuple[str, str, str]] = (), **more: Any
    ) -> None:
        ident = uuid5(NAMES, f"{department}/{kind}")
        await self.say(
            "grid",
            grid.PostChanged(
                post_id=str(ident),
                version=self.version(ident),
                department_id=str(uuid5(NAMES, department)),
                kind=number_of(grid_types.PostKind, kind.replace("-", "_")),
                holder=holder,
                duties=[grid.Duty(from_date=a, until_date=b, account=c) for a, b, c in duties],
                **{"epoch": 1, "active": True} | more,
            ),
        )

    async def staff(
        self,
        account: str,
        department: str = "centre",
        *,
        away: Sequence[tuple[str, str, str]] = (),
        active: bool = True,
    ) -> None:
        ident = uuid5(NAMES, account)
        await self.say(
            "grid",
            grid.StaffChanged(
                staff_id=str(ident),
                epoch=1,
                version=self.version(ident),
                account=account,
                department_id=str(uuid5(NAMES, department)),
                active=active,
                absences=[grid.Absence(from_date=a, until_date=b, substitute=c) for a, b, c in away],
            ),
        )

    async def ask(
        self,
        *recipients: str | tuple[str, str],
        template: str = "test.task",
        variables: dict[str, str] | None = None,
        urgent: bool = False,
        intent: str | UUID = "",
        by: str = "cases",
        expires: timedelta | None = None,
        division: str = "150802",
        parties: Sequence[UUID] = (),
        restricted: bool = False,
        centre: UUID = CENTRE,
    ) -> UUID:
        """A notice to accounts, or to (department, post); `parties` of a case, told by the clerks of a centre."""
        intent = intent or uuid4()
        values = {"code": "150802-2026-0001", "due": "2026-03-04 18:00"} if variables is None else variables
        notice = notice_pb2.NoticeRequested(
            intent_id=str(intent),
            template=template,
            recipients=[
                notice_pb2.Recipient(account=r)
                if isinstance(r, str)
                else notice_pb2.Recipient(department_id=str(uuid5(NAMES, r[0])), post=r[1])
                for r in recipients
            ]
            + [
                notice_pb2.Recipient(
                    party=notice_pb2.PartyAddress(
                        case_id=str(CASE), party_id=str(party), role="applicant", centre_id=str(centre)
                    )
                )
                for party in parties
            ],
            restricted=restricted,
            variables=[notice_pb2.Variable(name=name, value=value) for name, value in values.items()],
            urgency=notice_pb2.URGENCY_URGENT if urgent else notice_pb2.URGENCY_NORMAL,
            subject="cases/01",
            division=division,
            expires_at=stamp(self.clock.now() + expires) if expires else None,
        )
        await self.say(by, notice)
        return UUID(str(intent))

    # -- what people do ------------------------------------------------------------------------------------------------

    def inbox(self, account: str) -> messages_pb2_grpc.MessageServiceStub:
        return self.stub(messages_pb2_grpc.MessageServiceStub, "notify", account)

    def deliveries(self, account: str = "admin") -> deliveries_pb2_grpc.DeliveryServiceStub:
        return self.stub(deliveries_pb2_grpc.DeliveryServiceStub, "notify", account)

    def endpoints(self, account: str = "admin") -> endpoints_pb2_grpc.EndpointServiceStub:
        return self.stub(endpoints_pb2_grpc.EndpointServiceStub, "notify", account)

    def manual(self, account: str = "clerk") -> manual_pb2_grpc.ManualDeliveryServiceStub:
        return self.stub(manual_pb2_grpc.ManualDeliveryServiceStub, "notify", account)

    def contacts(self, account: str) -> sms_pb2_grpc.ContactServiceStub:
        return self.stub(sms_pb2_grpc.ContactServiceStub, "notify", account)

    async def to_tell(self, account: str = "clerk", **more: Any) -> list[manual_pb2.ManualDelivery]:
        """What the account's centre has to tell parties."""
        request = manual_pb2.ListManualDeliveriesRequest(**more)
        return list((await self.manual(account).ListManualDeliveries(request)).manual_deliveries)

    async def messages(self, account: str) -> list[messages_pb2.Message]:
        return list((await self.inbox(account).ListMessages(messages_pb2.ListMessagesRequest())).messages)

    async def outward(self, state: str = "") -> list[deliveries_pb2.Delivery]:
        request = deliveries_pb2.ListDeliveriesRequest(state=number_of(deliveries_pb2.DeliveryState, state))
        return list((await self.deliveries().ListDeliveries(request)).deliveries)

    async def delivery(self) -> deliveries_pb2.Delivery:
        """The only one."""
        (only,) = await self.outward()
        return only

    async def endpoint(
        self, url: str, channel: str = "webhook", department: str = "centre"
    ) -> endpoints_pb2.CreateEndpointResponse:
        request = endpoints_pb2.CreateEndpointRequest(
            department_id=str(uuid5(NAMES, department)), channel=number_of(endpoints_pb2.Channel, channel), url=url
        )
        return await self.endpoints().CreateEndpoint(request)

    # -- sending -------------------------------------------------------------------------------------------------------

    @property
    def sender(self) -> Sender:
        (worker,) = self.platform.services["notify"].parts.workers
        return worker.__self__  # type: ignore[attr-defined,no-any-return]

    async def send(self) -> int:
        """One round of sending; returns how many deliveries were tried."""
        async with self.sender.client() as client:
            return await self.sender.step(client)


async def _say_something(unit: Any) -> None:
    unit.emit(Event(uuid4(), cases.CaseChanged(), "150802"))


@pytest.fixture(scope="session")
async def notify_template(server: EmbeddedPostgres) -> AsyncIterator[Settings]:
    folder = open_folder()
    settings = load(data_dir=folder, database={"name": "template_notify"}, http={"port": 0}, grpc={"port": 0})
    async with Platform(
        settings,
        MODULES,
        clock=VirtualClock(MORNING),
        database=Database(settings, server),
        listen=False,
        background=False,
    ) as made:
        for neighbour in ("grid", "cases"):  # so that the topics are there before anybody listens
            await made.services[neighbour].runtime.transact(_say_something, action="test")
        await made.settle()
    yield settings
    shutil.rmtree(folder)


@pytest.fixture
async def notify_world(
    server: EmbeddedPostgres, notify_template: Settings, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> AsyncIterator[NotifyWorld]:
    """A centre below the county: a dispatcher, a director; the county's head above them."""
    load = notify.load_templates
    monkeypatch.setattr(notify, "load_templates", lambda folder: load(folder) | load(request.path.parent))
    name = f"t{uuid4().hex[:12]}"
    connection = await asyncpg.connect(server.dsn())
    await copy_database(connection, name, notify_template.database.name)
    await connection.close()
    settings = notify_template.model_copy(
        update={"database": notify_template.database.model_copy(update={"name": name})}
    )
    clock = VirtualClock(MORNING)
    async with Platform(
        settings, MODULES, clock=clock, database=Database(settings, server), listen=False, background=False
    ) as platform:
        for service in platform.services.values():
            service.runtime.verifier = Roster()  # type: ignore[assignment]
        world = NotifyWorld(platform, clock)
        await world.department("county")
        await world.department("centre", parent="county")
        await world.post("centre", "dispatcher", "dispatcher")
        await world.post("centre", "director", "director")
        await world.post("centre", "window", "clerk")
        await world.post("county", "head", "county-head")
        for account in ("dispatcher", "director", "deputy", "clerk"):
            await world.staff(account)
        yield world
    await drop_database(server, name)


class Provider:
    """A receiver on loopback: keeps what it gets, and answers what it is told to, `next` first and `usual` afterwards."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.next: list[Response | str] = []
        self.usual: Response | str = Response(status_code=204)
        self.release = asyncio.Event()
        self.arrived = asyncio.Event()
        self.url = ""

    async def answer(self, request: Request) -> Response:
        self.received.append((dict(request.headers), await request.body()))
        self.arrived.set()
        answer = self.next.pop(0) if self.next else self.usual
        if isinstance(answer, str):  # "hang": no answer until it is released
            await self.release.wait()
            return Response(status_code=204)
        return answer


def wecom(code: int, status: int = 200) -> Response:
    """What WeCom answers: HTTP 200, and the truth in the body."""
    return Response(
        f'{{"errcode":{code},"errmsg":"{"ok" if code == 0 else "error"}"}}', status, media_type="application/json"
    )


def signed(secret: str, headers: dict[str, str], body: bytes) -> bool:
    """Whether a webhook's signature is ours, as a receiver checks it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return f"v1,{expected}" in headers["webhook-signature"].split(" ")


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    app = FastAPI()
    app.add_api_route("/hook", made.answer, methods=["POST"])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off", ws="none"))
    running = asyncio.create_task(server.serve())
    await until(lambda: server.started, "the provider listens")
    port = server.servers[0].sockets[0].getsockname()[1]
    made.url = f"http://127.0.0.1:{port}/hook"
    yield made
    made.release.set()
    server.should_exit = True
    await running


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BUSINESS_ZONE)
