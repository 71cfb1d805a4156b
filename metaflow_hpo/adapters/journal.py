"""Append-only files of records: the trials of a running search, outcomes, deliveries.

What `append` has returned for is on the disk; a last line that a crash cut short is left out by whoever reads.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metaflow_hpo.adapters.files import sync_folder
from metaflow_hpo.errors import InvalidTableError


@dataclass(frozen=True)
class Journal:
    """An append-only file of records, one JSON object a line, that outlives the process; one writer at a time.

    NaN and infinities are kept (as Python's `NaN`, `Infinity`), as failed trials have no performance.

    Attributes:
        path: The file; it need not exist.
    """

    path: Path

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record; when this returns, the record is on the disk."""
        line = json.dumps(record, default=_plain).encode() + b"\n"
        is_new = not self.path.exists()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            _cut_unfinished_line(file.fileno())
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self.path.parent)

    def read(self) -> list[dict[str, Any]]:
        """Return all records, oldest first; a last line that is not whole is left out.

        Raises:
            InvalidTableError: If a line before the last is not a JSON object.
        """
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            lines = file.readlines()
        records: list[dict[str, Any]] = []
        for number, line in enumerate(lines, start=1):
            record = _parse_line(line)
            if record is not None:
                records.append(record)
            elif number < len(lines):
                raise InvalidTableError(
                    f"{self.path}: expected a JSON object on line {number} of {len(lines)}; found {line[:80]!r}. "
                    "Delete that line to lose one trial, or the file to start the search again."
                )
        return records

    def remove(self) -> None:
        """Delete the file, if there is one."""
        self.path.unlink(missing_ok=True)


def _parse_line(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
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
