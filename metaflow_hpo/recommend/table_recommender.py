"""A recommender learned from a table of trials of any learner; it answers without data, by meta-features if there are.

The one thing to know: inside, performance is higher-is-better. Where the table held a loss, `sign` turns answers back
into the table's own units.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from metaflow_hpo.array_files import read_described, write_described
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history import Array, History, IntArray
from metaflow_hpo.past_tasks import PastTasks
from metaflow_hpo.recommend.adaptive import TABLE, AdaptiveRecommender, NewTask
from metaflow_hpo.recommend.explanation import SHOWN
from metaflow_hpo.recommend.interval import IntervalScale
from metaflow_hpo.recommend.novelty import is_beyond
from metaflow_hpo.recommend.portfolio import with_default
from metaflow_hpo.recommend.recommendation import NOVEL_WIDENING
from metaflow_hpo.recommend.sequential import Observed, ObservedTrial, place
from metaflow_hpo.recommend.table_pool import choose_pool, median_seconds
from metaflow_hpo.space import SearchSpace

_EXPECTED_SHARE = 0.95
"""Share of the forest in what is expected of a task: for choosing, more that is the same for all is safer."""
_FILES = "recommender"
DESCRIPTION_FILE = f"{_FILES}.json"
"""Tells a folder with a recommender from others."""
_ARRAYS = ("scores", "deviation", "regret", "scale", "meta_features")


@dataclass(frozen=True)
class TableRecommender:
    """Recommends configurations of a table's search space.

    Attributes:
        past: The table's tasks on a pool of P configurations.
        task_ids: `(T,)` their names.
        families: `(T,)` their families.
        meta_feature_names: `(M,)` with the prefix `mf_`; empty where the table has none.
        ends: `(T, 2)` worst and best performance of each task, higher is better.
        seconds: `(P,)` median duration over tasks, NaN where not known.
        sign: 1, or -1 where the table's performance is a loss.
        has_default: Whether the space's default is somebody's; the middle of an inferred space is not.
        interval: Conformal width of intervals.
        lineage: Where it came from.
    """

    past: PastTasks
    task_ids: tuple[str, ...]
    families: tuple[str, ...]
    meta_feature_names: tuple[str, ...]
    ends: Array
    seconds: Array
    sign: float
    has_default: bool = False
    interval: IntervalScale = field(default_factory=IntervalScale)
    lineage: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def fit(cls, table: History, *, lower_is_better: bool = False, has_default: bool = False) -> "TableRecommender":
        """See all tasks of a table from one pool of its configurations."""
        pool = choose_pool(table)
        past = table.past_tasks(range(len(table.tasks)), pool)
        ends = np.array([[task.performance.min(), task.performance.max()] for task in table.tasks])
        return cls(
            past=past,
            task_ids=tuple(task.task_id for task in table.tasks),
            families=tuple(task.family for task in table.tasks),
            meta_feature_names=table.meta_feature_names,
            ends=ends,
            seconds=median_seconds(table, pool),
            sign=-1.0 if lower_is_better else 1.0,
            has_default=has_default,
        )

    @property
    def space(self) -> SearchSpace:
        """The table's search space."""
        return self.past.space

    def without(self, family: str) -> "TableRecommender":
        """Return the recommender without the tasks of a family; the pool stays."""
        return self.keep(np.flatnonzero(np.array(self.families) != family))

    def keep(self, kept: IntArray) -> "TableRecommender":
        """Return the recommender with some of its tasks, by position `(K,)`; the pool stays."""
        past = self.past
        rows = {name: getattr(past, name)[kept] for name in _ARRAYS}
        families = tuple(self.families[t] for t in kept)
        return TableRecommender(
            past=_make_past(past.space, past.configurations, rows, past.default, families),
            task_ids=tuple(self.task_ids[t] for t in kept),
            families=families,
            meta_feature_names=self.meta_feature_names,
            ends=self.ends[kept],
            seconds=self.seconds,
            sign=self.sign,
            has_default=self.has_default,
            interval=self.interval,
        )

    def read_meta_features(self, values: Mapping[str, float] | None) -> Array:
        """Return the inputs in order, `(M,)`; NaN for all where none are given.

        Raises:
            InvalidTableError: If some are missing or unknown, or one is infinite.
        """
        names = self.meta_feature_names
        if values is None:
            return np.full(len(names), np.nan)
        missing, unknown = [n for n in names if n not in values], sorted(set(values) - set(names))
        if missing or unknown:
            raise InvalidTableError(
                f"Expected the {len(names)} meta-features of the fitted table; missing {missing[:5]}, unknown "
                f"{unknown[:5]}. Give one line with the columns {list(names)[:5]}."
            )
        row = np.array([values[name] for name in names], dtype=np.float64)
        if np.isinf(row).any():
            raise InvalidTableError("Meta-features must be finite or missing; some are infinite. Correct them.")
        return row

    def recommend(
        self, meta_features: Mapping[str, float] | None = None, k: int = 5, observed: Sequence[ObservedTrial] = ()
    ) -> dict[str, Any]:
        """Recommend k complementary configurations.

        Args:
            meta_features: Of the new task by name; None where they are not known.
            k: How many, from 1 to the size of the pool.
            observed: Trials of the new task, in the table's own units; failed ones left out.

        Returns:
            JSON-ready `recommendations`, `evidence`, `novelty` and `lineage`, as in the CLI's contract, performances
            in the table's own units.

        Raises:
            InvalidTableError: If k is out of range, or the meta-features are wrong.
        """
        if not 1 <= k <= len(self.past.configurations):
            raise InvalidTableError(f"k must be from 1 to {len(self.past.configurations)}; got {k}.")
        row = self.read_meta_features(meta_features)
        percentile = self.adaptive.percentile(row)
        falls_back = is_beyond(percentile)
        task, seen = self._begin(row, observed, falls_back=falls_back)
        order = task.choose(seen, k)
        mean, spread = task.predict(seen) if observed else self.expect(None if falls_back else row)
        if self.past.default not in seen.positions and (k > 1 or not observed):
            order = with_default(order, mean, self.past.default)
        margin = self.interval.at(len(observed)) * spread * (NOVEL_WIDENING if falls_back else 1.0)
        return {
            "recommendations": [
                {
                    "rank": rank,
                    "configuration": dict(task.past.configurations[c]),
                    "performance": self._interval(mean[c], margin[c]),
                    "expected_gain_over_default": float(mean[c] - mean[self.past.default]),
                    "expected_duration_s": None if np.isnan(self.seconds[c]) else float(self.seconds[c]),
                }
                for rank, c in enumerate(order, start=1)
            ],
            "evidence": {"nearest_tasks": self._nearest(row), "observed_trials": len(observed)},
            "novelty": {"percentile": percentile, "fallback": falls_back},
            "lineage": {**self.lineage, "content_sha256": self.content_sha256},
        }

    def _begin(self, row: Array, observed: Sequence[ObservedTrial], *, falls_back: bool) -> tuple[NewTask, Observed]:
        more, at = place(self.past.configurations, [trial.configuration for trial in observed])
        task = self.adaptive.begin(row, more=more, is_novel=falls_back)
        performance = np.array([self.sign * trial.performance for trial in observed], dtype=np.float64)
        return task, Observed(at, performance)

    @cached_property
    def adaptive(self) -> AdaptiveRecommender:
        """What chooses and predicts, in performance where higher is better."""
        return AdaptiveRecommender.fit(self.past, replace(TABLE, default_first=self.has_default))

    @property
    def performance(self) -> Array:
        """`(T, P)` performance of past tasks on the pool, higher is better."""
        worst, best = self.ends[:, :1], self.ends[:, 1:]
        return np.asarray(best - self.past.regret * (best - worst))

    def expect(self, row: Array | None) -> tuple[Array, Array]:
        """Return mean and deviation `(P,)` of the performance over past tasks, those similar to a task weighing more.

        Args:
            row: `(M,)` its meta-features; where none is known, all past tasks weigh the same.
        """
        performance, weights = self.performance, self.adaptive.weigh(row, _EXPECTED_SHARE)
        mean = weights @ performance
        return mean, np.sqrt(weights @ (performance - mean) ** 2)

    def _interval(self, mean: float, margin: float) -> dict[str, Any]:
        low, high = sorted((self.sign * (mean - margin), self.sign * (mean + margin)))
        metric = "performance" if self.sign > 0 else "performance, lower is better"
        values = {"mean": float(self.sign * mean), "low": float(low), "high": float(high)}
        return {"metric": metric, **values, "coverage": self.interval.coverage}

    def _nearest(self, row: Array) -> list[dict[str, Any]]:
        if not np.isfinite(row).any():
            return []
        squared = self.adaptive.distance.squared(row)
        found = []
        for t in np.argsort(squared, kind="stable")[:SHOWN]:
            best = int(np.argmin(self.past.regret[t]))
            found.append(
                {
                    "task_id": self.task_ids[t],
                    "family": self.families[t],
                    "distance": float(np.sqrt(squared[t])),
                    "best_performance": float(self.sign * self.ends[t, 1]),
                    "best_configuration": dict(self.past.configurations[best]),
                }
            )
        return found

    @cached_property
    def content_sha256(self) -> str:
        """Name of what was learned: equal tables give equal names, whatever the order of their lines."""
        digest = hashlib.sha256(json.dumps(self._describe(), sort_keys=True).encode())
        for name, values in sorted(self._to_arrays().items()):
            digest.update(name.encode() + np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()

    def _describe(self) -> dict[str, Any]:
        return {
            "task_ids": list(self.task_ids),
            "families": list(self.families),
            "meta_feature_names": list(self.meta_feature_names),
            "space": self.space.to_json(),
            "configurations": [dict(c) for c in self.past.configurations],
            "default": self.past.default,
            "sign": self.sign,
            "has_default": self.has_default,
            "interval": self.interval.to_json(),
        }

    def _to_arrays(self) -> dict[str, Array]:
        return {**{name: getattr(self.past, name) for name in _ARRAYS}, "ends": self.ends, "seconds": self.seconds}

    def save(self, folder: Path) -> None:
        """Write arrays (safetensors) and description (JSON) into an existing folder."""
        write_described(folder, _FILES, self._to_arrays(), {**self._describe(), "lineage": dict(self.lineage)})

    @classmethod
    def load(cls, folder: Path) -> "TableRecommender":
        """Read a recommender back.

        Raises:
            InvalidTableError: If the folder does not hold one.
        """
        remedy = "run `metaflow-hpo fit --trials TABLE --output FOLDER` first."
        arrays, values = read_described(folder, _FILES, remedy)
        space = SearchSpace.from_json(values["space"])
        families = tuple(values["families"])
        return cls(
            past=_make_past(space, tuple(values["configurations"]), arrays, values["default"], families),
            task_ids=tuple(values["task_ids"]),
            families=families,
            meta_feature_names=tuple(values["meta_feature_names"]),
            ends=arrays["ends"],
            seconds=arrays["seconds"],
            sign=values["sign"],
            has_default=values.get("has_default", False),  # an older version did not say
            interval=IntervalScale.from_json(values["interval"]),
            lineage=values["lineage"],
        )


def _make_past(
    space: SearchSpace,
    configurations: Sequence[Any],
    arrays: Mapping[str, Array],
    default: int,
    families: tuple[str, ...],
) -> PastTasks:
    return PastTasks(
        space=space,
        configurations=tuple(configurations),
        points=space.encode(configurations),
        scores=arrays["scores"],
        deviation=arrays["deviation"],
        regret=arrays["regret"],
        scale=arrays["scale"],
        meta_features=arrays["meta_features"],
        trials=(),
        default=default,
        families=families,
    )
