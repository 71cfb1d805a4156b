"""Whether tuning is worth it: what configurations gained over the default on past tasks, on unseen rows where known.

The one thing to know: a configuration must earn the first place. It gets it where past tasks that are like the new one
gained from it by enough standard errors; how many are enough is learned on past tasks that were judged without their
own family, as the least that lets at most one in twenty lose.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from metaflow_hpo.history import Array
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommender.interval import Bounds
from metaflow_hpo.recommender.new_task import NewTask
from metaflow_hpo.recommender.observed import Observed

TRIED = 5
"""Recommendations that are tried beside the default where a person tunes."""
COVERAGE = 0.8
WORTH = 0.005
"""Gain below which tuning is not worth it, as a share of the range of performances."""
_LOSS = 0.01
"""What counts as a loss, as a share of the same range."""
_MAX_LOSING = 0.05
"""Share of past tasks that may lose by the configuration in the first place."""
_ERRORS = np.arange(0.125, 4.01, 0.125)
"""Standard errors that are tried as a threshold."""
_UNPROVEN = 1.0
"""The threshold where fewer than `_MIN_TASKS` past tasks tell."""
_MIN_TASKS = 12
_KEPT = 0.5
"""Share of a validated gain that is left on unseen rows where no past task tells: what networks keep of it."""


@dataclass(frozen=True)
class Gains:
    """What each configuration of a pool gained over the default on past tasks, as a share of the performances' range.

    Attributes:
        validated: `(T, P)` by validation.
        unseen: `(T, P)` on unseen rows; NaN where not known.
        default: Position of the default.
    """

    validated: Array
    unseen: Array
    default: int

    @classmethod
    def of(cls, past: PastTasks, bounds: Bounds | None) -> "Gains":
        """Measure past tasks; where performances have no bounds, the range is that of each task."""
        unit = np.ptp(past.ends, axis=1, keepdims=True) if bounds is None else bounds[1] - bounds[0]

        def gain(values: Array) -> Array:
            return np.asarray((values - values[:, [past.default]]) / np.where(unit > 0, unit, 1.0))

        return cls(gain(past.performance), gain(past.test_performance), past.default)

    @cached_property
    def kept(self) -> float:
        """Share of the validated gain of the best configuration that is left on unseen rows, over past tasks."""
        known = np.isfinite(self.unseen).all(axis=1)
        if int(known.sum()) < _MIN_TASKS:
            return _KEPT
        rows, best = np.flatnonzero(known), self.validated[known].argmax(axis=1)
        seen, left = self.validated[rows, best], self.unseen[rows, best]
        return float(np.clip(seen @ left / max(float(seen @ seen), 1e-12), 0.0, 1.0))

    def of_one(self, position: int) -> Array:
        """Return what one configuration gained, `(T,)`: nothing was chosen by it, so that both estimates count."""
        validated, unseen = self.validated[:, position], self.unseen[:, position]
        return np.asarray(np.where(np.isfinite(unseen), 0.5 * (validated + unseen), validated))

    def of_best(self, positions: Sequence[int]) -> Array:
        """Return what the best by validation of some configurations and the default gained on unseen rows, `(T,)`."""
        tried = np.array([self.default, *positions])
        best = tried[self.validated[:, tried].argmax(axis=1)]
        rows = np.arange(len(best))
        unseen = self.unseen[rows, best]
        return np.asarray(np.where(np.isfinite(unseen), unseen, self.kept * self.validated[rows, best]))


def count_errors(gain: Array, weights: Array) -> float:
    """Return how many standard errors the mean gain `(T,)` of past tasks, weighted by `(T,)`, lies above 0.

    It is 0 where most of them gained nothing: then a few that gained much are what the mean tells.
    """
    if float(weights @ (gain > 0)) <= 0.5:
        return 0.0
    mean = float(weights @ gain)
    error = np.sqrt(float(weights @ (gain - mean) ** 2) * float((weights**2).sum()))
    return float(mean / max(error, 1e-12))


@dataclass(frozen=True)
class TuningEvidence:
    """What the first recommendation would have brought on past tasks, each judged without its family.

    Attributes:
        errors: By task, standard errors that its gain was expected to lie above 0, see `count_errors`.
        gain: By task, what it gained over the default, on unseen rows where that is known.
    """

    errors: Mapping[str, float]
    gain: Mapping[str, float]

    def of(self, task_ids: Sequence[str]) -> "TuningEvidence":
        """Return what is known of some tasks."""
        kept = [task for task in task_ids if task in self.errors]
        return TuningEvidence({t: self.errors[t] for t in kept}, {t: self.gain[t] for t in kept})

    @cached_property
    def threshold(self) -> float:
        """Standard errors above 0 that earn the first place: the least at which few enough past tasks lose."""
        if len(self.errors) < _MIN_TASKS:
            return _UNPROVEN
        errors = np.array(list(self.errors.values()))
        loses = np.array([self.gain[task] for task in self.errors]) < -_LOSS
        losing = [float((loses & (errors >= least)).mean()) for least in _ERRORS]
        return next((float(e) for e, share in zip(_ERRORS, losing, strict=True) if share <= _MAX_LOSING), np.inf)

    def to_json(self) -> dict[str, Any]:
        """Return it JSON-ready; `from_json` inverts it."""
        return {"errors": dict(self.errors), "gain": dict(self.gain)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TuningEvidence":
        """Build it from what `to_json` returned."""
        errors, gain = (dict(values[name]) for name in ("errors", "gain"))
        numbers = np.array([*errors.values(), *gain.values()], dtype=np.float64)
        if set(errors) != set(gain) or np.isnan(numbers).any():
            raise ValueError("numbers of the same tasks were expected as errors and as gain")
        return cls(errors, gain)


def measure_first(task: NewTask, gains: Gains) -> tuple[int, float]:
    """Return the position of what a task that was just begun would try first, and how surely it gains, in errors.

    What a person tried beside the pool, of which no past task tells, is as sure as can be.
    """
    (first,) = task.choose(Observed.nothing(), 1)
    tasks, pool = gains.validated.shape
    if first >= pool:
        return first, np.inf
    weights = task.weights[:tasks]
    return first, count_errors(gains.of_one(first), weights / weights.sum())


def earn_first(task: NewTask, gains: Gains, evidence: TuningEvidence) -> NewTask:
    """Return a task that was just begun with the default first, unless what would be has earned that place."""
    _, errors = measure_first(task, gains)
    return task if errors >= evidence.threshold else replace(task, first=(gains.default,))


@dataclass(frozen=True)
class Forecast:
    """What tuning is expected to bring over the default on unseen rows, by what it brought on tasks like the new one.

    Attributes:
        expected_gain: Mean over like tasks, in units of performance; None where these have no bounds.
        low: Lower end of the interval over like tasks.
        high: Its upper end.
        share_paid: Share of like tasks on which it gained anything.
        worth_it: Whether it is worth the training.
    """

    expected_gain: float | None
    low: float | None
    high: float | None
    share_paid: float
    worth_it: bool

    @classmethod
    def of(cls, gain: Array, weights: Array, unit: float | None) -> "Forecast":
        """Sum up gains `(T,)` on past tasks of weights `(T,)`; `unit` turns them into performance."""
        mean, paid = float(weights @ gain), float(weights @ (gain > 0))
        order = np.argsort(gain, kind="stable")
        reached = np.cumsum(weights[order])
        tail = 0.5 * (1.0 - COVERAGE)
        ends = [gain[order][min(int(np.searchsorted(reached, q)), len(gain) - 1)] for q in (tail, 1.0 - tail)]
        mean_gain, low, high = (None if unit is None else float(unit * value) for value in (mean, *ends))
        return cls(mean_gain, low, high, share_paid=min(paid, 1.0), worth_it=mean >= WORTH and paid > 0.5)

    def to_json(self, metric: str) -> dict[str, Any]:
        """Return the answer's `tuning`; its sentence says what `metric` is."""
        return {**asdict(self), "coverage": COVERAGE, "text": self.say(metric)}

    def say(self, metric: str) -> str:
        """Return a sentence for people."""
        brought = f"it gained on {100 * self.share_paid:.0f} % of like past tasks"
        if self.expected_gain is not None:
            span = f"{100 * COVERAGE:.0f} % of them: {self.low:+.3f} to {self.high:+.3f}"
            brought = f"{self.expected_gain:+.3f} {metric} over the default on unseen rows ({span}), and {brought}"
        what = f"Tuning with {TRIED} recommendations beside the default"  # however many were asked for
        if self.worth_it:
            return f"{what} is expected to pay: {brought}."
        return f"{what} is hardly worth it here: {brought}. The default will do."
