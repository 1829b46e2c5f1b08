"""What the year holds: every matter with its place, its way and its end, from a seed. Pure: the same seed gives the same year."""

from __future__ import annotations

import csv
import random
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from kit.clock import BUSINESS_ZONE

SEED = 3762

#: Disputes that end resolved, by how: 3,762 in all.
RESOLVED = {
    "written": 1640,  # written agreement, followed up and closed
    "oral": 980,
    "own": 310,  # settled by the parties themselves
    "administrative": 330,
    "award": 140,
    "reconciled": 112,  # withdrawn, reconciled
    "asked_on": 118,  # resolved, one party not asked yet
    "reopened_resolved": 132,  # unsolved at the first follow-up, resolved in the second round
}
#: Disputes that do not, by every sort that the chain knows: 722 in all.
UNRESOLVED = {
    "failed": 214,  # mediation failed, the channel told
    "refused": 131,  # a party refused
    "withdrawn": 96,  # withdrawn for another reason
    "transferred_out": 72,
    "unfounded": 47,
    "failed_asked_on": 38,  # failed, one party not asked yet
    "reopened": 32,  # unsolved at the follow-up, worked on again
    "handling": 58,  # departments or desks still work on it
    "submitted": 14,  # the departments have answered, nobody has reviewed
    "reviewed": 9,  # reviewed, not concluded
    "undispatched": 11,
}
#: What does not count in the rate: disputes that were never accepted, and other kinds of matter.
BESIDES = {
    "not_accepted": 63,
    "emergency": 21,
    "waiting": 12,
    "consultation": 240,
    "request": 310,
    "petition": 95,
    "clue": 44,
    "hazard": 58,
}

#: Fates whose matter is still open at the year's end: they begin late in it.
OPEN = {"asked_on", "failed_asked_on", "reopened", "handling", "submitted", "reviewed", "undispatched", "waiting"}

#: How often each category comes: as many disputes in a hundred.
CATEGORIES = {
    "02": 17, "01": 13, "10": 12, "15": 11, "X02": 6, "07": 6, "04": 6, "06": 5, "X01": 5, "05": 4, "14": 4, "12": 3, "X05": 3, "03": 2,
    "08": 1, "13": 1, "X03": 1,
}  # fmt: skip

#: What is said of a matter of each category, in one line.
TITLES = {
    "01": "家庭赡养纠纷", "02": "邻里排水纠纷", "03": "宅基地边界纠纷", "04": "租赁合同纠纷", "05": "合伙经营纠纷", "06": "人身损害赔偿纠纷",
    "07": "土地承包纠纷", "08": "征地补偿纠纷", "10": "拖欠工资纠纷", "12": "商品质量纠纷", "13": "就医费用纠纷", "14": "交通事故赔偿纠纷",
    "15": "物业服务收费纠纷", "X01": "草场边界纠纷", "X02": "灌溉用水纠纷", "X03": "牲畜越界纠纷", "X05": "供热不达标纠纷",
}  # fmt: skip
SURNAMES = "王李张刘陈杨赵黄周吴徐孙马朱胡郭何高林罗云白乌包康贺"
ORDINALS = "甲乙丙丁"

#: Offices that a dispute of a category goes to, the lead first, where the county has them.
OFFICES = {"10": ("labour", "union"), "15": ("housing", "justice"), "02": ("justice", "police"), "07": ("agriculture", "justice"),
           "X01": ("agriculture", "natural-resources"), "X02": ("water", "agriculture"), "14": ("police", "justice"), "12": ("market",)}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """A centre: its division and the divisions that it answers for."""

    division: str
    covers: Sequence[str]
    township: bool

    @property
    def id(self) -> str:
        return department(f"{self.division}-centre")


@dataclass(frozen=True, slots=True)
class Matter:
    """One matter of the year. `at`: when it is registered; `offices`: codes of departments that work on it, none: the centre's own desks."""

    number: int
    fate: str
    kind: str
    category: str
    title: str
    names: tuple[str, str]
    place: Place
    division: str
    at: datetime
    offices: tuple[str, ...]
    complexity: str
    slow: bool
    seed: int


