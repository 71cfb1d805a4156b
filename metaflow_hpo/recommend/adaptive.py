"""One recommender from the first trial to the fiftieth: a portfolio that hands over to the mixture of past tasks.

Without trials, configurations are picked that complement each other over past tasks and the surrogate's prediction, as
if it were one more. With trials, all of these are experts weighted by how well they explain what was observed. In
between both may have a say.

The one thing to know: it serves `search`, `recommend --trials` and what `fit --trials` wrote, and `benchmark` replays
it as `recommended`. Several configurations are picked one after the other, each as if those before it had come out as
expected, so trials that still run may be handed in as `pending`.

References:
    Ginsbourger, Le Riche, Carraro 2010, Kriging is well-suited to parallelize optimization (the believer).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from metaflow_hpo.history import Array
from metaflow_hpo.past_tasks import PastTasks, rank_scores
from metaflow_hpo.recommend.mixture import Belief, MixtureSettings
from metaflow_hpo.recommend.novelty import square_to_nearest_family
from metaflow_hpo.recommend.pool_kernel import PoolKernel, carry_over
from metaflow_hpo.recommend.portfolio import select_greedily, weigh_by_distance, weigh_by_evidence
from metaflow_hpo.recommend.sequential import Observed, best_free
from metaflow_hpo.recommend.task_distance import TaskDistance
from metaflow_hpo.recommend.task_forest import TaskForest
from metaflow_hpo.space import Configuration

Believe = Callable[[Array], Array]
"""Returns where the surrogate expects encoded configurations `(P, D)` between the task's worst (0) and best (1)."""


_WIDTH = 0.5
"""Of the nearness in meta-features, in root median squared distances."""


@dataclass(frozen=True)
class AdaptiveSettings:
    """How the parts work together, and what an ablation switches off.

    Attributes:
        portfolio_trials: Trials before the experts have a say; at 0 the first is what is best on the mean.
        mixture_trials: Trials from which they decide alone.
        improvement_share: Their share in between, in [0, 1].
        task_forest: Whether past tasks may be weighed by a forest, where it has proved itself on them; else by their
            distance.
        similarity: Whether past tasks are weighed at all; otherwise all weigh the same.
        default_first: Whether a task unlike all past ones gets the default first.
        mixture: Settings of the experts.
    """

    portfolio_trials: int = 2
    mixture_trials: int = 2
    improvement_share: float = 0.3
    task_forest: bool = True
    similarity: bool = True
    default_first: bool = False
    mixture: MixtureSettings = field(default_factory=MixtureSettings)


TABLE = AdaptiveSettings()
"""For any table of trials: chosen on tables of SVM, trees, boosting, neighbours, SGD and half of the own families.

The middle of a space that was inferred is nobody's default: tried first on tasks unlike all past ones it had .27 more
regret than the first of the portfolio (25 tasks of these tables, standard error .07).
"""
OWN = AdaptiveSettings(portfolio_trials=3, mixture_trials=5, task_forest=False, default_first=True)
"""For the shipped trials: chosen by look-up on half of their families (`tests/bench/bench_closed_loop.py`).

Its forest is the one of the recommender without trials, which hands its weights over.
"""


