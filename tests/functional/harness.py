"""Hetao as people have it: real processes on loopback in a folder of their own, and persons who call them over REST and gRPC.

    with Hetao() as hetao:
        worker = hetao.person("grid-worker")
        report = worker.post("/v1/reports", {"kind": "REPORT_KIND_SANITATION", "title": "楼道堆放垃圾"})
        hetao.travel("2026-03-09 09:00")        # the processes' clock; what falls due on the way is done

Nothing sleeps for a fixed time: `eventually` asks again until a condition holds.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import NAMESPACE_URL, uuid4, uuid5

import grpc
import httpx
import psutil
from PIL import Image

from kit.clock import BUSINESS_ZONE
from kit.postgres import leftovers

T = TypeVar("T")

CHECKOUT = Path(__file__).resolve().parents[2]

#: A Monday morning, an ordinary working day: the processes begin here, so that no test depends on the day it runs on.
MORNING = datetime(2026, 3, 2, 9, 0, tzinfo=BUSINESS_ZONE)

#: Seconds that a process has to become ready, the first time with a new database and all its data.
START = 90.0

#: The targets of each way to run the platform: a process for each.
MODES: dict[str, Sequence[str]] = {"all": ["all"]}


def department(code: str) -> str:
    """The id of a department that is shipped or belongs to the demo."""
    return str(uuid5(NAMESPACE_URL, f"hetao:department:{code}"))


def eventually(ask: Callable[[], T | None], what: str = "it", seconds: float = 30.0) -> T:
    """What `ask` answers as soon as that is neither None nor false nor empty. Fails after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        found = ask()
        if found:
            return found
        assert time.monotonic() < end, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at the moment."""
    with_sockets = [socket.socket() for _ in range(count)]
    try:
        for one in with_sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in with_sockets]
    finally:
        for one in with_sockets:
            one.close()


def photo(colour: str, *, size: int = 64) -> bytes:
    """A small JPEG of one colour: another content for each colour."""
    made = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(made, "JPEG")
    return made.getvalue()


class Hetao:
    """One installation. `mode`: one process, or a process per target. Its folder goes when the block ends."""

    #: The command `hetao` as its processes are started.
    program = "tests.functional.clocked"

    def __init__(self, mode: str = "all", start: datetime = MORNING, **settings: str):
        self.folder = Path(tempfile.mkdtemp(prefix="hetao-", dir="/tmp"))
        self.folder.chmod(0o711)  # PostgreSQL's unprivileged user walks through it
        self.targets = MODES[mode]
        self.processes: list[subprocess.Popen[bytes]] = []
        http, *rpc = free_ports(1 + len(self.targets))
        self.address, self.rpc_address = f"http://127.0.0.1:{http}", f"127.0.0.1:{rpc[0]}"
        self._ports = {target: (http, port) for target, port in zip(self.targets, rpc, strict=True)}
        self._settings = {f"HETAO_{name}": value for name, value in settings.items()}
        self._ahead = timedelta()
        self.at(start)
        self.http = httpx.Client(base_url=self.address, timeout=30, trust_env=False)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.close()

    # -- processes --

    def environment(self, target: str = "all") -> dict[str, str]:
        """What a command of this installation finds in its environment; none of ours comes from outside."""
        http, rpc = self._ports[target]
        outside = {name: value for name, value in os.environ.items() if not name.startswith("HETAO_")}
        return outside | {
            "HETAO_DATA_DIR": str(self.folder / "data"),
            "HETAO_HTTP__PORT": str(http),
            "HETAO_GRPC__PORT": str(rpc),
            "HETAO_TIMERS__POLL_SECONDS": "0.05",
            "HETAO_LIMITS__READS": "1000000",  # a test's few persons do the work of many
            "HETAO_LIMITS__WRITES": "1000000",
            "TEST_CLOCK": str(self.folder / "clock"),
            "PYTHONPATH": f"{CHECKOUT}{os.pathsep}{CHECKOUT / 'gen'}",
            **self._settings,
        }

    def start(self) -> None:
        """Starts every process and waits until it says that it is ready."""
        for target in self.targets:
            with (self.folder / "said").open("ab") as said:
                command = [sys.executable, "-m", self.program, "serve", f"--target={target}"]
                self.processes.append(
                    subprocess.Popen(
                        command,
                        cwd=CHECKOUT,
                        env=self.environment(target),
                        stdout=said,
                        stderr=said,
                        start_new_session=True,
                    )
                )
        eventually(self._ready, "the platform to be ready", START)

    def _ready(self) -> bool:
        for process in self.processes:
            assert process.poll() is None, f"it ended with {process.returncode}:\n{self.said()}"
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def said(self, lines: int = 60) -> str:
        """The last that the processes said."""
        return "\n".join((self.folder / "said").read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """As Ctrl-C does: everything is finished and ends well."""
        processes, self.processes = self.processes, []
        for process in processes:
            process.send_signal(signal.SIGINT)
        for process in processes:
            try:
                code = process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
                raise
            assert code in (0, 130), f"it ended with {code}:\n{self.said()}"

    def kill(self) -> None:
        """As a power cut does, but for PostgreSQL, which is an orphan now."""
        processes, self.processes = self.processes, []
        for process in processes:
            process.kill()
            process.wait(10)

    def close(self) -> None:
        """Whatever still runs of it ends, and its folder goes."""
        self.http.close()
        self.kill()
        orphans = leftovers(self.folder / "data" / "postgres")
        for orphan in orphans:
            with suppress(psutil.NoSuchProcess):  # the others follow the first
                orphan.kill()
        psutil.wait_procs(orphans, 10)
        shutil.rmtree(self.folder, ignore_errors=True)

    def command(self, *words: str, timeout: float = 120, given: str = "") -> subprocess.CompletedProcess[str]:
        """The `hetao` command beside the platform, by the same clock. `given`: what it reads from standard input."""
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

    # -- time --

    @property
    def now(self) -> datetime:
        """The time that the processes have."""
        return datetime.now(UTC) + self._ahead

    def at(self, moment: str | datetime) -> None:
        """Sets the clock, which goes on from there: "2026-03-09 09:00" is time where the work is done."""
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment).replace(tzinfo=BUSINESS_ZONE)
        self._ahead = moment - datetime.now(UTC)
        written = self.folder / "clock.new"
        written.write_text(str(self._ahead.total_seconds()))
        written.replace(self.folder / "clock")

    # -- persons --

    def person(self, account: str) -> Person:
        """Somebody with an account, signed in by the platform's own issuer."""
        return Person(self, account)

    @property
    def anybody(self) -> Person:
        """Somebody without an account."""
        return Person(self, "")

    @contextmanager
    def rpc(self) -> Iterator[grpc.Channel]:
        with grpc.insecure_channel(self.rpc_address) as channel:
            yield channel


