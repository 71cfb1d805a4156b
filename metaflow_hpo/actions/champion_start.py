"""The first trials of a landed task: what the champion recommends for it, before the searches that every task gets.

The one thing to know: a later champion would recommend others, so what was started with one, or without, is not
started again.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from metaflow_hpo.actions.advise import RECOMMENDED, complete
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.space import configuration_id
from metaflow_hpo.task import TaskData
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    from metaflow_hpo.recommender.recommender import Recommender

WARM_TRIALS = 5
"""Recommendations of the champion with which the search of a landed task starts."""


def search_recommended(
    pipeline: Pipeline, data: TaskData, known: Sequence[Trial], keep: Callable[[Trial], None]
) -> list[Trial]:
    """Train what the champion recommends for a task, once, where there is a champion.

    Args:
        pipeline: The surroundings.
        data: The task.
        known: Its trials so far, of all searches.
        keep: Called with each new trial as soon as it is finished.

    Returns:
        The recommended trials, those known before included.
    """
    wanted = (pipeline.learner.name, pipeline.settings.seed, pipeline.epochs)
    mine = [trial for trial in known if (trial.learner, trial.seed, trial.fidelity) == wanted]
    done = [t for t in mine if t.strategy == RECOMMENDED]
    if len(done) >= WARM_TRIALS or len(done) < len(mine):
        return done
    champion = _load_fitting_champion(pipeline)
    return done if champion is None else _train_recommended(pipeline, champion, data, done, keep)


def _load_fitting_champion(pipeline: Pipeline) -> "Recommender | None":
    """Return the champion, where there is one of this learner and for meta-features that can be measured."""
    from metaflow_hpo.modalities.registry import known_groups

    champion = pipeline.registry.champion()
    if champion is None:
        return None
    served = pipeline.registry.load(champion.version)
    known = {name for group in known_groups() for name in group.columns}
    is_known = not served.settings.described or known.issuperset(served.meta_feature_names)
    return served if served.space == pipeline.learner.space and is_known else None


def _train_recommended(
    pipeline: Pipeline,
    champion: "Recommender",
    data: TaskData,
    done: Sequence[Trial],
    keep: Callable[[Trial], None],
) -> list[Trial]:
    """Train the first recommendations, those that were not trained before a kill."""
    from metaflow_hpo.collect.trials import train_trials
    from metaflow_hpo.modalities.registry import describe

    count = min(WARM_TRIALS, len(champion.past.configurations))
    recommended = champion.recommend(complete(champion, describe(data)), count)["recommendations"]
    wanted = {configuration_id(line["configuration"]): line["configuration"] for line in recommended}
    trained = {trial.configuration_id: trial for trial in done}
    missing = [configuration for name, configuration in wanted.items() if name not in trained]
    if missing:
        fresh = train_trials(
            data,
            pipeline.learner,
            missing,
            strategy=RECOMMENDED,
            seed=pipeline.settings.seed,
            fidelity=pipeline.epochs,
        )
        for _, trial in fresh:
            keep(trial)
            trained[trial.configuration_id] = trial
    return [trained[name] for name in wanted]
