"""The loop closes: trials on people's own tasks join the history that `fit` learns from.

What the pipeline collected stays as it is; the column `source` says of each trial where it came from. Relatives are
found by what tasks share, as for the catalogue, so that no family stands on both sides of a split.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from metaflow_hpo.adapters.kept_trials import SHA256, KeptTrials, join, to_frame
from metaflow_hpo.adapters.own_tasks import OwnTask, OwnTasks
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.errors import MetaflowHPOError, listed
from metaflow_hpo.modalities.families import fingerprint, merge_families
from metaflow_hpo.modalities.registry import describe
from metaflow_hpo.space import Configuration
from metaflow_hpo.tables import TRIAL_KEY, meta_feature_columns
from metaflow_hpo.task import Task, TaskData, name_apart
from metaflow_hpo.trial import Trial

logger = logging.getLogger("metaflow_hpo")

SOURCE = "source"
COLLECTED = "collected"
SEARCH, TRAIN, FEEDBACK, IMPORTED = "search", "train", "feedback", "mlflow"
"""Where trials come from: the pipeline, or one of these; the first counts where a trial is known twice."""
_FOLDERS = {SEARCH: "search_results", TRAIN: "trained", FEEDBACK: "feedback", IMPORTED: "imported"}


def kept(pipeline: Pipeline, source: str) -> KeptTrials:
    """Return the trials on people's own tasks that come from `search`, `train`, `feedback` or MLflow."""
    return KeptTrials(pipeline.settings.data / "own" / _FOLDERS[source])


def remember_task(pipeline: Pipeline, data: TaskData, meta_features: Mapping[str, float] | None = None) -> None:
    """Keep what a task is, unless the settings say that it is not to be learned from.

    A data folder that cannot be written to costs the record, not the answer; trials that cannot be kept are an error.

    Args:
        pipeline: The surroundings.
        data: The task.
        meta_features: Its description, where that is known already.
    """
    if not pipeline.settings.learn:
        return
    tasks, measured = own_tasks(pipeline), meta_features
    if measured is None:
        known = tasks.find(data.task.sha256)
        measured = describe(data) if known is None else known.meta_features
    try:
        tasks.write(OwnTask(data.task, fingerprint(data), measured))
    except OSError as error:
        logger.warning("The task %s is not kept to be learned from: %s", data.task.task_id, error)


def keep_trained(pipeline: Pipeline, data: TaskData, trials: Sequence[Trial]) -> None:
    """Keep single trainings of a person's task, unless the settings say that they are not to be learned from."""
    if pipeline.settings.learn:
        remember_task(pipeline, data)
        kept(pipeline, TRAIN).write_trials(data.task, trials)


def keep_feedback(pipeline: Pipeline, sha256: str, outcomes: Sequence[tuple[Configuration, float]]) -> None:
    """Keep what a person says came of configurations, of a task that is known here.

    Args:
        pipeline: The surroundings.
        sha256: Digest of the task.
        outcomes: Configurations and their performance, higher is better; NaN for a failed training.
    """
    own = own_tasks(pipeline).find(sha256) if pipeline.settings.learn else None
    if own is not None:
        trials = [_make_trial(pipeline, own.task, configuration, value) for configuration, value in outcomes]
        kept(pipeline, FEEDBACK).write_trials(own.task, trials)


def _make_trial(pipeline: Pipeline, task: Task, configuration: Configuration, performance: float) -> Trial:
    has_failed = math.isnan(performance)
    return Trial(
        task_id=task.task_id,
        family=task.family,
        learner=pipeline.learner_name,
        configuration=configuration,
        strategy="recommended",
        seed=0,
        fidelity=pipeline.epochs,
        fidelity_unit=pipeline.learner.fidelity.unit,
        performance=performance,
        test_performance=float("nan"),
        duration_s=0.0,
        status="failed" if has_failed else "ok",
        reason="said by a person" if has_failed else "",
    )


def has_own_trials(pipeline: Pipeline) -> bool:
    """Tell whether the learner was tried on tasks of people's own that may be learned from."""
    return pipeline.settings.learn and next(_find_trials(pipeline), None) is not None


def choose_learned(pipeline: Pipeline) -> Pipeline:
    """Return the surroundings of what there is to learn: with the one learner that people tried where it is another.

    Raises:
        MetaflowHPOError: If that of the settings was not tried, nobody chose it, and several others were tried.
    """
    if pipeline.is_chosen or pipeline.store.meta_dataset_path.is_file() or has_own_trials(pipeline):
        return pipeline
    own = own_tasks(pipeline).read() if pipeline.settings.learn else ()
    read = (kept(pipeline, source).read_trials(one.task) for one in own for source in _FOLDERS)
    tried = sorted({trial.learner for trials in read for trial in trials})
    if len(tried) > 1:
        raise MetaflowHPOError(
            f"Expected trials of {pipeline.learner_name} in {pipeline.store.data}; found those of {listed(tried)}. Say "
            f"which one: --learner {tried[0]}."
        )
    return pipeline.tuning(tried[0]) if tried else pipeline


