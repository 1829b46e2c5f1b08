"""DepartmentService, PostService, StaffService."""

from __future__ import annotations

from datetime import date, timedelta
from uuid import UUID

from hetao.grid.v1 import departments_pb2 as departments_pb
from hetao.grid.v1 import posts_pb2 as posts_pb
from hetao.grid.v1 import staff_pb2 as staff_pb
from hetao.grid.v1 import types_pb2
from kit.paging import FIRST_ID, LAST_ID, Page
from kit.proto import given_day, number_of, text_of
from kit.unit import Unit
from services.grid.api.convert import changes, named, some_day, some_id, text_date
from services.grid.model.directory import Department, Duty, Holding, Leave, Post, Staff
from services.grid.service.directory import Directory, Whole
from services.grid.store import directory as store
from services.grid.store.scope import scope

FIRST_DAY, LAST_DAY = date(1900, 1, 1), date(9000, 1, 1)

#: Days of the roster that a list shows when no last day is named.
ROSTER_DAYS = timedelta(days=31)


class DepartmentApi:
    def __init__(self, service: Directory):
        self.service = service

    async def CreateDepartment(
        self, request: departments_pb.CreateDepartmentRequest, unit: Unit
    ) -> departments_pb.CreateDepartmentResponse:
        made = await self.service.create_department(
            unit,
            request.code,
            request.name,
            request.name_en,
            text_of(types_pb2.DepartmentKind, request.kind),
            request.division,
            some_id(request.parent_id),
        )
        return departments_pb.CreateDepartmentResponse(department=department(made))

    async def GetDepartment(
        self, request: departments_pb.GetDepartmentRequest, unit: Unit
    ) -> departments_pb.GetDepartmentResponse:
        found = await store.DEPARTMENTS.get(unit, UUID(request.department_id))
        return departments_pb.GetDepartmentResponse(department=department(found))

    async def ListDepartments(
        self, request: departments_pb.ListDepartmentsRequest, unit: Unit
    ) -> departments_pb.ListDepartmentsResponse:
        page, kind = Page.of(unit, request), text_of(types_pb2.DepartmentKind, request.kind)
        after = (page.after or ("",))[0]
        rows = await store.departments(unit, scope(unit, request.division), kind, after, page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.code,))
        return departments_pb.ListDepartmentsResponse(departments=map(department, shown), next_page_token=token)

    async def UpdateDepartment(
        self, request: departments_pb.UpdateDepartmentRequest, unit: Unit
    ) -> departments_pb.UpdateDepartmentResponse:
        changed = dict(named(changes(request, request.update_mask, ("name", "name_en", "parent_id", "active"))))
        if "parent_id" in changed:
            changed["parent_id"] = some_id(changed["parent_id"])
        saved = await self.service.update_department(unit, UUID(request.department_id), changed, request.etag)
        return departments_pb.UpdateDepartmentResponse(department=department(saved))


