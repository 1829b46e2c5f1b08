"""Reports over RPC: how they come in, where they go, how they end."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from hetao.common.v1 import common_pb2, notice_pb2
from hetao.grid.v1 import events_pb2, grids_pb2, report_pb2, report_steps_pb2, reports_pb2, staff_pb2, types_pb2
from tests.unit.grid.conftest import GRID, NEIGHBOUR, VILLAGE_GRID, Territory, department
from tests.world import refused


def stamp(territory: Territory, ago: timedelta) -> Timestamp:
    moment: datetime = territory.world.clock.now() - ago
    made = Timestamp()
    made.FromDatetime(moment)
    return made


async def test_rubbish_is_solved_on_the_spot_and_the_report_closes_with_its_evidence(territory: Territory):
    before = report_pb2.ReportPhoto(media_id=await territory.photo("grey"), phase=types_pb2.PHOTO_PHASE_BEFORE)
    made = await territory.report(photos=[before], point=common_pb2.Point(lat=40.7526, lon=107.3727))
    assert (made.state, made.grid_code, made.outside_own_grid) == (types_pb2.REPORT_STATE_SUBMITTED, GRID, False)
    assert made.code.startswith("150802-260302-")
    await territory.step("VerifyReport", made)
    after = report_pb2.ReportPhoto(media_id=await territory.photo("green"), phase=types_pb2.PHOTO_PHASE_AFTER)
    solved = await territory.step("SolveReport", made, result="已清理", photos=[after])
    assert (solved.state, solved.outcome) == (types_pb2.REPORT_STATE_CLOSED, types_pb2.REPORT_OUTCOME_SOLVED)
    assert [p.phase for p in solved.photos] == [types_pb2.PHOTO_PHASE_BEFORE, types_pb2.PHOTO_PHASE_AFTER]
    assert solved.result == "已清理"
    assert [e.action for e in await territory.timeline(made)] == ["submit", "verify", "handle", "solve", "close"]
    told = await territory.events(events_pb2.ReportChanged)
    assert [(e.version, e.what, e.state) for e in told] == [
        (1, "submit", types_pb2.REPORT_STATE_SUBMITTED),
        (2, "verify", types_pb2.REPORT_STATE_VERIFIED),
        (3, "close", types_pb2.REPORT_STATE_CLOSED),
    ]
    assert not await territory.events(notice_pb2.NoticeRequested)


async def test_the_timeline_reads_as_sentences(territory: Territory):
    made = await territory.verified(level=types_pb2.REPORT_LEVEL_MAJOR)
    first, second = await territory.timeline(made)
    assert first.sentence.zh == "泰欧社区第一网格专职网格员上报环境卫生（较大）"
    assert first.sentence.en == "Reported by full-time worker of grid 1, Taiou community: sanitation (major)"
    assert second.sentence.zh == "泰欧社区第一网格专职网格员核实属实，等级为较大"


async def test_solving_needs_both_photos_and_uploaded_ones(territory: Territory):
    made = await territory.verified()
    answer = await refused(territory.step("SolveReport", made, result="已清理"))
    assert (answer.code, answer.reason, answer.fields) == ("FAILED_PRECONDITION", "PHOTO_MISSING", ["photos"])
    photos = await territory.both_photos()
    photos[1].media_id = "0" * 64
    answer = await refused(territory.step("SolveReport", made, result="已清理", photos=photos))
    assert (answer.code, answer.reason, answer.fields) == ("INVALID_ARGUMENT", "PHOTO_UNKNOWN", ["photos[1].media_id"])
    assert (await territory.read(made)).state == types_pb2.REPORT_STATE_VERIFIED
    assert not await territory.world.rows("grid", "select id from report_photo")


async def test_a_building_heads_report_is_verified_by_the_worker_and_acknowledged(territory: Territory):
    made = await territory.report("building-head")
    assert await territory.notices("grid.report-submitted") == [["grid-worker"]]
    answer = await refused(territory.step("VerifyReport", made, "building-head"))
    assert answer.code == "PERMISSION_DENIED"
    await territory.step("VerifyReport", made)
    solved = await territory.step("SolveReport", made, result="已清理", photos=await territory.both_photos())
    assert solved.state == types_pb2.REPORT_STATE_SOLVED
    assert await territory.notices("grid.report-ended") == [["building-head"]]
    not_hers = await refused(territory.step("CloseReport", made))
    assert not_hers.reason == "REPORT_OF_OTHERS"
    closed = await territory.step("CloseReport", made, "building-head")
    assert closed.state == types_pb2.REPORT_STATE_CLOSED
    assert (await territory.timeline(made))[-1].sentence.zh == "上报人已确认，办结"


async def test_what_nobody_acknowledges_closes_by_itself(territory: Territory):
    made = await territory.report("building-head")
    await territory.step("InvalidateReport", made, reason="已由物业清走")
    await territory.world.travel("2026-03-05 23:59")
    assert (await territory.read(made)).state == types_pb2.REPORT_STATE_INVALID
    await territory.world.travel("2026-03-06 00:01")
    closed = await territory.read(made)
    assert (closed.state, closed.outcome) == (types_pb2.REPORT_STATE_CLOSED, types_pb2.REPORT_OUTCOME_INVALID)
    assert closed.result == "已由物业清走"
    assert (await territory.timeline(made))[-1].account == "system"


async def test_who_does_not_verify_is_told_once_more(territory: Territory):
    await territory.report("building-head")
    verified = await territory.report("building-head", place="别处")
    await territory.step("VerifyReport", verified)
    await territory.world.travel("2026-03-10 09:00")
    assert await territory.notices("grid.report-unverified") == [["grid-worker", "150802013006-community/head"]]


async def test_a_building_head_sees_only_own_reports(territory: Territory):
    worker, head = await territory.report(), await territory.report("building-head")
    assert (await refused(territory.read(worker, "building-head"))).code == "NOT_FOUND"
    assert (await territory.read(head, "building-head")).title == "楼道堆放杂物"
    listed = (await territory.reports("building-head").ListReports(reports_pb2.ListReportsRequest())).reports
    assert [r.report_id for r in listed] == [head.report_id]


async def test_a_report_of_another_division_is_not_found(territory: Territory):
    made = await territory.report()
    assert (await refused(territory.read(made, "grid-worker-2"))).code == "NOT_FOUND"
    assert (await refused(territory.read(made, "county-leader-2"))).code == "NOT_FOUND"
    assert (await refused(territory.step("VerifyReport", made, "grid-worker-2"))).code == "NOT_FOUND"
    for leader in ("township-leader", "county-leader", "city-leader", "auditor"):
        assert (await territory.read(made, leader)).report_id == made.report_id


async def test_the_same_within_a_day_is_one_problem(territory: Territory):
    first = await territory.report()
    again = await territory.report(place="泰欧花园2号楼2单元")
    assert (again.state, again.merged_into) == (types_pb2.REPORT_STATE_MERGED, first.report_id)
    assert (await territory.report(place="泰欧花园 5 号楼")).state == types_pb2.REPORT_STATE_SUBMITTED
    assert (await territory.report(kind=types_pb2.REPORT_KIND_HAZARD)).state == types_pb2.REPORT_STATE_SUBMITTED
    assert (await territory.report("building-head")).state == types_pb2.REPORT_STATE_SUBMITTED
    await territory.step("VerifyReport", first)
    await territory.step("SolveReport", first, result="已清理", photos=await territory.both_photos())
    assert (await territory.read(again)).state == types_pb2.REPORT_STATE_CLOSED
    assert (await territory.read(again)).outcome == types_pb2.REPORT_OUTCOME_MERGED


async def test_what_lies_where_it_was_cleaned_is_new_and_names_the_report_before(territory: Territory):
    first = await territory.verified()
    await territory.step("SolveReport", first, result="已清理", photos=await territory.both_photos())
    await territory.world.travel(timedelta(minutes=1))
    new = await territory.report()
    assert (new.state, new.merged_into) == (types_pb2.REPORT_STATE_SUBMITTED, "")
    assert new.follows_report_id == first.report_id
    told = (await territory.timeline(new))[-1]
    assert (told.action, told.sentence.zh) == (
        "follow",
        f"同一地点的上报 {first.code} 已有结果，本件为新上报，与其关联",
    )
    assert first.code in told.sentence.en
    changed = [e for e in await territory.events(events_pb2.ReportChanged) if e.report_id == new.report_id]
    assert [e.follows_report_id for e in changed] == [first.report_id]
    third = await territory.report()  # the second is open: one problem with it
    assert (third.merged_into, third.follows_report_id) == (new.report_id, "")
    await territory.step("VerifyReport", new)
    await territory.step("InvalidateReport", new, reason="看错了")
    assert (await territory.report()).follows_report_id == new.report_id


async def test_what_waits_to_be_acknowledged_has_ended_too(territory: Territory):
    first = await territory.report("building-head")
    await territory.step("VerifyReport", first)
    await territory.step("SolveReport", first, result="已清理", photos=await territory.both_photos())
    new = await territory.report("building-head")
    assert (new.state, new.follows_report_id) == (types_pb2.REPORT_STATE_SUBMITTED, first.report_id)


async def test_a_day_after_the_end_nothing_is_merged_or_linked(territory: Territory):
    first = await territory.verified()
    await territory.world.travel(timedelta(hours=30))
    await territory.step("SolveReport", first, result="已清理", photos=await territory.both_photos())
    await territory.world.travel(timedelta(hours=23))
    assert (await territory.report()).follows_report_id == first.report_id  # it happened two days ago, and ended today
    await territory.world.travel(timedelta(hours=49))
    later = await territory.report()
    assert (later.state, later.merged_into, later.follows_report_id) == (types_pb2.REPORT_STATE_SUBMITTED, "", "")


async def test_two_reports_at_once_are_still_one_problem(territory: Territory):
    made = await asyncio.gather(*(territory.report() for _ in range(4)))
    assert sorted(r.state for r in made) == [types_pb2.REPORT_STATE_SUBMITTED] + 3 * [types_pb2.REPORT_STATE_MERGED]


async def test_points_decide_whether_a_place_is_the_same(territory: Territory):
    here, near, far = ((40.7526, 107.3727), (40.7529, 107.3727), (40.7550, 107.3727))
    first = await territory.report(point=common_pb2.Point(lat=here[0], lon=here[1]))
    same = await territory.report(point=common_pb2.Point(lat=near[0], lon=near[1]), place="另一种说法")
    other = await territory.report(point=common_pb2.Point(lat=far[0], lon=far[1]))
    assert same.merged_into == first.report_id
    assert other.state == types_pb2.REPORT_STATE_SUBMITTED


async def test_reports_are_merged_by_hand_too(territory: Territory):
    main, head = await territory.verified(), await territory.report("building-head")
    merged = await territory.step("MergeReport", head, into=main.report_id)
    assert merged.state == types_pb2.REPORT_STATE_MERGED
    assert (await refused(territory.step("CloseReport", head, "building-head"))).reason == "CLOSES_WITH_MAIN"
    await territory.step("SolveReport", main, result="已清理", photos=await territory.both_photos())
    assert (await territory.read(head)).state == types_pb2.REPORT_STATE_CLOSED
    assert await territory.notices("grid.report-closed") == [["building-head"]]


async def test_a_report_outside_her_own_grid_is_accepted_routed_and_flagged(territory: Territory):
    village = await territory.report(grid_code=VILLAGE_GRID)
    assert (village.outside_own_grid, village.county, village.grid_code) == (True, "150826", VILLAGE_GRID)
    assert await territory.notices("grid.report-submitted") == [["grid-worker-2"]]
    assert (await territory.read(village)).report_id == village.report_id  # her own, wherever it is
    assert (await refused(territory.step("VerifyReport", village))).reason == "REPORT_OF_OTHERS"
    verified = await territory.step("VerifyReport", village, "grid-worker-2")
    assert verified.state == types_pb2.REPORT_STATE_VERIFIED


async def test_a_report_that_leaves_its_reporters_county_takes_her_photos_along_and_no_others(territory: Territory):
    hers, not_hers = await territory.photo("grey"), await territory.photo("green")
    await territory.blobs.bring(hers, "grid-worker", ["150802013006"])
    await territory.blobs.bring(not_hers, "somebody", ["150821"])
    for grid, expected in ((GRID, {"150802013006"}), (VILLAGE_GRID, {"150802013006", VILLAGE_GRID[:12]})):
        await territory.report(
            grid_code=grid,
            photos=[
                report_pb2.ReportPhoto(media_id=one, phase=types_pb2.PHOTO_PHASE_BEFORE) for one in (hers, not_hers)
            ],
        )
        assert await territory.blobs.divisions(hers) == expected
        assert await territory.blobs.divisions(not_hers) == {"150821"}


async def test_a_point_decides_in_which_grid_it_lies(territory: Territory):
    point = common_pb2.Point(lat=40.7526, lon=107.3790)
    made = await territory.report(grid_code=GRID, point=point)
    assert (made.grid_code, made.outside_own_grid) == (NEIGHBOUR, True)
    # That grid has no full-time worker: the community hears of it and may act.
    assert await territory.notices("grid.report-submitted") == [["150802013006-community/head"]]
    await territory.step("VerifyReport", made)


async def test_without_a_grid_the_community_or_its_centre_is_responsible(territory: Territory):
    community = await territory.report(community="150802013007")
    assert (community.grid_code, community.division, community.outside_own_grid) == ("", "150802013007", True)
    farm = await territory.report(community="150802001001")  # has no department of its own in the demo
    assert sorted(await territory.notices("grid.report-submitted")) == [
        ["150802001-centre/dispatcher"],
        ["150802013007-community/head"],
    ]
    assert (await refused(territory.step("VerifyReport", farm))).reason == "REPORT_OF_OTHERS"


async def test_without_a_place_a_report_is_in_the_reporters_own_basic_grid(territory: Territory):
    request = reports_pb2.CreateReportRequest(kind=types_pb2.REPORT_KIND_OTHER, title="某事")
    made = (await territory.reports().CreateReport(request)).report
    assert (made.grid_code, made.outside_own_grid) == (GRID, False)
    second = grids_pb2.AddGridMemberRequest(
        grid_code=NEIGHBOUR, role=types_pb2.MEMBER_ROLE_BUILDING_HEAD, account="building-head"
    )
    await territory.grids().AddGridMember(second)
    answer = await refused(territory.reports("building-head").CreateReport(request))
    assert (answer.code, answer.reason, answer.fields) == ("INVALID_ARGUMENT", "GRID_OR_COMMUNITY", ["grid_code"])


async def test_wrong_places_are_refused(territory: Territory):
    beijing, other_county = common_pb2.Point(lat=39.9, lon=116.4), common_pb2.Point(lat=40.884514, lon=107.145842)
    for wrong, reason, field in (
        ({"grid_code": "150802013006999"}, "GRID_UNKNOWN", "grid_code"),
        ({"community": "150802013999"}, "DIVISION_UNKNOWN", "community"),
        ({"grid_code": GRID, "point": beijing}, "POINT_OUTSIDE", "point"),
        ({"grid_code": GRID, "point": other_county}, "POINT_ELSEWHERE", "point"),
        ({"grid_code": "1508"}, "REQUEST_INVALID", "grid_code"),
        ({"point": common_pb2.Point(lat=91, lon=0)}, "REQUEST_INVALID", "point.lat"),
        ({"kind": 99, "grid_code": GRID}, "REQUEST_INVALID", "kind"),
        ({"title": "", "grid_code": GRID}, "REQUEST_INVALID", "title"),
        ({"description": "长" * 2001, "grid_code": GRID}, "REQUEST_INVALID", "description"),
    ):
        request = {"kind": types_pb2.REPORT_KIND_OTHER, "title": "某事"} | wrong
        answer = await refused(territory.reports().CreateReport(reports_pb2.CreateReportRequest(**request)))  # type: ignore[arg-type]
        assert (answer.code, answer.reason, answer.fields) == ("INVALID_ARGUMENT", reason, [field]), wrong


async def test_three_times_are_kept_the_future_is_refused_and_the_old_explains_itself(territory: Territory):
    happened, captured = stamp(territory, timedelta(hours=5)), stamp(territory, timedelta(hours=4))
    made = await territory.report(occurred_at=happened, captured_at=captured)
    assert (made.occurred_at, made.captured_at) == (happened, captured)
    assert made.received_at.ToDatetime() - happened.ToDatetime() == timedelta(hours=5)
    await territory.report(occurred_at=stamp(territory, timedelta(minutes=-4)), place="钟快")
    future = stamp(territory, timedelta(minutes=-6))
    for wrong, reason, field in (
        ({"occurred_at": future}, "TIME_IN_FUTURE", "occurred_at"),
        ({"captured_at": future}, "TIME_IN_FUTURE", "captured_at"),
        ({"occurred_at": captured, "captured_at": happened}, "OCCURRED_AFTER_CAPTURED", "occurred_at"),
        ({"occurred_at": stamp(territory, timedelta(hours=73))}, "LATE_REASON_MISSING", "late_reason"),
    ):
        answer = await refused(territory.report(**wrong))  # type: ignore[arg-type]
        assert (answer.code, answer.reason, answer.fields) == ("INVALID_ARGUMENT", reason, [field])
    for seconds in (10**15, -(10**15), -62135596800):
        answer = await refused(territory.report(captured_at=Timestamp(seconds=seconds), late_reason="没网"))
        assert (answer.reason, answer.fields) == ("DATE_INVALID", ["captured_at"])
    old = await territory.report(occurred_at=stamp(territory, timedelta(days=9)), late_reason="牧区无网络")
    assert old.late_reason == "牧区无网络"


async def test_a_substitute_acts_for_a_worker_who_is_away(territory: Territory):
    made = await territory.report("building-head", grid_code=VILLAGE_GRID)
    away = staff_pb2.CreateLeaveRequest(
        account="grid-worker-2", from_date="2026-03-02", until_date="2026-03-03", substitute="dispatcher-2"
    )
    assert (await refused(territory.step("VerifyReport", made, "dispatcher-2"))).reason == "REPORT_OF_OTHERS"
    await territory.staff("grid-worker-2").CreateLeave(away)
    assert (await territory.step("VerifyReport", made, "dispatcher-2")).handler == "dispatcher-2"


async def test_photos_may_come_later_and_are_counted_once(territory: Territory):
    made = await territory.report()
    photos = await territory.both_photos()
    more = await territory.step("AddReportPhotos", made, photos=[photos[0], photos[0]])
    assert len(more.photos) == 1
    answer = await refused(territory.step("AddReportPhotos", made, photos=photos, etag=made.etag))
    assert (answer.code, answer.reason) == ("ABORTED", "ETAG_STALE")
    await territory.step("InvalidateReport", made, reason="看错了")
    assert (await refused(territory.step("AddReportPhotos", made, photos=photos))).reason == "REPORT_ENDED"


async def test_a_step_out_of_order_is_refused(territory: Territory):
    made = await territory.report()
    early = await refused(territory.step("HandleReport", made))
    assert (early.code, early.reason) == ("FAILED_PRECONDITION", "MOVE_NOT_ALLOWED")
    assert early.zh == "当前状态（待核实）不允许此操作（开始处置）"
    assert early.en == "the present state (to be verified) does not allow this (begin to deal with it)"
    await territory.step("VerifyReport", made)
    assert (await refused(territory.step("VerifyReport", made))).reason == "MOVE_NOT_ALLOWED"
    await territory.step("HandleReport", made)
    assert (await refused(territory.step("CloseReport", made))).reason == "MOVE_NOT_ALLOWED"
    assert (await refused(territory.step("AcceptHandover", made))).reason == "NOT_HANDED_OVER"


async def test_a_repeated_request_answers_the_same_and_makes_nothing(territory: Territory):
    request = reports_pb2.CreateReportRequest(
        kind=types_pb2.REPORT_KIND_HAZARD, title="井盖缺失", grid_code=GRID, request_id="once"
    )
    first = await territory.reports().CreateReport(request)
    assert await territory.reports().CreateReport(request) == first
    request.title = "别的事"
    assert (await refused(territory.reports().CreateReport(request))).reason == "REQUEST_ID_REUSED"
    assert len(await territory.world.rows("grid", "select id from report")) == 1


async def test_nothing_of_what_people_said_stands_open_in_the_tables_or_events(territory: Territory):
    made = await territory.verified(
        title="张三与李四争吵", description="两家都姓王", place="王家门口", late_reason="没网"
    )
    await territory.step("InvalidateReport", made, reason="张三说没有")
    tables = ("report", "report_entry", "handover", "report_photo", "outbox", "audit")
    held = "".join(
        [str(row) for table in tables for row in await territory.world.rows("grid", f"select t::text from {table} t")]
    )
    held += str(await territory.events(events_pb2.ReportChanged))
    for said in ("张三", "两家", "王家", "没网"):
        assert said not in held


async def test_lists_filter_by_division_grid_and_state_and_page(territory: Territory):
    places = [await territory.report(place=f"{n} 号楼") for n in range(5)]
    await territory.step("VerifyReport", places[0])

    async def listed(by: str = "county-leader", **more: object) -> list[str]:
        seen: list[str] = []
        request = reports_pb2.ListReportsRequest(page_size=2, **more)  # type: ignore[arg-type]
        while True:
            page = await territory.reports(by).ListReports(request)
            seen += [r.report_id for r in page.reports]
            if not page.next_page_token:
                return seen
            request.page_token = page.next_page_token

    ids = {r.report_id for r in places}
    for more in ({}, {"division": "150802013"}, {"division": "150802013006"}, {"grid_code": GRID}):
        found = await listed(**more)
        assert (set(found), len(found)) == (ids, 5)
    assert set(await listed("city-leader")) == ids
    assert set(await listed("grid-worker", mine=True)) == ids
    assert await listed(state=types_pb2.REPORT_STATE_VERIFIED) == [places[0].report_id]
    assert await listed("city-leader", division="150826") == []
    for foreign in ({"division": "150802"}, {"grid_code": GRID}):
        answer = await refused(listed("county-leader-2", **foreign))
        assert (answer.code, answer.fields) == ("NOT_FOUND", list(foreign))


async def test_steps_name_their_report(territory: Territory):
    request = report_steps_pb2.VerifyReportRequest(report_id="not-an-id")
    answer = await refused(territory.reports().VerifyReport(request))
    assert (answer.reason, answer.fields) == ("REQUEST_INVALID", ["report_id"])
    request = report_steps_pb2.VerifyReportRequest(report_id=department("150802-centre"))
    assert (await refused(territory.reports().VerifyReport(request))).code == "NOT_FOUND"
