"""Read `.ts`: the text format of sktime and aeon, a header of `@` lines, then one series a line, channels split by `:`.

References:
    The format of the UEA & UCR archive, https://www.aeon-toolkit.org/en/stable/examples/datasets/data_loading.html
"""

from pathlib import Path

import numpy as np

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.series.found_series import FoundSeries, LineError, read_lines, read_numbers

_FLAGS = {"true": True, "false": False}


def read_ts(path: Path, content: bytes) -> FoundSeries:
    """Read the series of a `.ts` file; they have no classes where it says `@classLabel false`.

    Args:
        path: Where it is from, for messages.
        content: Its bytes.

    Raises:
        InvalidTaskError: It is none, has numbers to predict or time stamps; the message names the line.
    """
    header: dict[str, list[str]] = {}
    found = FoundSeries([], [])
    in_data = False
    for number, line in read_lines(path, content):
        if line.startswith("#") or line.startswith("%"):
            continue
        if not in_data:
            if not line.startswith("@"):
                raise InvalidTaskError(
                    f"Expected lines with @ before @data in {path.name}; found {line[:40]!r} on line {number}. "
                    "Save it as .ts with a header (@classLabel true 1 2, @data)."
                )
            key, *values = line[1:].split()
            in_data = key.lower() == "data"
            header[key.lower()] = values
            if in_data:
                _check_header(path, header)
            continue
        try:
            _read_line(line, header, found)
        except LineError as error:
            raise error.on(path.name, number) from error
    if not found.series:
        raise InvalidTaskError(f"Expected series after @data in {path.name}; found none. It may be cut short.")
    return found


def _flag(header: dict[str, list[str]], key: str) -> bool | None:
    values = header.get(key) or [""]
    return _FLAGS.get(values[0].lower())


def _check_header(path: Path, header: dict[str, list[str]]) -> None:
    if _flag(header, "timestamps"):
        raise InvalidTaskError(
            f"Expected series of equally spaced steps; {path.name} has time stamps (@timeStamps true). Bring them to "
            "equal steps and leave the stamps out, or give a table of id, time, value and label (--modality series)."
        )
    if _flag(header, "targetlabel"):
        raise InvalidTaskError(
            f"Expected classes; {path.name} has numbers to predict (@targetLabel true), which no learner of series "
            "does. Put them into classes."
        )
    if _flag(header, "classlabel") is None:
        raise InvalidTaskError(
            f"Expected `@classLabel true 1 2` (each series ends with its class) or `@classLabel false` in {path.name}; "
            f"found {' '.join(['@classLabel', *header.get('classlabel', ['nowhere'])])}. Add it to the header."
        )


def _read_line(line: str, header: dict[str, list[str]], found: FoundSeries) -> None:
    if "(" in line.split(":", maxsplit=1)[0]:
        raise LineError("values without time stamps", repr(line[:40]), "Leave the stamps out.")
    channels, label = line.split(":"), None
    if _flag(header, "classlabel"):
        label = _check_class(channels.pop().strip(), header["classlabel"][1:])
    if not channels:
        raise LineError("channels and a class separated by `:`", repr(line[:40]))
    values = [read_numbers(channel.split(",")) for channel in channels]
    wanted = len(found.series[0]) if found.series else _announced(header, "dimensions", len(values))
    if len(values) != wanted:
        raise LineError(f"{wanted} channels", str(len(values)))
    lengths = sorted({len(one) for one in values})
    if _flag(header, "equallength"):
        announced = _announced(header, "serieslength", len(found.series[0][0]) if found.series else lengths[0])
        if lengths != [announced]:
            raise LineError(f"{announced} steps, as @equalLength says,", listed(lengths))
    whole = np.full((len(values), lengths[-1]), np.nan, np.float32)
    for place, one in enumerate(values):
        whole[place, : len(one)] = one
    found.series.append(whole)
    found.labels.append(label)


def _check_class(label: str, known: list[str]) -> str:
    if not label or (known and label not in known):
        among = f" among {', '.join(known[:10])}" if known else ""
        raise LineError(f"a class{among} at the end", repr(label[:40]))
    return label


def _announced(header: dict[str, list[str]], key: str, otherwise: int) -> int:
    values = header.get(key) or [""]
    return int(values[0]) if values[0].isdecimal() else otherwise
