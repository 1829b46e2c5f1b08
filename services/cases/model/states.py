"""The state machines of a case and of its tasks: the one place that says what may follow what."""

from __future__ import annotations

from kit.moves import Moves

# A case's.
REGISTERED, NOT_ACCEPTED, TRANSFERRED, ACCEPTED = "registered", "not_accepted", "transferred", "accepted"
SUPPLEMENT_ASKED = "supplement_asked"
HANDLING, RESULT_SUBMITTED, CENTRE_REVIEW, FOLLOW_UP, CLOSED = (
    "handling",
    "result_submitted",
    "centre_review",
    "follow_up",
    "closed",
)
SUSPENDED = "suspended"

CASE_MOVES = Moves(
    (REGISTERED, "accept", ACCEPTED),
    (REGISTERED, "refuse", NOT_ACCEPTED),
    (REGISTERED, "transfer", TRANSFERRED),
    (REGISTERED, "ask supplement", SUPPLEMENT_ASKED),
    (SUPPLEMENT_ASKED, "bring supplement", REGISTERED),
    (SUPPLEMENT_ASKED, "refuse", NOT_ACCEPTED),
    (SUPPLEMENT_ASKED, "transfer", TRANSFERRED),
    (ACCEPTED, "dispatch", HANDLING),
    (HANDLING, "dispatch", HANDLING),
    (HANDLING, "replace lead", HANDLING),
    (HANDLING, "submit result", RESULT_SUBMITTED),
    (HANDLING, "suspend", SUSPENDED),
    (SUSPENDED, "resume", HANDLING),
    (SUSPENDED, "conclude", FOLLOW_UP),
    (RESULT_SUBMITTED, "approve", CENTRE_REVIEW),
    (RESULT_SUBMITTED, "send back", HANDLING),
    (CENTRE_REVIEW, "send back", HANDLING),
    (ACCEPTED, "conclude", FOLLOW_UP),
    (HANDLING, "conclude", FOLLOW_UP),
    (CENTRE_REVIEW, "conclude", FOLLOW_UP),
    (FOLLOW_UP, "follow up", FOLLOW_UP),
    (FOLLOW_UP, "close", CLOSED),
    (FOLLOW_UP, "record performance", FOLLOW_UP),
    (CLOSED, "record performance", CLOSED),
    (FOLLOW_UP, "reopen", HANDLING),
    (CLOSED, "reopen", HANDLING),
)

#: The clock of the case runs: of the decision on acceptance, then of the handling.
RUNNING = (REGISTERED, SUPPLEMENT_ASKED, ACCEPTED, HANDLING, RESULT_SUBMITTED, CENTRE_REVIEW)

#: The applicant has no answer yet: whether it is accepted, not accepted or transferred.
UNANSWERED = (REGISTERED, SUPPLEMENT_ASKED)

#: A limit is still to be kept: the clock runs, or will go on.
LIMITED = (*RUNNING, SUSPENDED)

# A task's, beside those that it shares with a case.
DISPATCHED, SIGNED_IN, REWORK = "dispatched", "signed_in", "rework"
RETURN_PENDING, REASSIGNED, CANCELLED, WAIVED = "return_pending", "reassigned", "cancelled", "waived"

#: The department still has to do something, or wants to be rid of it.
OPEN = (DISPATCHED, SIGNED_IN, HANDLING, REWORK, RETURN_PENDING)
#: Over without a result: nobody waits for it, and its department has no part in the case by it.
OVER = (REASSIGNED, CANCELLED, WAIVED)

TASK_MOVES = Moves(
    (DISPATCHED, "sign in", SIGNED_IN),
    (DISPATCHED, "return", RETURN_PENDING),
    (RETURN_PENDING, "overrule", DISPATCHED),
    (RETURN_PENDING, "designate", DISPATCHED),
    (RETURN_PENDING, "pass on", REASSIGNED),
    (RETURN_PENDING, "call off", CANCELLED),
    (SIGNED_IN, "start", HANDLING),
    (REWORK, "start", HANDLING),
    (SIGNED_IN, "submit", RESULT_SUBMITTED),
    (HANDLING, "submit", RESULT_SUBMITTED),
    (REWORK, "submit", RESULT_SUBMITTED),
    (RESULT_SUBMITTED, "accept", ACCEPTED),
    (RESULT_SUBMITTED, "send back", REWORK),
    (ACCEPTED, "send back", REWORK),
    (HANDLING, "conclude", ACCEPTED),  # a desk of the centre: its task ends with the case's conclusion
    (REWORK, "conclude", ACCEPTED),
    # More time is asked for and decided on while the work goes on.
    *(
        (state, action, state)
        for state in (SIGNED_IN, HANDLING, REWORK)
        for action in ("ask extension", "decide extension")
    ),
    *((state, "reassign", REASSIGNED) for state in (DISPATCHED, SIGNED_IN, HANDLING)),
    *((state, "cancel", CANCELLED) for state in (DISPATCHED, SIGNED_IN, HANDLING, REWORK)),
    # The parties of a suspended case withdrew or settled.
    *((state, "fall away", CANCELLED) for state in (DISPATCHED, SIGNED_IN, HANDLING, REWORK)),
    *((state, "waive", WAIVED) for state in (DISPATCHED, SIGNED_IN, HANDLING, REWORK)),
    (RESULT_SUBMITTED, "take the lead", HANDLING),  # the lead's result is that of the case: it answers again, last
    (ACCEPTED, "take the lead", HANDLING),
    about="task",
)

# A suspension's: how the clocks of a case come to stand, and go on.
REQUESTED, STANDING, ENDED, REFUSED, LAPSED = "requested", "running", "ended", "refused", "lapsed"

SUSPENSION_MOVES = Moves(
    (REQUESTED, "approve suspension", STANDING),
    (REQUESTED, "refuse suspension", REFUSED),
    (REQUESTED, "conclude", LAPSED),
    (STANDING, "resume", ENDED),
    (STANDING, "conclude", ENDED),
    about="suspension",
)

# A supervision order's.
ISSUED, REPLIED, RELEASED = "issued", "replied", "released"

SUPERVISION_MOVES = Moves(
    (ISSUED, "reply", REPLIED),
    (ISSUED, "raise", ISSUED),
    (REPLIED, "send back", ISSUED),
    (REPLIED, "release", RELEASED),
    (ISSUED, "release", RELEASED),
    about="supervision",
)