class PostApi:
    def __init__(self, service: Directory):
        self.service = service

    async def CreatePost(self, request: posts_pb.CreatePostRequest, unit: Unit) -> posts_pb.CreatePostResponse:
        kind = text_of(types_pb2.PostKind, request.kind)
        made = await self.service.create_post(unit, UUID(request.department_id), kind, request.name)
        return posts_pb.CreatePostResponse(post=post(made))

    async def GetPost(self, request: posts_pb.GetPostRequest, unit: Unit) -> posts_pb.GetPostResponse:
        return posts_pb.GetPostResponse(post=post(await store.POSTS.get(unit, UUID(request.post_id))))

    async def ListPosts(self, request: posts_pb.ListPostsRequest, unit: Unit) -> posts_pb.ListPostsResponse:
        page, kind = Page.of(unit, request), text_of(types_pb2.PostKind, request.kind)
        division, last = page.after or ("", FIRST_ID)
        if request.department_id:
            found = await store.DEPARTMENTS.get(unit, UUID(request.department_id))
            rows = await store.posts_of(unit, found.id, kind, last, page.limit)
        else:
            rows = await store.posts_in(unit, scope(unit, request.division), kind, (division, last), page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.division, row.id))
        return posts_pb.ListPostsResponse(posts=map(post, shown), next_page_token=token)

    async def UpdatePost(self, request: posts_pb.UpdatePostRequest, unit: Unit) -> posts_pb.UpdatePostResponse:
        changed = named(changes(request, request.update_mask, ("name", "active")))
        saved = await self.service.update_post(unit, UUID(request.post_id), changed, request.etag)
        return posts_pb.UpdatePostResponse(post=post(saved))

    async def FillPost(self, request: posts_pb.FillPostRequest, unit: Unit) -> posts_pb.FillPostResponse:
        since = some_day(request.from_date, "from_date")
        saved = await self.service.fill_post(unit, UUID(request.post_id), request.account, since, request.etag)
        return posts_pb.FillPostResponse(post=post(saved))

    async def VacatePost(self, request: posts_pb.VacatePostRequest, unit: Unit) -> posts_pb.VacatePostResponse:
        since = some_day(request.from_date, "from_date")
        saved = await self.service.vacate_post(unit, UUID(request.post_id), since, request.etag)
        return posts_pb.VacatePostResponse(post=post(saved))

    async def ListPostHoldings(
        self, request: posts_pb.ListPostHoldingsRequest, unit: Unit
    ) -> posts_pb.ListPostHoldingsResponse:
        page = Page.of(unit, request)
        found = await store.POSTS.get(unit, UUID(request.post_id))
        first, last = page.after or (LAST_DAY, LAST_ID)
        rows = await store.holdings(unit, found.id, (first, last), page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.from_date, row.id))
        return posts_pb.ListPostHoldingsResponse(holdings=map(holding, shown), next_page_token=token)

    async def SetDuty(self, request: posts_pb.SetDutyRequest, unit: Unit) -> posts_pb.SetDutyResponse:
        first, last = given_day(request.from_date, "from_date"), given_day(request.until_date, "until_date")
        made = await self.service.set_duty(unit, UUID(request.post_id), request.account, first, last)
        return posts_pb.SetDutyResponse(duty=roster_entry(made))

    async def RemoveDuty(self, request: posts_pb.RemoveDutyRequest, unit: Unit) -> posts_pb.RemoveDutyResponse:
        await self.service.remove_duty(unit, UUID(request.post_id), UUID(request.duty_id))
        return posts_pb.RemoveDutyResponse()

    async def ListDuties(self, request: posts_pb.ListDutiesRequest, unit: Unit) -> posts_pb.ListDutiesResponse:
        page = Page.of(unit, request)
        found = await store.DEPARTMENTS.get(unit, UUID(request.department_id))
        first = some_day(request.from_date, "from_date") or unit.today
        last = some_day(request.until_date, "until_date") or first + ROSTER_DAYS
        longest = self.service.words.longest_duty_ever
        rows = await store.duties(unit, found.id, first, last, longest, page.after or (FIRST_DAY, FIRST_ID), page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.from_date, row.id))
        return posts_pb.ListDutiesResponse(duties=map(roster_entry, shown), next_page_token=token)


