"""Items in files of numpy: arrays of items beside their classes, as npz or npy. Nothing is ever unpickled."""

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.table.columns import as_text
from metaflow_hpo.modalities.table.files.unpacking import find_limit

ITEM_NAMES = ("x", "images", "image", "data", "wave", "waves", "audio", "series", "inputs", "features")
CLASS_NAMES = ("y", "labels", "label", "target", "targets", "class")
GROUP_NAMES = ("group", "groups", "speaker", "speakers", "subject", "subjects")
_NAMES_OF_CLASSES = ("names", "class_names", "label_names", "classes")
_SIDES = ("train", "test")
_DAMAGE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError, MemoryError)

Array = NDArray[Any]


@dataclass(frozen=True)
class ArrayItems:
    """What a file of arrays says of its items.

    Attributes:
        arrays: All arrays of the file, by name.
        x: The array of items; `(N, ...)` where it has a line an item.
        positions: `(n,)` of the items that are in the task.
        labels: `(n,)` their classes; None where there is none.
        groups: `(n,)` numbers, -1 where unknown; None where the file has none.
        held: `(n,)` True on those to hold out for the test; None where nothing says so.
        notes: What was taken for what.
    """

    arrays: Mapping[str, Array]
    x: Array
    positions: NDArray[np.intp]
    labels: tuple[str | None, ...]
    groups: tuple[object, ...] | None
    held: NDArray[np.bool_] | None
    notes: tuple[str, ...]

    def tell(self, hints: Hints) -> Hints:
        """Return the hints with the items that are held out, by their places in the task."""
        test_rows = None if self.held is None else tuple(np.flatnonzero(self.held).tolist())
        return hints.model_copy(update={"test_rows": test_rows})


def read_arrays(source: Path, hints: Hints, names: Sequence[str] = ITEM_NAMES) -> ArrayItems:
    """Return the items of an npz, or of an npy with another one of the classes beside it.

    Args:
        source: `.npz` with an array of items (`X`, `images`, `wave`, ...) and one of classes (`y`, `labels`, ...), or
            both as `x_train`, `y_train`, `x_test`, `y_test`. One with several sets of classes has them as `y_<key>`,
            -1 where an item is in none, and perhaps their names as `names_<key>`. `.npy` has its classes in `y.npy`,
            `labels.npy` or `<name>_labels.npy`.
        hints: `options: {key: ...}` says which classes; `options: {labels: ...}` the file of classes beside an npy.
        names: What the array of items may be called.

    Raises:
        InvalidTaskError: If it is not that; the message names the arrays that are there.
    """
    arrays, sides = _join_sides(source, load_arrays(source, hints))
    x_name = _find_items(source, arrays, names)
    y_name, key = _find_classes(source, arrays, hints)
    codes = _as_codes(source, y_name, arrays[y_name])
    labels = _name(codes, _names_of_classes(arrays, key, codes), has_others=bool(key))
    count = len(labels)
    positions = np.flatnonzero([label is not None for label in labels]) if key else np.arange(count)
    if x_name not in {"wave", "waves", "audio"} and len(arrays[x_name]) != count:
        raise InvalidTaskError(
            f"Expected as many classes as items in {source.name}; {x_name!r} has {len(arrays[x_name])} and {y_name!r} "
            f"has {count}. Write both for the same items."
        )
    groups = next((arrays[name] for name in arrays if name.lower() in GROUP_NAMES and len(arrays[name]) == count), None)
    held = _hold_out(source, sides, hints, count)
    notes = [f"Took the array {x_name!r} as items and {y_name!r} as classes."]
    if len(positions) < count:
        notes.append(f"{count - len(positions)} items of the file are not in this task.")
    return ArrayItems(
        arrays,
        arrays[x_name],
        positions,
        tuple(labels[p] for p in positions.tolist()),
        None if groups is None else tuple(groups[positions].tolist()),
        None if held is None else held[positions],
        tuple(notes),
    )


def load_arrays(source: Path, hints: Hints) -> dict[str, Array]:
    """Return all arrays of an npz, or an npy as `x` with its classes as `y`.

    Raises:
        InvalidTaskError: If the file is not there, damaged, too large once it is unpacked, or holds Python objects.
    """
    if not source.is_file():
        raise InvalidTaskError(f"Expected an npz or npy file; there is no {source}. Check the name and the folder.")
    try:
        if source.suffix.lower() == ".npz":
            _check_size(source)
            with np.load(source, allow_pickle=False) as file:
                return {name: file[name] for name in file.files}
        return {"x": np.load(source, allow_pickle=False), "y": np.load(_labels_of(source, hints), allow_pickle=False)}
    except _DAMAGE as error:
        raise InvalidTaskError(
            f"Expected whole arrays of numbers or text in {source}; found: {error}. Save them again with numpy; "
            "texts as `np.array(texts, dtype=str)`."
        ) from error


