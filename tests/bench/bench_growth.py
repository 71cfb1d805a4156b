"""How the cost grows over a 32-fold range of configurations, epochs and rows, and what a large task needs of memory.

The one thing to know: the peak is that of a process of its own, which loads the package and makes the data as well.
`python bench_growth.py ROWS` is that process.
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

_DOUBLINGS = (1, 2, 4, 8, 16, 32)
_BASE = {"configurations": 8, "epochs": 4, "rows": 1280}
_COLUMNS = 20
_MEMORY_COLUMNS = 100


def make_fold(rows: int, columns: int) -> Any:
    """Return a synthetic split with two classes; a quarter as many rows again are for validation."""
    from metaflow_hpo.modalities.modality import Fold

    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows + rows // 4, columns), np.float32)
    y = (x[:, 0] * x[:, 1] + x[:, 2] > 0).astype(np.int64)
    return Fold(x[:rows], y[:rows], x[rows:], y[rows:], 2)


def measure_growth(repetitions: int) -> dict[str, Any]:
    """Time the learner while configurations, epochs and rows are doubled one at a time, and fit the slopes.

    Configurations are multiples of the same eight, so that their mean cost is the same everywhere.

    Returns:
        The points (fastest of the repetitions, wall-clock and processor time), and for each factor and their product
        the slope of log time over log size with a 95 % interval.
    """
    from metaflow_hpo.learners.mlp.learner import MLP

    eight = [
        {**MLP.space.default, "learning_rate": 1e-4, "width": width, "layers": layers, "dropout": 0.1}
        for width, layers in ((128, 3), (128, 2), (96, 3), (96, 2), (64, 3), (64, 2), (32, 2), (16, 1))
    ]
    sizes = [{**_BASE, name: (1 if name == "epochs" else _BASE[name]) * m} for name in _BASE for m in _DOUBLINGS]
    points = [{**size, "wall_s": np.inf, "processor_s": np.inf} for size in sizes]
    for _ in range(repetitions):
        for point in points:  # in turns: what disturbs one repetition disturbs all points alike
            fold, many = make_fold(point["rows"], _COLUMNS), eight * (point["configurations"] // len(eight))
            wall, processor = time.perf_counter(), time.process_time()
            list(MLP().train_folds([fold], many, seed=0, epochs=point["epochs"]))
            point["wall_s"] = min(point["wall_s"], time.perf_counter() - wall)
            point["processor_s"] = min(point["processor_s"], time.process_time() - processor)
    for point in points:
        point["product"] = point["configurations"] * point["epochs"] * point["rows"]
    per_factor = len(_DOUBLINGS)
    slopes = {name: _fit(points[k * per_factor : (k + 1) * per_factor], name) for k, name in enumerate(_BASE)}
    return {"points": points, "slopes": {**slopes, "product": _fit(points, "product")}}


def _fit(points: list[dict[str, Any]], name: str) -> dict[str, dict[str, float]]:
    """Return slope and half-width of its 95 % interval, by least squares on logarithms, of both times."""
    from scipy.stats import linregress, t

    x = np.log([point[name] for point in points])
    fits = {kind: linregress(x, np.log([point[kind] for point in points])) for kind in ("wall_s", "processor_s")}
    width = float(t.ppf(0.975, len(points) - 2))
    return {kind: {"slope": float(fit.slope), "half_width": width * float(fit.stderr)} for kind, fit in fits.items()}


def show_growth(growth: dict[str, Any]) -> None:
    """Print the slopes."""
    print("\nCost ~ size ** slope, 32-fold range of each factor (1 is linear; 95 % interval)")
    for name, fits in growth["slopes"].items():
        parts = (f"{label} {f['slope']:.2f} +- {f['half_width']:.2f}" for label, f in (
            ("wall-clock", fits["wall_s"]), ("processor time", fits["processor_s"])
        ))  # fmt: skip
        print(f"  {name:15} {', '.join(parts)}")


def measure_memory(rows: int) -> dict[str, Any]:
    """Return the peak memory of a process that searches a synthetic task of `rows` x 100, folds and refit included."""
    command = [sys.executable, str(Path(__file__)), str(rows)]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result


def _search_large(rows: int) -> None:
    import pandas as pd

    from metaflow_hpo.collect.trials import train_trials
    from metaflow_hpo.learners.mlp.learner import MLP
    from metaflow_hpo.modalities.table.preparation import prepare_task

    fold = make_fold(rows * 4 // 5, _MEMORY_COLUMNS)
    table = pd.DataFrame(np.concatenate([fold.x_train, fold.x_valid]).astype(np.float64))
    table.columns = [f"x{number}" for number in range(_MEMORY_COLUMNS)]
    table["y"] = np.concatenate([fold.y_train, fold.y_valid])
    del fold
    data = prepare_task(
        table, task_id="large", target="y", source="synthetic", licence="none", family="large", kind="classification"
    )
    default, learner = MLP.space.default, MLP()
    # The most epochs, for the row orders; the largest network, for what a training holds.
    for epochs, shape in ((MLP.fidelity.maximum, {"width": 16, "layers": 1}), (2, {"width": 256, "layers": 4})):
        many = [{**default, **shape, "batch_size": 256, "learning_rate": rate} for rate in (1e-3, 2e-3)]
        list(train_trials(data, learner, many, strategy="random", seed=0, fidelity=epochs))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    print(json.dumps({"rows": len(data.target), "columns": data.features.shape[1], "peak_mb": peak}))


if __name__ == "__main__":
    _search_large(int(sys.argv[1]))
