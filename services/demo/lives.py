"""How each matter goes its way: a generator that says the next call and gets its answer."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

from hetao.cases.v1 import agreement_pb2, case_pb2, closing_pb2, handling_pb2, intake_pb2, tasks_pb2, types_pb2
from kit.clock import BUSINESS_ZONE
from kit.proto import number_of
from services.demo.plan import Matter, department

OUTCOMES = {
    "written": types_pb2.OUTCOME_WRITTEN_AGREEMENT,
    "oral": types_pb2.OUTCOME_ORAL_AGREEMENT,
    "own": types_pb2.OUTCOME_OWN_SETTLEMENT,
    "administrative": types_pb2.OUTCOME_ADMINISTRATIVE_HANDLING,
    "award": types_pb2.OUTCOME_AWARD_OR_JUDGMENT,
    "reconciled": types_pb2.OUTCOME_WITHDRAWN_RECONCILED,
    "failed": types_pb2.OUTCOME_FAILED_CHANNEL_TOLD,
    "failed_asked_on": types_pb2.OUTCOME_FAILED_CHANNEL_TOLD,
    "refused": types_pb2.OUTCOME_PARTY_REFUSED,
    "withdrawn": types_pb2.OUTCOME_WITHDRAWN_OTHER,
    "transferred_out": types_pb2.OUTCOME_TRANSFERRED_OUT,
    "unfounded": types_pb2.OUTCOME_UNFOUNDED,
}
AGREEMENTS = (types_pb2.OUTCOME_WRITTEN_AGREEMENT, types_pb2.OUTCOME_ORAL_AGREEMENT)
#: Where parties are told to turn to.
CHANNELS = {
    types_pb2.OUTCOME_FAILED_CHANNEL_TOLD: "人民法院立案庭",
    types_pb2.OUTCOME_TRANSFERRED_OUT: "有权处理的机关",
}
#: Fates in which the parties say that it is solved.
SOLVED = {"written", "oral", "own", "administrative", "award", "reconciled", "asked_on"}
#: Working days that each complexity has.
LIMITS = {"simple": 1, "general": 7, "complex": 20}
CONTENT = (
    types_pb2.SATISFACTION_VERY_SATISFIED,
    types_pb2.SATISFACTION_SATISFIED,
    types_pb2.SATISFACTION_FAIRLY_SATISFIED,
)


@dataclass(frozen=True, slots=True)
class Act:
    """One call: when, by which account, of which RPC."""

    at: datetime
    by: str
    rpc: str
    request: Any


Life = Generator[Act, Any, None]


class Times:
    """The moments of one matter's life: in working hours, each at least twenty minutes after the one before."""

    def __init__(self, matter: Matter, working: Callable[[date], bool]):
        self._chance, self._working, self.now = random.Random(matter.seed), working, matter.at

    def soon(self) -> datetime:
        """Later the same day, or the next morning."""
        return self._to(self.now + timedelta(minutes=self._chance.randint(20, 90)))

    def later(self, days: float) -> datetime:
        """About so many working days later; with no whole day the same day."""
        whole = round(days * self._chance.uniform(0.7, 1.1))
        if whole == 0:
            return self.soon()
        day = self.now.date()
        for _ in range(whole):
            day = self._next(day)
        hour = timedelta(seconds=self._chance.randint(0, 7 * 3600), microseconds=self._chance.randrange(1_000_000))
        return self._to(datetime.combine(day, time(8, 40), BUSINESS_ZONE) + hour)

    def day_in(self, days: int) -> date:
        """So many working days from now."""
        day = self.now.date()
        for _ in range(days):
            day = self._next(day)
        return day

    def on(self, day: date) -> datetime:
        """In the morning of a day, or soon where that is over."""
        moment = datetime.combine(day, time(9, 0), BUSINESS_ZONE) + timedelta(seconds=self._chance.randint(0, 7200))
        return self._to(moment) if moment > self.now else self.soon()

    def _to(self, moment: datetime) -> datetime:
        if moment.time() >= time(17, 0):
            moment = datetime.combine(self._next(moment.date()), time(8, 35), BUSINESS_ZONE) + timedelta(
                seconds=self._chance.randint(0, 3600)
            )
        self.now = moment
        return moment

    def _next(self, day: date) -> date:
        day += timedelta(days=1)
        while not self._working(day):
            day += timedelta(days=1)
        return day

    def rating(self, solved: bool) -> Any:
        return self._chance.choice(CONTENT) if solved else types_pb2.SATISFACTION_DISSATISFIED

    def punctuality(self, solved: bool) -> Any:
        return types_pb2.IN_TIME_YES if solved or self._chance.random() < 0.6 else types_pb2.IN_TIME_NO


