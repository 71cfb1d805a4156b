"""Read new rows like the training rows were read: same columns, same types, whatever the file now looks like.

The one thing to know: the training rows decide the type of a column; a value that does not fit becomes missing.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd
from pandas.api import types

from metaflow_hpo.errors import InvalidTableError, listed
from metaflow_hpo.modalities.table.columns import as_text, clean_column
from metaflow_hpo.modalities.table.written_numbers import NumberStyle


def conform_rows(
    frame: pd.DataFrame,
    names: Sequence[str],
    numeric: Collection[str],
    styles: Mapping[str, NumberStyle] | None = None,
) -> pd.DataFrame:
    """Return the columns a trained network needs, cleaned like those of its training rows.

    Args:
        frame: `(n, columns)`, any dtypes; columns that are not needed are left out.
        names: Columns of the training rows, in order.
        numeric: Those of them that hold numbers; the others hold text.
        styles: How the numbers of a column were written in the training rows, where that was for people.

    Returns:
        `(n, columns)`, float64 or pandas `str`, NaN = missing, with a fresh index.

    Raises:
        InvalidTableError: A column is missing, or there is no row.
    """
    plain = frame.set_axis([str(name).strip() for name in frame.columns], axis="columns").reset_index(drop=True)
    missing = [name for name in names if name not in plain.columns]
    if missing or plain.empty:
        raise InvalidTableError(
            f"Expected rows with the {len(names)} columns of the training rows; found {len(plain)} rows, "
            f"missing columns: {listed(missing)}. Give the columns as in the table that was trained on."
        )
    written = styles or {}
    return pd.DataFrame({name: _conform(plain[name], name in numeric, written.get(name)) for name in names})


def _conform(column: pd.Series, is_numeric: bool, style: NumberStyle | None) -> pd.Series:
    if not is_numeric and types.infer_dtype(column, skipna=True) == "string":
        text = column.astype("str").str.strip()
        return text.mask(text == "")  # `007` is a category even where no other row shows that it is no number
    if style is not None and not types.is_numeric_dtype(column.dtype):
        column = _read_written(column, style)
    cleaned = clean_column(column, finds_styles=False).column
    found_numeric = types.is_float_dtype(cleaned.dtype)
    if is_numeric and not found_numeric:
        return pd.to_numeric(cleaned, errors="coerce").astype("float64").replace([np.inf, -np.inf], np.nan)
    if not is_numeric and found_numeric:
        text = cleaned.map(as_text, na_action="ignore").astype(object).where(cleaned.notna(), None)
        return pd.Series(text, dtype="str")
    return cleaned


def _read_written(column: pd.Series, style: NumberStyle) -> pd.Series:
    """Read what is text in the style of the training rows; a number is one already."""
    values = column.astype(object)
    is_text = values.map(lambda value: isinstance(value, str)).to_numpy(dtype=bool)
    numbers = pd.to_numeric(values.mask(is_text), errors="coerce").to_numpy(dtype="float64", copy=True)
    numbers[is_text] = style.read(values[is_text])
    return pd.Series(numbers, name=column.name)
