"""What a description of a task costs against pymfe on the same groups, and how much it moves with the rows seen.

The one thing to know: costs are processor time, and pymfe (`pip install pymfe==0.4.4`, not a dependency) is optional:
without it only our costs and the stability are measured. pymfe describes classification tasks, so those are compared.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from metaflow_hpo.caps import single_threaded_blas

GROUPS = ("general", "statistical", "info-theory")
COST_TASKS = 10
STABILITY_TASKS = 20
_MAX_ROWS = 3_000
_ENOUGH_S = 1.0


def main() -> None:
    """Run the benchmark and print its tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few tasks, no landmarks")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--draws", type=int, default=5, help="random halves of the training rows of each task")
    parser.add_argument("--output", type=Path, help="JSON file of all that was measured")
    arguments = parser.parse_args()
    with single_threaded_blas():  # waiting threads would count as work
        measure(arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Measure and show everything."""
    tasks = load_tasks(6 if arguments.quick else STABILITY_TASKS)
    result: dict[str, Any] = {"cost": [], "pymfe": find_spec("pymfe") is not None}
    compared = [data for data in tasks if not data.task.is_regression][: 2 if arguments.quick else COST_TASKS - 1]
    for data in [*compared, make_large(2_000 if arguments.quick else 10_000)]:
        result["cost"].append(measure_cost(data, arguments.repetitions))
        show_cost(result["cost"][-1])
    if result["pymfe"]:
        ratios = [row["ratio"] for row in result["cost"]]
        print(f"pymfe / ours: {statistics.median(ratios):.0f}x ({min(ratios):.0f}-{max(ratios):.0f}x; target >= 10x)")
    result["stability"] = measure_stability(tasks, arguments.draws, landmarks=not arguments.quick)
    show_stability(result["stability"])
    if arguments.output:
        arguments.output.write_text(json.dumps(result, indent=1), encoding="utf-8")


def load_tasks(count: int) -> list[Any]:
    """Return real tasks of different families that ship with the dependencies, spread over the catalogue."""
    from metaflow_hpo.adapters.sources.builtin import builtin_specs, load_builtin

    families = {spec.family: spec for spec in builtin_specs() if not spec.simulated}
    specs = list(families.values())
    chosen: list[Any] = []
    for position in np.random.default_rng(0).permutation(len(specs)):
        data = load_builtin(specs[position])
        if 100 <= data.task.rows <= _MAX_ROWS:
            chosen.append(data)
        if len(chosen) == count:
            break
    return chosen


def make_large(rows: int) -> Any:
    """Return a synthetic task of 50 numeric columns and three classes."""
    import pandas as pd

    from metaflow_hpo.modalities.table.preparation import prepare_task

    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, 50)) @ rng.standard_normal((50, 50)) / 7
    table = pd.DataFrame(x, columns=[f"x{number}" for number in range(50)])
    table["y"] = np.digitize(x[:, 0] + x[:, 1] * x[:, 2], [-0.5, 0.5])
    return prepare_task(
        table, task_id=f"synthetic_{rows}x50", target="y", source="synthetic", licence="none", kind="classification"
    )


def measure_cost(data: Any, repetitions: int) -> dict[str, Any]:
    """Return processor time of ours, without and with landmarks, and of pymfe; numbers of values; the ratio."""
    from metaflow_hpo.modalities.table.meta_features import describe

    simple = time_best(lambda: describe(data, landmarks=False), repetitions)
    row = {
        "task": data.task.task_id, "rows": int((~data.is_test).sum()), "columns": data.task.columns,
        "ours_s": simple, "ours_with_landmarks_s": time_best(lambda: describe(data), 1),
        "ours_values": len(describe(data, landmarks=False)),
    }  # fmt: skip
    if find_spec("pymfe") is not None:
        counts: list[int] = []
        row["pymfe_s"] = time_best(lambda: counts.append(describe_with_pymfe(data)), repetitions)
        row |= {"pymfe_values": counts[0], "ratio": row["pymfe_s"] / simple}
    return row


def time_best(run: Callable[[], Any], repetitions: int) -> float:
    """Return the least processor time of a run, after a first one; fewer repetitions where it is slow."""
    run()
    took: list[float] = []
    while len(took) < repetitions and sum(took) < _ENOUGH_S * repetitions:
        began = time.process_time()
        run()
        took.append(time.process_time() - began)
    return min(took)


def describe_with_pymfe(data: Any) -> int:
    """Compute pymfe's default features of the groups, summarised by mean and deviation; return how many values."""
    from pymfe.mfe import MFE

    features = data.train_features
    # pymfe takes no missing values: the most favourable way to give it some is a cheap fill.
    filled = [
        column.fillna(column.median() if column.dtype.kind == "f" else "missing") for _, column in features.items()
    ]
    x = np.column_stack([column.to_numpy(dtype=object) for column in filled])
    categorical = [position for position, column in enumerate(filled) if column.dtype.kind != "f"]
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        x = x if categorical else x.astype(np.float64)
        model = MFE(groups=list(GROUPS), summary=["mean", "sd"], suppress_warnings=True)
        model.fit(x, data.train_target, cat_cols=categorical or None, suppress_warnings=True)
        names, _ = model.extract(suppress_warnings=True)
    return len(names)


def take_half(data: Any, seed: int) -> Any:
    """Return the task with a random half of its training rows, and a row of each class."""
    order = np.random.default_rng(seed).permutation(np.flatnonzero(~data.is_test))
    kept = order[: len(order) // 2]
    if not data.task.is_regression:  # a task without one of its classes would be another task
        kept = np.union1d(kept, order[np.unique(data.target[order], return_index=True)[1]])
    rows = np.union1d(kept, np.flatnonzero(data.is_test))
    return replace(
        data, task=replace(data.task, rows=len(rows)), features=data.features.iloc[rows].reset_index(drop=True),
        target=data.target[rows], is_test=data.is_test[rows],
    )  # fmt: skip


def measure_stability(tasks: list[Any], draws: int, landmarks: bool) -> list[dict[str, Any]]:
    """Describe random halves of the rows of each task.

    Returns:
        For each meta-feature the standard deviation within a task, that of the task means, their ratio, and the
        intraclass correlation (one-way, single measurement; Shrout and Fleiss 1979): 1 says that only the task counts.
    """
    from rich.console import Console
    from rich.progress import track

    from metaflow_hpo.modalities.table.meta_features import TABLE_GROUP, measure

    halves = [(data, seed) for data in tasks for seed in range(draws)]
    tracked = track(halves, "stability", console=Console(stderr=True), transient=True)
    described = [measure(take_half(data, seed), landmarks=landmarks) for data, seed in tracked]
    rows = []
    for name in (name for name in TABLE_GROUP.features if name in described[0]):
        values = np.array([one[name] for one in described]).reshape(len(tasks), draws)
        within = float(values.var(axis=1, ddof=1).mean())
        means = float(values.mean(axis=1).var(ddof=1))
        between = draws * means
        total = between + (draws - 1) * within
        rows.append({
            "name": name, "within_sd": within**0.5, "between_sd": means**0.5,
            "ratio": (within / means) ** 0.5 if means > 0 else 0.0,
            "intraclass_correlation": (between - within) / total if total > 0 else 1.0,
        })  # fmt: skip
    return sorted(rows, key=lambda row: row["intraclass_correlation"])


def show_cost(row: dict[str, Any]) -> None:
    """Print the cost of one task."""
    theirs = (
        f", pymfe {row['pymfe_s']:.2f} s ({row['pymfe_values']} values): {row['ratio']:.0f}x" if "ratio" in row else ""
    )
    print(
        f"{row['task']:28} {row['rows']:6} x {row['columns']:3}: ours {row['ours_s'] * 1e3:6.1f} ms "
        f"({row['ours_values']} values; with landmarks {row['ours_with_landmarks_s']:.2f} s){theirs}",
        flush=True,
    )


def show_stability(rows: list[dict[str, Any]]) -> None:
    """Print the meta-features, the least stable first."""
    correlations = [row["intraclass_correlation"] for row in rows]
    print(f"\nIntraclass correlation over random halves: median {statistics.median(correlations):.3f}")
    print(f"{'meta-feature':44} {'within sd':>10} {'between sd':>10} {'ratio':>6} {'ICC':>6}")
    for row in rows:
        print(
            f"{row['name']:44} {row['within_sd']:10.4f} {row['between_sd']:10.4f} {row['ratio']:6.2f} "
            f"{row['intraclass_correlation']:6.3f}"
        )


if __name__ == "__main__":
    main()
