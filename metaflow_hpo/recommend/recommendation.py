"""What is served: the surrogate, the past tasks it leans on, and the answer it gives for a new task.

The one thing to know: everything here is read from one folder of safetensors and JSON; nothing is unpickled.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.recommend.baselines import find_default
from metaflow_hpo.recommend.duration import DurationModel
from metaflow_hpo.recommend.explanation import explain
from metaflow_hpo.recommend.novelty import THRESHOLD, Novelty
from metaflow_hpo.recommend.portfolio import select_greedily
from metaflow_hpo.recommend.surrogate_recommender import SurrogateRecommender
from metaflow_hpo.space import Configuration
from metaflow_hpo.surrogate.meta_dataset import Array, MetaDataset
from metaflow_hpo.surrogate.predict import Prediction, Surrogate, load_surrogate, save_surrogate

_ARRAYS_FILE = "past_tasks.safetensors"
_DESCRIPTION_FILE = "past_tasks.json"
NEAREST = 5
_NORMAL_80 = 1.2816


@dataclass(frozen=True)
class Observed:
    """A trial made on the new task: a configuration of the learner and its performance, higher is better."""

    configuration: Configuration
    performance: float


@dataclass(frozen=True)
class IntervalScale:
    """Conformal width of intervals: `mean +- scale * spread` covers `coverage` of held-out tasks' outcomes.

    Attributes:
        coverage: Nominal coverage, in (0, 1).
        scale: Multiple of the predicted standard deviation, > 0.
    """

    coverage: float = 0.8
    scale: float = _NORMAL_80


@dataclass(frozen=True)
class ServedRecommender:
    """Recommends configurations for tasks described by meta-features.

    Attributes:
        surrogate: The cross-fitted surrogate.
        past: Past tasks on the shared core.
        trust: Weight of the surrogate's own scenarios, chosen on meta-validation families.
        interval: Conformal width of intervals.
        lineage: Where it came from: `meta_dataset_md5`, `git_revision`, ...
    """

    surrogate: Surrogate
    past: MetaDataset
    trust: float
    interval: IntervalScale
    lineage: Mapping[str, str] = field(default_factory=dict)
    _recommender: SurrogateRecommender = field(init=False, repr=False)
    _novelty: Novelty = field(init=False, repr=False)
    _durations: DurationModel = field(init=False, repr=False)
    _default: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        recommender = SurrogateRecommender.fit(self.surrogate, self.past, self.trust)
        object.__setattr__(self, "_recommender", recommender)
        object.__setattr__(self, "_novelty", Novelty.fit(self.past))
        object.__setattr__(self, "_durations", DurationModel.fit(self.past))
        object.__setattr__(self, "_default", find_default(self.past))

    @property
    def meta_feature_names(self) -> tuple[str, ...]:
        """Names of the inputs, `mf_` prefix included."""
        return self.surrogate.meta_feature_names

    def read_meta_features(self, values: Mapping[str, float]) -> Array:
        """Return the inputs in order, `(M,)`.

        Raises:
            InvalidTableError: If one is missing, unknown or not a finite number.
        """
        missing = [name for name in self.meta_feature_names if name not in values]
        unknown = sorted(set(values) - set(self.meta_feature_names))
        if missing or unknown:
            raise InvalidTableError(
                f"Expected the {len(self.meta_feature_names)} meta-features this surrogate was trained with; "
                f"missing {missing[:5]}, unknown {unknown[:5]}. Describe the task with this version of metaflow_hpo."
            )
        row = np.array([values[name] for name in self.meta_feature_names], dtype=np.float64)
        if not np.isfinite(row).all():
            bad = [name for name, value in zip(self.meta_feature_names, row, strict=True) if not np.isfinite(value)]
            raise InvalidTableError(f"Meta-features must be finite numbers; {bad[:5]} are not.")
        return row

    def select(
        self,
        row: Array,
        count: int,
        observed: Sequence[Observed] = (),
        *,
        per_time: bool = False,
        prediction: Prediction | None = None,
    ) -> tuple[list[int], float]:
        """Return positions in the shared core, best first, and the novelty of the task as a percentile.

        A task beyond the novelty threshold gets the learner's default and then the portfolio over past tasks.
        Observed trials stand for the nearest configuration of the shared core. `per_time` counts the expected seconds
        of training instead of trials. `prediction` is that of all networks for this task, where the caller has it.
        """
        duration = self._durations.predict(row, self.past.encoded) if per_time else None
        percentile = self._novelty.percentile(row)
        if observed:
            tried = self._nearest_positions([o.configuration for o in observed])
            performance = np.array([o.performance for o in observed], dtype=np.float64)
            return self._recommender.continue_from(row, tried, performance, count, duration, prediction), percentile
        if percentile <= THRESHOLD:
            return self._recommender.select(row, count, duration, prediction), percentile
        weights = np.ones(len(self.past.task_ids))
        portfolio = select_greedily(self._recommender.past_regret, weights, count, duration=duration)
        return [self._default, *(c for c in portfolio if c != self._default)][:count], percentile

    def _nearest_positions(self, configurations: Sequence[Configuration]) -> list[int]:
        distances = np.abs(self.surrogate.space.encode(configurations)[:, None, :] - self.past.encoded[None]).sum(
            axis=-1
        )
        return [int(i) for i in distances.argmin(axis=1)]

    def recommend(
        self,
        meta_features: Mapping[str, float],
        k: int = 5,
        observed: Sequence[Observed] = (),
        *,
        per_time: bool = False,
        explained: bool = False,
    ) -> dict[str, Any]:
        """Recommend k configurations.

        Args:
            meta_features: Every meta-feature by name, finite.
            k: How many, from 1 to the size of the shared core.
            observed: Trials a person has already made on this task; the recommendation goes on from them.
            per_time: Choose by expected gain per second of training instead of per trial.
            explained: Add to the evidence what drives the first recommendation, see `explain`.

        Returns:
            JSON-ready `recommendations`, `evidence`, `novelty` and `lineage`, as in the CLI's contract.

        Raises:
            InvalidTableError: If a meta-feature is missing, unknown or not finite, or k is out of range.
        """
        row = self.read_meta_features(meta_features)
        if not 1 <= k <= len(self.past.configurations):
            raise InvalidTableError(f"k must be from 1 to {len(self.past.configurations)}; got {k}.")
        prediction = self.surrogate.predict(row[None, :], self.past.encoded)
        order, percentile = self.select(row, k, observed, per_time=per_time, prediction=prediction)
        fallback = percentile > THRESHOLD
        mean, spread = prediction.mean[0], prediction.spread[0] * (2.0 if fallback else 1.0)
        seconds = self._durations.predict(row, self.past.encoded)
        metric = "r2" if meta_features.get("mf_is_regression", 0.0) == 1.0 else "balanced_accuracy"
        return {
            "recommendations": [
                {
                    "rank": rank,
                    "configuration": dict(self.past.configurations[c]),
                    "performance": {"metric": metric, **self._interval(mean[c], spread[c])},
                    "expected_gain_over_default": float(mean[c] - mean[self._default]),
                    "expected_duration_s": float(seconds[c]),
                }
                for rank, c in enumerate(order, start=1)
            ],
            "evidence": {
                "nearest_tasks": self._nearest(row),
                "trust_in_surrogate": self.trust,
                "observed_trials": len(observed),
                **(self._explain(row, order[0]) if explained else {}),
            },
            "novelty": {"percentile": percentile, "fallback": fallback},
            "lineage": dict(self.lineage),
        }

    def _explain(self, row: Array, position: int) -> dict[str, list[dict[str, Any]]]:
        typical = self._recommender.standardiser.center
        return explain(self.surrogate, row, typical, self.past.configurations[position])

    def _interval(self, mean: float, spread: float) -> dict[str, float]:
        """Both metrics end at 1 and the floor of each is 0, so an interval never leaves [0, 1]."""
        low, high = (float(np.clip(mean + sign * self.interval.scale * spread, 0.0, 1.0)) for sign in (-1, 1))
        return {"mean": float(np.clip(mean, low, high)), "low": low, "high": high, "coverage": self.interval.coverage}

    def _nearest(self, row: Array) -> list[dict[str, Any]]:
        distances = self._novelty.distances(row)
        found = []
        for t in np.argsort(distances, kind="stable")[:NEAREST]:
            best = int(np.nanargmax(self.past.performance[t]))
            found.append(
                {
                    "task_id": self.past.task_ids[t],
                    "family": self.past.families[t],
                    "distance": float(distances[t]),
                    "best_performance": float(self.past.performance[t, best]),
                    "default_performance": float(self.past.performance[t, self._default]),
                    "best_configuration": dict(self.past.configurations[best]),
                }
            )
        return found

    def save(self, folder: Path) -> None:
        """Write everything into an existing folder."""
        from safetensors.numpy import save_file

        save_surrogate(self.surrogate, folder)
        arrays = {
            "meta_features": self.past.meta_features,
            "performance": self.past.performance,
            "duration": self.past.duration,
        }
        save_file({name: np.ascontiguousarray(value) for name, value in arrays.items()}, folder / _ARRAYS_FILE)
        description = {
            "task_ids": self.past.task_ids,
            "families": self.past.families,
            "configurations": [dict(c) for c in self.past.configurations],
            "configuration_ids": self.past.configuration_ids,
            "trust": self.trust,
            "interval": {"coverage": self.interval.coverage, "scale": self.interval.scale},
            "lineage": dict(self.lineage),
        }
        (folder / _DESCRIPTION_FILE).write_text(json.dumps(description, indent=1, sort_keys=True))

    @classmethod
    def load(cls, folder: Path) -> "ServedRecommender":
        """Read a recommender back.

        Raises:
            InvalidTableError: If the folder does not hold one.
        """
        from safetensors.numpy import load_file

        surrogate = load_surrogate(folder)
        if not (folder / _ARRAYS_FILE).is_file() or not (folder / _DESCRIPTION_FILE).is_file():
            raise InvalidTableError(
                f"Expected {_ARRAYS_FILE} and {_DESCRIPTION_FILE} in {folder}; run `metaflow-hpo fit`."
            )
        description = json.loads((folder / _DESCRIPTION_FILE).read_text())
        arrays = load_file(folder / _ARRAYS_FILE)
        past = MetaDataset(
            space=surrogate.space,
            task_ids=tuple(description["task_ids"]),
            families=tuple(description["families"]),
            meta_feature_names=surrogate.meta_feature_names,
            meta_features=arrays["meta_features"],
            configurations=tuple(description["configurations"]),
            configuration_ids=tuple(description["configuration_ids"]),
            performance=arrays["performance"],
            duration=arrays["duration"],
        )
        return cls(
            surrogate, past, description["trust"], IntervalScale(**description["interval"]), description["lineage"]
        )
