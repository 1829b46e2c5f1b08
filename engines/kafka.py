"""A Kafka of one node, on a free port of this machine.

    with Kafka() as kafka:
        connect(kafka.address)

The broker is the real one (KRaft, Apache's own jars), with little memory and a class archive so that it is ready in a second or two. It comes back
on the same port with the same data: `kill()` and `start()` are what a crash is to its clients, `pause()` and `resume()` what a hanging machine is.
`python -m engines.kafka` runs one until Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from engines import BUILD, alone, free_port
from kit.errors import StartupError

VERSION = "4.3.1"
CLUSTER_ID = "aGV0YW8tZW5naW5lcy0wMQ"

HERE = Path(__file__).resolve().parent
_FOLDER = BUILD / "kafka"
_LIBS, _ARCHIVE, _TEMPLATE = _FOLDER / f"libs-{VERSION}", _FOLDER / f"kafka-{VERSION}.jsa", _FOLDER / f"data-{VERSION}"

_JVM = (
    "-Xms128m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # tests are over before the second compiler has paid for itself
    "-Xlog:disable",
    "-Xlog:all=error:stderr",  # an archive of another JVM is passed over without a word
    f"-Dlog4j2.configurationFile={(HERE / 'kafka.log4j2.properties').as_uri()}",
)

#: For one node, and for starts and restarts that are quick.
_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,"
    + ",".join(f"{name}:{name}" for name in ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")),
    "auto.create.topics.enable": "false",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "500",
    # After a kill the controller takes a broker back only when its former life is over: 2 s instead of 9.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "log.cleaner.dedupe.buffer.size": "2097152",
    "log.cleaner.threads": "1",
}

#: A thread that lives as long as we do.
_LAUNCHER = ThreadPoolExecutor(1, thread_name_prefix="kafka")


class Kafka:
    """`folder`: where the data are and stay; a temporary one that goes with `close()` if None. `settings`: of the broker, over ours. `security`: the
    protocol that clients speak; what it needs stands in `settings`.

    `address` is what clients take for the bootstrap servers. `start()` raises `StartupError` when there is no Java, or no jars and no way to get
    them. On Linux the broker also ends with this process, however that ends: nothing is left behind by a killed test.
    """

    def __init__(
        self, folder: Path | None = None, settings: Mapping[str, str] | None = None, *, security: str = "PLAINTEXT"
    ):
        self._security = security
        self._own = folder is None
        self.folder = folder.absolute() if folder else Path(tempfile.mkdtemp(prefix="hetao-kafka-"))
        self._settings = dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._ports: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def address(self) -> str:
        if self._ports is None:
            raise RuntimeError("Kafka was never started")
        return f"127.0.0.1:{self._ports[0]}"

    @property
    def pid(self) -> int | None:
        """Of the broker, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def log_file(self) -> Path:
        return self.folder / "kafka.log"

    def start(self, timeout: float = 60.0) -> None:
        """Returns when it is ready: for the first time on a free port, later on the same one, with what it had stored."""
        if self.pid:
            return
        fetch()
        if not (self.folder / "data").exists():
            shutil.copytree(_TEMPLATE, self.folder / "data")
        tries = 1 if self._ports else 5
        while True:
            tries -= 1
            self._ports = self._ports or self._remembered() or (free_port(), free_port())
            properties = self._write_properties(*self._ports)
            self._process, ready = _launch(properties, self.log_file, timeout)
            if ready:
                return
            said = self.log_file.read_text(errors="replace")[-4000:]
            self.kill()
            if not tries or "Address already in use" not in said:
                raise StartupError(
                    f"Kafka 未能启动，详见 {self.log_file}：\n{said}", f"Kafka did not start, see {self.log_file}"
                )
            self._ports = None
            (self.folder / "ports").unlink()

    def stop(self) -> None:
        """In an orderly way, as a machine that is shut down."""
        if self.pid:
            self.resume()
            self._signal(signal.SIGTERM)
            self._wait(30.0)

    def kill(self) -> None:
        """At once, as a machine that loses its power."""
        if self.pid:
            self._signal(signal.SIGKILL)
            self._wait(30.0)

    def pause(self) -> None:
        """It keeps its connections and says nothing any more."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Ends it, and removes the folder if that is a temporary one."""
        self.kill() if self._own else self.stop()
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _signal(self, number: int) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    def _wait(self, seconds: float) -> None:
        assert self._process
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _remembered(self) -> tuple[int, int] | None:
        """The ports that a former launcher of this folder used, so that addresses stay what they were."""
        with contextlib.suppress(OSError, ValueError):
            broker, controller = map(int, (self.folder / "ports").read_text().split())
            return broker, controller
        return None

    def _write_properties(self, broker: int, controller: int) -> Path:
        properties = {
            **_PROPERTIES,
            "listeners": f"{self._security}://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"{self._security}://127.0.0.1:{broker}",
            "security.inter.broker.protocol": self._security,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "log.dirs": str(self.folder / "data"),
            **self._settings,
        }
        (self.folder / "ports").write_text(f"{broker} {controller}\n")
        return _write(self.folder / "server.properties", properties)


