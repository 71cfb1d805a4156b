"""Published transfer methods run with their authors' own packages: Syne Tune's CTS and zero-shot, FLAML's portfolio.

The one thing to know: the packages are optional (extra `benchmark`), and they choose among the pool's configurations:
what their code would draw from the space is taken from the pool.
"""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import pandas as pd

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.history import Array, IntArray
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommend.sequential import Observed, Picker, best_free, generator, in_order

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


@dataclass(frozen=True)
class SyneTuneCopula:
    """Syne Tune's quantile-based surrogate (CTS): one Thompson sample a pick over the pool.

    Attributes:
        loss: `(P,)` predicted copula score of the loss.
        deviation: Of its residuals on a tenth of the trials.

    References:
        Salinas, Shen, Perrone 2020, A quantile-based approach for hyperparameter transfer learning, arXiv:1909.13595.
    """

    loss: Array
    deviation: float
    is_random: bool = True

    @classmethod
    def fit(cls, past: PastTasks) -> "SyneTuneCopula":
        """Fit Syne Tune's boosted trees on past tasks' trials, encoded as here."""
        import xgboost
        from syne_tune.config_space import uniform
        from syne_tune.optimizer.schedulers.transfer_learning.quantile_based.quantile_based_searcher import fit_model

        names = [f"x{d}" for d in range(past.points.shape[1])]
        space = {name: uniform(0.0, 1.0) for name in names}
        frames = [(pd.DataFrame(points, columns=names), -scores) for points, scores in past.trials]
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
        return cls(np.asarray(loss, dtype=np.float64).ravel(), float(deviation))

    def start(self, meta_features: Array, seed: int) -> Picker:
        """Sample once a pick."""

        def pick(observed: Observed) -> int | None:
            noise = generator(seed, observed).standard_normal(len(self.loss))
            return best_free(-(self.loss + self.deviation * noise), observed.positions)

        return pick


@dataclass(frozen=True)
class SyneTuneZeroShot:
    """Syne Tune's `ZeroShotTransfer`: greedily the least mean rank. Its answers never depend on what was observed.

    Where tasks do not share the pool, it gets the regrets filled in by `PastTasks`: its own filling draws other
    configurations for each task.

    Attributes:
        ask: Returns its next position, None at the end.
        order: What it has answered so far; the same whatever is observed, so it is asked once for all tasks.

    References:
        Wistuba, Schilling, Schmidt-Thieme 2015, Sequential model-free hyperparameter tuning.
    """

    ask: Callable[[], int | None]
    order: list[int]
    is_random: bool = False

    @classmethod
    def fit(cls, past: PastTasks) -> "SyneTuneZeroShot":
        """Hand it the positions of the pool as the only hyperparameter: it looks at nothing else."""
        from syne_tune.config_space import randint
        from syne_tune.optimizer.schedulers.transfer_learning.zero_shot import ZeroShotTransfer

        positions = pd.DataFrame({"position": np.arange(past.regret.shape[1])})
        space = {"position": randint(0, len(positions) - 1)}
        evaluations = _evaluations(space, [(positions, regret) for regret in past.regret])
        with _quietly():
            scheduler = ZeroShotTransfer(space, _METRIC, evaluations, random_seed=0)

        def ask() -> int | None:
            with _quietly():
                answer = scheduler.get_config()
            return None if answer is None else int(answer["position"])

        return cls(ask, [])

    def start(self, meta_features: Array, seed: int) -> Picker:
        """Go down its list."""

        def pick(observed: Observed) -> int | None:
            tried = set(observed.positions.tolist())
            following = next((p for p in self.order if p not in tried), None)
            while following is None and (position := self.ask()) is not None:
                self.order.append(position)
                following = None if position in tried else position
            return following

        return pick


_METRIC = "loss"


@dataclass(frozen=True)
class FlamlZeroShot:
    """FLAML's zero-shot: a greedy portfolio within a regret bound, in the order of the nearest task; nothing after it.

    Attributes:
        portfolio: `(K,)` positions.
        nearest: Returns the order `(K,)` in the portfolio of the past task nearest to raw meta-features `(M,)`.

    References:
        Wang et al. 2022, Mining robust default configurations for resource-constrained AutoML, arXiv:2202.09927.
    """

    portfolio: IntArray
    nearest: Callable[[Array], IntArray]
    is_random: bool = False

    @classmethod
    def fit(cls, past: PastTasks) -> "FlamlZeroShot":
        """Build the portfolio; missing meta-features, which FLAML does not know, are filled in by the median."""
        from flaml.default.greedy import construct_portfolio
        from flaml.default.portfolio import config_predictor_tuple

        tasks = [f"task_{t}" for t in range(len(past.regret))]
        regret = pd.DataFrame(past.regret.T, columns=tasks)
        with _quietly():
            portfolio = construct_portfolio(regret, None, FLAML_REGRET_BOUND)
        order = np.arange(len(portfolio))
        known = np.isfinite(past.meta_features).any(axis=0)
        if not known.any():
            return cls(np.array(portfolio), lambda meta_features: order)
        center = np.nanmedian(past.meta_features[:, known], axis=0)
        filled = np.where(np.isfinite(past.meta_features[:, known]), past.meta_features[:, known], center)
        with _quietly():
            scaled, preferences, scaler = config_predictor_tuple(
                pd.Index(tasks), portfolio, pd.DataFrame(filled, index=tasks), regret
            )
        features, choices = scaled.to_numpy(dtype=np.float64), preferences.to_numpy(dtype=np.int64)

        def nearest(meta_features: Array) -> IntArray:
            raw = meta_features[known]
            new = (np.where(np.isfinite(raw), raw, center) - np.array(scaler["center"])) / np.array(scaler["scale"])
            return np.asarray(choices[:, int(np.argmin(((features - new) ** 2).sum(axis=1)))])

        return cls(np.array(portfolio), nearest)

    def start(self, meta_features: Array, seed: int) -> Picker:
        """Follow the nearest task through the portfolio."""
        return in_order(self.portfolio[self.nearest(meta_features)])


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
