"""Builds a service's read models anew from its owners' aggregates, by RPCs alone: it works beside a running platform, split or whole.

Begin makes empty copies beside the present tables; each owner says the state of its aggregates again, page by page; finish puts the copies in
place once they have heard it all. Until then people read the present ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from hetao.operations.v1 import operations_pb2 as pb
from hetao.operations.v1 import operations_pb2_grpc as rpc

#: (owner, aggregates said again so far, events still to be heard)
Progress = Callable[[str, int, int], None]


async def rebuild(service: str, channel: Callable[[str], Any], token: str, progress: Progress) -> int:
    """Returns how many aggregates were said again. `channel(service)`: a gRPC channel to each service; `token`: an administrator's."""
    metadata = [("authorization", f"Bearer {token}")]
    own = rpc.OperationsServiceStub(channel(service))
    begun: pb.BeginRebuildResponse = await own.BeginRebuild(pb.BeginRebuildRequest(service=service), metadata=metadata)
    said = 0
    for owner in begun.owners:
        stub, after = rpc.OperationsServiceStub(channel(owner)), ""
        while True:
            request = pb.RepublishRequest(service=owner, after=after)
            answer: pb.RepublishResponse = await stub.Republish(request, metadata=metadata)
            said += answer.count
            progress(owner, said, 0)
            if not answer.next:
                break
            if answer.next == after:  # what was said is still on its way to the log
                await asyncio.sleep(0.05)
            after = answer.next
    while True:
        finish = pb.FinishRebuildRequest(service=service)
        finished: pb.FinishRebuildResponse = await own.FinishRebuild(finish, metadata=metadata)
        progress(service, said, finished.missing)
        if finished.finished:
            return said
        await asyncio.sleep(0.1)
