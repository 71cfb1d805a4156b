"""The searches of one task, from the trials that are known to its table and its MLflow run.

The one thing to know: a search that finds everything known writes nothing, so that what is made from it stays valid.
"""

import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from metaflow_hpo.actions.champion_start import search_recommended
from metaflow_hpo.actions.plan_searches import plan_searches
from metaflow_hpo.adapters.kept_trials import write_card
from metaflow_hpo.adapters.pipeline import Metadata, Pipeline
from metaflow_hpo.adapters.ray_search import Searched
from metaflow_hpo.adapters.run import Run
from metaflow_hpo.adapters.versioning import file_md5
from metaflow_hpo.collect.plans import count_trials, run_plan
from metaflow_hpo.collect.strategies.registry import CORE
from metaflow_hpo.modalities.hints import is_landed
from metaflow_hpo.task import Task
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    from metaflow_hpo.history import Array


def start_recommended(pipeline: Pipeline, task_id: str) -> int:
    """Train on this machine what the champion recommends for a landed task; return the number of fresh trials."""
    data = pipeline.store.read_task(task_id)
    pipeline = pipeline.on(data.task.modality)
    fresh: list[Trial] = []
    search_recommended(pipeline, data, pipeline.store.read_trials(data.task), _keeper(pipeline, data.task, fresh))
    return len(fresh)


def _keeper(pipeline: Pipeline, task: Task, fresh: list[Trial], total: int = 0) -> Callable[[Trial], None]:
    """Return what puts a finished trial into the journal and into `fresh`, and shows how many of `total` there are."""

    def keep(trial: Trial) -> None:
        pipeline.store.append_trial(task, trial)
        fresh.append(trial)
        if total:
            pipeline.progress(f"trials on {task.task_id}", len(fresh), total)

    return keep


def search_task(pipeline: Pipeline, task_id: str, parent: Run, elsewhere: Searched) -> Metadata:
    """Search a task as the settings say, write its table and record it as a run below `parent`.

    Args:
        pipeline: The surroundings.
        task_id: The task.
        parent: The MLflow run of all searches.
        elsewhere: What a cluster has searched of it before.

    Returns:
        What its partition reports.
    """
    from metaflow_hpo.tables import trials_to_frame

    data = pipeline.store.read_task(task_id)
    pipeline = pipeline.on(data.task.modality)
    settings, store = pipeline.settings, pipeline.store
    write_card(pipeline.cards, pipeline.learner)
    known = store.read_trials(data.task)
    started = time.monotonic()
    fresh: list[Trial] = []
    plan = plan_searches(pipeline, data.task.sha256)
    keep = _keeper(pipeline, data.task, fresh, count_trials(plan))
    trials = search_recommended(pipeline, data, known, keep) if is_landed(data.task.source) else []
    known = [*known, *trials]  # the shared core holds them too, and copies them
    trials += run_plan(
        data,
        pipeline.learner,
        plan,
        fidelity=settings.fidelity_epochs,
        known=known,
        on_trial=keep,
        refit=settings.refit,
        informed=settings.informed_searches,
    )
    path = store.search_results_path(task_id)
    # A search that found nothing to train leaves the table as it is, and with it the md5 of everything downstream.
    is_new = not store.is_searched(data.task)
    if is_new:
        store.write_trials(data.task, trials)
    # Without the trials of other learners and fidelities, which the table keeps.
    frame = trials_to_frame(trials)
    fresh_trials = elsewhere.fresh_trials + len(fresh)
    seconds = elsewhere.seconds + time.monotonic() - started
    report = _report(task_id, frame, fresh_trials=fresh_trials, seconds=seconds, md5=file_md5(path))
    if is_new:
        _log_search(pipeline, parent, task_id, frame, report)
    return report


def _report(task_id: str, frame: pd.DataFrame, *, fresh_trials: int, seconds: float, md5: str) -> Metadata:
    performance = frame["performance"].to_numpy(dtype="float64")
    return {
        "task_id": task_id,
        "trials": len(frame),
        "fresh_trials": fresh_trials,
        "failed_fraction": float((frame["status"] == "failed").mean()),
        "best_performance": float(frame["performance"].max()),
        "default_performance": float(frame.loc[frame["strategy"].isin(CORE), "performance"].iloc[0]),
        "seconds": seconds,
        "md5": md5,
        "performance": performance,
        "plot": _draw_search(performance, task_id),
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
