"""What is served: the surrogate, the past tasks it leans on, and the answer it gives for a new task.

The one thing to know: everything here is read from one folder of safetensors and JSON; nothing is unpickled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from metaflow_hpo.array_files import read_described, write_described
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history import Array, History
from metaflow_hpo.modalities.roles import select_features
from metaflow_hpo.recommend.adaptive import OWN, AdaptiveRecommender, NewTask
from metaflow_hpo.recommend.baselines import find_default
from metaflow_hpo.recommend.duration import DurationModel
from metaflow_hpo.recommend.explanation import explain, find_nearest
from metaflow_hpo.recommend.interval import IntervalScale, expect_performance
from metaflow_hpo.recommend.novelty import Novelty, is_beyond
from metaflow_hpo.recommend.portfolio import select_greedily, with_default
from metaflow_hpo.recommend.sequential import Observed, ObservedTrial, place
from metaflow_hpo.recommend.signal import lacks_signal
from metaflow_hpo.recommend.stopping import StoppingRule
from metaflow_hpo.recommend.surrogate_recommender import SurrogateRecommender
from metaflow_hpo.recommend.task_forest import TaskForest
from metaflow_hpo.space import Configuration
from metaflow_hpo.surrogate.predict import Prediction, Surrogate, load_surrogate, save_surrogate

_FILES = "past_tasks"
_FOREST = "forest."
"""What the names of the forest's arrays begin with."""
NOVEL_WIDENING = 2.0
"""Factor of the intervals' width on a task unlike all past ones."""


@dataclass(frozen=True)
class Chosen:
    """Configurations chosen for a task, K of them, and what is expected of them.

    Attributes:
        configurations: `(K,)` best first.
        mean: `(K,)` expected performance, in [0, 1].
        spread: `(K,)` standard deviation of it.
        default_mean: Expected performance of the default configuration.
        percentile: Novelty of the task.
        fallback: Past tasks are no guide: the default and what complements it come first.
    """

    configurations: tuple[Configuration, ...]
    mean: Array
    spread: Array
    default_mean: float
    percentile: float
    fallback: bool


