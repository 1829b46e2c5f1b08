"""The runner of targets."""

from __future__ import annotations

import pytest

from kit.clock import Clock
from kit.config import Settings
from kit.database import Database
from kit.errors import StartupError
from kit.platform import Platform
from tests import shelf


async def start(settings: Settings, database: Database) -> None:
    async with Platform(settings, [shelf.MODULE], database=database, listen=False, background=False, clock=Clock()):
        pass


async def test_data_are_not_opened_with_another_keyring(settings: Settings, database: Database) -> None:
    await start(settings, database)
    await start(settings, database)
    settings.key_file.unlink()
    with pytest.raises(StartupError, match=r"keyring\.json"):
        await start(settings, database)
    other = settings.model_copy(update={"data_dir": settings.data_dir / "other"})
    other.data_dir.mkdir()
    with pytest.raises(StartupError):
        await start(other, database)
