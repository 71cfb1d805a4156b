"""Recommendations for a person's data set, and the files they bring: rows, trials, configurations.

The one thing to know: their rows are prepared like every other task's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaflow_hpo.actions.candidate import find_candidate
from metaflow_hpo.actions.feedback import identify, remember
from metaflow_hpo.adapters.files import read_json
from metaflow_hpo.adapters.pipeline import Pipeline, Progress, logger, show_nothing
from metaflow_hpo.errors import InvalidTableError, NoChampionError, SearchSpaceMismatchError, listed
from metaflow_hpo.learners.learner import Learner
from metaflow_hpo.metric import Metric
from metaflow_hpo.modalities.registry import choose_described, describe, read_source
from metaflow_hpo.space import Configuration
from metaflow_hpo.task import TaskData

if TYPE_CHECKING:
    from metaflow_hpo.modalities.hints import AskedKind
    from metaflow_hpo.recommender.observed import ObservedTrial
    from metaflow_hpo.recommender.recommender import Recommender

RECOMMENDED = "recommended"
"""Strategy of trials whose configurations a recommender chose."""


@dataclass(frozen=True)
class Described:
    """A person's data set with its meta-features by name."""

    data: TaskData
    meta_features: dict[str, float]


def describe_file(
    path: Path,
    target: str | None,
    kind: "AskedKind | None" = None,
    progress: Progress = show_nothing,
    *,
    modality: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Described:
    """Read, prepare and describe a file or folder; a large one takes seconds, and `progress` shows with what.

    Raises:
        InvalidTaskError: If it cannot become a task.
    """
    progress(f"reading {path.name}", 0, 0)
    data = read_source(path, target, kind=kind, modality=modality, options=options)
    progress(f"describing {data.task.rows} rows", 0, 0)
    return describe_data(data)


def describe_data(data: TaskData) -> Described:
    """Describe a prepared data set."""
    return Described(data, describe(data))


def read_observed(path: Path, learner: Learner, *, finished_only: bool = False) -> "list[ObservedTrial]":
    """Read a person's own trials of a learner, see `read_observed_trials`."""
    from metaflow_hpo.adapters.observed_trials import read_observed_trials

    return read_observed_trials(path, learner.space, finished_only=finished_only)


def check_performances(observed: "Sequence[ObservedTrial]", metric: Metric) -> None:
    """Check that performances can be of a task's metric: percents and losses would be believed otherwise.

    Raises:
        InvalidTableError: If one cannot be.
    """
    wrong = [o.performance for o in observed if not metric.admits(o.performance)]
    if wrong:
        raise InvalidTableError(
            f"Expected {metric} in the column `performance` of the trials, between {metric.lowest:g} and "
            f"{metric.highest:g} and higher is better; found {listed(wrong)}. Give that score itself: no percent and "
            "no loss."
        )


def recommend(
    pipeline: Pipeline,
    described: Described,
    k: int,
    observed: "Sequence[ObservedTrial]" = (),
    *,
    per_time: bool = False,
) -> dict[str, Any]:
    """Return recommendations for a described task, as in the CLI's contract.

    They are the champion's; before there is one of the learner, those of the knowledge that ships, or of the candidate
    where none ships.

    Raises:
        NoChampionError: If nothing of the learner has been promoted or fitted, and nothing ships.
        InvalidTableError: If an observed performance cannot be of the task's metric.
    """
    pipeline.check_learner(described.data)
    check_performances(observed, described.data.task.metric)
    served, source = load_recommender(pipeline)
    return make_answer(served, source, described, k, observed, per_time=per_time)


def recommend_and_remember(
    pipeline: Pipeline,
    described: Described,
    k: int,
    observed: "Sequence[ObservedTrial]" = (),
    *,
    per_time: bool = False,
) -> dict[str, Any]:
    """Return what `recommend` does, and keep the answer and the task, for outcomes and for what is learned of them."""
    from metaflow_hpo.actions.own_history import remember_task

    answer = recommend(pipeline, described, k, observed, per_time=per_time)
    remember(pipeline, answer)
    remember_task(pipeline, described.data, described.meta_features)
    return answer


def make_answer(
    served: "Recommender",
    source: dict[str, Any],
    described: Described,
    k: int,
    observed: "Sequence[ObservedTrial]" = (),
    *,
    per_time: bool = False,
) -> dict[str, Any]:
    """Return what a recommender (`load_recommender`) says of a described task, as in the CLI's contract."""
    seen = [replace(trial, performance=served.sign * trial.performance) for trial in observed]
    answer = served.recommend(complete(served, described.meta_features), k, seen, per_time=per_time, explained=True)
    chosen = choose_described(described.data).task
    for line in answer["recommendations"]:
        expected_s = line["expected_duration_s"]
        if expected_s is not None and chosen.rows:  # seconds are those of the sample that describes a large task
            line["expected_duration_s"] = expected_s * (described.data.task.rows / chosen.rows)
    lineage = {**source, **answer["lineage"]}
    lineage["recommendation_id"] = identify(described.data.task.sha256, lineage, observed, per_time=per_time)
    return {"task": describe_task(described.data), **answer, "lineage": lineage}


def complete(served: "Recommender", meta_features: Mapping[str, float]) -> dict[str, float]:
    """Return meta-features with NaN for what is not known of a task, where past tasks need not have all either."""
    if served.settings.described:
        return dict(meta_features)
    return {name: meta_features.get(name, math.nan) for name in served.meta_feature_names}


def load_recommender(pipeline: Pipeline) -> "tuple[Recommender, dict[str, Any]]":
    """Return who recommends for the learner of the settings, and its `surrogate_version` and `surrogate_name`.

    Raises:
        NoChampionError: If nothing of the learner has been promoted or fitted, and nothing ships.
    """
    from metaflow_hpo.recommender.recommender import Recommender

    learner, champion = pipeline.learner_name, pipeline.registry.champion()
    if champion is not None:
        served = Recommender.load(pipeline.registry.download(champion.version))
        # Before each learner had versions of its own, those of all bore one name.
        if served.learner == learner:
            return served, {"surrogate_version": champion.version, "surrogate_name": champion.name}
    knowledge = pipeline.knowledge
    folder = None if knowledge is None else knowledge.recommender_folder(learner)
    if knowledge is not None and folder is not None:
        return Recommender.load(folder), {"surrogate_version": knowledge.version, "surrogate_name": "shipped"}
    candidate = find_candidate(pipeline)
    if candidate is None:
        raise NoChampionError(
            f"Expected a champion of the learner {learner!r} in {pipeline.tracking.address}; none has been promoted, "
            "nothing was fitted, and this package ships no knowledge of it. `metaflow-hpo train` "
            "trains its default, and `metaflow-hpo search` tunes it without past tasks. Run `metaflow-hpo fit` and "
            "`metaflow-hpo evaluate`, materialize the asset `champion`, or choose another `--learner`."
        )
    name, version = pipeline.registry.name, candidate["version"]
    logger.warning("No version of %s is promoted yet: the candidate, version %d, answers.", name, version)
    return Recommender.load(pipeline.store.surrogate_folder), {"surrogate_version": version, "surrogate_name": name}


def describe_task(data: TaskData) -> dict[str, Any]:
    """Return what a person wants to know of a prepared task, JSON-ready."""
    task = data.task
    names = ("task_id", "modality", "kind", "metric", "target", "rows", "columns", "classes", "test_rows", "sha256")
    described = task.to_dict()
    return {**{name: described[name] for name in names}, "notes": list(task.notes)}


def read_configuration(path: Path, learner: Learner) -> Configuration:
    """Read a configuration from a JSON file.

    Raises:
        InvalidTableError: If the file is missing or no JSON.
        SearchSpaceMismatchError: If it does not belong to the learner's search space.
    """
    if not path.is_file():
        raise InvalidTableError(f"Expected a configuration in JSON at {path}; there is no such file.")
    values = read_json(path, remedy='Expected JSON such as {"learning_rate": 0.001, ...}.')
    # What `recommend --json`, `train --json` and `search --json` print may be given as it is.
    if isinstance(values, dict) and "best" in values:
        values = values["best"]
    if isinstance(values, dict) and "recommendations" in values:
        ranked = values["recommendations"]
        values = ranked[0] if isinstance(ranked, list) and ranked else None
    if isinstance(values, dict) and "configuration" in values:
        values = values["configuration"]
    if not isinstance(values, dict):
        raise SearchSpaceMismatchError(
            f"Expected one JSON object of hyperparameters in {path}; found {type(values).__name__}. "
            "Give what `metaflow-hpo recommend --json` prints, or one configuration of it."
        )
    return learner.space.validate(values)
