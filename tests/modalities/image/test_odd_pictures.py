"""Files that cameras, scanners, phones and old programs write are read by value, or refused by name."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.image.pictures import measure_picture
from tests.modalities.image.test_pictures import COLOURS, GREY, decode, file_of, pack

WIDE = np.repeat(COLOURS[:, :, :1], 3, axis=2)  # grey, though in colour
RAMP = np.arange(16 * 24, dtype=np.uint8).reshape(16, 24)  # every value of a byte
SEE_THROUGH = np.where(np.arange(24) < 12, 0, 255).astype(np.uint8)[None].repeat(16, axis=0)
ON_WHITE = np.where(SEE_THROUGH == 255, RAMP, 255)


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(samples, bits, kind, *, more=b"", adam7=False):
    """Return a PNG of samples `(h, w)` or `(h, w, c)`, which Pillow itself would not write."""
    height, width = samples.shape[:2]
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [samples[y::dy, x::dx] for y, x, dy, dx in passes] if adam7 else [samples]
    rows = b"".join(b"\0" + pack_row(row.reshape(-1), bits) for part in parts for row in part)
    head = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, adam7)
    body = chunk(b"IHDR", head) + more + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def pack_row(row, bits):
    if bits == 16:
        return row.astype(">u2").tobytes()
    if bits == 8:
        return row.astype(np.uint8).tobytes()
    each = (row[:, None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(each.reshape(-1).astype(np.uint8)).tobytes()


def bmp(*, top_down=False, bits=24):
    """Return the colours as a BMP of 24 bits, or of 16 (5, 6, 5)."""
    rows = COLOURS if top_down else COLOURS[::-1]
    if bits == 16:
        red, green, blue = (rows[..., c].astype(np.uint16) for c in range(3))
        body = ((red >> 3) << 11 | (green >> 2) << 5 | blue >> 3).astype("<u2").tobytes()
        masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    else:
        body, masks = rows[..., ::-1].tobytes(), b""
    height = -16 if top_down else 16
    info = struct.pack("<IiiHHIIiiII", 40, 24, height, 1, bits, 3 if masks else 0, len(body), 0, 0, 0, 0)
    start = 14 + len(info) + len(masks)
    return b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start) + info + masks + body


def tiff(image, **tags):
    info = ImageFileDirectory_v2()
    for number, value in tags.items():
        info[int(number.removeprefix("tag"))] = value
    return pack(image, "TIFF", tiffinfo=info)


def with_exif(form, orientation, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return pack(Image.fromarray(COLOURS), form, exif=exif, **options)


def of_phone():
    """Return a picture with a smaller one behind it, as phones write them."""
    small = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    options = {"quality": 95, "subsampling": 0}
    return pack(Image.fromarray(COLOURS), "MPO", save_all=True, append_images=[small], **options)


PNG, JPEG = pack(Image.fromarray(COLOURS), "PNG"), pack(Image.fromarray(COLOURS), "JPEG", quality=95, subsampling=0)
PALETTE = chunk(b"PLTE", bytes([255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255]))
NUMBERS = np.repeat(np.repeat(np.array([[0, 1], [2, 3]]), 8, axis=0), 12, axis=1)
FIRST_GONE = np.where(NUMBERS[..., None] == 0, 255, COLOURS)

CASES = {
    "16 bits a colour": (png(COLOURS.astype(int) * 257, 16, 2), COLOURS, 0, ""),
    "16 bits a colour with opacity": (
        png(np.dstack([RAMP, RAMP, RAMP, SEE_THROUGH]).astype(int) * 257, 16, 6),
        ON_WHITE[..., None].repeat(3, axis=2),
        0,
        "alpha",
    ),
    "16 bits of grey with opacity": (
        png(np.dstack([RAMP, SEE_THROUGH]).astype(int) * 257, 16, 4),
        ON_WHITE[..., None].repeat(3, axis=2),
        0,
        "alpha",
    ),
    "1 bit of grey": (png(RAMP > 99, 1, 0), np.where(RAMP > 99, 255, 0), 0, ""),
    "2 bits of grey": (png(RAMP // 64, 2, 0), RAMP // 64 * 85, 0, ""),
    "4 bits of grey": (png(RAMP // 16, 4, 0), RAMP // 16 * 17, 0, ""),
    "grey of which one tone is transparent": (
        png(RAMP, 8, 0, more=chunk(b"tRNS", struct.pack(">H", 7))),
        np.where(RAMP == 7, 255, RAMP)[..., None].repeat(3, axis=2),
        0,
        "alpha",
    ),
    "a palette of 2 bits": (png(NUMBERS, 2, 3, more=PALETTE), COLOURS, 0, ""),
    "a palette with a transparent colour": (
        png(NUMBERS, 8, 3, more=PALETTE + chunk(b"tRNS", b"\0")),
        FIRST_GONE,
        0,
        "alpha",
    ),
    "interlaced": (png(COLOURS, 8, 2, adam7=True), COLOURS, 0, ""),
    "a gamma of 1": (png(COLOURS, 8, 2, more=chunk(b"gAMA", struct.pack(">I", 100_000))), COLOURS, 0, ""),
    "an unknown chunk": (png(COLOURS, 8, 2, more=chunk(b"teSt", b"x" * 99)), COLOURS, 0, ""),
    "bytes after the end of a png": (PNG + b"\0" * 5_000, COLOURS, 0, ""),
    "bytes after the end of a jpeg": (JPEG + b"trailing" * 99, COLOURS, 12, ""),
    "a jpeg in grey": (pack(Image.fromarray(COLOURS[..., 0]), "JPEG", quality=95), COLOURS[..., 0], 6, ""),
    "a jpeg with a profile of colours": (
        pack(Image.fromarray(COLOURS), "JPEG", quality=95, subsampling=0, icc_profile=b"x" * 200),
        COLOURS,
        12,
        "",
    ),
    "two pictures of a phone in one": (of_phone(), COLOURS, 12, "frames"),
    "exif that says it is upright": (with_exif("JPEG", 1, quality=95, subsampling=0), COLOURS, 12, ""),
    "exif that says nothing sensible": (with_exif("PNG", 9), COLOURS, 0, ""),
    "exif that is none": (pack(Image.fromarray(COLOURS), "PNG", exif=b"Exif\0\0broken"), COLOURS, 0, ""),
    "exif of a webp": (with_exif("WEBP", 3, lossless=True), COLOURS[::-1, ::-1], 0, "turned"),
    "a tiff that is to be turned": (tiff(Image.fromarray(COLOURS), tag274=3), COLOURS[::-1, ::-1], 0, "turned"),
    "a tiff where white is 0": (tiff(Image.fromarray(GREY), tag262=0), GREY, 0, ""),
    "a tiff of 16 bits, the high one first": (
        pack(Image.fromarray(RAMP.astype(">u2") * 257), "TIFF"),
        RAMP,
        0,
        "deep",
    ),
    "a tiff of 32 bits": (pack(Image.fromarray(RAMP.astype(np.int32) * 257), "TIFF"), RAMP, 0, "deep"),
    "a tiff of fractions to 255": (pack(Image.fromarray(RAMP.astype(np.float32)), "TIFF"), RAMP, 0, "deep"),
    "a tiff in cmyk": (pack(Image.fromarray(COLOURS).convert("CMYK"), "TIFF"), COLOURS, 0, "printed"),
    "a tiff in ycbcr": (pack(Image.fromarray(WIDE).convert("YCbCr"), "TIFF"), WIDE, 2, ""),
    "a tiff in lab": (
        pack(Image.merge("LAB", [Image.new("L", (24, 16), 255), *[Image.new("L", (24, 16), 128)] * 2]), "TIFF"),
        np.full((16, 24, 3), 255),
        1,
        "",
    ),
    "a pgm of 16 bits": (b"P5 24 16 65535\n" + (RAMP.astype(">u2") * 257).tobytes(), RAMP, 0, "deep"),
    "a pgm to 100": (b"P5\n# made by hand\n24 16\n100\n" + (RAMP % 101).tobytes(), (RAMP % 101) * 2.55, 1, ""),
    "a pgm in letters": (b"P2 24 16 255\n" + " ".join(map(str, RAMP.ravel())).encode(), RAMP, 0, ""),
    "a pbm in letters": (
        b"P1 24 16\n" + " ".join(str(int(v > 99)) for v in RAMP.ravel()).encode(),
        np.where(RAMP > 99, 0, 255),
        0,
        "",
    ),
    "a bmp from top to bottom": (bmp(top_down=True), COLOURS, 0, ""),
    "a bmp of 16 bits": (bmp(bits=16), COLOURS, 0, ""),
    "a bmp with opacity that is nowhere": (
        pack(Image.fromarray(np.dstack([COLOURS, np.full((16, 24), 255, np.uint8)])), "BMP"),
        COLOURS,
        0,
        "",
    ),
    "a webp that moves, with opacity": (
        pack(
            Image.fromarray(np.dstack([COLOURS, SEE_THROUGH])),
            "WEBP",
            lossless=True,
            save_all=True,
            append_images=[Image.new("RGBA", (24, 16))],
        ),
        np.where(SEE_THROUGH[..., None] == 255, COLOURS, 255),
        0,
        "alpha frames",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_odd_files_are_read_by_value(name):
    content, expected, tolerance, marks = CASES[name]
    picture = decode(content)
    wanted = expected[..., None] if expected.ndim == 2 else expected
    assert picture.pixels.shape == (16, 24, wanted.shape[2])
    away = np.abs(picture.pixels.astype(float) - wanted)
    inside = away[[3, 3, 12, 12], [5, 18, 5, 18]] if tolerance > 2 else away
    assert inside.max() <= tolerance
    assert picture.marks == set(marks.split())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_is_measured_and_decoded_as_it_is_turned(orientation):
    content = tiff(Image.fromarray(COLOURS), tag274=orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = decode(pack(Image.fromarray(COLOURS), "PNG", exif=exif), (24, 16) if orientation > 4 else (16, 24))
    assert measure_picture(file_of(content)) == expected.pixels.shape[:2]
    turned = decode(content, expected.pixels.shape[:2])
    assert np.array_equal(turned.pixels, expected.pixels)
    assert turned.marks == expected.marks


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (tiff(Image.fromarray(np.full((16, 24), np.nan, np.float32))), "its numbers are from nan to nan"),
        (tiff(Image.fromarray(np.full((16, 24), np.inf, np.float32))), "its numbers are from inf to inf"),
        (tiff(Image.fromarray(np.full((16, 24), 70_000, np.int32))), "its numbers are from 70000 to 70000"),
        (tiff(Image.fromarray(np.full((16, 24), -1, np.int32))), "its numbers are from -1 to -1"),
        (png(RAMP, 8, 0).replace(b"IDAT", b"IDAX"), r"it\.png"),
        (b"GIF89a" + struct.pack("<HHBBB", 60_000, 60_000, 0, 0, 0) + b";", r"it\.png"),
        (b"P5 60000 60000 255\n", r"at most 50000000 pixels"),
        (b"P5 -4 4 255\n" + bytes(16), r"it\.png"),
        (b"BM" + bytes(60), r"it\.png"),
        (b"II*\0\xff\xff\xff\xff", r"it\.png"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", r"it\.png"),
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", r"it\.png is none"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", r"it\.png is none"),
        (b"\0\0\0\x20ftypheic" + bytes(100), r"it\.png is none"),
        (zlib.compress(bytes(1_000_000)), r"it\.png is none"),
        (PNG.replace(b"IDAT", b"zTXt" + b"k\0\0" + zlib.compress(bytes(80_000_000)) + b"IDAT", 1), r"it\.png"),
    ],
)
def test_what_is_no_picture_or_would_be_guessed_is_refused_by_name(content, match):
    with pytest.raises(InvalidTaskError, match=match):
        decode(content)
