"""Plays the year: the clock is moved from call to call, timers fire on the way, events come into effect.

Every call bears a request id of its own, so a year that was interrupted goes on where it stopped: what was answered is answered again.
"""

from __future__ import annotations

import asyncio
import heapq
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from hetao.cases.v1 import cases_pb2_grpc, statistics_pb2, statistics_pb2_grpc, tasks_pb2_grpc
from kit.clock import BUSINESS_ZONE, VirtualClock
from kit.config import DATA, Settings
from kit.errors import StartupError
from kit.issuer import DemoIssuer
from kit.platform import Platform
from services.demo import plan
from services.demo.lives import Act, Life, life
from services.demo.plan import Matter, Year

#: Calls this close together are made at once: they belong to different matters.
TOGETHER = timedelta(minutes=10)
#: So are timers.
HALF_AN_HOUR = timedelta(minutes=30)
#: A token of the year lasts longer than the year.
TOKEN_MINUTES = 800 * 24 * 60

#: (matters that have gone their way, matters in all, the day that it is)
Progress = Callable[[int, int, date], None]


@dataclass(frozen=True, slots=True)
class Played:
    """What the figures say of the year. `new`: whether this run played it."""

    accepted: int
    resolved: int
    rate: float
    new: bool


@dataclass(slots=True)
class _Going:
    """A matter on its way: its life and the call that it waits to make."""

    matter: Matter
    life: Life
    act: Act
    calls: int = 0


@dataclass(slots=True)
class Player:
    """`settings`, `clock`: of the platform that is played on; nothing may run on it by itself."""

    platform: Platform
    clock: VirtualClock
    settings: Settings
    year: Year
    _stubs: dict[str, dict[str, Any]] = field(default_factory=dict)
    _next_timer: datetime | None = None

    async def play(self, progress: Progress) -> None:
        """All matters, call by call in the order of their time, then the timers of what is left open, up to the present."""
        issuer = self._issuer()
        queue: list[tuple[datetime, int, _Going]] = []
        done = 0
        for matter in self.year.matters:
            begun = life(matter, self.platform.deadlines.working_day)
            heapq.heappush(queue, (matter.at, matter.number, _Going(matter, begun, next(begun))))
        looked_at = settled_at = self.clock.now()
        while queue:
            moment = queue[0][0]
            if moment - settled_at >= timedelta(hours=4):
                await self.platform.settle()
                settled_at = moment
            if moment - looked_at >= timedelta(hours=1):
                self._next_timer, looked_at = await self._earliest_timer(), moment
                progress(done, len(self.year.matters), moment.astimezone(BUSINESS_ZONE).date())
            await self._fire_until(moment)
            together: list[_Going] = []
            while queue and queue[0][0] - moment < TOGETHER and len(together) < 8:
                together.append(heapq.heappop(queue)[2])
            for going in await asyncio.gather(*(self._call(issuer, one) for one in together)):
                if going is None:
                    done += 1
                else:
                    heapq.heappush(queue, (going.act.at, going.matter.number, going))
        await self.platform.settle()
        now = datetime.now(UTC)
        while (due := await self._earliest_timer()) is not None and due <= now:
            self._next_timer = due
            await self._fire_until(min(now, due + HALF_AN_HOUR))
            progress(done, len(self.year.matters), due.astimezone(BUSINESS_ZONE).date())
        await self.platform.settle()

    async def _call(self, issuer: DemoIssuer, going: _Going) -> _Going | None:
        """Makes the call at its time; the matter with its next call, or None when it has gone its way.

        Nothing is waited for between the clock and the call's unit, so calls that are made together still have each its own time.
        """
        act = going.act
        act.request.request_id = f"demo-{self.year.year}-{going.matter.number}-{going.calls}"
        rpc = self._rpc(issuer, act)
        self.clock.move_to(act.at)
        answer = await rpc(act.request)
        going.calls += 1
        try:
            going.act = going.life.send(answer)
        except StopIteration:
            return None
        return going

    async def _fire_until(self, moment: datetime) -> None:
        """Lets every timer fire that falls due up to the moment, at its own time or at most half an hour later."""
        while self._next_timer is not None and self._next_timer <= moment:
            self.clock.move_to(min(moment, self._next_timer + HALF_AN_HOUR))
            await self.platform.fire()
            self._next_timer = await self._earliest_timer()

    async def _earliest_timer(self) -> datetime | None:
        runtimes = [service.runtime for service in self.platform.services.values() if service.timers]
        asked = "select min(due) from timer where parked_at is null"
        moments = await asyncio.gather(*(runtime.pool.fetchval(asked) for runtime in runtimes))
        return min((moment for moment in moments if moment), default=None)

    def _rpc(self, issuer: DemoIssuer, act: Act) -> Callable[[Any], Any]:
        rpcs = self._stubs.get(act.by)
        if rpcs is None:
            signed = [("authorization", f"Bearer {issuer.mint(act.by)}")]
            channel = self.platform.channel("cases")
            stubs = (cases_pb2_grpc.CaseServiceStub(channel), tasks_pb2_grpc.TaskServiceStub(channel))
            rpcs = self._stubs[act.by] = {"signed": signed, "stubs": stubs}
        stub = next(one for one in rpcs["stubs"] if hasattr(one, act.rpc))
        return lambda request: getattr(stub, act.rpc)(request, metadata=rpcs["signed"])

    def _issuer(self) -> DemoIssuer:
        """Signs for a clerk, a dispatcher and a follow-up clerk at every centre, and for an officer of every office: all made up."""
        accounts = [
            {
                "account": f"{role}@{place.division}",
                "roles": [role],
                "department": place.id,
                "divisions": [place.division],
            }
            for place in self.year.places
            for role in ("window-clerk", "dispatcher", "follow-up-clerk")
        ]
        accounts += [
            {
                "account": f"officer@{code}",
                "roles": ["department-officer"],
                "department": plan.department(code),
                "divisions": [code.split("-")[0]],
            }
            for code in self.year.offices
        ]
        path = self.settings.data_dir / "demo" / "accounts.toml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(_toml(one) for one in accounts), "utf-8")
        return DemoIssuer.running(self.settings, self.clock, path)


