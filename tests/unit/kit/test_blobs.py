import asyncio
import zlib
from io import BytesIO

import pytest
from PIL import Image

from kit.blobs import LONGEST_EDGE, Blobs, sniff
from kit.errors import InvalidArgument, NotFound, StartupError

PIXELS = 1_000_000
GPS, ORIENTATION = 0x8825, 0x0112


@pytest.fixture
def blobs(tmp_path):
    return Blobs.open((tmp_path / "media").as_uri(), pixel_limit=PIXELS)


def picture(kind="JPEG", size=(64, 48), mode="RGB", **options):
    out = BytesIO()
    Image.new(mode, size, "green").save(out, kind, **options)
    return out.getvalue()


def located(orientation=1):
    """A photo that tells where it was taken."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif.get_ifd(GPS)[2] = (40.0, 45.0, 28.0)
    return picture(exif=exif)


async def test_photos_that_nobody_uploaded_are_refused_by_their_field(blobs):
    photo = await blobs.ingest_photo(picture())
    await blobs.require_photos([])
    await blobs.require_photos([("media_ids[0]", photo.id)])
    for unknown in ("0" * 64, "no id at all", photo.public_id):
        with pytest.raises(InvalidArgument) as refused:
            await blobs.require_photos([("media_ids[0]", photo.id), ("media_ids[1]", unknown)])
        assert (refused.value.reason, refused.value.field) == ("PHOTO_UNKNOWN", "media_ids[1]")


async def test_bytes_are_stored_under_their_hash(blobs):
    first = await blobs.put(b"hetao")
    assert first == await blobs.put(b"hetao")
    assert await blobs.get(first) == b"hetao"
    assert await blobs.exists(first)


@pytest.mark.parametrize("blob_id", ["0" * 64, "", "../../etc/passwd", "A" * 64])
async def test_an_unknown_id_is_not_found(blobs, blob_id):
    assert not await blobs.exists(blob_id)
    assert await blobs.photo(blob_id) is None
    with pytest.raises(NotFound):
        await blobs.get(blob_id)


@pytest.mark.parametrize(("kind", "type_"), [("JPEG", "image/jpeg"), ("PNG", "image/png"), ("WEBP", "image/webp")])
async def test_a_photo_is_kept_as_it_came_and_shown_as_jpeg(blobs, kind, type_):
    data = picture(kind)
    photo = await blobs.ingest_photo(data)
    assert (photo.type, photo.width, photo.height, photo.size) == (type_, 64, 48, len(data))
    assert await blobs.get(photo.id) == data
    assert sniff(await blobs.get(photo.public_id)) == "image/jpeg"
    assert await blobs.photo(photo.id) == photo == await blobs.ingest_photo(data)


async def test_a_photo_is_for_the_divisions_of_all_that_brought_it(blobs):
    photo = await blobs.ingest_photo(picture())
    assert await blobs.divisions(photo.id) == frozenset()
    await blobs.bring(photo.id, "grid-worker", ["150802013006"])
    await blobs.bring(photo.id, "grid-worker", ["150802013006"])
    await blobs.bring(photo.id, "grid-worker-2", ["150826", "150802013006"])
    assert await blobs.divisions(photo.id) == {"150802013006", "150826"}
    assert await blobs.photo(photo.id) == photo
    assert await blobs.divisions("../etc") == frozenset()


async def test_the_place_stays_in_the_evidence_and_leaves_the_rendition(blobs):
    photo = await blobs.ingest_photo(located())
    original = Image.open(BytesIO(await blobs.get(photo.id)))
    shown = Image.open(BytesIO(await blobs.get(photo.public_id)))
    assert original.getexif().get_ifd(GPS)
    assert not shown.getexif()
    assert b"Exif" not in await blobs.get(photo.public_id)


async def test_a_photo_is_shown_upright(blobs):
    photo = await blobs.ingest_photo(located(orientation=6))
    assert (photo.width, photo.height) == (48, 64)
    assert Image.open(BytesIO(await blobs.get(photo.public_id))).size == (48, 64)


async def test_a_large_photo_is_shown_smaller(tmp_path):
    blobs = Blobs.open((tmp_path / "media").as_uri(), pixel_limit=50_000_000)
    photo = await blobs.ingest_photo(picture(size=(5000, 2500)))
    assert (photo.width, photo.height) == (5000, 2500)
    assert Image.open(BytesIO(await blobs.get(photo.public_id))).size == (LONGEST_EDGE, LONGEST_EDGE // 2)


async def test_what_is_transparent_is_shown_on_white(blobs):
    photo = await blobs.ingest_photo(_transparent())
    assert Image.open(BytesIO(await blobs.get(photo.public_id))).getpixel((0, 0)) == (255, 255, 255)


def _transparent():
    out = BytesIO()
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(out, "PNG")
    return out.getvalue()


def _bomb():
    """A PNG of a few hundred bytes that says it has 900 million pixels."""

    def chunk(kind, body):
        return len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4)

    head = (30_000).to_bytes(4) + (30_000).to_bytes(4) + bytes((8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "PHOTO_TYPE_UNKNOWN"),
        (b"<svg onload=alert(1)>", "PHOTO_TYPE_UNKNOWN"),
        (picture("GIF"), "PHOTO_TYPE_UNKNOWN"),
        (_bomb(), "PHOTO_TOO_LARGE"),
        (picture(size=(1200, 1000)), "PHOTO_TOO_LARGE"),
        (picture(size=(400, 400))[:300], "PHOTO_UNREADABLE"),
        (b"\xff\xd8\xff" + b"not a photo" * 50, "PHOTO_UNREADABLE"),
        (b"RIFF\x00\x00\x00\x00WEBP" + bytes(50), "PHOTO_UNREADABLE"),
    ],
)
async def test_what_is_no_photo_is_refused_and_not_stored(blobs, tmp_path, data, reason):
    with pytest.raises(InvalidArgument) as refused:
        await blobs.ingest_photo(data)
    assert refused.value.reason == reason
    assert not [path for path in (tmp_path / "media").rglob("*") if path.is_file()]


async def test_decoding_leaves_the_loop_free(tmp_path):
    blobs = Blobs.open((tmp_path / "media").as_uri(), pixel_limit=50_000_000)
    data, ticks = picture(size=(6000, 6000)), 0
    ingesting = asyncio.ensure_future(blobs.ingest_photo(data))
    while not ingesting.done():
        ticks += 1
        await asyncio.sleep(0.001)
    assert ticks > 5


def test_a_store_that_cannot_be_opened_stops_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError):
        Blobs.open((tmp_path / "file" / "media").as_uri(), pixel_limit=PIXELS)
