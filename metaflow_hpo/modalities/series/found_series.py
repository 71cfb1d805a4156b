"""What a reader of series finds in a file, whatever its format, and how it says what is wrong there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.table.files.delimited import decode

MISSING = frozenset({"", "?", "nan", "na", "null", "none"})
"""What stands for a missing value, in lower case."""


@dataclass(frozen=True)
class FoundSeries:
    """Labelled series in the order of a file.

    Attributes:
        series: Each `(c, t_i)` float32, all with the same channels; NaN where a value is missing.
        labels: The class of each, as it is written there; None where it has none.
        groups: Who or what each belongs to, where the file says so.
        is_test: Which the file itself says are test rows, where it does.
        notes: What was changed on the way in.
        columns: Which columns of a table they were read from: `channels` (their names in order) and `target`.
    """

    series: list[NDArray[np.float32]]
    labels: list[str | None]
    groups: list[object] | None = None
    is_test: list[bool] | None = None
    notes: list[str] = field(default_factory=list)
    columns: Mapping[str, Any] = field(default_factory=dict)


class LineError(ValueError):
    """A line that cannot be read; whoever knows the file's name makes it a message."""

    def __init__(self, expected: str, found: str, remedy: str = "Correct it, or copy the file again.") -> None:
        super().__init__(expected)
        self.expected, self.found, self.remedy = expected, found, remedy

    def on(self, name: str, line: int) -> InvalidTaskError:
        """Return the error with its place."""
        return InvalidTaskError(f"Expected {self.expected} on line {line} of {name}; found {self.found}. {self.remedy}")


def read_lines(path: Any, content: bytes) -> list[tuple[int, str]]:
    """Return the lines of a text that are not blank, each with its number from 1."""
    text, _, _ = decode(path, content)
    return [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]


def read_numbers(fields: list[str]) -> NDArray[np.float32]:
    """Return numbers as they are written, NaN for what stands for a missing one.

    Raises:
        LineError: If one is no finite number.
    """
    try:
        numbers = np.array(fields, np.float64)
    except ValueError:
        numbers = np.array([_read_number(one) for one in fields], np.float64)
    with np.errstate(over="ignore"):
        small = numbers.astype(np.float32)
    if np.isinf(small).any():
        wrong = fields[int(np.flatnonzero(np.isinf(small))[0])].strip()
        raise LineError("finite numbers below 3.4e38", repr(wrong), "Correct it, or write ? for a missing value.")
    return small


def _read_number(text: str) -> float:
    word = text.strip()
    if word.lower() in MISSING:
        return float("nan")
    try:
        return float(word)
    except ValueError as error:
        shown = word if len(word) <= 40 else f"{word[:40]}..."
        raise LineError("numbers", repr(shown), "Correct it, or write ? for a missing value.") from error


def canonical_label(text: str) -> str:
    """Return a class as UCR files write it, as a number: 1, 1.0 and 1.0000000e+00 are one."""
    word = text.strip()
    try:
        number = float(word)
    except ValueError:
        return word
    return str(int(number)) if number.is_integer() and abs(number) < 1e15 else word
