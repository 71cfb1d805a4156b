"""Trials on a person's own data set: single configurations, and whole searches.

The one thing to know: trainings and searches are recorded as MLflow runs; a search keeps its trials in `data/own/` as
well, and goes on from them.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaflow_hpo.actions.advise import RECOMMENDED
from metaflow_hpo.actions.own_history import SEARCH, keep_trained, kept, remember_task
from metaflow_hpo.adapters.kept_trials import has_other_code, write_card
from metaflow_hpo.adapters.observed_trials import write_trials_file
from metaflow_hpo.adapters.pipeline import Pipeline, logger
from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.extras import require
from metaflow_hpo.space import Configuration
from metaflow_hpo.task import TaskData
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    from metaflow_hpo.actions.past_knowledge import PastKnowledge
    from metaflow_hpo.collect.search import Refit


def train(pipeline: Pipeline, data: TaskData, configurations: Sequence[Configuration], *, seed: int = 0) -> list[Trial]:
    """Train configurations, cross-validated and refitted for the test rows; each is recorded as an MLflow run."""
    trials = _train(pipeline, data, configurations, seed)
    keep_trained(pipeline, data, trials)
    for trial in trials:
        _log_training(pipeline, data, trial)
    return trials


def train_and_keep(
    pipeline: Pipeline, data: TaskData, configuration: Configuration, *, seed: int = 0, path: Path | None = None
) -> tuple[Trial, dict[str, Any] | None]:
    """Train one configuration and register the network of a table, which lies at `path`; see `keep_network`."""
    from metaflow_hpo.actions.kept_network import keep_network

    require("mlflow")
    trial = _train(pipeline, data, [configuration], seed)[0]
    keep_trained(pipeline, data, [trial])
    return trial, keep_network(pipeline, data, trial, _log_training(pipeline, data, trial), path)


def _train(pipeline: Pipeline, data: TaskData, configurations: Sequence[Configuration], seed: int) -> list[Trial]:
    from metaflow_hpo.collect.trials import train_trials

    pipeline.check_learner(data)
    finished: dict[int, Trial] = {}
    evaluated = train_trials(
        data,
        pipeline.learner,
        list(configurations),
        strategy=RECOMMENDED,
        seed=seed,
        fidelity=pipeline.settings.fidelity_epochs,
    )
    for position, trial in evaluated:
        finished[position] = trial
        pipeline.progress("trainings", len(finished), len(configurations))
    return [finished[position] for position in range(len(configurations))]


def _log_training(pipeline: Pipeline, data: TaskData, trial: Trial) -> str:
    """Record a trial as an MLflow run, once, and return the run; nothing where there is no MLflow."""
    if not pipeline.tracking.records:
        return ""
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
    refit: "Refit" = "best",
    stop: bool = True,
    workers: int | None = None,
    past: "PastKnowledge | None" = None,
    features: Mapping[str, float] | None = None,
) -> list[Trial]:
    """Search a person's task; the same call goes on where a killed one stopped.

    Args:
        pipeline: The surroundings.
        data: The task.
        strategy: `recommended` (what past tasks teach, or the champion, or what ships, asked anew after each batch;
            `tpe` where nothing is known of the learner), or another strategy.
        trials: How many configurations; with `halving` how many trainings, over all rungs.
        seconds: Time limit; None for no limit.
        per_time: Have the champion choose by expected gain per second of training instead of per trial.
        seed: Seed of the strategy and the trainings.
        output: Where to write the table of trials (csv or parquet); kept in the data folder as well.
        refit: Whether `all` trials or only the `best` is trained on all training rows too, for its test performance.
        stop: Stop trials whose learning curves will not reach the best, where that was learned from past tasks; not
            where all are refitted.
        workers: Trainings at once; what suits the learner unless given.
        past: What is known of the learner from past tasks; the champion or what ships unless given.
        features: Meta-features of the task, beside what its modality says of it; with `past`.
    """
    from metaflow_hpo.actions.proposing import choose_proposer
    from metaflow_hpo.collect.search import search as search_space

    pipeline.check_learner(data)
    store = kept(pipeline, SEARCH)
    learner = pipeline.learner if workers is None else pipeline.make_learner(workers)
    effort = learner.fidelity.check(pipeline.settings.fidelity_epochs or learner.fidelity.maximum)
    known = store.read_trials(data.task)
    mine = sum(trial.learner == learner.name for trial in known)
    if mine and has_other_code(pipeline.cards, learner):
        logger.warning(
            "The learner %r ran another command, or another version of its script, before: %d of its trials of this "
            "task are gone on from. Give --name to begin anew.",
            learner.name,
            mine,
        )
    write_card(pipeline.cards, learner)
    count = 0

    def keep(trial: Trial) -> None:
        nonlocal count
        count += 1
        store.append_trial(data.task, trial)
        pipeline.progress("trials", count, trials)

    started = time.monotonic()
    context = StrategyContext(
        learner.space,
        seed=seed,
        budget=trials,
        fidelity=effort,
        parallel=workers or getattr(learner, "workers", None) or StrategyContext.parallel,
        past=None if past is None else past.tasks,
        meta_features=None if past is None else past.describe(data, features),
    )
    proposer = choose_proposer(pipeline, data, strategy, context, past=past, per_time=per_time, refit=refit)
    found = search_space(
        data,
        learner,
        strategy=proposer.name,
        trials=trials,
        seconds=seconds,
        seed=seed,
        fidelity=effort,
        known=known,
        on_trial=keep,
        proposer=proposer.strategy,
        refit=refit,
        stopping=proposer.stopping if stop and refit == "best" else None,
    )
    if count < len(found):
        logger.info("%d of %d trials were known from earlier searches of this task.", len(found) - count, len(found))
    if proposer.loop is not None:
        proposer.loop.record(found)
    store.write_trials(data.task, found)
    remember_task(pipeline, data)
    if output is not None:
        write_trials(output, data, found)
    _log_search(pipeline, data, found, proposer.name, seed, time.monotonic() - started)
    return found


def write_trials(path: Path, data: TaskData, trials: Sequence[Trial]) -> None:
    """Write trials as csv or parquet, as the path ends, with the meta-features that the task itself states."""
    from metaflow_hpo.tables import META_PREFIX, trials_to_frame

    stated = {f"{META_PREFIX}given.{name}": value for name, value in getattr(data, "meta_features", {}).items()}
    write_trials_file(path, trials_to_frame(trials).assign(**stated))


def _log_search(
    pipeline: Pipeline,
    data: TaskData,
    found: Sequence[Trial],
    strategy: str,
    seed: int,
    seconds: float,
) -> None:
    if not pipeline.tracking.records:
        return
    from metaflow_hpo.collect.search import find_best
    from metaflow_hpo.evaluate.plots import plot_learning_curves, plot_search
    from metaflow_hpo.tables import trials_to_frame

    frame = trials_to_frame(found)
    keys = {"task.sha256": data.task.sha256, "strategy": strategy, "seed": str(seed), "trials": str(len(found))}
    with pipeline.tracking.parent_run("search", f"{data.task.task_id} {strategy}", keys) as run:
        run.set_tags(pipeline.tags({"task": data.task.sha256}))
        best = find_best(found)
        reached = None if best is None else best.performance
        run.log_metrics({"trials": len(frame), "best_performance": reached, "seconds": seconds})
        run.log_table(frame, "trials")
        performance, epochs = frame["performance"].to_numpy(dtype="float64"), [t.fidelity for t in found]
        run.log_figure(plot_search(performance, data.task.task_id, epochs), "search.png")
        if any(trial.learning_curve for trial in found):
            curves = [trial.learning_curve for trial in found]
            run.log_figure(plot_learning_curves(curves, data.task.task_id), "learning_curves.png")
