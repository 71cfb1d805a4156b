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
from metaflow_hpo.task import Task

OPAQUE = "opaque"
KEYS = ("task_id", "family", "metric", "data", "meta_features", "licence")
"""What a description may say; only the metric must be there."""

MAX_BYTES = 1_000_000
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


def measure_given(data: OpaqueData) -> Mapping[str, float]:
    """Return the meta-features that a person gave."""
    return data.meta_features


GIVEN_GROUP = MetaFeatureGroup(name="given", version=1, features={}, modalities=(OPAQUE,), measure=measure_given)
"""What a person says of a task; which features there are, only the task knows."""


class OpaqueModality:
    """Tasks that only the learner can open; see `Modality`."""

    @property
    def name(self) -> str:
        """One word."""
        return OPAQUE

    @property
    def meta_features(self) -> tuple[MetaFeatureGroup, ...]:
        """The groups that come with it."""
        return (GIVEN_GROUP,)

    def recognises(self, source: Path) -> bool:
        """Tell by its name whether a file is a description."""
        return source.suffix.lower() in (".yaml", ".yml") and not source.is_dir()

    def read(self, source: Path, hints: Hints) -> OpaqueData:
        """Read a description; the family and the name may be given beside it."""
        data = read_opaque(source)
        task = replace(
            data.task,
            task_id=hints.task_id or data.task.task_id,
            family=hints.family or data.task.family,
            licence=hints.licence or data.task.licence,
        )
        return replace(data, task=task)

    def save(self, data: OpaqueData, path: Path) -> None:
        """Write a task as JSON."""
        values = {"task": data.task.to_dict(), "address": data.address, "meta_features": dict(data.meta_features)}
        path.write_text(json.dumps(values, sort_keys=True, indent=1) + "\n", encoding="utf-8")

    def load(self, path: Path) -> OpaqueData:
        """Read what `save` wrote.

        Raises:
            InvalidTaskError: If it is not that.
        """
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return OpaqueData(Task.from_dict(values["task"]), values["address"], values["meta_features"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidTaskError(f"Expected a prepared opaque task in {path}; found: {error}.") from error


OPAQUE_MODALITY = OpaqueModality()
