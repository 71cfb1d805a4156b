"""The folder of a recommender: safetensors and JSON; nothing is ever unpickled."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.array_files import md5_of, read_described, taking_apart, write_described
from metaflow_hpo.errors import InvalidTableError, listed
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
_ROUNDING = 1e-6


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
    if type(version) is not int or version > FORMAT:
        raise InvalidTableError(
            f"Expected a recommender in a format up to {FORMAT}; that in {folder} has {version}. "
            "A later version of metaflow_hpo wrote it: install that."
        )
    with taking_apart(folder / DESCRIPTION_FILE, f"Make it anew: {_REMEDY}"):
        return _make_parts(folder, version, values, arrays)


def _make_parts(
    folder: Path, version: int, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]
) -> dict[str, Any]:
    surrogate = _read_surrogate(folder, values.get(_NETWORKS))
    forest = {name.removeprefix(_FOREST): value for name, value in arrays.items() if name.startswith(_FOREST)}
    common = {
        "surrogate": surrogate,
        "trust": _check_trust(values["trust"], folder),
        "interval": None if values["interval"] is None else IntervalScale.from_json(values["interval"]),
        "stopping": StoppingRule.from_json(values["stopping"]) if values.get("stopping") else None,
        "tuning": TuningEvidence.from_json(values["tuning"]) if values.get("tuning") else None,
        "lineage": dict(values["lineage"]),
    }
    if version == 1:
        if surrogate is None:
            raise InvalidTableError(f"Expected {_SURROGATE_FILE} in {folder}; {_REMEDY}")
        past = _read_first_format(surrogate, values, arrays)
        kept = TaskForest.from_arrays(forest) if forest else TaskForest.without_say(len(past.task_ids))
        return {**common, "past": past, "settings": DESCRIBED, "learner": surrogate.learner, "forest": kept}
    past, kept = _read_past(values, arrays), TaskForest.from_arrays(forest)
    if kept.count != len(past.task_ids) or kept.trees.feature.max(initial=-1) >= len(past.meta_feature_names):
        raise ValueError("the forest is of other tasks or meta-features")
    return {
        **common,
        "past": past,
        "settings": _read_settings(values["settings"]),
        "learner": None if values["learner"] is None else _read_names([values["learner"]])[0],
        "metric": None if values["metric"] is None else Metric.read(values["metric"]),
        "forest": kept,
    }


def _read_settings(values: Mapping[str, Any]) -> RecommenderSettings:
    settings = RecommenderSettings.from_json(values)
    mixture = settings.mixture
    if (
        not _has_form(settings.to_json(), DESCRIBED.to_json())
        or min(settings.portfolio_trials, settings.mixture_trials) < 0
        or mixture.scale not in get_args(get_type_hints(type(mixture))["scale"])
        or min(mixture.length, mixture.noise) <= 0
        or not 0 <= min(_shares_of(settings)) <= max(_shares_of(settings)) <= 1
    ):
        raise ValueError(f"settings like {DESCRIBED.to_json()} were expected; found {values}")
    return settings


def _shares_of(settings: RecommenderSettings) -> list[float]:
    mixture = settings.mixture
    return [settings.improvement_share, *settings.forest_shares, mixture.lean, mixture.past_share, mixture.smooth_share]


def _has_form(value: Any, form: Any) -> bool:
    """Tell whether a value is of the types of another one, and its numbers are finite."""
    if isinstance(form, dict):
        return all(_has_form(value[name], part) for name, part in form.items())
    if isinstance(form, tuple):
        return all(_has_form(one, form[0]) for one in value)
    if isinstance(form, bool | str):
        return type(value) is type(form)
    return type(value) in (int, type(form)) and bool(np.isfinite(value))


def _read_names(values: Iterable[Any], *, are_different: bool = False) -> tuple[str, ...]:
    names = tuple(values)
    if not all(isinstance(name, str) for name in names) or (are_different and len(set(names)) < len(names)):
        raise ValueError(f"names were expected; found {listed(list(map(str, names)))}")
    return names


def _check_trust(trust: float, folder: Path) -> float:
    if not 0.0 <= trust <= 1.0:  # NaN is not
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
    for configuration in values["configurations"]:
        space.validate(configuration)
    past = PastTasks(
        space=space,
        configurations=tuple(values["configurations"]),
        points=space.encode(values["configurations"]),
        **{name: arrays[name] for name in _ARRAYS},
        trials=(),
        default=values["default"],
        task_ids=_read_names(values["task_ids"], are_different=True),
        families=_read_names(values["families"]),
        meta_feature_names=_read_names(values["meta_feature_names"], are_different=True),
    )
    _check_past(past)
    return past


def _check_past(past: PastTasks) -> None:
    """Refuse arrays of other shapes, and numbers that no past task has.

    Raises:
        ValueError: There are some.
    """
    tasks, pool, described = len(past.task_ids), len(past.configurations), len(past.meta_feature_names)
    shapes = dict.fromkeys(_ARRAYS, (tasks, pool)) | {"scale": (tasks,), "ends": (tasks, 2)}
    shapes["meta_features"] = (tasks, described)
    for name, shape in shapes.items():
        found = getattr(past, name)
        if found.shape != shape or found.dtype.kind != "f":
            raise ValueError(f"{name} as numbers of the shape {shape} was expected; found {found.dtype} {found.shape}")
        may_lack = name in {"meta_features", "duration", "test_performance"}
        if np.isinf(found).any() if may_lack else not np.isfinite(found).all():
            raise ValueError(f"finite numbers were expected as {name}")
    lowest = {name: getattr(past, name).min(initial=0.0) for name in ("deviation", "regret", "scale")}
    lowest["duration"] = np.nanmin(past.duration, initial=0.0)
    if min(lowest.values()) < 0 or past.regret.max(initial=0.0) > 1 + _ROUNDING:
        raise ValueError("deviations, scales and durations from 0 on and regrets from 0 to 1 were expected")
    if (past.ends[:, 0] > past.ends[:, 1]).any() or len(past.families) != tasks:
        raise ValueError("a family of each task, and a worst performance that is not above its best, were expected")
    if not -_ROUNDING <= past.points.min(initial=0.0) <= past.points.max(initial=1.0) <= 1 + _ROUNDING:
        raise ValueError("configurations within the search space were expected")
    if type(past.default) is not int or not 0 <= past.default < pool:
        raise ValueError(f"a default from 0 to {pool - 1} was expected; found {past.default!r}")


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
