"""Persons are planted all through a story, with everything that can go wrong on the way, and looked for wherever the platform speaks or keeps.

Looked for in every line of the log, span, label, event and row: as text, in UTF-8, in base64 and as the escapes that JSON, Python and percent signs make.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import asyncpg
import grpc
import pytest

from hetao.cases.v1 import cases_pb2, cases_pb2_grpc
from kit.config import Settings
from kit.errors import FailedPrecondition
from kit.postgres import EmbeddedPostgres
from kit.unit import Unit
from tests.functional.harness import new_key
from tests.otlp import Hook
from tests.watched import Watched, until, watched

pytestmark = pytest.mark.xdist_group("personal data")

#: Made up; the number has a right check digit.
NAME, OTHER_NAME, NUMBER, PHONE = "赵秀英", "欧阳明珠", "150826198001010013", "13904781234"

#: Has a wrong check digit: it is refused, and may stand nowhere all the same.
WRONG_NUMBER, WRONG_PHONE = "150826198001010019", "1390478123499"

HOOK_KEY = "hook-secret-493817"

CLERK = "window-clerk-2"


@dataclass
class Planted:
    story: Watched
    words: list[str]


@pytest.fixture(scope="module")
async def planted(server: EmbeddedPostgres, template: Settings) -> AsyncIterator[Planted]:
    with Hook(status=500) as hook:
        async with watched(server, template) as story:
            receipts = await register(story)
            pins = [receipt["pin"] for receipt in receipts]
            words = [NAME, OTHER_NAME, NUMBER, PHONE, WRONG_NUMBER, WRONG_PHONE, HOOK_KEY, *pins]
            await ask_for_progress(story, receipts)
            await say_it_wrong(story)
            await story.tell(f"{hook.url}/hook?key={HOOK_KEY}")
            await hand_over(story, "六号楼三单元")
            await until(lambda: bool(hook.received), "the webhook", 30)
            await break_things(story)
            await call_by_grpc(story)
            yield Planted(story, words)


async def hand_over(story: Watched, place: str) -> None:
    said = f"{NAME}（{NUMBER}，电话 {PHONE}）称楼上漏水"
    await story.hand_over(title=f"{NAME}与邻居争吵", description=said, place=place)


async def register(story: Watched) -> list[dict[str, Any]]:
    party = {"role": "PARTY_ROLE_APPLICANT", "type": "PARTY_TYPE_NATURAL_PERSON", "idNumber": NUMBER, "phone": PHONE}
    body = {
        "kind": "KIND_DISPUTE",
        "division": "150826",
        "title": f"{NAME}工伤待遇纠纷",
        "description": f"{NAME}，身份证 {NUMBER}，电话 {PHONE}，要求支付工伤待遇",
        "parties": [
            {**party, "name": NAME},
            {"role": "PARTY_ROLE_RESPONDENT", "type": party["type"], "name": OTHER_NAME},
        ],
    }
    key = new_key()
    first = await story.post(CLERK, "/v1/cases", body, headers={"idempotency-key": key})
    assert await story.post(CLERK, "/v1/cases", body, headers={"idempotency-key": key}) == first
    case, applicant = first["case"], first["case"]["parties"][0]
    path = f"/v1/cases/{case['caseId']}"
    accepted = {"classification": {"category": "10", "scale": "SCALE_INDIVIDUAL", "risk": "RISK_MEDIUM"}}
    accepted["classification"] |= {"complexity": "COMPLEXITY_COMPLEX"}
    await story.post("dispatcher-2", f"{path}:accept", accepted)
    reason = {"reason": "核对联系方式，电话回访"}
    shown = await story.send("POST", f"{path}/parties/{applicant['partyId']}:reveal", "dispatcher-2", json=reason)
    assert NUMBER in shown.text or shown.status_code == 403
    return list(first["receipts"])


async def ask_for_progress(story: Watched, receipts: list[dict[str, Any]]) -> None:
    right = {"code": receipts[0]["code"], "pin": receipts[0]["pin"]}
    wrong = {"code": receipts[0]["code"], "pin": receipts[1]["pin"]}
    statuses = [(await story.send("POST", "/v1/caseProgress:lookup", json=body)).status_code for body in (right, wrong)]
    assert statuses[0] == 200
    await story.send("POST", "/v1/caseProgress:lookup", json={"code": NAME, "pin": NUMBER})


async def say_it_wrong(story: Watched) -> None:
    """All that callers get wrong, with persons in it."""
    party = {"role": "PARTY_ROLE_APPLICANT", "type": "PARTY_TYPE_NATURAL_PERSON", "name": NAME}
    case = {"kind": "KIND_DISPUTE", "division": "150826", "title": NAME}
    bodies: list[Any] = [
        {**case, "parties": [{**party, "idNumber": WRONG_NUMBER, "phone": WRONG_PHONE}]},
        {**case, "parties": [{**party, "idNumber": int(NUMBER), "name": {"first": NAME}}]},
        {**case, NAME: PHONE},
        {**case, "division": NUMBER},
        {**case, "kind": NAME, "requestId": NAME},
    ]
    for body in bodies:
        assert (await story.send("POST", "/v1/cases", CLERK, json=body)).status_code == 400
    half = json.dumps(bodies[0], ensure_ascii=False)[:-9].encode()
    json_type = {"content-type": "application/json"}
    for content, headers in (
        (half, json_type),
        (half, {"content-type": "text/plain"}),
        (NAME.encode("gb18030"), json_type),
    ):
        answer = await story.send("POST", "/v1/cases", CLERK, content=content, headers=headers)
        assert answer.status_code in (400, 415)
    for path in (
        f"/v1/cases/{NUMBER}",
        f"/v1/cases/{quote(NAME)}",
        f"/v1/{PHONE}",
        f"/{quote(NAME)}",
        f"/v1/media/{NUMBER}",
    ):
        assert (await story.send("GET", path, CLERK)).status_code in (400, 404)
    for query in ({"division": NUMBER}, {"pageToken": NAME}, {NAME: PHONE}):
        assert (await story.send("GET", "/v1/cases", CLERK, params=query)).status_code == 400
    for headers in (
        {"authorization": f"Bearer {NUMBER}"},
        {"traceparent": NUMBER},
        {"idempotency-key": PHONE},
        {"if-match": f'"{PHONE}"'},
    ):
        await story.send(
            "POST", "/v1/cases", "" if "authorization" in headers else CLERK, json=bodies[0], headers=headers
        )


async def break_things(story: Watched) -> None:
    """Errors that nobody foresaw, in RPCs, handlers and timers, each of which quotes somebody."""
    services = story.platform.services
    methods = services["cases"].dispatcher.methods
    path = "/hetao.cases.v1.CaseService/GetCase"
    before = methods[path]
    for fault in faults():

        async def broken(request: Any, unit: Unit, fault: Any = fault) -> Any:
            await fault(unit)
            return cases_pb2.GetCaseResponse()

        methods[path] = replace(before, handler=broken)
        answer = await story.send("GET", f"/v1/cases/{uuid4()}", CLERK)
        assert answer.status_code >= 400
        assert NAME not in answer.text
    methods[path] = before

    consumer, timers = services["cases"].consumer, services["cases"].timers
    assert consumer
    assert timers
    for error in (
        ValueError(f"{NAME} {NUMBER}"),
        FailedPrecondition("MOVE_NOT_ALLOWED", field="name", state=NAME, action=PHONE),
    ):
        for kind, heard in list(consumer._by_type.items()):

            async def refuse(unit: Unit, event: Any, error: Exception = error) -> None:
                raise error

            consumer._by_type[kind] = [replace(handler, effect=refuse) for handler in heard]
        parked = await services["cases"].runtime.pool.fetchval("select count(*) from parked")
        await hand_over(story, f"{type(error).__name__}小区")

        async def put_aside(least: int = parked) -> bool:
            count = await services["cases"].runtime.pool.fetchval("select count(*) from parked")
            return bool(count > least)

        await until(put_aside, "the events to be put aside", 30)

    async def late(unit: Unit, key: str) -> None:
        await unit.fetch("select $1::int", NAME)

    timers._work = dict.fromkeys(timers._work, late)
    story.clock.move_to(story.clock.now().replace(month=6))

    async def given_up() -> bool:
        return bool(
            await services["cases"].runtime.pool.fetchval(
                "select exists (select from timer where parked_at is not null)"
            )
        )

    await until(given_up, "the timers to be put aside", 30)


def faults() -> Iterator[Any]:
    async def by_value(unit: Unit) -> None:
        raise ValueError(f"{NAME} {NUMBER} {PHONE}")

    async def by_key(unit: Unit) -> None:
        {}[NAME]

    async def by_argument(unit: Unit) -> None:
        await unit.fetch("select $1::int", NAME)

    async def by_cast(unit: Unit) -> None:
        await unit.fetch(f"select '{NAME}'::uuid")

    async def by_statement(unit: Unit) -> None:
        await unit.fetch(f"select '{PHONE}' from {NAME}")

    async def by_unique_key(unit: Unit) -> None:
        await unit.execute(
            "insert into lookup_guard (code, failures, locks, last_at) values ($1, 0, 0, $2), ($1, 0, 0, $2)",
            NAME,
            unit.now,
        )

    async def in_a_group(unit: Unit) -> None:
        raise ExceptionGroup(NAME, [KeyError(NUMBER), asyncpg.DataError(PHONE)])

    async def by_refusal(unit: Unit) -> None:
        raise FailedPrecondition("TASKS_OPEN", count=NUMBER)

    yield from (by_value, by_key, by_argument, by_cast, by_statement, by_unique_key, in_a_group, by_refusal)


async def call_by_grpc(story: Watched) -> None:
    """Over a socket, with persons where ids belong."""
    assert story.platform.server
    assert story.platform.issuer
    metadata = [("authorization", f"Bearer {story.platform.issuer.mint(CLERK)}")]
    async with grpc.aio.insecure_channel(story.platform.server.address) as channel:
        stub: Any = cases_pb2_grpc.CaseServiceStub(channel)
        for word in (NAME, NUMBER):
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.GetCase(cases_pb2.GetCaseRequest(case_id=word), metadata=metadata)


@cache
def spellings(word: str) -> list[re.Pattern[bytes]]:
    """A word as it may stand in a file of any kind."""
    utf8 = word.encode()
    # Six digits alone stand in many an id and moment by chance: a PIN is one only where it stands alone.
    plain = rb"(?<![\w.-])%s(?![\w-])" % utf8 if len(utf8) <= 6 else re.escape(utf8)
    others = {word.encode("utf-16-le"), utf8.hex().encode()}
    if len(utf8) > 6:
        others |= {quote(word).encode(), word.encode("unicode_escape"), base64.b64encode(utf8)[:-4]}
    return [re.compile(plain), *(re.compile(re.escape(other)) for other in others)]


def found(words: list[str], where: bytes) -> list[str]:
    return [word for word in words if any(one.search(where) for one in spellings(word))]


def test_no_line_of_the_log_names_a_person(planted: Planted) -> None:
    lines = planted.story.log.getvalue().splitlines()
    assert len(lines) > 50
    for line in lines:
        assert not found(planted.words, line.encode()), line
    told = planted.story.log.getvalue()
    for expected in (
        "unforeseen error in /hetao.cases.v1.CaseService/GetCase",
        "ValueError",
        "parked",
        "POST /v1/cases 400",
        "hetao.cases.v1.CaseService/GetCase",
    ):
        assert expected in told, "else nothing was looked at"
    assert told.count("unforeseen error in") >= 7


def test_the_log_of_the_embedded_database_names_nobody(planted: Planted, server: EmbeddedPostgres) -> None:
    assert not found(planted.words, server.log_file.read_bytes())


def test_no_span_names_a_person(planted: Planted) -> None:
    spans = planted.story.exporter.get_finished_spans()
    assert len(spans) > 50
    for span in spans:
        assert not found(planted.words, span.to_json().encode()), span.name


async def test_no_metric_names_a_person(planted: Planted) -> None:
    assert not found(planted.words, (await planted.story.exposition()).encode())


async def test_no_event_names_a_person_but_sealed(planted: Planted) -> None:
    rows = await planted.story.platform.log._pool.fetch("select * from record")  # type: ignore[attr-defined]
    assert len(rows) > 20
    for row in rows:
        for value in row.values():
            assert not found(planted.words, value if isinstance(value, bytes) else str(value).encode()), row["type"]


async def test_no_row_names_a_person_but_sealed(planted: Planted) -> None:
    """Every table of every service: the outbox, what was put aside, stored replies, the audit, cases, messages, deliveries."""
    for name in ("grid", "cases", "notify"):
        pool = planted.story.platform.services[name].runtime.pool
        tables = await pool.fetch("select tablename from pg_tables where schemaname = $1", name)
        assert len(tables) > 10
        for (table,) in tables:
            for row in await pool.fetch(f'select * from "{table}"'):
                for column, value in row.items():
                    shown = value if isinstance(value, bytes) else str(value).encode()
                    assert not found(planted.words, shown), f"{name}.{table}.{column}"
