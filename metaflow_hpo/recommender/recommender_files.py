"""The folder of a recommender: safetensors and JSON; nothing is ever unpickled."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.array_files import md5_of, read_described, write_described
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history import History
from metaflow_hpo.metric import Metric
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommender.interval import IntervalScale
from metaflow_hpo.recommender.new_task import DESCRIBED, RecommenderSettings
from metaflow_hpo.recommender.stopping import StoppingRule
from metaflow_hpo.recommender.task_forest import TaskForest
from metaflow_hpo.recommender.tuning import TuningEvidence
from metaflow_hpo.space import SearchSpace

if TYPE_CHECKING:
    from metaflow_hpo.recommender.recommender import Recommender
    from metaflow_hpo.surrogate.predict import Surrogate

FORMAT = 2
"""The first one had networks always, and of past tasks only performances and durations on a shared core."""
_FILES = "past_tasks"
DESCRIPTION_FILE = f"{_FILES}.json"
"""Tells a folder with a recommender from others."""
_SURROGATE_FILE = "surrogate.json"
_NETWORKS = "surrogate_md5"
"""Key of the md5 of the networks' description, which has that of their weights; None where there are no networks."""
_FOREST = "forest."
"""What the names of the forest's arrays begin with."""
_ARRAYS = ("scores", "deviation", "regret", "scale", "meta_features", "ends", "duration", "test_performance")
_REMEDY = "run `metaflow-hpo fit`."


def describe(recommender: "Recommender") -> dict[str, Any]:
    """Return all that is no array, JSON-ready, but for the lineage."""
    past = recommender.past
    return {
        "learner": recommender.learner,
        "metric": None if recommender.metric is None else recommender.metric.to_json(),
        "space": past.space.to_json(),
        "task_ids": list(past.task_ids),
        "families": list(past.families),
        "meta_feature_names": list(past.meta_feature_names),
        "configurations": [dict(configuration) for configuration in past.configurations],
        "default": past.default,
        "settings": recommender.settings.to_json(),
        "trust": recommender.trust,
        "interval": None if recommender.interval is None else recommender.interval.to_json(),
        "stopping": None if recommender.stopping is None else recommender.stopping.to_json(),
        "tuning": None if recommender.tuning is None else recommender.tuning.to_json(),
    }


def to_arrays(recommender: "Recommender") -> dict[str, NDArray[Any]]:
    """Return the past tasks' arrays by name."""
    return {name: getattr(recommender.past, name) for name in _ARRAYS}


def save(recommender: "Recommender", folder: Path) -> None:
    """Write everything into an existing folder."""
    networks = None
    if recommender.surrogate is not None:
        from metaflow_hpo.surrogate.predict import save_surrogate

        save_surrogate(recommender.surrogate, folder)
        networks = md5_of((folder / _SURROGATE_FILE).read_bytes())
    forest = {_FOREST + name: value for name, value in recommender.fitted_forest.to_arrays().items()}
    kept = {"format": FORMAT, "lineage": dict(recommender.lineage), _NETWORKS: networks}
    write_described(folder, _FILES, {**to_arrays(recommender), **forest}, {**describe(recommender), **kept})


def read_parts(folder: Path) -> dict[str, Any]:
    """Return the attributes of the recommender in a folder.

    Raises:
        InvalidTableError: If the folder does not hold one, or one of a later version.
    """
    arrays, values = read_described(folder, _FILES, _REMEDY)
    version = values.get("format", 1)
    if version > FORMAT:
        raise InvalidTableError(
            f"Expected a recommender in a format up to {FORMAT}; that in {folder} has {version}. "
            "A later version of metaflow_hpo wrote it: install that."
        )
    surrogate = _read_surrogate(folder, values.get(_NETWORKS))
    forest = {name.removeprefix(_FOREST): value for name, value in arrays.items() if name.startswith(_FOREST)}
    common = {
        "surrogate": surrogate,
        "trust": _check_trust(values["trust"], folder),
        "interval": None if values["interval"] is None else IntervalScale.from_json(values["interval"]),
        "stopping": StoppingRule.from_json(values["stopping"]) if values.get("stopping") else None,
        "tuning": TuningEvidence.from_json(values["tuning"]) if values.get("tuning") else None,
        "lineage": values["lineage"],
    }
    if version == 1:
        if surrogate is None:
            raise InvalidTableError(f"Expected {_SURROGATE_FILE} in {folder}; {_REMEDY}")
        past = _read_first_format(surrogate, values, arrays)
        kept = TaskForest.from_arrays(forest) if forest else TaskForest.without_say(len(past.task_ids))
        return {**common, "past": past, "settings": DESCRIBED, "learner": surrogate.learner, "forest": kept}
    return {
        **common,
        "past": _read_past(values, arrays),
        "settings": RecommenderSettings.from_json(values["settings"]),
        "learner": values["learner"],
        "metric": None if values["metric"] is None else Metric.read(values["metric"]),
        "forest": TaskForest.from_arrays(forest),
    }


def _check_trust(trust: float, folder: Path) -> float:
    if not 0.0 <= trust <= 1.0:
        raise InvalidTableError(
            f"Expected a trust from 0 to 1 in {folder / DESCRIPTION_FILE}; found {trust}; {_REMEDY}"
        )
    return trust


def _read_surrogate(folder: Path, md5: str | None) -> "Surrogate | None":
    """Return the networks, if there are any, which are those that were written with the past tasks."""
    path = folder / _SURROGATE_FILE
    if md5 is not None and not (path.is_file() and md5_of(path.read_bytes()) == md5):
        raise InvalidTableError(
            f"Expected {path} as it was written with {DESCRIPTION_FILE}; it is missing or another; {_REMEDY}"
        )
    if not path.is_file():
        return None
    from metaflow_hpo.surrogate.predict import load_surrogate

    return load_surrogate(folder)


def _read_past(values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> PastTasks:
    space = SearchSpace.from_json(values["space"])
    nothing = np.full(arrays["regret"].shape, np.nan)  # they came later
    arrays = {"test_performance": nothing, **arrays}
    return PastTasks(
        space=space,
        configurations=tuple(values["configurations"]),
        points=space.encode(values["configurations"]),
        **{name: arrays[name] for name in _ARRAYS},
        trials=(),
        default=values["default"],
        task_ids=tuple(values["task_ids"]),
        families=tuple(values["families"]),
        meta_feature_names=tuple(values["meta_feature_names"]),
    )


def _read_first_format(
    surrogate: "Surrogate", values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> PastTasks:
    history = History.from_arrays(
        surrogate.space,
        values["configurations"],
        values["task_ids"],
        values["families"],
        np.asarray(arrays["performance"], dtype=np.float64),
        meta_feature_names=surrogate.meta_feature_names,
        meta_features=arrays["meta_features"],
        duration=arrays["duration"],
    )
    return history.past_tasks()
