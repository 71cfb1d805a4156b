"""Files of `data/`: atomic writers, and one reader for each format.

A file of `data/` is replaced as a whole or not at all, so a reader never sees half of one. The exception is `Journal`
(`adapters.journal`), which only grows. Parquet and JSON carry the md5 of their content: a damaged one is refused.
"""

import errno
import json
import math
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from metaflow_hpo.array_files import read_json_bytes, seal, unseal
from metaflow_hpo.errors import InvalidTableError, listed
from metaflow_hpo.parquet_files import check_parquet, parquet_damage, write_sealed_parquet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TEMPORARY_PATTERN = ".*.tmp"
"""Glob of the temporary files of `write_atomically`; one survives a kill -9 and belongs into `.dvcignore`."""

_LEFT_FILE = re.compile(r"\..+\.[0-9a-f]{32}\.tmp(-journal|-wal|-shm)?")
_LEFT_FOLDER = re.compile(r"\.(?P<name>.+)-[a-z0-9_]{8}|\.[a-z0-9_]{8}\.tmp")
_ABANDONED_S = 3600.0
"""Seconds after which nobody writes any more what nobody has touched: each write takes seconds, or minutes at most."""
_DEEPEST = 3
_NOT_OURS = frozenset(("inbox", "quarantine", "artifacts"))
"""Folders in which others keep folders, perhaps with many files."""

_REMEDY = "Run the step that writes it, or get it with `dvc pull`."
_SWAPS = 20
"""How often a folder is moved into place where another process does the same."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Replace `path` by what `write` puts into a temporary file beside it, or leave it untouched.

    A symbolic or hard link (as DVC's cache makes) is replaced by a file of its own, never written through.

    Args:
        path: The file to write; its folder is created.
        write: Called once with the temporary path, which ends in `.tmp`, so it must not guess a format from the name.

    Raises:
        OSError: If the disk is full or not writable; the old file stays and the temporary one is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def to_jsonable(value: Any) -> Any:
    """Return `value` as what JSON can hold: numpy becomes Python, tuples become lists, NaN and infinities None."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_jsonable(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, str | bytes):
        return [to_jsonable(item) for item in value]
    return str(value) if isinstance(value, Path) else value


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yield an empty folder to be filled; at the end of the block it takes the place of `folder` as a whole.

    Where the block raises, `folder` stays as it was.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        fresh = Path(temporary) / "fresh"
        fresh.mkdir()
        yield fresh
        _swap(fresh, folder, Path(temporary))


def remove_leftovers(data: Path) -> None:
    """Remove what writers below a data folder left that were killed (kill -9, a power cut) an hour ago or earlier.

    A folder that was to be replaced, and whose writer was killed after the old one had been moved away, is put there.
    What may not be removed, as on a disk that is read-only, stays.
    """
    for path in list(_find_leftovers(data)):
        with suppress(OSError):
            _remove_leftover(path)


def _find_leftovers(data: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(data):
        here = Path(place)
        yield from (here / name for name in files if _LEFT_FILE.fullmatch(name))
        yield from (here / name for name in folders if _LEFT_FOLDER.fullmatch(name))
        is_deep = len(here.relative_to(data).parts) >= _DEEPEST or here.name in _NOT_OURS
        folders[:] = [] if is_deep else [name for name in folders if not name.startswith(".")]


def _remove_leftover(path: Path) -> None:
    inside = list(path.rglob("*")) if path.is_dir() else []
    age_s = time.time() - max(one.lstat().st_mtime for one in (path, *inside))
    if age_s < _ABANDONED_S:
        return
    if not path.is_dir():
        path.unlink()
        return
    names = {one.name for one in path.iterdir()}
    swapped = _LEFT_FOLDER.fullmatch(path.name)
    if swapped is not None and swapped["name"] and any(name.startswith("old-") for name in names):
        with suppress(OSError):  # it is there: the new one was moved already, or written again
            (path / "fresh").rename(path.with_name(swapped["name"]))
    elif names - {"fresh"} and not path.name.endswith(".tmp"):
        return  # a folder of somebody else, which is only called alike
    shutil.rmtree(path)


def _swap(fresh: Path, folder: Path, temporary: Path) -> None:
    """Put a folder into the place of another, which may be put there by another process at the same time."""
    for number in range(_SWAPS):
        # Moved away, not deleted: a kill on the way must not leave half of the old one.
        with suppress(FileNotFoundError):
            folder.rename(temporary / f"old-{number}")
        try:
            fresh.rename(folder)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                raise
        else:
            return
    raise InvalidTableError(f"Expected to replace {folder}; other processes do so as well. Try again when they ended.")


@contextmanager
def locked(folder: Path, name: str = ".lock") -> Iterator[None]:
    """Let one process at a time into a folder, which is created, or to what a lock is named after; the others wait."""
    from filelock import FileLock

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / name):
        yield


def write_text(path: Path, text: str) -> None:
    """Write a text atomically, as UTF-8."""
    write_atomically(path, lambda temporary: temporary.write_bytes(text.encode()))


