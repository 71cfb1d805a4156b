"""Read `.arff`, Weka's format, as the UEA & UCR archive writes series: an attribute a step, or a relational one."""

import re
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.series.found_series import (
    MISSING,
    FoundSeries,
    LineError,
    read_lines,
    read_numbers,
)

_ATTRIBUTE = re.compile(r"""@attribute\s+('[^']*'|"[^"]*"|\S+)\s+(.+)""", re.IGNORECASE)
_NUMBERS = ("numeric", "real", "integer")
_LAST_NUMBER = re.compile(r"\d+$")


@dataclass
class _Header:
    """What stands before the data.

    Attributes:
        steps: Names of the attributes that are numbers, in order; of the relational one where it is one.
        relational: Whether values are one quoted attribute, a channel a line in it.
        inside: Whether the lines are of the relational attribute.
        classes: What the last attribute may be; None where that is no list.
        others: Attributes that are neither.
    """

    steps: list[str] = field(default_factory=list)
    relational: bool = False
    inside: bool = False
    classes: set[str] | None = None
    others: list[str] = field(default_factory=list)


def read_arff(path: Path, content: bytes) -> FoundSeries:
    """Read the series of an `.arff` file, whose last attribute is the class.

    Args:
        path: Where it is from, for messages.
        content: Its bytes.

    Raises:
        InvalidTaskError: It is none, or its attributes are not steps and a class; the message names the line.
    """
    header, found, in_data = _Header(), FoundSeries([], []), False
    for number, line in read_lines(path, content):
        if line.startswith("%"):
            continue
        try:
            if in_data:
                _read_line(line, header, found)
            elif line.lower().startswith("@data"):
                in_data = True
                _check(header)
            else:
                _read_header(line, header)
        except LineError as error:
            raise error.on(path.name, number) from error
    if not found.series:
        raise InvalidTaskError(f"Expected series after @data in {path.name}; found none. It may be cut short.")
    return found


def holds_series(lines: list[str]) -> bool:
    """Tell by the first lines of an `.arff` file whether it holds series: a relational attribute, or numbered ones."""
    header = _Header()
    for line in lines:
        try:
            _read_header(line.strip(), header)
        except LineError:
            return False
    if header.relational:
        return True
    numbers = [_LAST_NUMBER.search(name) for name in header.steps]
    places = [int(one.group()) for one in numbers if one]
    return len(numbers) >= 8 and len(places) == len(numbers) and all(b == a + 1 for a, b in pairwise(places))


def _read_header(line: str, header: _Header) -> None:
    if line.lower().startswith("@end"):
        header.inside = False
    if not (read := _ATTRIBUTE.match(line)):
        return
    name, kind = read.group(1).strip("'\""), read.group(2).strip()
    if kind.lower() == "relational":
        header.relational = header.inside = True
    elif kind.lower() in _NUMBERS:
        if header.classes is not None:
            raise LineError("the class as the last attribute", f"{name} after it", "Put the class last.")
        header.steps.append(name)
    elif kind.startswith("{"):
        if header.classes is not None:
            header.others.append(name)
        header.classes = {_unquote(one) for one in kind.strip("{} ").split(",")}
    else:
        header.others.append(f"{name} {kind}")


def _check(header: _Header) -> None:
    if header.others or not header.steps:
        found = f"also {', '.join(header.others[:5])}" if header.others else "no numeric attributes"
        raise LineError("numeric attributes (steps) and a class before", found, "Leave the others out.")
    if header.classes is None:
        raise LineError("a last attribute with classes ({1,2}) before", "none", "Series are put into classes only.")


def _read_line(line: str, header: _Header, found: FoundSeries) -> None:
    if header.relational:
        if line[0] not in "'\"" or (end := line.find(line[0], 1)) < 0:
            raise LineError("a series in quotes and a class", repr(line[:40]))
        channels, label = re.split(r"\\n|\n", line[1:end]), line[end + 1 :].lstrip(" ,")
        values = [read_numbers(one.split(",")) for one in channels]
    else:
        numbers, _, label = line.rpartition(",")
        values = [read_numbers(numbers.split(","))]
    label = _unquote(label)
    if label.lower() in MISSING or (header.classes and label not in header.classes):
        known = ", ".join(sorted(header.classes or ())[:10])
        raise LineError(f"a class among {known} at the end", repr(label[:40]))
    wanted = (len(found.series[0]) if found.series else len(values), len(header.steps))
    got = (len(values), len(values[0]))
    if got != wanted or len({len(one) for one in values}) > 1:
        raise LineError(f"{wanted[0]} channels of {wanted[1]} values", f"{got[0]} of {got[1]}")
    found.series.append(np.stack(values))
    found.labels.append(label)


def _unquote(text: str) -> str:
    return text.strip().strip("'\"").strip()
