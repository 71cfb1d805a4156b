"""What a person with a data set asks for: recommend, train, search. Their rows are prepared like every other task's."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from metaflow_hpo.adapters.feedback import identify
from metaflow_hpo.adapters.files import read_json, write_frame
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.sources.inbox import load_file
from metaflow_hpo.adapters.store import DataStore
from metaflow_hpo.errors import InvalidTableError, SearchSpaceMismatchError
from metaflow_hpo.space import Configuration
from metaflow_hpo.task import TaskData
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    from metaflow_hpo.recommend.recommendation import Observed

RECOMMENDED = "recommended"


@dataclass(frozen=True)
class Described:
    """A person's data set with its meta-features by name."""

    data: TaskData
    meta_features: dict[str, float]


def describe_file(path: Path, target: str | None) -> Described:
    """Read, prepare and describe a file.

    Raises:
        InvalidTaskError: If it cannot become a task.
    """
    from metaflow_hpo.collect.meta_features import describe

    data = load_file(path, target)
    return Described(data, describe(data))


def read_observed(path: Path, learner: str) -> "list[Observed]":
    """Read a person's own trials: a table with `performance` (higher is better) and `hp_<name>` columns.

    Lines without a performance (failed trials) are left out.

    Raises:
        InvalidTableError: If a column is missing or no line has a performance.
        SearchSpaceMismatchError: If a configuration does not belong to the learner's search space.
    """
    from metaflow_hpo.adapters.sources.tables import read_table
    from metaflow_hpo.learners.registry import get_learner
    from metaflow_hpo.recommend.recommendation import Observed
    from metaflow_hpo.surrogate.meta_dataset import read_configuration as read_row

    space, frame = get_learner(learner).space, read_table(path)
    needed = ["performance", *(f"hp_{name}" for name in space.names)]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise InvalidTableError(f"Observed trials need the columns {needed}; {path.name} misses {missing}.")
    values = pd.to_numeric(frame["performance"], errors="coerce")
    rows = frame.assign(performance=values).loc[values.notna()]
    if rows.empty:
        raise InvalidTableError(
            f"No line of {path.name} has a number in `performance`; there is nothing to go on from."
        )
    return [
        Observed(read_row({str(name): value for name, value in row.items()}, space), float(row["performance"]))
        for row in rows.to_dict("records")
    ]


def recommend(pipeline: Pipeline, described: Described, k: int, observed: "Sequence[Observed]" = ()) -> dict[str, Any]:
    """Return the champion's recommendations for a described task, as in the CLI's contract.

    Raises:
        NoChampionError: If no surrogate has been promoted yet.
    """
    from metaflow_hpo.recommend.recommendation import ServedRecommender

    champion = pipeline.registry.require_champion()
    served = ServedRecommender.load(pipeline.registry.download(champion.version))
    answer = served.recommend(described.meta_features, k, observed)
    lineage = {"surrogate_version": champion.version, "surrogate_name": champion.name, **answer["lineage"]}
    lineage["recommendation_id"] = identify(described.data.task.sha256, lineage, observed)
    return {"task": describe_task(described.data), **answer, "lineage": lineage}


def describe_task(data: TaskData) -> dict[str, Any]:
    """Return what a person wants to know of a prepared task, JSON-ready."""
    task = data.task
    names = ("task_id", "kind", "metric", "target", "rows", "columns", "classes", "test_rows", "sha256")
    return {**{name: getattr(task, name) for name in names}, "notes": list(task.notes)}