@dataclass(frozen=True)
class AdaptiveRecommender:
    """Fitted on past tasks, ready for any new task.

    Attributes:
        past: Past tasks on a pool.
        distance: Distances between tasks.
        settings: How the parts work together.
    """

    past: PastTasks
    distance: TaskDistance
    settings: AdaptiveSettings = TABLE

    @classmethod
    def fit(cls, past: PastTasks, settings: AdaptiveSettings = TABLE) -> "AdaptiveRecommender":
        """Learn the distances between past tasks."""
        return cls(past, TaskDistance.fit(past.meta_features), settings)

    @cached_property
    def kernel(self) -> PoolKernel:
        """How scores carry over to other configurations; fitted when it is first needed."""
        return PoolKernel.fit(self.past)

    @cached_property
    def forest(self) -> TaskForest:
        """Weights of past tasks that were learned, fitted when they are first needed."""
        features, regret = self.distance.standardised, self.past.regret
        order = np.lexsort(np.concatenate([features, regret], axis=1).T)  # their own, as tasks have no names here
        return TaskForest.fit(features, regret, self.past.families, order=order, width=_WIDTH)

    def begin(
        self,
        meta_features: Array,
        *,
        more: Sequence[Configuration] = (),
        believe: Believe | None = None,
        trust: float = 0.0,
        is_novel: bool = False,
        seconds: Callable[[Array], Array] | None = None,
        weights: Array | None = None,
    ) -> "NewTask":
        """Begin a new task.

        Args:
            meta_features: `(M,)` raw, NaN where not known.
            more: Configurations beside the pool that were tried or may be.
            believe: The surrogate's prediction for this task, if there is a surrogate.
            trust: Prior weight of that prediction, in [0, 1); at 0 it is not asked.
            is_novel: The task is unlike all past ones: none of them is nearer, the surrogate is not asked, and the
                default comes first where the settings say so.
            seconds: Returns expected seconds of training `(P,)` of encoded configurations `(P, D)`; gains are then
                per second.
            weights: `(T,)` of the past tasks, summing to 1; see `weigh` unless given.
        """
        past = self.kernel.extend(more) if more else self.past
        pool = len(self.past.configurations)
        known = None if is_novel else meta_features
        shares = self.weigh(known) if weights is None else weights
        if believe is not None and known is not None and trust > 0:
            past = _with_surrogate(past, believe(past.points), known, pool)
            shares = np.append((1.0 - trust) * shares, trust)
        belief = Belief.of(past, shares, self.settings.mixture)
        first = (past.default,) if is_novel and self.settings.default_first else ()
        duration = None if seconds is None else seconds(past.points)
        return NewTask(past, belief, shares, first, duration, self.settings)

    def percentile(self, meta_features: Array) -> float | None:
        """Return the share of past tasks, in percent, that are nearer to another family than a task is to any.

        None where nothing is known of the task `(M,)`.
        """
        if not np.isfinite(meta_features).any():
            return None
        return float(100.0 * np.mean(self._squared_to_others < self.distance.squared(meta_features).min()))

    @cached_property
    def _squared_to_others(self) -> Array:
        return square_to_nearest_family(self.distance.standardised, self.past.families)

    def weigh(self, meta_features: Array | None, forest_share: float | None = None) -> Array:
        """Return weights `(T,)` of past tasks that sum to 1: by forest and distance, or by distance alone.

        Args:
            meta_features: `(M,)` of the new task, raw, NaN where not known; where none is, all tasks weigh the same.
            forest_share: In place of the share that was chosen, where the forest has a say.
        """
        if not self.settings.similarity or meta_features is None or not np.isfinite(meta_features).any():
            return np.full(len(self.past.scores), 1.0 / len(self.past.scores))
        squared = self.distance.squared(meta_features)
        if self.settings.task_forest and self.forest.share > 0:
            nearness = weigh_by_distance(squared, share=1.0, width=_WIDTH)
            return self.forest.weigh(self.distance.transform(meta_features), nearness, forest_share)
        return weigh_by_distance(squared, width=_WIDTH)


def _with_surrogate(past: PastTasks, expected: Array, meta_features: Array, pool: int) -> PastTasks:
    """Return past tasks with the surrogate's prediction behind them, as if it were one more task."""
    scores = rank_scores(expected[None, :pool])
    if len(expected) > pool:
        scores = np.concatenate([scores, carry_over(expected[None, :pool], scores, expected[None, pool:])], axis=1)
    # 0 at the one believed best; where little is believed to be at stake, it has little say.
    believed = np.clip(expected[:pool].max() - expected, 0.0, 1.0)
    return replace(
        past,
        scores=np.concatenate([past.scores, scores]),
        deviation=np.concatenate([past.deviation, np.zeros_like(scores)]),
        regret=np.concatenate([past.regret, believed[None, :]]),
        scale=np.append(past.scale, np.exp(np.median(np.log(past.scale)))),
        meta_features=np.concatenate([past.meta_features, meta_features[None, :]]),
    )