def fetch(progress: Callable[[str, str], None] = lambda zh, en: None) -> None:
    """Brings the jars and makes what shortens later starts, once. Raises `StartupError`. `progress(zh, en)` is told each step."""
    java()
    if _ready():
        return
    with alone("kafka"):
        if _ready():
            return
        _FOLDER.mkdir(parents=True, exist_ok=True)
        if not _LIBS.exists():
            progress(f"下载 Kafka {VERSION}", f"downloading Kafka {VERSION}")
            _bring_jars()
        with tempfile.TemporaryDirectory(dir=_FOLDER) as scratch:
            progress("准备 Kafka", "preparing Kafka")
            _make_template(Path(scratch))
            _make_archive(Path(scratch))


def missing() -> str | None:
    """Why there can be no Kafka on this machine, in both languages; None if there can."""
    try:
        java()
        if not _LIBS.exists():
            _maven()
    except StartupError as error:
        return str(error)
    return None


def _ready() -> bool:
    return _LIBS.exists() and _TEMPLATE.exists() and _ARCHIVE.exists()


def java() -> str:
    """The program, by JAVA_HOME or the path."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else shutil.which("java")
    if not found:
        raise StartupError(
            "找不到 java：运行 Kafka 需要 Java 17 或更高版本", "java not found: Kafka needs Java 17 or later"
        )
    return found


def _maven() -> str:
    if not (found := shutil.which("mvn")):
        raise StartupError(
            "找不到 mvn：首次使用须由 Maven 下载 Kafka", "mvn not found: Maven brings Kafka the first time"
        )
    return found


def _bring_jars() -> None:
    arriving = _FOLDER / "libs-arriving"
    shutil.rmtree(arriving, ignore_errors=True)
    command = [
        *(_maven(), "-B", "-q", "-f", str(HERE / "kafka.pom.xml")),
        "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies",
        *("-DincludeScope=runtime", f"-DoutputDirectory={arriving}"),
    ]
    for extra in (["-o"], []):  # what Maven has already needs no network
        done = subprocess.run([*command, *extra], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode == 0 and any(arriving.glob("kafka_2.13-*.jar")):
            arriving.rename(_LIBS)
            return
    said = next((line for line in done.stdout.splitlines() if "ERROR" in line), "").strip()
    raise StartupError(f"Maven 未能下载 Kafka：{said}", f"Maven could not bring Kafka: {said}")


def _make_template(scratch: Path) -> None:
    """A formatted folder to copy: it saves each new broker the start of a JVM."""
    if _TEMPLATE.exists():
        return
    data = scratch / "data"
    properties = _write(
        scratch / "format.properties",
        {
            **_PROPERTIES,
            "listeners": "PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0",
            "controller.quorum.voters": "1@127.0.0.1:9093",
            "log.dirs": str(data),
        },
    )
    done = subprocess.run(
        [*_command("kafka.tools.StorageTool"), "format", "-t", CLUSTER_ID, "-c", str(properties)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        raise StartupError(
            f"Kafka 未能格式化数据目录：{done.stdout}", f"Kafka could not format its folder: {done.stdout}"
        )
    data.rename(_TEMPLATE)


def _make_archive(scratch: Path) -> None:
    """The classes of one run as the JVM keeps them in memory: it halves every later start."""
    if _ARCHIVE.exists():
        return
    shutil.copytree(_TEMPLATE, scratch / "run" / "data")
    broker = Kafka(scratch / "run")
    properties = broker._write_properties(free_port(), free_port())
    made = scratch / _ARCHIVE.name
    process, ready = _launch(properties, scratch / "archive.log", 120.0, f"-XX:ArchiveClassesAtExit={made}")
    if not ready:
        process.kill()
        process.wait()
        said = (scratch / "archive.log").read_text(errors="replace")[-4000:]
        raise StartupError(f"Kafka 未能启动：\n{said}", "Kafka did not start")
    process.terminate()
    process.wait()
    if made.exists():
        made.rename(_ARCHIVE)
    else:  # a JVM that makes none is slower, no more
        _ARCHIVE.touch()


def _command(main: str, *extra: str) -> list[str]:
    archive = [f"-XX:SharedArchiveFile={_ARCHIVE}"] if _ARCHIVE.exists() and not extra else []
    return [java(), *_JVM, *archive, *extra, "-cp", f"{_LIBS}/*", main]


def _launch(properties: Path, log: Path, timeout: float, *extra: str) -> tuple[subprocess.Popen[bytes], bool]:
    """The broker's process, and whether it said in time that it is ready."""
    command = [*_command("kafka.Kafka", *extra), str(properties)]
    if guard := shutil.which("setpriv"):  # tied to the thread that starts it
        command = [guard, "--pdeathsig", "KILL", *command]
    with log.open("ab") as file:
        begin = file.tell()
        process = _LAUNCHER.submit(
            subprocess.Popen[bytes],
            command,
            cwd=properties.parent,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C on the terminal is for us: we end it in our own time
        ).result()
    deadline = time.monotonic() + timeout
    try:
        while time.monotonic() < deadline and process.poll() is None:
            with log.open("rb") as file:
                file.seek(begin)
                if b"Kafka Server started" in file.read():
                    return process, True
            time.sleep(0.02)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process, False


def _write(file: Path, properties: Mapping[str, str]) -> Path:
    file.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
    return file


def _main() -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        fetch(lambda zh, en: print(f"{zh} · {en}", file=sys.stderr))
        with Kafka() as kafka, contextlib.suppress(KeyboardInterrupt):
            print(kafka.address, flush=True)
            signal.pause()
    except StartupError as error:
        sys.exit(f"错误：{error.zh}\nerror: {error.en}")


if __name__ == "__main__":
    _main()