def read_configuration(path: Path, learner: str) -> Configuration:
    """Read a configuration from a JSON file.

    Raises:
        InvalidTableError: If the file is missing or no JSON.
        SearchSpaceMismatchError: If it does not belong to the learner's search space.
    """
    from metaflow_hpo.learners.registry import get_learner

    if not path.is_file():
        raise InvalidTableError(f"Expected a configuration in JSON at {path}; there is no such file.")
    values = read_json(path, remedy='Expected JSON such as {"learning_rate": 0.001, ...}.')
    # What `recommend --json` and `train --json` print may be given as it is.
    if isinstance(values, dict) and "recommendations" in values:
        listed = values["recommendations"]
        values = listed[0] if isinstance(listed, list) and listed else None
    if isinstance(values, dict) and "configuration" in values:
        values = values["configuration"]
    if not isinstance(values, dict):
        raise SearchSpaceMismatchError(
            f"Expected one JSON object of hyperparameters in {path}; found {type(values).__name__}. "
            "Give what `metaflow-hpo recommend --json` prints, or one configuration of it."
        )
    return get_learner(learner).space.validate(values)


def train(pipeline: Pipeline, data: TaskData, configurations: Sequence[Configuration], *, seed: int = 0) -> list[Trial]:
    """Train configurations, cross-validated and refitted for the test rows; each is recorded as an MLflow run."""
    from metaflow_hpo.learners.cross_validation import evaluate_configurations
    from metaflow_hpo.learners.registry import get_learner

    learner, epochs = get_learner(pipeline.settings.learner), pipeline.settings.fidelity_epochs
    finished: dict[int, Trial] = {}
    evaluated = evaluate_configurations(
        data, learner, list(configurations), strategy=RECOMMENDED, seed=seed, fidelity_epochs=epochs
    )
    for position, trial in evaluated:
        finished[position] = trial
        pipeline.progress("trainings", len(finished), len(configurations))
    trials = [finished[position] for position in range(len(configurations))]
    for trial in trials:
        _log_training(pipeline, data, trial)
    return trials


def _log_training(pipeline: Pipeline, data: TaskData, trial: Trial) -> None:
    name = f"{trial.task_id} {trial.configuration_id}"
    keys = {"task.sha256": data.task.sha256, "configuration_id": trial.configuration_id, "seed": str(trial.seed)}
    with pipeline.tracking.parent_run("training", name, keys) as run:
        run.set_tags(pipeline.tags({"task": data.task.sha256}) | {"task_id": trial.task_id, "status": trial.status})
        run.log_params(dict(trial.configuration))
        scores = {"performance": trial.performance, "test_performance": trial.test_performance}
        run.log_metrics({**scores, **trial.scores, "duration_s": trial.duration_s})
        run.log_curve("performance_by_epoch", trial.learning_curve)


def search(
    pipeline: Pipeline,
    data: TaskData,
    *,
    strategy: str,
    trials: int,
    seconds: float | None = None,
    seed: int = 0,
    output: Path | None = None,
) -> list[Trial]:
    """Search a person's data set; the same call goes on where a killed one stopped.

    Args:
        pipeline: The surroundings.
        data: The task.
        strategy: `recommended` (the champion's order) or a classic strategy.
        trials: How many configurations.
        seconds: Time limit; None for no limit.
        seed: Seed of the strategy and the trainings.
        output: Where to write the table of trials (parquet); kept in the data folder as well.
    """
    from metaflow_hpo.collect.search import search as search_space
    from metaflow_hpo.learners.registry import get_learner

    store, learner = DataStore(pipeline.settings.data / "own"), get_learner(pipeline.settings.learner)
    known = store.read_trials(data.task)
    count = 0

    def keep(trial: Trial) -> None:
        nonlocal count
        count += 1
        store.append_trial(data.task, trial)
        pipeline.progress("trials", count, trials)

    started = time.monotonic()
    if strategy == RECOMMENDED:
        found = train_recommended(pipeline, data, trials, seed, known, keep)
    else:
        found = search_space(
            data,
            learner,
            strategy=strategy,
            trials=trials,
            seconds=seconds,
            seed=seed,
            fidelity_epochs=pipeline.settings.fidelity_epochs,
            known=known,
            on_trial=keep,
        )
    store.write_trials(data.task, found, known)
    _log_search(pipeline, data, found, strategy, seed, time.monotonic() - started, output)
    return found


