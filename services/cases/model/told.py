"""What parties are told of the course of their case: few steps, and nothing of what others said or of the work inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.cases.model.states import CENTRE_REVIEW, RESULT_SUBMITTED

DISPATCHED, UNDER_REVIEW, CONCLUDED = "dispatched", "under_review", "concluded"

#: The steps of the timeline that parties are told, and what each is to them.
TOLD = {
    "register": "registered",
    "hand over": "registered",
    "accept": "accepted",
    "refuse": "not_accepted",
    "transfer": "transferred",
    "ask supplement": "supplement_asked",
    "bring supplement": "supplement_received",
    "waive supplement": "supplement_waived",
    "dispatch": DISPATCHED,
    "dispatch to desk": DISPATCHED,
    "extend": "extended",
    "suspend": "suspended",
    "resume": "resumed",
    "submit result": UNDER_REVIEW,
    "conclude": CONCLUDED,
    "agreement": "agreement",
    "agreement performed": "performed",
    "performed": "performed",
    "partly performed": "partly_performed",
    "in default": "in_default",
    "close": "closed",
    "close explained": "closed",
    "reopen": "taken_up_again",
}


@dataclass(frozen=True, slots=True)
class ToldStep:
    """A step as parties are told it: one of the words of TOLD, and what its sentence is filled with."""

    at: datetime
    what: str
    params: Mapping[str, str]


def for_parties(steps: Sequence[ToldStep], state: str) -> list[ToldStep]:
    """Told steps in their order, as they read on the whole; `state`: the case's present one.

    Departments that were given it together are one step. Of reviews there is the one that led to the conclusion, or goes on now: what the centre
    sent back is between it and the departments, for which the case is simply being handled.
    """
    shown: list[ToldStep] = []
    for n, step in enumerate(steps):
        next_one = steps[n + 1].what if n + 1 < len(steps) else ""
        if step.what == UNDER_REVIEW:
            goes_on = not next_one and state in (RESULT_SUBMITTED, CENTRE_REVIEW)
            if next_one != CONCLUDED and not goes_on:
                continue
        if step.what == DISPATCHED:
            names, english = step.params["department_zh"], step.params["department_en"]
            if shown and (shown[-1].what, shown[-1].at) == (DISPATCHED, step.at):
                before = shown.pop().params
                names, english = f"{before['departments_zh']}、{names}", f"{before['departments_en']}, {english}"
            step = replace(step, params={"departments_zh": names, "departments_en": english})
        shown.append(step)
    return shown
