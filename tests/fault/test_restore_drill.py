"""The database goes back to a backup that was taken while clients wrote: what is gone is named, nothing else is, and all books agree again."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from tests.drill import restore
from tests.drill.restore import RestoreDrill
from tests.drill.sites import SITES
from tests.functional.split import need_engines


@pytest.mark.timeout(600)
async def test_exactly_what_came_after_the_backup_is_gone(tmp_path: Path) -> None:
    need_engines()
    with SITES["split"]() as site:
        drill = RestoreDrill(site, 600, 7, tmp_path, lambda what, accepted: print(accepted, what))
        done = await drill.run()
    restore.show(Console(width=160), done)
    assert done.wrong == []
    assert done.kept > 200
    assert done.gone > 20
    assert done.after > 100

    at = next(n for n, one in enumerate(drill.gone) if one["type"].endswith("CaseChanged"))
    one = drill.gone[at]
    untold = restore.named(drill.before, drill.restored, drill.gone[:at] + drill.gone[at + 1 :])
    assert any(one["key"] in what and "does not name" in what for what in untold), untold
    invented = restore.named(drill.before, drill.restored, [*drill.gone, {**one, "version": 99}])
    assert [what for what in invented if "which never was" in what], invented
