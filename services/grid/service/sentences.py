"""What happened to a report, as sentences in Chinese and English (data/texts/grid.toml). Made from codes, without names: they also travel with
events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kit.texts import Texts


def sentence(
    texts: Texts, action: str, account: str, facts: Mapping[str, Any], titles: Mapping[str, tuple[str, str]]
) -> tuple[str, str]:
    """(Chinese, English). `titles`: what people are called at work, in both languages, by account."""
    by = called(texts, account, titles)
    params = {name: str(value) for name, value in facts.items()} | {"by_zh": by[0], "by_en": by[1]}
    # A case has names of its own for its states.
    return texts.of(f"report.timeline.{variant(action, facts)}", params, "" if action == "case" else "report")


def called(texts: Texts, account: str, titles: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """What somebody is called at work; never by name."""
    zh, en = titles.get(account, ("", ""))
    words = texts.of("by.system" if account == "system" else "by.staff", {})
    return zh or words[0], en or words[1]


def variant(action: str, facts: Mapping[str, Any]) -> str:
    """Which of an action's sentences fits the facts."""
    match action:
        case "submit":
            return "submit outside" if facts["outside"] else "submit"
        case "hand over":
            return "hand over to" if facts.get("to") else "hand over"
        case "take over":
            return "take over as case" if facts.get("case_code") else "take over"
        case "give back":
            return "give back not accepted" if facts.get("ground_zh") else f"give back {facts['state']}"
        case "close":
            return f"close {facts['how']}"
    return action
