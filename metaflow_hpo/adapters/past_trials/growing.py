"""A history that grows: what a search found is written into the file that it learned from."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from metaflow_hpo.adapters.files import locked, write_atomically
from metaflow_hpo.adapters.past_trials.source import Direction
from metaflow_hpo.adapters.past_trials.spaces import is_of_numbers, united, with_parents
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.history_files import read_trials, write_parquet
from metaflow_hpo.hyperparameter import Hyperparameter
from metaflow_hpo.space import SearchSpace
from metaflow_hpo.tables import HP_PREFIX, write_choice

SOURCE, ADDED_AT = "source", "added_at"
"""Columns that say of each trial which tool or command added it, and when."""


def check_growing(past: Any) -> Path:
    """Return the file into which results are to be written; it is made with the first of them.

    Raises:
        InvalidTableError: If past trials were given as something else than a parquet file.
    """
    if not isinstance(past, str | Path) or Path(past).suffix != ".parquet":
        raise InvalidTableError(
            f"Expected the path of a history that ends in .parquet where results are to be learned from; got "
            f"{past if isinstance(past, str | Path) else type(past).__name__}. Write one with History.write or "
            "metaflow-hpo import-trials --output, or name a new file."
        )
    return Path(past).expanduser()


def grow(path: Path, frame: pd.DataFrame, space: SearchSpace, *, direction: Direction, source: str) -> None:
    """Write trials into a history, atomically; the same trial of the same source takes its place.

    Args:
        path: The history, parquet; made where there is none.
        frame: One line a trial, see `History.from_frame`.
        space: Search space of the trials.
        direction: Which way their performance is better; written in the units of the history.
        source: Who found them.
    """
    with locked(path.parent, f".{path.name}.lock"):
        known, said = read_trials(path) if path.is_file() else (None, _describe(space, direction))
        turned = bool(said.get("lower_is_better")) != (direction == "min")
        fresh = _turn(frame) if turned else frame
        fresh = fresh.assign(**{SOURCE: source, ADDED_AT: datetime.now(UTC).isoformat(timespec="seconds")})
        if known is not None and "space" in said:
            old = SearchSpace.from_json(said["space"])
            same, others = _compare(old, space)
            known = _join(known, fresh.drop(columns=others, errors="ignore"))
            said = {**said, "space": _widen(old, same, known).to_json()}
        else:
            known = fresh if known is None else _join(known, fresh)
        write_atomically(path, lambda temporary: write_parquet(temporary, known, said))


def _describe(space: SearchSpace, direction: Direction) -> dict[str, Any]:
    return {"space": space.to_json(), "lower_is_better": direction == "min", "notes": []}


def _turn(frame: pd.DataFrame) -> pd.DataFrame:
    """Return trials in the units of a history whose direction is the other one."""
    numbers = {name: -frame[name] for name in ("performance", "test_performance") if name in frame}
    curves = (
        {"learning_curve": frame["learning_curve"].map(lambda c: -np.asarray(c))} if "learning_curve" in frame else {}
    )
    return frame.assign(**numbers, **curves)


def _compare(old: SearchSpace, new: SearchSpace) -> tuple[list[Hyperparameter], list[str]]:
    """Return the hyperparameters that go together, and the columns of those that are another thing of the same name."""
    known = {hp.name: is_of_numbers(hp) for hp in old.hyperparameters}
    same = [hp for hp in new.hyperparameters if known.get(hp.name, is_of_numbers(hp)) == is_of_numbers(hp)]
    return same, [HP_PREFIX + hp.name for hp in new.hyperparameters if hp not in same]


def _join(known: pd.DataFrame, fresh: pd.DataFrame) -> pd.DataFrame:
    names = known["learner"].dropna().unique().tolist() if "learner" in known else []
    if len(names) == 1:  # a history is of one learner, whatever its script was called when
        fresh = fresh.assign(learner=names[0])
    for name in [c for c in fresh.columns if str(c).startswith(HP_PREFIX) and c in known]:
        # A file of `History.write` has choices as text, even where all are numbers.
        if is_numeric_dtype(known[name]) != is_numeric_dtype(fresh[name]):
            known, fresh = known.assign(**{name: _as_text(known[name])}), fresh.assign(**{name: _as_text(fresh[name])})
    of_task = known.loc[known["task_id"].astype(str).isin(fresh["task_id"].astype(str))]
    known = known.drop(index=of_task.index[_identify(of_task).isin(set(_identify(fresh)))])
    columns = list(dict.fromkeys([*known.columns, *fresh.columns]))
    parts = [part.dropna(axis="columns", how="all") for part in (known, fresh) if len(part)]
    return pd.concat(parts, ignore_index=True).reindex(columns=columns)


def _identify(frame: pd.DataFrame) -> "pd.Series[Any]":
    """Return what tells a trial from others: task, source and configuration."""
    sources = frame[SOURCE].tolist() if SOURCE in frame else [None] * len(frame)
    columns = sorted(str(c) for c in frame.columns if str(c).startswith(HP_PREFIX))
    cells = frame[columns].to_dict("records")
    tried = [tuple((name, value) for name, value in row.items() if not pd.isna(value)) for row in cells]
    keys = list(zip(frame["task_id"].astype(str), sources, tried, strict=True))
    return pd.Series(keys, frame.index, dtype=object)


def _as_text(column: "pd.Series[Any]") -> "pd.Series[Any]":
    if not is_numeric_dtype(column):
        return column
    return column.map(lambda v: None if pd.isna(v) else write_choice(int(v) if float(v).is_integer() else float(v)))


def _widen(old: SearchSpace, new: Sequence[Hyperparameter], trials: pd.DataFrame) -> SearchSpace:
    """Return the space of both; what some trials lack for no reason that the space tells is optional."""
    joined = with_parents(united([old.hyperparameters, new]))
    columns = {hp.name: trials.get(HP_PREFIX + hp.name) for hp in joined}
    lacking = {name for name, column in columns.items() if column is None or column.isna().any()}
    return SearchSpace(tuple(replace(hp, optional=hp.condition is None and hp.name in lacking) for hp in joined))
