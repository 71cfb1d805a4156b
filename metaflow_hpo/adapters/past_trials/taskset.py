"""TaskSet: 1,000 Adam configurations on 12 text networks, real runs.

Most final losses are worse than chance and some diverge, so losses are clipped at .75 (chance is
.693); the family of a task is the cell type in its name.

References:
    Metz et al. 2020, Using a thousand optimization tasks to learn hyperparameter search strategies, arXiv:2002.11887.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metaflow_hpo.adapters.files import read_frame
from metaflow_hpo.adapters.past_trials.source import Found, Wanted, existing
from metaflow_hpo.adapters.past_trials.tables import found_of
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history import Array

CLIP = 0.75
_CELL = re.compile(r"_(LSTM|GRU|VRNN|IRNN)\d")


class TasksetSource:
    """Minus the clipped losses of TaskSet."""

    name = "taskset"

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read `taskset.parquet`."""
        return found_of(import_taskset(existing(address, "TaskSet as parquet")), "minus the clipped loss")


def import_taskset(path: Path) -> pd.DataFrame:
    """Return minus the clipped final validation loss of every trial.

    Args:
        path: `taskset.parquet` with `task_id, hp_*, valid_loss_curve, test_loss_curve`.

    Raises:
        InvalidTableError: If the file or a column is missing, or a task's name holds no known cell type.
    """
    frame = read_frame(path, remedy="Give the TaskSet table as parquet.")
    needed = ["task_id", "valid_loss_curve", "test_loss_curve"]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise InvalidTableError(f"Expected the columns {needed} in {path}; {missing} are missing.")
    family = frame["task_id"].astype(str).str.extract(_CELL, expand=False)
    unknown = frame.loc[family.isna(), "task_id"].unique().tolist()
    if unknown:
        raise InvalidTableError(f"Expected a cell type {_CELL.pattern} in every task_id; found {unknown[:5]}.")
    names = [c for c in frame.columns if c.startswith("hp_")]
    return pd.DataFrame(
        {
            "task_id": frame["task_id"],
            "family": family,
            **{name: frame[name] for name in names},
            "performance": -_final(frame["valid_loss_curve"]),
            "test_performance": -_final(frame["test_loss_curve"]),
            "status": "ok",
        }
    )


def _final(curves: "pd.Series[Any]") -> Array:
    last = np.array([np.asarray(curve, dtype=np.float64)[-1] for curve in curves])
    return np.asarray(np.minimum(np.nan_to_num(last, nan=CLIP), CLIP))
