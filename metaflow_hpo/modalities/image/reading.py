"""Read a person's pictures as a task: files in folders, listed in a table, or zipped, or arrays."""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.image.array_pictures import as_pictures
from metaflow_hpo.modalities.image.common_size import Size, choose_size
from metaflow_hpo.modalities.image.near import number_near
from metaflow_hpo.modalities.image.pictures import MARKS, SUFFIXES, Picture, decode_picture, measure_picture
from metaflow_hpo.modalities.items.arrays import read_arrays
from metaflow_hpo.modalities.items.assembling import assemble, digest_of
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.items.listed import read_files
from metaflow_hpo.modalities.items.sources import list_items
from metaflow_hpo.task import IMAGE

ARRAY_ENDINGS = (".npz", ".npy")
OPTIONS = {"size", "layout", "range", "path", "group", "split", "root", "key", "labels"}
_CHUNK = 2_000

Pixels = NDArray[np.uint8]


def read_images(source: Path, hints: Hints) -> ItemData:
    """Read pictures with their classes, see `list_items` and `read_arrays`.

    Args:
        source: The file or folder.
        hints: Of its options, `size` sets the size of all pictures; `layout` (`nhwc`, `nchw`) and `range` ([low, high])
            say what arrays cannot.

    Raises:
        InvalidTaskError: If they cannot be a task; the message names the file.
    """
    unknown = sorted(set(hints.options) - OPTIONS)
    if unknown:
        raise InvalidTaskError(f"Expected options among {', '.join(sorted(OPTIONS))} for pictures; found {unknown}.")
    if source.suffix.lower() in ARRAY_ENDINGS:
        return _read_arrays(source, hints)
    found = list_items(source, hints, SUFFIXES)
    sizes, found = read_files(found, measure_picture)
    size = choose_size(sizes, hints.options)
    decoded, found = read_files(found, partial(decode_picture, size=size))
    notes = [*found.notes, *_say_size(sizes, size), *_say_marks(decoded)]
    pixels, said = _stack([picture.pixels for picture in decoded])
    del decoded
    return _assemble(pixels, found.labels, found.groups, found.tell(hints), source, [*notes, *said])


def _read_arrays(source: Path, hints: Hints) -> ItemData:
    found = read_arrays(source, hints)
    pixels, notes = as_pictures(found.x[found.positions], source, hints.options)
    if "size" in hints.options:
        before = pixels.shape[1:3]
        pixels = _resize(pixels, choose_size([], hints.options))
        notes += _say_size([before], pixels.shape[1:3])
    pixels, said = _drop_colour(pixels)
    return _assemble(pixels, found.labels, found.groups, found.tell(hints), source, [*found.notes, *notes, *said])


def _assemble(
    pixels: Pixels,
    labels: Sequence[str | None],
    groups: Sequence[object] | None,
    hints: Hints,
    source: Path,
    notes: Sequence[str],
) -> ItemData:
    shape = np.array(pixels.shape[1:], dtype="<i8").tobytes()
    digests = [digest_of(shape, picture.tobytes()) for picture in pixels]
    near = number_near(pixels)
    return assemble(
        pixels, labels, digests, hints=hints, source=source, modality=IMAGE, groups=groups, notes=notes, near=near
    )


def _stack(pictures: list[Pixels]) -> tuple[Pixels, list[str]]:
    """Return pictures as one array, all grey or all RGB."""
    coloured = sum(picture.shape[2] == 3 for picture in pictures)
    channels = 3 if coloured else 1
    stacked = np.empty((len(pictures), *pictures[0].shape[:2], channels), dtype=np.uint8)
    for place, picture in zip(stacked, pictures, strict=True):
        place[...] = picture  # a grey one fills all three
    plain, notes = _drop_colour(stacked)
    if plain.shape[3] == 3 and coloured < len(pictures):
        notes.append(f"Made {len(pictures) - coloured} grey pictures RGB, as the others are.")
    return plain, notes


def _drop_colour(pixels: Pixels) -> tuple[Pixels, list[str]]:
    """Return pictures in grey where all three channels are equal in all of them."""
    if pixels.shape[3] == 1:
        return pixels, []
    for start in range(0, len(pixels), _CHUNK):
        part = pixels[start : start + _CHUNK]
        if (part[..., 0] != part[..., 1]).any() or (part[..., 0] != part[..., 2]).any():
            return pixels, []
    return np.ascontiguousarray(pixels[..., :1]), ["Made the pictures grey: all their channels are equal."]


def _resize(pixels: Pixels, size: Size) -> Pixels:
    from PIL import Image

    resized = np.empty((len(pixels), *size, pixels.shape[3]), dtype=np.uint8)
    for place, picture in zip(resized, pixels, strict=True):
        image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
        place[...] = np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)).reshape(place.shape)
    return resized


def _say_size(sizes: Iterable[Any], size: Size) -> list[str]:
    different = set(map(tuple, sizes))
    if different == {tuple(size)}:
        return []
    from_sizes = "{} x {}".format(*different.pop()) if len(different) == 1 else f"{len(different)} sizes"
    return [f"Made the pictures {size[0]} x {size[1]} pixels, from {from_sizes} (height x width)."]


def _say_marks(pictures: Iterable[Picture]) -> list[str]:
    counts = Counter(mark for picture in pictures for mark in picture.marks)
    return [f"{counts[mark]} {text}." for mark, text in MARKS.items() if counts[mark]]