def own_metrics(pipeline: Pipeline) -> dict[str, Any]:
    """Return the metric of each task of people's own, by its id."""
    return {own.task.task_id: own.task.metric for own in own_tasks(pipeline).read()}


def add_own(pipeline: Pipeline, collected: pd.DataFrame | None) -> pd.DataFrame | None:
    """Return what was collected with the learner's trials on people's own tasks; as it is where there are none.

    Args:
        pipeline: The surroundings.
        collected: Trials with meta-features; None where nothing was collected.
    """
    found = list(_find_trials(pipeline)) if pipeline.settings.learn else []
    if not found:
        return collected
    catalogue = _read_catalogue(pipeline)
    names = _name_tasks([own.task for own, _, _ in found], catalogue, collected)
    families = _find_families(pipeline, [own for own, _, _ in found], catalogue)
    parts = [] if collected is None else [collected.assign(**{SOURCE: COLLECTED})]
    for own, source, trials in found:
        sha256 = own.task.sha256
        task_id = names[sha256]
        renamed = [replace(trial, task_id=task_id, family=families[sha256]) for trial in trials]
        described = dict(own.meta_features)
        parts.append(to_frame(own.task, renamed).drop(columns=SHA256).assign(**described, **{SOURCE: source}))
    frame = pd.concat(parts, ignore_index=True)
    # One newcomer can make relatives of two families.
    frame["family"] = frame["family"].map(lambda family: families.get(family, family))
    fidelities = [name for name in frame.columns if name.startswith("fidelity_")]
    return frame.drop_duplicates([*TRIAL_KEY, *fidelities], ignore_index=True)


def without_own(frame: pd.DataFrame) -> pd.DataFrame | None:
    """Return what the pipeline collected of a meta-data set; None where that is nothing."""
    if SOURCE not in frame.columns:
        return frame
    rows = frame.loc[frame[SOURCE] == COLLECTED].drop(columns=SOURCE).dropna(axis="columns", how="all")
    return rows.reset_index(drop=True) if len(rows) else None


def own_tasks(pipeline: Pipeline) -> OwnTasks:
    """Return what is kept of people's own tasks."""
    return OwnTasks(pipeline.settings.data / "own" / "tasks")


def _find_trials(pipeline: Pipeline) -> Iterator[tuple[OwnTask, str, list[Trial]]]:
    """Yield tasks with the learner's trials on them, and where these come from; each trial once."""
    for own in own_tasks(pipeline).read():
        known: list[Trial] = []
        for source in _FOLDERS:
            read = kept(pipeline, source).read_trials(own.task)
            mine = [trial for trial in read if trial.learner == pipeline.learner_name]
            fresh = join(known, mine)[len(known) :]
            known += fresh
            if fresh:
                yield own, source, fresh


def _read_catalogue(pipeline: Pipeline) -> pd.DataFrame | None:
    store = pipeline.store
    return store.read_catalogue() if store.catalogue_path.is_file() else None


def _name_tasks(
    tasks: Sequence[Task], catalogue: pd.DataFrame | None, collected: pd.DataFrame | None
) -> dict[str, str]:
    """Return the id of each task by its digest: that of the catalogue where it holds the same rows, else its own.

    Args:
        tasks: Tasks of people's own, several of one digest where trials come from several sources.
        catalogue: The catalogue.
        collected: What else there is.
    """
    known = {} if catalogue is None else dict(zip(catalogue["sha256"], catalogue["task_id"], strict=True))
    taken = set(known.values()) | (set() if collected is None else set(collected["task_id"]))
    names: dict[str, str] = {}
    for task in tasks:
        if task.sha256 in names:
            continue
        own = task.task_id if task.task_id not in taken else name_apart(task)
        names[task.sha256] = known.get(task.sha256, own)
        taken.add(names[task.sha256])
    return names


def _find_families(pipeline: Pipeline, owns: Sequence[OwnTask], catalogue: pd.DataFrame | None) -> dict[str, str]:
    """Return the family of each task of people's own by its digest, and of each family of the catalogue by its name."""
    declared, prints = [], []
    if catalogue is not None:
        modalities = {own.task.modality for own in owns}
        for line in catalogue.loc[catalogue["modality"].isin(modalities)].to_dict("records"):
            declared.append(str(line["family"]))
            prints.append(fingerprint(pipeline.store.read_task(str(line["task_id"]))))
    merged = merge_families([*declared, *(own.task.family for own in owns)], [*prints, *(o.fingerprints for o in owns)])
    names = [*declared, *(own.task.sha256 for own in owns)]
    return dict(zip(names, merged, strict=True))


def is_collected(frame: pd.DataFrame) -> "pd.Series[bool]":
    """Tell of each trial whether the pipeline collected it."""
    return frame[SOURCE] == COLLECTED if SOURCE in frame.columns else pd.Series(True, frame.index)


def describes(frame: pd.DataFrame) -> bool:
    """Tell whether every task of a table is described by every meta-feature."""
    names = meta_feature_columns(frame)
    return bool(names) and not frame[names].isna().to_numpy().any()
