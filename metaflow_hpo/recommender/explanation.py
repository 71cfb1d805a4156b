"""Why a configuration is recommended: what was best on the nearest past tasks, and what drives the prediction.

The one thing to know: an effect is what the prediction changes by when one thing is made ordinary. Effects do not add
up, and they are no causes.

References:
    Molnar 2022, Interpretable machine learning, on ceteris-paribus profiles.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from metaflow_hpo.history import Array
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.space import Configuration

if TYPE_CHECKING:
    from metaflow_hpo.surrogate.predict import Surrogate

SHOWN = 5
"""Past tasks, and meta-features, at most."""


def find_nearest(past: PastTasks, distances: Array, *, has_default: bool, sign: float = 1.0) -> list[dict[str, Any]]:
    """Return the nearest past tasks, nearest first, JSON-ready: what was best there, and how the default did.

    Args:
        past: T past tasks on a pool.
        distances: `(T,)` of the new task to each.
        has_default: Whether the space's default is somebody's.
        sign: What turns performances into the metric's own units.
    """
    found = []
    for t in np.argsort(distances, kind="stable")[:SHOWN]:
        best = int(np.argmin(past.regret[t]))
        default = {"default_performance": float(sign * past.performance[t, past.default])} if has_default else {}
        found.append(
            {
                "task_id": past.task_ids[t],
                "family": past.families[t],
                "distance": float(distances[t]),
                "best_performance": float(sign * past.ends[t, 1]),
                **default,
                "best_configuration": dict(past.configurations[best]),
            }
        )
    return found


def explain(
    surrogate: "Surrogate", meta_features: Array, typical: Array, configuration: Configuration
) -> dict[str, list[dict[str, Any]]]:
    """Return what drives a recommendation, strongest first.

    Args:
        surrogate: Who predicts.
        meta_features: `(M,)` raw, of the task.
        typical: `(M,)` raw, in the middle of past tasks.
        configuration: The recommended one.

    Returns:
        `hyperparameters`: those in which it differs from the learner's default, with `name, value, default` and
        `effect`, the predicted performance that is lost when that one is set back to the default. `meta_features`: at
        most five, with `name, value, typical` and `effect`, the part of the predicted gain over the default that
        vanishes when that one is typical.
    """
    return {
        "hyperparameters": _explain_hyperparameters(surrogate, meta_features, configuration),
        "meta_features": _explain_meta_features(surrogate, meta_features, typical, configuration),
    }


def _explain_hyperparameters(
    surrogate: "Surrogate", meta_features: Array, configuration: Configuration
) -> list[dict[str, Any]]:
    space = surrogate.space
    default = space.default
    names = [name for name, value in configuration.items() if name in default and default[name] != value]
    if not names:
        return []
    # A hyperparameter that another one switches off goes, and one that it switches on comes, at its default.
    changed = [space.decode(space.encode([{**default, **configuration, name: default[name]}]))[0] for name in names]
    predicted = surrogate.predict(meta_features[None, :], space.encode([configuration, *changed])).mean[0]
    effects = [
        {"name": name, "value": configuration[name], "default": default[name], "effect": float(predicted[0] - value)}
        for name, value in zip(names, predicted[1:], strict=True)
    ]
    return sorted(effects, key=lambda e: -abs(e["effect"]))


def _explain_meta_features(
    surrogate: "Surrogate", meta_features: Array, typical: Array, configuration: Configuration
) -> list[dict[str, Any]]:
    count = len(meta_features)
    tasks = np.tile(meta_features, (count + 1, 1))
    tasks[np.arange(count), np.arange(count)] = typical
    encoded = surrogate.space.encode([configuration, surrogate.space.default])
    predicted = surrogate.predict(tasks, encoded).mean  # (M + 1, 2)
    gain = predicted[:, 0] - predicted[:, 1]
    effects = np.where(meta_features == typical, 0.0, gain[-1] - gain[:-1])  # rounding is no effect
    order = np.argsort(-np.abs(effects), kind="stable")[:SHOWN]
    return [
        {
            "name": surrogate.meta_feature_names[i],
            "value": float(meta_features[i]),
            "typical": float(typical[i]),
            "effect": float(effects[i]),
        }
        for i in order
        if effects[i] != 0.0
    ]
