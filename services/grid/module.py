"""The whole wiring of the service."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from hetao.grid.v1 import (
    departments_pb2,
    dictionaries_pb2,
    divisions_pb2,
    grids_pb2,
    me_pb2,
    posts_pb2,
    reports_pb2,
    sessions_pb2,
    staff_pb2,
    systems_pb2,
)
from hetao.operations.v1 import trust_pb2
from kit import dictionaries
from kit.blobs import Blobs
from kit.config import DATA
from kit.follow import PATIENCE
from kit.identity import Principal, Roles
from kit.module import BLOBS, LOG, POSTGRES, REDIS, Module, Parts, Runtime
from kit.own_tokens import SYSTEMS, OwnIssuer
from kit.reseal import Sealed
from services.grid import events, jobs
from services.grid.api.dictionaries import DictionaryApi
from services.grid.api.directory import DepartmentApi, PostApi, StaffApi
from services.grid.api.me import MeApi
from services.grid.api.reports import ReportApi
from services.grid.api.systems import SessionApi, SystemApi, TrustApi
from services.grid.api.territory import DivisionApi, GridApi
from services.grid.service.directory import Directory
from services.grid.service.grids import Grids
from services.grid.service.handling import Handling
from services.grid.service.handover import Handovers
from services.grid.service.register import Sessions
from services.grid.service.reports import Reports
from services.grid.service.shipped import Shipped
from services.grid.service.snapshots import snapshots
from services.grid.service.systems import Systems
from services.grid.service.territory import Counties, Territory
from services.grid.words import Words


def build(runtime: Runtime) -> Parts:
    blobs = Blobs.open(runtime.settings.media_url, pixel_limit=runtime.settings.media.pixel_limit)

    async def lend_photo(media_id: str, lender: Principal, division: str) -> None:
        if any(lender.touches(one) for one in await blobs.divisions(media_id)):
            await blobs.bring(media_id, lender.account, [division])

    words, counties = Words(DATA), Counties(DATA / "counties.geojson")
    directory = Directory(words)
    reports = Reports(runtime.deadlines, words, counties, blobs.require_photos, lend_photo, runtime.texts)
    handling = Handling(reports)
    handovers = Handovers(reports, handling)
    shipped = Shipped(DATA, handovers)
    systems, sessions = _register(runtime)

    return Parts(
        rpc={
            divisions_pb2.DESCRIPTOR.services_by_name["DivisionService"]: DivisionApi(Territory(counties)),
            departments_pb2.DESCRIPTOR.services_by_name["DepartmentService"]: DepartmentApi(directory),
            posts_pb2.DESCRIPTOR.services_by_name["PostService"]: PostApi(directory),
            staff_pb2.DESCRIPTOR.services_by_name["StaffService"]: StaffApi(directory),
            grids_pb2.DESCRIPTOR.services_by_name["GridService"]: GridApi(Grids(counties, words)),
            reports_pb2.DESCRIPTOR.services_by_name["ReportService"]: ReportApi(reports, handling, handovers),
            dictionaries_pb2.DESCRIPTOR.services_by_name["DictionaryService"]: DictionaryApi(
                dictionaries.load(DATA / "dictionaries")
            ),
            me_pb2.DESCRIPTOR.services_by_name["MeService"]: MeApi(),
            systems_pb2.DESCRIPTOR.services_by_name["SystemService"]: SystemApi(systems),
            sessions_pb2.DESCRIPTOR.services_by_name["SessionService"]: SessionApi(sessions),
            trust_pb2.DESCRIPTOR.services_by_name["TrustService"]: TrustApi(),
        },
        hears=events.handlers(handovers),
        timers=jobs.timers(handling, handovers),
        reference=shipped.reference,
        demo=shipped.demo,
        snapshots=snapshots,
    )


def _register(runtime: Runtime) -> tuple[Systems, Sessions]:
    settings, identity = runtime.settings, runtime.settings.identity
    systems = Systems(
        Roles.load(DATA / "roles.toml"),
        OwnIssuer(SYSTEMS, runtime.keys, runtime.clock, identity.audience),
        (settings.public_url, f"{settings.public_url}/oauth/token"),
        minutes=identity.system_token_minutes,
        skew=identity.clock_skew_seconds,
        root=settings.root_division,
        people={identity.audience, *identity.logout_clients},
    )
    sessions = Sessions(
        runtime.verifier,
        settings.root_division,
        kept=identity.longest_session,
        bound=timedelta(seconds=identity.register_seconds + PATIENCE),
        clients=identity.logout_clients or [identity.audience],
        everywhere=identity.logout_everywhere,
    )
    return systems, sessions


MODULE = Module(
    "grid",
    build,
    calls=[],
    hears=["cases"],
    engines=[POSTGRES, LOG, REDIS, BLOBS],
    egress=[],
    migrations=Path(__file__).parent / "migrations",
    passing={"revocation": ("until", 1), "used_token": ("until", 1)},
    sealed=[
        Sealed("handover", "answer_reason", "grid.handover.answer"),
        Sealed("handover", "note", "grid.handover.note"),
        Sealed("report", "content", "grid.report.content"),
        Sealed("report", "result", "grid.report.result"),
    ],
)
