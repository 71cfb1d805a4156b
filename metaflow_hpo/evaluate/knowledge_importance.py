"""How much each hyperparameter matters on a task.

The one thing to know: performances are ranked first. On the raw scale the few networks that diverge own nearly all of
the variance, and the answer would only say which hyperparameter makes them diverge.
"""

import numpy as np
import pandas as pd

from metaflow_hpo.space import Array

TREES = 16
_MIN_TRIALS = 24


def measure_importance(core: pd.DataFrame, placed: pd.DataFrame) -> pd.DataFrame:
    """Measure the share of the variance of the ranks that each hyperparameter explains on its own (fANOVA).

    A conditional hyperparameter is measured among the configurations in which it is active.

    Args:
        core: `(T, C)` performance of the shared core.
        placed: `(C, D)` positions of its configurations, NaN where not active.

    Returns:
        `(T, D)` shares in [0, 1]; NaN where a task has too few configurations or they do not differ. What is missing to
        1 belongs to interactions.

    References:
        Hutter, Hoos, Leyton-Brown 2014, An efficient approach for assessing hyperparameter importance, ICML.
    """
    lines = {task_id: _measure(placed, row) for task_id, row in core.iterrows()}
    return pd.DataFrame(lines, index=placed.columns).T


def _measure(placed: pd.DataFrame, performance: "pd.Series[float]") -> dict[str, float]:
    known = performance.dropna()
    units, ranks = placed.loc[known.index], known.rank(pct=True).to_numpy(dtype="float64")
    always = [str(name) for name in placed.columns if placed[name].notna().all()]
    shares = _fanova(units[always].to_numpy(), ranks, always)
    for name in (str(name) for name in placed.columns if name not in always):
        active = units[name].notna().to_numpy()
        names = [*always, name]
        shares[name] = _fanova(units.loc[active, names].to_numpy(), ranks[active], names)[name]
    return shares


def _fanova(units: Array, values: Array, names: list[str]) -> dict[str, float]:
    """Return each column's share of the variance of `values` `(N,)`; `units` is `(N, D)`."""
    import optuna
    from optuna.distributions import FloatDistribution
    from optuna.importance import FanovaImportanceEvaluator

    if len(values) < _MIN_TRIALS or np.ptp(values) == 0:
        return dict.fromkeys(names, np.nan)
    # A column without two different values has no distribution.
    varying = [i for i in range(len(names)) if np.ptp(units[:, i]) > 0]
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    optuna.logging.set_verbosity(level)
    distributions = {names[i]: FloatDistribution(0, 1) for i in varying}
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={names[i]: float(row[i]) for i in varying}, distributions=distributions, value=float(value)
            )
            for row, value in zip(units, values, strict=True)
        ]
    )
    shares = FanovaImportanceEvaluator(n_trees=TREES, seed=0).evaluate(study)
    return {name: float(shares.get(name, 0.0)) for name in names}
