"""Departments, posts, the roster, staff and absences over RPC."""

from __future__ import annotations

from google.protobuf.field_mask_pb2 import FieldMask

from hetao.grid.v1 import departments_pb2 as departments_pb
from hetao.grid.v1 import events_pb2, types_pb2
from hetao.grid.v1 import posts_pb2 as posts_pb
from hetao.grid.v1 import staff_pb2 as staff_pb
from tests.unit.grid.conftest import Territory, department
from tests.world import World, refused


def mask(*paths: str) -> FieldMask:
    return FieldMask(paths=paths)


async def post_of(territory: Territory, code: str, kind: int) -> posts_pb.Post:
    request = posts_pb.ListPostsRequest(department_id=department(code), kind=kind)  # type: ignore[arg-type]
    found: posts_pb.Post = (await territory.posts().ListPosts(request)).posts[0]
    return found


async def test_all_77_centres_are_departments(territory: Territory):
    kind = types_pb2.DEPARTMENT_KIND_CENTRE
    request = departments_pb.ListDepartmentsRequest(kind=kind, page_size=200)
    found = (await territory.departments("city-leader").ListDepartments(request)).departments
    assert len(found) == 77
    assert next(d for d in found if d.department_id == department("150802013-centre")).name == "临河区金川街道综治中心"
    english = [d.name_en for d in found]
    assert len(set(english)) == 77
    assert "Governance centre of Jinchuan Subdistrict, Linhe District" in english


async def test_the_start_does_nothing_the_second_time(world: World):
    """The template was loaded once, this world loaded it again."""
    told = await world.rows("grid", "select version, count(*) as many from department group by version")
    assert [(row["version"], row["many"]) for row in told] == [(1, 190)]


async def test_a_department_is_added_changed_and_dissolved(territory: Territory):
    request = departments_pb.CreateDepartmentRequest(
        code="150802-tobacco",
        name="临河区烟草专卖局",
        kind=types_pb2.DEPARTMENT_KIND_DEPARTMENT,
        division="150802",
        request_id="r1",
    )
    made = (await territory.departments().CreateDepartment(request)).department
    again = (await territory.departments().CreateDepartment(request)).department
    assert made == again
    request.request_id = "r2"
    twice = await refused(territory.departments().CreateDepartment(request))
    assert (twice.code, twice.reason, twice.fields) == ("ALREADY_EXISTS", "DEPARTMENT_EXISTS", ["code"])
    change = departments_pb.UpdateDepartmentRequest(
        department_id=made.department_id,
        active=False,
        parent_id=department("150802-market"),
        update_mask=mask("active", "parent_id"),
        etag=made.etag,
    )
    changed = (await territory.departments().UpdateDepartment(change)).department
    assert (changed.active, changed.name, changed.etag) == (False, "临河区烟草专卖局", "2")
    stale = await refused(territory.departments().UpdateDepartment(change))
    assert (stale.code, stale.reason) == ("ABORTED", "ETAG_STALE")
    told = [e for e in await territory.events(events_pb2.DepartmentChanged) if e.department_id == made.department_id]
    assert [(e.version, e.active) for e in told] == [(1, True), (2, False)]
    assert told[1].parent_id == department("150802-market")


async def test_wrong_departments_are_refused(territory: Territory):
    right = {"code": "150802-x1", "name": "某局", "kind": types_pb2.DEPARTMENT_KIND_DEPARTMENT, "division": "150802"}
    for wrong, code, reason, field in (
        ({"division": "150826", "code": "150826-x1"}, "PERMISSION_DENIED", "DIVISION_FOREIGN", "division"),
        ({"division": "150899", "code": "150899-x1"}, "INVALID_ARGUMENT", "DIVISION_UNKNOWN", "division"),
        ({"division": "150802999", "code": "150802999-x1"}, "INVALID_ARGUMENT", "DIVISION_UNKNOWN", "division"),
        ({"code": "150826-x1"}, "INVALID_ARGUMENT", "DEPARTMENT_CODE", "code"),
        ({"code": "150802-X"}, "INVALID_ARGUMENT", "REQUEST_INVALID", "code"),
        ({"kind": 0}, "INVALID_ARGUMENT", "REQUEST_INVALID", "kind"),
        ({"name": ""}, "INVALID_ARGUMENT", "REQUEST_INVALID", "name"),
        ({"name": "长" * 101}, "INVALID_ARGUMENT", "REQUEST_INVALID", "name"),
        ({"parent_id": "1234"}, "INVALID_ARGUMENT", "REQUEST_INVALID", "parent_id"),
        ({"parent_id": department("none")}, "INVALID_ARGUMENT", "PARENT_UNKNOWN", "parent_id"),
    ):
        request = departments_pb.CreateDepartmentRequest(**(right | wrong))  # type: ignore[arg-type]
        answer = await refused(territory.departments().CreateDepartment(request))
        assert (answer.code, answer.reason, answer.fields) == (code, reason, [field]), wrong


