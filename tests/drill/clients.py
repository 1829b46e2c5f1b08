"""Clients who insist: every write has a request id and is repeated under it until it is answered, over REST or over gRPC."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import grpc
import orjson
from google.protobuf.json_format import MessageToDict, ParseDict

from tests.drill.calls import Call, call
from tests.drill.journal import Journal, Write
from tests.load.client import Connection

#: Seconds that an attempt is waited for, and that a write is insisted on at most: what is not answered then stays unknown.
PATIENCE, INSISTENCE = 4.0, 180.0

#: How many of ten attempts go over gRPC.
OVER_GRPC = 2

#: Answers that may be given while something is dead; nobody knows whether anything was done, and it is asked again.
PASSING = {429, 499, 502, 503, 504}
PASSING_CODES = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}

#: What gRPC says of a call that it sent to nobody.
NOBODY = "connections to all backends failing"

#: A client looks for a process that has come back this often.
RECONNECT = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
]


class Enough(Exception):
    """As many writes as were wanted were accepted: a client stops where it is."""


class Unknown(Exception):
    """A write that never was answered."""


class Refused(Exception):
    """An answer that is neither yes nor "ask again": the life that it belongs to ends here, and the drill fails."""


class Unanswered(Exception):
    """An attempt whose outcome nobody knows."""


class Unsent(Exception):
    """An attempt that did not reach anybody: there was nobody to connect to."""


class Doors(Protocol):
    """Where the platform is: host and port of each gateway, gRPC's address by service, and a token for an account."""

    rest: Sequence[tuple[str, int]]
    rpc: Mapping[str, str]

    def token(self, account: str) -> str: ...


class Switchboard:
    """The gRPC channels of all clients of a process."""

    def __init__(self, doors: Doors):
        self._channels = {
            service: grpc.aio.insecure_channel(address, options=RECONNECT) for service, address in doors.rpc.items()
        }
        self._methods: dict[str, Callable[..., Awaitable[Any]]] = {}

    def method(self, which: Call) -> Callable[..., Awaitable[Any]]:
        if which.rpc not in self._methods:
            self._methods[which.rpc] = self._channels[which.service].unary_unary(
                which.rpc,
                request_serializer=which.request.SerializeToString,
                response_deserializer=which.response.FromString,
            )
        return self._methods[which.rpc]

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()


