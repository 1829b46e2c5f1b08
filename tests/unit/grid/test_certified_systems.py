"""An outside system that shows its certificate over mutual TLS instead of a token."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import PEM_cert_to_DER_cert
from typing import Any

from hetao.grid.v1 import divisions_pb2, divisions_pb2_grpc, systems_pb2, systems_pb2_grpc
from kit.rpc.client import ServiceChannel
from kit.rpc.server import Server
from kit.rpc.tls import Certificates
from kit.sections import Grpc
from tests.certificates import Authority
from tests.world import World, refused

Ask = Callable[..., Awaitable[Any]]


@asynccontextmanager
async def calling(world: World, authority: Authority, end: str) -> AsyncIterator[tuple[Ask, Ask]]:
    """Two functions by which an end with a certificate asks for a division, and for the staff, at the port of the platform."""
    tls = authority.tls("server")
    server = Server(
        lambda path, payload: world.platform.services["grid"].dispatcher,
        [],
        Grpc(port=0, tls=tls),
        Certificates.of(tls),
    )
    await server.start()
    own = authority.tls(end)
    channel = ServiceChannel(Grpc(tls=own), "grid", server.address, Certificates.of(own))
    divisions = divisions_pb2_grpc.DivisionServiceStub(channel)  # type: ignore[arg-type]
    systems = systems_pb2_grpc.SystemServiceStub(channel)  # type: ignore[arg-type]
    try:
        yield (
            lambda **more: divisions.GetDivision(divisions_pb2.GetDivisionRequest(code="150802"), timeout=30, **more),
            lambda **more: systems.ListSystems(systems_pb2.ListSystemsRequest(), timeout=30, **more),
        )
    finally:
        await channel.close()
        await server.stop(0)


async def test_a_certificate_in_the_register_is_as_good_as_a_token(world: World, tmp_path: Path):
    authority = Authority(tmp_path / "ca")
    assert world.platform.issuer
    world.platform.issuer._accounts["admin-city"] = {"roles": ["admin"], "divisions": ["1508"], "department": ""}
    admin = world.stub(systems_pb2_grpc.SystemServiceStub, "grid", "admin-city")
    async with calling(world, authority, "hotline") as (divisions, systems):
        assert (await refused(divisions())).reason == "TOKEN_MISSING"
        certificate = (tmp_path / "ca" / "hotline.pem").read_text()
        shown = hashlib.sha256(PEM_cert_to_DER_cert(first_of(certificate))).hexdigest()
        given = {
            "system_id": "system-hotline",
            "name": "12345 热线",
            "roles": ["intake-system"],
            "divisions": ["150802"],
        }
        await admin.CreateSystem(systems_pb2.CreateSystemRequest(**given, certificates=[shown]))  # type: ignore[arg-type]
        await world.settle()
        assert (await divisions()).division.code == "150802"
        assert (await refused(systems())).reason == "PERMISSION_MISSING"
        principal = await world.platform.verifier.certified(shown)
        assert principal is not None
        assert principal.account == "system-hotline"
        assert principal.token, "what is called in its name goes on with a token"
        signed = [("authorization", f"Bearer {world.token('admin')}")]
        assert (await systems(metadata=signed)).systems, "a token comes before the certificate"
        await admin.DisableSystem(systems_pb2.DisableSystemRequest(system_id="system-hotline"))
        await world.settle()
        assert (await refused(divisions())).reason == "SYSTEM_DISABLED"
    async with calling(world, authority, "neighbour") as (divisions, _):
        assert (await refused(divisions())).reason == "TOKEN_MISSING", "another certificate of the same authority"


def first_of(chain: str) -> str:
    end = "-----END CERTIFICATE-----"
    return chain[: chain.index(end) + len(end)] + "\n"