@dataclass(frozen=True)
class ServedRecommender:
    """Recommends configurations for tasks described by meta-features.

    Attributes:
        surrogate: The cross-fitted surrogate.
        past: Past tasks on the shared core.
        trust: Weight of the surrogate's prediction among the scenarios, chosen on meta-validation families.
        interval: Conformal width of intervals.
        lineage: Where it came from: `meta_dataset_md5`, `git_revision`, ...
        forest: Weights of past tasks, fitted on `past`; fitted here unless given.
        stopping: When to stop a training by its learning curve; None for learners without epochs, and in versions that
            were made before there were rules.
    """

    surrogate: Surrogate
    past: History
    trust: float
    interval: IntervalScale
    lineage: Mapping[str, str] = field(default_factory=dict)
    forest: TaskForest | None = field(default=None, repr=False)
    stopping: StoppingRule | None = None
    _recommender: SurrogateRecommender = field(init=False, repr=False)
    _novelty: Novelty = field(init=False, repr=False)
    _durations: DurationModel = field(init=False, repr=False)
    _default: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        recommender = SurrogateRecommender.fit(self.surrogate, self.past, self.trust, forest=self.forest)
        object.__setattr__(self, "_recommender", recommender)
        object.__setattr__(self, "_novelty", Novelty.fit(self.past))
        object.__setattr__(self, "_durations", DurationModel.fit(self.past))
        object.__setattr__(self, "_default", find_default(self.past))

    @property
    def meta_feature_names(self) -> tuple[str, ...]:
        """Names of the inputs, `mf_` prefix included."""
        return self.surrogate.meta_feature_names

    @property
    def has_forest(self) -> bool:
        """Whether past tasks are weighed by a forest; else by their distance."""
        return self._recommender.forest.share > 0

    def read_meta_features(self, values: Mapping[str, float]) -> Array:
        """Return the inputs in order, `(M,)`.

        Raises:
            InvalidTableError: If one is missing or not a finite number.
        """
        return select_features(values, self.meta_feature_names)

    def select(self, row: Array, count: int) -> tuple[list[int], float]:
        """Return positions in the shared core, best first, and the novelty of the task as a percentile.

        A task that `falls_back` gets the learner's default and then what complements it over past tasks.
        """
        percentile, fallback = self.falls_back(row)
        return self._select(row, count, fallback=fallback), percentile

    def _select(
        self, row: Array, count: int, *, fallback: bool, per_time: bool = False, prediction: Prediction | None = None
    ) -> list[int]:
        """Return positions, best first; `prediction` is that of all networks for the task, where the caller has it."""
        duration = self._durations.predict(row, self.past.points) if per_time else None
        if not fallback:
            return self._recommender.select(row, count, duration, prediction)
        learned = self._recommender.learned_similarity(row)
        # Weights count here too: three trials of 35 meta-validation tasks reach .108, instead of .169 with equal ones.
        weights = np.ones(len(self.past.task_ids)) if learned is None else learned
        rest = select_greedily(self._recommender.past_regret, weights, count - 1, [self._default], duration)
        return [self._default, *rest]

    def falls_back(self, row: Array) -> tuple[float, bool]:
        """Return the novelty of a task as a percentile, and whether past tasks are no guide to it.

        They are none beyond the novelty threshold, and where no landmark is better than guessing.
        """
        percentile = self._novelty.percentile(row)
        is_noise = lacks_signal(dict(zip(self.meta_feature_names, row.tolist(), strict=True)))
        return percentile, is_beyond(percentile) or is_noise

    def choose(
        self,
        row: Array,
        count: int,
        observed: Sequence[ObservedTrial] = (),
        more: Sequence[Configuration] = (),
        *,
        per_time: bool = False,
    ) -> Chosen:
        """Choose the next configurations to try.

        Args:
            row: `(M,)` meta-features of the task.
            count: How many; fewer where every configuration of the shared core was tried.
            observed: Trials of this task, of any configurations.
            more: Configurations to consider beside the shared core, once there are trials.
            per_time: Choose by expected gain per second of training instead of per trial.
        """
        percentile, fallback = self.falls_back(row)
        if observed:
            task, seen = self._begin(row, observed, more, is_novel=fallback, per_time=per_time)
            order, (mean, spread) = task.choose(seen, count), task.predict(seen)
            pool, is_new = task.past.configurations, self._default not in seen.positions
        else:
            prediction = self.surrogate.predict(row[None, :], self.past.points)
            order = self._select(row, count, fallback=fallback, per_time=per_time, prediction=prediction)
            mean, spread = prediction.mean[0], prediction.spread[0]
            pool, is_new = self.past.configurations, True
        mean = expect_performance(mean, spread)
        # The next trial alone may be a step into the unknown, or a cheap one; a set is what a person relies on.
        if is_new and (count > 1 or not (observed or per_time)):
            order = with_default(order, mean, self._default)
        chosen = tuple(pool[c] for c in order)
        return Chosen(chosen, mean[order], spread[order], float(mean[self._default]), percentile, fallback)

    def _begin(
        self,
        row: Array,
        observed: Sequence[ObservedTrial],
        more: Sequence[Configuration],
        *,
        is_novel: bool,
        per_time: bool,
    ) -> tuple[NewTask, Observed]:
        """Return the task on a pool that holds what was or may be tried, and the observed trials by position."""
        beside, at = place(self.past.configurations, [trial.configuration for trial in observed], more)
        task = self._adaptive.begin(
            row,
            more=beside,
            believe=lambda encoded: self.surrogate.predict(row[None, :], encoded).positions[:, 0, :].mean(axis=0),
            trust=self.trust,
            is_novel=is_novel,
            seconds=partial(self._durations.predict, row) if per_time else None,
            weights=self._recommender.learned_similarity(row),
        )
        performance = np.array([trial.performance for trial in observed], dtype=np.float64)
        return task, Observed(at, performance)

    @cached_property
    def _adaptive(self) -> AdaptiveRecommender:
        """What answers once there are trials; fitted when it is first asked."""
        return AdaptiveRecommender.fit(self.past.past_tasks(), OWN)

    def recommend(
        self,
        meta_features: Mapping[str, float],
        k: int = 5,
        observed: Sequence[ObservedTrial] = (),
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
            InvalidTableError: If a meta-feature is missing or not finite, or k is out of range.
        """
        row = self.read_meta_features(meta_features)
        if not 1 <= k <= len(self.past.configurations):
            raise InvalidTableError(f"k must be from 1 to {len(self.past.configurations)}; got {k}.")
        chosen = self.choose(row, k, observed, per_time=per_time)
        is_novel = is_beyond(chosen.percentile)
        width = self.interval.at(len(observed)) * (NOVEL_WIDENING if is_novel else 1.0)
        seconds = self._durations.predict(row, self.surrogate.space.encode(chosen.configurations))
        metric = "r2" if meta_features.get("mf_is_regression", 0.0) == 1.0 else "balanced_accuracy"
        lines = zip(chosen.configurations, chosen.mean, chosen.spread, seconds, strict=True)
        return {
            "recommendations": [
                {
                    "rank": rank,
                    "configuration": dict(configuration),
                    "performance": {"metric": metric, **self.interval.around(mean, width * spread)},
                    "expected_gain_over_default": float(mean - chosen.default_mean),
                    "expected_duration_s": float(expected_s),
                }
                for rank, (configuration, mean, spread, expected_s) in enumerate(lines, start=1)
            ],
            "evidence": {
                "nearest_tasks": find_nearest(self.past, self._novelty.distances(row), self._default),
                "trust_in_surrogate": self.trust,
                "observed_trials": len(observed),
                **(self._explain(row, chosen.configurations[0]) if explained else {}),
            },
            "novelty": {"percentile": chosen.percentile, "fallback": chosen.fallback},
            "lineage": dict(self.lineage),
        }

    def _explain(self, row: Array, first: Configuration) -> dict[str, list[dict[str, Any]]]:
        return explain(self.surrogate, row, self._recommender.distance.standardiser.center, first)

    def save(self, folder: Path) -> None:
        """Write everything into an existing folder."""
        save_surrogate(self.surrogate, folder)
        forest = {_FOREST + name: value for name, value in self._recommender.forest.to_arrays().items()}
        kept = {"trust": self.trust, "interval": self.interval.to_json(), "lineage": dict(self.lineage)}
        if self.stopping is not None:
            kept["stopping"] = self.stopping.to_json()
        past = self.past
        arrays = {"meta_features": past.meta_features, "performance": past.performance, "duration": past.duration}
        described = {
            "task_ids": past.task_ids,
            "families": past.families,
            "configurations": [dict(configuration) for configuration in past.configurations],
            "configuration_ids": past.configuration_ids,
        }
        write_described(folder, _FILES, {**arrays, **forest}, {**described, **kept})

    @classmethod
    def load(cls, folder: Path) -> "ServedRecommender":
        """Read a recommender back.

        Raises:
            InvalidTableError: If the folder does not hold one.
        """
        surrogate = load_surrogate(folder)
        arrays, description = read_described(folder, _FILES, "run `metaflow-hpo fit`.")
        past = History.from_arrays(
            surrogate.space,
            description["configurations"],
            description["task_ids"],
            description["families"],
            arrays["performance"],
            meta_feature_names=surrogate.meta_feature_names,
            meta_features=arrays["meta_features"],
            duration=arrays["duration"],
            learner=surrogate.learner,
        )
        interval = IntervalScale.from_json(description["interval"])
        kept = {name.removeprefix(_FOREST): value for name, value in arrays.items() if name.startswith(_FOREST)}
        # A recommender of an older version has no forest and goes on to weigh past tasks by distance.
        forest = TaskForest.from_arrays(kept) if kept else TaskForest.without_say(len(past.task_ids))
        stopping = StoppingRule.from_json(description["stopping"]) if "stopping" in description else None
        return cls(surrogate, past, description["trust"], interval, description["lineage"], forest, stopping)
