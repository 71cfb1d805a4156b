"""Step 1 of the pipeline: catalogue, searches, meta-features, meta-data set.

The one thing to know: what is already known is kept, so that calling a step again only does what is missing.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pandas as pd

from metaflow_hpo.actions.own_history import add_own, has_own_trials, without_own
from metaflow_hpo.actions.plan_searches import plan_searches
from metaflow_hpo.actions.task_search import search_task, start_recommended
from metaflow_hpo.adapters.files import read_frame
from metaflow_hpo.adapters.kept_trials import SHA256
from metaflow_hpo.adapters.pipeline import Metadata, Pipeline, logger
from metaflow_hpo.adapters.ray_search import Searched, search_on_ray
from metaflow_hpo.adapters.run import Run
from metaflow_hpo.adapters.store import DEFAULT_LEARNER
from metaflow_hpo.adapters.versioning import data_md5, file_md5
from metaflow_hpo.errors import InvalidTaskError, MetaflowHPOError
from metaflow_hpo.learners.registry import MODALITY_OF
from metaflow_hpo.modalities.families import assign_families
from metaflow_hpo.modalities.hints import is_landed
from metaflow_hpo.modalities.modality import Sampling, Showing
from metaflow_hpo.modalities.registry import describe, get_modality, groups_of
from metaflow_hpo.tables import HP_PREFIX, meta_feature_columns
from metaflow_hpo.task import TABLE, TaskData

_SHOWN = 10
_CATALOGUE_SHOWN = (
    "task_id", "family", "modality", "kind", "metric", "rows", "columns", "classes", "licence", "source"
)  # fmt: skip
_OF_ONE_TASK = (MetaflowHPOError, ValueError, TypeError, ArithmeticError, LookupError)
"""What a strange task can raise; a full disk or a server that is gone concerns all."""


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
        InvalidTaskError: If the built-in data are damaged, or no task is left. A bad file of the inbox goes to
            quarantine, with a warning.
    """
    from metaflow_hpo.actions.intake import take_in
    from metaflow_hpo.adapters.sources.chosen import load_chosen

    others = list(load_chosen(pipeline.settings, pipeline.progress))
    intake = take_in(pipeline.store, others)
    tasks = [_sample(data, pipeline.settings.max_rows) for data in assign_families([*others, *intake.tasks])]
    if not tasks:
        raise InvalidTaskError(
            f"Expected tasks of the catalogue {pipeline.settings.catalogue!r} or files in {pipeline.store.inbox}; "
            "found none that can be read. What was left out is named above."
        )
    frame = pipeline.store.write_catalogue(tasks)
    return {
        "tasks": len(frame),
        "families": int(frame["family"].nunique()),
        "modalities": frame["modality"].value_counts().to_dict(),
        "kinds": frame["kind"].value_counts().to_dict(),
        "deliveries": dict(Counter(delivery.outcome for delivery in intake.fresh)),
        "refused": {delivery.file: delivery.reason for delivery in intake.fresh if delivery.reason},
        "md5": file_md5(pipeline.store.catalogue_path),
        "table": frame[list(_CATALOGUE_SHOWN)],
    }


def _sample(data: TaskData, max_rows: int | None) -> TaskData:
    """Sample a large task; after the families, which are found by whole columns."""
    modality = get_modality(data.task.modality)
    return modality.sample(data, max_rows) if max_rows is not None and isinstance(modality, Sampling) else data


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
    spread = _spread_families(pipeline, task_ids)
    inputs = pipeline.settings.digest(
        "learner", "core_trials", "random_trials", "tpe_trials", "repeat_every", "fidelity_epochs", "seed"
    )
    with _parent_run(pipeline, "search_results", inputs) as parent:
        for done, searched in enumerate(_search_elsewhere(pipeline, spread, failures), start=1):
            with _noting(failures, searched.task_id):
                reports[searched.task_id] = search_task(pipeline, searched.task_id, parent, searched)
            pipeline.progress("searches", done, len(task_ids))
        parent.log_metrics({"tasks": len(reports), "trials": sum(r["trials"] for r in reports.values())})
    return _refuse_failures("searched", task_ids, reports, failures)


def _spread_families(pipeline: Pipeline, task_ids: Sequence[str]) -> list[str]:
    """Return the tasks with those first that are the first of their family, so that half of the work is of use."""
    families = pipeline.store.read_catalogue().set_index("task_id")["family"]
    seen: Counter[str] = Counter()
    places = {}
    for task_id in task_ids:
        family = str(families.get(task_id, task_id))
        places[task_id] = seen[family]
        seen[family] += 1
    return sorted(task_ids, key=places.__getitem__)


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