def train_recommended(
    pipeline: Pipeline, data: TaskData, trials: int, seed: int, known: Sequence[Trial], keep: Any
) -> list[Trial]:
    """Train the champion's first configurations, those not yet known under this strategy."""
    from metaflow_hpo.collect.meta_features import describe
    from metaflow_hpo.learners.cross_validation import evaluate_configurations
    from metaflow_hpo.learners.registry import get_learner
    from metaflow_hpo.space import configuration_id

    learner = get_learner(pipeline.settings.learner)
    epochs = pipeline.settings.fidelity_epochs or learner.max_epochs
    answer = recommend(pipeline, Described(data, describe(data)), trials)
    wanted = {configuration_id(r["configuration"]): r["configuration"] for r in answer["recommendations"]}
    done = {
        t.configuration_id: t
        for t in known
        if (t.learner, t.strategy, t.seed, t.fidelity_epochs) == (learner.name, RECOMMENDED, seed, epochs)
    }
    missing = [c for name, c in wanted.items() if name not in done]
    if missing:
        fresh = evaluate_configurations(data, learner, missing, strategy=RECOMMENDED, seed=seed, fidelity_epochs=epochs)
        for _, trial in fresh:
            keep(trial)
            done[trial.configuration_id] = trial
    return [done[name] for name in wanted]


def _log_search(
    pipeline: Pipeline,
    data: TaskData,
    found: Sequence[Trial],
    strategy: str,
    seed: int,
    seconds: float,
    output: Path | None,
) -> None:
    from metaflow_hpo.evaluate.plots import plot_search
    from metaflow_hpo.tables import trials_to_frame

    frame = trials_to_frame(found)
    if output is not None:
        write_frame(output, frame)
    keys = {"task.sha256": data.task.sha256, "strategy": strategy, "seed": str(seed), "trials": str(len(found))}
    with pipeline.tracking.parent_run("search", f"{data.task.task_id} {strategy}", keys) as run:
        run.set_tags(pipeline.tags({"task": data.task.sha256}))
        best = frame["performance"].max()
        run.log_metrics({"trials": len(frame), "best_performance": float(best), "seconds": seconds})
        run.log_table(frame, "trials")
        run.log_figure(plot_search(frame["performance"].to_numpy(dtype="float64"), data.task.task_id), "search.png")


def read_status(pipeline: Pipeline) -> dict[str, Any]:
    """Return what is known and served, as in the CLI's contract."""
    from metaflow_hpo.adapters.versioning import data_md5

    store = pipeline.store
    knowledge: dict[str, Any] = {"tasks": 0, "families": 0, "trials": 0, "learners": {}, "meta_dataset_md5": None}
    if store.meta_dataset_path.is_file():
        frame = store.read_meta_dataset()
        learners = frame.groupby("learner")["task_id"].agg(["nunique", "size"])
        knowledge = {
            "tasks": int(frame["task_id"].nunique()),
            "families": int(frame["family"].nunique()),
            "trials": len(frame),
            "learners": {
                str(n): {"tasks": int(r["nunique"]), "trials": int(r["size"])} for n, r in learners.iterrows()
            },
            "meta_dataset_md5": data_md5(store.meta_dataset_path),
        }
    champion = pipeline.registry.champion()
    served = (
        None
        if champion is None
        else {
            "name": champion.name,
            "version": champion.version,
            "metrics": dict(champion.metrics),
        }
    )
    data = {
        "folder": str(store.data),
        "tasks": len(list(store.data.glob("tasks/*.parquet"))),
        "search_results": len(list(store.data.glob("search_results/*.parquet"))),
        "meta_features": len(list(store.data.glob("meta_features/*.parquet"))),
        "tracking_uri": pipeline.tracking.tracking_uri,
    }
    return {"knowledge": knowledge, "champion": served, "data": data}
