"""LCBench: deep MLPs with seven hyperparameters on 34 OpenML tasks, as the surrogate of YAHPO Gym.

The published data are a regression model of the real trials, smooth and a little optimistic at
the top. It ranks methods; it says nothing about a real task. The network has an order of hyperparameters of its own.

References:
    Zimmer, Lindauer, Hutter 2021, Auto-PyTorch (LCBench), arXiv:2006.13799; Pfisterer et al. 2022, YAHPO Gym,
    arXiv:2109.03670.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metaflow_hpo.adapters.files import read_json
from metaflow_hpo.adapters.past_trials.source import Found, Wanted, existing
from metaflow_hpo.adapters.past_trials.tables import found_of
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history import Array

HYPERPARAMETERS = (
    "batch_size",
    "learning_rate",
    "momentum",
    "weight_decay",
    "num_layers",
    "max_units",
    "max_dropout",
)
"""In the order in which the network takes them, after the epoch."""
EPOCH = 52
_VALIDATION, _TEST = 3, 5
_TASK = "OpenML_task_id"
_REMEDY = "Give the folder `lcbench` of YAHPO Gym's data: model.onnx, config_space.json, encoding.json."


class LcbenchSource:
    """The surrogate of LCBench, asked about one pool of configurations."""

    name = "lcbench"

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read the folder `lcbench` of YAHPO Gym's data."""
        return found_of(import_lcbench(existing(address, "the folder lcbench of YAHPO Gym")), "balanced_accuracy")


def import_lcbench(folder: Path, *, pool_seed: int = 0, pool_size: int = 2_000) -> pd.DataFrame:
    """Ask the surrogate about one pool of configurations on every task.

    Args:
        folder: Holds `model.onnx`, `config_space.json`, `encoding.json`, optionally `lcbench_task_metafeatures.csv`.
        pool_seed: Seed of the pool, which is uniform in the unit cube and the same for every task.
        pool_size: Configurations.

    Returns:
        A trial table: validation and test balanced accuracy in [0, 1] at epoch 52, seconds of training.

    Raises:
        InvalidTableError: If a file is missing, or onnxruntime is not installed.
    """
    hyperparameters = {h["name"]: h for h in read_json(folder / "config_space.json", remedy=_REMEDY)["hyperparameters"]}
    codes = read_json(folder / "encoding.json", remedy=_REMEDY)[_TASK]
    units = np.random.default_rng(pool_seed).random((pool_size, len(HYPERPARAMETERS)))
    columns = {name: _from_unit(hyperparameters[name], units[:, d]) for d, name in enumerate(HYPERPARAMETERS)}
    numbers = np.column_stack([np.full(pool_size, float(EPOCH)), *columns.values()]).astype(np.float32)
    session = _open(folder / "model.onnx")
    described = _read_meta_features(folder / "lcbench_task_metafeatures.csv")
    parts = []
    for task_id in hyperparameters[_TASK]["choices"]:
        task = np.full((pool_size, 1), codes[task_id], dtype=np.int32)
        answer = np.asarray(session.run(None, {"x_cat": task, "x_cont": numbers})[0], dtype=np.float64)
        parts.append(
            pd.DataFrame(
                {
                    "task_id": f"openml_{task_id}",
                    "family": f"openml_{task_id}",
                    **{f"hp_{name}": values for name, values in columns.items()},
                    **described.get(task_id, {}),
                    "performance": answer[:, _VALIDATION],
                    "test_performance": answer[:, _TEST],
                    "duration_s": answer[:, 0],
                    "status": "ok",
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def _open(path: Path) -> Any:
    try:
        import onnxruntime  # type: ignore[import-not-found, unused-ignore]
    except ImportError as error:
        raise InvalidTableError(
            "Reading LCBench needs onnxruntime; install it: pip install 'metaflow-hpo[benchmark]'."
        ) from error
    if not path.is_file():
        raise InvalidTableError(f"Expected {path}; there is no such file. {_REMEDY}")
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def _from_unit(hyperparameter: dict[str, Any], unit: Array) -> Array:
    low, high = float(hyperparameter["lower"]), float(hyperparameter["upper"])
    if hyperparameter["log"]:
        values = np.exp(np.log(low) + unit * (np.log(high) - np.log(low)))
    else:
        values = low + unit * (high - low)
    return np.asarray(np.round(values) if hyperparameter["type"] == "uniform_int" else values)


def _read_meta_features(path: Path) -> dict[str, dict[str, float]]:
    """Return the three meta-features known of every task: log10 of rows, columns, classes."""
    if not path.is_file():
        return {}
    table = pd.read_csv(path, dtype={"task_id": str}).set_index("task_id")
    names = {"NumberOfInstances": "rows", "NumberOfFeatures": "columns", "NumberOfClasses": "classes"}
    known = table[list(names)].astype(np.float64).to_dict("index")
    return {
        str(task_id): {f"mf_log_{names[str(name)]}": float(np.log10(value)) for name, value in row.items()}
        for task_id, row in known.items()
    }
