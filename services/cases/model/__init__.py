"""What may happen to a case, its tasks and its parties. No I/O, no clock, no protobuf.

The centre owns the procedure, the departments the substance: a department answers a task, and only the centre ends a case.
"""

from __future__ import annotations

from services.cases.model.case import CaseFile, Classification, after_follow_up
from services.cases.model.centre import Centre
from services.cases.model.code import NUMBERS_PER_DAY, case_code, check_digit, day_digits, read_code
from services.cases.model.limit import DIRECTOR, NOBODY, REMINDED, SUPERIOR, Limit
from services.cases.model.objection import GRANTED, LAPSED, OVERRULED, REFUSED, UPHELD, TaskExtension, TaskReturn
from services.cases.model.party import Party, check_room
from services.cases.model.states import (
    ACCEPTED,
    CANCELLED,
    CASE_MOVES,
    CENTRE_REVIEW,
    CLOSED,
    DISPATCHED,
    FOLLOW_UP,
    HANDLING,
    NOT_ACCEPTED,
    OPEN,
    OVER,
    REASSIGNED,
    REGISTERED,
    RESULT_SUBMITTED,
    RETURN_PENDING,
    REWORK,
    RUNNING,
    SIGNED_IN,
    SUPPLEMENT_ASKED,
    TASK_MOVES,
    TRANSFERRED,
    UNANSWERED,
    WAIVED,
)
from services.cases.model.supplement import Supplement
from services.cases.model.task import (
    Assignment,
    Task,
    all_answered,
    check_assignments,
    check_free,
    holders,
    returned_by,
)
from services.cases.model.told import TOLD, ToldStep, for_parties

__all__ = [
    "ACCEPTED",
    "CANCELLED",
    "CASE_MOVES",
    "CENTRE_REVIEW",
    "CLOSED",
    "DIRECTOR",
    "DISPATCHED",
    "FOLLOW_UP",
    "GRANTED",
    "HANDLING",
    "LAPSED",
    "NOBODY",
    "NOT_ACCEPTED",
    "NUMBERS_PER_DAY",
    "OPEN",
    "OVER",
    "OVERRULED",
    "REASSIGNED",
    "REFUSED",
    "REGISTERED",
    "REMINDED",
    "RESULT_SUBMITTED",
    "RETURN_PENDING",
    "REWORK",
    "RUNNING",
    "SIGNED_IN",
    "SUPERIOR",
    "SUPPLEMENT_ASKED",
    "TASK_MOVES",
    "TOLD",
    "TRANSFERRED",
    "UNANSWERED",
    "UPHELD",
    "WAIVED",
    "Assignment",
    "CaseFile",
    "Centre",
    "Classification",
    "Limit",
    "Party",
    "Supplement",
    "Task",
    "TaskExtension",
    "TaskReturn",
    "ToldStep",
    "after_follow_up",
    "all_answered",
    "case_code",
    "check_assignments",
    "check_digit",
    "check_free",
    "check_room",
    "day_digits",
    "for_parties",
    "holders",
    "read_code",
    "returned_by",
]
