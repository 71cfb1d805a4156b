"""The closed loop on a person's data: who proposes, and what of its proposals is remembered and recorded.

The one thing to know: what was recommended before the first trial is remembered under its `recommendation_id`; the
trials of these configurations are recorded against it, as `train` and `feedback` do.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from metaflow_hpo.actions.advise import complete, describe_data, load_recommender, make_answer
from metaflow_hpo.actions.feedback import record_outcomes, remember
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.collect.search import Refit, Stopping
from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.modalities.table.metrics import curve_metric
from metaflow_hpo.recommender.strategies.recommended import RecommendedStrategy
from metaflow_hpo.space import Configuration, configuration_id
from metaflow_hpo.task import TaskData
from metaflow_hpo.trial import Trial

REMEMBERED = 10
"""Recommendations before the first trial that are remembered."""

MEMBERS_A_PROCESSOR = 2
"""Trainings (a configuration on one fold) that keep a processor busy while the longest of a batch ends."""


@dataclass(frozen=True)
class ClosedLoop:
    """A search that asks the served recommender.

    Attributes:
        pipeline: The surroundings.
        strategy: Proposes.
        stopping: Stops trials that will not win, where that was learned for the task's metric.
        sign: What turns a performance into the units of the answer.
        answer: What was recommended before the first trial, as `advise.recommend` returns it.
    """

    pipeline: Pipeline
    strategy: RecommendedStrategy
    stopping: Stopping | None
    sign: float
    answer: dict[str, Any]

    def record(self, trials: Sequence[Trial]) -> str:
        """Record what became of the first recommendations, and return their `recommendation_id`."""
        name = str(self.answer["lineage"]["recommendation_id"])
        remember(self.pipeline, self.answer)
        recommended = {configuration_id(r["configuration"]) for r in self.answer["recommendations"]}
        outcomes: list[tuple[Configuration, float]] = [
            (trial.configuration, self.sign * trial.performance)
            for trial in trials
            if trial.configuration_id in recommended and trial.status != "stopped"
        ]
        if outcomes:
            record_outcomes(self.pipeline, name, outcomes, source="search")
        return name


def open_loop(
    pipeline: Pipeline,
    data: TaskData,
    seed: int,
    *,
    per_time: bool = False,
    refit: Refit = "all",
    parallel: int | None = None,
) -> ClosedLoop:
    """Begin a search with the champion, or with what ships.

    Args:
        pipeline: The surroundings.
        data: The task.
        seed: Seed of configurations that are proposed beside the shared core.
        per_time: Choose by expected gain per second of training instead of per trial.
        refit: Which trials the search refits.
        parallel: How many configurations to train at once; what suits a learner of tables unless given.

    Raises:
        NoChampionError: If no surrogate of the learner has been promoted, and none ships.
    """
    from metaflow_hpo.modalities.splits import count_folds

    served, source = load_recommender(pipeline)
    described = describe_data(data)
    members = count_folds(data.task.rows - data.task.test_rows) + (refit == "all")
    context = StrategyContext(
        served.space,
        seed=seed,
        parallel=parallel or choose_batch_size(members),
        meta_features=served.read_meta_features(complete(served, described.meta_features)),
    )
    strategy = RecommendedStrategy(served, context, per_time=per_time)
    # A trial can be compared with a curve where its performance is what curves are measured in.
    rule = served.stopping if curve_metric(data.task.kind) in (None, data.task.metric) else None
    stopping = None if rule is None else rule.judge
    count = min(REMEMBERED, len(served.past.configurations))
    answer = make_answer(served, source, described, count, per_time=per_time)
    return ClosedLoop(pipeline, strategy, stopping, served.sign, answer)


def choose_batch_size(members: int, workers: int | None = None) -> int:
    """Return how many configurations are trained at once, so that no processor waits for long.

    Args:
        members: Trainings a configuration: its folds, and the refit where there is one.
        workers: Processors; those of this machine unless given.
    """
    processors = workers or os.cpu_count() or 1
    return max(1, -(-MEMBERS_A_PROCESSOR * processors // members))
