"""Builds a service's read models anew from its owners' aggregates, by RPCs alone: it works beside a running platform, split or whole.

Begin makes empty copies beside the present tables; each owner says the state of its aggregates again, page by page; finish puts the copies in
place once they have heard it all. Until then people read the present ones. Each step may be asked for again, and is, where a service cannot answer
for a moment: a busy machine must not undo what was said so far.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
from grpc.aio import AioRpcError

from hetao.operations.v1 import operations_pb2 as pb
from hetao.operations.v1 import operations_pb2_grpc as rpc

#: (owner, aggregates said again so far, events still to be heard)
Progress = Callable[[str, int, int], None]

#: How often a step is asked for again before the rebuild is given up, and the seconds between.
PATIENCE, PAUSE = 20, 0.5


async def rebuild(service: str, channel: Callable[[str], Any], token: str, progress: Progress) -> int:
    """Returns how many aggregates were said again. `channel(service)`: a gRPC channel to each service; `token`: an administrator's."""
    metadata = [("authorization", f"Bearer {token}")]
    own = rpc.OperationsServiceStub(channel(service))
    begun: pb.BeginRebuildResponse = await _asked(own.BeginRebuild, pb.BeginRebuildRequest(service=service), metadata)
    said = 0
    for owner in begun.owners:
        stub, after = rpc.OperationsServiceStub(channel(owner)), ""
        while True:
            request = pb.RepublishRequest(service=owner, after=after)
            answer: pb.RepublishResponse = await _asked(stub.Republish, request, metadata)
            said += answer.count
            progress(owner, said, 0)
            if not answer.next:
                break
            if answer.next == after:  # what was said is still on its way to the log
                await asyncio.sleep(0.05)
            after = answer.next
    while True:
        finish = pb.FinishRebuildRequest(service=service)
        finished: pb.FinishRebuildResponse = await _asked(own.FinishRebuild, finish, metadata)
        progress(service, said, finished.missing)
        if finished.finished:
            return said
        await asyncio.sleep(0.1)


async def _asked(rpc: Any, request: Any, metadata: list[tuple[str, str]]) -> Any:
    """What a step is answered. One that could not be answered may have been done all the same: what is finished then is no more under way."""
    for tried in range(PATIENCE):
        try:
            return await rpc(request, metadata=metadata)
        except AioRpcError as error:
            if (
                tried
                and isinstance(request, pb.FinishRebuildRequest)
                and error.code() is grpc.StatusCode.FAILED_PRECONDITION
            ):
                return pb.FinishRebuildResponse(finished=True)
            if error.code() is not grpc.StatusCode.UNAVAILABLE or tried == PATIENCE - 1:
                raise
        await asyncio.sleep(PAUSE)
    raise AssertionError("unreachable")
