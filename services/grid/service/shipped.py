"""The data that comes with the product: divisions and centres for every installation, an organisation and grids for the demo."""

from __future__ import annotations

import csv
import hashlib
import json
import tomllib
from collections.abc import Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from joserfc.jwk import OKPKey

from kit.secretfile import create_secret, read_secret
from kit.unit import Unit
from services.grid.model.directory import (
    CENTRE,
    COMMUNITY,
    DEPARTMENT,
    TOWNSHIP,
    Department,
    Holding,
    Post,
    Staff,
    department_id,
)
from services.grid.model.divisions import Ancestors, Division, readings
from services.grid.model.grids import Grid, Member, form_of
from services.grid.model.points import Point
from services.grid.model.systems import Key, System
from services.grid.service import register, telling
from services.grid.service.handover import Handovers
from services.grid.service.pinyin import syllables
from services.grid.service.systems import parse_key
from services.grid.store import directory, divisions, systems
from services.grid.store import grids as grid_store


def division(row: dict[str, str]) -> Division:
    """A row of data/divisions.csv with its readings."""
    pinyin, initials = readings(syllables(row["short_name"]))
    columns = ("code", "name", "short_name", "level", "parent", "code12", "mca_code", "kind", "source")
    return Division(**{column: row[column] for column in columns}, pinyin=pinyin, initials=initials)


def centres(rows: Sequence[dict[str, str]]) -> list[Department]:
    """Seven of the counties, seventy of the townships on the ministry's list; a township's centre stands under its county's."""
    names = {row["code"]: (row["name"], row["name_en"]) for row in rows}
    counties = [row for row in rows if row["level"] == "county"]
    townships = [row for row in rows if row["level"] == "township" and row["mca_code"]]
    made = []
    for row in (*counties, *townships):
        place, county = row["code"], row["code"][:6]
        name = names[county][0] + ("" if place == county else row["name"]) + "综治中心"
        parent = None if place == county else department_id(f"{county}-centre")
        code = f"{place}-centre"
        english = f"Governance centre of {row['name_en']}" + ("" if place == county else f", {names[county][1]}")
        made.append(Department(department_id(code), code, name, english, CENTRE, place, parent))
    return made


def read_divisions(data: Path) -> list[dict[str, str]]:
    """The rows of data/divisions.csv, each with what it is called in English: its usual name, or its name in pinyin and what it is."""
    english = {row["code"]: row["name_en"] for row in _csv(data / "divisions_en.csv")}
    return [{**row, "name_en": english[row["code"]]} for row in _csv(data / "divisions.csv")]


