"""TensorBoard's HParams plugin: event files below a log folder, read without TensorBoard."""

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metaflow_hpo.adapters.past_trials.folders import EXPERIMENT
from metaflow_hpo.adapters.past_trials.source import Found, PastTrial, Status, Wanted, choose_metric, existing
from metaflow_hpo.adapters.past_trials.spaces import make_choices, make_range
from metaflow_hpo.adapters.past_trials.values import pick
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.hyperparameter import Hyperparameter

_EVENTS = "*tfevents*"
_EXPERIMENT, _START, _END = "_hparams_/experiment", "_hparams_/session_start_info", "_hparams_/session_end_info"
_STATUSES: Mapping[int, tuple[Status, str]] = {1: ("ok", ""), 2: ("failed", "failed")}
_FLOAT = 1


@dataclass
class _Log:
    """What the event files of one folder hold."""

    hyperparameters: dict[str, Any] = field(default_factory=dict)
    scalars: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    known: list[Hyperparameter] = field(default_factory=list)
    status: int = 0
    started: float | None = None
    ended: float | None = None


class TensorboardSource:
    """The folder that holds the runs is the task; a run's scalars are its own and those of its sub-folders."""

    name = "tensorboard"

    def knows_file(self, path: Path) -> bool:
        """Tell a log folder by its event files."""
        return path.is_dir() and any(path.rglob(_EVENTS))

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read all runs with hyperparameters below a log folder.

        Args:
            address: The log folder.
            wanted: `metric` is a scalar's name, `validation/epoch_loss` for one of a sub-folder; `at` is `last` (the
                default), `best` or a step.
        """
        root = existing(address, "a log folder of TensorBoard")
        logs = {path.parent for path in root.rglob(_EVENTS)}
        read = {folder: _read_folder(folder) for folder in sorted(logs)}
        sessions = [folder for folder, log in read.items() if log.hyperparameters]
        if not sessions:
            raise InvalidTableError(
                f"Expected runs with hyperparameters below {root}; none of its {len(logs)} logs "
                "holds any. They are logged by the HParams plugin (`hp.hparams`, `add_hparams`)."
            )
        scalars = {session: _scalars(session, read, root) for session in sessions}
        names = dict.fromkeys(name for found in scalars.values() for name in found)
        metric, direction = choose_metric(wanted, sorted(names))
        trials = []
        for session in sessions:
            log = read[session]
            value, curve = pick(scalars[session].get(metric, []), wanted.at or "last", direction)
            status, reason = _STATUSES.get(log.status, ("ok", ""))
            trials.append(
                PastTrial(
                    configuration=log.hyperparameters,
                    value=value,
                    status=status,
                    reason=reason,
                    curve=curve if len(curve) > 1 else (),
                    duration_s=log.ended - log.started if log.ended and log.started else None,
                    labels={
                        EXPERIMENT: _run_of(session, read, root).resolve().parent.name,
                        **{f"param:{name}": value for name, value in log.hyperparameters.items()},
                    },
                )
            )
        known = [log.known for log in read.values() if log.known]
        return Found(trials, metric, direction, EXPERIMENT, known)


def _run_of(session: Path, read: Mapping[Path, _Log], root: Path) -> Path:
    """Return the folder of the run: PyTorch's `add_hparams` writes the session into a folder below it."""
    parent = session.parent
    return parent if session != root and parent in read and not read[parent].hyperparameters else session


def _scalars(session: Path, read: Mapping[Path, _Log], root: Path) -> dict[str, list[tuple[float, float]]]:
    run = _run_of(session, read, root)
    found: dict[str, list[tuple[float, float]]] = {}
    for folder, log in read.items():
        if folder == session or folder.is_relative_to(run):
            below = "" if folder in {session, run} else f"{folder.relative_to(run).as_posix()}/"
            found |= {f"{below}{name}": points for name, points in log.scalars.items()}
    return found


