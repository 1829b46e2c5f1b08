"""What CreateCase is measured against: a bare grpc.aio server that stores a request by two inserts with asyncpg, in one transaction.

No authentication, no validation, no events, no audit, no timers; nothing that a service owes its callers. The same pool size, the same loop,
the same PostgreSQL, requests and answers of the same size. Run as a program: `python -m tests.load.bare_rpc ADDRESS DSN SIZE`.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from uuid import uuid4

import asyncpg
import grpc
import uvloop

from hetao.cases.v1 import case_pb2, cases_pb2_grpc, intake_pb2
from kit.ids import uuid7

TABLES = """
create table if not exists bare_case (
    id uuid primary key, division text not null, title text not null, description text not null, parties bytea not null
);
create table if not exists bare_event (id uuid primary key, case_id uuid not null, value bytea not null)
"""


class Bare(cases_pb2_grpc.CaseServiceServicer):
    def __init__(self, pool: asyncpg.Pool, size: int):
        self._pool = pool
        self._answer = intake_pb2.CreateCaseResponse(case=case_pb2.Case(description="x" * size))

    async def CreateCase(self, request: intake_pb2.CreateCaseRequest, context: Any) -> intake_pb2.CreateCaseResponse:
        case_id = uuid7()
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "insert into bare_case (id, division, title, description, parties) values ($1, $2, $3, $4, $5)",
                case_id,
                request.division,
                request.title,
                request.description,
                request.SerializeToString(),
            )
            await connection.execute(
                "insert into bare_event (id, case_id, value) values ($1, $2, $3)",
                uuid4(),
                case_id,
                request.SerializeToString(),
            )
        return self._answer


async def main(address: str, dsn: str, size: int) -> None:
    pool = await asyncpg.create_pool(dsn, min_size=10, max_size=10)
    await pool.execute(TABLES)
    server = grpc.aio.server()
    cases_pb2_grpc.add_CaseServiceServicer_to_server(Bare(pool, size), server)  # type: ignore[abstract]
    server.add_insecure_port(address)
    await server.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
