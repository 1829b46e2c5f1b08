"""The register as processes follow it, and the end of sessions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from kit.errors import NotFound, PermissionDenied
from kit.tokens import read
from kit.unit import Unit
from kit.verifier import LOGOUT_AGE, Verifier, session_mark
from services.grid.model.systems import Revocation
from services.grid.store import directory
from services.grid.store import systems as store


async def changed(unit: Unit) -> int:
    """The place of a change of the register among all of them; processes hear of it once it is committed."""
    unit.afterwards(unit.runtime.verifier.register.wanted.set)
    return await store.next_seq(unit)


class Sessions:
    """`kept`: for how long a revocation is kept, which is longer than any token lasts; `bound`: within which it is known everywhere;
    `clients`: to whom logout tokens may be addressed; `everywhere`: whether one ends all sessions of its subject."""

    def __init__(
        self,
        verifier: Verifier,
        root: str,
        *,
        kept: timedelta,
        bound: timedelta,
        clients: Sequence[str],
        everywhere: bool = False,
    ):
        self._verifier, self._root, self._kept, self._bound = verifier, root, kept, bound
        self._clients, self._everywhere = clients, everywhere

    async def end(self, unit: Unit, *, everywhere: bool) -> datetime:
        """Signs the caller out. When it is so everywhere."""
        account, marks = unit.principal.account, unit.principal.marks
        if not marks:
            raise PermissionDenied("NO_SESSION")
        await self._revoke(unit, marks[0], account, None)
        if everywhere:
            await self._revoke(unit, f"account:{account}", account, unit.now)
        return unit.now + self._bound

    async def revoke(self, unit: Unit, account: str, session: str, reason: str) -> datetime:
        """Signs somebody else out, who is of the caller's divisions. Accounts that are not in the directory are for those of the root division."""
        division = await self._division(unit, account)
        if not unit.principal.covers(division):
            raise NotFound("NOT_FOUND", field="account", resource="account")
        unit.note(reason)
        if session:
            await self._revoke(unit, session_mark(account, session), account, None)
        else:
            await self._revoke(unit, f"account:{account}", account, unit.now)
        return unit.now + self._bound

    async def _division(self, unit: Unit, account: str) -> str:
        if staff := await directory.any_staff(unit, account):
            return staff.division
        system = await store.any_system(unit, account)
        return system.division if system else self._root

    async def end_by_issuer(self, unit: Unit, logout_token: str) -> datetime:
        """Ends what the identity provider has ended. Said twice, it is done once."""
        ended = await self._verifier.logged_out(logout_token, self._clients, everywhere=self._everywhere)
        digest = hashlib.sha256(b"logout" + bytes.fromhex(read(logout_token).digest)).digest()
        if await store.use(unit, digest, unit.now + timedelta(seconds=2 * LOGOUT_AGE)):
            before = None if ended.before is None else datetime.fromtimestamp(ended.before, UTC)
            await self._revoke(unit, ended.mark, "", before)
        return unit.now + self._bound

    async def _revoke(self, unit: Unit, mark: str, account: str, before: datetime | None) -> None:
        seq = await changed(unit)
        revocation = Revocation(unit.new_id(), mark, account, before, unit.now + self._kept, seq)
        await store.REVOCATIONS.add(unit, revocation)
