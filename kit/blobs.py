"""Photos and documents: stored under the SHA-256 of their content, in a local folder or in S3.

A photo is kept twice. The *original* is the evidence, byte for byte, with the place and time that the camera wrote into it. The *rendition* is for
showing: upright, at most `LONGEST_EDGE` pixels, without any metadata, and newly encoded, so that nothing else hides in it.

    blobs = Blobs.open(settings.media_url, pixel_limit=settings.media.pixel_limit)
    photo = await blobs.ingest_photo(data)       # photo.id: what others refer to
    photo = await blobs.photo(photo_id)          # None if there is no such photo
    data = await blobs.get(photo.public_id)      # or photo.id, for those who may see the evidence

An id says nothing of who may see what it stands for, so beside each photo stands who brought it, and for which divisions: the same photo
brought by several is for the divisions of all of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import unquote, urlsplit

import obstore
import orjson
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url
from PIL import Image, ImageOps

from kit.errors import InvalidArgument, NotFound, StartupError
from kit.folders import make_private

T = TypeVar("T")

LONGEST_EDGE: Final = 2048
QUALITY: Final = 85

#: Pictures decoded at the same time: each may take a hundred megabytes.
AT_ONCE: Final = 2

#: Calls of the store at the same time.
CALLS: Final = 8

_ID = re.compile(r"[0-9a-f]{64}")
_FORMATS: Final = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}

Image.MAX_IMAGE_PIXELS = None  # a limit that only warns; ours is checked before a pixel is decoded


@dataclass(frozen=True, slots=True)
class Photo:
    """`id` of the original, `public_id` of the rendition (always image/jpeg); the other facts are the original's, size in bytes."""

    id: str
    public_id: str
    type: str
    width: int
    height: int
    size: int


