"""Read the UCR archive's text files: no header, one series a line, its class first, then a value a step."""

from pathlib import Path

import numpy as np

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.series.found_series import (
    MISSING,
    FoundSeries,
    LineError,
    canonical_label,
    read_lines,
    read_numbers,
)

MIN_STEPS = 8
"""Fewer numbers on a line are rather a table."""


def read_ucr(path: Path, content: bytes) -> FoundSeries:
    """Read the series of a UCR file, whose values are separated by tabs, commas or blanks.

    Args:
        path: Where it is from, for messages.
        content: Its bytes.

    Raises:
        InvalidTaskError: It is none; the message names the line.
    """
    lines = read_lines(path, content)
    if not lines:
        raise InvalidTaskError(f"Expected series; {path.name} holds only blank lines. Save or copy it again.")
    separator = _separator_of(lines[0][1])
    found = FoundSeries([], [])
    for number, line in lines:
        fields = line.split(separator)
        try:
            label, values = _read_line(fields, len(found.series[0][0]) if found.series else 0)
        except LineError as error:
            raise error.on(path.name, number) from error
        found.labels.append(label)
        found.series.append(values)
    return found


def looks_like_ucr(line: str) -> bool:
    """Tell whether a line is a class and at least `MIN_STEPS` values, all of them numbers."""
    fields = [one.strip() for one in line.strip().split(_separator_of(line))]
    return (
        len(fields) > MIN_STEPS
        and _is_number(fields[0])
        and all(_is_number(one) or one.lower() in MISSING for one in fields)
    )


def _read_line(fields: list[str], steps: int) -> tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    label = canonical_label(fields[0])
    if label.lower() in MISSING:
        raise LineError("a class before the values", repr(fields[0]))
    if len(fields) < 2:
        raise LineError("a class and values separated by tabs, commas or blanks", repr(fields[0][:40]))
    if steps and len(fields) - 1 != steps:
        remedy = "Write NaN after the end of shorter series; if it is the last line, the file may be cut short."
        raise LineError(f"{steps} values", str(len(fields) - 1), remedy)
    return label, read_numbers(fields[1:])[None, :]


def _separator_of(line: str) -> str | None:
    return "\t" if "\t" in line.strip() else "," if "," in line else None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
