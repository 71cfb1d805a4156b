"""The hyperparameters that every network learner has, and how they are joined with its own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metaflow_hpo.space import Categorical, Float, Hyperparameter, Integer, SearchSpace

SHARED: tuple[Hyperparameter, ...] = (
    Float("learning_rate", 3e-4, 3e-2, 3e-3, log=True),
    Float("weight_decay", 1e-6, 1e-1, 1e-2, log=True),
    Integer("batch_size", 16, 128, 32, log=True),
    Categorical("schedule", ("constant", "cosine", "one_cycle"), "one_cycle"),
    Float("label_smoothing", 0.0, 0.3, 0.05),
    Float("dropout", 0.0, 0.6, 0.1),
)
"""Of AdamW, which trains all of them: within one range of learning rates SGD is either dead or all there is."""


def join_space(own: tuple[Hyperparameter, ...], defaults: Mapping[str, Any] | None = None) -> SearchSpace:
    """Return the shared hyperparameters followed by a learner's own.

    Args:
        own: The learner's own hyperparameters.
        defaults: Other defaults of shared ones, by name.
    """
    told = dict(defaults or {})
    shared = tuple(replace(hp, default=told.pop(hp.name, hp.default)) for hp in SHARED)
    if told:
        raise ValueError(f"Expected names of shared hyperparameters; got {sorted(told)}.")
    return SearchSpace((*shared, *own))