def life(matter: Matter, working: Callable[[date], bool]) -> Life:
    """From the registration to where its fate leaves it."""
    times = Times(matter, working)
    centre = matter.place.division
    clerk, dispatcher = f"window-clerk@{centre}", f"dispatcher@{centre}"
    created = yield Act(matter.at, clerk, "CreateCase", _registration(matter))
    case: case_pb2.Case = created.case
    case_id = case.case_id
    if matter.fate == "waiting":
        return
    if matter.fate == "not_accepted":
        channel = "人民法院立案庭"
        refused = intake_pb2.RefuseCaseRequest(case_id=case_id, ground="in_litigation", channel=channel)
        yield Act(times.soon(), clerk, "RefuseCase", refused)
        return
    if matter.fate == "emergency":
        yield Act(times.soon(), clerk, "TransferCase", intake_pb2.TransferCaseRequest(case_id=case_id, number="110"))
        return
    said = case_pb2.Classification(complexity=number_of(types_pb2.Complexity, matter.complexity))
    if matter.category:
        said.MergeFrom(
            case_pb2.Classification(category=matter.category, scale=types_pb2.SCALE_INDIVIDUAL, risk=types_pb2.RISK_LOW)
        )
    yield Act(
        times.soon(), dispatcher, "AcceptCase", intake_pb2.AcceptCaseRequest(case_id=case_id, classification=said)
    )
    if matter.kind != "dispute":
        outcome = types_pb2.OUTCOME_ADMINISTRATIVE_HANDLING
        answer = yield Act(
            times.later(0.8), dispatcher, "ConcludeCase", _conclusion(case_id, outcome, "已答复办理", None)
        )
        for party in answer.case.parties:
            yield _asked(case, party, times.later(1), f"follow-up-clerk@{centre}", True, times)
        return
    if matter.fate == "undispatched":
        return
    answer = yield Act(times.soon(), dispatcher, "DispatchCase", _dispatch(case_id, matter))
    case = answer.case
    if matter.fate == "handling":
        yield from _sign_in(case, matter, times)
        return
    days = LIMITS[matter.complexity] * (1.6 if matter.slow else 0.6)
    yield from _work(case, matter, times, days)
    if matter.fate in ("submitted", "reviewed"):
        if matter.fate == "reviewed" and matter.offices:
            yield _approval(case_id, dispatcher, times)
        return
    outcome = OUTCOMES.get(matter.fate, types_pb2.OUTCOME_WRITTEN_AGREEMENT)
    perform_by = yield from _end(case_id, matter, times, dispatcher, outcome)
    yield from _aftermath(case, matter, times, perform_by)


def _end(case_id: str, matter: Matter, times: Times, dispatcher: str, outcome: Any) -> Generator[Act, Any, date | None]:
    """Reviewed where departments worked on it, and concluded. When it is to be performed; most agreements are on the spot."""
    if matter.offices:
        yield _approval(case_id, dispatcher, times)
    at = times.soon()
    perform_by = (
        times.day_in(5 + matter.seed % 15) if matter.fate in ("written", "oral") and matter.seed % 5 == 0 else None
    )
    yield Act(at, dispatcher, "ConcludeCase", _conclusion(case_id, outcome, "经中心组织办理", perform_by))
    return perform_by


def _aftermath(case: case_pb2.Case, matter: Matter, times: Times, perform_by: date | None) -> Life:
    """The follow-up with both parties, and what comes of it."""
    clerk, dispatcher = f"follow-up-clerk@{matter.place.division}", f"dispatcher@{matter.place.division}"
    first, second = case.parties
    if matter.fate in ("reopened", "reopened_resolved"):
        yield _asked(case, first, times.later(2), clerk, False, times)
        again = closing_pb2.ReopenCaseRequest(case_id=case.case_id, ground="unsolved")
        answer = yield Act(times.soon(), dispatcher, "ReopenCase", again)
        if matter.fate == "reopened":
            return
        yield from _work(answer.case, matter, times, 2)
        yield from _end(case.case_id, matter, times, dispatcher, types_pb2.OUTCOME_WRITTEN_AGREEMENT)
        yield _asked(case, first, times.later(2), clerk, True, times)
        yield _asked(case, second, times.soon(), clerk, True, times)
        return
    solved = matter.fate in SOLVED
    yield _asked(case, first, times.later(2), clerk, solved, times)
    if matter.fate not in ("asked_on", "failed_asked_on"):
        yield _asked(case, second, times.soon(), clerk, solved, times)
    if perform_by:
        performed = closing_pb2.RecordPerformanceRequest(
            case_id=case.case_id, performance=types_pb2.PERFORMANCE_PERFORMED, note="已电话核实履行"
        )
        yield Act(times.on(perform_by), clerk, "RecordPerformance", performed)


