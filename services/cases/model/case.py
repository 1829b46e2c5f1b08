"""A case: accepted or not, worked on, concluded, followed up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from uuid import UUID

from kit.errors import FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from kit.rows import altered
from services.cases.model.agreement import IN_DEFAULT, UNPERFORMED, Agreement
from services.cases.model.limit import NOBODY, SUPERIOR, Limit, Stand
from services.cases.model.party import Asked, Party
from services.cases.model.states import (
    ACCEPTED,
    CASE_MOVES,
    CLOSED,
    LIMITED,
    RUNNING,
    SUPPLEMENT_ASKED,
    SUSPENDED,
    UNANSWERED,
)
from services.cases.model.task import Task
from services.cases.words import Category, Ground, Kind, Outcome, ReopenGround

#: What a concluded case waits for: the parties' answers, the date of performance, the second follow-up at that date, the dispatcher's
#: explanation to a party that is not content, the dispatcher's decision to reopen.
ANSWERS, PERFORMANCE, SECOND_FOLLOW_UP, EXPLANATION, REOPENING = (
    "answers",
    "performance",
    "second_follow_up",
    "explanation",
    "reopening",
)


@dataclass(frozen=True, slots=True)
class Classification:
    """What a case was found to be. Empty texts: not said; `restricted` None: as the category says."""

    category: str = ""
    scale: str = ""
    risk: str = ""
    complexity: str = ""
    restricted: bool | None = None


@dataclass(frozen=True, slots=True)
class CaseFile:
    """A case.

    content      sealed title, description and place
    round        how many limits it has had: a notice is sent once per limit
    reporter     account of the grid worker whose report it came from
    departments  ids of the departments that have a task which is not over, so that a row alone says whom it concerns
    first_receiver, first_desk  account of the centre that answers for the applicant's answer (首问负责), and its desk
    source_system, external_id  account of the system that brought it, and its number there
    supplements  how often the applicant was asked for papers
    waits        begin and end of each time that the decision on acceptance waited for her, one after the other
    channel      the right channel that was told, with a refusal or with an outcome that asks for it
    performance  state of the present conclusion's agreement, "" without one; `performance_due`: its date has come, the second follow-up is due
    awaits       what a concluded case waits for: one of the words above
    asked        the numbers of Asked
    explanation  sealed: what a party that is not content was told at the closing
    pauses       when the clock of the present limit stood, each as the text of a Stand
    suspension   the suspension that was asked for or is running, by whom it was asked for, and how often the case was suspended
    """

    id: UUID
    code: str
    kind: str
    source: str
    state: str
    division: str
    county: str
    township: str
    community: str
    centre: str
    content: bytes
    registered_by: str
    registered_at: datetime
    limit_rule: str
    limit_version: str
    limit_amount: int
    limit_from: datetime
    due_at: datetime
    category: str = ""
    scale: str = ""
    risk: str = ""
    complexity: str = ""
    restricted: bool = False
    media_ids: Sequence[str] = ()
    occurred_at: datetime | None = None
    told: int = NOBODY
    round: int = 1
    accepted_at: datetime | None = None
    overdue_since: datetime | None = None
    ground: str = ""
    channel: str = ""
    transferred_to: str = ""
    outcome: str = ""
    outcome_version: str = ""
    outcome_note: bytes | None = None
    counts_concluded: bool = False
    counts_resolved: bool = False
    concluded_at: datetime | None = None
    resolved_at: datetime | None = None
    closed_at: datetime | None = None
    reopened_at: datetime | None = None
    reopened_count: int = 0
    report_id: UUID | None = None
    handover_id: UUID | None = None
    reporter: str = ""
    departments: Sequence[str] = ()
    version: int = 1
    lead_replaced: bool = False
    first_receiver: str = ""
    first_desk: str = ""
    source_system: str = ""
    external_id: str = ""
    supplements: int = 0
    waits: Sequence[datetime] = ()
    performance: str = ""
    perform_by: date | None = None
    performance_due: bool = False
    awaits: str = ""
    asked: Sequence[int] = ()
    explanation: bytes | None = None
    reopen_ground: str = ""
    pauses: Sequence[str] = ()
    suspension: UUID | None = None
    suspension_by: str = ""
    suspensions: int = 0

    @property
    def running(self) -> bool:
        return self.state in RUNNING

    @property
    def answered(self) -> bool:
        """The applicant has an answer: accepted, not accepted or transferred."""
        return self.state not in UNANSWERED

    @property
    def limited(self) -> bool:
        """Whether its limit is still to be kept: the clock runs or, suspended, will go on."""
        return self.state in LIMITED

    @property
    def suspended(self) -> Stand | None:
        """The time in which its clock stands as long as it is suspended."""
        return Stand.of(self.pauses[-1]) if self.state == SUSPENDED else None

    def led_by(self, departments: Sequence[str], tasks: Sequence[Task]) -> bool:
        """Whether one of these departments leads."""
        return any(task.lead and not task.desk and task.department in departments for task in tasks)

    def check_supervised(self) -> None:
        """FailedPrecondition(MOVE_NOT_ALLOWED) once it is over: there is nothing to supervise any more."""
        if not self.limited:
            raise CASE_MOVES.refusal(self.state, "supervise")

    def handled_by(self, departments: Sequence[str]) -> bool:
        """Whether one of these departments was given a task of it."""
        return not set(departments).isdisjoint(self.departments)

    def concerns(self, departments: Sequence[str]) -> bool:
        """Whether one of these is its centre or was given a task of it."""
        return self.centre in departments or self.handled_by(departments)

    def check_running(self, action: str) -> None:
        """For what is no move of the machine: FailedPrecondition(MOVE_NOT_ALLOWED) once the case is concluded or was never taken."""
        if not self.running:
            raise CASE_MOVES.refusal(self.state, action)

    def check_unanswered(self, action: str) -> None:
        """The same once the applicant has an answer."""
        if self.answered:
            raise CASE_MOVES.refusal(self.state, action)

    def check_classified(self, kind: Kind) -> None:
        """FailedPrecondition(NOT_CLASSIFIED) for a kind of matter that must be classified first."""
        if kind.classified and not self.category:
            raise FailedPrecondition("NOT_CLASSIFIED")

    # -- front --

    def accept(self, at: datetime, limit: Limit) -> CaseFile:
        return CASE_MOVES.apply(self, "accept", accepted_at=at, **limit.columns())

    def refuse(self, ground: Ground, channel: str, at: datetime) -> CaseFile:
        """FailedPrecondition(SUPPLEMENT_NOT_LAPSED) for the ground that papers are missing, while the limit for them is not over or they are not waited for."""
        refused = CASE_MOVES.apply(self, "refuse", ground=ground.code, channel=channel, closed_at=at)
        if ground.lapsed and (self.state != SUPPLEMENT_ASKED or at <= self.waits[-1]):
            raise FailedPrecondition("SUPPLEMENT_NOT_LAPSED", field="ground")
        return refused

    def receive(self, account: str, desk: str) -> CaseFile:
        """Somebody of the centre has it in hand: the first who does answers for the applicant's answer."""
        if self.first_receiver or self.answered:
            return self
        return altered(self, first_receiver=account, first_desk=desk)

    def entrust(self, account: str, desk: str) -> CaseFile:
        """Another first receiver. FailedPrecondition(MOVE_NOT_ALLOWED) once the applicant has an answer."""
        self.check_unanswered("set first receiver")
        return altered(self, first_receiver=account, first_desk=desk)

    def ask_supplement(self, at: datetime, until: datetime, most: int) -> CaseFile:
        """The decision waits for the applicant, until her limit at most. FailedPrecondition(SUPPLEMENTS_SPENT) after so many times."""
        asked = CASE_MOVES.apply(
            self, "ask supplement", supplements=self.supplements + 1, waits=[*self.waits, at, until]
        )
        self.check_supplements(most)
        return asked

    def check_supplements(self, most: int) -> None:
        """FailedPrecondition(SUPPLEMENTS_SPENT): the applicant is asked so many times at most."""
        if self.supplements >= most:
            raise FailedPrecondition("SUPPLEMENTS_SPENT", most=most)

    def bring_supplement(self, media_ids: Sequence[str], at: datetime) -> CaseFile:
        """The waiting is over; if she is late, it was over with her limit."""
        waits = [*self.waits[:-1], min(at, self.waits[-1])] if self.waits else []
        return CASE_MOVES.apply(self, "bring supplement", waits=waits, media_ids=[*self.media_ids, *media_ids])

    def due(self, at: datetime) -> CaseFile:
        """The same limit, with what its clock stood."""
        return altered(self, due_at=at)

    def transfer(self, number: str, at: datetime) -> CaseFile:
        return CASE_MOVES.apply(self, "transfer", transferred_to=number, closed_at=at)

    def classify(self, said: Classification, category: Category | None) -> CaseFile:
        """What was said replaces what was known. `category`: the entry of the category said, if one was."""
        self.check_running("classify")
        restricted = said.restricted
        if restricted is None:
            restricted = self.restricted or (category is not None and category.restricted)
        return altered(
            self,
            category=said.category or self.category,
            scale=said.scale or self.scale,
            risk=said.risk or self.risk,
            complexity=said.complexity or self.complexity,
            restricted=restricted,
        )

    def relimited(self, limit: Limit) -> CaseFile:
        """Another limit for the same work, because it was classified anew."""
        return replace(self, round=self.round + 1, **limit.columns())

    # -- handling --

    def dispatch(self, kind: Kind, departments: Sequence[str]) -> CaseFile:
        dispatched = CASE_MOVES.apply(self, "dispatch", departments=sorted({*self.departments, *departments}))
        self.check_classified(kind)
        return dispatched

    def held_by(self, departments: Sequence[str]) -> CaseFile:
        """Whom it concerns now that tasks were given or ended."""
        return replace(self, departments=departments)

    def replace_lead(self) -> CaseFile:
        """Once in the life of a case."""
        replaced = CASE_MOVES.apply(self, "replace lead", lead_replaced=True)
        self.check_lead()
        return replaced

    def check_lead(self) -> None:
        """FailedPrecondition(LEAD_REPLACED_ALREADY)."""
        if self.lead_replaced:
            raise FailedPrecondition("LEAD_REPLACED_ALREADY")

    def ask_suspension(self, suspension: UUID, by: str, now: datetime) -> CaseFile:
        """FailedPrecondition: SUSPENSION_PENDING while another is asked for, LIMIT_LAPSED once the limit is over."""
        self.check_asking(now)
        return replace(self, suspension=suspension, suspension_by=by)

    def check_asking(self, now: datetime) -> None:
        self.check_suspension(now)
        if self.suspension:
            raise FailedPrecondition("SUSPENSION_PENDING")

    def check_decision(self, by: str, repeated: bool, now: datetime) -> None:
        """NotFound where nothing is asked for; PermissionDenied: APPROVER_IS_ASKER, SUSPENSION_BY_DIRECTOR beyond the first, unless `repeated`."""
        if self.suspension is None or self.suspended:
            raise NotFound("NOT_FOUND", resource="suspension")
        if by == self.suspension_by:
            raise PermissionDenied("APPROVER_IS_ASKER")
        self.check_suspension(now)
        if self.suspensions and not repeated:
            raise PermissionDenied("SUSPENSION_BY_DIRECTOR")

    def check_suspension(self, now: datetime) -> None:
        """It is being handled, and its limit has not run out: standing clocks do not mend what is late already."""
        CASE_MOVES.apply(self, "suspend")
        if now > self.due_at:
            raise FailedPrecondition("LIMIT_LAPSED", due=self.due_at)

    def suspend(self, now: datetime) -> CaseFile:
        self.check_suspension(now)
        return CASE_MOVES.apply(self, "suspend", suspensions=self.suspensions + 1)

    def resume(self) -> CaseFile:
        return CASE_MOVES.apply(self, "resume", suspension=None)

    def submit_result(self) -> CaseFile:
        return CASE_MOVES.apply(self, "submit result")

    def approve(self) -> CaseFile:
        return CASE_MOVES.apply(self, "approve")

    def send_back(self) -> CaseFile:
        return CASE_MOVES.apply(self, "send back")

    # -- conclusion and after --

    def conclude(
        self,
        outcome: Outcome,
        note: bytes | None,
        channel: str,
        agreement: Agreement | None,
        at: datetime,
        kind: Kind,
        tasks: Sequence[Task],
        parties: int,
    ) -> CaseFile:
        """FailedPrecondition: TASKS_OPEN while a department works, PARTIES_MISSING for a dispute with less than two.

        InvalidArgument: AGREEMENT_MISSING, AGREEMENT_NOT_EXPECTED, CHANNEL_MISSING, as the outcome says.
        """
        concluded = CASE_MOVES.apply(
            self,
            "conclude",
            outcome=outcome.code,
            outcome_version=outcome.version,
            outcome_note=note,
            channel=channel,
            performance=agreement.state if agreement else "",
            perform_by=agreement.perform_by if agreement else None,
            counts_concluded=outcome.counts_concluded,
            counts_resolved=outcome.counts_resolved,
            concluded_at=at,
            resolved_at=at if outcome.counts_resolved else None,
            suspension=None,
        )
        if self.state == SUSPENDED and not outcome.while_suspended:
            raise FailedPrecondition("OUTCOME_WHILE_SUSPENDED")
        self.check_conclusion(kind, tasks, parties)
        if bool(agreement) != bool(outcome.agreement):
            raise InvalidArgument("AGREEMENT_NOT_EXPECTED" if agreement else "AGREEMENT_MISSING", field="agreement")
        if outcome.channel and not channel:
            raise InvalidArgument("CHANNEL_MISSING", field="channel")
        return concluded

    def check_conclusion(self, kind: Kind, tasks: Sequence[Task], parties: int) -> None:
        """What a conclusion needs beside the state."""
        if waiting := [task for task in tasks if not task.desk and not task.over and task.state != ACCEPTED]:
            raise FailedPrecondition("TASKS_OPEN", count=len(waiting))
        self.check_classified(kind)
        if parties < kind.parties:
            raise FailedPrecondition("PARTIES_MISSING", needed=kind.parties, present=parties)

    def follow_up(self) -> CaseFile:
        return CASE_MOVES.apply(self, "follow up")

    def check_agreement(self) -> None:
        """FailedPrecondition: MOVE_NOT_ALLOWED before a conclusion, AGREEMENT_NONE after one without an agreement."""
        if not CASE_MOVES.allows(self.state, "record performance"):
            raise CASE_MOVES.refusal(self.state, "record performance")
        if not self.performance:
            raise FailedPrecondition("AGREEMENT_NONE")

    def record_performance(self, agreement: Agreement) -> CaseFile:
        return CASE_MOVES.apply(
            self,
            "record performance",
            performance=agreement.state,
            perform_by=agreement.perform_by,
            performance_due=False,
        )

    def fall_due(self) -> CaseFile:
        """The date of performance has come."""
        return replace(self, performance_due=True)

    def after(self, parties: Sequence[Party]) -> CaseFile:
        """With what its parties said so far, and what it waits for now."""
        return altered(self, asked=tuple(Asked.of(parties)), awaits=self._awaited(parties))

    def _awaited(self, parties: Sequence[Party]) -> str:
        """ "" when nothing holds it open.

        An unsolved answer waits for a decision where the outcome counts as resolved. Where the outcome itself says that the matter was not
        resolved (failed and the channel told, a party refused …) the answers are recorded and the case closes.
        """
        if self.performance == IN_DEFAULT or (self.counts_resolved and any(party.unsolved for party in parties)):
            return REOPENING
        if self.state == CLOSED:
            return ""
        if self.performance_due:
            return SECOND_FOLLOW_UP
        if not all(party.settled for party in parties):
            return ANSWERS
        if self.performance in UNPERFORMED:
            return PERFORMANCE
        return EXPLANATION if any(party.wants_explanation for party in parties) else ""

    def close(self, at: datetime) -> CaseFile:
        return CASE_MOVES.apply(self, "close", closed_at=at)

    def close_explained(self, explanation: bytes | None, parties: Sequence[Party], at: datetime) -> CaseFile:
        """Solved, a party is not content, and was told why it stands so (解释结案). See check_closing."""
        closed = CASE_MOVES.apply(self, "close", closed_at=at, explanation=explanation, awaits="")
        self.check_closing(parties)
        return closed

    def check_closing(self, parties: Sequence[Party]) -> None:
        """FailedPrecondition: PARTY_UNSOLVED, AGREEMENT_IN_DEFAULT, PARTIES_TO_ASK, AGREEMENT_UNPERFORMED: what comes first."""
        match self._awaited(parties):
            case "reopening" if self.performance == IN_DEFAULT:
                raise FailedPrecondition("AGREEMENT_IN_DEFAULT")
            case "reopening":
                raise FailedPrecondition("PARTY_UNSOLVED")
            case "answers":
                raise FailedPrecondition("PARTIES_TO_ASK", count=sum(not party.settled for party in parties))
            case "performance" | "second_follow_up":
                raise FailedPrecondition("AGREEMENT_UNPERFORMED")

    def check_reopenings(self, most: int, *, beyond: bool) -> None:
        """`most`: reopenings before the director alone decides; `beyond`: it is the director. PermissionDenied(REOPENINGS_SPENT)."""
        if self.reopened_count >= most and not beyond:
            raise PermissionDenied("REOPENINGS_SPENT", most=most)

    def check_reopening(
        self, ground: ReopenGround, parties: Sequence[Party], *, noted: bool, most: int, beyond: bool
    ) -> None:
        """`noted`: it was said in words too; for the others see check_reopenings.

        FailedPrecondition: REOPEN_NOT_RESOLVED where the outcome never counted as resolved, REOPEN_UNFOUNDED where nothing in the case shows
        the ground; InvalidArgument(NOTE_MISSING); PermissionDenied(REOPENINGS_SPENT).
        """
        if ground.resolved and not self.counts_resolved:
            raise FailedPrecondition("REOPEN_NOT_RESOLVED", field="ground")
        shown = {
            "answer": any(party.unsolved for party in parties),
            "performance": self.performance == IN_DEFAULT,
            "": True,
        }[ground.evidence]
        if not shown:
            raise FailedPrecondition("REOPEN_UNFOUNDED", field="ground", reopen_ground=ground.code)
        if not ground.evidence and not noted:
            raise InvalidArgument("NOTE_MISSING", field="note")
        self.check_reopenings(most, beyond=beyond)

    def reopen(
        self,
        ground: ReopenGround,
        parties: Sequence[Party],
        at: datetime,
        limit: Limit,
        *,
        noted: bool,
        most: int,
        beyond: bool,
    ) -> CaseFile:
        """Open again: neither concluded nor resolved until it is so again. See check_reopening."""
        reopened = CASE_MOVES.apply(
            self,
            "reopen",
            outcome="",
            outcome_version="",
            outcome_note=None,
            channel="",
            performance="",
            perform_by=None,
            performance_due=False,
            awaits="",
            asked=(),
            explanation=None,
            closed_at=None,
            reopen_ground=ground.code,
            counts_concluded=False,
            counts_resolved=False,
            concluded_at=None,
            resolved_at=None,
            reopened_at=at,
            reopened_count=self.reopened_count + 1,
            round=self.round + 1,
            **limit.columns(),
        )
        self.check_reopening(ground, parties, noted=noted, most=most, beyond=beyond)
        return reopened

    def tell(self, step: int, at: datetime) -> CaseFile:
        """The clock's next step was told. Past its handling limit the case is overdue, from the limit on."""
        late = step >= SUPERIOR and self.accepted_at is not None
        return replace(self, told=step, overdue_since=self.overdue_since or self.due_at if late else self.overdue_since)
