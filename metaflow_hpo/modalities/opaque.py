"""Opaque tasks: only the learner can open their data; a description says what they are scored by and alike to."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.hyperparameter import is_number
from metaflow_hpo.metric import Metric
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.meta_features import MetaFeatureGroup
from metaflow_hpo.task import OPAQUE, Task

KEYS = ("task_id", "family", "metric", "data", "meta_features", "licence")
"""What a description may say; only the metric must be there."""

MAX_BYTES = 1_000_000
SUFFIXES = (".yaml", ".yml")
_OWN_KEYS = {"data", "meta_features"}
"""Keys that no sidecar has."""
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


def read_opaque(source: Path | Mapping[str, Any]) -> OpaqueData:
    """Read an opaque task.

    Args:
        source: A YAML (or JSON) file, or what would stand in it: `metric` (a name, or `{name, direction, low, high,
            chance}`), `data` (an address), `task_id` (the file's name unless given), `family` (the task's id unless
            given), `meta_features` (`{name: number}`), `licence`.

    Raises:
        InvalidTaskError: If it cannot be read, misses the metric, or says what is not understood.
    """
    if isinstance(source, Mapping):
        return _make(source, "the description of a task", "")
    return _make(_load(source), str(source), source.name)


def _load(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InvalidTaskError(f"Expected the description of a task in {path}; it has more than {MAX_BYTES} bytes.")
        return yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InvalidTaskError(f"Expected the description of a task in {path}; found: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeError, RecursionError) as error:
        raise InvalidTaskError(f"Expected YAML in UTF-8 in {path}; found: {error}. Correct it.") from error


def _make(values: Any, where: str, file_name: str) -> OpaqueData:
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
        InvalidTaskError: If the name has neither letters nor digits.
    """
    task_id = re.sub(r"[^a-z0-9]+", "_", Path(file_name).stem.lower()).strip("_")[:80]
    if not task_id:
        raise InvalidTaskError("Expected task_id, a lower-case name, in the description of a task; found none.")
    return task_id


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
        path.write_text(json.dumps(kept, sort_keys=True, ensure_ascii=False), encoding="utf-8")

    def load(self, path: Path) -> OpaqueData:
        """Read what `save` wrote.

        Raises:
            InvalidTaskError: If it is not that.
        """
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            return OpaqueData(Task.from_dict(kept["task"]), kept["data"], kept["meta_features"])
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InvalidTaskError(f"Expected an opaque task in {path}; found: {error!r}. Make it again.") from error


OPAQUE_MODALITY = OpaqueModality()
