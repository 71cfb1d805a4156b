"""A new task that is being searched: which configurations to try next, and what to expect of them.

Without trials, configurations are picked that complement each other over past tasks and the surrogate's prediction, as
if it were one more. With trials, all of these are experts weighted by how well they explain what was observed. In
between both may have a say. Several configurations are picked one after the other, each as if those before it had come
out as expected, so trials that still run may be handed in as `pending`.

References:
    Ginsbourger, Le Riche, Carraro 2010, Kriging is well-suited to parallelize optimization (the believer).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from metaflow_hpo.history import Array
from metaflow_hpo.past_tasks import PastTasks, rank_scores
from metaflow_hpo.recommender.mixture import Belief, MixtureSettings
from metaflow_hpo.recommender.observed import Observed, best_free
from metaflow_hpo.recommender.pool_kernel import carry_over
from metaflow_hpo.recommender.portfolio import select_greedily, weigh_by_evidence

Believe = Callable[[Array], Array]
"""Returns where the surrogate expects encoded configurations `(P, D)` between the task's worst (0) and best (1)."""


FEW_TASKS = 12
"""Fewer past tasks than these are complemented by each other for longer before they are experts."""


@dataclass(frozen=True)
class RecommenderSettings:
    """How the parts work together, and what an ablation switches off.

    The defaults were chosen on tables of SVM, trees, boosting, neighbours, SGD and half of the own families.

    Attributes:
        portfolio_trials: Trials before the experts have a say; at 0 the first is what is best on the mean.
        mixture_trials: Trials from which they decide alone; both are at least 3 and 5 where past tasks are fewer than
            `FEW_TASKS`, which are few experts.
        improvement_share: Their share in between, in [0, 1].
        task_forest: Whether past tasks may be weighed by a forest, where it has proved itself on them; else by their
            distance.
        forest_shares: Shares of the forest's weights that are tried; the rest is uniform.
        nearness: Whether tasks must be near in meta-features as well as alike to the forest.
        similarity: Whether past tasks are weighed at all; otherwise all weigh the same.
        complementary: Whether configurations complement each other; otherwise each is best for itself.
        default_first: Whether a task unlike all past ones gets the default first. The middle of a space that was
            inferred is nobody's default: tried first it had .27 more regret than the first of the portfolio (25 tasks,
            standard error .07).
        described: Whether the meta-features are of this package: no scale has to be guessed, and what their roles tell
            of size and signal is heeded.
        mixture: Settings of the experts.
    """

    portfolio_trials: int = 2
    mixture_trials: int = 2
    improvement_share: float = 0.3
    task_forest: bool = True
    forest_shares: tuple[float, ...] = (0.3, 0.6, 0.9)
    nearness: bool = True
    similarity: bool = True
    complementary: bool = True
    default_first: bool = False
    described: bool = False
    mixture: MixtureSettings = field(default_factory=MixtureSettings)

    def for_tasks(self, count: int) -> "RecommenderSettings":
        """Return the settings for so many past tasks."""
        if count >= FEW_TASKS or self.portfolio_trials == 0:
            return self
        early, late = max(self.portfolio_trials, 3), max(self.mixture_trials, 5)
        return replace(self, portfolio_trials=early, mixture_trials=late)

    def to_json(self) -> dict[str, Any]:
        """Return it JSON-ready."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RecommenderSettings":
        """Read back what `to_json` returned."""
        mixture = MixtureSettings(**values["mixture"])
        return cls(**{**values, "forest_shares": tuple(values["forest_shares"]), "mixture": mixture})


DESCRIBED = RecommenderSettings(
    portfolio_trials=3,
    mixture_trials=5,
    forest_shares=(0.9,),
    nearness=False,
    default_first=True,
    described=True,
)
"""Where tasks are described by this package: chosen on half of the shipped families (`bench_closed_loop.py`)."""


@dataclass(frozen=True)
class NewTask:
    """A task that is being searched, on a pool of P configurations.

    Attributes:
        past: Past tasks on the pool, the surrogate's prediction last where there is one.
        weights: `(R,)` prior weights of these.
        first: Positions that come before all others while there are few trials.
        duration: `(P,)` what a trial costs, in any unit; None where all cost the same.
        settings: How the parts work together.
    """

    past: PastTasks
    weights: Array
    first: tuple[int, ...]
    duration: Array | None
    settings: RecommenderSettings

    @cached_property
    def belief(self) -> Belief:
        """The experts, made when there are trials to weigh them by."""
        return Belief.of(self.past, self.weights, self.settings.mixture)

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
        if not len(observed.positions) or known < self.settings.portfolio_trials:
            return self._pick_early(observed, taken)
        improvement = self._per_cost(self.belief.improvement(observed))
        if known >= self.settings.mixture_trials:
            return best_free(improvement, taken)
        shares = self._evidence(observed)
        left = np.maximum(regret[:, taken].min(axis=1)[:, None] - regret, 0.0)  # (R, P)
        gain = self._per_cost(shares @ left / shares.sum())
        own = self.settings.improvement_share
        return best_free(own * _relative(improvement, taken) + (1.0 - own) * _relative(gain, taken), taken)

    def _pick_early(self, observed: Observed, taken: Sequence[int]) -> int | None:
        """Return one position before the experts have a say, which is later where there are no trials at all."""
        if not self.settings.complementary:
            return best_free(-(self._evidence(observed) @ self.past.regret), taken)
        if self.settings.portfolio_trials == 0:
            return best_free(self.belief.means[0], taken)
        return select_greedily(self.past.regret, self._evidence(observed), 1, taken, self.duration)[0]

    def _per_cost(self, gain: Array) -> Array:
        return gain if self.duration is None else gain / self.duration

    def _evidence(self, observed: Observed) -> Array:
        """Return the scenarios' weights `(R,)`, by what they say of the observed trials."""
        if not len(observed.positions):
            return self.weights
        return self.weights * weigh_by_evidence(self.past.regret[:, observed.positions], observed.performance)


def with_prediction(past: PastTasks, expected: Array, meta_features: Array, pool: int) -> PastTasks:
    """Return past tasks with the surrogate's prediction behind them, as if it were one more task.

    Args:
        past: `T` past tasks on `P` configurations.
        expected: `(P,)` where each is expected between the new task's worst (0) and best (1).
        meta_features: `(M,)` of the new task.
        pool: How many configurations, the first ones, past tasks have tried.
    """
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


def _relative(gain: Array, taken: Sequence[int]) -> Array:
    """Return gains `(P,)` in units of the greatest that is still to be had."""
    free = np.delete(gain, np.unique(taken))
    return np.asarray(gain / max(float(free.max()), 1e-12))
