"""All strategies by name: one line each, or an entry point `metaflow_hpo.strategies` of an installed package."""

from metaflow_hpo.collect.strategies.strategy import Strategy, StrategyContext, StrategyFactory
from metaflow_hpo.plugins import Registry

RECOMMENDED = "recommended"
"""The strategy that everything is compared with."""

ANCHORS, SOBOL = "anchors", "sobol"
CORE = (ANCHORS, SOBOL)
"""Those that propose the same configurations on every task."""

SEARCHING = {
    SOBOL: "metaflow_hpo.collect.strategies.listed:make_sobol",
    "random": "metaflow_hpo.collect.strategies.listed:make_random",
    "grid": "metaflow_hpo.collect.strategies.listed:make_grid",
    "default": "metaflow_hpo.collect.strategies.listed:make_default",
    ANCHORS: "metaflow_hpo.collect.strategies.listed:make_anchors",
    "halving": "metaflow_hpo.collect.strategies.halving:make_halving",
    "tpe": "metaflow_hpo.collect.strategies.optuna_samplers:make_tpe",
    "optuna_gp": "metaflow_hpo.collect.strategies.optuna_samplers:make_gp",
    "hyperopt": "metaflow_hpo.collect.strategies.hyperopt_tpe:make_hyperopt",
    "gp": "metaflow_hpo.recommender.strategies.models:make_gp",
}
"""Those that know of no other task."""

LEARNING = {
    RECOMMENDED: "metaflow_hpo.recommender.strategies.recommended:make_recommended",
    "mean_rank": "metaflow_hpo.recommender.strategies.orders:make_mean_rank",
    "portfolio": "metaflow_hpo.recommender.strategies.orders:make_portfolio",
    "portfolio_ranks": "metaflow_hpo.recommender.strategies.orders:make_portfolio_ranks",
    "nearest_task": "metaflow_hpo.recommender.strategies.orders:make_nearest_task",
    "gp_warm": "metaflow_hpo.recommender.strategies.models:make_warm_gp",
    "cts": "metaflow_hpo.recommender.strategies.models:make_cts",
    "rgpe": "metaflow_hpo.recommender.strategies.models:make_rgpe",
    "meta_gp": "metaflow_hpo.recommender.strategies.recommended:make_meta_gp",
    "syne_tune_cts": "metaflow_hpo.recommender.strategies.peers:make_syne_tune_cts",
    "syne_tune_zero_shot": "metaflow_hpo.recommender.strategies.peers:make_syne_tune_zero_shot",
    "flaml_zero_shot": "metaflow_hpo.recommender.strategies.peers:make_flaml_zero_shot",
}
"""Those that learn from past tasks."""

ABLATIONS = {
    f"{RECOMMENDED}-no-{part}": f"metaflow_hpo.recommender.strategies.recommended:make_no_{part}"
    for part in (
        "portfolio",
        "task_forest",
        "task_experts",
        "scale",
        "similarity",
        "past_covariance",
        "smooth_kernel",
    )
}
"""`recommended` without one of its parts."""

REGISTRY = Registry("strategy", "metaflow_hpo.strategies", SEARCHING | LEARNING | ABLATIONS)
STRATEGY_NAMES = (*SEARCHING, *LEARNING)
"""Names of the built-in ones, ablations left out."""


def make_strategy(name: str, context: StrategyContext) -> Strategy:
    """Make a strategy.

    Args:
        name: Of a built-in one or an entry point, or an address `module:attribute` of a factory.
        context: What it is made from.

    Raises:
        MetaflowHPOError: If there is no such strategy, what it needs is not installed, or it learns from past tasks and
            there are none.
    """
    return load_factory(name)(context)


def load_factory(name: str) -> StrategyFactory:
    """Return what makes a strategy, by its name or address."""
    factory: StrategyFactory = REGISTRY.load(name)
    return factory
