"""Hetao in separate processes: one of every service or two, on a real Kafka, PostgreSQL and Redis."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import cycle

import grpc
import httpx
import pytest

from engines import kafka, redis
from engines.split import Split
from tests.functional.harness import CHECKOUT, MORNING, START, Hetao, eventually


class SplitHetao(Hetao):
    """`mode`: "split", or "replicas" for two processes of everything. Its engines live from `__enter__` (or the first `start`) to `close`, unless a test
    ends them by `split`."""

    def __init__(self, mode: str = "split", start: datetime = MORNING, **settings: str):
        super().__init__("all", start, **settings)
        self.split = Split(
            self.folder / "data",
            replicas={"split": 1, "replicas": 2}[mode],
            settings={
                "HETAO_TIMERS__POLL_SECONDS": "0.05",
                "HETAO_LIMITS__READS": "1000000",  # a test's few persons do the work of many
                "HETAO_LIMITS__WRITES": "1000000",
                **self._settings,
            },
            program=[sys.executable, "-m", self.program],
            more={"TEST_CLOCK": str(self.folder / "clock")},
            durable=False,
        )
        self.address = self.split.address
        self.http.close()
        ports = [gateway.http for gateway in self.split.gateways]
        self.http = httpx.Client(base_url=self.address, timeout=30, trust_env=False, transport=InTurn(ports))
        self.rpc_address = self.split.addresses()["cases"].split(",")[0]
        self._settled = False

    def environment(self, target: str = "all") -> dict[str, str]:
        """Of a command beside the processes."""
        return self.split.environment()

    def start(self) -> None:
        """Everything that does not run; returns when all of it is ready, and for the first time when what it said at its birth is in effect."""
        self.split.start_engines()
        self.split.begin()
        self.split.until_ready(START)
        if not self._settled:
            eventually(lambda: not self.split.behind(), "the first events to be in effect", START)
            self._settled = True

    def said(self, lines: int = 60) -> str:
        return "\n".join(f"== {part.name}\n{part.program.said(lines)}" for part in self.split.parts.values())

    def stop(self) -> None:
        """As Ctrl-C does. The engines go on."""
        self.split.stop_parts()
        for part in self.split.parts.values():
            assert part.program.exit_status in (0, None), (
                f"{part.name} ended with {part.program.exit_status}:\n{self.said()}"
            )

    def kill(self) -> None:
        """SIGKILL for every process of the platform; the engines go on."""
        self.split.kill_parts()

    def close(self) -> None:
        self.kill()
        self.split.close()
        super().close()

    def command(self, *words: str, timeout: float = 120, given: str = "") -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.functional.clocked", *words]
        return subprocess.run(
            command,
            cwd=CHECKOUT,
            env=self.environment(),
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @contextmanager
    def rpc(self, service: str = "cases") -> Iterator[grpc.Channel]:
        with grpc.insecure_channel(self.split.addresses()[service].split(",")[0]) as channel:
            yield channel


class InTurn(httpx.BaseTransport):
    """What stands in front of several gateways: each takes a request in turn, and one that nobody listens at is passed over."""

    def __init__(self, ports: Sequence[int]):
        self._ports = cycle(ports)
        self._count = len(ports)
        self._plain = httpx.HTTPTransport(trust_env=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        for _ in range(self._count - 1):
            try:
                return self._at(next(self._ports), request)
            except httpx.ConnectError:
                continue
        return self._at(next(self._ports), request)

    def _at(self, port: int, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(port=port)
        return self._plain.handle_request(request)

    def close(self) -> None:
        self._plain.close()


def need_engines() -> None:
    """Under CI a missing engine fails the test that needs it; elsewhere the test is skipped and says why."""
    if os.environ.get("CI") == "true":
        return
    for missing in (kafka.missing(), redis.missing()):
        if missing:
            pytest.skip(missing)
