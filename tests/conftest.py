"""What every test may use. Folders are temporary, and whatever a test starts it stops."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A temporary folder that PostgreSQL's unprivileged user can walk into, which pytest's own is not for root."""
    folder = Path(tempfile.mkdtemp(prefix="hetao-", dir="/tmp"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)
