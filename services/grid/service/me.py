"""Who somebody is here: by the token, and by the directory of today."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kit.unit import Unit
from services.grid.model.directory import Department, Post, Staff
from services.grid.store import directory, grids


@dataclass(frozen=True, slots=True)
class Standing:
    """`staff`: None for an account that the directory does not have; `departments`: those of the token, None where the directory lacks one; `duties`:
    posts in which the caller is on duty today; `grids`: code, name, role and community of each place in a triangle."""

    staff: Staff | None
    departments: Sequence[tuple[str, Department | None]]
    posts: Sequence[Post]
    duties: Sequence[Post]
    grids: Sequence[tuple[str, str, str, str]]


async def standing(unit: Unit) -> Standing:
    """Of whoever calls."""
    who = unit.principal
    known = {str(one.id): one for one in await directory.departments_named(unit, who.departments)}
    posts = await directory.posts_held(unit, who.account)
    held = {post.id for post in posts}
    on_duty = await directory.posts_on_duty(unit, who.account, [one.id for one in known.values()], unit.today)
    return Standing(
        await directory.any_staff(unit, who.account),
        [(department_id, known.get(department_id)) for department_id in who.departments],
        posts,
        [post for post in on_duty if post.id not in held],
        await grids.memberships(unit, who.account, unit.today),
    )
