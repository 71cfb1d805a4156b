"""The leave-family-out replay: strategies search recorded tasks, having learned from tasks of other families only.

A strategy asks for configurations that the task has recorded; only what it asked for is revealed to it. The unit of
every mean and interval is the task.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from metaflow_hpo.collect.strategies.pool import Pool
from metaflow_hpo.collect.strategies.registry import load_factory
from metaflow_hpo.collect.strategies.strategy import Strategy, StrategyContext, StrategyFactory
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.history import Array, History, IntArray
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.space import configuration_id
from metaflow_hpo.trial import Trial

Asking = Literal["one by one", "at once"]
"""`one by one`: each configuration in view of what those before it gave, as a search asks. `at once`: all before the
first trial, as a person asks who wants so many recommendations."""


@dataclass(frozen=True)
class Contestant:
    """A strategy that is replayed.

    Attributes:
        name: In tables and plots.
        make: Makes it for a task.
        seeds: How often it is run, each time with another seed.
    """

    name: str
    make: StrategyFactory
    seeds: int = 1

    @classmethod
    def called(cls, name: str, seeds: int = 1) -> "Contestant":
        """Return a strategy by its name or address."""
        return cls(name, load_factory(name), seeds)


@dataclass(frozen=True)
class HeldOut:
    """Tasks to be replayed, and what may be learned from.

    Attributes:
        history: All tasks.
        past: `(T,)` positions of those that may be learned from, none of a family that is judged; None where nothing
            of this history may.
        asking: How strategies are asked.
    """

    history: History
    past: IntArray | None
    asking: Asking = "one by one"
    _seen: dict[bytes, tuple[Pool, PastTasks | None]] = field(default_factory=dict, init=False, repr=False)

    def order(self, contestant: Contestant, t: int, count: int, *, seed: int = 0) -> IntArray:
        """Let a strategy search a task.

        Args:
            contestant: The strategy.
            t: Position of the task.
            count: Trials at most.
            seed: Seed of the strategy; it becomes another one on each task.

        Returns:
            What it asked for, in order: positions among the task's own recorded trials.
        """
        task = self.history.tasks[t]
        pool, past = self._see(task.positions)
        context = StrategyContext(
            space=self.history.space,
            seed=_seed(seed, task.task_id),
            budget=count,
            pool=pool,
            past=past,
            meta_features=task.meta_features,
        )
        strategy = contestant.make(context)
        if self.asking == "at once":
            names = [configuration_id(configuration) for configuration in strategy.ask(count)]
            return np.array([pool.positions[name] for name in names], dtype=np.int64)
        return replay(strategy, pool, task.performance, count)

    def judge(self, contestant: Contestant, tasks: Sequence[int] | IntArray, ks: Sequence[int]) -> pd.DataFrame:
        """Replay tasks.

        Args:
            contestant: The strategy.
            tasks: Positions of the tasks.
            ks: Numbers of trials, ascending.

        Returns:
            One line a (task, k): `task_id, family, recommender, k, regret, performance, test_performance`, means over
            seeds of the best of the first k trials.
        """
        lines: list[tuple[object, ...]] = []
        for t in tasks:
            task = self.history.tasks[t]
            runs = [self.order(contestant, int(t), max(ks), seed=seed) for seed in range(contestant.seeds)]
            best, worst = task.performance.max(), task.performance.min()
            for k in ks:
                reached = [order[int(np.argmax(task.performance[order[:k]]))] for order in runs]
                performance = float(task.performance[reached].mean())
                test = float(task.test_performance[reached].mean())
                regret = float((best - performance) / (best - worst))
                lines.append((task.task_id, task.family, contestant.name, k, regret, performance, test))
        columns = ["task_id", "family", "recommender", "k", "regret", "performance", "test_performance"]
        # Without a task there is no line that tells the types.
        types = {"k": np.int64, "regret": np.float64, "performance": np.float64, "test_performance": np.float64}
        return pd.DataFrame(lines, columns=columns).astype(types)

    def _see(self, positions: IntArray) -> tuple[Pool, PastTasks | None]:
        key = positions.tobytes()
        if key not in self._seen:
            past = None if self.past is None else self.history.past_tasks(self.past, positions)
            configurations = tuple(self.history.configurations[position] for position in positions)
            self._seen[key] = Pool(self.history.space, configurations), past
        return self._seen[key]


def replay(strategy: Strategy, pool: Pool, performance: Array, count: int) -> IntArray:
    """Let a strategy ask one by one, revealing the performance of what it asks for and of nothing else.

    Args:
        strategy: Confined to the pool.
        pool: The task's recorded configurations.
        performance: `(P,)` what they gave.
        count: How many at most.

    Returns:
        The positions it asked for, in order; fewer where it stops or the pool is used up.

    Raises:
        MetaflowHPOError: If it wants trials of a lower fidelity, which are not recorded.
    """
    positions: list[int] = []
    while len(positions) < min(count, len(pool)) and (asked := strategy.ask(1)):
        if strategy.fidelity is not None:
            raise MetaflowHPOError(
                "Expected strategies that train at full fidelity, since only such trials are recorded; found one that "
                "does not, such as halving. Leave it out."
            )
        position = pool.positions[configuration_id(asked[0])]
        positions.append(position)
        strategy.tell([Trial.told(asked[0], float(performance[position]))])
    return np.array(positions, dtype=np.int64)


def _seed(seed: int, task_id: str) -> int:
    """Another draw for each task: one shared random order would make all tasks lucky together."""
    return seed + 1_000 * (int.from_bytes(task_id.encode(), "little") % 1_000_003)


def incumbent_regret(regret: Array, order: Sequence[int] | IntArray, ks: Sequence[int]) -> list[float]:
    """Return the regret of the best of the first k configurations of an order, for each k.

    Args:
        regret: `(C,)` normalised regret of the task; NaN (never tried) counts as 1.
        order: Positions, first to try first; shorter orders stay at their last incumbent.
        ks: Numbers of trials.
    """
    path = np.minimum.accumulate(np.nan_to_num(regret[np.asarray(order)], nan=1.0))
    return [float(path[min(k, len(path)) - 1]) for k in ks]