def shapes_of(source: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and type of the arrays of an npz or npy, by name, from their heads alone; none if it is broken."""
    try:
        if source.suffix.lower() == ".npy":
            with source.open("rb") as file:
                return {"x": _read_head(file)}
        with zipfile.ZipFile(source) as archive:
            return dict(_read_heads(archive))
    except _DAMAGE:
        return {}


def _read_heads(archive: zipfile.ZipFile) -> Iterator[tuple[str, tuple[tuple[int, ...], np.dtype[Any]]]]:
    for name in archive.namelist():
        if name.endswith(".npy"):
            with archive.open(name) as member:
                yield name.removesuffix(".npy"), _read_head(member)


def _read_head(file: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def _check_size(source: Path) -> None:
    with zipfile.ZipFile(source) as archive:
        size = sum(one.file_size for one in archive.infolist())
    if size > (limit := find_limit(source)):
        raise InvalidTaskError(
            f"Expected at most {limit} bytes unpacked; {source.name} ({source.stat().st_size} bytes) announces {size}. "
            "Take a part of its items."
        )


def _labels_of(source: Path, hints: Hints) -> Path:
    named = hints.options.get("labels")
    usual = [f"{source.stem}_labels.npy", *(f"{name}.npy" for name in CLASS_NAMES)]
    there = [source.with_name(name) for name in ([str(named)] if named else usual)]
    found = next((path for path in there if path.is_file() and path != source), None)
    if found is None:
        raise InvalidTaskError(
            f"Expected the classes of {source.name} beside it, as {', '.join(path.name for path in there[:3])}; there "
            "is none. Write `options: {labels: <file>}` into its sidecar, or save items and classes as one npz."
        )
    return found


def _join_sides(source: Path, arrays: dict[str, Array]) -> tuple[dict[str, Array], NDArray[np.bool_] | None]:
    """Join `x_train` and `x_test`, and what else is called so, and return which items are of the second."""
    plain = {name.lower(): name for name in arrays}
    stems = [name.removesuffix("_train") for name in plain if name.endswith("_train") and f"{name[:-5]}test" in plain]
    if not stems:
        return arrays, None
    joined: dict[str, Array] = {}
    counts: set[tuple[int, int]] = set()
    for stem in stems:
        train, test = (arrays[plain[f"{stem}_{side}"]] for side in _SIDES)
        if train.shape[1:] != test.shape[1:]:
            raise InvalidTaskError(
                f"Expected training and test items alike in {source.name}; {stem}_train has the shape {train.shape} "
                f"and {stem}_test {test.shape}."
            )
        joined[stem] = np.concatenate([train, test])
        counts.add((len(train), len(test)))
    if len(counts) > 1:
        raise InvalidTaskError(
            f"Expected as many classes as items on each side in {source.name}; found {sorted(counts)}."
        )
    of_train, of_test = counts.pop()
    return joined, np.arange(of_train + of_test) >= of_train


def _find_items(source: Path, arrays: Mapping[str, Array], names: Sequence[str]) -> str:
    found = next((name for wanted in names for name in arrays if name.lower() == wanted), None)
    if found is None:
        raise InvalidTaskError(
            f"Expected an array of items called X in {source.name} (or {', '.join(names[1:])}); it has "
            f"{listed(list(arrays), 20)}. Save it under such a name."
        )
    return found


def _find_classes(source: Path, arrays: Mapping[str, Array], hints: Hints) -> tuple[str, str]:
    """Return the array of classes, and its key where the file has several."""
    keys = [name[2:] for name in arrays if name.startswith("y_")]
    wanted = hints.options.get("key", hints.target)
    if wanted is not None:
        for name, key in ((f"y_{wanted}", str(wanted)), (str(wanted), "")):
            if name in arrays:
                return name, key
        raise InvalidTaskError(
            f"Expected the classes y_{wanted} in {source.name}; it has {listed(keys or list(arrays), 20)}. Choose one "
            "of these."
        )
    plain = next((name for one in CLASS_NAMES for name in arrays if name.lower() == one), None)
    if plain is not None:
        return plain, ""
    if len(keys) == 1:
        return f"y_{keys[0]}", keys[0]
    raise InvalidTaskError(
        f"Expected one array of classes in {source.name}, called y or labels; it has "
        + (
            f"several: {listed(keys, 20)}. Say which: `options: {{key: {keys[0]}}}`."
            if keys
            else f"{listed(list(arrays), 20)}."
        )
    )


def _as_codes(source: Path, name: str, y: Array) -> Array:
    """Return classes as one value an item."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim == 2 and y.dtype.kind in "buif" and np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all():
        return np.asarray(y.argmax(axis=1))
    if y.ndim != 1:
        raise InvalidTaskError(
            f"Expected one class an item in {source.name}; {name!r} has the shape {y.shape}. Write a number or name "
            "each."
        )
    return y


def _names_of_classes(arrays: Mapping[str, Array], key: str, codes: Array) -> Array | None:
    wanted = [f"names_{key}"] if key else list(_NAMES_OF_CLASSES)
    names = next((arrays[name] for name in wanted if name in arrays), None)
    if names is None or names.ndim != 1 or codes.dtype.kind not in "ui" or len(codes) == 0:
        return None
    return names if codes.max() < len(names) and codes.min() >= (-1 if key else 0) else None


def _name(codes: Array, names: Array | None, *, has_others: bool) -> list[str | None]:
    """Return the name of each class; None where there is none: of NaN, and of -1 where a file has several tasks."""
    if names is not None:
        return [None if code < 0 else str(names[code]) for code in codes.tolist()]
    if codes.dtype.kind == "S":
        codes = np.char.decode(codes, "utf-8", "replace")
    none = np.isnan(codes) if codes.dtype.kind == "f" else np.zeros(len(codes), dtype=bool)
    if has_others and codes.dtype.kind in "if":
        none |= codes == -1
    return [None if is_none else as_text(code) for code, is_none in zip(codes.tolist(), none.tolist(), strict=True)]


def _hold_out(source: Path, sides: NDArray[np.bool_] | None, hints: Hints, count: int) -> NDArray[np.bool_] | None:
    if hints.test_rows is None:
        return sides
    wrong = [row for row in hints.test_rows if row >= count]
    if wrong:
        raise InvalidTaskError(f"Expected test_rows below {count}, the items of {source.name}; found {listed(wrong)}.")
    return np.isin(np.arange(count), hints.test_rows)
