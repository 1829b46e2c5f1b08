"""The gateway's JSON against google.protobuf.json_format, on a whole case: `python -m tests.load.bench_json`. Ratios within one run."""

from __future__ import annotations

import timeit
from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf import json_format

from hetao.cases.v1 import case_pb2, cases_pb2, intake_pb2
from services.gateway.json_codec import Flaw, decoder, encoder
from tests.contract.golden import example

ROUNDS, TIMES = 7, 300


def microseconds(work: Callable[[], Any]) -> float:
    return min(timeit.repeat(work, number=TIMES, repeat=ROUNDS)) / TIMES * 1e6


def compare(name: str, ours: Callable[[], Any], theirs: Callable[[], Any]) -> None:
    mine, google = microseconds(ours), microseconds(theirs)
    print(f"{name:<28} {mine:7.1f} µs   json_format {google:7.1f} µs   {google / mine:4.1f} times as fast")


def main() -> None:
    case = example(case_pb2.Case.DESCRIPTOR)
    encode = encoder(case_pb2.Case.DESCRIPTOR)
    page = cases_pb2.ListCasesResponse(cases=[case] * 50)
    encode_page = encoder(cases_pb2.ListCasesResponse.DESCRIPTOR)

    def theirs(message: Any) -> bytes:
        return orjson.dumps(json_format.MessageToDict(message, always_print_fields_with_no_presence=True))

    compare("write a case", lambda: orjson.dumps(encode(case)), lambda: theirs(case))
    compare("write a page of 50 cases", lambda: orjson.dumps(encode_page(page)), lambda: theirs(page))

    request_type = intake_pb2.CreateCaseRequest
    body = orjson.dumps(encoder(request_type.DESCRIPTOR)(example(request_type.DESCRIPTOR)))
    read = decoder(request_type.DESCRIPTOR)

    def ours_read() -> Any:
        message = request_type()
        flaws: list[Flaw] = []
        read.read(orjson.loads(body), message, "", flaws)
        assert not flaws
        return message

    compare("read a new case", ours_read, lambda: json_format.ParseDict(orjson.loads(body), request_type()))


if __name__ == "__main__":
    main()
