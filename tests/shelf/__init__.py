"""The shelf: a service for the kit's own tests. Its contract is compiled when it is imported."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any
from uuid import UUID

from grpc_tools import protoc

import hetao
from kit.errors import FailedPrecondition, Refused, ResourceExhausted
from kit.events import Event, hears, projects
from kit.ids import uuid7
from kit.module import LOG, POSTGRES, Module, Parts, Runtime
from kit.table import Table
from kit.timers import timer
from kit.unit import Unit

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def _compile() -> Path:
    made = Path(tempfile.mkdtemp(prefix="hetao-shelf-"))
    target = made / "hetao" / "shelf" / "v1"
    target.mkdir(parents=True)
    includes = [f"-I{ROOT / 'proto'}", f"-I{ROOT / 'third_party'}", f"-I{files('grpc_tools') / '_proto'}"]
    source = made / "src" / "hetao" / "shelf" / "v1"
    source.mkdir(parents=True)
    (source / "shelf.proto").write_text((HERE / "shelf.proto").read_text())
    arguments = [f"-I{made / 'src'}", *includes, f"--python_out={made}", f"--grpc_python_out={made}"]
    if protoc.main(["protoc", *arguments, "hetao/shelf/v1/shelf.proto"]) != 0:
        raise RuntimeError("the shelf's proto does not compile")
    hetao.__path__.append(str(made / "hetao"))
    return made


_made = _compile()

from hetao.shelf.v1 import shelf_pb2 as pb  # type: ignore  # noqa: E402
from hetao.shelf.v1 import shelf_pb2_grpc as rpc  # type: ignore  # noqa: E402

shutil.rmtree(_made)

__all__ = ["MODULE", "THINGS", "Thing", "pb", "rpc"]


@dataclass(frozen=True, slots=True)
class Thing:
    id: UUID
    division: str
    title: str
    version: int = 1


THINGS = Table("thing", Thing)


class ShelfApi:
    async def PutThing(self, request: Any, unit: Unit) -> Any:
        thing = await THINGS.add(unit, Thing(uuid7(), request.division, request.title))
        unit.emit(changed(unit, thing))
        unit.schedule("shelf.check", thing.id, at=unit.now + timedelta(hours=1))
        return pb.PutThingResponse(thing=_shown(thing))

    async def GetThing(self, request: Any, unit: Unit) -> Any:
        return pb.GetThingResponse(thing=_shown(await THINGS.get(unit, UUID(request.id))))

    async def ChangeThing(self, request: Any, unit: Unit) -> Any:
        thing = await THINGS.get(unit, UUID(request.id))
        unit.match(request.etag, thing)
        thing = await THINGS.save(unit, replace(thing, title=request.title))
        unit.emit(changed(unit, thing))
        match request.title:
            case "fail":
                raise FailedPrecondition("MOVE_NOT_ALLOWED", state="x", action="y")
            case "break":
                raise RuntimeError("a secret that callers must not see")
            case "refuse":
                raise Refused(ResourceExhausted("MOVE_NOT_ALLOWED", state="x", action="y"))
            case "slow":
                await asyncio.sleep(30)
            case "later":
                unit.schedule("shelf.check", thing.id, at=unit.now + timedelta(hours=5))
            case "never":
                unit.cancel("shelf.check", thing.id)
        return pb.ChangeThingResponse(thing=_shown(thing))

    async def LookUp(self, request: Any, unit: Unit) -> Any:
        found = await unit.fetchval("select exists (select from thing where id = $1)", UUID(request.id))
        return pb.LookUpResponse(there=found)


def changed(unit: Unit, thing: Thing) -> Event:
    message = pb.ThingChanged(
        id=str(thing.id), epoch=unit.runtime.epoch, version=thing.version, title=thing.title, division=thing.division
    )
    return Event(thing.id, message, thing.division)


@hears(pb.ThingChanged)
async def write_down(unit: Unit, event: Any) -> None:
    if event.title == "poison":
        raise FailedPrecondition("MOVE_NOT_ALLOWED", state="poison", action="hear")
    await unit.execute(
        "insert into heard (thing_id, version, title) values ($1, $2, $3)", UUID(event.id), event.version, event.title
    )


@projects(pb.ThingChanged)
async def keep_newest(unit: Unit, event: Any) -> None:
    await unit.execute(
        "insert into newest (id, epoch, version, title) values ($1, $2, $3, $4) on conflict (id) do update "
        "set epoch = excluded.epoch, version = excluded.version, title = excluded.title "
        "where (newest.epoch, newest.version) < (excluded.epoch, excluded.version)",
        UUID(event.id),
        event.epoch,
        event.version,
        event.title,
    )


@timer("shelf.check")
async def check(unit: Unit, key: str) -> None:
    thing = await THINGS.get(unit, UUID(key))
    if thing.title == "stubborn":
        raise RuntimeError("it always fails")
    await unit.execute("insert into fired (key) values ($1)", key)
    if thing.title == "again":
        unit.schedule("shelf.check", key, at=unit.now + timedelta(hours=1))


async def snapshots(unit: Unit, after: UUID | None) -> tuple[list[Event], UUID | None]:
    rows = await THINGS.list(unit, "id > $1 order by id limit 100", after or UUID(int=0))
    return [changed(unit, row) for row in rows], rows[-1].id if len(rows) == 100 else None


def build(runtime: Runtime) -> Parts:
    return Parts(
        rpc={pb.DESCRIPTOR.services_by_name["ShelfService"]: ShelfApi()},
        hears=[write_down, keep_newest],
        timers=[check],
        snapshots=snapshots,
    )


def _shown(thing: Thing) -> Any:
    return pb.Thing(id=str(thing.id), division=thing.division, title=thing.title, etag=str(thing.version))


MODULE = Module(
    "shelf",
    build,
    calls=["shelf"],
    hears=["shelf"],
    engines=[POSTGRES, LOG],
    migrations=HERE / "migrations",
    projections=["newest"],
)
