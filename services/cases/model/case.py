"""A case: accepted or not, worked on, concluded, followed up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from kit.errors import FailedPrecondition
from kit.rows import altered
from services.cases.model.limit import NOBODY, SUPERIOR, Limit
from services.cases.model.party import Party
from services.cases.model.states import ACCEPTED, CASE_MOVES, RUNNING
from services.cases.model.task import Task
from services.cases.words import Category, Kind, Outcome


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

    @property
    def running(self) -> bool:
        return self.state in RUNNING

    # -- front --

    def accept(self, at: datetime, limit: Limit) -> CaseFile:
        return CASE_MOVES.apply(self, "accept", accepted_at=at, **limit.columns())

    def refuse(self, ground: str, channel: str, at: datetime) -> CaseFile:
        return CASE_MOVES.apply(self, "refuse", ground=ground, channel=channel, closed_at=at)

    def transfer(self, number: str, at: datetime) -> CaseFile:
        return CASE_MOVES.apply(self, "transfer", transferred_to=number, closed_at=at)

    def classify(self, said: Classification, category: Category | None) -> CaseFile:
        """What was said replaces what was known. `category`: the entry of the category said, if one was."""
        if not self.running:
            raise FailedPrecondition("MOVE_NOT_ALLOWED", state=self.state, action="classify")
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
        if kind.classified and not self.category:
            raise FailedPrecondition("NOT_CLASSIFIED")
        return dispatched

    def held_by(self, departments: Sequence[str]) -> CaseFile:
        """Whom it concerns now that tasks were given or ended."""
        return replace(self, departments=departments)

    def replace_lead(self) -> CaseFile:
        """Once in the life of a case."""
        replaced = CASE_MOVES.apply(self, "replace lead", lead_replaced=True)
        if self.lead_replaced:
            raise FailedPrecondition("LEAD_REPLACED_ALREADY")
        return replaced

    def submit_result(self) -> CaseFile:
        return CASE_MOVES.apply(self, "submit result")

    def approve(self) -> CaseFile:
        return CASE_MOVES.apply(self, "approve")

    def send_back(self) -> CaseFile:
        return CASE_MOVES.apply(self, "send back")

    # -- conclusion and after --

    def conclude(
        self, outcome: Outcome, note: bytes | None, at: datetime, kind: Kind, tasks: Sequence[Task], parties: int
    ) -> CaseFile:
        """FailedPrecondition: TASKS_OPEN while a department works, PARTIES_MISSING for a dispute with less than two."""
        concluded = CASE_MOVES.apply(
            self,
            "conclude",
            outcome=outcome.code,
            outcome_version=outcome.version,
            outcome_note=note,
            counts_concluded=outcome.counts_concluded,
            counts_resolved=outcome.counts_resolved,
            concluded_at=at,
            resolved_at=at if outcome.counts_resolved else None,
        )
        if waiting := [task for task in tasks if not task.desk and not task.over and task.state != ACCEPTED]:
            raise FailedPrecondition("TASKS_OPEN", count=len(waiting))
        if kind.classified and not self.category:
            raise FailedPrecondition("NOT_CLASSIFIED")
        if parties < kind.parties:
            raise FailedPrecondition("PARTIES_MISSING", needed=kind.parties, present=parties)
        return concluded

    def follow_up(self) -> CaseFile:
        return CASE_MOVES.apply(self, "follow up")

    def close(self, at: datetime) -> CaseFile:
        return CASE_MOVES.apply(self, "close", closed_at=at)

    def reopen(self, at: datetime, limit: Limit) -> CaseFile:
        """Open again: neither concluded nor resolved until it is so again."""
        return CASE_MOVES.apply(
            self,
            "reopen",
            outcome="",
            outcome_version="",
            outcome_note=None,
            counts_concluded=False,
            counts_resolved=False,
            concluded_at=None,
            resolved_at=None,
            reopened_at=at,
            reopened_count=self.reopened_count + 1,
            round=self.round + 1,
            **limit.columns(),
        )

    def tell(self, step: int, at: datetime) -> CaseFile:
        """The clock's next step was told. Past its handling limit the case is overdue, from the limit on."""
        late = step >= SUPERIOR and self.accepted_at is not None
        return replace(self, told=step, overdue_since=self.overdue_since or self.due_at if late else self.overdue_since)


def after_follow_up(case: CaseFile, parties: Sequence[Party]) -> str:
    """What the answers so far lead to: "reopen", "close" or "" (ask on).

    An unsolved answer reopens what counts as resolved. Where the outcome itself says that the matter was not resolved (failed and the channel
    told, a party refused …) the answers are recorded and the case closes.
    """
    if case.counts_resolved and any(party.solved == "no" for party in parties):
        return "reopen"
    return "close" if all(party.settled for party in parties) else ""
