"""The copy of the register that a process keeps: how soon it is fresh, and what becomes of it when others are away."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis, FakeServer
from google.protobuf.timestamp_pb2 import Timestamp
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata

from hetao.operations.v1 import trust_pb2 as pb
from kit.clock import Clock
from kit.errors import Unauthenticated, Unavailable
from kit.follow import Follower
from kit.readiness import Readiness
from kit.redis import Redis
from kit.register import Register
from tests.waiting import running, until

LONG = Timestamp(seconds=9_000_000_000)


class Keeper:
    """Keeps a register, as a channel to it."""

    def __init__(self) -> None:
        self.marks: list[str] = []
        self.asked, self.away = 0, False

    def revoke(self, mark: str) -> None:
        self.marks.append(mark)

    def unary_unary(self, *_: Any, **__: Any) -> Any:
        async def answer(request: pb.GetTrustRequest, *, metadata: Any, timeout: float) -> pb.GetTrustResponse:
            assert ("authorization", "Bearer of a process") in metadata
            self.asked += 1
            if self.away:
                raise AioRpcError(StatusCode.UNAVAILABLE, Metadata(), Metadata(), "away")
            known = int(request.after or 0)
            fresh = [pb.Revocation(mark=mark, until=LONG) for mark in self.marks[known : known + 2]]
            told = known + len(fresh)
            return pb.GetTrustResponse(
                revocations=fresh, next=str(told), whole=not request.after, more=told < len(self.marks)
            )

        return answer


def follower(keeper: Keeper, register: Register, *, every: float = 0.02, redis: Redis | None = None) -> Follower:
    register.follow(60)
    return Follower(register, keeper, lambda: "of a process", Clock(), every=every, redis=redis)


def revoked(register: Register, mark: str) -> bool:
    try:
        register.check([mark], datetime.now(UTC).timestamp())
    except Unauthenticated:
        return True
    return False


async def test_what_is_revoked_is_heard_of_at_the_next_look():
    keeper, register = Keeper(), Register()
    async with running(follower(keeper, register).run()):
        await until(lambda: register.version > 0, "the register is heard of")
        for number in range(5):
            keeper.revoke(f"account:{number}")
        await until(lambda: all(revoked(register, f"account:{number}") for number in range(5)), "all of it is known")
        assert not revoked(register, "account:5")


async def test_before_it_was_ever_heard_of_nobody_is_let_in():
    keeper, register, state = Keeper(), Register(), Readiness()
    keeper.away = True
    following = follower(keeper, register)
    ((_, watch),) = following.watches(state, 60)
    async with running(following.run(), watch):
        await until(lambda: keeper.asked > 3, "it is asked again and again")
        with pytest.raises(Unavailable):
            register.require()
        assert "register" in state.waiting
        keeper.away = False
        await until(lambda: "register" not in state.waiting, "the process is ready")
        register.require()


async def test_while_the_keeper_is_away_what_is_known_counts():
    keeper, register, state = Keeper(), Register(), Readiness()
    keeper.revoke("account:a")
    following = follower(keeper, register)
    ((_, watch),) = following.watches(state, 60)
    async with running(following.run(), watch):
        await until(lambda: revoked(register, "account:a"), "it is known")
        keeper.away, asked = True, keeper.asked
        keeper.revoke("account:b")
        await until(lambda: keeper.asked > asked + 3, "it is asked in vain")
        register.require()
        assert revoked(register, "account:a")
        assert not revoked(register, "account:b")
        keeper.away = False
        await until(lambda: revoked(register, "account:b"), "it is heard of when the keeper is back")


@pytest.fixture
async def shared() -> Any:
    """Two processes' clients of one Redis."""
    server = FakeServer()
    made = [Redis(lambda: FakeAsyncRedis(server=server), 5) for _ in range(2)]
    yield server, *made
    for one in made:
        await one.close()


async def test_other_processes_hear_of_a_change_by_a_note(shared: Any):
    _, here, there = shared
    keeper, near, far = Keeper(), Register(), Register()
    both = [follower(keeper, register, every=3600, redis=redis) for register, redis in ((near, here), (far, there))]
    async with running(*(one.run() for one in both)):
        await until(lambda: near.version > 0 and far.version > 0, "both have heard of it")
        for number in range(3):
            keeper.revoke(f"account:{number}")
            near.wanted.set()  # said after a commit, in the process that keeps it
            for register in (near, far):
                await until(lambda: revoked(register, f"account:{number}"), "both know of it", 20)  # noqa: B023


async def test_without_redis_it_only_takes_until_the_next_look(shared: Any):
    server, here, there = shared
    keeper, near, far = Keeper(), Register(), Register()
    both = [follower(keeper, register, every=0.3, redis=redis) for register, redis in ((near, here), (far, there))]
    async with running(*(one.run() for one in both)):
        await until(lambda: near.version > 0 and far.version > 0, "both have heard of it")
        server.connected = False
        keeper.revoke("account:a")
        near.wanted.set()
        for register in (near, far):
            await until(lambda: revoked(register, "account:a"), "both know of it", 20)  # noqa: B023
