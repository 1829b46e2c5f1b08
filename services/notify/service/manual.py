"""Parties of cases are told by the clerks of a centre: they take a work item, call, hand over or post, and prove it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from kit.blobs import Blobs
from kit.clock import CLOCK_SKEW, business_date
from kit.errors import InvalidArgument, NotFound
from kit.unit import Unit
from services.notify.model import UNDELIVERED, WAITING, ManualDelivery, ManualTry, Proof
from services.notify.service.recipients import PartyAddress, Recipient
from services.notify.service.reminders import own_notice
from services.notify.store import manual as store
from services.notify.store.manual import MANUAL, TRIES
from services.notify.store.messages import Heard

if TYPE_CHECKING:
    from services.notify.service.notify import Notify

#: Timer: a party was to be told by now.
MANUAL_DUE = "notify.manual"

NOTE = "notify.manual.note"

#: Lets somebody take over what another clerk has taken.
TAKE_OVER = "notify.manual.takeOver"


class Manual:
    def __init__(self, notify: Notify, blobs: Blobs) -> None:
        self._notify, self._blobs = notify, blobs

    async def add(self, unit: Unit, heard: Heard, parties: Sequence[PartyAddress]) -> None:
        """A work item for each party; the window of each centre is told once."""
        rules = self._notify.rules.manual
        due = rules.due(unit.now, heard.urgency, self._notify.calendar) if parties else unit.now
        rows = [
            ManualDelivery(
                id=unit.new_id(nth),
                intent=heard.id,
                template=heard.template,
                code=heard.variables.get("code", ""),
                subject=heard.subject,
                case_id=party.case_id,
                party_id=party.party_id,
                party_role=party.role,
                centre=party.centre,
                division=heard.division,
                restricted=heard.restricted,
                urgency=heard.urgency,
                way=rules.way(heard.template),
                state=WAITING,
                created_at=unit.now,
                due_at=due,
            )
            for nth, party in enumerate(parties)
        ]
        await MANUAL.add_all(unit, rows)
        for row in rows:
            unit.schedule(MANUAL_DUE, row.id, at=row.due_at)
        for first in {row.centre: row for row in reversed(rows)}.values():
            await self._tell(unit, first, "notify.manual_waiting", "window", f"{heard.id}:{first.centre}")

    async def due(self, unit: Unit, manual_id: UUID) -> None:
        """Not done in time: the director is told, once."""
        row = await MANUAL.find(unit, "id = $1", manual_id)
        if row is None or not row.open or row.overdue_at:
            return
        if row.due_at > unit.now:
            unit.schedule(MANUAL_DUE, row.id, at=row.due_at)
            return
        late = await MANUAL.save(unit, row.late(unit.now))
        await self._tell(unit, late, "notify.manual_overdue", "director", str(late.id))

    async def _tell(self, unit: Unit, row: ManualDelivery, template: str, post: str, about: str) -> None:
        facts = {"code": row.code or "-"}
        if post == "director":
            facts |= {"role": row.party_role or "-", "due": business_date(row.due_at).isoformat()}
        told = own_notice(about, template, facts, row.subject, row.division, unit.now, restricted=row.restricted)
        await self._notify.tell(unit, told, [Recipient(row.centre, post, "")])

    # -- the clerks ---------------------------------------------------------------------------------------------------

    def centres(self, unit: Unit, centre_id: str) -> list[UUID]:
        """Whose work items are listed. NotFound for a centre that is not one of the caller's, as for one that does not exist."""
        own = unit.principal.departments
        if centre_id and centre_id not in own:
            raise NotFound("NOT_FOUND", field="centre_id", resource="centre")
        return [UUID(one) for one in ([centre_id] if centre_id else own)]

    async def take(self, unit: Unit, manual_id: UUID, etag: str) -> ManualDelivery:
        """Taken again by the same clerk, it stays as it is."""
        row = await self._own(unit, manual_id, etag)
        if row.open and row.taken_by == unit.principal.account:
            return row
        over = unit.principal.may(TAKE_OVER)
        return await MANUAL.save(unit, row.take(unit.principal.account, unit.now, over=over))

    async def complete(self, unit: Unit, manual_id: UUID, proof: Proof, etag: str) -> ManualDelivery:
        if proof.made_at > unit.now + CLOCK_SKEW:
            raise InvalidArgument("TIME_IN_FUTURE", field="made_at")
        # Before the unit's first statement: a connection must not wait for the media store.
        await self._blobs.require_photos((f"media_ids[{n}]", one) for n, one in enumerate(proof.media_ids))
        row = await self._own(unit, manual_id, etag)
        done = await MANUAL.save(unit, row.complete(unit.principal.account, proof, self._notify.rules.manual))
        unit.cancel(MANUAL_DUE, row.id)
        await self._record(unit, row, proof, "")
        return done

    async def fail(
        self, unit: Unit, manual_id: UUID, reason: str, next_way: str, note: str, etag: str
    ) -> ManualDelivery:
        row = await self._own(unit, manual_id, etag)
        rules, calendar = self._notify.rules.manual, self._notify.calendar
        tried = row.fail(unit.principal.account, reason, next_way, unit.now, rules, calendar)
        saved = await MANUAL.save(unit, tried)
        await self._record(unit, row, Proof("", unit.now, note), reason)
        if saved.state == UNDELIVERED:
            unit.cancel(MANUAL_DUE, row.id)
            await self._tell(unit, saved, "notify.manual_undelivered", "director", str(saved.id))
        elif not saved.overdue_at:
            unit.schedule(MANUAL_DUE, row.id, at=saved.due_at)
        return saved

    async def _own(self, unit: Unit, manual_id: UUID, etag: str) -> ManualDelivery:
        row = await MANUAL.get(unit, manual_id)
        unit.match(etag, row)
        return row

    async def _record(self, unit: Unit, row: ManualDelivery, proof: Proof, reason: str) -> None:
        try_id = unit.new_id()
        await TRIES.add(
            unit,
            ManualTry(
                id=try_id,
                delivery_id=row.id,
                number=row.tries + 1,
                made_by=unit.principal.account,
                made_at=proof.made_at,
                recorded_at=unit.now,
                way=row.way,
                manner=proof.manner,
                reason=reason,
                note=unit.seal(NOTE, try_id, proof.note) if proof.note else None,
                media_ids=list(proof.media_ids),
                tracking_number=proof.tracking_number,
            ),
        )

    async def detail(self, unit: Unit, manual_id: UUID) -> tuple[ManualDelivery, list[tuple[ManualTry, str]]]:
        """The work item, and its tries with their notes, the oldest first."""
        row = await MANUAL.get(unit, manual_id)
        tries = await store.tries(unit, row.id)
        return row, [(one, unit.open(NOTE, one.id, one.note) if one.note else "") for one in tries]
