"""Which searches a task gets, and running them; the same on this machine and on a worker of a cluster."""

from collections.abc import Callable, Sequence

from metaflow_hpo.learners.learner import Learner
from metaflow_hpo.settings import Settings
from metaflow_hpo.task import TaskData
from metaflow_hpo.trial import Trial

Plan = Sequence[tuple[str, int, int]]
"""(strategy, trials, seed) of each search of a task, in order."""


def plan_searches(settings: Settings, sha256: str) -> Plan:
    """Return the searches of a task: the shared core, random search and TPE; its digest says if the core is repeated.

    Args:
        settings: How many trials of each, and of how many tasks the core is repeated.
        sha256: Digest of the task's content.
    """
    seed = settings.seed
    plan = [
        ("sobol", settings.core_trials, seed),
        ("random", settings.random_trials, seed),
        ("tpe", settings.tpe_trials, seed),
    ]
    if settings.repeat_every and int(sha256[8:16], 16) % settings.repeat_every == 0:
        plan.append(("sobol", settings.core_trials, seed + 1))
    return [search for search in plan if search[1] > 0]


def count_trials(plan: Plan) -> int:
    """Return the number of trials of all searches together."""
    return sum(trials for _, trials, _ in plan)


def run_plan(
    data: TaskData,
    learner: Learner,
    plan: Plan,
    *,
    fidelity_epochs: int | None,
    known: Sequence[Trial],
    on_trial: Callable[[Trial], None],
) -> list[Trial]:
    """Run the searches of a plan one after the other and return their trials.

    Args:
        data: The task.
        learner: What is tuned.
        plan: The searches.
        fidelity_epochs: Epochs of each training; None for the full fidelity.
        known: Trials that need not be trained again.
        on_trial: Called with each trial that is added to `known`, as soon as it is finished.
    """
    from metaflow_hpo.collect.search import search

    trials: list[Trial] = []
    for strategy, count, seed in plan:
        trials += search(
            data,
            learner,
            strategy=strategy,
            trials=count,
            seed=seed,
            fidelity_epochs=fidelity_epochs,
            known=known,
            on_trial=on_trial,
        )
    return trials