async def test_a_department_does_not_stand_below_itself(territory: Territory):
    request = departments_pb.UpdateDepartmentRequest(
        department_id=department("150802-centre"),
        parent_id=department("150802013-centre"),
        update_mask=mask("parent_id"),
    )
    assert (await refused(territory.departments().UpdateDepartment(request))).reason == "PARENT_CIRCLE"


async def test_a_mask_names_fields_that_may_change(territory: Territory):
    request = departments_pb.UpdateDepartmentRequest(
        department_id=department("150802-centre"), update_mask=mask("code")
    )
    answer = await refused(territory.departments().UpdateDepartment(request))
    assert (answer.reason, answer.fields) == ("MASK_UNKNOWN", ["update_mask"])
    request.update_mask.CopyFrom(mask("name"))
    assert (await refused(territory.departments().UpdateDepartment(request))).reason == "NAME_EMPTY"


async def test_what_stands_above_is_seen_and_not_changed(territory: Territory):
    above = departments_pb.GetDepartmentRequest(department_id=department("150802-centre"))
    assert (await territory.departments("grid-worker").GetDepartment(above)).department.code == "150802-centre"
    foreign = departments_pb.GetDepartmentRequest(department_id=department("150826-centre"))
    assert (await refused(territory.departments("grid-worker").GetDepartment(foreign))).code == "NOT_FOUND"
    change = departments_pb.UpdateDepartmentRequest(
        department_id=department("1508-police"), active=False, update_mask=mask("active")
    )
    assert (await refused(territory.departments().UpdateDepartment(change))).code == "NOT_FOUND"


async def test_a_post_changes_hands_and_history_is_kept(territory: Territory):
    post = await post_of(territory, "150802-civil-affairs", types_pb2.POST_KIND_DUTY_OFFICER)
    assert post.holder == ""
    fill = posts_pb.FillPostRequest(post_id=post.post_id, account="justice-officer", from_date="2026-02-24")
    filled = (await territory.posts().FillPost(fill)).post
    assert (filled.holder, filled.holder_since) == ("justice-officer", "2026-02-24")
    await territory.posts().FillPost(posts_pb.FillPostRequest(post_id=post.post_id, account="police-officer"))
    await territory.posts().VacatePost(posts_pb.VacatePostRequest(post_id=post.post_id))
    history = (
        await territory.posts().ListPostHoldings(posts_pb.ListPostHoldingsRequest(post_id=post.post_id))
    ).holdings
    assert [(h.account, h.from_date, h.until_date) for h in history] == [
        ("police-officer", "2026-03-02", "2026-03-01"),
        ("justice-officer", "2026-02-24", "2026-03-01"),
    ]
    told = [e for e in await territory.events(events_pb2.PostChanged) if e.post_id == post.post_id]
    assert [e.holder for e in told] == ["", "justice-officer", "police-officer", ""]


async def test_a_post_goes_to_active_staff_only(territory: Territory):
    post = await post_of(territory, "150802-civil-affairs", types_pb2.POST_KIND_DUTY_OFFICER)
    nobody = posts_pb.FillPostRequest(post_id=post.post_id, account="nobody")
    answer = await refused(territory.posts().FillPost(nobody))
    assert (answer.reason, answer.fields) == ("STAFF_UNKNOWN", ["account"])
    tomorrow = posts_pb.FillPostRequest(post_id=post.post_id, account="approver", from_date="2026-03-03")
    assert (await refused(territory.posts().FillPost(tomorrow))).reason == "DATE_IN_FUTURE"
    never = posts_pb.FillPostRequest(post_id=post.post_id, account="approver", from_date="2026-02-30")
    assert (await refused(territory.posts().FillPost(never))).reason == "DATE_INVALID"
    assert (
        await refused(territory.posts().VacatePost(posts_pb.VacatePostRequest(post_id=post.post_id)))
    ).reason == "POST_VACANT"


