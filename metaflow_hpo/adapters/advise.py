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
from metaflow_hpo.errors import InvalidTableError, NoChampionError, SearchSpaceMismatchError
from metaflow_hpo.space import Configuration, SearchSpace
from metaflow_hpo.task import TaskData
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    from metaflow_hpo.recommend.recommendation import Observed, ServedRecommender

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
    return describe_data(load_file(path, target))


def describe_data(data: TaskData) -> Described:
    """Describe a prepared data set."""
    from metaflow_hpo.collect.meta_features import describe

    return Described(data, describe(data))


def read_observed(path: Path, learner: str) -> "list[Observed]":
    """Read a person's own trials of a learner, see `read_observed_in`."""
    from metaflow_hpo.learners.registry import get_learner

    return read_observed_in(path, get_learner(learner).space)


def read_observed_in(path: Path, space: SearchSpace) -> "list[Observed]":
    """Read a person's own trials: a table with `performance` and `hp_<name>` columns.

    Lines without a performance (failed trials) are left out.

    Raises:
        InvalidTableError: If a column is missing or no line has a performance.
        SearchSpaceMismatchError: If a configuration does not belong to the search space.
    """
    from metaflow_hpo.adapters.sources.tables import read_table
    from metaflow_hpo.recommend.recommendation import Observed
    from metaflow_hpo.surrogate.meta_dataset import read_configuration as read_row

    frame = read_table(path)
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


def recommend(
    pipeline: Pipeline, described: Described, k: int, observed: "Sequence[Observed]" = (), *, per_time: bool = False
) -> dict[str, Any]:
    """Return recommendations for a described task, as in the CLI's contract.

    They are the champion's; before there is one of the learner, those of the knowledge that ships.

    Raises:
        NoChampionError: If no surrogate of the learner has been promoted, and none ships.
    """
    served, source = load_recommender(pipeline)
    return make_answer(served, source, described, k, observed, per_time=per_time)


def make_answer(
    served: "ServedRecommender",
    source: dict[str, Any],
    described: Described,
    k: int,
    observed: "Sequence[Observed]" = (),
    *,
    per_time: bool = False,
) -> dict[str, Any]:
    """Return what a recommender (`load_recommender`) says of a described task, as in the CLI's contract."""
    answer = served.recommend(described.meta_features, k, observed, per_time=per_time, explained=True)
    lineage = {**source, **answer["lineage"]}
    lineage["recommendation_id"] = identify(described.data.task.sha256, lineage, observed, per_time=per_time)
    return {"task": describe_task(described.data), **answer, "lineage": lineage}


def load_recommender(pipeline: Pipeline) -> "tuple[ServedRecommender, dict[str, Any]]":
    """Return who recommends for the learner of the settings, and its `surrogate_version` and `surrogate_name`.

    Raises:
        NoChampionError: If no surrogate of the learner has been promoted, and none ships.
    """
    from metaflow_hpo.recommend.recommendation import ServedRecommender

    learner, champion = pipeline.settings.learner, pipeline.registry.champion()
    if champion is not None:
        served = ServedRecommender.load(pipeline.registry.download(champion.version))
        if served.surrogate.learner == learner:
            return served, {"surrogate_version": champion.version, "surrogate_name": champion.name}
    knowledge = pipeline.knowledge
    folder = None if knowledge is None else knowledge.recommender_folder(learner)
    if knowledge is None or folder is None:
        found = "none has been promoted" if champion is None else f"{champion.name} version {champion.version} is not"
        raise NoChampionError(
            f"Expected a champion of the learner {learner!r} in {pipeline.tracking.address}; {found}, and this "
            "package ships no knowledge of it. Run `metaflow-hpo fit` and `metaflow-hpo evaluate`, materialize the "
            "asset `champion`, or choose another `--learner`."
        )
    return ServedRecommender.load(folder), {"surrogate_version": knowledge.version, "surrogate_name": "shipped"}


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
    trials = _train(pipeline, data, configurations, seed)
    for trial in trials:
        _log_training(pipeline, data, trial)
    return trials


def _train(pipeline: Pipeline, data: TaskData, configurations: Sequence[Configuration], seed: int) -> list[Trial]:
    from metaflow_hpo.learners.cross_validation import evaluate_configurations

    finished: dict[int, Trial] = {}
    evaluated = evaluate_configurations(
        data,
        pipeline.learner,
        list(configurations),
        strategy=RECOMMENDED,
        seed=seed,
        fidelity_epochs=pipeline.settings.fidelity_epochs,
    )
    for position, trial in evaluated:
        finished[position] = trial
        pipeline.progress("trainings", len(finished), len(configurations))
    return [finished[position] for position in range(len(configurations))]


def train_and_keep(
    pipeline: Pipeline, data: TaskData, configuration: Configuration, *, seed: int = 0
) -> tuple[Trial, dict[str, Any] | None]:
    """Train one configuration and register the network, see `keep_network`."""
    from metaflow_hpo.adapters.kept_network import keep_network

    trial = _train(pipeline, data, [configuration], seed)[0]
    return trial, keep_network(pipeline, data, trial, _log_training(pipeline, data, trial))


def _log_training(pipeline: Pipeline, data: TaskData, trial: Trial) -> str:
    """Record a trial as an MLflow run, once, and return the run."""
    name = f"{trial.task_id} {trial.configuration_id}"
    keys = {"task.sha256": data.task.sha256, "configuration_id": trial.configuration_id, "seed": str(trial.seed)}
    with pipeline.tracking.parent_run("training", name, keys) as run:
        run.set_tags(pipeline.tags({"task": data.task.sha256}) | {"task_id": trial.task_id, "status": trial.status})
        run.log_params(dict(trial.configuration))
        scores = {"performance": trial.performance, "test_performance": trial.test_performance}
        run.log_metrics({**scores, **trial.scores, "duration_s": trial.duration_s})
        run.log_curve("performance_by_epoch", trial.learning_curve)
    return run.run_id