def _read_folder(folder: Path) -> _Log:
    log = _Log()
    for path in sorted(folder.glob(_EVENTS)):
        for record in _records(path.read_bytes()):
            step = 0
            for number, value in _fields(record):
                if number == 2:
                    step = int(value)
                elif number == 5:
                    for _, summary in _fields(value):
                        _read_summary(log, step, summary)
    return log


def _records(content: bytes) -> Iterator[bytes]:
    """Yield the records of an event file; one that was cut short at the end is left out."""
    start = 0
    while start + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, start)
        end = start + 12 + length
        if end + 4 > len(content):
            return
        yield content[start + 12 : end]
        start = end + 4


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield (number, value) of a protocol buffer: whole numbers, bytes, or the bytes of a fixed number."""
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        kind = key & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield key >> 3, value
            continue
        if kind == 2:
            size, position = _varint(message, position)
        else:
            size = {1: 8, 5: 4}.get(kind, 0)
            if not size:
                raise InvalidTableError("Expected an event file of TensorBoard; it is damaged. Copy it again.")
        yield key >> 3, message[position : position + size]
        position += size


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise InvalidTableError("Expected an event file of TensorBoard; it is damaged. Copy it again.")


def _read_summary(log: _Log, step: int, summary: bytes) -> None:
    """Take in one value of a summary: a scalar, or one of the plugin's messages."""
    fields = dict(_fields(summary))
    tag = bytes(fields.get(1, b"")).decode("utf-8", "replace")
    if tag in {_EXPERIMENT, _START, _END}:
        content = dict(_fields(dict(_fields(fields[9]))[1])).get(2, b"")
        _read_plugin(log, content)
    elif 2 in fields:
        log.scalars[tag].append((step, struct.unpack("<f", fields[2])[0]))
    elif 8 in fields:
        number = _scalar_of(fields[8])
        if number is not None:
            log.scalars[tag].append((step, number))


def _scalar_of(tensor: bytes) -> float | None:
    """Return the number in a tensor of one float; None for another."""
    fields = dict(_fields(tensor))
    content = fields.get(4, fields.get(5, b""))
    return struct.unpack("<f", content)[0] if fields.get(1) == _FLOAT and len(content) == 4 else None


def _read_plugin(log: _Log, content: bytes) -> None:
    for number, message in _fields(content):
        if number == 2:
            log.known += [hp for key, info in _fields(message) if key == 4 and (hp := _read_range(info)) is not None]
        elif number == 3:
            for key, value in _fields(message):
                if key == 1:
                    entry = dict(_fields(value))
                    log.hyperparameters[entry[1].decode()] = _read_value(entry.get(2, b""))
                elif key == 5:
                    log.started = struct.unpack("<d", value)[0]
        elif number == 4:
            end = dict(_fields(message))
            log.status = int(end.get(1, 0))
            log.ended = struct.unpack("<d", end[2])[0] if 2 in end else None


def _read_value(message: bytes) -> Any:
    """Return a `google.protobuf.Value`."""
    for number, value in _fields(message):
        if number == 2:
            found = struct.unpack("<d", value)[0]
            return int(found) if float(found).is_integer() and abs(found) < 2**53 else found
        if number == 3:
            return value.decode("utf-8", "replace")
        if number == 4:
            return bool(value)
    return None


def _read_range(info: bytes) -> Hyperparameter | None:
    """Return the range of an `HParamInfo`, where it has one."""
    fields = dict(_fields(info))
    name = bytes(fields.get(1, b"")).decode("utf-8", "replace")
    if 5 in fields:
        choices = [_read_value(value) for number, value in _fields(fields[5]) if number == 1]
        return make_choices(name, choices) if choices else None
    if 6 in fields:
        ends = {number: struct.unpack("<d", value)[0] for number, value in _fields(fields[6])}
        return make_range(name, ends.get(1, 0.0), ends.get(2, 0.0)) if ends else None
    return None
