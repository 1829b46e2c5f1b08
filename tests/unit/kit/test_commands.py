"""Commands that need little load little."""

import subprocess
import sys
from pathlib import Path

import pytest

from kit.clock import Clock
from kit.config import CHECKOUT, DATA, load
from kit.issuer import DemoIssuer

#: What takes long to load, and is for those that serve.
HEAVY = {
    "asyncpg",
    "fastapi",
    "grpc",
    "httpx",
    "obstore",
    "rich",
    "shapely",
    "hetao",
    "kit.platform",
    "services.registry",
}

LOADED = """
import sys
from services.cli import cli
try:
    cli(sys.argv[1:])
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""


@pytest.mark.parametrize("command", [("token", "dispatcher"), ("config",), ("--help",)])
def test_a_command_loads_no_more_than_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
):
    DemoIssuer.open(load(data_dir=tmp_path), Clock(), DATA / "demo" / "accounts.toml")
    monkeypatch.setenv("HETAO_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", f"{CHECKOUT}:{CHECKOUT / 'gen'}")
    done = subprocess.run([sys.executable, "-c", LOADED, *command], capture_output=True, text=True, check=True)
    assert done.stdout
    assert not HEAVY & set(done.stderr.split())
