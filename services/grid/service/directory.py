"""Departments, posts and who holds them, the duty roster, staff and absences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any
from uuid import UUID

from kit.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, PermissionDenied
from kit.unit import Unit
from services.grid.model import directory as model
from services.grid.model.directory import DAY, Department, Duty, Holding, Leave, Post, Staff
from services.grid.model.grids import Grid
from services.grid.service import telling
from services.grid.store import directory as store
from services.grid.store import divisions, grids
from services.grid.words import Words

#: Absences of others: for heads and administrators.
MANAGE_LEAVES = "grid.leaves.manage"


@dataclass(frozen=True, slots=True)
class Whole:
    """A member of staff with what is held today."""

    staff: Staff
    posts: Sequence[Post]
    grids: Sequence[Grid]
    away: bool


class Directory:
    def __init__(self, words: Words):
        self.words = words

    # -- departments --------------------------------------------------------------------------------------------------

    async def create_department(
        self, unit: Unit, code: str, name: str, name_en: str, kind: str, division: str, parent_id: UUID | None
    ) -> Department:
        if await divisions.find(unit, division) is None:
            raise InvalidArgument("DIVISION_UNKNOWN", field="division", division=division)
        if not unit.principal.covers(division):
            raise PermissionDenied("DIVISION_FOREIGN", field="division", division=division)
        if code.split("-", 1)[0] != division:
            raise InvalidArgument("DEPARTMENT_CODE", field="code", division=division)
        await store.claim(unit, f"department {code}")
        if await store.department_by_code(unit, code):
            raise AlreadyExists("DEPARTMENT_EXISTS", field="code", code=code)
        await self._check_parent(unit, parent_id)
        department = Department(unit.new_id(), code, name, name_en, kind, division, parent_id)
        await store.DEPARTMENTS.add(unit, department)
        unit.emit(telling.department_changed(unit, department))
        return department

    async def update_department(
        self, unit: Unit, department_id: UUID, changes: Mapping[str, Any], etag: str
    ) -> Department:
        department = await self._own(unit, store.DEPARTMENTS, department_id)
        unit.match(etag, department)
        if "parent_id" in changes:
            await self._check_parent(unit, changes["parent_id"], below=department_id)
        changed = await store.DEPARTMENTS.save(unit, replace(department, **changes))
        unit.emit(telling.department_changed(unit, changed))
        return changed

    async def _check_parent(self, unit: Unit, parent_id: UUID | None, below: UUID | None = None) -> None:
        """A parent that exists and does not stand below its child."""
        above = parent_id
        while above is not None:
            if above == below:
                raise InvalidArgument("PARENT_CIRCLE", field="parent_id")
            found = await store.department_by_id(unit, above)
            if found is None:
                raise InvalidArgument("PARENT_UNKNOWN", field="parent_id")
            above = found.parent_id

    async def _own(self, unit: Unit, table: Any, row_id: UUID) -> Any:
        """A row of the caller's divisions: what lies above one may be seen, not changed."""
        row = await table.get(unit, row_id)
        if not unit.principal.covers(row.division):
            raise NotFound("NOT_FOUND", resource=table.name)
        return row

    # -- posts --------------------------------------------------------------------------------------------------------

    async def create_post(self, unit: Unit, department_id: UUID, kind: str, name: str) -> Post:
        department: Department = await self._own(unit, store.DEPARTMENTS, department_id)
        if not department.active:
            raise FailedPrecondition("DEPARTMENT_DISSOLVED", field="department_id")
        post = await store.POSTS.add(unit, Post(unit.new_id(), department.id, department.division, kind, name))
        unit.emit(telling.post_changed(unit, post, ()))
        return post

    async def update_post(self, unit: Unit, post_id: UUID, changes: Mapping[str, Any], etag: str) -> Post:
        """Given up, a post is vacant too."""
        post: Post = await self._own(unit, store.POSTS, post_id)
        unit.match(etag, post)
        if changes.get("active") is False and post.holder:
            await self._end_holding(unit, post, unit.today)
            post = replace(post, holder="", holder_since=None)
        return await self._save(unit, replace(post, **changes))

    async def fill_post(self, unit: Unit, post_id: UUID, account: str, since: date | None, etag: str) -> Post:
        post: Post = await self._own(unit, store.POSTS, post_id)
        unit.match(etag, post)
        await self._active(unit, account)
        first = since or unit.today
        filled = post.fill(account, first, unit.today)
        await self._end_holding(unit, post, first)
        await store.HOLDINGS.add(unit, Holding(unit.new_id(), post.id, account, first))
        return await self._save(unit, filled)

    async def vacate_post(self, unit: Unit, post_id: UUID, since: date | None, etag: str) -> Post:
        post: Post = await self._own(unit, store.POSTS, post_id)
        unit.match(etag, post)
        first = since or unit.today
        vacated = post.vacate(first, unit.today)
        await self._end_holding(unit, post, first)
        return await self._save(unit, vacated)

    async def _end_holding(self, unit: Unit, post: Post, first_without: date) -> None:
        if holding := await store.present_holding(unit, post.id):
            await store.HOLDINGS.save(unit, replace(holding, until_date=first_without - DAY))

    async def _save(self, unit: Unit, post: Post) -> Post:
        saved = await store.POSTS.save(unit, post)
        unit.emit(telling.post_changed(unit, saved, await store.coming_duties(unit, post.id, unit.today)))
        return saved

    async def _active(self, unit: Unit, account: str, field: str = "account") -> Staff:
        staff = await store.any_staff(unit, account)
        if staff is None or not staff.active:
            raise InvalidArgument("STAFF_UNKNOWN", field=field, account=account)
        return staff

    # -- the roster ---------------------------------------------------------------------------------------------------

    async def set_duty(self, unit: Unit, post_id: UUID, account: str, first: date, last: date) -> Duty:
        post: Post = await self._own(unit, store.POSTS, post_id)
        await self._active(unit, account)
        if last < unit.today:
            raise InvalidArgument("DATE_IN_PAST", field="until_date")
        longest = self.words.parameters.on(unit.today).longest_duty
        model.check_duty(first, last, longest, await store.coming_duties(unit, post.id, min(first, unit.today)))
        duty = Duty(unit.new_id(), post.id, post.department_id, account, first, last)
        await store.DUTIES.add(unit, duty)
        await self._save(unit, post)
        return duty

    async def remove_duty(self, unit: Unit, post_id: UUID, duty_id: UUID) -> None:
        """The post's new version records it; the entry itself is gone."""
        post: Post = await self._own(unit, store.POSTS, post_id)
        duty = await store.duty(unit, post_id, duty_id)
        await store.forget_duty(unit, duty.id)
        await self._save(unit, post)

    # -- staff --------------------------------------------------------------------------------------------------------

    async def create_staff(
        self, unit: Unit, account: str, name: str, title: str, title_en: str, department_id: UUID
    ) -> Staff:
        department: Department = await self._own(unit, store.DEPARTMENTS, department_id)
        await store.claim(unit, f"staff {account}")
        if await store.any_staff(unit, account):
            raise AlreadyExists("STAFF_EXISTS", field="account", account=account)
        staff = Staff(unit.new_id(), account, name, title, department.id, department.division, title_en)
        await store.STAFF.add(unit, staff)
        unit.emit(telling.staff_changed(unit, staff, ()))
        return staff

    async def get_staff(self, unit: Unit, account: str) -> Whole:
        staff = await store.staff(unit, account)
        leaves = await store.coming_leaves(unit, account, unit.today)
        return Whole(
            staff,
            await store.posts_held(unit, account),
            await grids.own(unit, account, unit.today),
            any(leave.covers(unit.today) for leave in leaves),
        )

    async def update_staff(self, unit: Unit, account: str, changes: Mapping[str, Any], etag: str) -> Staff:
        staff = await store.staff(unit, account)
        if not unit.principal.covers(staff.division):
            raise NotFound("NOT_FOUND", resource="staff")
        unit.match(etag, staff)
        if "department_id" in changes:
            department: Department = await self._own(unit, store.DEPARTMENTS, changes["department_id"])
            changes = {**changes, "division": department.division}
        return await self._save_staff(unit, replace(staff, **changes))

    async def _save_staff(self, unit: Unit, staff: Staff) -> Staff:
        saved = await store.STAFF.save(unit, staff)
        unit.emit(telling.staff_changed(unit, saved, await store.coming_leaves(unit, staff.account, unit.today)))
        return saved

    # -- absences -----------------------------------------------------------------------------------------------------

    async def create_leave(self, unit: Unit, account: str, first: date, last: date, substitute: str) -> Leave:
        staff = await self._whose_leave(unit, account)
        longest, present = (
            self.words.parameters.on(unit.today).longest_leave,
            await store.coming_leaves(unit, account, unit.today),
        )
        model.check_leave(account, first, last, substitute, unit.today, longest, present)
        if substitute:
            await self._check_substitute(unit, staff, substitute)
        leave = Leave(unit.new_id(), staff.id, account, first, last, substitute)
        await store.LEAVES.add(unit, leave)
        await self._save_staff(unit, staff)
        return leave

    async def _check_substitute(self, unit: Unit, absent: Staff, account: str) -> None:
        """Somebody active, whose divisions hold those that the absent works in: the home department's, the posts' and the grids'."""
        substitute = await self._active(unit, account, "substitute")
        reach = await self._works_in(unit, substitute)
        for division in sorted(await self._works_in(unit, absent)):
            if not division.startswith(tuple(reach)):
                raise InvalidArgument("SUBSTITUTE_ELSEWHERE", field="substitute", account=account, division=division)

    async def _works_in(self, unit: Unit, staff: Staff) -> set[str]:
        posts = await store.posts_held(unit, staff.account)
        served = await grids.own(unit, staff.account, unit.today)
        return {staff.division, *(post.division for post in posts), *(grid.division for grid in served)}

    async def end_leave(self, unit: Unit, account: str, leave_id: UUID) -> Leave:
        staff = await self._whose_leave(unit, account)
        leave = await store.leave(unit, account, leave_id)
        ended = await store.LEAVES.save(unit, leave.end(unit.today))
        await self._save_staff(unit, staff)
        return ended

    async def _whose_leave(self, unit: Unit, account: str) -> Staff:
        """One's own, or that of one's department, or of anybody in one's divisions for who manages absences."""
        staff = await store.staff(unit, account)
        who = unit.principal
        if account != who.account and not (who.may(MANAGE_LEAVES) and who.covers(staff.division)):
            raise PermissionDenied("LEAVE_OF_OTHERS", account=account)
        return staff
