"""The training of what is recommended for held-out tasks, whoever recommends it.

The one thing to know: every training is kept in a journal, so that an evaluation that is repeated trains nothing again.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from metaflow_hpo.actions.advise import RECOMMENDED
from metaflow_hpo.adapters.journal import Journal
from metaflow_hpo.adapters.pipeline import Pipeline, logger
from metaflow_hpo.learners.recorded import RecordedLearner
from metaflow_hpo.space import Configuration, configuration_id
from metaflow_hpo.tables import record_to_trial, trial_to_record
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    from metaflow_hpo.evaluate.realised import Realised
    from metaflow_hpo.recommender.recommender import Recommender

QUICK_S = 0.5
"""Seconds of the median trial up to which it does not matter how many are trained."""
MAX_TASKS = 12
"""Held-out tasks that are trained on where it does, unless the settings say how many."""
_SHA256 = "task_sha256"

Recommend = Callable[[Sequence[str], int], Mapping[str, Sequence[Configuration]]]
"""Called with the names of held-out tasks and a number of recommendations."""


def realise(
    pipeline: Pipeline, recommender: "Recommender", families: Mapping[str, str], recommend: Recommend
) -> "Realised":
    """Train the first recommendations and the default afresh on held-out tasks, and compare them with random trials.

    Where a trial took less than `QUICK_S`, five recommendations are trained on every task, elsewhere the first one on
    `MAX_TASKS`, one of each family before a second of any.

    Args:
        pipeline: The surroundings.
        recommender: Knows what performances are, and what the tasks have given.
        families: Family of each held-out task.
        recommend: Recommends for tasks whose families it does not know.
    """
    from metaflow_hpo.evaluate.realised import Realised, choose_random_trials, find_places

    frame = pipeline.store.read_meta_dataset()
    trials = frame.loc[frame["learner"] == pipeline.learner_name]
    is_quick = bool(trials["duration_s"].median() < QUICK_S)
    tasks, note = _choose_tasks(pipeline, families, len(families) if is_quick else MAX_TASKS)
    if note:
        logger.info("%s", note)
    if not tasks:
        return Realised.nothing(note)
    trained = _train(pipeline, recommend(tasks, 5 if is_quick else 1))
    default_id = configuration_id(pipeline.learner.space.default)
    random = choose_random_trials(trials, pipeline.learner_name, default_id)
    if recommender.bounds is None:
        known = recommender.history
        ranges = pd.DataFrame({"worst": known.worst, "best": known.best}, index=list(known.task_ids))
        trained, random = find_places(trained, random, ranges)
        note = f"{note} Gains are shares of the distance between a task's worst and best known performance.".strip()
    return Realised.compare(trained, random, note)


def _choose_tasks(pipeline: Pipeline, families: Mapping[str, str], most: int) -> tuple[list[str], str]:
    """Return the tasks that are trained on, and why these are not all."""
    from metaflow_hpo.evaluate.realised import spread_over_families

    store, limit = pipeline.store, pipeline.settings.trained_tasks
    if limit == 0:
        return [], "Nothing was trained: the setting trained_tasks is 0."
    if isinstance(pipeline.learner, RecordedLearner):
        return [], f"Nothing was trained: of the learner {pipeline.learner_name} only trials are here, not its code."
    # The rows of tasks that are known from what ships, or from other people's tables, are not here.
    here = {task_id: family for task_id, family in families.items() if store.task_path(task_id).is_file()}
    if not here:
        return [], f"Nothing was trained: the rows of none of the {len(families)} held-out tasks are here."
    tasks = spread_over_families(here, most if limit is None else limit)
    return tasks, "" if len(tasks) == len(families) else f"Trained on {len(tasks)} of {len(families)} held-out tasks."


def _train(pipeline: Pipeline, recommended: Mapping[str, Sequence[Configuration]]) -> dict[str, list[Trial]]:
    """Return fresh trials by task: what is recommended, then the default; those that are known are not repeated."""
    from metaflow_hpo.collect.trials import train_trials
    from metaflow_hpo.evaluate.realised import FRESH_SEED

    learner, effort, store = pipeline.learner, pipeline.epochs, pipeline.store
    journal = Journal(store.data / "mlflow" / "realised.journal.jsonl")
    known = _read_trained(journal)
    trained: dict[str, list[Trial]] = {}
    for done, (task_id, configurations) in enumerate(recommended.items(), start=1):
        data = store.read_task(task_id)
        chosen = [*configurations, learner.space.default]
        keys = [(data.task.sha256, learner.name, effort, configuration_id(c)) for c in chosen]
        missing = {key: c for key, c in zip(keys, chosen, strict=True) if key not in known}
        if missing:
            fresh = train_trials(
                data, learner, list(missing.values()), strategy=RECOMMENDED, seed=FRESH_SEED, fidelity=effort
            )
            for position, trial in fresh:
                journal.append({**trial_to_record(trial), _SHA256: data.task.sha256})
                known[list(missing)[position]] = trial
        trained[task_id] = [known[key] for key in keys]
        pipeline.progress("held-out tasks trained", done, len(recommended))
    return trained


def _read_trained(journal: Journal) -> dict[tuple[str, str, int, str], Trial]:
    """Return the trainings of earlier evaluations by rows, learner, fidelity and configuration."""
    known = {}
    for record in journal.read():
        sha256 = str(record.pop(_SHA256))
        trial = record_to_trial(record)
        known[(sha256, trial.learner, trial.fidelity, trial.configuration_id)] = trial
    return known
