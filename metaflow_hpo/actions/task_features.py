"""The meta-features of one task, as a person gives them in a file beside it."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.tables import META_PREFIX


def read_task_features(path: Path) -> Mapping[str, float]:
    """Read the meta-features of one task: one line with columns `mf_<name>`.

    Raises:
        InvalidTableError: If it is not that.
    """
    frame = _read_line(path)
    names = [str(name) for name in frame.columns if str(name).startswith(META_PREFIX)]
    if len(frame) != 1 or not names:
        raise InvalidTableError(
            f"Expected one line with columns mf_<name> in {path}; found {len(frame)} lines and the columns "
            f"{[str(c) for c in frame.columns][:8]}. Give the meta-features of the new task alone."
        )
    try:
        return {name: float(frame[name].iloc[0]) for name in names}
    except (TypeError, ValueError) as error:
        raise InvalidTableError(f"Expected numbers in the columns mf_* of {path}; {error}.") from error


def _read_line(path: Path) -> pd.DataFrame:
    from metaflow_hpo.modalities.table.files.tables import read_table

    if path.suffix != ".csv":
        return read_table(path)
    try:
        return pd.read_csv(path)  # `read_table` expects data, so two columns at least
    except (OSError, ValueError) as error:
        raise InvalidTableError(f"Expected one line of meta-features in {path}; {error}. Check the file.") from error
