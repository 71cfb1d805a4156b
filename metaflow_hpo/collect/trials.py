"""Trials from outcomes: the one place where what a learner returns becomes a row of the history."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from metaflow_hpo.learners.learner import Judge, Learner, Outcome, Refitting, check_request, ending
from metaflow_hpo.space import Configuration
from metaflow_hpo.task import Task, TaskData
from metaflow_hpo.trial import Trial


def train_trials(
    data: TaskData,
    learner: Learner,
    configurations: Sequence[Configuration],
    *,
    strategy: str,
    seed: int,
    fidelity: int | None = None,
    refit: bool = True,
    judge: Judge | None = None,
) -> Iterator[tuple[int, Trial]]:
    """Train configurations on a task.

    Args:
        data: The task.
        learner: What is trained.
        configurations: Configurations of `learner.space`.
        strategy: Name of what proposed them.
        seed: Seed of the trainings.
        fidelity: Training effort; None for the full fidelity.
        refit: Measure test performance as well, where that takes a training of its own.
        judge: Stops what is not worth going on with, where the learner can; not with a refit.

    Returns:
        An iterator over `(position in configurations, trial)`, in the order in which configurations are finished.

    Raises:
        SearchSpaceMismatchError: If a configuration or the fidelity is outside the search space.
        MetaflowHPOError: If a learner refuses the request.
    """
    effort = learner.fidelity.maximum if fidelity is None else fidelity
    chosen = check_request(learner.space, learner.fidelity, configurations, effort)
    trained = learner.train(data, chosen, fidelity=effort, seed=seed, judge=judge, refit=refit)

    def make_trials() -> Iterator[tuple[int, Trial]]:
        with ending(trained) as finished:
            for index, outcome in finished:
                yield index, make_trial(data.task, learner, chosen[index], outcome, strategy, seed, effort)

    return make_trials()


def make_trial(
    task: Task,
    learner: Learner,
    configuration: Configuration,
    outcome: Outcome,
    strategy: str,
    seed: int,
    fidelity: int,
) -> Trial:
    """Return the trial of an outcome; one without a finite performance that is not stopped has failed."""
    reason = outcome.reason
    if not reason and not _is_finite(outcome.performance):
        reason = f"no finite performance: {outcome.performance}"
    test = outcome.test_performance
    return Trial(
        task_id=task.task_id,
        family=task.family,
        learner=learner.name,
        configuration=configuration,
        strategy=strategy,
        seed=seed,
        fidelity=fidelity,
        performance=math.nan if reason or outcome.performance is None else outcome.performance,
        test_performance=test if test is not None and _is_finite(test) and not reason else math.nan,
        duration_s=outcome.duration_s,
        status="stopped" if outcome.stopped else "failed" if reason else "ok",
        reason=reason,
        scores={} if reason else outcome.scores,
        learning_curve=tuple(outcome.learning_curve),
        fidelity_unit=learner.fidelity.unit,
    )


def refit_trial(data: TaskData, learner: Learner, trial: Trial) -> Trial:
    """Add the test performance to a trial that was trained without, where the learner measures it by a refit.

    Args:
        data: The task of the trial.
        learner: Its learner.
        trial: A trial that is ok.

    Returns:
        The trial as `train_trials` would have made it with its refit: failed where that fails.
    """
    if not isinstance(learner, Refitting):
        return trial
    refitted = learner.refit(data, trial.configuration, fidelity=trial.fidelity, seed=trial.seed)
    duration = trial.duration_s + refitted.duration_s
    if refitted.reason:
        failed = Outcome(duration_s=duration, reason=refitted.reason)
        return make_trial(data.task, learner, trial.configuration, failed, trial.strategy, trial.seed, trial.fidelity)
    test = refitted.test_performance
    return replace(
        trial,
        test_performance=math.nan if test is None else test,
        duration_s=duration,
        scores={**trial.scores, **refitted.scores},
    )


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
