"""The README's story, copied and pasted into a shell beside a running platform."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.functional.harness import CHECKOUT, Hetao
from tests.functional.modes import on

pytestmark = on("hetao", "story", "all", "split")


def commands(hetao: Hetao, folder: Path) -> str:
    """The shell blocks, with this platform's addresses and a `hetao` that has its clock."""
    program = folder / "hetao"
    python = CHECKOUT / ".venv" / "bin" / "python"
    program.write_text(f'#!/bin/sh\nexec {python} -m tests.functional.clocked "$@"\n')
    program.chmod(0o755)
    text = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) > 10
    return (
        "\n".join(blocks)
        .replace("http://127.0.0.1:8080", hetao.address)
        .replace("127.0.0.1:9090", hetao.rpc_address)
        .replace(".venv/bin/hetao", str(program))
    )


@pytest.mark.timeout(300)
def test_the_story_of_the_readme_runs_as_it_is_written(hetao: Hetao, tmp_path: Path) -> None:
    script = f"set -euo pipefail\n{commands(hetao, tmp_path)}"
    ran = subprocess.run(
        ["bash"], input=script, cwd=CHECKOUT, env=hetao.environment(), capture_output=True, text=True, timeout=280, check=False
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    for told in (
        "REPORT_OUTCOME_SOLVED",
        "网格上报移交临河区金川街道综治中心，已登记",
        "the same receipt: 150826-",
        "OUTCOME_WRITTEN_AGREEMENT",
        "20 个工作日",
        "结案 · Closed",
        '"role":"PARTY_ROLE_APPLICANT"',
        '"resolutionRate"',
        "FIELD_UNKNOWN",
        "CASE_STATE_REGISTERED 杭锦后旗综治中心",
    ):
        assert told in ran.stdout, f"{told} is missing in:\n{ran.stdout}"
