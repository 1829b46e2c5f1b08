"""Engines of a whole platform on one machine: launchers for tests and for `make run-split`.

They know the kit and no service, and are no part of the product: a county has its own Kafka, PostgreSQL and Redis. What is not on the machine is
brought once into `build/engines`.
"""

from __future__ import annotations

import contextlib
import fcntl
import random
import socket
from collections.abc import Iterator
from pathlib import Path

#: What was brought or made once; safe to delete.
BUILD = Path(__file__).resolve().parent.parent / "build" / "engines"

#: Linux takes the near end of outgoing connections from 32768 on. A server that is to come back on its port must not find a client there.
_PORTS = range(15_000, 32_000)


def free_port() -> int:
    """A port of this machine that nobody uses, and that no outgoing connection will be given while its server restarts."""
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Of several processes that need the same part, one brings it and the others wait."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
