"""Pictures of every sort are read by value: channels, depth, orientation; what is broken is named."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.image.common_size import choose_size
from metaflow_hpo.modalities.image.pictures import decode_picture, measure_picture
from metaflow_hpo.modalities.items.listed import ItemFile

# Four colours, the corners told apart: red, green / blue, white.
CORNERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
COLOURS = CORNERS.repeat(8, axis=0).repeat(12, axis=1)  # 16 high, 24 wide
GREY = np.arange(16 * 24, dtype=np.uint8).reshape(16, 24) % 250


def file_of(content, name="it.png"):
    return ItemFile(name, lambda: content)


def pack(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def decode(content, size=(16, 24), name="it.png"):
    return decode_picture(file_of(content, name), size)


@pytest.mark.parametrize(
    ("form", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("PPM", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 40),
        ("JPEG", {"quality": 95, "subsampling": 0}, 12),
        ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, 12),
        ("GIF", {}, 0),
    ],
)
def test_colours_are_read_from_every_format(form, options, tolerance):
    picture = decode(pack(Image.fromarray(COLOURS), form, **options))
    assert picture.pixels.shape == (16, 24, 3)
    away = np.abs(picture.pixels.astype(int) - COLOURS)
    assert away[[3, 3, 12, 12], [5, 18, 5, 18]].max() <= tolerance
    assert picture.marks == frozenset()


@pytest.mark.parametrize(
    ("form", "tolerance"), [("PNG", 0), ("TIFF", 0), ("BMP", 0), ("PPM", 0), ("JPEG", 6), ("GIF", 0)]
)
def test_grey_is_read_by_value(form, tolerance):
    smooth = np.linspace(0, 249, 24).astype(np.uint8)[None].repeat(16, axis=0)
    picture = decode(pack(Image.fromarray(smooth), form, **({"quality": 95} if form == "JPEG" else {})))
    assert np.abs(picture.pixels.astype(int).mean(axis=2) - smooth).max() <= tolerance


def test_transparency_is_laid_on_white():
    rgba = np.dstack([COLOURS, np.full((16, 24), 255, np.uint8)])
    rgba[:8, :12, 3] = 0
    rgba[8:, :12, 3] = 128
    for form in ("PNG", "WEBP", "TIFF"):
        picture = decode(pack(Image.fromarray(rgba), form, **({"lossless": True} if form == "WEBP" else {})))
        assert picture.pixels[2, 2].tolist() == [255, 255, 255]
        assert np.abs(picture.pixels[12, 2].astype(int) - [127, 127, 255]).max() <= 1
        assert picture.pixels[2, 20].tolist() == [0, 255, 0]
        assert picture.marks == {"alpha"}
    opaque = decode(pack(Image.fromarray(rgba[:8, 12:]), "PNG"), (8, 12))
    assert opaque.marks == frozenset()
    assert opaque.pixels[0, 0].tolist() == [0, 255, 0]


def test_grey_with_transparency_and_palettes_with_it_are_laid_on_white():
    la = np.dstack([np.full((16, 24), 100, np.uint8), np.full((16, 24), 255, np.uint8)])
    la[:, :12, 1] = 0
    picture = decode(pack(Image.fromarray(la), "PNG"))
    assert picture.pixels[0, 0].tolist() == [255] * 3
    assert picture.pixels[0, 20].tolist() == [100] * 3
    palette = Image.fromarray(COLOURS).quantize(4)
    index = palette.getpixel((0, 0))
    for form in ("PNG", "GIF"):
        picture = decode(pack(palette, form, transparency=index))
        assert picture.pixels[0, 0].tolist() == [255, 255, 255]
        assert picture.pixels[0, 20].tolist() == [0, 255, 0]
        assert picture.marks == {"alpha"}


def test_palettes_and_pictures_of_two_tones_are_read():
    picture = decode(pack(Image.fromarray(COLOURS).quantize(4), "PNG"))
    assert np.array_equal(picture.pixels, COLOURS)
    two = decode(pack(Image.fromarray(GREY > 100), "PNG"))
    assert np.array_equal(two.pixels[..., 0], np.where(GREY > 100, 255, 0))


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_16_bits_are_scaled_to_8(form):
    deep = (np.arange(16 * 24).reshape(16, 24) * 170).astype(np.uint16)
    picture = decode(pack(Image.fromarray(deep), form))
    assert np.abs(picture.pixels[..., 0] - deep / 257.0).max() <= 0.5
    assert picture.marks == {"deep"}


def test_numbers_in_0_to_1_are_scaled_and_others_refused():
    floats = np.linspace(0, 1, 16 * 24, dtype=np.float32).reshape(16, 24)
    assert decode(pack(Image.fromarray(floats), "TIFF")).pixels[15, 23, 0] == 255
    with pytest.raises(InvalidTaskError, match=r"it\.png cannot be decoded \(its numbers are from -1 to 1"):
        decode(pack(Image.fromarray(floats * 2 - 1), "TIFF"))


def test_cmyk_is_made_rgb():
    picture = decode(pack(Image.fromarray(COLOURS).convert("CMYK"), "JPEG", quality=95, subsampling=0))
    assert np.abs(picture.pixels[3, 5].astype(int) - [255, 0, 0]).max() < 20
    assert np.abs(picture.pixels[12, 5].astype(int) - [0, 0, 255]).max() < 20
    assert picture.marks == {"printed"}


@pytest.mark.parametrize("orientation", range(2, 9))
def test_pictures_are_turned_as_their_exif_says(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for form, options in (("JPEG", {"quality": 95, "subsampling": 0}), ("PNG", {})):
        content = pack(Image.fromarray(COLOURS), form, exif=exif, **options)
        expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(content))))
        assert measure_picture(file_of(content)) == expected.shape[:2]
        picture = decode(content, expected.shape[:2])
        assert np.array_equal(picture.pixels, expected)
        assert picture.marks == {"turned"}
    turned = {3: [255, 255, 255], 6: [0, 0, 255], 8: [0, 255, 0]}
    if orientation in turned:  # the corner at the top left
        assert picture.pixels[2, 2].tolist() == turned[orientation]


def test_the_first_of_several_frames_is_taken():
    frames = [Image.fromarray(np.full((16, 24, 3), tone, np.uint8)) for tone in (10, 200)]
    for form in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if form == "WEBP" else {}
        picture = decode(pack(frames[0], form, save_all=True, append_images=frames[1:], **options))
        assert picture.pixels.max() == 10
        assert picture.marks == {"frames"}


def test_pictures_are_made_smaller_by_averaging():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    picture = decode(pack(Image.fromarray(stripes), "PNG"), (8, 8))
    assert np.abs(picture.pixels[:, 1:-1].astype(int) - 127).max() <= 8
    assert decode(pack(Image.fromarray(COLOURS), "PNG"), (2, 2)).pixels.shape == (2, 2, 3)


def test_a_large_jpeg_is_decoded_smaller_without_losing_its_places():
    large = COLOURS.repeat(64, axis=0).repeat(64, axis=1)
    picture = decode(pack(Image.fromarray(large), "JPEG", quality=95, subsampling=0), (32, 48))
    assert np.abs(picture.pixels[[8, 8, 24, 24], [12, 36, 12, 36]].astype(int) - CORNERS.reshape(4, 3)).max() < 12


def _chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def _png(width, height, body=b""):
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(body)) + _chunk(b"IEND", b"")


PNG, JPEG = pack(Image.fromarray(COLOURS), "PNG"), pack(Image.fromarray(COLOURS), "JPEG")
NOISE = pack(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), "JPEG")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", r"it\.png is empty \(0 bytes\)"),
        (b"hello, this is text\n" * 20, r"it\.png is none"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", r"it\.png is none"),
        (b"%PDF-1.7\n", r"it\.png is none"),
        (bytes(1000), r"it\.png is none"),
        (b"\x89PNG\r\n\x1a\n", r"it\.png"),
        (PNG[:40], r"it\.png"),
        (PNG[:-30], r"it\.png cannot be decoded"),
        (PNG[:45] + b"\0\0\0\0" + PNG[49:], r"it\.png"),
        (JPEG[:20], r"it\.png"),
        (NOISE[: len(NOISE) // 2], r"it\.png cannot be decoded"),
        (pack(Image.fromarray(COLOURS), "BMP")[:80], r"it\.png cannot be decoded"),
        (pack(Image.fromarray(COLOURS), "TIFF")[:100], r"it\.png"),
        (pack(Image.fromarray(COLOURS), "WEBP")[:40], r"it\.png"),
        (pack(Image.fromarray(COLOURS), "GIF")[:20], r"it\.png"),
        (_png(60_000, 60_000), r"at most 50000000 pixels; it\.png announces more"),
        (_png(8_000, 8_000), r"at most 50000000 pixels; it\.png has 8000 x 8000"),
        (_png(0, 10), r"it\.png"),
        (_png(100, 100, b"\0" * 50), r"it\.png cannot be decoded"),
    ],
)
def test_what_is_broken_is_named(content, match):
    with pytest.raises(InvalidTaskError, match=match):
        decode(content)


def test_a_wrong_suffix_does_not_matter():
    assert np.array_equal(decode(PNG, name="it.jpg").pixels, COLOURS)


def test_the_common_size_is_the_median_made_smaller_alike():
    assert choose_size([(28, 28)] * 3, {}) == (28, 28)
    assert choose_size([(480, 640)] * 3, {}) == (48, 64)
    assert choose_size([(20, 30), (40, 30), (24, 50)], {}) == (24, 30)
    assert choose_size([(3, 5)] * 3, {}) == (8, 8)
    assert choose_size([(9, 900)] * 3, {}) == (8, 64)
    assert choose_size([(480, 640)], {"size": 32}) == (32, 32)
    assert choose_size([(480, 640)], {"size": [16, 24]}) == (16, 24)


@pytest.mark.parametrize("size", ["big", 0, -3, 2.5, True, [8], [8, 9, 10], 5000, None])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(InvalidTaskError, match="Expected the option size as pixels"):
        choose_size([(9, 9)], {"size": size})