async def load(settings: Settings, modules: Any, year: int, progress: Progress) -> Played:
    """Plays the year on the data folder of the settings, unless it is there already. StartupError where it cannot be done.

    The platform must not be running: its own clock would fire the year's timers all at once.
    """
    marker = settings.data_dir / "demo" / f"year-{year}.json"
    state = json.loads(marker.read_text("utf-8")) if marker.exists() else {}
    settings = settings.model_copy(
        update={"identity": settings.identity.model_copy(update={"token_minutes": TOKEN_MINUTES})}
    )
    clock = VirtualClock(datetime.combine(date(year, 1, 1), time(0, 0), BUSINESS_ZONE))
    async with Platform(settings, modules, clock=clock, listen=False, background=False) as platform:
        if platform.issuer is None:
            raise StartupError("演示数据只用于内嵌模式", "demo data are for the embedded profile alone")
        made = plan.make(year, DATA, platform.deadlines.working_day)
        if not state.get("finished"):
            await _check_interrupted(platform, state, made)
            _write(marker, {"finished": False})
            await Player(platform, clock, settings, made).play(progress)
            _write(marker, {"finished": True})
        return await _figures(platform, year, new=not state.get("finished"))


async def _check_interrupted(platform: Platform, state: dict[str, Any], year: Year) -> None:
    """An interrupted year goes on by its stored answers. Without them it would begin a second time."""
    if "finished" not in state or not year.matters:
        return
    pool = platform.services["cases"].runtime.pool
    first = f"demo-{year.year}-{year.matters[0].number}-0"
    begun = await pool.fetchval("select exists (select from case_file where registered_at = $1)", year.matters[0].at)
    if begun and not await pool.fetchval("select exists (select from reply where request_id = $1)", first):
        raise StartupError(
            "上次装载中断后平台又启动过，无法接着装载；请换一个空的数据目录",
            "the platform was started after an interrupted load, which cannot go on: use an empty data folder",
        )


async def _figures(platform: Platform, year: int, *, new: bool) -> Played:
    """What the city's leader is told of the year."""
    assert platform.issuer is not None
    stub = statistics_pb2_grpc.CaseStatisticsServiceStub(platform.channel("cases"))
    request = statistics_pb2.GetCaseStatisticsRequest(
        **{"division": "1508", "from": f"{year}-01-01", "to": f"{year}-12-31"}
    )
    signed = [("authorization", f"Bearer {platform.issuer.mint('city-leader')}")]
    answer: statistics_pb2.GetCaseStatisticsResponse = await stub.GetCaseStatistics(request, metadata=signed)
    return Played(answer.accepted, answer.resolved, answer.resolution_rate, new)


def _write(path: Path, state: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(state) + "\n", "utf-8")


def _toml(account: dict[str, Any]) -> str:
    """An account as an entry of a TOML file; JSON's texts and lists are TOML's too."""
    return "[[accounts]]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in account.items()) + "\n"
