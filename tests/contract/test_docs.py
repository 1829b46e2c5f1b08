"""The documentation does not rot: its made parts follow code and data, its links lead somewhere, its settings and commands exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from kit.config import CHECKOUT, PREFIX, describe, load
from services.cli import COMMANDS

PAGES = [
    *sorted((CHECKOUT / "docs").rglob("*.md")),
    *(CHECKOUT / name for name in ("README.md", "README.zh-CN.md", "ARCHITECTURE.md", "CONTRIBUTING.md")),
]


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", CHECKOUT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_made_parts_follow_code_and_data() -> None:
    assert generator().differing() == [], "run make docs"


def anchors(page: Path) -> set[str]:
    """As GitHub makes them: lower case, blanks to hyphens, punctuation gone."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", title).lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        to = page.parent / path if path else page
        assert to.exists(), target
        if anchor and to.suffix == ".md":
            assert anchor in anchors(to), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_what_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    settings = {one.variable for one in describe(load())}
    assert set(re.findall(rf"{PREFIX}[A-Z_]+[A-Z]", text)) <= settings
    assert set(
        re.findall(r"(?<![\w/])hetao ([a-z]+)\b", "\n".join(re.findall(r"`[^`]*`|```.*?```", text, re.DOTALL)))
    ) <= set(COMMANDS)
    for path in re.findall(r"`((?:tests|data|proto|docs|kit|services)/[\w/.-]+\.\w+)`", text):
        assert (CHECKOUT / path).exists(), path


def story(page: Path) -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_both_languages_tell_the_same_story() -> None:
    assert story(CHECKOUT / "README.md") == story(CHECKOUT / "README.zh-CN.md")
