"""What a caller may do with a case and with a task: one line per RPC, by what its use case asks itself.

A new RPC on a case or a task is a line here, in the order in which front ends show it (tests/unit/cases/test_actions.py finds one that is missing).
Whatever its use case checks beside the state is a method of the model that raises; the line names it as its guard, so both ask the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from operator import attrgetter

from hetao.cases.v1 import cases_pb2, supervisions_pb2, suspensions_pb2, tasks_pb2
from hetao.common.v1 import common_pb2
from kit.actions import Action, Actions, methods
from kit.errors import NotFound
from kit.identity import Principal
from kit.texts import Texts
from kit.unit import Unit
from services.cases.model import CASE_MOVES, TASK_MOVES, CaseFile, Party, Task, check_room, returned_by
from services.cases.words import Kind, Parameters, Words


@dataclass(slots=True)
class SeenCase:
    """A case with its parts, as one caller sees all of it. `own`: the caller is of the responsible centre, as `Chain.own` asks."""

    principal: Principal
    case: CaseFile
    tasks: Sequence[Task]
    parties: Sequence[Party]
    words: Words
    today: date
    own: bool
    now: datetime

    @property
    def most(self) -> Parameters:
        return self.words.parameters(self.today)

    @property
    def kind(self) -> Kind:
        return self.words.kinds.get(self.case.kind, self.today)


@dataclass(frozen=True, slots=True)
class SeenTask:
    """`others`: all tasks of its case."""

    principal: Principal
    task: Task
    others: Sequence[Task]
    now: datetime


#: The responsible centre.
centre = attrgetter("own")


def asker(seen: SeenCase) -> bool:
    """Who asks the parties is of the centre and of no department that handled the case."""
    return seen.own and not seen.case.handled_by(seen.principal.departments)


def concerned(seen: SeenCase) -> bool:
    """The responsible centre and the departments that work on the case."""
    return seen.case.concerns(seen.principal.departments)


def leading(seen: SeenCase) -> bool:
    """The responsible centre and the lead department."""
    return seen.own or seen.case.led_by(seen.principal.departments, seen.tasks)


def supervising(seen: SeenCase) -> bool:
    """Whoever is not addressed oneself: the lead department is, or the centre where none leads."""
    lead = next((task.department for task in seen.tasks if task.lead and not task.desk), seen.case.centre)
    return lead not in seen.principal.departments


def holder(seen: SeenTask) -> bool:
    """The department that was given the task, as `Chain.task_for_work` asks; of a suspended case nobody."""
    own = seen.task.department in seen.principal.departments and not seen.task.desk
    return own and not seen.task.stands(seen.now)


def of_centre(seen: SeenTask) -> bool:
    """The responsible centre, of a department's task, as `Chain.own_task` asks."""
    return (seen.principal.system or seen.task.centre in seen.principal.departments) and not seen.task.desk


def outside(seen: SeenTask) -> bool:
    """The responsible centre, and not of the department that asks."""
    return of_centre(seen) and seen.task.department not in seen.principal.departments


def _lead(seen: SeenCase) -> None:
    seen.case.check_lead()
    for task in seen.tasks:
        if task.lead:
            task.check_decided()


def _return(seen: SeenTask) -> None:
    seen.task.check_return(returned_by(seen.task.department, seen.others))


def _not_lead(seen: SeenTask) -> None:
    seen.task.check_not_lead()


def _new_party(seen: SeenCase) -> None:
    seen.case.check_running("add party")
    check_room(len(seen.parties), 1, seen.most.most_parties)


def _somebody_to_reveal(seen: SeenCase) -> None:
    if not seen.parties:
        raise NotFound("NOT_FOUND", resource="party")


def _conclusion(seen: SeenCase) -> None:
    """The tasks of a suspended case end with it."""
    tasks = [] if seen.case.suspended else seen.tasks
    seen.case.check_conclusion(seen.kind, tasks, len(seen.parties))


def _decision(seen: SeenCase) -> None:
    seen.case.check_decision(seen.principal.account, seen.principal.may("cases.suspensions.repeat"), seen.now)
    for task in seen.tasks:
        task.check_decided()


def _somebody_to_ask(seen: SeenCase) -> None:
    """Who was given up may still answer."""
    if seen.parties:
        min(seen.parties, key=lambda party: party.contacted).check_unanswered()


def _reopening(seen: SeenCase) -> None:
    seen.case.check_reopenings(seen.most.most_reopenings, beyond=seen.principal.may("cases.cases.reopenBeyond"))


CASES = methods(cases_pb2.DESCRIPTOR.services_by_name["CaseService"])
STANDS = methods(suspensions_pb2.DESCRIPTOR.services_by_name["SuspensionService"])
ORDERS = methods(supervisions_pb2.DESCRIPTOR.services_by_name["SupervisionService"])
TASKS = methods(tasks_pb2.DESCRIPTOR.services_by_name["TaskService"])

