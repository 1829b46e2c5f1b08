"""What the gateway's GET of a case is measured against: a bare FastAPI handler that calls the same stub, in the same process, on another port.

Run as a program it is the platform with this handler beside the gateway: `python -m tests.load.bare_rest`, port in BARE_PORT.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import Annotated, Any

import uvicorn
import uvloop
from fastapi import FastAPI, Header, Response
from google.protobuf.json_format import MessageToDict

from hetao.cases.v1 import cases_pb2, cases_pb2_grpc
from kit.config import load
from kit.module import Module, Parts, Runtime
from kit.platform import Platform
from services.gateway.module import Server, listen
from services.registry import MODULES


def build(runtime: Runtime) -> Parts:
    app = FastAPI()
    stub: Any = runtime.stub(cases_pb2_grpc.CaseServiceStub, "cases")

    @app.get("/v1/cases/{case_id}")
    async def get_case(case_id: str, authorization: Annotated[str, Header()]) -> dict[str, Any]:
        request = cases_pb2.GetCaseRequest(case_id=case_id)
        answer = await stub.GetCase(request, metadata=[("authorization", authorization)], timeout=15)
        return MessageToDict(answer.case, always_print_fields_with_no_presence=True)

    @app.get("/unmapped/{case_id}")
    async def get_unmapped(case_id: str, authorization: Annotated[str, Header()]) -> Response:
        """The same without any JSON: what the framework and the stub cost alone."""
        request = cases_pb2.GetCaseRequest(case_id=case_id)
        answer = await stub.GetCase(request, metadata=[("authorization", authorization)], timeout=15)
        return Response(answer.case.SerializeToString(), media_type="application/x-protobuf")

    async def serve() -> None:
        config = uvicorn.Config(app, lifespan="off", log_config=None, access_log=False, server_header=False, ws="none")
        server = Server(config)
        with listen("127.0.0.1", int(os.environ["BARE_PORT"])) as listener:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                await asyncio.shield(serving)
            except asyncio.CancelledError:
                server.should_exit = True
                await serving
                raise

    return Parts(workers=[serve])


async def main() -> None:
    async with Platform(load(), [*MODULES, Module("bare", build, calls=["cases"])]) as platform:
        await platform.until_stopped()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(main())