class StaffApi:
    def __init__(self, service: Directory):
        self.service = service

    async def CreateStaff(self, request: staff_pb.CreateStaffRequest, unit: Unit) -> staff_pb.CreateStaffResponse:
        made = await self.service.create_staff(
            unit, request.account, request.name, request.title, request.title_en, UUID(request.department_id)
        )
        return staff_pb.CreateStaffResponse(staff=staff(made))

    async def GetStaff(self, request: staff_pb.GetStaffRequest, unit: Unit) -> staff_pb.GetStaffResponse:
        return staff_pb.GetStaffResponse(staff=whole(await self.service.get_staff(unit, request.account)))

    async def ListStaff(self, request: staff_pb.ListStaffRequest, unit: Unit) -> staff_pb.ListStaffResponse:
        page = Page.of(unit, request)
        division, account = page.after or ("", "")
        if request.department_id:
            found = await store.DEPARTMENTS.get(unit, UUID(request.department_id))
            rows = await store.staff_of(unit, found.id, account, page.limit)
        else:
            rows = await store.staff_in(unit, scope(unit, request.division), (division, account), page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.division, row.account))
        return staff_pb.ListStaffResponse(staff=map(staff, shown), next_page_token=token)

    async def UpdateStaff(self, request: staff_pb.UpdateStaffRequest, unit: Unit) -> staff_pb.UpdateStaffResponse:
        changed = dict(
            named(changes(request, request.update_mask, ("name", "title", "title_en", "department_id", "active")))
        )
        if "department_id" in changed:
            changed["department_id"] = some_id(changed["department_id"]) or FIRST_ID
        saved = await self.service.update_staff(unit, request.account, changed, request.etag)
        return staff_pb.UpdateStaffResponse(staff=staff(saved))

    async def CreateLeave(self, request: staff_pb.CreateLeaveRequest, unit: Unit) -> staff_pb.CreateLeaveResponse:
        first, last = given_day(request.from_date, "from_date"), given_day(request.until_date, "until_date")
        made = await self.service.create_leave(unit, request.account, first, last, request.substitute)
        return staff_pb.CreateLeaveResponse(leave=leave(made))

    async def EndLeave(self, request: staff_pb.EndLeaveRequest, unit: Unit) -> staff_pb.EndLeaveResponse:
        ended = await self.service.end_leave(unit, request.account, UUID(request.leave_id))
        return staff_pb.EndLeaveResponse(leave=leave(ended))

    async def ListLeaves(self, request: staff_pb.ListLeavesRequest, unit: Unit) -> staff_pb.ListLeavesResponse:
        page = Page.of(unit, request)
        found = await store.staff(unit, request.account)
        rows = await store.leaves(unit, found.account, page.after or (LAST_DAY, LAST_ID), page.limit)
        shown, token = page.cut(rows, key=lambda row: (row.from_date, row.id))
        return staff_pb.ListLeavesResponse(leaves=map(leave, shown), next_page_token=token)


# -- messages ---------------------------------------------------------------------------------------------------------


def department(row: Department) -> departments_pb.Department:
    return departments_pb.Department(
        department_id=str(row.id),
        code=row.code,
        name=row.name,
        name_en=row.name_en,
        kind=number_of(types_pb2.DepartmentKind, row.kind),
        division=row.division,
        parent_id=str(row.parent_id or ""),
        active=row.active,
        made=row.made,
        etag=str(row.version),
    )


def post(row: Post) -> posts_pb.Post:
    return posts_pb.Post(
        post_id=str(row.id),
        department_id=str(row.department_id),
        division=row.division,
        kind=number_of(types_pb2.PostKind, row.kind),
        name=row.name,
        holder=row.holder,
        holder_since=text_date(row.holder_since),
        active=row.active,
        etag=str(row.version),
    )


def holding(row: Holding) -> posts_pb.Holding:
    return posts_pb.Holding(
        account=row.account, from_date=text_date(row.from_date), until_date=text_date(row.until_date)
    )


def roster_entry(row: Duty) -> posts_pb.RosterEntry:
    return posts_pb.RosterEntry(
        duty_id=str(row.id),
        post_id=str(row.post_id),
        account=row.account,
        from_date=text_date(row.from_date),
        until_date=text_date(row.until_date),
    )


def staff(row: Staff) -> staff_pb.Staff:
    return staff_pb.Staff(
        account=row.account,
        name=row.name,
        title=row.title,
        title_en=row.title_en,
        department_id=str(row.department_id),
        division=row.division,
        active=row.active,
        etag=str(row.version),
    )


def whole(found: Whole) -> staff_pb.Staff:
    message = staff(found.staff)
    message.posts.extend(post(row) for row in found.posts)
    message.grid_codes.extend(grid.code for grid in found.grids)
    message.away = found.away
    return message


def leave(row: Leave) -> staff_pb.Leave:
    return staff_pb.Leave(
        leave_id=str(row.id),
        account=row.account,
        from_date=text_date(row.from_date),
        until_date=text_date(row.until_date),
        substitute=row.substitute,
    )
