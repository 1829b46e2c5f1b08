"""How a service says that somebody should be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid5

from hetao.common.v1 import notice_pb2
from kit.events import Event


@dataclass(frozen=True, slots=True)
class To:
    """A recipient within: a post of a department, or an account."""

    department_id: UUID | str | None = None
    post: str = ""
    account: str = ""


@dataclass(frozen=True, slots=True)
class ToParty:
    """A party of a case, who has no account: told by a clerk of the centre, who looks up name and number in the case. `role`: its part in the case."""

    case_id: UUID
    party_id: UUID
    role: str
    centre_id: UUID | str


def notice(
    template: str,
    *,
    intents: UUID,
    about: str,
    to: Sequence[To | ToParty],
    variables: Mapping[str, str],
    subject: str,
    division: str,
    key: UUID,
    urgent: bool = False,
    restricted: bool = False,
) -> Event:
    """The event that somebody should be told, once for `about`: the same intent has the same id however often it is told.

    intents     the service's own namespace of intent ids
    variables   what the template needs: codes, dates and numbers, never names of persons
    subject     the resource's name, which the link is made of ("cases/0190…")
    key         the aggregate whose events it keeps its place among
    restricted  the matter is: nothing of it goes to a group
    """
    message = notice_pb2.NoticeRequested(
        intent_id=str(uuid5(intents, f"{template}:{about}")),
        template=template,
        recipients=[_recipient(one) for one in to],
        variables=[notice_pb2.Variable(name=name, value=value) for name, value in variables.items()],
        urgency=notice_pb2.URGENCY_URGENT if urgent else notice_pb2.URGENCY_NORMAL,
        subject=subject,
        division=division,
        restricted=restricted,
    )
    return Event(key, message, division)


def _recipient(to: To | ToParty) -> notice_pb2.Recipient:
    if isinstance(to, To):
        return notice_pb2.Recipient(department_id=str(to.department_id or ""), post=to.post, account=to.account)
    party = notice_pb2.PartyAddress(
        case_id=str(to.case_id), party_id=str(to.party_id), role=to.role, centre_id=str(to.centre_id)
    )
    return notice_pb2.Recipient(party=party)
