"""Scores of trials that were written for people: `85%`, `0,85`, `0.85 ± 0.02`."""

import re

import numpy as np
import pandas as pd

from metaflow_hpo.errors import InvalidTableError, listed
from metaflow_hpo.modalities.table.written_numbers import find_style

_SPREAD = re.compile(r"(?P<mean>.*\d\s*%?)\s*(?:(?:±|\+/-|\+-)\s*\d[\d.,]*\s*%?|\(\s*(?:±\s*)?\d[\d.,]*\s*%?\s*\))\s*")
"""A mean with its spread behind it."""
_BEGINS = re.compile(r"[+-]?\s*[.,]?\d")


def read_scores(column: pd.Series) -> tuple[pd.Series, str]:
    """Read scores as tables of tasks read numbers, all of a column in one way.

    A spread behind a mean is left out, and a percentage is as many hundredths: the scores of this package are shares.

    Args:
        column: Scores as they stand in a table; words such as `failed` are left to whoever knows them.

    Returns:
        The column, and what was done, a sentence; nothing where programs read it as it is.

    Raises:
        InvalidTableError: Some begin like numbers and cannot be read.
    """
    texts = [value.strip() for value in column if isinstance(value, str) and _begins(value.strip())]
    if pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").notna().all():
        return column, ""
    cells = column.dropna().map(lambda value: str(value).strip())
    cells = cells[cells.map(_begins)]
    means = cells.map(_without_spread)
    counts = means.value_counts()
    numbers = pd.to_numeric(means, errors="coerce")
    if numbers.isna().any():
        style = find_style(list(counts.index), counts.to_numpy().astype(np.int64), 1.0, decimal_comma=True)
        if style.style is not None:
            numbers = pd.Series(style.style.read(means), means.index) / (100 if style.style.percent else 1)
        if numbers.isna().any():
            odd = listed(list(dict.fromkeys(cells[numbers.isna()])), 3)
            because = f"; {style.doubt}" if style.doubt else ""
            raise InvalidTableError(f"Expected numbers in {column.name!r}; found {odd}{because}. Write plain numbers.")
    read = column.astype(object)
    read[numbers.index] = numbers.astype(object)
    note = f"Read {column.name!r} as numbers that were written for people ({cells.iloc[0]!r} is {numbers.iloc[0]:.6g})."
    plain = pd.to_numeric(read, errors="coerce")
    return plain if plain.notna().sum() == read.notna().sum() else read, note


def _begins(text: str) -> bool:
    return _BEGINS.match(text) is not None


def _without_spread(text: str) -> str:
    found = _SPREAD.fullmatch(text)
    if found is None:
        return text
    mean = found["mean"].strip()
    return mean if mean.endswith("%") or "%" not in text else f"{mean}%"
