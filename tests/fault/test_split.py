"""Separate processes: each starts alone and says what it waits for, misses what goes away, and comes back by itself. `make run-split` as a person has it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from engines import free_port
from engines.process import Program
from engines.split import SERVICES, Part, Split
from kit.postgres import leftovers
from tests.conftest import open_folder
from tests.functional.harness import CHECKOUT, eventually
from tests.functional.split import need_engines

pytestmark = [pytest.mark.xdist_group("split"), pytest.mark.timeout(300)]

#: Seconds that anything here may take.
PATIENCE = 90


@pytest.fixture
def split() -> Iterator[Split]:
    need_engines()
    folder = open_folder()
    made = Split(folder / "data", settings={"HETAO_OPS__PATIENCE_SECONDS": "600"}, durable=False)
    try:
        yield made
    finally:
        made.kill_parts()
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def waits(part: Part) -> set[str]:
    """What it says that it waits for; it is alive meanwhile."""
    assert part.program.alive, part.program.said()
    told = part.readiness()
    return set(told["waitingFor"]) - {"start"} if told else set()


def misses(part: Part) -> set[str]:
    told = part.readiness()
    return set(told["away"]) if told else set()


def until_waits(part: Part, *names: str) -> None:
    eventually(lambda: waits(part) == set(names), f"{part.name} waits for {names}; {part.readiness()}", PATIENCE)


def test_every_target_starts_alone_and_says_what_it_waits_for(split: Split) -> None:
    split.start_engines()  # so that all addresses are known
    split.stop_engines()
    split.begin_parts()
    services = [split.parts[name] for name in SERVICES]
    gateway = split.parts["gateway"]
    until_waits(gateway, "kafka", *SERVICES)
    for part in services:
        until_waits(part, "postgres")
    assert httpx.get(f"http://127.0.0.1:{gateway.ops}/readyz").status_code == 503
    assert httpx.get(f"http://127.0.0.1:{gateway.ops}/healthz").status_code == 200

    split.postgres.start()
    for part in services:
        until_waits(part, "kafka")
    split.kafka.start()
    for part in services:
        until_waits(part, "topics")
    until_waits(gateway, "topics", *SERVICES)
    split.make_topics()
    split.until_ready(PATIENCE)  # without Redis
    for part in services:
        eventually(lambda part=part: misses(part) == {"redis"}, f"{part.name} misses Redis", PATIENCE)  # type: ignore[misc]
    split.redis.start()
    eventually(lambda: not any(map(misses, split.parts.values())), "nobody misses anything", PATIENCE)

    cases = split.parts["cases"]
    cases.program.kill()
    eventually(lambda: misses(gateway) == {"cases"}, "the gateway misses cases", PATIENCE)
    assert gateway.ready
    cases.program.begin()
    eventually(lambda: cases.ready and not misses(gateway), "cases is back", PATIENCE)

    split.kafka.pause()
    eventually(lambda: misses(cases) == {"kafka"}, "cases misses Kafka", PATIENCE)
    assert cases.ready
    split.kafka.resume()
    split.postgres.kill()
    eventually(lambda: waits(cases) == {"postgres"}, "cases waits for PostgreSQL", PATIENCE)
    split.postgres.start()
    eventually(lambda: all(part.ready and not misses(part) for part in services), "all are back", PATIENCE)

    split.stop_parts()
    assert {part.program.exit_status for part in split.parts.values()} == {0}, [p.program.said() for p in services]


def serves(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


# -- make run-split ----------------------------------------------------------------------------------------------------


class Supervised:
    """`python -m engines split` on a folder of its own."""

    def __init__(self, folder: Path, http: int, grpc: int):
        outside = {name: value for name, value in os.environ.items() if not name.startswith("HETAO_")}
        self.folder, self.out = folder, folder / "out"
        settings = {
            "HETAO_DATA_DIR": str(folder / "data"),
            "HETAO_HTTP__PORT": str(http),
            "HETAO_GRPC__PORT": str(grpc),
        }
        self.from_byte = self.out.stat().st_size if self.out.exists() else 0
        with self.out.open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "engines", "split"],
                cwd=CHECKOUT,
                env={**outside, **settings, "PYTHONUNBUFFERED": "1"},
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        with self.out.open("rb") as out:
            out.seek(self.from_byte)
            return out.read().decode(errors="replace")

    def until(self, words: str) -> None:
        def said() -> bool:
            assert self.process.poll() is None or words in self.said, self.said
            return words in self.said

        eventually(said, f"{words!r} in {self.said}", PATIENCE)

    def pid_of(self, name: str) -> int:
        return int(json.loads((self.folder / "data" / "split" / name / "process.json").read_text())["pid"])


def left_in(folder: Path) -> list[psutil.Process]:
    """What runs of the platform beside PostgreSQL and Kafka."""
    notes = folder.glob("data/split/*/process.json")
    return [left for note in notes if (left := Program("left", [], note.parent).leftover())]


@contextmanager
def supervised(folder: Path, http: int, grpc: int) -> Iterator[Supervised]:
    running = Supervised(folder, http, grpc)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.send_signal(signal.SIGINT)
            try:
                running.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                running.process.kill()
                running.process.wait()


def seven_ports() -> int:
    """The first of the ports of the services, 100 below those of the operators."""
    while True:
        first = free_port()
        taken = {one.laddr.port for one in psutil.net_connections("inet") if one.laddr}
        if not taken & {*range(first, first + 4), *range(first + 100, first + 105)}:
            return first


def test_run_split_as_a_person_has_it() -> None:
    need_engines()
    folder, http, grpc = open_folder(), free_port(), seven_ports()
    try:
        with supervised(folder, http, grpc) as first:
            first.until("Ctrl-C")
            assert f"http://127.0.0.1:{http}" in first.said
            assert serves(http)
            with supervised(folder, http, grpc) as second:
                assert second.process.wait(PATIENCE) == 1
                assert f"process {first.process.pid}" in second.said
            before = first.pid_of("cases")
            os.kill(before, signal.SIGKILL)
            first.until("cases       已退出（-9）")
            first.until("cases is started again")
            eventually(lambda: first.pid_of("cases") != before, "it is started again", PATIENCE)
            eventually(lambda: serves(grpc + 100), "it serves", PATIENCE)
            first.process.kill()
            first.process.wait()
        with supervised(folder, http, grpc) as again:
            again.until("Ctrl-C")
            environment = shlex_read(folder / "data" / "split" / "environment")
            assert environment["HETAO_DATA_DIR"] == str(folder / "data")
            again.process.send_signal(signal.SIGINT)
            assert again.process.wait(PATIENCE) == 0, again.said
            assert "stopped" in again.said
            assert "Traceback" not in again.said
            assert left_in(folder) == []
            assert leftovers(folder / "data" / "split" / "postgres" / "postgres") == []
    finally:
        for process in [*left_in(folder), *leftovers(folder / "data" / "split" / "postgres" / "postgres")]:
            with suppress(psutil.NoSuchProcess):  # the others follow the first
                process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def shlex_read(file: Path) -> dict[str, str]:
    """The variables that a shell has after it has read the file."""
    printed = subprocess.run(
        ["sh", "-c", f". {file} && env -0"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
        check=True,
    ).stdout
    return dict(pair.split("=", 1) for pair in printed.split("\0") if pair)