async def test_the_roster_is_told_with_its_post(territory: Territory):
    post = await post_of(territory, "150802-housing", types_pb2.POST_KIND_DUTY_OFFICER)
    request = posts_pb.SetDutyRequest(
        post_id=post.post_id, account="police-officer", from_date="2026-03-07", until_date="2026-03-08"
    )
    duty = (await territory.posts("centre-director").SetDuty(request)).duty
    overlap = await refused(territory.posts("centre-director").SetDuty(request))
    assert (overlap.code, overlap.reason) == ("FAILED_PRECONDITION", "DUTY_OVERLAPS")
    roster = posts_pb.ListDutiesRequest(department_id=department("150802-housing"))
    assert [d.account for d in (await territory.posts("dispatcher").ListDuties(roster)).duties] == ["police-officer"]
    for day in ("9999-12-31", "0001-01-01", "2026-02-30"):
        wrong = posts_pb.ListDutiesRequest(department_id=department("150802-housing"), from_date=day)
        assert (await refused(territory.posts("dispatcher").ListDuties(wrong))).fields == ["from_date"]
    remove = posts_pb.RemoveDutyRequest(post_id=post.post_id, duty_id=duty.duty_id)
    await territory.posts("centre-director").RemoveDuty(remove)
    assert not (await territory.posts("dispatcher").ListDuties(roster)).duties
    told = [e for e in await territory.events(events_pb2.PostChanged) if e.post_id == post.post_id]
    assert [[d.account for d in e.duties] for e in told] == [[], ["police-officer"], []]
    assert told[-1].holder == "department-officer"


async def test_staff_is_shown_with_posts_and_grids(territory: Territory):
    worker = (await territory.staff("grid-worker").GetStaff(staff_pb.GetStaffRequest(account="grid-worker"))).staff
    assert worker.name == "云秀兰"
    assert list(worker.grid_codes) == ["150802013006001", "150802013006003"]
    assert [post.kind for post in worker.posts] == [types_pb2.POST_KIND_HEAD]
    assert not worker.away


async def test_staff_is_added_once(territory: Territory):
    request = staff_pb.CreateStaffRequest(
        account="new-one",
        name="新人",
        title="值班员",
        title_en="duty officer",
        department_id=department("150802-water"),
    )
    made = (await territory.staff().CreateStaff(request)).staff
    assert (made.division, made.active, made.title_en) == ("150802", True, "duty officer")
    assert (await refused(territory.staff().CreateStaff(request))).reason == "STAFF_EXISTS"
    change = staff_pb.UpdateStaffRequest(
        account="new-one", department_id=department("150802-court"), update_mask=mask("department_id")
    )
    assert (await territory.staff().UpdateStaff(change)).staff.department_id == department("150802-court")
    change = staff_pb.UpdateStaffRequest(account="new-one", title_en="clerk", update_mask=mask("title_en"))
    assert (await territory.staff().UpdateStaff(change)).staff.title_en == "clerk"
    change = staff_pb.UpdateStaffRequest(account="new-one", active=False, update_mask=mask("active"))
    assert not (await territory.staff().UpdateStaff(change)).staff.active
    told = [e for e in await territory.events(events_pb2.StaffChanged) if e.account == "new-one"]
    assert [e.active for e in told] == [True, True, True, False]
    assert "新人" not in str(told)


async def test_an_absence_names_who_stands_in(territory: Territory):
    request = staff_pb.CreateLeaveRequest(
        account="grid-worker", from_date="2026-03-02", until_date="2026-03-06", substitute="township-leader"
    )
    leave = (await territory.staff("grid-worker").CreateLeave(request)).leave
    worker = (await territory.staff("grid-worker").GetStaff(staff_pb.GetStaffRequest(account="grid-worker"))).staff
    assert worker.away
    assert (await refused(territory.staff("grid-worker").CreateLeave(request))).reason == "LEAVE_OVERLAPS"
    end = staff_pb.EndLeaveRequest(account="grid-worker", leave_id=leave.leave_id)
    assert (await territory.staff("grid-worker").EndLeave(end)).leave.until_date == "2026-03-01"
    told = [e for e in await territory.events(events_pb2.StaffChanged) if e.account == "grid-worker"]
    assert [[(a.from_date, a.until_date, a.substitute) for a in e.absences] for e in told] == [
        [],
        [("2026-03-02", "2026-03-06", "township-leader")],
        [],
    ]
    listed = (await territory.staff("grid-worker").ListLeaves(staff_pb.ListLeavesRequest(account="grid-worker"))).leaves
    assert [one.leave_id for one in listed] == [leave.leave_id]


