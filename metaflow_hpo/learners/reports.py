"""What a person's own training reports: scores on the way, which a judge may stop, and the result at the end."""

import math
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from metaflow_hpo.hyperparameter import is_number
from metaflow_hpo.learners.learner import ERROR, Judge, Outcome
from metaflow_hpo.metric import Metric

_RESULT = ("score", "test_score", "failed")


class Reports:
    """The scores that a training has reported, and whether it is to stop.

    Args:
        metric: Metric of the task; scores are in its own orientation.
        fidelity: Effort of the training.
        judge: Is asked at its checkpoints below `fidelity`.
    """

    def __init__(self, metric: Metric, fidelity: int, judge: Judge | None = None) -> None:
        self._metric, self._judge = metric, judge
        self._asked_at = [] if judge is None else [c for c in judge.checkpoints if c < fidelity]
        self._scores: dict[int, float] = {}
        self.stop_reason = ""

    def add(self, step: int, score: float) -> bool:
        """Keep a score, and tell whether the training is to stop.

        Args:
            step: Units of fidelity so far, counted from 1; a training that counts from 0 is understood.
            score: Value of the metric on validation rows.
        """
        if self.stop_reason:  # what comes behind depends on how soon the training hears of it
            return True
        self._scores[step] = self._metric.orient(score)
        curve = self.curve
        while not self.stop_reason and self._judge is not None and self._asked_at and len(curve) >= self._asked_at[0]:
            seen = np.array(curve[: self._asked_at.pop(0)], np.float32)
            if np.isfinite(seen).all():
                self.stop_reason = self._judge(seen)
        return bool(self.stop_reason)

    @property
    def curve(self) -> tuple[float, ...]:
        """The learning curve, higher is better; a step without a report has the score of the one before."""
        if not self._scores:
            return ()
        first, last = (0 if 0 in self._scores else 1), max(self._scores)
        curve, score = [], self._scores[min(self._scores)]
        for step in range(first, last + 1):
            score = self._scores.get(step, score)
            curve.append(score)
        return tuple(curve)

    def end(self, reason: str, duration_s: float, *, stopped: bool = False) -> Outcome:
        """Return the outcome of a training that gave no result: it failed, or the judge stopped it."""
        return Outcome(learning_curve=self.curve, duration_s=duration_s, reason=reason, stopped=stopped)

    def describe(self) -> str:
        """Return how far the training had come."""
        return f"after step {max(self._scores)}" if self._scores else "before its first report"


def check_report(step: Any, score: Any) -> str:
    """Return what is wrong with a report; empty where nothing is."""
    if not is_number(step) or step < 0 or step != int(step):
        return f"a step must be a whole number of 0 or more, got {step!r}"
    return "" if is_number(score) else f"a score must be a number, got {score!r}"


def read_result(value: Any, metric: Metric, reports: Reports, duration_s: float) -> Outcome:
    """Return the outcome of what a training returned: a score, or `{"score", "test_score", ...}`, or `{"failed"}`.

    Args:
        value: What it returned; further numbers beside the score are kept as scores by their names.
        metric: Metric of the task.
        reports: What it reported on the way.
        duration_s: Seconds that it took.
    """
    result = value if isinstance(value, Mapping) else {"score": value}
    if "failed" in result:
        return reports.end(f"failed: {result['failed']}", duration_s)
    if "score" not in result:
        return reports.end(f"no score: expected a number or {{'score': number}}, got {_shorten(value)}", duration_s)
    score, test = _plain(result["score"]), _plain(result.get("test_score"))
    if (wrong := _find_fault("score", score, metric)) or (
        test is not None and (wrong := _find_fault("test_score", test, metric))
    ):
        return reports.end(wrong, duration_s)
    others = {str(name): float(v) for name, v in result.items() if name not in _RESULT and is_number(_plain(v))}
    scores = others | {metric.name: float(score)} | ({} if test is None else {f"test_{metric.name}": float(test)})
    return Outcome(
        performance=metric.orient(float(score)),
        test_performance=None if test is None else metric.orient(float(test)),
        scores=scores,
        learning_curve=reports.curve,
        duration_s=duration_s,
    )


def _find_fault(name: str, value: Any, metric: Metric) -> str:
    if not is_number(value):
        return f"no number: expected {name} as a number, got {_shorten(value)}"
    if not math.isfinite(value):
        return f"diverged: {name} is {value}"
    if not metric.admits(metric.orient(float(value))):
        return f"{ERROR}{name} {value} lies outside {metric.low} to {metric.high} of {metric.name}"
    return ""


def _plain(value: Any) -> Any:
    """Return the number in an array or tensor of one element; anything else as it is."""
    if hasattr(value, "item"):
        with suppress(ValueError, RuntimeError):
            return value.item()
    return value


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:100] + "..."
