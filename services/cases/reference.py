"""The centres and their coverage, from the divisions that ship with the product.

A county's centre and the 70 townships' centres; everything else (the 19 farms and similar units with their 163 villages, and a county itself)
is covered by the county's centre.
"""

from __future__ import annotations

import csv
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from services.cases.model import Centre

CENTRE = "Governance centre of"


def centre_id(division: str) -> str:
    """The department id of a division's centre, the same in every service and installation."""
    return str(uuid5(NAMESPACE_URL, f"hetao:department:{division}-centre"))


def centres_of(data: Path) -> tuple[list[Centre], dict[str, str]]:
    """The centres, the counties' first, and division → id of the responsible centre."""
    rows = _rows(data / "divisions.csv")
    names = {row["code"]: row["name"] for row in rows}
    english = {row["code"]: row["name_en"] for row in _rows(data / "divisions_en.csv")}
    counties = [row["code"] for row in rows if row["level"] == "county"]
    townships = [row["code"] for row in rows if row["level"] == "township" and row["mca_code"]]
    centres = [
        Centre(centre_id(code), f"{names[code]}综治中心", f"{CENTRE} {english[code]}", "county", code, "")
        for code in counties
    ]
    centres += [
        Centre(
            centre_id(code),
            f"{names[code[:6]]}{names[code]}综治中心",
            f"{CENTRE} {english[code]}, {english[code[:6]]}",
            "township",
            code,
            centre_id(code[:6]),
        )
        for code in townships
    ]
    own = set(townships)
    covers = {
        row["code"]: centre_id(row["code"][:9] if row["code"][:9] in own else row["code"][:6])
        for row in rows
        if row["level"] != "city"
    }
    return centres, covers


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