def _csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Shipped:
    def __init__(self, data: Path, handovers: Handovers):
        self.data, self.handovers = data, handovers

    @cached_property
    def rows(self) -> list[dict[str, str]]:
        return read_divisions(self.data)

    # -- for every installation -----------------------------------------------------------------------------------------

    async def reference(self, unit: Unit) -> None:
        """All divisions, the centres of this installation's part of them, and due times after a change of the calendar. Does nothing where
        it is done."""
        root = unit.runtime.settings.root_division
        digest = f"{root} {hashlib.sha256((self.data / 'divisions.csv').read_bytes()).hexdigest()}"
        if await divisions.loaded(unit, "divisions") != digest:
            await divisions.load(unit, [division(row) for row in self.rows])
            await self._add_departments(unit, [c for c in centres(self.rows) if c.division.startswith(root)])
            await divisions.loaded_now(unit, "divisions", digest)
        calendar = unit.runtime.deadlines.calendar.version
        if await divisions.loaded(unit, "calendar") != calendar:
            await self.handovers.calendar_changed(unit)
            await divisions.loaded_now(unit, "calendar", calendar)

    async def _add_departments(self, unit: Unit, wanted: Sequence[Department]) -> None:
        missing = await directory.missing_departments(unit, [d.code for d in wanted])
        new = [department for department in wanted if department.code in missing]
        if new:
            await directory.DEPARTMENTS.add_all(unit, new)
            unit.emit(*(telling.department_changed(unit, department) for department in new))

    # -- for the demo -------------------------------------------------------------------------------------------------

    async def demo(self, unit: Unit) -> None:
        """Departments, staff, posts, grids and their triangles, all marked as made. Does nothing where it is done."""
        await self.demo_systems(unit)
        root = unit.runtime.settings.root_division
        organisation, grids = self._read("demo/departments.toml"), self._read("demo/grids.toml")
        accounts = [a for a in self._accounts() if a["department_code"].startswith(root)]
        if not accounts or await directory.any_staff(unit, accounts[0]["account"]):
            return
        await self._add_departments(unit, [d for d in self.departments(organisation) if d.code.startswith(root)])
        await self._add_staff(unit, accounts)
        posts = [post for post in organisation["posts"] if post["department"].startswith(root)]
        await self._add_posts(unit, posts, organisation["since"])
        await self._add_grids(unit, [grid for grid in grids["grids"] if grid["code"].startswith(root)], grids["since"])

    async def demo_systems(self, unit: Unit) -> None:
        """Outside systems, each with a key of its own that lies in the data folder beside the platform's: `hetao systems token` takes it."""
        root, folder = unit.runtime.settings.root_division, unit.runtime.settings.data_dir / "keys"
        for row in self._read("demo/systems.toml")["systems"]:
            account, path = row["account"], folder / f"{row['account']}.json"
            if await systems.exists(unit, account):
                continue
            made = OKPKey.generate_key("Ed25519", {"use": "sig", "alg": "Ed25519"}, auto_kid=True)
            create_secret(path, json.dumps(made.as_dict(private=True), indent=2) + "\n")
            public = OKPKey.import_key(json.loads(read_secret(path))).as_dict(private=False)
            kid, jwk = parse_key(json.dumps(public), "")
            system = System(
                uuid5(NAMESPACE_URL, f"hetao:system:{account}"), account, row["name"], row["name_en"], root, [root],
                row["roles"], 0, "", "", [], True, unit.now, await register.changed(unit),
            )  # fmt: skip
            await systems.SYSTEMS.add(unit, system)
            await systems.KEYS.add(unit, Key(unit.new_id(), system.id, kid, jwk, unit.now))

    def departments(self, organisation: dict[str, Any]) -> list[Department]:
        """Offices of the counties and the city from the list; townships and communities from the divisions named there."""
        names = {row["code"]: row for row in self.rows}
        made = []
        for division in organisation["offices_in"]:
            for office in organisation["offices"]:
                called = office.get("city", office["zh"]) if len(division) == 4 else office["zh"]
                name = names[division]["name"] + called
                above = organisation["offices_under"]
                parent = None if office["code"] == above else department_id(f"{division}-{above}")
                english = f"{office['en']} of {names[division]['name_en']}"
                made.append(_made(f"{division}-{office['code']}", name, english, DEPARTMENT, division, parent))
        for township in organisation["townships"]:
            row = names[township]
            kind = "街道办事处" if row["kind"] == "街道" else "人民政府"
            name = f"{names[township[:6]]['name']}{row['name'].removesuffix('街道')}{kind}"
            english = f"Township office of {row['name_en']}"
            made.append(_made(f"{township}-township", name, english, TOWNSHIP, township, None))
            for code, village in names.items():
                if village["parent"] == township:
                    parent = department_id(f"{township}-township")
                    name = village["name"] if village["kind"] != "社区" else f"{village['short_name']}居民委员会"
                    english = f"Committee of {village['name_en']}"
                    made.append(_made(f"{code}-community", name, english, COMMUNITY, code, parent))
        return made

    async def _add_staff(self, unit: Unit, accounts: Sequence[dict[str, Any]]) -> None:
        staff = [
            Staff(
                uuid5(NAMESPACE_URL, f"hetao:staff:{a['account']}"), a["account"], a["name"], a["title"],
                department_id(a["department_code"]), a["department_code"].split("-", 1)[0], a["title_en"],
            )
            for a in accounts
        ]  # fmt: skip
        await directory.STAFF.add_all(unit, staff)
        unit.emit(*(telling.staff_changed(unit, one, ()) for one in staff))

    async def _add_posts(self, unit: Unit, rows: Sequence[dict[str, Any]], since: date) -> None:
        posts, holdings = [], []
        for row in rows:
            code, kind, holder = row["department"], row["kind"], row.get("holder", "")
            post_id = uuid5(NAMESPACE_URL, f"hetao:post:{code}:{kind}")
            first = since if holder else None
            division = code.split("-", 1)[0]
            posts.append(Post(post_id, department_id(code), division, kind, row["name"], holder, first))
            if holder:
                holdings.append(Holding(uuid5(post_id, holder), post_id, holder, since))
        await directory.POSTS.add_all(unit, posts)
        await directory.HOLDINGS.add_all(unit, holdings)
        unit.emit(*(telling.post_changed(unit, post, ()) for post in posts))

    async def _add_grids(self, unit: Unit, rows: Sequence[dict[str, Any]], since: date) -> None:
        made, members = [], []
        names = {account["account"]: account["name"] for account in self._accounts()}
        for row in rows:
            code = row["code"]
            at = Ancestors.of(code)
            grid_id = uuid5(NAMESPACE_URL, f"hetao:grid:{code}")
            grid = Grid(
                grid_id, code, row["name"], row.get("kind", "basic"), form_of(at.community), at.community, at.township,
                at.county, row.get("households", 0), name_en=row["name_en"], made=True,
            ).drawn([Point(lat, lon) for lon, lat in row.get("outline", [])])  # fmt: skip
            made.append(grid)
            for n, member in enumerate(row.get("members", [])):
                account = member.get("account", "")
                members.append(
                    Member(
                        uuid5(grid_id, f"{member['role']}:{n}"), grid_id, code, at.community, member["role"], account,
                        names.get(account, member.get("name", "")), member.get("area", ""), since,
                    )
                )  # fmt: skip
        await grid_store.GRIDS.add_all(unit, made)
        await grid_store.MEMBERS.add_all(unit, members)

    def _accounts(self) -> list[dict[str, Any]]:
        accounts: list[dict[str, Any]] = self._read("demo/accounts.toml")["accounts"]
        return accounts

    def _read(self, name: str) -> dict[str, Any]:
        return tomllib.loads((self.data / name).read_text(encoding="utf-8"))


def _made(code: str, name: str, name_en: str, kind: str, division: str, parent: Any) -> Department:
    return Department(department_id(code), code, name, name_en, kind, division, parent, made=True)
