"""Published transfer methods run with their authors' own packages: Syne Tune's CTS and zero-shot, FLAML's portfolio.

The packages are optional (extra `benchmark`), and they choose among the pool's configurations: what their code would
draw from the space is taken from the pool.
"""

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec

import numpy as np
import pandas as pd

from metaflow_hpo.collect.strategies.listed import OrderedStrategy
from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommender.strategies.models import ThompsonStrategy
from metaflow_hpo.recommender.strategies.past import features_of, past_of, pool_of, trials_of
from metaflow_hpo.space import Array

PACKAGES = {"syne_tune_cts": "syne_tune", "syne_tune_zero_shot": "syne_tune", "flaml_zero_shot": "flaml"}
"""The package that each of these recommenders needs."""
MAX_FIT_SAMPLES = 100_000
"""Syne Tune's default."""
FLAML_REGRET_BOUND = 0.01
"""FLAML's `portfolio.regret_bound`."""


def check_installed(names: Sequence[str]) -> None:
    """Make sure that the packages of some recommenders are there.

    Raises:
        MetaflowHPOError: If one is missing.
    """
    missing = {name: PACKAGES[name] for name in names if name in PACKAGES and find_spec(PACKAGES[name]) is None}
    if missing:
        needed = ", ".join(f"{name} needs {package}" for name, package in missing.items())
        raise MetaflowHPOError(
            f"{needed}, which is not installed; install it: pip install 'metaflow-hpo[benchmark]', or leave it out."
        )


def make_syne_tune_cts(context: StrategyContext) -> ThompsonStrategy:
    """Make Syne Tune's quantile-based surrogate (CTS): one Thompson sample a pick over the pool.

    References:
        Salinas, Shen, Perrone 2020, A quantile-based approach for hyperparameter transfer learning, arXiv:1909.13595.
    """
    check_installed(["syne_tune_cts"])
    return ThompsonStrategy(context, *past_of(context).learn(_fit_syne_tune_copula))


def _fit_syne_tune_copula(past: PastTasks) -> tuple[Array, float]:
    """Fit Syne Tune's boosted trees on past tasks' trials, encoded as here; return mean and deviation of the score."""
    import xgboost
    from syne_tune.config_space import uniform
    from syne_tune.optimizer.schedulers.transfer_learning.quantile_based.quantile_based_searcher import fit_model

    names = [f"x{d}" for d in range(past.points.shape[1])]
    space = {name: uniform(0.0, 1.0) for name in names}
    frames = [(pd.DataFrame(points, columns=names), -scores) for points, scores in trials_of(past)]
    with _quietly():
        model, _, deviation = fit_model(
            config_space=space,
            transfer_learning_evaluations=_evaluations(space, frames),
            normalization="gaussian",
            max_fit_samples=MAX_FIT_SAMPLES,
            random_state=np.random.RandomState(0),
            model=xgboost.XGBRegressor(n_jobs=1),
        )
        loss = model.predict(pd.DataFrame(past.points, columns=names))
    # Of a loss: what is drawn is added to it.
    return -np.asarray(loss, dtype=np.float64).ravel(), -float(deviation)


def make_syne_tune_zero_shot(context: StrategyContext) -> OrderedStrategy:
    """Make Syne Tune's `ZeroShotTransfer`: greedily the least mean rank. It never depends on what is told.

    Where tasks do not share the pool, it gets the regrets filled in by `PastTasks`: its own filling draws other
    configurations for each task.

    References:
        Wistuba, Schilling, Schmidt-Thieme 2015, Sequential model-free hyperparameter tuning.
    """
    check_installed(["syne_tune_zero_shot"])
    return OrderedStrategy(pool_of(context), past_of(context).learn(_ZeroShotOrder))


