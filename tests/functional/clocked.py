"""The command `hetao` with a clock that a test moves: `python -m tests.functional.clocked serve --target=all`.

TEST_CLOCK names a file with the seconds that the clock is ahead of the real one; it is read at every look at the clock, so a running process
travels when the file is replaced. The product knows nothing of it.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kit.clock import Clock
from services.__main__ import main

AHEAD = Path(os.environ["TEST_CLOCK"])


def now(_: Clock) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=float(AHEAD.read_text()))


Clock.now = now  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
