"""Columns of text are pandas 3's `str` under pandas 2 too, where `astype("str")` writes "nan" for a missing value."""

from typing import Any

import numpy as np
import pandas as pd
from pandas.api import types

_HAS_STR = tuple(map(int, pd.__version__.split(".")[:2])) >= (2, 3)
STR: pd.StringDtype = (
    pd.StringDtype(na_value=np.nan) if _HAS_STR else pd.StringDtype("pyarrow_numpy")  # type: ignore[call-overload]
)
"""The dtype that pandas 3 calls `str`: text, NaN where it is missing."""


def is_text(column: "pd.Series[Any]") -> bool:
    """Tell whether a column has the dtype of text."""
    return column.dtype in ("str", STR)


def with_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return what was read from a file with the columns of text that pandas 3 finds there."""
    dtypes = [
        STR if types.is_object_dtype(dtype) and types.infer_dtype(table.iloc[:, i], skipna=True) == "string" else dtype
        for i, dtype in enumerate(table.dtypes)
    ]
    if STR not in dtypes:
        return table
    columns = [table.iloc[:, i].astype(dtype) for i, dtype in enumerate(dtypes)]
    read = pd.concat(columns, axis="columns").set_axis(table.columns, axis="columns")
    read.attrs = table.attrs
    return read