def _search_elsewhere(pipeline: Pipeline, task_ids: Sequence[str], failures: dict[str, str]) -> Iterator[Searched]:
    """Yield the tasks to search: at once, or when a Ray cluster has made all their trials, which then are known."""
    if pipeline.settings.executor == "local":
        yield from map(Searched, task_ids)
    else:
        # What the champion recommends comes first, a few trials; workers have no champion.
        catalogue = pipeline.store.read_catalogue()
        landed = set(catalogue.loc[catalogue["source"].map(is_landed), "task_id"])
        started: dict[str, int] = {}
        for task_id in sorted(landed.intersection(task_ids)):
            with _noting(failures, task_id):
                started[task_id] = start_recommended(pipeline, task_id)
        left = [task_id for task_id in task_ids if task_id not in failures]
        for done in search_on_ray(pipeline, left, lambda t: plan_searches(pipeline.on(t.modality), t.sha256)):
            yield replace(done, fresh_trials=done.fresh_trials + started.get(done.task_id, 0))


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
    data = pipeline.store.read_task(task_id)
    groups = groups_of(data.task.modality)
    if not pipeline.store.has_meta_features(data.task, [name for group in groups for name in group.columns]):
        started = time.monotonic()
        values = describe(data)
        pipeline.store.write_meta_features(data.task, values, time.monotonic() - started)
    path = pipeline.store.meta_features_path(task_id)
    frame = read_frame(path)
    names = meta_feature_columns(frame)
    modality = get_modality(data.task.modality)
    return {
        "shown": modality.show(data) if isinstance(modality, Showing) else None,
        "meta_features": len(names),
        "groups": ", ".join(map(str, groups)),
        "seconds": float(frame["duration_s"].iloc[0]),
        "md5": file_md5(path),
        "values": {name: float(frame[name].iloc[0]) for name in names},
    }


def join_tasks(pipeline: Pipeline) -> Metadata:
    """Join trials with meta-features over all tasks that the learner can train on: the meta-data set.

    A task that has not been searched or described yet, or whose rows have changed since, is left out with a warning: it
    must not hold up the others. What people's own searches found is added, see `own_history`.
    """
    store = pipeline.store
    collected, waiting = _join_collected(pipeline)
    frame = add_own(pipeline, _add_shipped(pipeline, collected))
    if frame is None:
        raise MetaflowHPOError(
            f"Expected trials of {pipeline.learner_name} in {store.data}; found none. Search tasks with it: "
            "metaflow-hpo search TASK ..., or drop them into the inbox."
        )
    store.write_history(frame)
    learner = frame.loc[frame["learner"] == pipeline.learner_name]
    return {
        "tasks": int(frame["task_id"].nunique()),
        "families": int(frame["family"].nunique()),
        "trials": len(frame),
        "failed_fraction": float((learner["status"] == "failed").mean()),
        "waiting_tasks": len(waiting),
        "md5": data_md5(store.meta_dataset_path),
    }


def _join_collected(pipeline: Pipeline) -> tuple[pd.DataFrame | None, Sequence[str]]:
    """Return what the pipeline collected, and the tasks that are not collected yet."""
    store = pipeline.store
    if not store.catalogue_path.is_file() and has_own_trials(pipeline):
        # A meta-data set that came as a table has no catalogue beside it.
        return (without_own(store.read_meta_dataset()) if store.meta_dataset_path.is_file() else None), ()
    task_ids = pipeline.task_ids()
    waiting = list(dict.fromkeys(store.waiting_tasks(task_ids)))
    ready = [task_id for task_id in task_ids if task_id not in set(waiting)]
    if waiting and ready:
        logger.warning("Left out, as they are not searched and described yet: %s", ", ".join(waiting))
    if not ready and has_own_trials(pipeline):
        return None, waiting
    frame = store.join_collected(ready or task_ids)
    if store.learner == DEFAULT_LEARNER:
        return frame, waiting
    rows = frame.loc[frame["learner"] == store.learner].dropna(axis="columns", how="all")
    return (rows.reset_index(drop=True) if len(rows) else None), waiting


def _add_shipped(pipeline: Pipeline, collected: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return what was collected with what ships of a learner of items, of tasks that were not collected here."""
    knowledge, name = pipeline.knowledge, pipeline.learner_name
    if knowledge is None or not pipeline.settings.learn_shipped or MODALITY_OF.get(name, TABLE) == TABLE:
        return collected
    shipped = knowledge.read_meta_dataset()
    shipped = shipped.loc[shipped["learner"] == name]
    if collected is not None:
        known = shipped["task_sha256"].isin(collected[SHA256]) | shipped["task_id"].isin(collected["task_id"])
        shipped = shipped.loc[~known]
    found = {column for column in map(str, shipped.columns) if column.startswith(HP_PREFIX)}
    space = pipeline.learner.space
    always = {
        HP_PREFIX + hyperparameter.name for hyperparameter in space.hyperparameters if not hyperparameter.condition
    }
    # One that no trial that ships has made active has no column there.
    if not always <= found <= {HP_PREFIX + name for name in space.names}:
        return collected  # of another version of the learner
    return pd.concat([shipped, *([] if collected is None else [collected])], ignore_index=True)


@contextmanager
def _parent_run(pipeline: Pipeline, step: str, inputs: str) -> Iterator[Run]:
    md5 = {"catalogue": file_md5(pipeline.store.catalogue_path)}
    keys = pipeline.key_tags(step, f"{inputs}/{md5['catalogue'][:12]}")
    with pipeline.tracking.parent_run(step, f"{step} {time.strftime('%Y-%m-%d %H:%M')}", keys) as run:
        run.set_tags(pipeline.tags(md5) | keys)
        yield run