@dataclass(frozen=True, slots=True)
class Year:
    """The year's matters, in the order of their registration."""

    year: int
    matters: Sequence[Matter]
    places: Sequence[Place]
    offices: Sequence[str]

    @property
    def first(self) -> date:
        return date(self.year, 1, 1)

    @property
    def last(self) -> date:
        return date(self.year, 12, 31)


def department(code: str) -> str:
    """The id of a department by its code, the same in every service."""
    return str(uuid5(NAMESPACE_URL, f"hetao:department:{code}"))


def make(year: int, data: Path, working: Callable[[date], bool], seed: int = SEED) -> Year:
    """The plan of a year. `working`: which days are worked."""
    chance = random.Random(seed)
    places = centres(data / "divisions.csv")
    listed = tomllib.loads((data / "demo" / "departments.toml").read_text("utf-8"))
    offices = [
        f"{county}-{one['code']}" for county in listed["offices_in"] if len(county) == 6 for one in listed["offices"]
    ]
    days = [day for n in range(366) if (day := date(year, 1, 1) + timedelta(n)).year == year and working(day)]
    fates = [fate for counts in (RESOLVED, UNRESOLVED, BESIDES) for fate, count in counts.items() for _ in range(count)]
    chance.shuffle(fates)
    matters = [_matter(n, fate, chance, places, set(offices), days) for n, fate in enumerate(fates)]
    return Year(year, sorted(matters, key=lambda matter: matter.at), places, offices)


def _matter(
    number: int, fate: str, chance: random.Random, places: list[Place], offices: set[str], days: list[date]
) -> Matter:
    other = {
        "consultation": "consultation",
        "request": "request",
        "petition": "petition",
        "clue": "security_clue",
        "hazard": "hazard",
    }
    kind = other.get(fate, "dispute")
    category = chance.choices(list(CATEGORIES), list(CATEGORIES.values()))[0] if kind == "dispute" else ""
    # The county's centres take a larger part than any single township's.
    if by_departments := fate in ("submitted", "reviewed"):  # where departments take part
        places = [one for one in places if f"{one.division[:6]}-justice" in offices]
    place = chance.choices(places, [4 + len(one.covers) / 8 if one.township else 14 for one in places])[0]
    wanted = [f"{place.division[:6]}-{one}" for one in OFFICES.get(category, ("justice",))]
    by_departments |= kind == "dispute" and wanted[0] in offices and chance.random() < 0.55
    # What has come to its end began early enough to have come to it; what is open began late. A month is about 21 working days.
    spread = days[-45:] if fate in OPEN else days[:-50]
    slow = chance.random() < 0.07 and fate not in OPEN
    surnames = chance.sample(SURNAMES, 2)
    return Matter(
        number=number,
        fate=fate,
        kind=kind,
        category=category,
        title=TITLES[category]
        if category
        else {"consultation": "政策咨询", "request": "生活求助", "petition": "反映问题"}.get(fate, "线索登记"),
        names=(f"{surnames[0]}某{chance.choice(ORDINALS)}", f"{surnames[1]}某{chance.choice(ORDINALS)}"),
        place=place,
        division=chance.choice(place.covers),
        at=_moment(chance.choice(spread), chance),
        offices=tuple(one for one in wanted if one in offices) if by_departments else (),
        complexity=chance.choices(("simple", "general", "complex"), (3, 6, 2))[0],
        slow=slow,
        seed=chance.getrandbits(32),
    )


def _moment(day: date, chance: random.Random) -> datetime:
    """Some moment of the morning or early afternoon, to the microsecond."""
    seconds = chance.randint(0, 6 * 3600)
    begins = datetime.combine(day, time(8, 30), BUSINESS_ZONE)
    return begins + timedelta(seconds=seconds, microseconds=chance.randrange(1_000_000))


def centres(divisions: Path) -> list[Place]:
    """The 7 and the 70, each with the places that its matters come from."""
    with divisions.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    townships = [row["code"] for row in rows if row["level"] == "township" and row["mca_code"]]
    villages = [row["code"] for row in rows if len(row["code"]) == 12]

    def under(code: str) -> Iterator[str]:
        return (village for village in villages if village.startswith(code))

    found = [Place(code, list(under(code)) or [code], township=True) for code in townships]
    for county in (row["code"] for row in rows if row["level"] == "county"):
        farms = [village for village in under(county) if village[:9] not in townships]
        found.append(Place(county, [county, *farms], township=False))
    return found
