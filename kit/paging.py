"""Lists by key: a page ends with a token that holds the key of its last row, and the next page begins after it.

    page = Page.of(unit, request)
    rows = await unit.fetch(f"select {ITEM} from item where county = $1 and id < $2 order by id desc limit $3",
                            county, *(page.after or (LAST_ID,)), page.limit)
    rows, next_page_token = page.cut(rows, key=lambda row: (row["id"],))

`request` is the list request itself, with `page_size` and `page_token`. `page.after` is the key that `cut` was given for the last
row of the page before, with the same types (str, int, bool, None, date, datetime, UUID), or None on the first page: start values such as
`LAST_ID` keep one statement, and one plan, for every page. `page.limit` is one row more than is shown, which tells whether there is more.

A token is sealed, so it gives nothing away and cannot be made up, and it belongs to its query: the same request with other filters, or
another RPC, refuses it. The page size may change from page to page.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

import orjson
from google.protobuf.message import Message

from kit.errors import InvalidArgument
from kit.sealing import Keys, SealError

if TYPE_CHECKING:
    from kit.unit import Unit

T = TypeVar("T")

USUAL, MOST = 50, 200

#: Before and after every key, to start a list with.
FIRST_ID: Final = UUID(int=0)
LAST_ID: Final = UUID(int=2**128 - 1)
FIRST_MOMENT: Final = datetime(1900, 1, 1, tzinfo=UTC)
LAST_MOMENT: Final = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list. `limit`: rows to fetch; `after`: the key of the last row already shown."""

    limit: int
    after: tuple[Any, ...] | None
    _keys: Keys
    _query: str

    @classmethod
    def of(cls, unit: Unit | Keys, request: Any) -> Page:
        """The page that `request` asks for. InvalidArgument(PAGE_TOKEN_INVALID) for a token that is not one of this query."""
        keys = unit if isinstance(unit, Keys) else unit.runtime.keys
        query = _query_of(request)
        size = min(request.page_size, MOST) if request.page_size > 0 else USUAL
        return cls(size + 1, _open(keys, query, request.page_token) if request.page_token else None, keys, query)

    def cut(self, rows: Sequence[T], key: Callable[[T], tuple[Any, ...]]) -> tuple[Sequence[T], str]:
        """The rows to show, and the token of the next page, or "" at the end. `key`: what the list is ordered by, unique per row."""
        if len(rows) < self.limit:
            return rows, ""
        shown = rows[: self.limit - 1]
        return shown, self.place(key(shown[-1]))

    def place(self, key: tuple[Any, ...]) -> str:
        """The token of what comes after a key. For a list that is asked again and again for what is new, also where there is nothing yet."""
        packed = orjson.dumps([_packed(value) for value in key])
        sealed = self._keys.seal_bytes("page_token", self._query, packed)
        return base64.urlsafe_b64encode(sealed).rstrip(b"=").decode()


def _query_of(request: Message) -> str:
    query = type(request)()
    query.CopyFrom(request)
    query.ClearField("page_token")
    query.ClearField("page_size")
    digest = hashlib.sha256(query.SerializeToString(deterministic=True)).hexdigest()
    return f"{request.DESCRIPTOR.full_name}:{digest}"


def _open(keys: Keys, query: str, token: str) -> tuple[Any, ...]:
    try:
        sealed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        return tuple(_unpacked(value) for value in orjson.loads(keys.open_bytes("page_token", query, sealed)))
    except (SealError, ValueError, binascii.Error):
        raise InvalidArgument("PAGE_TOKEN_INVALID", field="page_token") from None


def _packed(value: Any) -> Any:
    match value:
        case None | bool() | int():
            return value
        case str():
            return ["s", value]
        case UUID():
            return ["u", value.hex]
        case datetime():
            return ["t", value.isoformat()]
        case date():
            return ["d", value.isoformat()]
    raise TypeError(f"a {type(value).__name__} cannot be part of a page's key")


_UNPACK: Final[dict[str, Callable[[str], Any]]] = {
    "s": str,
    "u": UUID,
    "t": datetime.fromisoformat,
    "d": date.fromisoformat,
}


def _unpacked(value: Any) -> Any:
    return _UNPACK[value[0]](value[1]) if isinstance(value, list) else value
