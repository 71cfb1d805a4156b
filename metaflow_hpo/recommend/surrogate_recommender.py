"""The surrogate's recommender: a portfolio over past tasks, each bent towards what it believes of the new one.

A past task is a scenario of how the new one may behave. Its regrets are mixed with those the surrogate predicts for the
new task: `(1 - trust) * past + trust * predicted`, and scenarios of similar tasks weigh more.

The one thing to know: with `trust = 0` and uniform similarity it is the greedy portfolio, so it has to earn every step
away from it. `trust` is chosen on meta-validation families, never on the families that are reported.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metaflow_hpo.recommend.portfolio import select_greedily, task_regret, weigh_by_distance
from metaflow_hpo.surrogate.meta_dataset import Array, MetaDataset
from metaflow_hpo.surrogate.predict import Prediction, Surrogate
from metaflow_hpo.surrogate.targets import Standardiser

TRUSTS: tuple[float, ...] = (0.0, 0.3, 0.5, 0.7, 0.9)
"""Shares of the surrogate's prediction in a scenario that are tried on meta-validation families."""


@dataclass(frozen=True)
class SurrogateRecommender:
    """Selects k complementary configurations for a task described by meta-features.

    Attributes:
        surrogate: The fitted surrogate.
        networks: Which of its networks may be asked.
        encoded: `(C, D)` encoded pool.
        past_regret: `(T, C)` normalised regret on past tasks.
        past_meta_features: `(T, M)` standardised.
        standardiser: Fitted on past tasks.
        trust: Share of the surrogate's prediction in every scenario, in [0, 1].
    """

    surrogate: Surrogate
    networks: tuple[int, ...]
    encoded: Array
    past_regret: Array
    past_meta_features: Array
    standardiser: Standardiser
    trust: float
    name: str = "surrogate"

    @classmethod
    def fit(
        cls, surrogate: Surrogate, past: MetaDataset, trust: float, networks: Sequence[int] | None = None
    ) -> "SurrogateRecommender":
        """Combine a surrogate with the past tasks it may use.

        Args:
            surrogate: The fitted surrogate.
            past: Past tasks on the pool; must hold no family that is evaluated.
            trust: Share of the surrogate's prediction in every scenario, in [0, 1].
            networks: Networks that may be asked; all unless given.
        """
        regret = task_regret(past.performance)
        standardiser = Standardiser.fit(past.meta_features)
        return cls(
            surrogate=surrogate,
            networks=tuple(range(len(surrogate.networks)) if networks is None else networks),
            encoded=past.encoded,
            past_regret=regret,
            past_meta_features=standardiser.transform(past.meta_features),
            standardiser=standardiser,
            trust=trust,
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
        """Return regrets `(T, C)` and weights `(T,)` of a task's scenarios; NaN (never tried) is the prediction.

        Args:
            meta_features: `(M,)` of the task.
            prediction: Of `networks` for this task alone, where the caller has it already: it is what takes the time.
        """
        believed = self.believed_regret(meta_features, prediction)
        past = np.where(np.isfinite(self.past_regret), self.past_regret, believed)
        return (1.0 - self.trust) * past + self.trust * believed, self.similarity(meta_features)

    def believed_regret(self, meta_features: Array, prediction: Prediction | None = None) -> Array:
        """Return the normalised regret `(C,)` the surrogate predicts, 0 at the configuration it believes best."""
        known = prediction or self.surrogate.predict(meta_features[None, :], self.encoded, self.networks)
        expected = known.positions[:, 0, :].mean(axis=0)
        return np.asarray(expected.max() - expected)

    def similarity(self, meta_features: Array) -> Array:
        """Return weights `(T,)` of past tasks that sum to 1: half uniform, half a softmax of the distance."""
        return weigh_by_distance(self.squared_distances(meta_features))

    def squared_distances(self, meta_features: Array) -> Array:
        """Return squared distances `(T,)` to past tasks in standardised, clipped meta-features."""
        query = self.standardiser.transform(meta_features[None, :])[0]
        return np.asarray(((self.past_meta_features - query) ** 2).sum(axis=1))