class Person:
    """Calls over REST as one person. `get` and `post` expect the answer, `refused` a refusal."""

    def __init__(self, hetao: Hetao, account: str):
        self.hetao, self.account = hetao, account
        self.token = self._sign_in() if account else ""

    def _sign_in(self) -> str:
        form = {"grant_type": "password", "username": self.account}
        answer = self.hetao.http.post("/issuer/token", data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return self.hetao.http.request(method, path, headers=headers | more.pop("headers", {}), **more)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        return answered(self.send("GET", path, params=query))

    def post(self, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """`headers` in Python's spelling: `idempotency_key="…"`, `if_match='"3"'`."""
        return answered(self.send("POST", path, json={} if body is None else body, headers=spelled(headers)))

    def upload(self, content: bytes) -> str:
        """The id of an uploaded photo."""
        answer = answered(self.send("POST", "/v1/media", files={"file": ("photo.jpg", content, "image/jpeg")}))
        return str(answer["mediaId"])

    def refused(self, method: str, path: str, body: Any = None, *, query: Any = None, **more: Any) -> Refusal:
        if body is not None:
            more["json"] = body
        return Refusal(self.send(method, path, params=query, **more))

    def everything(self, path: str, name: str, **query: Any) -> list[dict[str, Any]]:
        """Every row of a list, page by page."""
        rows: list[dict[str, Any]] = []
        token = ""
        while True:
            page = self.get(path, **query, **({"pageToken": token} if token else {}))
            rows += page[name]
            token = page["nextPageToken"]
            if not token:
                return rows

    def messages(self, template: str = "", subject: str = "") -> list[dict[str, Any]]:
        """What lies in the person's inbox about something."""
        found = self.everything("/v1/messages", "messages", pageSize=200)
        return [one for one in found if template in ("", one["template"]) and subject in ("", one["subject"])]


class Refusal:
    """A 4xx as problem details (RFC 9457), in both languages, with what programs and people need."""

    def __init__(self, answer: httpx.Response):
        assert 400 <= answer.status_code < 500, f"{answer.status_code}: {answer.text}"
        assert answer.headers["content-type"] == "application/problem+json"
        told = answer.json()
        assert told["status"] == answer.status_code
        assert told["type"] == f"/docs/errors#{told['reason']}"
        for zh, en in (("title", "titleEn"), ("detail", "detailEn")):
            assert is_chinese(told[zh]), told
            assert told[en], told
            assert not is_chinese(told[en]), told
        for error in told["errors"]:
            assert all(error[name] for name in ("reason", "message", "messageEn")), told
        self.status, self.reason = answer.status_code, told["reason"]
        self.fields = [error["field"] for error in told["errors"]]
        self.labels = [error["label"] for error in told["errors"]]
        self.reasons = [error["reason"] for error in told["errors"]]
        self.headers, self.told = answer.headers, told

    def __repr__(self) -> str:
        return f"Refusal({self.status} {self.reason} {list(zip(self.fields, self.reasons, strict=True))})"


def answered(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, f"{answer.status_code}: {answer.text}"
    told: dict[str, Any] = answer.json()
    return told


def spelled(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def is_chinese(text: str) -> bool:
    return any("\u4e00" <= character <= "\u9fff" for character in text)


def new_key() -> str:
    """A value for Idempotency-Key that was never used."""
    return str(uuid4())