def search(
    pipeline: Pipeline,
    data: TaskData,
    *,
    strategy: str,
    trials: int,
    seconds: float | None = None,
    per_time: bool = False,
    seed: int = 0,
    output: Path | None = None,
) -> list[Trial]:
    """Search a person's data set; the same call goes on where a killed one stopped.

    Args:
        pipeline: The surroundings.
        data: The task.
        strategy: `recommended` (the champion, or what ships, proposes anew after each batch) or a classic strategy.
        trials: How many configurations; with `halving` how many trainings, over all rungs.
        seconds: Time limit; None for no limit.
        per_time: Have `recommended` choose by expected gain per second of training instead of per trial.
        seed: Seed of the strategy and the trainings.
        output: Where to write the table of trials (parquet); kept in the data folder as well.
    """
    from metaflow_hpo.adapters.closed_loop import open_loop
    from metaflow_hpo.collect.search import search as search_space

    store, learner = DataStore(pipeline.settings.data / "own"), pipeline.learner
    known = store.read_trials(data.task)
    count = 0

    def keep(trial: Trial) -> None:
        nonlocal count
        count += 1
        store.append_trial(data.task, trial)
        pipeline.progress("trials", count, trials)

    started = time.monotonic()
    loop = open_loop(pipeline, data, seed, per_time=per_time) if strategy == RECOMMENDED else None
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
        proposer=None if loop is None else loop.strategy,
    )
    if loop is not None:
        loop.record(found)
    store.write_trials(data.task, found, known)
    _log_search(pipeline, data, found, strategy, seed, time.monotonic() - started, output)
    return found


def train_recommended(
    pipeline: Pipeline, data: TaskData, trials: int, seed: int, known: Sequence[Trial], keep: Any
) -> list[Trial]:
    """Train the first recommendations, those not yet known under this strategy."""
    from metaflow_hpo.learners.cross_validation import evaluate_configurations
    from metaflow_hpo.space import configuration_id

    learner = pipeline.learner
    epochs = pipeline.settings.fidelity_epochs or learner.max_epochs
    answer = recommend(pipeline, describe_data(data), trials)
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
    from metaflow_hpo.collect.search import find_best
    from metaflow_hpo.evaluate.plots import plot_learning_curves, plot_search
    from metaflow_hpo.tables import trials_to_frame

    frame = trials_to_frame(found)
    if output is not None:
        write_frame(output, frame)
    keys = {"task.sha256": data.task.sha256, "strategy": strategy, "seed": str(seed), "trials": str(len(found))}
    with pipeline.tracking.parent_run("search", f"{data.task.task_id} {strategy}", keys) as run:
        run.set_tags(pipeline.tags({"task": data.task.sha256}))
        best = find_best(found)
        reached = None if best is None else best.performance
        run.log_metrics({"trials": len(frame), "best_performance": reached, "seconds": seconds})
        run.log_table(frame, "trials")
        performance, epochs = frame["performance"].to_numpy(dtype="float64"), [t.fidelity_epochs for t in found]
        run.log_figure(plot_search(performance, data.task.task_id, epochs), "search.png")
        if any(trial.learning_curve for trial in found):
            curves = [trial.learning_curve for trial in found]
            run.log_figure(plot_learning_curves(curves, data.task.task_id), "learning_curves.png")


def read_status(pipeline: Pipeline) -> dict[str, Any]:
    """Return what is known and served, as in the CLI's contract.

    Raises:
        InvalidTableError: If a file of the shipped knowledge is missing or damaged.
    """
    store, champion = pipeline.store, pipeline.registry.champion()
    names = ("name", "version", "metrics")
    return {
        "knowledge": _summarise_knowledge(pipeline),
        "champion": None if champion is None else {name: getattr(champion, name) for name in names},
        "shipped": _describe_shipped(pipeline),
        "data": {
            "folder": str(store.data),
            "tasks": len(list(store.data.glob("tasks/*.parquet"))),
            "search_results": len(list(store.data.glob("search_results/*.parquet"))),
            "meta_features": len(list(store.data.glob("meta_features/*.parquet"))),
            "tracking_uri": pipeline.tracking.address,
        },
    }


def _summarise_knowledge(pipeline: Pipeline) -> dict[str, Any]:
    """Count the local meta-data set, or else the shipped one; `source` says which: `local`, `shipped` or `none`."""
    from metaflow_hpo.adapters.knowledge import count_trials
    from metaflow_hpo.adapters.versioning import data_md5

    store = pipeline.store
    if store.meta_dataset_path.is_file():
        md5 = data_md5(store.meta_dataset_path)
        return {**count_trials(store.read_meta_dataset()), "meta_dataset_md5": md5, "source": "local"}
    if pipeline.knowledge is not None:
        return {**pipeline.knowledge.summary, "source": "shipped"}
    return {"tasks": 0, "families": 0, "trials": 0, "learners": {}, "meta_dataset_md5": None, "source": "none"}


def _describe_shipped(pipeline: Pipeline) -> dict[str, Any] | None:
    """Return the provenance of the shipped knowledge, its files compared with their md5s."""
    if pipeline.knowledge is None:
        return None
    pipeline.knowledge.verify()
    return {"version": pipeline.knowledge.version, **pipeline.knowledge.provenance}
