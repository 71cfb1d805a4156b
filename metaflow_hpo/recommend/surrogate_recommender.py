"""The surrogate's recommender: a portfolio over past tasks and what the surrogate believes of the new one.

A past task is a scenario of how the new one may behave; the surrogate's prediction is one more, whose weight is
`trust`. Scenarios of similar tasks weigh more: what makes tasks similar is learned by a forest, or is their distance in
meta-features where the forest does not prove itself on the past tasks.

The one thing to know: with `trust = 0` and uniform similarity it is the greedy portfolio, so it has to earn every step
away from it. `trust` is chosen on meta-validation families, never on the families that are reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metaflow_hpo.history import Array, History
from metaflow_hpo.recommend.portfolio import select_greedily, task_regret, weigh_by_distance
from metaflow_hpo.recommend.task_distance import StandardDistance
from metaflow_hpo.recommend.task_forest import TaskForest
from metaflow_hpo.surrogate.predict import Prediction, Surrogate

TRUSTS: tuple[float, ...] = (0.0, 0.3, 0.5, 0.7, 0.9)
"""Weights of the surrogate's prediction that are tried on meta-validation families."""
FOREST_SHARE = 0.9
"""Part of the weights of past tasks that is the forest's, where it has a say; the rest is uniform."""


@dataclass(frozen=True)
class SurrogateRecommender:
    """Selects k complementary configurations for a task described by meta-features.

    Attributes:
        surrogate: The fitted surrogate.
        networks: Which of its networks may be asked.
        encoded: `(C, D)` encoded pool.
        past_regret: `(T, C)` normalised regret on past tasks.
        distance: To the past tasks.
        trust: Weight of the surrogate's prediction among the scenarios, in [0, 1].
        forest: Learned weights of past tasks.
    """

    surrogate: Surrogate
    networks: tuple[int, ...]
    encoded: Array
    past_regret: Array
    distance: StandardDistance
    trust: float
    forest: TaskForest
    name: str = "recommended"

    @classmethod
    def fit(
        cls,
        surrogate: Surrogate,
        past: History,
        trust: float,
        networks: Sequence[int] | None = None,
        forest: TaskForest | None = None,
        forest_share: float | None = None,
    ) -> "SurrogateRecommender":
        """Combine a surrogate with the past tasks it may use.

        Args:
            surrogate: The fitted surrogate.
            past: Past tasks on the pool; must hold no family that is evaluated.
            trust: Weight of the surrogate's prediction among the scenarios, in [0, 1].
            networks: Networks that may be asked; all unless given.
            forest: Fitted on the very same past tasks; fitted here unless given.
            forest_share: Its share where that is decided already, on these past tasks or fewer.
        """
        regret = task_regret(past.performance)
        distance = StandardDistance.fit(past.meta_features)
        return cls(
            surrogate=surrogate,
            networks=tuple(range(len(surrogate.networks)) if networks is None else networks),
            encoded=past.points,
            past_regret=regret,
            distance=distance,
            trust=trust,
            forest=_fit_forest(distance.standardised, regret, past, forest_share) if forest is None else forest,
        )

    def select(
        self,
        meta_features: Array,
        count: int,
        duration: Array | None = None,
        prediction: Prediction | None = None,
    ) -> list[int]:
        """Return the first `count` positions of the joint portfolio; per second where durations `(C,)` are given.

        `prediction` is as in `scenarios`.
        """
        regret, weights = self.scenarios(meta_features, prediction)
        return select_greedily(regret, weights, count, duration=duration)

    def scenarios(self, meta_features: Array, prediction: Prediction | None = None) -> tuple[Array, Array]:
        """Return regrets `(T + 1, C)` and weights `(T + 1,)` of a task's scenarios, the prediction last.

        What a past task never tried (NaN) is predicted.

        Args:
            meta_features: `(M,)` of the task.
            prediction: Of `networks` for this task alone, where the caller has it already: it is what takes the time.
        """
        believed = self.believed_regret(meta_features, prediction)
        past = np.where(np.isfinite(self.past_regret), self.past_regret, believed)
        weights = (1.0 - self.trust) * self.similarity(meta_features)
        return np.concatenate([past, believed[None, :]]), np.append(weights, self.trust)

    def believed_regret(self, meta_features: Array, prediction: Prediction | None = None) -> Array:
        """Return the normalised regret `(C,)` the surrogate predicts, 0 at the configuration it believes best."""
        known = prediction or self.surrogate.predict(meta_features[None, :], self.encoded, self.networks)
        expected = known.positions[:, 0, :].mean(axis=0)
        return np.asarray(expected.max() - expected)

    def similarity(self, meta_features: Array) -> Array:
        """Return weights `(T,)` of past tasks that sum to 1, by the forest.

        Where it has no say they are half uniform, half a softmax of the distance.
        """
        learned = self.learned_similarity(meta_features)
        return weigh_by_distance(self.distance.squared(meta_features)) if learned is None else learned

    def learned_similarity(self, meta_features: Array) -> Array | None:
        """Return weights `(T,)` of past tasks that sum to 1, by the forest; None where it has no say."""
        return self.forest.weigh(self.distance.transform(meta_features)) if self.forest.share > 0 else None


def _fit_forest(points: Array, regret: Array, past: History, share: float | None) -> TaskForest:
    by_name = np.argsort(past.task_ids, kind="stable")
    if share is None:
        return TaskForest.fit(points, regret, past.families, (FOREST_SHARE,), by_name)
    return TaskForest.grow(points, regret, share, by_name)
