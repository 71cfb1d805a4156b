"""What people see of a task: some training items of some classes, as one picture with a row a class."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.modalities.items.item_data import ItemData

if TYPE_CHECKING:
    from PIL import Image

CLASSES, EACH = 8, 8
"""Rows and columns of a sheet at most."""
_GAP, _MARGIN, _LINE = 4, 120, 14
_LETTERS = 18
_INK = 60

Picture = NDArray[np.uint8]
"""`(h, w)` grey or `(h, w, 3)`."""


def choose_shown(data: ItemData) -> list[tuple[str, list[int]]]:
    """Return names of classes, the most frequent first, each with positions of its first training items."""
    counts = np.bincount(data.train_target, minlength=len(data.class_names))
    chosen = np.argsort(-counts, kind="stable")[:CLASSES]
    found = [(data.class_names[c], np.flatnonzero((data.target == c) & ~data.is_test)[:EACH].tolist()) for c in chosen]
    return [(name, positions) for name, positions in found if positions]


def make_sheet(data: ItemData, draw: Callable[[int], Picture], side: int = 64) -> bytes:
    """Return a contact sheet as PNG.

    Args:
        data: The task.
        draw: Returns an item, by its position, as a picture of any size.
        side: Pixels of a place's longer side.
    """
    from PIL import Image, ImageDraw

    rows = [(name, [_fit(draw(position), side) for position in positions]) for name, positions in choose_shown(data)]
    height = _GAP + max(picture.height for _, pictures in rows for picture in pictures)
    sheet = Image.new("RGB", (_MARGIN + EACH * (side + _GAP), len(rows) * height + _GAP), "white")
    pen = ImageDraw.Draw(sheet)
    for row, (name, pictures) in enumerate(rows):
        top = _GAP + row * height
        pen.text((_GAP, top + (height - _LINE) // 2), name[:_LETTERS], fill="black")
        for column, picture in enumerate(pictures):
            sheet.paste(picture, (_MARGIN + column * (side + _GAP), top))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def _fit(pixels: Picture, side: int) -> "Image.Image":
    """Return a picture whose longer side has so many pixels."""
    from PIL import Image

    picture = Image.fromarray(pixels).convert("RGB")
    scale = side / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    return picture.resize(size, Image.Resampling.NEAREST)


def draw_curves(values: NDArray[np.float32], height: int = 64, width: int = 128) -> Picture:
    """Return the curves of a series `(c, t)`, all of them in one picture; what is missing is left out."""
    picture = np.full((height, width), 255, dtype=np.uint8)
    steps = values.shape[1]
    at = np.clip((np.arange(width) * steps) // width, 0, max(steps - 1, 0))
    for curve in values:
        known = np.isfinite(curve)
        if not known.any():
            continue
        low, high = float(curve[known].min()), float(curve[known].max())
        share = (curve[at] - low) / ((high - low) or 1.0)
        ends = np.round((1 - np.nan_to_num(share)) * (height - 1)).astype(np.int64)
        for x in np.flatnonzero(np.isfinite(share)):
            before = ends[x - 1] if x and np.isfinite(share[x - 1]) else ends[x]
            picture[min(before, ends[x]) : max(before, ends[x]) + 1, x] = _INK
    return picture


def draw_spectrogram(wave: NDArray[np.float32], width: int = 96) -> Picture:
    """Return the spectrogram of a recording, `(h, w)`: low tones below, loud ones dark."""
    window = 256
    padded = np.pad(wave, (0, max(0, window - len(wave))))
    starts = np.linspace(0, len(padded) - window, width).round().astype(np.int64)
    frames = padded[starts[:, None] + np.arange(window)] * np.hanning(window)
    power = np.log10(np.abs(np.fft.rfft(frames, axis=1)) ** 2 + 1e-10)[:, : window // 2]
    share = np.clip((power - (power.max() - 6)) / 6, 0, 1)  # of 60 dB
    return np.asarray(np.round(255 * (1 - share.T[::-2])), dtype=np.uint8)
