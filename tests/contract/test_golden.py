"""Golden files: what was published once, and what readers are told today."""

from __future__ import annotations

import json

import pytest
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.unknown_fields import UnknownFieldSet

from services.gateway import reference
from tests.contract.golden import FOLDER, events, meaning

EVENTS = {descriptor.full_name: descriptor for descriptor in events()}


def test_every_event_has_its_golden_bytes() -> None:
    missing = [name for name in EVENTS if not (FOLDER / f"{name}.bin").exists()]
    assert not missing, "run `python -m tests.contract.golden`"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.bin")), ids=lambda path: path.stem)
def test_what_was_written_once_still_means_the_same(path) -> None:  # type: ignore[no-untyped-def]
    assert path.stem in EVENTS, f"{path.stem} was published and may still stand in a log"
    message = GetMessageClass(EVENTS[path.stem]).FromString(path.read_bytes())
    assert meaning(message) == json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert len(UnknownFieldSet(message)) == 0


def test_the_reference_is_what_the_contracts_say() -> None:
    assert reference.differing() == [], "run `make proto`"