class Client:
    """One of many, with the accounts of all who have a part in its lives. `goal`: accepted writes of all clients together."""

    def __init__(self, number: int, seed: int, doors: Doors, switchboard: Switchboard, journal: Journal, goal: int):
        self.number, self.journal, self.goal = number, journal, goal
        self.chance = random.Random(f"{seed} {number}")
        self._doors, self._switchboard = doors, switchboard
        self._connections: dict[str, Connection] = {}
        self._count = 0

    async def write(self, account: str, name: str, body: dict[str, Any], root_id: str = "") -> dict[str, Any]:
        """The whole answer. `root_id`: of the aggregate that it changes, unless it is made by it."""
        await self.journal.turn(self.goal)
        if self.journal.accepted >= self.goal:
            raise Enough
        which = call(name)
        self._count += 1
        request_id = f"{self.number}-{self._count}-{self.chance.getrandbits(48):012x}"
        asked = self.journal.now()
        try:
            answer, shown, tries = await self._insist(account, which, body, request_id)
        except Unknown:
            self.journal.unknown(request_id, which.rpc, account, root_id)
            raise
        self.journal.accept(
            Write(
                id=request_id,
                account=account,
                rpc=which.rpc,
                service=which.service,
                root=which.root,
                root_id=root_id or shown[which.row_id],
                row=which.row,
                row_id=shown[which.row_id],
                version=int(shown["etag"]),
                phase=self.journal.phase.number,
                asked=asked,
                at=self.journal.now(),
                tries=tries,
            )
        )
        return answer

    async def read(self, account: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        answer, _, _ = await self._insist(account, call(name), body, "")
        return answer

    async def until(self, ask: Callable[[], Awaitable[Any]], what: str, seconds: float = INSISTENCE) -> Any:
        """What `ask` answers as soon as it is neither None nor empty: what another service does when it has heard of it."""
        end = self.journal.now() + seconds
        while not (found := await ask()):
            if self.journal.accepted >= self.goal:
                raise Enough
            if self.journal.now() > end:
                raise self._refused(f"what {what} causes has not come in {seconds:.0f} s")
            await asyncio.sleep(self.chance.uniform(0.2, 0.4))
        return found

    async def close(self) -> None:
        for connection in self._connections.values():
            connection.close()

    async def _insist(
        self, account: str, which: Call, body: dict[str, Any], request_id: str
    ) -> tuple[dict[str, Any], dict[str, Any], int]:
        end, tries = self.journal.now() + INSISTENCE, 0
        while True:
            tries += 1
            over_grpc = self.chance.randrange(10) < OVER_GRPC
            try:
                async with asyncio.timeout(PATIENCE):
                    if over_grpc:
                        answer = await self._over_grpc(account, which, body, request_id)
                    else:
                        answer = await self._over_rest(account, which, body, request_id)
            except (Unanswered, Unsent, TimeoutError) as error:
                if which.writes and not isinstance(error, Unsent):
                    self.journal.attempt(request_id, str(error) or type(error).__name__)
                if self.journal.now() > end:
                    raise Unknown(request_id) from None
                await asyncio.sleep(self.chance.uniform(0.1, 0.3))  # as a client with manners
                continue
            return answer, which.shown(answer, over_rest=not over_grpc), tries

    async def _over_rest(self, account: str, which: Call, body: dict[str, Any], request_id: str) -> dict[str, Any]:
        connection = self._connections.pop(account, None) or self._connect(account)
        path, left = which.rest(body)
        whole = False
        try:
            status, answer = await connection.call(which.verb, path, left, key=request_id)
            whole = True
        except ConnectionRefusedError:
            raise Unsent from None
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise Unanswered(type(error).__name__) from None
        finally:
            if whole:
                self._connections[account] = connection
            else:
                connection.close()
        if status == 200:
            return answer  # type: ignore[no-any-return]
        if status in PASSING:
            raise Unanswered(f"{status} {_reason(answer)}")
        raise self._refused(f"{which.rpc} {request_id} by {account}: {status} {answer}")

    def _connect(self, account: str) -> Connection:
        return Connection(*self.chance.choice(self._doors.rest), self._doors.token(account))

    async def _over_grpc(self, account: str, which: Call, body: dict[str, Any], request_id: str) -> dict[str, Any]:
        given = {**body, "requestId": request_id} if request_id else body
        request = ParseDict(given, which.request())
        metadata = [("authorization", f"Bearer {self._doors.token(account)}")]
        try:
            answer = await self._switchboard.method(which)(request, metadata=metadata, timeout=PATIENCE)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE and NOBODY in (error.details() or ""):
                raise Unsent from None
            if error.code() in PASSING_CODES:
                raise Unanswered(f"{error.code().name} {error.details()}") from None
            raise self._refused(
                f"{which.rpc} {request_id} by {account}: {error.code().name} {error.details()}"
            ) from None
        return MessageToDict(answer, always_print_fields_with_no_presence=True)

    def _refused(self, what: str) -> Refused:
        self.journal.fault(what)
        return Refused(what)


def _reason(answer: Any) -> str:
    with suppress(orjson.JSONDecodeError, TypeError):
        told = answer if isinstance(answer, dict) else orjson.loads(answer)
        return str(told.get("reason", ""))
    return ""


async def play(clients: list[Client], life: Callable[[Client], Awaitable[None]]) -> None:
    """Every client lives one life after the other until there are enough writes, or until a life is refused."""

    async def live(client: Client) -> None:
        try:
            while True:
                with suppress(Unknown):
                    await life(client)
        except (Enough, Refused):
            pass
        finally:
            await client.close()

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(live(client))
