"""The recommender: past tasks on a pool, and the surrogate where there is one, asked about a new task."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from metaflow_hpo.errors import InvalidTableError, listed
from metaflow_hpo.history import Array, History, IntArray
from metaflow_hpo.metric import Metric
from metaflow_hpo.modalities.roles import select_features
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommender.answer import make_answer
from metaflow_hpo.recommender.duration import DurationModel, MedianDurations, fit_durations
from metaflow_hpo.recommender.interval import UNIT, Bounds, IntervalScale, expect_performance
from metaflow_hpo.recommender.new_task import Believe, NewTask, RecommenderSettings, with_prediction
from metaflow_hpo.recommender.novelty import Novelty, is_beyond
from metaflow_hpo.recommender.observed import Observed, ObservedTrial, place
from metaflow_hpo.recommender.pool_kernel import PoolKernel
from metaflow_hpo.recommender.portfolio import weigh_by_distance, with_default
from metaflow_hpo.recommender.recommender_files import describe, read_parts, save, to_arrays
from metaflow_hpo.recommender.signal import lacks_signal
from metaflow_hpo.recommender.stopping import StoppingRule
from metaflow_hpo.recommender.task_distance import TaskDistance
from metaflow_hpo.recommender.task_forest import TaskForest
from metaflow_hpo.recommender.tuning import TRIED, Forecast, Gains, TuningEvidence, earn_first
from metaflow_hpo.space import Configuration, SearchSpace, configuration_id

if TYPE_CHECKING:
    from metaflow_hpo.surrogate.predict import Prediction, Surrogate

NEARNESS_WIDTH = 0.5
"""Of the nearness in meta-features, in root median squared distances."""
_EXPECTED_SHARE = 0.95
"""Share of the forest in what is expected of a task: for choosing, more that is the same for all is safer."""


@dataclass(frozen=True)
class Chosen:
    """Configurations chosen for a task, K of them, and what is expected of them.

    Attributes:
        configurations: `(K,)` best first.
        mean: `(K,)` expected performance, higher is better.
        spread: `(K,)` standard deviation of it.
        default_mean: Expected performance of the default configuration.
        percentile: Novelty of the task; None where nothing is known of it.
        fallback: Past tasks are less of a guide: the surrogate is not asked.
    """

    configurations: tuple[Configuration, ...]
    mean: Array
    spread: Array
    default_mean: float
    percentile: float | None
    fallback: bool


@dataclass(frozen=True)
class Recommender:
    """Recommends configurations for tasks described by meta-features, from the first trial on.

    Attributes:
        past: T past tasks on a pool of P configurations.
        settings: How the parts work together.
        surrogate: The networks; None where there are none.
        networks: Which of them may be asked; None for all.
        trust: Weight of their prediction among the scenarios, in [0, 1], chosen on meta-validation families.
        forest: Weights of past tasks, fitted on `past`; fitted when first asked unless given.
        interval: Conformal width of intervals; None where nothing calibrates them.
        stopping: When to stop a training by its learning curve; None where that was not learned.
        tuning: What decides whether a recommendation comes before the default; None where that was not learned.
        learner: Name of the learner, where it is known.
        metric: What performances are; None where that is not known, or differs from task to task.
        lineage: Where it came from: `meta_dataset_md5`, `git_revision`, ...
    """

    past: PastTasks
    settings: RecommenderSettings = field(default_factory=RecommenderSettings)
    surrogate: "Surrogate | None" = None
    networks: tuple[int, ...] | None = None
    trust: float = 0.0
    forest: TaskForest | None = field(default=None, repr=False)
    interval: IntervalScale | None = None
    stopping: StoppingRule | None = None
    tuning: TuningEvidence | None = None
    learner: str | None = None
    metric: Metric | None = None
    lineage: Mapping[str, str] = field(default_factory=dict)

    @property
    def space(self) -> SearchSpace:
        """Search space of the configurations."""
        return self.past.space

    @property
    def meta_feature_names(self) -> tuple[str, ...]:
        """`(M,)` names of the inputs, `mf_` prefix included; none where past tasks have none."""
        return self.past.meta_feature_names

    @property
    def sign(self) -> float:
        """What turns a performance into the metric's own units, and back."""
        return -1.0 if self.metric is not None and self.metric.direction == "min" else 1.0

    @property
    def bounds(self) -> Bounds | None:
        """Lowest and highest performance, where there are both."""
        if self.metric is not None:
            return self.metric.bounds
        return UNIT if self.settings.described else None

    @cached_property
    def positions(self) -> Mapping[str, int]:
        """Positions in the pool by the names of configurations."""
        return {configuration_id(configuration): p for p, configuration in enumerate(self.past.configurations)}

    def find(self, configurations: Sequence[Configuration]) -> list[int]:
        """Return the positions of configurations of the pool."""
        return [self.positions[configuration_id(configuration)] for configuration in configurations]

    @property
    def history(self) -> History:
        """What past tasks tried of the pool."""
        return History.from_past(self.past, learner=self.learner, metric=self.metric)

    def without(self, family: str) -> "Recommender":
        """Return what answers without a family: neither its tasks nor networks that were trained on them."""
        others = self.keep(np.flatnonzero(np.array(self.past.families) != family))
        return others if self.surrogate is None else replace(others, networks=self.surrogate.networks_blind_to(family))

    def keep(self, tasks: Sequence[int] | IntArray) -> "Recommender":
        """Return the recommender with some of its past tasks; pool and networks stay."""
        past = self.past.subset(tasks)
        tuning = None if self.tuning is None else self.tuning.of(past.task_ids)
        return replace(self, past=past, forest=None, tuning=tuning)

    @cached_property
    def distance(self) -> TaskDistance:
        """Distances in meta-features."""
        return TaskDistance.fit(self.past.meta_features, guess_scales=not self.settings.described)

    @cached_property
    def gains(self) -> Gains:
        """What configurations gained over the default on past tasks."""
        return Gains.of(self.past, self.bounds)

    @cached_property
    def novelty(self) -> Novelty:
        """How unlike all past tasks a task is."""
        return Novelty.fit(self.past, self.distance, described=self.settings.described)

    @cached_property
    def durations(self) -> DurationModel | MedianDurations:
        """How long trainings take."""
        return fit_durations(self.past, described=self.settings.described)

    @cached_property
    def kernel(self) -> PoolKernel:
        """How scores carry over to other configurations; fitted when it is first needed."""
        return PoolKernel.fit(self.past)

    @cached_property
    def fitted_forest(self) -> TaskForest:
        """Learned weights of past tasks; it has no say where it has not proved itself on them."""
        if self.forest is not None:
            return self.forest
        shares = self.settings.forest_shares
        if not self.settings.task_forest:
            return TaskForest.without_say(len(self.past.scores))
        width = NEARNESS_WIDTH if self.settings.nearness else None
        features, regret, order = self._forest_inputs()
        return TaskForest.fit(features, regret, self.past.families, shares, order, width)

    def grow_forest(self, share: float) -> TaskForest:
        """Return a forest on the past tasks whose share is decided already."""
        features, regret, order = self._forest_inputs()
        return TaskForest.grow(features, regret, share, order)

    def _forest_inputs(self) -> tuple[Array, Array, IntArray]:
        features, regret = self.distance.standardised, self.past.regret
        if self.settings.described:
            order = np.argsort(self.past.task_ids, kind="stable")
        else:  # names may be anything
            order = np.lexsort(np.concatenate([features, regret], axis=1).T)
        return features, regret, order.astype(np.int64)

    def weigh(self, meta_features: Array | None, forest_share: float | None = None) -> Array:
        """Return weights `(T,)` of past tasks that sum to 1: by the forest, or by distance where it has no say.

        Args:
            meta_features: `(M,)` of the new task, raw, NaN where not known; where none is, all tasks weigh the same.
            forest_share: In place of the share that was chosen, where the forest has a say.
        """
        if not self.settings.similarity or meta_features is None or not np.isfinite(meta_features).any():
            return np.full(len(self.past.scores), 1.0 / len(self.past.scores))
        squared = self.distance.squared(meta_features)
        if self.fitted_forest.share > 0:
            near = weigh_by_distance(squared, share=1.0, width=NEARNESS_WIDTH) if self.settings.nearness else None
            return self.fitted_forest.weigh(self.distance.transform(meta_features), near, forest_share)
        return weigh_by_distance(squared, width=NEARNESS_WIDTH)

    def begin(
        self,
        meta_features: Array,
        *,
        more: Sequence[Configuration] = (),
        believe: Believe | None = None,
        is_novel: bool = False,
        per_time: bool = False,
    ) -> NewTask:
        """Begin a new task.

        Args:
            meta_features: `(M,)` raw, NaN where not known.
            more: Configurations beside the pool that were tried or may be.
            believe: What is predicted for this task; the surrogate is asked unless given.
            is_novel: The task is unlike all past ones: none of them is nearer and the surrogate is not asked. Where
                nothing was learned that decides, the default comes first if the settings say so.
            per_time: Count expected seconds of training instead of trials.
        """
        past = self.kernel.extend(more) if more else self.past
        weights = self._weigh_for(meta_features, is_novel=is_novel)
        if (believe or self.surrogate) and not is_novel and self.trust > 0:
            expected = (believe or self._believe(meta_features))(past.points)
            past = with_prediction(past, expected, meta_features, len(self.past.configurations))
            weights = np.append((1.0 - self.trust) * weights, self.trust)
        first = (past.default,) if is_novel and self.settings.default_first and self.tuning is None else ()
        duration = _fill(self.durations.predict(meta_features, past.points)) if per_time else None
        return NewTask(past, weights, first, duration, self.settings.for_tasks(len(self.past.scores)))

    def _weigh_for(self, meta_features: Array, *, is_novel: bool) -> Array:
        # What a forest that proved itself finds alike helps even on a task unlike all past ones.
        is_weighed = not is_novel or (self.settings.described and self.fitted_forest.share > 0)
        return self.weigh(meta_features if is_weighed else None)

    def forecast(self, meta_features: Array, tried: Sequence[Configuration]) -> Forecast | None:
        """Return what tuning is expected to bring; None where the default is nobody's.

        Args:
            meta_features: `(M,)` of the task.
            tried: The first recommendations.
        """
        if not self.settings.default_first:
            return None
        _, fallback = self.falls_back(meta_features)
        weights = self._weigh_for(meta_features, is_novel=fallback)
        positions = self.find(tried)
        unit = None if self.bounds is None else self.bounds[1] - self.bounds[0]
        return Forecast.of(self.gains.of_best(positions), weights, unit)

    def _believe(self, meta_features: Array) -> Believe:
        return lambda points: _positions(self.predict(meta_features, points))

    def predict(self, meta_features: Array, points: Array) -> "Prediction":
        """Return what the networks expect of encoded configurations `(N, D)` on a task `(M,)`."""
        return self.require_surrogate().predict(meta_features[None, :], points, self.networks)

    def require_surrogate(self) -> "Surrogate":
        """Return the networks.

        Raises:
            InvalidTableError: If it was fitted without any.
        """
        if self.surrogate is None:
            raise InvalidTableError("Expected a recommender with networks; this one has none. Run `metaflow-hpo fit`.")
        return self.surrogate

    def order(self, meta_features: Array, count: int, *, per_time: bool = False) -> list[int]:
        """Return positions in the pool, best first, whether the task is like past ones or not."""
        return self.begin(meta_features, per_time=per_time).choose(Observed.nothing(), count)

    def falls_back(self, meta_features: Array) -> tuple[float | None, bool]:
        """Return the novelty of a task as a percentile, and whether past tasks are no guide to it.

        They are none beyond the novelty threshold, and where no landmark is better than guessing.
        """
        percentile = self.novelty.percentile(meta_features)
        named = dict(zip(self.meta_feature_names, meta_features.tolist(), strict=True))
        is_noise = self.settings.described and lacks_signal(named)
        return percentile, is_beyond(percentile) or is_noise

    def expect(self, meta_features: Array | None) -> tuple[Array, Array]:
        """Return mean and deviation `(P,)` of the performance over past tasks, of which similar ones weigh more.

        Args:
            meta_features: `(M,)` of the task; where nothing is known, all past tasks weigh the same.
        """
        performance, weights = self.past.performance, self.weigh(meta_features, _EXPECTED_SHARE)
        mean = weights @ performance
        return mean, np.sqrt(weights @ (performance - mean) ** 2)

    def choose(
        self,
        meta_features: Array,
        count: int,
        observed: Sequence[ObservedTrial] = (),
        more: Sequence[Configuration] = (),
        *,
        pending: Sequence[Configuration] = (),
        per_time: bool = False,
    ) -> Chosen:
        """Choose the next configurations to try.

        Args:
            meta_features: `(M,)` of the task, raw, NaN where not known.
            count: How many; fewer where every configuration of the pool was tried.
            observed: Trials of this task, of any configurations, higher is better.
            more: Configurations to consider beside the pool, once there are trials.
            pending: Configurations that are being tried; each is taken to come out as expected.
            per_time: Choose by expected gain per second of training instead of per trial.
        """
        percentile, fallback = self.falls_back(meta_features)
        known = [*(trial.configuration for trial in observed), *pending]
        beside, at = place(self.positions, known, more)
        seen = Observed(at[: len(observed)], np.array([trial.performance for trial in observed], dtype=np.float64))
        if observed:
            task = self.begin(meta_features, more=beside, is_novel=fallback, per_time=per_time)
            mean, spread = task.predict(seen)
        elif self.surrogate is not None and self.surrogate.knows_ends:
            prediction = self.predict(meta_features, self.past.points)
            positions = _positions(prediction)
            task = self.begin(meta_features, believe=lambda _: positions, is_novel=fallback, per_time=per_time)
            mean, spread = prediction.mean[0], prediction.spread[0]
        else:
            task = self.begin(meta_features, is_novel=fallback, per_time=per_time)
            mean, spread = self.expect(None if fallback else meta_features)
        mean, default = expect_performance(mean, spread, self.bounds), self.past.default
        is_open = default not in at and len(known) < self.settings.portfolio_trials and not per_time
        if is_open and self.tuning is not None and self.settings.default_first:
            task = earn_first(task, self.gains, self.tuning)
        waiting = [p for p in at[len(observed) :].tolist() if p < len(task.past.configurations)]
        order = task.choose(seen, count, waiting)
        # The next trial alone may be a step into the unknown, or a cheap one; a set is what a person relies on.
        if default not in at and (count > 1 or not (known or per_time)):
            order = with_default(order, mean, default)
        chosen = tuple(task.past.configurations[c] for c in order)
        return Chosen(chosen, mean[order], spread[order], float(mean[default]), percentile, fallback)

    def read_meta_features(self, values: Mapping[str, float] | None) -> Array:
        """Return the inputs in order, `(M,)`; NaN for all where none are given.

        Raises:
            InvalidTableError: If some are missing, or one is infinite, or not known although this package measures it.
        """
        names = self.meta_feature_names
        if self.settings.described:
            return select_features(values or {}, names)
        if values is None:
            return np.full(len(names), np.nan)
        missing = [name for name in names if name not in values]
        if missing:
            raise InvalidTableError(
                f"Expected the {len(names)} meta-features that this learned from; missing {listed(missing)}. "
                f"Give one line with the columns {listed(names)}, empty where not known."
            )
        row = np.array([values[name] for name in names], dtype=np.float64)
        if np.isinf(row).any():
            raise InvalidTableError("Meta-features must be finite or missing; some are infinite. Correct them.")
        return row

    def recommend(
        self,
        meta_features: Mapping[str, float] | None = None,
        k: int = 5,
        observed: Sequence[ObservedTrial] = (),
        *,
        per_time: bool = False,
        explained: bool = False,
    ) -> dict[str, Any]:
        """Recommend k complementary configurations.

        Args:
            meta_features: Of the task by name; None where they are not known.
            k: How many, from 1 to the size of the pool.
            observed: Trials a person has already made on this task, in the metric's own units; the recommendation goes
                on from them.
            per_time: Choose by expected gain per second of training instead of per trial.
            explained: Add to the evidence what drives the first recommendation, see `explain`.

        Returns:
            JSON-ready `learner`, `recommendations`, `tuning`, `evidence`, `novelty` and `lineage`, as in the CLI's
            contract.

        Raises:
            InvalidTableError: If a meta-feature is missing or not finite, or k is out of range.
        """
        row = self.read_meta_features(meta_features)
        if not 1 <= k <= len(self.past.configurations):
            raise InvalidTableError(f"k must be from 1 to {len(self.past.configurations)}; got {k}.")
        turned = [ObservedTrial(trial.configuration, self.sign * trial.performance) for trial in observed]
        chosen = self.choose(row, k, turned, per_time=per_time)
        is_asked = k >= TRIED and not observed and not per_time
        tried = chosen if is_asked else self.choose(row, min(TRIED, len(self.past.configurations)))
        forecast = self.forecast(row, tried.configurations[:TRIED])
        return make_answer(self, row, chosen, len(observed), forecast, explained=explained)

    @cached_property
    def content_sha256(self) -> str:
        """Name of what was learned from past tasks: equal tables give equal names, whatever the order of lines."""
        digest = hashlib.sha256(json.dumps(describe(self), sort_keys=True).encode())
        for name, values in sorted(to_arrays(self).items()):
            digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def save(self, folder: Path) -> None:
        """Write everything into an existing folder."""
        save(self, folder)

    @classmethod
    def load(cls, folder: Path) -> "Recommender":
        """Read a recommender back.

        Raises:
            InvalidTableError: If the folder does not hold one.
        """
        return cls(**read_parts(folder))


def _positions(prediction: "Prediction") -> Array:
    return np.asarray(prediction.positions[:, 0, :].mean(axis=0))


def _fill(seconds: Array) -> Array | None:
    """Return durations of which those that are not known are middling; None where none is known."""
    known = np.isfinite(seconds)
    return np.where(known, seconds, np.median(seconds[known])) if known.any() else None
