"""MeService."""

from __future__ import annotations

from datetime import UTC, datetime

from hetao.grid.v1 import me_pb2, types_pb2
from kit.proto import number_of, stamp
from kit.unit import Unit
from services.grid.model.directory import Department, Post
from services.grid.service.me import standing


class MeApi:
    async def GetMe(self, request: me_pb2.GetMeRequest, unit: Unit) -> me_pb2.GetMeResponse:
        who, now = unit.principal, await standing(unit)
        posts = [_post(post, on_duty=False) for post in now.posts] + [_post(post, on_duty=True) for post in now.duties]
        me = me_pb2.Me(
            account=who.account,
            name=now.staff.name if now.staff else "",
            title=now.staff.title if now.staff else "",
            title_en=now.staff.title_en if now.staff else "",
            roles=who.roles,
            permissions=sorted(who.permissions),
            divisions=who.divisions,
            departments=[_department(department_id, found) for department_id, found in now.departments],
            posts=posts,
            grids=[
                me_pb2.MyGrid(grid_code=code, name=name, role=number_of(types_pb2.MemberRole, role), division=division)
                for code, name, role, division in now.grids
            ],
            language="en" if who.locale.lower().startswith("en") else "zh",
            session_ends_at=stamp(datetime.fromtimestamp(who.ends, UTC)) if who.ends else None,
        )
        return me_pb2.GetMeResponse(me=me)


def _department(department_id: str, found: Department | None) -> me_pb2.MyDepartment:
    if found is None:
        return me_pb2.MyDepartment(department_id=department_id)
    return me_pb2.MyDepartment(
        department_id=department_id,
        name=found.name,
        name_en=found.name_en,
        kind=number_of(types_pb2.DepartmentKind, found.kind),
        division=found.division,
    )


def _post(post: Post, *, on_duty: bool) -> me_pb2.MyPost:
    return me_pb2.MyPost(
        post_id=str(post.id),
        kind=number_of(types_pb2.PostKind, post.kind),
        name=post.name,
        department_id=str(post.department_id),
        division=post.division,
        on_duty=on_duty,
    )
