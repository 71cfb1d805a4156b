"""Which recommenders differ: Wilcoxon's signed-rank test on every pair, corrected by Holm; mean ranks beside it.

Tests are paired over tasks; two recommenders that are joined in the diagram were not told apart,
which does not say that they are equal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from metaflow_hpo.history import Array

ALPHA = 0.05


@dataclass(frozen=True)
class Comparison:
    """Mean ranks over tasks and what can be told apart.

    Attributes:
        names: `(R,)` recommenders, best mean rank first.
        ranks: `(R,)` mean ranks.
        p_values: Holm-corrected p of each pair of positions.
        tasks: Number of tasks.
    """

    names: tuple[str, ...]
    ranks: Array
    p_values: Mapping[tuple[int, int], float]
    tasks: int

    @property
    def cliques(self) -> list[tuple[int, int]]:
        """First and last position of each longest run in which no pair differs; single ones are left out."""
        runs: list[tuple[int, int]] = []
        for first in range(len(self.names)):
            last = first
            while last + 1 < len(self.names) and self._alike(first, last + 1):
                last += 1
            if last > first and not any(a <= first and last <= b for a, b in runs):
                runs.append((first, last))
        return runs

    def _alike(self, first: int, last: int) -> bool:
        return all(self.p_values[pair] >= ALPHA for pair in combinations(range(first, last + 1), 2))


def compare(regret: pd.DataFrame) -> Comparison:
    """Compare recommenders on the same tasks.

    Args:
        regret: One line a task, one column a recommender.

    References:
        Demsar 2006, Statistical comparisons of classifiers; Benavoli, Corani, Mangili 2016, arXiv:1505.02288, for
        pairwise Wilcoxon tests in place of the post-hoc test on ranks.
    """
    ranks = regret.rank(axis=1).mean().sort_values(kind="stable")
    names = [str(name) for name in ranks.index]
    pairs = list(combinations(range(len(names)), 2))
    values = [_wilcoxon((regret[names[a]] - regret[names[b]]).to_numpy(dtype=np.float64)) for a, b in pairs]
    corrected = holm(values)
    return Comparison(
        tuple(names), ranks.to_numpy(dtype=np.float64), dict(zip(pairs, corrected, strict=True)), len(regret)
    )


def _wilcoxon(differences: Array) -> float:
    moved = differences[np.abs(differences) > 1e-12]
    if len(moved) == 0:
        return 1.0
    # The normal approximation where ties are certain to occur: the exact distribution has none.
    return float(
        wilcoxon(moved, method="exact" if len(np.unique(np.abs(moved))) == len(moved) <= 25 else "asymptotic").pvalue
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for testing them all, in the order given.

    References:
        Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    order = np.argsort(p_values, kind="stable")
    corrected = np.empty(len(order))
    largest = 0.0
    for step, position in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - step) * p_values[position]))
        corrected[position] = largest
    return [float(p) for p in corrected]