class _ZeroShotOrder:
    """The positions that Syne Tune's scheduler answers, asked as far as they are read.

    It gets the positions of the pool as the only hyperparameter: it looks at nothing else.
    """

    def __init__(self, past: PastTasks) -> None:
        from syne_tune.config_space import randint
        from syne_tune.optimizer.schedulers.transfer_learning.zero_shot import ZeroShotTransfer

        positions = pd.DataFrame({"position": np.arange(past.regret.shape[1])})
        space = {"position": randint(0, len(positions) - 1)}
        evaluations = _evaluations(space, [(positions, regret) for regret in past.regret])
        with _quietly():
            self._scheduler = ZeroShotTransfer(space, _METRIC, evaluations, random_seed=0)
        self._order: list[int] = []

    def __iter__(self) -> Iterator[int]:
        n = 0
        while n < len(self._order) or self._ask():
            yield self._order[n]
            n += 1

    def _ask(self) -> bool:
        with _quietly():
            answer = self._scheduler.get_config()
        if answer is not None:
            self._order.append(int(answer["position"]))
        return answer is not None


_METRIC = "loss"


def make_flaml_zero_shot(context: StrategyContext) -> OrderedStrategy:
    """Make FLAML's zero-shot: a greedy portfolio within a regret bound, in the order of the nearest task, no more.

    References:
        Wang et al. 2022, Mining robust default configurations for resource-constrained AutoML, arXiv:2202.09927.
    """
    check_installed(["flaml_zero_shot"])
    portfolio = past_of(context).learn(_FlamlPortfolio)
    return OrderedStrategy(pool_of(context), portfolio.order(features_of(context)))


class _FlamlPortfolio:
    """FLAML's portfolio; missing meta-features, which FLAML does not know, are filled in by the median."""

    def __init__(self, past: PastTasks) -> None:
        from flaml.default.greedy import construct_portfolio
        from flaml.default.portfolio import config_predictor_tuple

        tasks = [f"task_{t}" for t in range(len(past.regret))]
        regret = pd.DataFrame(past.regret.T, columns=tasks)
        with _quietly():
            self._positions = construct_portfolio(regret, None, FLAML_REGRET_BOUND)
        self._known = np.isfinite(past.meta_features).any(axis=0)
        if not self._known.any():
            return
        known = past.meta_features[:, self._known]
        self._center = np.nanmedian(known, axis=0)
        filled = np.where(np.isfinite(known), known, self._center)
        with _quietly():
            scaled, preferences, scaler = config_predictor_tuple(
                pd.Index(tasks), self._positions, pd.DataFrame(filled, index=tasks), regret
            )
        self._features, self._preferences = scaled.to_numpy(dtype=np.float64), preferences.to_numpy(dtype=np.int64)
        self._scaler = np.array(scaler["center"]), np.array(scaler["scale"])

    def order(self, meta_features: Array) -> list[int]:
        """Return the portfolio in the order of the past task nearest to raw meta-features `(M,)`."""
        if not self._known.any():
            return [int(p) for p in self._positions]
        raw = meta_features[self._known]
        new = (np.where(np.isfinite(raw), raw, self._center) - self._scaler[0]) / self._scaler[1]
        nearest = int(np.argmin(((self._features - new) ** 2).sum(axis=1)))
        return [int(self._positions[choice]) for choice in self._preferences[:, nearest]]


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what the packages print, log and deprecate to their developers away from the answer."""
    logger = logging.getLogger("syne_tune")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _evaluations(space: dict[str, object], tasks: Sequence[tuple[pd.DataFrame, Array]]) -> dict[str, object]:
    """Return tasks as Syne Tune takes them: configurations and losses with the axes seed, fidelity, objective."""
    from syne_tune.optimizer.schedulers.transfer_learning.transfer_learning_task_evaluation import (
        TransferLearningTaskEvaluations,
    )

    return {
        f"task_{t}": TransferLearningTaskEvaluations(space, frame, [_METRIC], loss[:, None, None, None])
        for t, (frame, loss) in enumerate(tasks)
    }