ON_CASE: Sequence[Action[SeenCase]] = (
    Action(CASES["AcceptCase"], CASE_MOVES, "accept", whose=centre),
    Action(CASES["RefuseCase"], CASE_MOVES, "refuse", whose=centre),
    Action(CASES["TransferCase"], CASE_MOVES, "transfer", whose=centre),
    Action(
        CASES["AskSupplement"],
        CASE_MOVES,
        "ask supplement",
        whose=centre,
        guard=lambda s: s.case.check_supplements(s.most.most_supplements),
    ),
    Action(CASES["RecordSupplement"], CASE_MOVES, "bring supplement", whose=centre),
    Action(CASES["SetFirstReceiver"], whose=centre, guard=lambda s: s.case.check_unanswered("set first receiver")),
    Action(CASES["AddParty"], whose=centre, guard=_new_party),
    Action(CASES["ClassifyCase"], whose=centre, guard=lambda seen: seen.case.check_running("classify")),
    Action(
        CASES["DispatchCase"], CASE_MOVES, "dispatch", whose=centre, guard=lambda s: s.case.check_classified(s.kind)
    ),
    Action(CASES["ReplaceLead"], CASE_MOVES, "replace lead", whose=centre, guard=_lead),
    Action(CASES["ReviewCase"], CASE_MOVES, "approve", "send back", whose=centre),
    Action(CASES["ConcludeCase"], CASE_MOVES, "conclude", whose=centre, guard=_conclusion),
    # How much longer it may stand in all is told when it is asked for.
    Action(
        STANDS["RequestSuspension"], CASE_MOVES, "suspend", whose=leading, guard=lambda s: s.case.check_asking(s.now)
    ),
    Action(STANDS["DecideSuspension"], whose=centre, guard=_decision),
    Action(STANDS["ResumeCase"], CASE_MOVES, "resume", whose=centre),
    Action(ORDERS["CreateSupervision"], whose=supervising, guard=lambda s: s.case.check_supervised()),
    Action(CASES["RecordFollowUp"], CASE_MOVES, "follow up", whose=asker, guard=_somebody_to_ask),
    Action(
        CASES["RecordPerformance"],
        CASE_MOVES,
        "record performance",
        whose=asker,
        guard=lambda s: s.case.check_agreement(),
    ),
    Action(CASES["CloseCase"], CASE_MOVES, "close", whose=centre, guard=lambda s: s.case.check_closing(s.parties)),
    Action(CASES["ReopenCase"], CASE_MOVES, "reopen", whose=centre, guard=_reopening),
    Action(CASES["RevealParty"], whose=concerned, guard=_somebody_to_reveal),
)

#: How much more time may be granted in all is told when it is asked for.
ON_TASK: Sequence[Action[SeenTask]] = (
    Action(TASKS["SignInTask"], TASK_MOVES, "sign in", whose=holder),
    Action(TASKS["ReturnTask"], TASK_MOVES, "return", whose=holder, guard=_return),
    Action(TASKS["StartTask"], TASK_MOVES, "start", whose=holder),
    Action(
        TASKS["SubmitTaskResult"], TASK_MOVES, "submit", whose=holder, guard=lambda s: s.task.check_submission(s.others)
    ),
    Action(
        TASKS["RequestExtension"],
        TASK_MOVES,
        "ask extension",
        whose=holder,
        guard=lambda s: s.task.check_extension(s.now),
    ),
    Action(TASKS["DecideReturn"], TASK_MOVES, "overrule", whose=of_centre, guard=lambda s: s.task.check_for(False)),
    Action(TASKS["DesignateTask"], TASK_MOVES, "designate", whose=of_centre, guard=lambda s: s.task.check_for(True)),
    Action(
        TASKS["DecideExtension"], TASK_MOVES, "decide extension", whose=outside, guard=lambda s: s.task.check_asked()
    ),
    Action(TASKS["WaiveTask"], TASK_MOVES, "waive", whose=of_centre, guard=_not_lead),
    Action(TASKS["ReassignTask"], TASK_MOVES, "reassign", whose=of_centre, guard=_not_lead),
    Action(TASKS["CancelTask"], TASK_MOVES, "cancel", whose=of_centre, guard=_not_lead),
)


class CaseActions:
    """Both tables, for whoever shows a case or a task."""

    def __init__(self, texts: Texts, words: Words):
        self.on_case, self.on_task, self._words = Actions(texts, ON_CASE), Actions(texts, ON_TASK), words

    def of_case(
        self, unit: Unit, case: CaseFile, tasks: Sequence[Task], parties: Sequence[Party]
    ) -> Sequence[common_pb2.AllowedAction]:
        return self.on_case.of(unit.principal, case.state, self._seen(unit, case, tasks, parties))

    def of_task(self, unit: Unit, task: Task, others: Sequence[Task]) -> Sequence[common_pb2.AllowedAction]:
        return self.on_task.of(unit.principal, task.state, SeenTask(unit.principal, task, others, unit.now))

    def _seen(self, unit: Unit, case: CaseFile, tasks: Sequence[Task], parties: Sequence[Party]) -> SeenCase:
        who = unit.principal
        own = who.system or case.centre in who.departments
        return SeenCase(who, case, tasks, parties, self._words, unit.today, own, unit.now)
