"""The kit is tested on a service of its own, the shelf, in a world without the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from kit.clock import VirtualClock
from kit.config import Settings
from kit.database import Database
from kit.identity import Principal
from kit.platform import Platform
from tests import shelf
from tests.world import MORNING, World


class Everybody:
    """A verifier that takes a token for what it says: "account:division", and lets it do anything."""

    async def verify(self, token: str) -> Principal:
        account, _, division = token.partition(":")
        return Principal(account, divisions=(division,), permissions=frozenset({"*"}), token=token)

    async def certified(self, certificate: str) -> None:
        """Nobody is known by a certificate here."""


class ShelfWorld(World):
    def as_(self, token: str) -> shelf.rpc.ShelfServiceStub:
        return self.stub(shelf.rpc.ShelfServiceStub, "shelf", token)

    def token(self, account: str) -> str:
        return account

    async def put(
        self, title: str, *, by: str = "ding:1508", division: str = "150802", request_id: str = ""
    ) -> shelf.pb.Thing:
        request = shelf.pb.PutThingRequest(division=division, title=title, request_id=request_id)
        return (await self.as_(by).PutThing(request)).thing

    async def change(self, thing: shelf.pb.Thing, title: str, *, by: str = "ding:1508", **more: str) -> shelf.pb.Thing:
        return (await self.as_(by).ChangeThing(shelf.pb.ChangeThingRequest(id=thing.id, title=title, **more))).thing


@pytest.fixture
async def shelf_world(database: Database, settings: Settings) -> AsyncIterator[ShelfWorld]:
    clock = VirtualClock(MORNING)
    async with Platform(
        settings, [shelf.MODULE], clock=clock, database=database, listen=False, background=False
    ) as platform:
        for service in platform.services.values():
            service.runtime.verifier = Everybody()
        yield ShelfWorld(platform, clock)


HOUR = timedelta(hours=1)