@dataclass(frozen=True)
class NewTask:
    """A task that is being searched, on a pool of P configurations.

    Attributes:
        past: Past tasks on the pool, the surrogate's prediction last where there is one.
        belief: The experts on it.
        weights: `(R,)` prior weights of these.
        first: Positions that come before all others while there are few trials.
        duration: `(P,)` what a trial costs, in any unit; None where all cost the same.
        settings: How the parts work together.
    """

    past: PastTasks
    belief: Belief
    weights: Array
    first: tuple[int, ...]
    duration: Array | None
    settings: AdaptiveSettings

    def choose(self, observed: Observed, count: int, pending: Sequence[int] = ()) -> list[int]:
        """Return the next positions to try, best first.

        Args:
            observed: What was tried, and what it gave.
            count: How many; fewer where the pool is used up.
            pending: Positions that are being tried; each is taken to come out as expected.
        """
        chosen: list[int] = []
        waiting = list(pending)
        while len(chosen) < count:
            assumed = self._assume(observed, [*waiting, *chosen])
            position = self._pick(assumed, [*observed.positions.tolist(), *waiting, *chosen])
            if position is None:
                break
            chosen.append(position)
        return chosen

    def predict(self, observed: Observed) -> tuple[Array, Array]:
        """Return mean and deviation `(P,)` of the performance, given one trial or more."""
        return self.belief.predict(observed)

    def _assume(self, observed: Observed, positions: Sequence[int]) -> Observed:
        if not len(observed.positions) or not positions:
            return observed
        mean, _ = self.belief.predict(observed)
        at = np.asarray(positions, dtype=np.int64)
        return Observed(np.append(observed.positions, at), np.append(observed.performance, mean[at]))

    def _pick(self, observed: Observed, taken: Sequence[int]) -> int | None:
        """Return one position that is not `taken`: observed (as it was or is assumed to come out) or waiting."""
        regret, known = self.past.regret, len(taken)
        if len(set(taken)) == regret.shape[1]:
            return None
        forced = [p for p in self.first if p not in taken]
        if forced and known < self.settings.mixture_trials:
            return forced[0]
        if self.settings.portfolio_trials == 0 and not len(observed.positions):
            return best_free(self.belief.means[0], taken)
        if not len(observed.positions) or known < self.settings.portfolio_trials:
            return select_greedily(regret, self._evidence(observed), 1, taken, self.duration)[0]
        improvement = self._per_cost(self.belief.improvement(observed))
        if known >= self.settings.mixture_trials:
            return best_free(improvement, taken)
        shares = self._evidence(observed)
        left = np.maximum(regret[:, taken].min(axis=1)[:, None] - regret, 0.0)  # (R, P)
        gain = self._per_cost(shares @ left / shares.sum())
        own = self.settings.improvement_share
        return best_free(own * _relative(improvement, taken) + (1.0 - own) * _relative(gain, taken), taken)

    def _per_cost(self, gain: Array) -> Array:
        return gain if self.duration is None else gain / self.duration

    def _evidence(self, observed: Observed) -> Array:
        """Return the scenarios' weights `(R,)`, by what they say of the observed trials."""
        if not len(observed.positions):
            return self.weights
        return self.weights * weigh_by_evidence(self.past.regret[:, observed.positions], observed.performance)


def _relative(gain: Array, taken: Sequence[int]) -> Array:
    """Return gains `(P,)` in units of the greatest that is still to be had."""
    free = np.delete(gain, np.unique(taken))
    return np.asarray(gain / max(float(free.max()), 1e-12))