def write_csv(path: Path, frame: pd.DataFrame, float_format: str | None = None) -> None:
    """Write a table as csv without its index, atomically; one for people goes through `neutralise` before."""
    write_atomically(path, lambda temporary: frame.to_csv(temporary, index=False, float_format=float_format))


def neutralise(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table whose texts no spreadsheet takes for formulas: `'` stands before those that begin like one."""
    shown = frame.rename(columns=_neutralise)
    for position, dtype in enumerate(shown.dtypes):
        if dtype.kind == "O":  # texts and categories as well
            shown.isetitem(position, [_neutralise(value) for value in shown.iloc[:, position]])
    return shown


def _neutralise(value: Any) -> Any:
    if not isinstance(value, str) or not value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def write_figure(path: Path, figure: "Figure", dpi: int) -> None:
    """Write a matplotlib figure as a PNG image, atomically."""
    write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=dpi))


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented, standard JSON (NaN and infinities become null), atomically; an object with its md5."""
    plain = to_jsonable(value)
    sealed = seal(plain) if isinstance(plain, dict) else plain
    try:
        text = json.dumps(sealed, indent=2, ensure_ascii=False, allow_nan=False)
        content = text.encode()
    except UnicodeEncodeError:  # the name of a file that is not UTF-8
        content = json.dumps(sealed, indent=2, allow_nan=False).encode()
    write_atomically(path, lambda temporary: temporary.write_bytes(content + b"\n"))


def read_json(path: Path, *, remedy: str = _REMEDY) -> Any:
    """Return the content of a JSON file.

    Args:
        path: The file.
        remedy: What a person does when it is missing or broken, a sentence.

    Raises:
        InvalidTableError: If the file is missing or damaged or is not JSON.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InvalidTableError(f"Expected {path}; there is no such file. {remedy}") from error
    except OSError as error:
        raise InvalidTableError(f"Expected JSON in {path}; found: {error.strerror}. {remedy}") from error
    value = read_json_bytes(content, path, remedy)
    return unseal(value, path, remedy) if isinstance(value, dict) else value


def read_record(path: Path, needed: Sequence[str], *, remedy: str = _REMEDY) -> dict[str, Any]:
    """Return the JSON object that `write_json` has written.

    Args:
        path: The file.
        needed: Keys that it must have.
        remedy: What a person does when it is missing or broken, a sentence.

    Raises:
        InvalidTableError: If the file is missing or damaged, or is another one.
    """
    value = read_json(path, remedy=remedy)
    missing = [name for name in needed if not isinstance(value, dict) or name not in value]
    if missing:
        raise InvalidTableError(f"Expected {listed(missing)} in {path}; found another file. {remedy}")
    return dict(value)


def write_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as parquet (zstd, with its md5), atomically; the same table gives the same bytes.

    Raises:
        InvalidTableError: If the table has a named index, which would be lost, or a column of mixed types.
    """
    import pyarrow as pa

    named = [str(name) for name in frame.index.names if name is not None]
    if named:
        raise InvalidTableError(
            f"{path.name}: the index {named} would be lost; call `reset_index()` on the table first."
        )
    try:
        write_atomically(path, lambda temporary: _write_parquet(temporary, frame))
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise InvalidTableError(f"{path.name}: expected one type in each column; found: {error}.") from error


def read_frame(path: Path, *, remedy: str = _REMEDY) -> pd.DataFrame:
    """Return the table in a parquet file.

    Args:
        path: The file.
        remedy: What a person does when it is missing or damaged, a sentence.

    Raises:
        InvalidTableError: If the file is missing, cut short or damaged.
    """
    with reading_parquet(path, remedy):
        return pd.read_parquet(path, engine="pyarrow", partitioning=None, page_checksum_verification=True)


def read_column(path: Path, name: str, *, remedy: str = _REMEDY) -> list[Any]:
    """Return one column of a parquet file, without reading the others.

    Raises:
        InvalidTableError: If the file is missing, damaged or has no such column.
    """
    import pyarrow.parquet as pq

    with reading_parquet(path, remedy):
        values: list[Any] = pq.ParquetFile(path).read(columns=[name]).column(name).to_pylist()
    return values


def read_column_names(path: Path, *, remedy: str = _REMEDY) -> list[str]:
    """Return the names of a parquet file's columns, without reading these.

    Raises:
        InvalidTableError: If the file is missing or damaged.
    """
    import pyarrow.parquet as pq

    with reading_parquet(path, remedy):
        return list(pq.read_schema(path).names)


@contextmanager
def reading_parquet(path: Path, remedy: str = _REMEDY) -> Iterator[None]:
    """Say what is wrong with a parquet file that is read inside.

    Raises:
        InvalidTableError: If it is missing, cut short or damaged, or has no such column.
    """
    try:
        check_parquet(path, remedy)
        yield
    except FileNotFoundError as error:
        raise InvalidTableError(f"Expected {path}; there is no such file. {remedy}") from error
    except parquet_damage() as error:
        raise InvalidTableError(f"Expected a whole parquet file in {path}; found: {error}. {remedy}") from error


def _write_parquet(path: Path, frame: pd.DataFrame) -> None:
    import pyarrow as pa

    write_sealed_parquet(path, pa.Table.from_pandas(frame, preserve_index=False))


def sync_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system lets a folder be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
