"""Every sequential recommender by its name in tables: what is served, its ablations, and the baselines.

The one thing to know: a contender is a function from past tasks to a fitted recommender; adding one is adding a line,
and the contract tests then apply to it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history import Array
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommend.model_baselines import (
    CopulaThompson,
    GaussianProcessSearch,
    RankingWeightedEnsemble,
)
from metaflow_hpo.recommend.new_task import RecommenderSettings
from metaflow_hpo.recommend.novelty import is_beyond
from metaflow_hpo.recommend.proposals import (
    HYPEROPT_RANDOM_STARTS,
    OPTUNA_RANDOM_STARTS,
    ProposalSearch,
    propose_with_gp,
    propose_with_hyperopt,
    propose_with_tpe,
)
from metaflow_hpo.recommend.recommender import Recommender
from metaflow_hpo.recommend.sequential import (
    DefaultOnly,
    GreedyPortfolio,
    MeanRank,
    NearestTask,
    Observed,
    Picker,
    RandomOrder,
    SequentialRecommender,
)
from metaflow_hpo.recommend.transfer_peers import FlamlZeroShot, SyneTuneCopula, SyneTuneZeroShot, check_installed

Contender = Callable[[PastTasks], SequentialRecommender]

SURROGATE = "surrogate"
TABLE = RecommenderSettings()
_FULL = TABLE.mixture
_NO_PORTFOLIO = replace(TABLE, portfolio_trials=0, mixture_trials=0)



@dataclass(frozen=True)
class Replayed:
    """The recommender, replayed one pick at a time."""

    recommender: Recommender
    is_random: bool = False

    @classmethod
    def fit(cls, past: PastTasks, settings: RecommenderSettings = TABLE) -> "Replayed":
        """Learn from past tasks."""
        return cls(Recommender(past, settings))

    def start(self, meta_features: Array, seed: int) -> Picker:
        """Begin a new task."""
        is_novel = is_beyond(self.recommender.novelty.percentile(meta_features))
        task = self.recommender.begin(meta_features, is_novel=is_novel)

        def pick(observed: Observed) -> int | None:
            return next(iter(task.choose(observed, 1)), None)

        return pick


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
    "tpe": partial(ProposalSearch.fit, starts=OPTUNA_RANDOM_STARTS, propose=propose_with_tpe),
    "meta_gp": partial(
        Replayed.fit,
        settings=replace(_NO_PORTFOLIO, similarity=False, mixture=replace(_FULL, task_experts=False, scale="fitted")),
    ),
}

PEERS: Mapping[str, Contender] = {
    "optuna_gp": partial(ProposalSearch.fit, starts=OPTUNA_RANDOM_STARTS, propose=propose_with_gp),
    "hyperopt": partial(ProposalSearch.fit, starts=HYPEROPT_RANDOM_STARTS, propose=propose_with_hyperopt),
    "syne_tune_cts": SyneTuneCopula.fit,
    "syne_tune_zero_shot": SyneTuneZeroShot.fit,
    "flaml_zero_shot": FlamlZeroShot.fit,
}
"""Other people's recommenders, run with their own code."""

LEARN_NOTHING = ("random", "default", "gp", "tpe", "optuna_gp", "hyperopt")
"""Those that know of no other task; all the others learn from past ones."""

_WITHOUT: Mapping[str, RecommenderSettings] = {
    "portfolio": _NO_PORTFOLIO,
    "task_forest": replace(TABLE, task_forest=False),
    "task_experts": replace(TABLE, mixture=replace(_FULL, task_experts=False)),
    "scale": replace(TABLE, mixture=replace(_FULL, scale="fixed")),
    "similarity": replace(TABLE, similarity=False),
    "past_covariance": replace(TABLE, mixture=replace(_FULL, past_share=0.0)),
    "smooth_kernel": replace(TABLE, mixture=replace(_FULL, smooth_share=0.0)),
}
ABLATIONS: Mapping[str, Contender] = {
    f"{SURROGATE}-no-{part}": partial(Replayed.fit, settings=settings) for part, settings in _WITHOUT.items()
}
"""The surrogate without one of its parts."""

CONTENDERS: Mapping[str, Contender] = {SURROGATE: Replayed.fit, **BASELINES, **PEERS, **ABLATIONS}
DEFAULT_NAMES = (SURROGATE, *BASELINES)


def choose_names(
    chosen: Sequence[str] | None = None, *, ablation: bool = False, peers: bool = False
) -> tuple[str, ...]:
    """Return the names of what is to be compared.

    Args:
        chosen: Names in place of the surrogate and all baselines.
        ablation: Add the surrogate without each of its parts; without `chosen`, leave the baselines out.
        peers: Add other people's recommenders.
    """
    names = list(chosen) if chosen is not None else [SURROGATE] if ablation else list(DEFAULT_NAMES)
    return check_names([*names, *(ABLATIONS if ablation else ()), *(PEERS if peers else ())])


def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, each once.

    Raises:
        InvalidTableError: If one is unknown.
        MetaflowHPOError: If one needs a package that is not installed.
    """
    unknown = [name for name in names if name not in CONTENDERS]
    if unknown or not names:
        raise InvalidTableError(f"Unknown recommenders {unknown}; choose among {', '.join(CONTENDERS)}.")
    check_installed(names)
    return tuple(dict.fromkeys(names))
