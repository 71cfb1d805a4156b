"""Every sequential recommender by its name in tables: the surrogate's mixture, its ablations, and the baselines.

The one thing to know: a contender is a function from past tasks to a fitted recommender; adding one is adding a line,
and the contract tests then apply to it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.recommend.mixture import Mixture, MixtureSettings
from metaflow_hpo.recommend.model_baselines import (
    CopulaThompson,
    GaussianProcessSearch,
    RankingWeightedEnsemble,
    TreeParzen,
)
from metaflow_hpo.recommend.sequential import (
    DefaultOnly,
    GreedyPortfolio,
    MeanRank,
    NearestTask,
    RandomOrder,
    SequentialRecommender,
)
from metaflow_hpo.surrogate.past_tasks import PastTasks

Contender = Callable[[PastTasks], SequentialRecommender]

SURROGATE = "surrogate"
_FULL = MixtureSettings()

BASELINES: Mapping[str, Contender] = {
    "random": RandomOrder.fit,
    "default": DefaultOnly.fit,
    "mean_rank": MeanRank.fit,
    "portfolio_ranks": GreedyPortfolio.on_ranks,
    "portfolio": GreedyPortfolio.on_regret,
    "nearest_task": NearestTask.fit,
    "gp": GaussianProcessSearch.cold,
    "gp_warm": GaussianProcessSearch.warm,
    "cts": CopulaThompson.fit,
    "rgpe": RankingWeightedEnsemble.fit,
    "tpe": TreeParzen.fit,
    "meta_gp": partial(
        Mixture.fit,
        settings=replace(_FULL, portfolio_picks=0, task_experts=False, integrate_scale=False, similarity=0.0),
    ),
}

ABLATIONS: Mapping[str, Contender] = {
    "surrogate-portfolio": partial(Mixture.fit, settings=replace(_FULL, portfolio_picks=0)),
    "surrogate-task_experts": partial(Mixture.fit, settings=replace(_FULL, task_experts=False)),
    "surrogate-scale_grid": partial(Mixture.fit, settings=replace(_FULL, integrate_scale=False)),
    "surrogate-similarity": partial(Mixture.fit, settings=replace(_FULL, similarity=0.0)),
    "surrogate-past_covariance": partial(Mixture.fit, settings=replace(_FULL, past_share=0.0)),
    "surrogate-smooth_kernel": partial(Mixture.fit, settings=replace(_FULL, smooth_share=0.0)),
}
"""The surrogate without one of its parts."""

CONTENDERS: Mapping[str, Contender] = {SURROGATE: Mixture.fit, **BASELINES, **ABLATIONS}
DEFAULT_NAMES = (SURROGATE, *BASELINES)


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, each once.

    Raises:
        InvalidTableError: If one is unknown.
    """
    unknown = [name for name in names if name not in CONTENDERS]
    if unknown or not names:
        raise InvalidTableError(f"Unknown recommenders {unknown}; choose among {', '.join(CONTENDERS)}.")
    return tuple(dict.fromkeys(names))