def _work(case: case_pb2.Case, matter: Matter, times: Times, days: float) -> Life:
    """The departments sign in and answer, the lead last; the desks need no call."""
    open_tasks = [task for task in case.tasks if not task.desk and task.state in (1, 6)]
    if not open_tasks:
        times.later(days)
        return
    yield from _sign_in(case, matter, times)
    for task in sorted(open_tasks, key=lambda one: one.lead):
        request = tasks_pb2.SubmitTaskResultRequest(
            case_id=case.case_id, task_id=task.task_id, result="已调查核实并组织双方协商"
        )
        yield Act(times.later(days / len(open_tasks)), _officer(task, matter), "SubmitTaskResult", request)


def _sign_in(case: case_pb2.Case, matter: Matter, times: Times) -> Life:
    for task in case.tasks:
        if task.state == types_pb2.TASK_STATE_DISPATCHED:
            request = tasks_pb2.SignInTaskRequest(case_id=case.case_id, task_id=task.task_id)
            yield Act(times.soon(), _officer(task, matter), "SignInTask", request)


def _officer(task: case_pb2.Task, matter: Matter) -> str:
    return next(f"officer@{code}" for code in matter.offices if department(code) == task.department_id)


def _registration(matter: Matter) -> intake_pb2.CreateCaseRequest:
    sides = (types_pb2.PARTY_ROLE_APPLICANT, types_pb2.PARTY_ROLE_RESPONDENT)
    person = types_pb2.PARTY_TYPE_NATURAL_PERSON
    # A subscriber's number never begins with 0: these telephones are nobody's.
    parties = [
        case_pb2.NewParty(role=role, type=person, name=name, phone=f"0478-0{matter.number:06d}")
        for role, name in zip(sides, matter.names, strict=True)
    ]
    return intake_pb2.CreateCaseRequest(
        kind=number_of(types_pb2.Kind, matter.kind),
        source=(types_pb2.SOURCE_WALK_IN, types_pb2.SOURCE_HOTLINE, types_pb2.SOURCE_ONLINE)[matter.seed % 3],
        division=matter.division,
        title=f"{matter.title}（演示）",
        description="演示数据，人物与事实均为虚构。",
        parties=parties if matter.kind == "dispute" else parties[:1] if matter.kind == "petition" else [],
    )


def _dispatch(case_id: str, matter: Matter) -> handling_pb2.DispatchCaseRequest:
    days = max(1, LIMITS[matter.complexity] - 1)
    if matter.offices:
        given = [
            handling_pb2.Assignment(department_id=department(code), lead=n == 0, limit_days=days)
            for n, code in enumerate(matter.offices)
        ]
    else:
        given = [handling_pb2.Assignment(desk="mediation", lead=True), handling_pb2.Assignment(desk="justice")]
    return handling_pb2.DispatchCaseRequest(case_id=case_id, assignments=given)


def _approval(case_id: str, dispatcher: str, times: Times) -> Act:
    request = handling_pb2.ReviewCaseRequest(case_id=case_id, decision=types_pb2.REVIEW_DECISION_APPROVE)
    return Act(times.soon(), dispatcher, "ReviewCase", request)


def _conclusion(case_id: str, outcome: Any, note: str, perform_by: date | None) -> handling_pb2.ConcludeCaseRequest:
    agreement = None
    if outcome in AGREEMENTS:
        day = perform_by.isoformat() if perform_by else ""
        agreement = agreement_pb2.NewAgreement(terms="双方互谅互让，按约定履行", perform_by=day, performed=not day)
    return handling_pb2.ConcludeCaseRequest(
        case_id=case_id, outcome=outcome, note=note, agreement=agreement, channel=CHANNELS.get(outcome, "")
    )


def _asked(case: case_pb2.Case, party: case_pb2.Party, at: datetime, clerk: str, solved: bool, times: Times) -> Act:
    request = handling_pb2.RecordFollowUpRequest(
        case_id=case.case_id,
        party_id=party.party_id,
        contacted=True,
        in_time=times.punctuality(solved),
        solved=types_pb2.SOLVED_YES if solved else types_pb2.SOLVED_NO,
        satisfaction=times.rating(solved),
    )
    return Act(at, clerk, "RecordFollowUp", request)
