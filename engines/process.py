"""A program that runs beside us: started in a session of its own, stopped, killed, paused, and found again after we were killed.

Its process id and the moment it began are written down in its folder. Whoever starts it next on that folder ends what was left there first.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

from kit.errors import StartupError

#: Seconds that a program has to end by itself before it is killed.
PATIENCE = 45.0

#: Bytes after which what a program said is put aside at its next start.
LARGEST_LOG = 4 * 1024 * 1024


class Program:
    """`command` runs in `folder`, which holds its `said.log` and `process.json`.

    `ready`: asked again and again by `start` until it says so; `seconds`: how long that may take. `gentle`: the signal that asks it to end.
    `tied`: on Linux it is sent that signal when the thread that started it ends, however that ends.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        ready: Callable[[], bool] = lambda: True,
        seconds: float = 60.0,
        gentle: signal.Signals = signal.SIGTERM,
        tied: bool = False,
    ):
        self.name, self.command, self.folder = name, [str(word) for word in command], folder
        if tied and (guard := shutil.which("setpriv")):
            self.command = [guard, "--pdeathsig", gentle.name.removeprefix("SIG"), *self.command]
        self.environment, self.directory = environment, directory or folder
        self._ready, self._seconds, self._gentle = ready, seconds, gentle
        self._process: subprocess.Popen[bytes] | None = None
        self._asked = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- its life -----------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Starts it without waiting until it is ready. What a killed run left here ends first."""
        assert not self.alive, f"{self.name} runs already"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.end_leftover()
        self._asked = False
        log = self.folder / "said.log"
        if log.exists() and log.stat().st_size > LARGEST_LOG:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as said:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.directory,
                env=None if self.environment is None else dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,  # Ctrl-C on the terminal is for us alone
            )
        began = psutil.Process(self._process.pid).create_time()
        note = self._note.with_suffix(".new")
        note.write_text(json.dumps({"pid": self._process.pid, "began": began}))
        note.replace(self._note)

    def start(self) -> None:
        """Returns when it is ready. Raises `StartupError` when it ends before that, or takes too long; then it does not run."""
        self.begin()
        try:
            end = time.monotonic() + self._seconds
            while not self._ready():
                if not self.alive:
                    raise self._failed(f"以 {self.exit_status} 退出", f"ended with {self.exit_status}")
                if time.monotonic() > end:
                    raise self._failed(f"{self._seconds:.0f} 秒内未就绪", f"was not ready within {self._seconds:.0f} s")
                time.sleep(0.02)
        except BaseException:
            self.kill()
            raise

    def stop(self, patience: float = PATIENCE) -> int | None:
        """Asks it to end and waits; killed when it takes longer. Returns its exit status, None if it did not run."""
        if not self._process:
            return None
        self.interrupt()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            return self.kill()
        return self._ended()

    def interrupt(self) -> None:
        """Asks it to end, once, without waiting."""
        if self.alive and not self._asked:
            self._asked = True
            self.resume()
            self.signal(self._gentle)

    def kill(self) -> int | None:
        """SIGKILL, as the system does when memory runs out."""
        if not self._process:
            return None
        self.signal(signal.SIGKILL)
        self._process.wait(PATIENCE)
        return self._ended()

    def pause(self) -> None:
        """It stands still (SIGSTOP): its connections stay open and nobody answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(number)

    # -- how it is ----------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """While it runs."""
        return self._process.pid if self._process and self.alive else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Of a program that has ended; negative for a signal."""
        return self._process.poll() if self._process else None

    def said(self, lines: int = 20) -> str:
        """The last lines that it said."""
        try:
            text = (self.folder / "said.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    # -- what is left behind ------------------------------------------------------------------------------------------

    def leftover(self) -> psutil.Process | None:
        """The process that the note names, if it is still the one that was started."""
        try:
            note = json.loads(self._note.read_text())
            left = psutil.Process(note["pid"])
            same = abs(left.create_time() - note["began"]) < 1 and left.status() != psutil.STATUS_ZOMBIE
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None
        return left if same else None

    def end_leftover(self) -> None:
        left = self.leftover()
        if left is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            left.send_signal(signal.SIGCONT)
            left.send_signal(self._gentle)
            try:
                left.wait(PATIENCE)
            except psutil.TimeoutExpired:
                left.kill()
                left.wait(PATIENCE)

    @property
    def _note(self) -> Path:
        return self.folder / "process.json"

    def _ended(self) -> int | None:
        assert self._process is not None
        status = self._process.returncode
        self._note.unlink(missing_ok=True)
        return status

    def _failed(self, zh: str, en: str) -> StartupError:
        last = self.said(5) or "-"
        where = self.folder / "said.log"
        return StartupError(f"{self.name} {zh}（见 {where}）：{last}", f"{self.name} {en} (see {where}): {last}")


def listens(port: int) -> bool:
    """Whether somebody takes connections on a port of loopback."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def bare_environment(**more: str) -> dict[str, str]:
    """The environment without our own settings and without those of other programs that read the same names."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("HETAO_")}
    return outside | more
