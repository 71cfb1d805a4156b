"""The searches of one task, one after the other; the same on this machine and on a worker of a cluster."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.learners.learner import Learner, anchors_of
from metaflow_hpo.task import TaskData
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    from metaflow_hpo.collect.search import Refit

Plan = Sequence[tuple[str, int, int]]
"""(strategy, trials, seed) of each search of a task, in order."""


def count_trials(plan: Plan) -> int:
    """Return the number of trials of all searches together."""
    return sum(trials for _, trials, _ in plan)


def run_plan(
    data: TaskData,
    learner: Learner,
    plan: Plan,
    *,
    fidelity: int | None,
    known: Sequence[Trial],
    on_trial: Callable[[Trial], None],
    refit: "Refit" = "all",
    informed: bool = False,
) -> list[Trial]:
    """Run the searches of a plan one after the other and return their trials.

    Args:
        data: The task.
        learner: What is tuned.
        plan: The searches.
        fidelity: Effort of each training; None for the full fidelity.
        known: Trials that need not be trained again.
        on_trial: Called with each trial that is added to `known`, as soon as it is finished.
        refit: Which trials of each search have a test performance, see `search`.
        informed: Whether a search is told what those before it have found with its seed.
    """
    from metaflow_hpo.collect.search import search
    from metaflow_hpo.collect.strategies.registry import make_strategy

    effort = learner.fidelity.maximum if fidelity is None else fidelity
    trials: list[Trial] = []
    for strategy, count, seed in plan:
        anchors = anchors_of(learner)
        context = StrategyContext(learner.space, seed, budget=count, fidelity=effort, anchors=anchors)
        proposer = make_strategy(strategy, context)
        if informed:
            proposer.tell([trial for trial in trials if trial.seed == seed])
        trials += search(
            data,
            learner,
            strategy=strategy,
            trials=count,
            seed=seed,
            fidelity=fidelity,
            known=known,
            on_trial=on_trial,
            refit=refit,
            proposer=proposer,
        )
    return trials
