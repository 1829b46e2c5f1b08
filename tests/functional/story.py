"""The persons of the two counties at their work, in few words: what every story needs again and again.

Every method is one REST call by the person whose work it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.functional.harness import Hetao, Person, department, eventually

#: Made up, with right check digits.
APPLICANT: dict[str, Any] = {
    "role": "PARTY_ROLE_APPLICANT",
    "type": "PARTY_TYPE_NATURAL_PERSON",
    "name": "赵秀英",
    "idNumber": "150826198001010013",
    "phone": "13904781234",
}
COMPANY: dict[str, Any] = {
    "role": "PARTY_ROLE_RESPONDENT",
    "type": "PARTY_TYPE_LEGAL_PERSON",
    "name": "河套酒业有限公司",
    "idNumber": "91150826MA0N0A0A0C",
}

#: The lead and two more for a labour dispute in 杭锦后旗, and who works there.
LABOUR, JUSTICE, UNION = (department(f"150826-{name}") for name in ("labour", "justice", "union"))
OFFICERS = {LABOUR: "department-officer-2", JUSTICE: "justice-officer-2", UNION: "union-officer-2"}

#: What the parties agree on.
AGREED = {"terms": "一次性支付八万元", "performed": True}

WORK_INJURY = {
    "category": "10",
    "scale": "SCALE_INDIVIDUAL",
    "risk": "RISK_MEDIUM",
    "complexity": "COMPLEXITY_COMPLEX",
}


def walk_in(**more: Any) -> dict[str, Any]:
    """A work-injury dispute of a person with a company, as the window clerk types it."""
    return {
        "kind": "KIND_DISPUTE",
        "division": "150826",
        "title": "工伤待遇纠纷",
        "description": "在车间受伤，要求支付工伤待遇",
        "parties": [APPLICANT, COMPANY],
        **more,
    }


@dataclass(frozen=True)
class Centre:
    """The centre of 杭锦后旗 and the departments that it works with."""

    clerk: Person
    dispatcher: Person
    follow_up: Person
    director: Person
    officers: dict[str, Person]

    @classmethod
    def of(cls, hetao: Hetao) -> Centre:
        roles = ("window-clerk-2", "dispatcher-2", "follow-up-clerk-2", "centre-director-2")
        officers = {one: hetao.person(account) for one, account in OFFICERS.items()}
        return cls(*(hetao.person(role) for role in roles), officers)

    def take_in(self, **more: Any) -> dict[str, Any]:
        """The case, its receipts and what may be the same quarrel."""
        return self.clerk.post("/v1/cases", walk_in(**more))

    def act(
        self, case: dict[str, Any], verb: str, body: dict[str, Any] | None = None, by: Person | None = None
    ) -> dict[str, Any]:
        return (by or self.dispatcher).post(f"/v1/cases/{case['caseId']}:{verb}", body or {})

    def accepted(self, **more: Any) -> dict[str, Any]:
        return self.act(self.take_in(**more)["case"], "accept", {"classification": WORK_INJURY})

    def dispatch(self, case: dict[str, Any], *, lead_days: int = 5, other_days: int = 3) -> dict[str, Any]:
        """To labour, which leads, and to justice and the union."""
        assignments: list[dict[str, Any]] = [
            {"departmentId": LABOUR, "lead": True, "limitDays": lead_days, "demand": "核实用工与伤情，组织调解"}
        ]
        assignments += [{"departmentId": one, "limitDays": other_days} for one in (JUSTICE, UNION)]
        # A department is known to the chain as soon as the grid's event is in effect, moments after the first start.
        return self.act(case, "dispatch", {"assignments": assignments})

    def officer(self, task: dict[str, Any]) -> Person:
        return self.officers[task["departmentId"]]

    def on_task(self, task: dict[str, Any], verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        path = f"/v1/cases/{task['caseId']}/tasks/{task['taskId']}:{verb}"
        return self.officer(task).post(path, body or {})

    def answer(self, case: dict[str, Any], result: str = "已组织调解，双方同意一次性支付") -> dict[str, Any]:
        """Every department signs in and answers, the lead last; the case as it waits for the review."""
        for task in sorted(case["tasks"], key=lambda one: bool(one["lead"])):
            if task["state"] == "TASK_STATE_DISPATCHED":
                self.on_task(task, "signIn")
            if task["state"] not in ("TASK_STATE_RESULT_SUBMITTED", "TASK_STATE_ACCEPTED"):
                self.on_task(task, "submitResult", {"result": result})
        return self.read(case)

    def concluded(self, outcome: str = "OUTCOME_WRITTEN_AGREEMENT", **more: Any) -> dict[str, Any]:
        """Accepted, dispatched, answered, reviewed and concluded."""
        case = self.answer(self.dispatch(self.accepted(**more)))
        case = self.act(case, "review", {"decision": "REVIEW_DECISION_APPROVE"})
        return self.conclude(case, outcome)

    def conclude(self, case: dict[str, Any], outcome: str = "OUTCOME_WRITTEN_AGREEMENT") -> dict[str, Any]:
        """An agreement is performed on the spot."""
        agreed = {"agreement": AGREED} if outcome.endswith("_AGREEMENT") else {}
        return self.act(case, "conclude", {"outcome": outcome, "note": "一次性支付八万元", **agreed})

    def reopened(self, case: dict[str, Any]) -> dict[str, Any]:
        """A party calls it unsolved, and the dispatcher reopens."""
        self.ask(case, case["parties"][0], "SOLVED_NO")
        return self.act(case, "reopen", {"ground": "unsolved"})

    def ask(self, case: dict[str, Any], party: dict[str, Any], solved: str = "SOLVED_YES") -> dict[str, Any]:
        satisfaction = "SATISFACTION_SATISFIED" if solved == "SOLVED_YES" else "SATISFACTION_DISSATISFIED"
        body = {"partyId": party["partyId"], "contacted": True, "solved": solved, "satisfaction": satisfaction}
        body["inTime"] = "IN_TIME_YES"
        return self.act(case, "recordFollowUp", body, self.follow_up)

    def read(self, case: dict[str, Any], by: Person | None = None) -> dict[str, Any]:
        return (by or self.dispatcher).get(f"/v1/cases/{case['caseId']}")

    def timeline(self, case: dict[str, Any], by: Person | None = None) -> list[dict[str, Any]]:
        path = f"/v1/cases/{case['caseId']}:timeline"
        return (by or self.dispatcher).everything(path, "entries", pageSize=20)


def told(person: Person, template: str, case: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages about a case, once there is one."""
    return eventually(lambda: person.messages(template, f"cases/{case['caseId']}"), f"{template} to {person.account}")
