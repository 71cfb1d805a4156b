"""scikit-learn: `cv_results_` of a search, as JSON, csv, parquet, a frame or the search itself."""

import ast
import re
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from metaflow_hpo.adapters.past_trials.folders import read_json_file
from metaflow_hpo.adapters.past_trials.source import FROM_NAME, Found, PastTrial, Wanted, choose_metric, existing
from metaflow_hpo.adapters.past_trials.tables import is_missing, read_any_table
from metaflow_hpo.adapters.past_trials.values import from_text, plain, to_number
from metaflow_hpo.errors import InvalidTableError, listed

_SCORE = re.compile(r"mean_test_(.+)")
_SPLIT = re.compile(r"split\d+_test_.+")
_PREFIX = "param_"


class SklearnSource:
    """A file is a task; a score is higher the better always; a fit that raised is NaN and failed."""

    name = "sklearn"

    def knows(self, columns: Sequence[str]) -> bool:
        """Tell `cv_results_` by its columns."""
        return any(map(_SCORE.fullmatch, columns)) and (
            "params" in columns or any(c.startswith(_PREFIX) for c in columns)
        )

    def read(self, address: Any, wanted: Wanted) -> Found:
        """Read the results of a search, or those of several in a folder.

        Args:
            address: JSON, csv or parquet of `cv_results_`; a folder of them; a frame, a mapping, or a fitted search.
            wanted: `metric` is `score`, or the scorer's name; `task` is the file's name or a column.
        """
        results = getattr(address, "cv_results_", address)
        if isinstance(results, Mapping):
            return self.read_table(pd.DataFrame(dict(results)), wanted)
        if isinstance(results, pd.DataFrame):
            return self.read_table(results, wanted)
        path = existing(address, "scikit-learn's cv_results_")
        files = (
            sorted(p for p in path.iterdir() if p.suffix in {".json", ".csv", ".parquet"}) if path.is_dir() else [path]
        )
        tables = [_read_file(file).assign(file=file.stem) for file in files]
        if not tables:
            raise InvalidTableError(f"Expected JSON, csv or parquet files in {path}; there is none.")
        return self.read_table(pd.concat(tables, ignore_index=True), wanted)

    def read_table(self, table: pd.DataFrame, wanted: Wanted) -> Found:
        """Read `cv_results_` as a frame."""
        columns = [str(column) for column in table.columns]
        scores = [match.group(1) for match in map(_SCORE.fullmatch, columns) if match]
        if not scores or not self.knows(columns):
            raise InvalidTableError(
                f"Expected cv_results_ with params and mean_test_score; found the columns {listed(columns, 12)}."
            )
        metric, direction = choose_metric(wanted, scores, "max")
        folds = max(1, sum(bool(_SPLIT.fullmatch(c)) for c in columns) // len(scores))
        trials = [_read_row(row, metric, folds) for row in table.to_dict("records")]
        task = "file" if "file" in columns else f"{FROM_NAME}:sklearn"
        return Found(trials, metric, direction, task)


def _read_file(path: Path) -> pd.DataFrame:
    if path.suffix.lower() != ".json":
        return read_any_table(path)
    content = read_json_file(path)
    if not isinstance(content, list | dict):
        raise InvalidTableError(f"Expected an object or a list of objects in {path}, of cv_results_.")
    return pd.DataFrame(content)


def _read_row(row: Mapping[Hashable, Any], metric: str, folds: int) -> PastTrial:
    value = row[f"mean_test_{metric}"]
    seconds = [to_number(row.get(name)) or 0.0 for name in ("mean_fit_time", "mean_score_time")]
    parts = (_PREFIX, "split", "mean_", "std_", "rank_")
    return PastTrial(
        configuration=_read_params(row),
        # A csv and a JSON have no NaN: an empty score is the one of a fit that raised.
        value=float("nan") if is_missing(value) else to_number(value),
        duration_s=folds * sum(seconds) or None,
        labels={
            ("file" if name == "file" else f"column:{name}"): cell
            for name, cell in row.items()
            if name != "params" and not str(name).startswith(parts) and not is_missing(cell)
        },
    )


def _read_params(row: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Return the configuration from `params`, which tells None from inactive as `param_*` do not."""
    params = row.get("params")
    if isinstance(params, str):
        try:
            params = ast.literal_eval(params)
        except (ValueError, SyntaxError):
            params = None  # it holds an object, such as an estimator
    if isinstance(params, Mapping):
        return {str(name): plain(value) for name, value in params.items()}
    columns = [str(name) for name in row if str(name).startswith(_PREFIX)]
    return {c.removeprefix(_PREFIX): from_text(row[c]) for c in columns if not is_missing(row[c])}
