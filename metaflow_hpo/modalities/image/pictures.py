"""Decode one picture: whatever it is kept as, it becomes grey or RGB of 8 bits, the right way up.

References:
    EXIF 2.32, section 4.6.4 A: orientation.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.items.listed import ItemFile

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
MAX_PIXELS = 50_000_000
"""Pixels of a picture above which it is not decoded: 8,192 by 6,144 is fewer."""
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_TOP_OF_16_BIT = 65_535
_ORIENTATION = 0x0112
_UPRIGHT, _TURNED, _SIDEWAYS = 1, range(2, 9), range(5, 9)
"""Values of the EXIF orientation: as it is, turned or mirrored, and of these what changes width for height."""
# What Pillow raises on files that are damaged or made to harm.
_DAMAGE = (
    OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError,
    MemoryError, RuntimeError, struct.error, zlib.error, Warning,
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: `(h, w, c)` uint8; c is 1 (grey) or 3 (RGB).
        marks: What was done to it, of `MARKS`.
    """

    pixels: NDArray[np.uint8]
    marks: frozenset[str]


MARKS = {
    "alpha": "pictures with transparency were laid on white",
    "deep": "pictures of more than 8 bits were scaled to 8",
    "turned": "pictures were turned as their EXIF says",
    "frames": "pictures have several frames, of which the first was taken",
    "printed": "pictures in CMYK were made RGB",
}
"""What may be done to a picture, for notes."""


def measure_picture(file: ItemFile) -> tuple[int, int]:
    """Return height and width of a picture as it is seen, from its head.

    Raises:
        InvalidTaskError: If it is none, or too large to be decoded.
    """
    try:
        with _open(file) as image:
            width, height = image.size
            # Pillow tells the size of a TIFF as it is turned.
            is_sideways = _find_turn(image) in _SIDEWAYS and image.format != "TIFF"
            return (width, height) if is_sideways else (height, width)
    except _DAMAGE as error:
        raise _broken(file, error) from error


def decode_picture(file: ItemFile, size: tuple[int, int]) -> Picture:
    """Return a picture at a size.

    Args:
        file: The picture.
        size: Height and width.

    Raises:
        InvalidTaskError: If it is none, damaged, cut short, or too large to be decoded.
    """
    from PIL import Image

    try:
        with _open(file) as image:
            marks = {"frames"} if getattr(image, "n_frames", 1) > 1 else set()
            image.draft(None, (2 * max(size), 2 * max(size)))  # a JPEG is decoded smaller where that is enough
            plain = _make_plain(_load_upright(image, marks), marks)
        if plain.size != size[::-1]:
            plain = plain.resize(size[::-1], Image.Resampling.BILINEAR)  # its filter widens where a picture shrinks
        pixels = np.asarray(plain, dtype=np.uint8).reshape(*size, -1)
    except InvalidTaskError:
        raise
    except _DAMAGE as error:
        raise _broken(file, error) from error
    return Picture(pixels, frozenset(marks))


def _open(file: ItemFile) -> "Image.Image":
    from PIL import Image

    content = file.read()
    if not content:
        raise InvalidTaskError(f"Expected a picture; {file.name} is empty (0 bytes). Copy it again.")
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InvalidTaskError(
            f"Expected at most {MAX_PIXELS} pixels; {file.name} announces more. Make it smaller."
        ) from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise InvalidTaskError(
            f"Expected at most {MAX_PIXELS} pixels; {file.name} has {width} x {height}. Make it smaller."
        )
    return image


def _load_upright(image: "Image.Image", marks: set[str]) -> "Image.Image":
    from PIL import ImageOps

    turn = _find_turn(image) if image.format == "TIFF" else _UPRIGHT  # loading turns these, and forgets it
    image.load()
    turn = max(turn, _find_turn(image))
    if turn not in _TURNED:
        return image
    marks.add("turned")
    return ImageOps.exif_transpose(image)


def _find_turn(image: "Image.Image") -> int:
    """Return the EXIF orientation; upright where EXIF is damaged, as viewers show such a picture."""
    try:
        found = image.getexif().get(_ORIENTATION, _UPRIGHT)
    except _DAMAGE:
        return _UPRIGHT
    return found if isinstance(found, int) else _UPRIGHT


def _make_plain(image: "Image.Image", marks: set[str]) -> "Image.Image":
    """Return a picture in the mode L or RGB."""
    from PIL import Image

    if image.mode in {"L", "RGB"} and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        marks.add("deep")
        return Image.fromarray(_scale(np.asarray(image)))
    if image.mode in {"RGBA", "LA", "PA", "RGBa", "La"} or "transparency" in image.info:
        coloured = image.convert("RGBA")
        if coloured.getchannel("A").getextrema() == (255, 255):
            return coloured.convert("RGB")
        marks.add("alpha")
        return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert("RGB")
    if image.mode == "CMYK":
        marks.add("printed")
    return image.convert("L" if image.mode == "1" else "RGB")


def _scale(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return numbers of 16 bits, or fractions of [0, 1] or [0, 255], in 8 bits.

    Raises:
        ValueError: If they are outside of that.
    """
    low, high = float(values.min()), float(values.max())
    tops = (1.0, 255.0, _TOP_OF_16_BIT) if values.dtype.kind == "f" else (_TOP_OF_16_BIT,)
    top = next((one for one in tops if high <= one), 0.0)  # none where it is infinite, or no number
    if not top or not low >= 0:
        raise ValueError(f"its numbers are from {low:g} to {high:g}, where [0, 1], [0, 255] or 16 bits were expected")
    return np.rint(values.astype(np.float64) * (255.0 / top)).astype(np.uint8)


def _broken(file: ItemFile, error: BaseException) -> InvalidTaskError:
    if isinstance(error, InvalidTaskError):
        return error
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return InvalidTaskError(
            f"Expected a picture (PNG, JPEG, BMP, GIF, WebP or TIFF); {file.name} is none, or damaged. Remove it, or "
            "save it as PNG."
        )
    return InvalidTaskError(f"Expected a whole picture; {file.name} cannot be decoded ({error}). Copy it again.")
