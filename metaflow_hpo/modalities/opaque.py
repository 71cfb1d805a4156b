"""Opaque tasks: only the learner can open their data; a description says what they are scored by and alike to."""

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from metaflow_hpo.array_files import read_json_bytes, seal, taking_apart, unseal
from metaflow_hpo.errors import InvalidTableError, InvalidTaskError
from metaflow_hpo.hyperparameter import is_number
from metaflow_hpo.metric import Metric
from metaflow_hpo.modalities.hints import Hints, task_id_of
from metaflow_hpo.modalities.meta_features import MetaFeatureGroup
from metaflow_hpo.task import OPAQUE, Task

KEYS = ("task_id", "family", "metric", "data", "meta_features", "licence")
"""What a description may say; only the metric must be there."""

MAX_BYTES = 1_000_000
MAX_HASHED_BYTES, MAX_HASHED_FILES = 1024**3, 20_000
_BEGINNING = 1024**2
SUFFIXES = (".yaml", ".yml")
_OWN_KEYS = {"data", "meta_features"}
"""Keys that no sidecar has."""
_AGAIN = "Make it again."
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class OpaqueData:
    """A task whose data are handed to the learner as an address.

    Attributes:
        task: The description.
        address: Where the data are, as the learner understands it: a path, a URL, a name.
        meta_features: Numbers that a person gives to describe it, by name; perhaps none.
    """

    task: Task
    address: str
    meta_features: Mapping[str, float] = field(default_factory=dict)

    @property
    def task_id(self) -> str:
        """Name of the task."""
        return self.task.task_id


def read_opaque(source: Path | Mapping[str, Any], place: str = "") -> OpaqueData:
    """Read an opaque task.

    Args:
        source: A YAML (or JSON) file, or what would stand in it: `metric` (a name, or `{name, direction, low, high,
            chance}`), `data` (an address), `task_id` (the file's name unless given), `family` (the task's id unless
            given), `meta_features` (`{name: number}`), `licence`. Where the address is a file or folder here, its
            content is part of what the task is.
        place: What tells it from others that are described alike, e.g. the folder in which a command is run.

    Raises:
        InvalidTaskError: If it cannot be read, misses the metric, or says what is not understood.
    """
    if isinstance(source, Mapping):
        return _make(source, "the description of a task", "", place)
    return _make(_load(source), str(source), source.name, place)


