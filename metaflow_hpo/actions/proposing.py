"""Who proposes the configurations of a person's search, and what stops its trials."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from metaflow_hpo.adapters.pipeline import Pipeline, logger
from metaflow_hpo.collect.search import Refit, Stopping
from metaflow_hpo.collect.strategies.registry import RECOMMENDED, SEARCHING, make_strategy
from metaflow_hpo.collect.strategies.strategy import Strategy, StrategyContext
from metaflow_hpo.errors import NoChampionError
from metaflow_hpo.learners.array_learner import ArrayLearner
from metaflow_hpo.task import TaskData

if TYPE_CHECKING:
    from metaflow_hpo.actions.closed_loop import ClosedLoop
    from metaflow_hpo.actions.past_knowledge import PastKnowledge

UNINFORMED = "tpe"
"""Who proposes where nothing is known of a learner."""


@dataclass(frozen=True)
class Proposer:
    """A strategy for a search.

    Attributes:
        name: Its name, as it stands in the trials.
        strategy: Proposes.
        stopping: Stops trials that will not win; None where that was not learned.
        loop: The loop with the served recommender, whose first recommendations are remembered.
    """

    name: str
    strategy: Strategy
    stopping: Stopping | None = None
    loop: "ClosedLoop | None" = None


def choose_proposer(
    pipeline: Pipeline,
    data: TaskData,
    strategy: str,
    context: StrategyContext,
    *,
    past: "PastKnowledge | None" = None,
    per_time: bool = False,
    refit: Refit = "best",
) -> Proposer:
    """Return who proposes: for `recommended` what past tasks teach, else the champion or what ships, else `tpe`.

    Args:
        pipeline: The surroundings.
        data: The task.
        strategy: Name or address of the strategy.
        context: What it is made from.
        past: What is known of the learner from past tasks.
        per_time: Have the champion choose by expected gain per second of training.
        refit: Which trials the search refits.

    Raises:
        MetaflowHPOError: If there is no such strategy, or it learns from past tasks and there are none.
    """
    stopping = None if past is None or past.stopping is None else past.stopping.judge
    if strategy != RECOMMENDED or past is not None:
        # A trial of a table can be compared with a curve where its performance is what curves are measured in.
        is_judged = stopping is not None and measures_curves_by_metric(pipeline, data)
        # One of a person's own may learn from past tasks: it gets what there is.
        if strategy not in SEARCHING and past is None:
            context = _inform(pipeline, data, context)
        return Proposer(strategy, make_strategy(strategy, context), stopping if is_judged else None)
    from metaflow_hpo.actions.closed_loop import open_loop

    try:
        parallel = None if isinstance(pipeline.learner, ArrayLearner) else context.parallel
        loop = open_loop(pipeline, data, context.seed, per_time=per_time, refit=refit, parallel=parallel)
    except NoChampionError:
        logger.warning(
            "Nothing is known of the learner %s from past tasks: %s proposes. With --past HISTORY they teach it.",
            pipeline.learner.name,
            UNINFORMED,
        )
        return Proposer(UNINFORMED, make_strategy(UNINFORMED, context))
    return Proposer(RECOMMENDED, loop.strategy, loop.stopping, loop)


def measures_curves_by_metric(pipeline: Pipeline, data: TaskData) -> bool:
    """Tell whether learning curves are in the metric of the task."""
    from metaflow_hpo.modalities.table.metrics import curve_metric

    return not isinstance(pipeline.learner, ArrayLearner) or curve_metric(data.task.kind) in (None, data.task.metric)


def _inform(pipeline: Pipeline, data: TaskData, context: StrategyContext) -> StrategyContext:
    """Return a context with the past tasks of the champion, or of what ships; as it is where there are none."""
    from metaflow_hpo.actions.advise import complete, describe_data, load_recommender

    try:
        served, _ = load_recommender(pipeline)
    except NoChampionError:
        return context
    features = served.read_meta_features(complete(served, describe_data(data).meta_features))
    return replace(context, past=served.past, meta_features=features)
