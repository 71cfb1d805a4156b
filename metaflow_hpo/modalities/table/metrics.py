"""Kinds of table tasks, and the metrics each of them offers."""

from collections.abc import Mapping
from typing import Literal, get_args

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.metric import KNOWN_METRICS, Metric

Kind = Literal["binary", "multiclass", "regression"]

_CLASSES = tuple(KNOWN_METRICS[name] for name in ("balanced_accuracy", "accuracy", "log_loss"))
_NUMBERS = tuple(KNOWN_METRICS[name] for name in ("r2", "rmse"))

METRICS: Mapping[str, tuple[Metric, ...]] = {"binary": _CLASSES, "multiclass": _CLASSES, "regression": _NUMBERS}
"""Metrics a kind of task may use; the first is the default, and what learning curves and landmarks are measured in."""


def check_metric(kind: str, metric: Metric) -> None:
    """Check that a kind of task is scored by a metric.

    Raises:
        InvalidTaskError: If there is no such kind, or it does not offer the metric.
    """
    if kind not in METRICS:
        raise InvalidTaskError(f"kind must be one of {', '.join(get_args(Kind))}; got {kind!r}.")
    if metric not in METRICS[kind]:
        names = ", ".join(map(str, METRICS[kind]))
        raise InvalidTaskError(
            f"Expected a metric of a {kind} task ({names}); got {metric.name!r}. Choose one of these."
        )


def curve_metric(kind: str) -> Metric | None:
    """Return what learning curves, and landmarks, of a kind of table are measured in; None for what is no table."""
    return METRICS[kind][0] if kind in METRICS else None
