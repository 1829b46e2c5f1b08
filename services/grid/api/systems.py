"""SystemService, SessionService, and the register as processes follow it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import asyncpg

from hetao.grid.v1 import sessions_pb2 as sessions_pb
from hetao.grid.v1 import systems_pb2 as pb
from hetao.operations.v1 import trust_pb2
from kit.paging import Page
from kit.proto import given_moment, stamp
from kit.unit import Unit
from services.grid.api.convert import changes, named
from services.grid.model.systems import Key, System
from services.grid.service.register import Sessions
from services.grid.service.systems import Systems
from services.grid.store import systems as store
from services.grid.store.scope import scope

#: Changes of the register that are told at once.
NEWS = 500

#: What may be changed, as requests call it, and as the model does.
FIELDS = {
    "name": "name",
    "name_en": "name_en",
    "roles": "roles",
    "divisions": "divisions",
    "quota_per_minute": "quota",
    "client_id": "client_id",
    "client_subject": "client_subject",
    "certificates": "certificates",
}


class SystemApi:
    def __init__(self, service: Systems):
        self.service = service

    async def CreateSystem(self, request: pb.CreateSystemRequest, unit: Unit) -> pb.CreateSystemResponse:
        given = _fields({name: getattr(request, name) for name in FIELDS})
        made = await self.service.create(unit, request.system_id, given, request.public_keys)
        return pb.CreateSystemResponse(system=await whole(unit, made))

    async def GetSystem(self, request: pb.GetSystemRequest, unit: Unit) -> pb.GetSystemResponse:
        return pb.GetSystemResponse(system=await whole(unit, await store.get(unit, request.system_id)))

    async def ListSystems(self, request: pb.ListSystemsRequest, unit: Unit) -> pb.ListSystemsResponse:
        page = Page.of(unit, request)
        rows = await store.systems(unit, scope(unit, request.division), page.after or ("", ""), page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.division, row.account))
        return pb.ListSystemsResponse(systems=map(system, shown), next_page_token=token)

    async def UpdateSystem(self, request: pb.UpdateSystemRequest, unit: Unit) -> pb.UpdateSystemResponse:
        changed = _fields(named(changes(request, request.update_mask, FIELDS)))
        saved = await self.service.update(unit, request.system_id, changed, request.etag)
        return pb.UpdateSystemResponse(system=await whole(unit, saved))

    async def EnableSystem(self, request: pb.EnableSystemRequest, unit: Unit) -> pb.EnableSystemResponse:
        saved = await self.service.enable(unit, request.system_id, enabled=True)
        return pb.EnableSystemResponse(system=await whole(unit, saved))

    async def DisableSystem(self, request: pb.DisableSystemRequest, unit: Unit) -> pb.DisableSystemResponse:
        saved = await self.service.enable(unit, request.system_id, enabled=False)
        return pb.DisableSystemResponse(system=await whole(unit, saved))

    async def AddSystemKey(self, request: pb.AddSystemKeyRequest, unit: Unit) -> pb.AddSystemKeyResponse:
        begin, end = given_moment(request, "not_before"), given_moment(request, "not_after")
        saved = await self.service.add_key(unit, request.system_id, request.public_key, begin, end)
        return pb.AddSystemKeyResponse(system=await whole(unit, saved))

    async def RetireSystemKey(self, request: pb.RetireSystemKeyRequest, unit: Unit) -> pb.RetireSystemKeyResponse:
        end = given_moment(request, "not_after")
        saved = await self.service.retire_key(unit, request.system_id, request.key_id, end)
        return pb.RetireSystemKeyResponse(system=await whole(unit, saved))

    async def GrantSystemToken(self, request: pb.GrantSystemTokenRequest, unit: Unit) -> pb.GrantSystemTokenResponse:
        token, seconds = await self.service.grant(unit, request.assertion)
        return pb.GrantSystemTokenResponse(access_token=token, expires_in=seconds)


class SessionApi:
    def __init__(self, service: Sessions):
        self.service = service

    async def EndSession(self, request: sessions_pb.EndSessionRequest, unit: Unit) -> sessions_pb.EndSessionResponse:
        moment = await self.service.end(unit, everywhere=request.everywhere)
        return sessions_pb.EndSessionResponse(everywhere_by=stamp(moment))

    async def RevokeSessions(
        self, request: sessions_pb.RevokeSessionsRequest, unit: Unit
    ) -> sessions_pb.RevokeSessionsResponse:
        moment = await self.service.revoke(unit, request.account, request.session, request.reason)
        return sessions_pb.RevokeSessionsResponse(everywhere_by=stamp(moment))

    async def EndIssuerSession(
        self, request: sessions_pb.EndIssuerSessionRequest, unit: Unit
    ) -> sessions_pb.EndIssuerSessionResponse:
        moment = await self.service.end_by_issuer(unit, request.logout_token)
        return sessions_pb.EndIssuerSessionResponse(everywhere_by=stamp(moment))


class TrustApi:
    """What is new is told by its place among all changes, after the installation's epoch: a restore begins anew."""

    async def GetTrust(self, request: trust_pb2.GetTrustRequest, unit: Unit) -> trust_pb2.GetTrustResponse:
        epoch, _, place = request.after.partition(".")
        known = int(place) if epoch == str(unit.runtime.epoch) and place.isdigit() else None
        rows = await store.news(unit, known or 0, NEWS)
        answer = trust_pb2.GetTrustResponse(
            next=f"{unit.runtime.epoch}.{rows[-1]['seq'] if rows else known or 0}",
            whole=known is None,
            more=len(rows) == NEWS,
        )
        for row in rows:
            if row["roles"] is None:
                answer.revocations.append(_revocation(row))
            else:
                answer.systems.append(_trusted(row))
        return answer


def _trusted(row: asyncpg.Record) -> trust_pb2.TrustedSystem:
    return trust_pb2.TrustedSystem(
        system_id=row["mark"],
        roles=row["roles"],
        divisions=row["divisions"],
        quota_per_minute=row["quota"],
        enabled=row["enabled"],
        client_id=row["client_id"],
        client_subject=row["client_subject"],
        certificates=row["certificates"],
    )


def _revocation(row: asyncpg.Record) -> trust_pb2.Revocation:
    return trust_pb2.Revocation(mark=row["mark"], before=stamp(row["before"]), until=stamp(row["until"]))


async def whole(unit: Unit, of: System) -> pb.System:
    """A system with its keys."""
    return system(of, await store.keys(unit, of))


def system(of: System, keys: Sequence[Key] = ()) -> pb.System:
    return pb.System(
        system_id=of.account,
        name=of.name,
        name_en=of.name_en,
        roles=of.roles,
        divisions=of.divisions,
        quota_per_minute=of.quota,
        client_id=of.client_id,
        client_subject=of.client_subject,
        certificates=of.certificates,
        enabled=of.enabled,
        keys=map(_key, keys),
        created_at=stamp(of.created_at),
        etag=str(of.version),
    )


def _key(key: Key) -> pb.SystemKey:
    return pb.SystemKey(
        key_id=key.kid,
        public_key=json.dumps(json.loads(key.jwk), separators=(",", ":")),
        not_before=stamp(key.not_before),
        not_after=stamp(key.not_after),
    )


def _fields(given: Any) -> dict[str, Any]:
    """As the model calls them; a repeated field is a list, each value once."""
    return {
        FIELDS[name]: value if isinstance(value, str | int) else list(dict.fromkeys(value))
        for name, value in given.items()
    }
