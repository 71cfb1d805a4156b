"""The search space behind a history: types, ranges, scales and conditions read off its `hp_*` columns.

A missing cell means "not used". Where that follows from one categorical column it becomes a condition; where nothing
explains it (the hyperparameter was not recorded, say) the hyperparameter is optional.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.space import Array, Categorical, Condition, Float, Hyperparameter, Integer, SearchSpace
from metaflow_hpo.tables import HP_PREFIX

MIN_LOG_RATIO = 8.0
"""Largest over smallest value from which a scale may be logarithmic; METHODS' batch sizes and widths span 16 to 32."""


def infer_space(frame: pd.DataFrame) -> SearchSpace:
    """Return the search space of a table of trials.

    Args:
        frame: One line a trial; only columns that start with `hp_` are read. Columns with one value are left out,
            unless it is a text that some trials of a task (`task_id`) lack.

    Returns:
        Numbers that are all whole become integers, other numbers floats, the rest categorical. A scale is logarithmic
        where all values are positive, span a factor of 8 and are spread more evenly over the logarithm.
        The default is the middle of each range, or the most frequent choice.

    Raises:
        InvalidTableError: If no column varies, or a value is infinite.
    """
    columns = sorted(str(c) for c in frame.columns if str(c).startswith(HP_PREFIX))
    varying = [c for c in columns if len(frame[c].dropna().unique()) > 1]
    one_or_none = [c for c in columns if c not in varying and _is_one_or_none(frame, c)]
    if not varying and not one_or_none:
        raise InvalidTableError(
            f"Expected hyperparameters that vary, in columns named {HP_PREFIX}<name>; found "
            f"{columns[:10] or 'no such column'}. Rename the columns, or add trials of other configurations."
        )
    # A configuration counts once, however many tasks tried it.
    frame = frame[[*varying, *one_or_none]].drop_duplicates()
    missing = {c: int(frame[c].isna().sum()) for c in varying}
    space: list[Hyperparameter] = []
    # Parents are complete where their children are not: fewest gaps first, names break ties.
    for column in sorted(varying, key=lambda c: (missing[c], c)):
        condition = _find_condition(frame, column, space) if missing[column] else None
        is_optional = missing[column] > 0 and condition is None
        space.append(_infer(column.removeprefix(HP_PREFIX), frame[column].dropna(), condition, is_optional))
    for column in one_or_none:
        if _find_condition(frame, column, space) is None:
            value = str(frame[column].dropna().iloc[0])
            space.append(Categorical(column.removeprefix(HP_PREFIX), (value, None), value))
    return SearchSpace(tuple(space))


def _is_one_or_none(frame: pd.DataFrame, column: str) -> bool:
    """Tell whether trials of one task have a text or have none: None is a choice then, written as an empty cell."""
    if frame[column].isna().all() or is_numeric_dtype(frame[column]) or "task_id" not in frame:
        return False
    return bool(frame[column].isna().groupby(frame["task_id"]).nunique().max() > 1)


def _find_condition(frame: pd.DataFrame, column: str, parents: Sequence[Hyperparameter]) -> Condition | None:
    active = frame[column].notna()
    for parent in parents:
        if not isinstance(parent, Categorical):
            continue
        values = _as_text(frame[HP_PREFIX + parent.name])
        on, off = set(values[active].dropna()), set(values[~active].dropna())
        if on and not on & off and not (active & values.isna()).any():
            return Condition(parent.name, tuple(sorted(on)))
    return None


def _as_text(values: pd.Series) -> pd.Series:
    return values.where(values.isna(), values.astype(str))


def _infer(name: str, values: pd.Series, condition: Condition | None, optional: bool) -> Hyperparameter:
    if is_bool_dtype(values) or not is_numeric_dtype(values):
        counts = values.astype(str).value_counts()
        choices = tuple(sorted(map(str, counts.index)))
        return Categorical(name, choices, max(choices, key=lambda c: (counts[c], c)), condition, optional)
    numbers = np.sort(values.to_numpy(dtype=np.float64))
    if not np.isfinite(numbers).all():
        raise InvalidTableError(
            f"{HP_PREFIX}{name} holds infinite values; expected finite numbers. Correct these trials."
        )
    low, high = float(numbers[0]), float(numbers[-1])
    log = is_log_scale(numbers)
    middle = float(np.sqrt(low * high)) if log else 0.5 * (low + high)
    if (numbers == np.round(numbers)).all():
        return Integer(name, int(low), int(high), int(min(max(round(middle), low), high)), log, condition, optional)
    return Float(name, low, high, min(max(middle, low), high), log, condition, optional)


def is_log_scale(values: Array) -> bool:
    """Tell whether sorted values `(V,)` are spread more evenly over their logarithm than over themselves."""
    low, high = values[0], values[-1]
    if low <= 0 or high / low < MIN_LOG_RATIO:
        return False
    return _unevenness(np.log(values)) < _unevenness(values)


def _unevenness(values: Array) -> float:
    """Largest gap between the distribution of sorted values and the uniform one over their range."""
    share = (np.arange(len(values)) + 0.5) / len(values)
    return float(np.abs((values - values[0]) / (values[-1] - values[0]) - share).max())