def _load(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidTaskError(f"Expected the description of a task in {path}; it has more than {MAX_BYTES} bytes.")
        return yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidTaskError(f"Expected the description of a task in {path}; found: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise InvalidTaskError(f"Expected YAML in UTF-8 in {path}; found: {error}. Correct it.") from error


def _make(values: Any, where: str, file_name: str, place: str) -> OpaqueData:
    if not isinstance(values, Mapping):
        raise InvalidTaskError(
            f"Expected {', '.join(KEYS)} in {where}; found {type(values).__name__}. Write, say: metric: accuracy"
        )
    unknown = sorted(map(str, set(values) - {*KEYS, "modality"}))
    if unknown or values.get("modality", OPAQUE) != OPAQUE:
        found = f"unknown keys {unknown}" if unknown else f"modality {values['modality']!r}"
        raise InvalidTaskError(f"Expected only {', '.join(KEYS)} in {where}; found {found}. Correct them.")
    if values.get("metric") is None:
        raise InvalidTaskError(
            f"Expected a metric in {where}; found none. Write `metric: accuracy`, or "
            "`metric: {name: loss, direction: min}`."
        )
    try:
        metric = Metric.read(values["metric"])
    except InvalidTaskError as error:
        raise InvalidTaskError(f"{where}: {error}") from error
    task_id = _read_text(values, "task_id", where) or name_task(file_name)
    address = _read_text(values, "data", where)
    meta_features = _read_meta_features(values.get("meta_features"), where)
    content = {"task_id": task_id, "metric": metric.to_json(), "data": address, "meta_features": meta_features}
    known = {"place": place, "content": _digest_content(address)}
    content |= {name: value for name, value in known.items() if value}
    task = Task(
        task_id=task_id,
        family=_read_text(values, "family", where) or task_id,
        modality=OPAQUE,
        metric=metric,
        licence=_read_text(values, "licence", where) or "unspecified (own data)",
        source=address or where,
        sha256=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
    )
    return OpaqueData(task, address, meta_features)


def name_task(file_name: str) -> str:
    """Return the id of a task that is called like its file.

    Raises:
        InvalidTaskError: If there is no name.
    """
    if not file_name:
        raise InvalidTaskError("Expected task_id, a lower-case name, in the description of a task; found none.")
    return task_id_of(Path(file_name))


def _digest_content(address: str) -> str:
    """Return a digest of the file or folder at an address; empty where there is none, as at an address of a server.

    Two folders with a file of one name hold two tasks. Of what is larger than `MAX_HASHED_BYTES` in all, sizes and the
    beginnings of files are looked at, and of more than `MAX_HASHED_FILES` the names at the top.
    """
    if not address or "\0" in address:
        return ""
    try:
        path = Path(address).expanduser()
        files = [path] if path.is_file() else list(islice(path.rglob("*"), MAX_HASHED_FILES)) if path.is_dir() else []
        if len(files) == MAX_HASHED_FILES:
            return hashlib.sha256(b"\n".join(sorted(os.fsencode(one.name) for one in path.iterdir()))).hexdigest()
        return _digest_files(path, sorted(one for one in files if one.is_file())) if files else ""
    except (OSError, RuntimeError, ValueError):  # not to be read by us: the learner says so, if it cannot either
        return ""


def _digest_files(root: Path, files: Sequence[Path]) -> str:
    sizes = [one.stat().st_size for one in files]
    is_small, digest = sum(sizes) <= MAX_HASHED_BYTES, hashlib.sha256()
    for one, size in zip(files, sizes, strict=True):
        name = b"" if one == root else os.fsencode(one.relative_to(root).as_posix())
        digest.update(b"%d %s %d " % (len(name), name, size))
        with one.open("rb") as file:
            while chunk := file.read(_BEGINNING):
                digest.update(chunk)
                if not is_small:
                    break
    return digest.hexdigest()


def _read_text(values: Mapping[str, Any], key: str, where: str) -> str:
    value = values.get(key)
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InvalidTaskError(f"Expected {key} in {where} as text; found {value!r}.")
    return str(value)


def _as_number(value: Any) -> Any:
    """Return the number that a text is: YAML takes 1e5, which has no dot, for text."""
    with suppress(ValueError):
        return float(value) if isinstance(value, str) else value
    return value


def _read_meta_features(values: Any, where: str) -> dict[str, float]:
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise InvalidTaskError(f"Expected meta_features in {where} as {{name: number}}; found {values!r}.")
    values = {name: _as_number(value) for name, value in values.items()}
    for name, value in values.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidTaskError(f"Expected names of letters, digits, `_`, `.` and `-` in {where}; found {name!r}.")
        if not is_number(value) or not math.isfinite(value):
            raise InvalidTaskError(f"Expected a finite number as meta-feature {name} in {where}; found {value!r}.")
    return {name: float(value) for name, value in sorted(values.items())}


def _measure(data: OpaqueData) -> Mapping[str, float]:
    return data.meta_features


GIVEN = MetaFeatureGroup(name="given", version=1, features={}, modalities=(OPAQUE,), measure=_measure)
"""The numbers that a person gives."""


class OpaqueModality:
    """Descriptions of tasks whose data only the learner can open; see `Modality`."""

    @property
    def name(self) -> str:
        """One word."""
        return OPAQUE

    @property
    def meta_features(self) -> tuple[MetaFeatureGroup, ...]:
        """The groups that come with it."""
        return (GIVEN,)

    def recognises(self, source: Path) -> bool:
        """Tell whether a YAML file has keys that no sidecar has."""
        if source.suffix.lower() not in SUFFIXES or not source.is_file() or source.stat().st_size > MAX_BYTES:
            return False
        try:
            values = _load(source)
        except InvalidTaskError:
            return False
        return isinstance(values, Mapping) and (values.get("modality") == OPAQUE or bool(_OWN_KEYS & set(values)))

    def read(self, source: Path, hints: Hints) -> OpaqueData:
        """Read a description; `data` are where it says, whatever the folder."""
        data = read_opaque(source)
        said = {name: getattr(hints, name) for name in ("task_id", "family", "licence")}
        said |= {"metric": None if hints.metric is None else Metric.read(hints.metric)}
        fields = {name: value for name, value in said.items() if value is not None}
        if "task_id" in fields and data.task.family == data.task.task_id:
            fields = {"family": fields["task_id"], **fields}
        source_name = hints.describe(source)["source"]
        return replace(data, task=replace(data.task, source=source_name, simulated=hints.simulated, **fields))

    def save(self, data: OpaqueData, path: Path) -> None:
        """Write a task as JSON."""
        kept = {"task": data.task.to_dict(), "data": data.address, "meta_features": dict(data.meta_features)}
        path.write_text(json.dumps(seal(kept), sort_keys=True, ensure_ascii=False), encoding="utf-8")

    def load(self, path: Path) -> OpaqueData:
        """Read what `save` wrote.

        Raises:
            InvalidTaskError: If it is not that.
        """
        try:
            kept = unseal(read_json_bytes(path.read_bytes(), path, _AGAIN), path, _AGAIN)
            with taking_apart(path, _AGAIN):
                return OpaqueData(
                    Task.from_dict(kept["task"]), _read_address(kept["data"]), _read_numbers(kept["meta_features"])
                )
        except (OSError, InvalidTableError) as error:
            raise InvalidTaskError(f"Expected an opaque task in {path}; found: {error}") from error


def _read_address(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"an address was expected; found {value!r}")
    return value


def _read_numbers(values: Mapping[str, Any]) -> dict[str, float]:
    numbers = {str(name): float(value) for name, value in values.items()}
    if not all(map(math.isfinite, numbers.values())):
        raise ValueError(f"finite numbers were expected; found {numbers}")
    return numbers


OPAQUE_MODALITY = OpaqueModality()