async def test_who_stands_in_is_active_and_covers_where_the_absent_works(territory: Territory):
    days = {"from_date": "2026-03-09", "until_date": "2026-03-10"}

    async def away(account: str, substitute: str) -> object:
        request = staff_pb.CreateLeaveRequest(account=account, substitute=substitute, **days)
        return await territory.staff(account).CreateLeave(request)

    for account, substitute, reason in (
        ("grid-worker", "nobody", "STAFF_UNKNOWN"),
        ("grid-worker", "grid-worker-2", "SUBSTITUTE_ELSEWHERE"),  # a village of another county
        ("dispatcher", "township-leader", "SUBSTITUTE_ELSEWHERE"),  # a street of the county
        ("dispatcher", "dispatcher", "SUBSTITUTE_IS_SELF"),
    ):
        answer = await refused(away(account, substitute))
        assert (answer.code, answer.reason, answer.fields) == ("INVALID_ARGUMENT", reason, ["substitute"]), substitute
    assert "150802" in (await refused(away("dispatcher", "township-leader"))).zh
    left = staff_pb.UpdateStaffRequest(account="window-clerk", active=False, update_mask=mask("active"))
    await territory.staff().UpdateStaff(left)
    assert (await refused(away("dispatcher", "window-clerk"))).reason == "STAFF_UNKNOWN"
    await away("dispatcher", "centre-director")


async def test_a_post_held_elsewhere_is_covered_by_who_stands_in(territory: Territory):
    """The grid worker holds a post of the county too: nobody of her community may answer for that."""
    post = await post_of(territory, "150802-civil-affairs", types_pb2.POST_KIND_DUTY_OFFICER)
    await territory.posts().FillPost(posts_pb.FillPostRequest(post_id=post.post_id, account="grid-worker"))
    request = staff_pb.CreateLeaveRequest(
        account="grid-worker", from_date="2026-03-09", until_date="2026-03-10", substitute="township-leader"
    )
    answer = await refused(territory.staff("grid-worker").CreateLeave(request))
    assert (answer.reason, answer.fields) == ("SUBSTITUTE_ELSEWHERE", ["substitute"])
    request.substitute = "dispatcher"
    await territory.staff("grid-worker").CreateLeave(request)


async def test_absences_of_others_are_for_those_who_manage_them(territory: Territory):
    request = staff_pb.CreateLeaveRequest(account="justice-officer", from_date="2026-03-09", until_date="2026-03-09")
    answer = await refused(territory.staff("dispatcher").CreateLeave(request))
    assert (answer.code, answer.reason) == ("PERMISSION_DENIED", "LEAVE_OF_OTHERS")
    assert (await territory.staff("centre-director").CreateLeave(request)).leave.account == "justice-officer"
    foreign = staff_pb.CreateLeaveRequest(account="justice-officer-2", from_date="2026-03-09", until_date="2026-03-09")
    assert (await refused(territory.staff("centre-director").CreateLeave(foreign))).code == "NOT_FOUND"


async def test_lists_keep_to_the_callers_divisions(territory: Territory):
    for stub, method, request in (
        (territory.departments("admin-2"), "ListDepartments", departments_pb.ListDepartmentsRequest(division="150802")),
        (territory.posts("admin-2"), "ListPosts", posts_pb.ListPostsRequest(division="150802")),
        (territory.staff("admin-2"), "ListStaff", staff_pb.ListStaffRequest(division="150802")),
    ):
        for division in ("150802", "150899", "999999"):  # of others, and none: the two are never told apart
            request.division = division
            answer = await refused(getattr(stub, method)(request))
            assert (answer.code, answer.reason, answer.fields) == ("NOT_FOUND", "NOT_FOUND", ["division"]), method
    mine = (await territory.staff("admin-2").ListStaff(staff_pb.ListStaffRequest(page_size=200))).staff
    assert {one.division[:6] for one in mine} == {"150826"}
    seen: list[str] = []
    request = posts_pb.ListPostsRequest(page_size=7)
    while True:
        page = await territory.posts("admin-2").ListPosts(request)
        seen += [post.post_id for post in page.posts]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    rows = await territory.world.rows("grid", "select id::text from post where division like '150826%'")
    assert sorted(seen) == sorted(row["id"] for row in rows)
