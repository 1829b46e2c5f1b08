"""What all use cases share: words, limits, centres and codes, who may change a case, and all that goes with every change of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from kit.blobs import Blobs
from kit.config import DATA
from kit.errors import FailedPrecondition, NotFound, PermissionDenied
from kit.module import Runtime
from kit.unit import Unit
from services.cases.model import CaseFile, Task
from services.cases.service import telling
from services.cases.service.actions import CaseActions
from services.cases.service.centres import Centres
from services.cases.service.codes import Codes
from services.cases.service.limits import Limits
from services.cases.store import cases as store
from services.cases.store import orders
from services.cases.store.cases import Folder, Step
from services.cases.words import Words


def feed_of(case: CaseFile) -> tuple[object, ...]:
    """What the system that brought the case is told of it: a change of these is news to it."""
    return case.state, case.accepted_at, case.due_at, case.concluded_at, case.outcome, case.closed_at


class Chain:
    def __init__(self, runtime: Runtime):
        self.runtime = runtime
        self.blobs = Blobs.open(runtime.settings.media_url, pixel_limit=runtime.settings.media.pixel_limit)
        self.words = Words(DATA)
        self.limits = Limits(runtime.deadlines, self.words)
        self.centres = Centres()
        self.codes = Codes(runtime.keys)
        self.actions = CaseActions(runtime.texts, self.words)

    async def require_photos(self, media_ids: Sequence[str]) -> None:
        """InvalidArgument(PHOTO_UNKNOWN). Before the unit's first statement: a connection must not wait for the media store."""
        await self.blobs.require_photos((f"media_ids[{n}]", media_id) for n, media_id in enumerate(media_ids))

    async def own(self, unit: Unit, case_id: UUID, etag: str) -> Folder:
        """The case for a change by the responsible centre. PermissionDenied(CENTRE_NOT_RESPONSIBLE) for others who see it."""
        found = self._of_centre(unit, await store.folder(unit, case_id))
        unit.match(etag, found.case)
        return self._received(unit, found)

    async def own_locked(self, unit: Unit, case_id: UUID) -> Folder:
        """The case for the responsible centre, for what stands beside it and leaves the case itself as it is."""
        return self._of_centre(unit, await store.folder_locked(unit, case_id))

    async def own_seen(self, unit: Unit, case_id: UUID) -> Folder:
        """The case for the responsible centre, to be read."""
        return self._of_centre(unit, await store.folder_seen(unit, str(case_id)))

    def _of_centre(self, unit: Unit, found: Folder) -> Folder:
        if not unit.principal.system and found.case.centre not in unit.principal.departments:
            raise PermissionDenied("CENTRE_NOT_RESPONSIBLE")
        return found

    def _received(self, unit: Unit, found: Folder) -> Folder:
        """What no window took in, the first of the centre who works on it has received."""
        if unit.principal.system:
            return found
        return replace(found, case=found.case.receive(unit.principal.account, ""))

    async def own_task(self, unit: Unit, case_id: UUID, task_id: UUID, etag: str) -> tuple[Folder, Task]:
        """A department's task for a decision of the responsible centre. NotFound for a desk's. `etag`: the task's."""
        found = await self.own(unit, case_id, "")
        for task in found.tasks:
            if task.id == task_id and not task.desk:
                unit.match(etag, task)
                return found, task
        raise NotFound("NOT_FOUND", resource="task")

    async def task_for_work(self, unit: Unit, case_id: UUID, task_id: UUID, etag: str) -> tuple[Folder, Task]:
        """The case and the task that the caller's department was given. NotFound for anybody else's; FailedPrecondition(CASE_SUSPENDED)."""
        found = await store.folder(unit, case_id)
        if stand := found.case.suspended:
            raise FailedPrecondition("CASE_SUSPENDED", until=stand.ends)
        for task in found.tasks:
            if task.id == task_id and task.department in unit.principal.departments and not task.desk:
                unit.match(etag, task)
                return found, task
        raise NotFound("NOT_FOUND", resource="task")

    async def save(self, unit: Unit, case: CaseFile, what: str, *steps: Step) -> CaseFile:
        """The case with its version raised, its timeline and its event."""
        before = unit.loaded(store.CASES.name, case.id)
        saved = await store.CASES.save(unit, case)
        store.add_steps(unit, case.id, steps)
        unit.emit(telling.case_changed(saved, what, self.runtime.epoch))
        if saved.source_system and (before is None or feed_of(before) != feed_of(saved)):
            await orders.changed(unit, saved.id, saved.source_system)
        return saved

    def named(self, name: str, code: str) -> dict[str, str]:
        """A word of the proto's enums for a sentence in two languages, from data/texts."""
        zh, en = self.runtime.texts.of(f"{name}.{code}", {})
        return {f"{name}_zh": zh, f"{name}_en": en}
