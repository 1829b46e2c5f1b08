"""The runner of targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kit.clock import Clock
from kit.config import Settings, load
from kit.database import Database
from kit.errors import StartupError
from kit.platform import Platform
from kit.production import check_settings
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


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"profile": "production"}, "HETAO_IDENTITY__ISSUER"),
        ({"http": {"host": "0.0.0.0"}}, "HETAO_HTTP__HOST=0.0.0.0"),
        ({"grpc": {"host": "::"}}, "HETAO_GRPC__HOST=::"),
        ({"grpc": {"host": "hetao.example.cn"}}, "HETAO_GRPC__HOST=hetao.example.cn"),
    ],
)
async def test_whom_anybody_could_claim_to_be_is_asked_before_anything_is_started(
    scratch: Path, changed: dict[str, Any], said: str
) -> None:
    data = scratch / "data"
    with pytest.raises(StartupError) as refused:
        async with Platform(load(data_dir=data, **changed), []):
            pass
    assert said in refused.value.zh
    assert said in refused.value.en
    assert not data.exists()


def test_loopback_and_an_issuer_of_ones_own_are_well() -> None:
    for host in ("127.0.0.1", "127.0.0.9", "::1", "localhost"):
        check_settings(load(http={"host": host}, grpc={"host": host}))
    check_settings(load(http={"host": "0.0.0.0"}, identity={"issuer": "https://id.example.cn"}))