class Blobs:
    """A content-addressed store. Putting the same bytes twice stores them once."""

    def __init__(self, store: ObjectStore, *, pixel_limit: int, folder: Path | None = None) -> None:
        """`folder`: where a local store is."""
        self._store, self._pixel_limit, self._folder = store, pixel_limit, folder
        self._decoding = asyncio.Semaphore(AT_ONCE)
        # Not the store's own coroutines: they may bring a process down that ends soon after one.
        self._threads = ThreadPoolExecutor(CALLS, "blobs")

    @classmethod
    def open(cls, url: str, *, pixel_limit: int) -> Blobs:
        """`file:///…` (made if it is not there, for its owner alone) or `s3://bucket/prefix`, with credentials from the usual AWS variables."""
        try:
            if not url.startswith("file:"):
                return cls(from_url(url), pixel_limit=pixel_limit)
            folder = Path(unquote(urlsplit(url).path))
            make_private(folder)
            return cls(LocalStore(folder), pixel_limit=pixel_limit, folder=folder)
        except (BaseError, OSError, ValueError) as error:
            raise StartupError(f"无法打开媒体存储 {url}", f"cannot open the media store {url}") from error

    async def put(self, data: bytes) -> str:
        """Stores the bytes and returns their id."""
        blob_id = hashlib.sha256(data).hexdigest()
        if not await self.exists(blob_id):
            await self._write(_path(blob_id), data)
        return blob_id

    async def get(self, blob_id: str) -> bytes:
        """NotFound(MEDIA_UNKNOWN)."""
        data = await self._read(_path(blob_id)) if _ID.fullmatch(blob_id) else None
        if data is None:
            raise NotFound("MEDIA_UNKNOWN")
        return data

    async def exists(self, blob_id: str) -> bool:
        if not _ID.fullmatch(blob_id):
            return False
        try:
            await self._call(lambda: obstore.head(self._store, _path(blob_id)))
            return True
        except FileNotFoundError:
            return False

    async def photo(self, photo_id: str) -> Photo | None:
        """The facts of a photo that was ingested."""
        facts = await self._read(f"photos/{photo_id}.json") if _ID.fullmatch(photo_id) else None
        return None if facts is None else Photo(**orjson.loads(facts))

    async def require_photos(self, given: Iterable[tuple[str, str]]) -> None:
        """InvalidArgument(PHOTO_UNKNOWN) at the first field whose photo nobody uploaded. `given`: field of the request, photo id.

        To be asked before a unit's first statement: a connection must not wait for the media store.
        """
        named = list(given)
        there = await asyncio.gather(*(self.photo(photo_id) for _, photo_id in named))
        for (field, _), found in zip(named, there, strict=True):
            if found is None:
                raise InvalidArgument("PHOTO_UNKNOWN", field=field)

    async def ingest_photo(self, data: bytes) -> Photo:
        """Checks and stores an uploaded photo; decoding runs in a thread.

        InvalidArgument(PHOTO_TYPE_UNKNOWN | PHOTO_TOO_LARGE | PHOTO_UNREADABLE) for what is no JPEG, PNG or WebP, has too many pixels, or is
        broken. What the sender calls it is not asked: the content says what it is.
        """
        known = await self.photo(hashlib.sha256(data).hexdigest())
        if known is not None:
            return known
        async with self._decoding:
            seen, rendition = await asyncio.to_thread(_examine, data, self._pixel_limit)
        photo = Photo(await self.put(data), await self.put(rendition), seen.type, seen.width, seen.height, len(data))
        await self._write(f"photos/{photo.id}.json", orjson.dumps(asdict(photo)))  # last: it vouches for the rest
        return photo

    async def scaled(self, photo: Photo, edge: int) -> bytes:
        """The rendition of a photo, at most so many pixels long and wide: made when it is first asked for, and kept."""
        path = f"scaled/{edge}/{photo.public_id[:2]}/{photo.public_id}"
        kept = await self._read(path)
        if kept is not None:
            return kept
        rendition = await self.get(photo.public_id)
        async with self._decoding:
            small = await asyncio.to_thread(_scaled, rendition, edge)
        await self._write(path, small)
        return small

    async def bring(self, photo_id: str, account: str, divisions: Iterable[str]) -> None:
        """Records who brought a photo and for which divisions (codes). Said again it changes nothing."""
        bringer = hashlib.sha256(account.encode()).hexdigest()[:32]
        for division in divisions:
            await self._write(f"photos/{photo_id}/{division}/{bringer}.json", orjson.dumps({"account": account}))

    async def divisions(self, photo_id: str) -> frozenset[str]:
        """The divisions that a photo was brought for; none of one that nobody has brought."""
        if not _ID.fullmatch(photo_id):
            return frozenset()
        found = await self._call(lambda: obstore.list_with_delimiter(self._store, f"photos/{photo_id}"))
        return frozenset(path.rpartition("/")[2] for path in found["common_prefixes"])

    # -- all of it, for backups ---------------------------------------------------------------------------------------

    @property
    def local(self) -> bool:
        """Whether it is a folder of this machine."""
        return self._folder is not None

    async def paths(self) -> list[tuple[str, int]]:
        """Everything that is stored, with its size in bytes."""
        found = await self._call(lambda: obstore.list(self._store).collect())
        return sorted((str(one["path"]), int(one["size"])) for one in found)

    async def raw(self, path: str) -> bytes | None:
        """What is stored under a path, as it is."""
        return await self._read(path)

    async def put_raw(self, path: str, data: bytes) -> None:
        await self._write(path, data)

    async def _call(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _read(self, path: str) -> bytes | None:
        try:
            return await self._call(lambda: bytes(obstore.get(self._store, path).bytes()))
        except FileNotFoundError:
            return None

    async def _write(self, path: str, data: bytes) -> None:
        def write() -> None:
            if self._folder is None:
                obstore.put(self._store, path, data)
                return
            file = self._folder / path
            make_private(file.parent, above=0o700)
            obstore.put(self._store, path, data)
            file.chmod(0o600)

        await self._call(write)


@dataclass(frozen=True, slots=True)
class _Seen:
    type: str
    width: int
    height: int


def sniff(data: bytes) -> str | None:
    """The media type of a picture by its first bytes, or None."""
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return None


def _examine(data: bytes, pixel_limit: int) -> tuple[_Seen, bytes]:
    """What a picture is, and its rendition."""
    if sniff(data) is None:
        raise InvalidArgument("PHOTO_TYPE_UNKNOWN", field="file")
    try:
        with Image.open(BytesIO(data), formats=list(_FORMATS)) as image:
            width, height = image.size
            if width * height > pixel_limit:
                raise InvalidArgument("PHOTO_TOO_LARGE", field="file", limit=pixel_limit)
            image.draft(
                "RGB", (LONGEST_EDGE, LONGEST_EDGE)
            )  # a JPEG is decoded at a fraction of its size where that is enough
            image.load()
            kind = _FORMATS[image.format or ""]
            upright = _upright(image)
    except InvalidArgument:
        raise
    except Exception as error:  # decoders meet hostile bytes here, and fail with errors of every kind
        raise InvalidArgument("PHOTO_UNREADABLE", field="file") from error
    if (upright.width > upright.height) != (width > height):
        width, height = height, width
    upright.thumbnail((LONGEST_EDGE, LONGEST_EDGE))
    encoded = BytesIO()
    upright.save(encoded, "JPEG", quality=QUALITY)
    return _Seen(kind, width, height), encoded.getvalue()


def _scaled(rendition: bytes, edge: int) -> bytes:
    """Of our own making, so nothing hostile is decoded here."""
    with Image.open(BytesIO(rendition), formats=["JPEG"]) as image:
        image.draft("RGB", (edge, edge))
        image.thumbnail((edge, edge))
        encoded = BytesIO()
        image.save(encoded, "JPEG", quality=QUALITY)
    return encoded.getvalue()


def _upright(image: Image.Image) -> Image.Image:
    """The pixels alone, turned as the camera was held, on white where they were transparent."""
    try:
        turned = ImageOps.exif_transpose(image)
    except Exception:  # broken metadata of a sound picture
        turned = image
    if turned.has_transparency_data:
        rgba = turned.convert("RGBA")
        flat = Image.new("RGB", rgba.size, "white")
        flat.paste(rgba, mask=rgba.getchannel("A"))
        return flat
    plain = Image.new("RGB", turned.size)  # a new image carries no metadata along
    plain.paste(turned.convert("RGB"))
    return plain


def content_of(path: str) -> str:
    """The SHA-256 of what stands under a path, where the path says so; "" where it does not."""
    kind, _, rest = path.partition("/")
    return rest.rpartition("/")[2] if kind == "blobs" else ""


def _path(blob_id: str) -> str:
    return f"blobs/{blob_id[:2]}/{blob_id}"
