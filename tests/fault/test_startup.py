"""The platform as a person starts and stops it: a real process, and whatever goes wrong is one clear line."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from kit.postgres import leftovers

ROOT = Path(__file__).parents[2]

#: Seconds that anything here may take.
PATIENCE = 90

#: Seconds until a warm start is ready. On its own it has 5; here other tests run beside it.
WARM = 10


class Process:
    """`hetao serve` on a folder of its own."""

    def __init__(self, data_dir: Path, *arguments: str, **settings: str):
        self.data_dir = data_dir
        self.http_port, self.grpc_port = free_port(), free_port()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("HETAO_")}
        environment |= {
            "HETAO_DATA_DIR": str(data_dir),
            "HETAO_HTTP__PORT": str(self.http_port),
            "HETAO_GRPC__PORT": str(self.grpc_port),
            "PYTHONUNBUFFERED": "1",
            **settings,
        }
        self.environment = environment
        self.process = subprocess.Popen(
            [sys.executable, "-m", "services", *(arguments or ("serve",))],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.output = ""

    def until(self, words: str) -> None:
        """Reads what it says until it has said this."""
        assert self.process.stdout
        while words not in self.output:
            line = self.process.stdout.readline()
            assert line, f"it ended without saying {words!r}:\n{self.output}"
            self.output += line

    def ready(self) -> "Process":
        self.until("Hetao is ready")
        return self

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Sends the signal and returns the exit status."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        rest, _ = self.process.communicate(timeout=PATIENCE)
        self.output += rest or ""
        return self.process.returncode

    def complaint(self) -> str:
        """The line of a start that failed: one in each language, and nothing else."""
        assert self.ended() == 1, self.output
        lines = [line for line in self.output.splitlines() if not line.startswith(("  ✓", "{"))]  # steps and logs
        assert len(lines) == 2, self.output
        assert lines[0].startswith("错误：")
        assert lines[1].startswith("error: ")
        return lines[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


Start = Callable[..., Process]


@contextmanager
def starting(data_dir: Path) -> Iterator[Start]:
    """start(*arguments, **settings) → a process on the folder; killed at the end with its PostgreSQL."""
    started: list[Process] = []

    def begin(*arguments: str, **settings: str) -> Process:
        started.append(Process(data_dir, *arguments, **settings))
        return started[-1]

    try:
        yield begin
    finally:
        for one in started:
            if one.process.poll() is None:
                one.process.kill()
            one.process.communicate()
        for process in leftovers(data_dir / "postgres"):
            with suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def start(scratch: Path) -> Iterator[Start]:
    with starting(scratch / "data") as begin:
        yield begin


def healthy(platform: Process) -> bool:
    return httpx.get(f"http://127.0.0.1:{platform.http_port}/healthz").status_code == 200


def test_its_life_from_the_first_start_on(start: Start, scratch: Path):
    cluster = scratch / "data" / "postgres"

    first = start().ready()
    assert "启动数据库" in first.output
    first.until("Ctrl-C")
    assert f"127.0.0.1:{first.grpc_port}" in first.output
    assert healthy(first)
    assert leftovers(cluster)
    assert first.end(signal.SIGINT) == 0
    assert "stopped" in first.output
    assert leftovers(cluster) == []

    began = time.monotonic()
    warm = start().ready()
    assert time.monotonic() - began < WARM
    warm.process.kill()
    warm.ended()

    again = start().ready()
    assert healthy(again)
    assert f"process {again.process.pid}" in start().complaint()  # a second one on the same data

    token = start("token", "dispatcher")
    assert token.ended() == 0
    assert token.output.count(".") == 2
    migrated = start("migrate")
    assert migrated.ended() == 0
    assert "0 migrations" in migrated.output
    exported = start("audit", "export", "--output", str(scratch / "audit.jsonl"))
    assert exported.ended() == 0, exported.output
    verified = start("audit", "verify", str(scratch / "audit.jsonl"))
    assert verified.ended() == 0, verified.output
    assert "sound" in verified.output

    assert healthy(again)
    assert again.end(signal.SIGTERM) == 0
    assert leftovers(cluster) == []
    assert "Traceback" not in first.output + again.output


def test_stopped_while_it_starts_it_leaves_nothing(start: Start, scratch: Path):
    platform = start()
    platform.until("starting the database")
    platform.end()
    assert "Traceback" not in platform.output
    assert leftovers(scratch / "data" / "postgres") == []


@pytest.mark.parametrize("variable", ["HETAO_HTTP__PORT", "HETAO_GRPC__PORT"])
def test_a_taken_port_is_named_with_the_setting_that_changes_it(start: Start, variable: str):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        complaint = start(**{variable: str(port)}).complaint()
    assert variable in complaint
    assert str(port) in complaint
    assert str(os.getpid()) in complaint


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"HETAO_HTTP__PROT": "1"}, "HETAO_HTTP__PROT"),
        ({"HETAO_DATA_DIR": "/proc/nope"}, "HETAO_DATA_DIR"),
        ({"HETAO_HTTP__HOST": "0.0.0.0"}, "HETAO_HTTP__HOST=0.0.0.0"),
        ({"HETAO_PROFILE": "production"}, "HETAO_IDENTITY__ISSUER"),
        ({"HETAO_DATABASE__BINARIES": "/nowhere"}, "/nowhere"),
        ({"HETAO_DATABASE_URL": "postgresql://127.0.0.1:1/x", "HETAO_DATABASE__START_TIMEOUT": "0.1"}, "127.0.0.1:1/x"),
    ],
)
def test_what_a_person_can_mend_is_one_line(start: Start, settings: dict[str, str], said: str):
    assert said in start(**settings).complaint()


def test_an_unknown_target_is_one_line(start: Start):
    assert "there is no service weather" in start("serve", "--target", "weather").complaint()


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="mounts a small file system, as root")
def test_a_full_disk_is_one_line(start: Start, scratch: Path):
    data = scratch / "data"
    data.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m,mode=711", "hetao", data], check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        assert "the disk is full" in start().complaint()
    finally:
        subprocess.run(["umount", "--lazy", data], check=True)
