"""Append-only files of records: the trials of a running search, outcomes, deliveries.

What `append` has returned for is on the disk; a last line that a crash cut short is left out by whoever reads.
"""

import json
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from metaflow_hpo.adapters.files import sync_folder
from metaflow_hpo.errors import InvalidTableError

_CHECK = b', "crc32": '
"""What stands before the check sum of a line, which is that of all before it."""


@dataclass(frozen=True)
class Journal:
    """An append-only file of records, one JSON object a line, that outlives the process; several may write to it.

    NaN and infinities are kept (as Python's `NaN`, `Infinity`), as failed trials have no performance. Each line ends
    with its check sum: a damaged one is refused.

    Attributes:
        path: The file; it need not exist.
    """

    path: Path

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record; when this returns, the record is on the disk."""
        line = _check(json.dumps(record, default=_plain).encode())
        is_new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open_alone() as file:
            _cut_unfinished_line(file.fileno())
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self.path.parent)

    def read(self) -> list[dict[str, Any]]:
        """Return all records, oldest first; a last line that is not whole is left out.

        Raises:
            InvalidTableError: If a line before the last is not a JSON object, or any is not what was written.
        """
        try:
            with self.path.open("rb") as file:
                lines = file.readlines()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InvalidTableError(
                f"Expected a file of records in {self.path}; found: {error.strerror}. Move it away."
            ) from error
        records: list[dict[str, Any]] = []
        for number, line in enumerate(lines, start=1):
            record = _parse_line(line)
            if record is not None and _is_as_written(line):
                record.pop("crc32", None)
                records.append(record)
            elif record is not None or number < len(lines):
                raise InvalidTableError(
                    f"{self.path}: expected a JSON object, as it was written, on line {number} of {len(lines)}; found "
                    f"{line[:80]!r}. Delete that line to lose one record, or the file to begin again."
                )
        return records

    @contextmanager
    def _open_alone(self) -> Iterator[BinaryIO]:
        """Open the file for one process at a time; one that was removed meanwhile is opened anew."""
        while True:
            with self.path.open("ab+") as file:
                _lock(file.fileno())
                if _is_still(file.fileno(), self.path):
                    yield file
                    return

    def remove(self) -> None:
        """Delete the file, if there is one."""
        self.path.unlink(missing_ok=True)


def _check(record: bytes) -> bytes:
    start = record[:-1]
    return start + _CHECK + b"%d}\n" % zlib.crc32(start)


def _is_as_written(line: bytes) -> bool:
    """Tell whether a line has the check sum that it ends with; one of an older version has none."""
    start, found, check = line.rpartition(_CHECK)
    return not found or check == b"%d}\n" % zlib.crc32(start)


def _lock(descriptor: int) -> None:
    if os.name == "posix":
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _is_still(descriptor: int, path: Path) -> bool:
    """Tell whether an open file is the one of that name, which another process may have removed."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    opened = os.fstat(descriptor)
    return (opened.st_dev, opened.st_ino) == (there.st_dev, there.st_ino)


def _parse_line(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _cut_unfinished_line(descriptor: int) -> None:
    """Cut what a crash left after the last line end, or the next record would be glued to it."""
    end = os.fstat(descriptor).st_size
    position = end
    while position > 0:
        start = max(position - 65536, 0)
        found = os.pread(descriptor, position - start, start).rfind(b"\n")
        if found >= 0:
            position = start + found + 1
            break
        position = start
    if position < end:
        os.ftruncate(descriptor, position)


def _plain(value: Any) -> Any:
    """Return numpy values, paths and mappings as what `json` knows."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(
        f"A journal record holds numbers, strings, lists and mappings; found {type(value).__name__}: {value!r}."
    )
