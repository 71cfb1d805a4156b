"""Optimisers of the whole space as recommenders: Optuna's TPE and GP, Hyperopt's TPE, each with its own code.

The one thing to know: a proposal is moved to the nearest configuration of the pool not yet tried, and the optimiser
hears what was really tried. They learn nothing from past tasks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from metaflow_hpo.recommend.sequential import Observed, Picker, RandomOrder, best_free, generator
from metaflow_hpo.space import Configuration, SearchSpace
from metaflow_hpo.surrogate.meta_dataset import Array
from metaflow_hpo.surrogate.past_tasks import PastTasks
from metaflow_hpo.trial import Trial

if TYPE_CHECKING:
    import optuna

OPTUNA_RANDOM_STARTS = 10
HYPEROPT_RANDOM_STARTS = 20

Propose = Callable[[SearchSpace, Sequence[Configuration], Array, int], Configuration]
"""Proposes a configuration, given the space, what was tried, what it gave, and a seed of 32 bits."""


@dataclass(frozen=True)
class ProposalSearch:
    """Random configurations first, as many as the optimiser's own default; then its proposals.

    Attributes:
        space: Search space.
        configurations: `(P,)` the pool.
        points: `(P, D)` the same, encoded.
        initial: The random configurations.
        starts: How many those are.
        propose: The optimiser.
    """

    space: SearchSpace
    configurations: tuple[Configuration, ...]
    points: Array
    initial: RandomOrder
    starts: int
    propose: Propose
    is_random: bool = True

    @classmethod
    def fit(cls, past: PastTasks, starts: int, propose: Propose) -> "ProposalSearch":
        """Learn the space and the pool, nothing else."""
        return cls(past.space, past.configurations, past.points, RandomOrder.fit(past), starts, propose)

    def start(self, meta_features: Array, seed: int) -> Picker:
        """Begin with random configurations."""
        first = self.initial.start(meta_features, seed)

        def pick(observed: Observed) -> int | None:
            if len(observed.positions) < self.starts:
                return first(observed)
            tried = [self.configurations[p] for p in observed.positions]
            draw = int(generator(seed, observed).integers(2**32))
            proposed = self.propose(self.space, tried, observed.performance, draw)
            distance = ((self.points - self.space.encode([proposed])[0]) ** 2).sum(axis=1)
            return best_free(-distance, observed.positions)

        return pick


def propose_with_tpe(
    space: SearchSpace, tried: Sequence[Configuration], performance: Array, seed: int
) -> Configuration:
    """Ask Optuna's multivariate, grouped TPE.

    References:
        Bergstra et al. 2011, Algorithms for hyper-parameter optimization; Akiba et al. 2019, Optuna, arXiv:1907.10902.
    """
    import optuna

    sampler = partial(optuna.samplers.TPESampler, multivariate=True, group=True)
    return _ask_optuna(sampler, space, tried, performance, seed)


def propose_with_gp(space: SearchSpace, tried: Sequence[Configuration], performance: Array, seed: int) -> Configuration:
    """Ask Optuna's Gaussian process sampler with its default settings.

    What depends on a condition it draws at random, which is its own code's way.

    References:
        Akiba et al. 2019, Optuna, arXiv:1907.10902 (`GPSampler`).
    """
    import optuna

    sampler = partial(optuna.samplers.GPSampler, warn_independent_sampling=False)
    return _ask_optuna(sampler, space, tried, performance, seed)


def _ask_optuna(
    sampler: "Callable[..., optuna.samplers.BaseSampler]",
    space: SearchSpace,
    tried: Sequence[Configuration],
    performance: Array,
    seed: int,
) -> Configuration:
    import optuna

    from metaflow_hpo.collect.optuna_strategy import quiet, suggest, to_distribution

    distributions = {hp.name: to_distribution(hp) for hp in space.hyperparameters}
    trials = []
    for configuration, value in zip(tried, performance, strict=True):
        active = {name: distributions[name] for name in configuration}
        trials.append(optuna.trial.create_trial(params=dict(configuration), distributions=active, value=float(value)))
    with quiet():
        study = optuna.create_study(direction="maximize", sampler=sampler(n_startup_trials=0, seed=seed))
        study.add_trials(trials)
        return suggest(study.ask(), space)


def propose_with_hyperopt(
    space: SearchSpace, tried: Sequence[Configuration], performance: Array, seed: int
) -> Configuration:
    """Ask Hyperopt's TPE with its default settings.

    References:
        Bergstra, Yamins, Cox 2013, Making a science of model search.
    """
    from metaflow_hpo.collect.hyperopt_strategy import HyperoptStrategy

    strategy = HyperoptStrategy(space, seed=seed)
    strategy.tell([_as_trial(c, float(p)) for c, p in zip(tried, performance, strict=True)])
    return strategy.ask(1)[0]


def _as_trial(configuration: Configuration, performance: float) -> Trial:
    return Trial(
        task_id="replayed",
        family="replayed",
        learner="replayed",
        configuration=configuration,
        strategy="hyperopt",
        seed=0,
        fidelity=1,
        performance=performance,
        test_performance=np.nan,
        duration_s=0.0,
    )
