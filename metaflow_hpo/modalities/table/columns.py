"""Clean feature columns: every column becomes float64 or plain strings, or is dropped with a sentence that says why.

Nothing here may depend on the order of the rows; a shuffled file must give the same columns.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.table.styles import Style
from metaflow_hpo.modalities.table.written_dates import ISO, DateStyle, find_date_style, find_dates_in_numbers, say_day
from metaflow_hpo.modalities.table.written_numbers import NumberStyle, find_style
from metaflow_hpo.text_columns import STR, is_text

MIN_PARSED_FRACTION = 0.95
"""Text counts as numbers (or dates) when at least this fraction of the present values parse."""
IDENTIFIER_MIN_ROWS = 50
_ISO_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?")
TRUTH = dict.fromkeys(("True", "TRUE", "true"), True) | dict.fromkeys(("False", "FALSE", "false"), False)
"""Texts that pandas reads as truth values in a csv."""
_NO_NAME = re.compile(r"(unnamed: ?\d+|)", re.IGNORECASE)
_INDEX_NAME = re.compile(r"(rownames?|row_?id|index|id|no)", re.IGNORECASE)
_ID_NAME = re.compile(
    r"(?i:(row|record|obs|case|sample|customer|client|user|person|patient|passenger|product|order|item|member|account)?"
    r"[ _.-]?(id|ids|key|nr|num|number|index)|row|rownames?|nummer|lfd[ _.-]*nr\.?|uu?id|guid|pk)|"
    r".*[a-z]I[dD]|.*[ _.-](id|ID|Id|key)"
)
"""What columns are called that number the rows; case counts in the ends of names, as in `Grid` and `gridId`."""
_SENTINELS = frozenset(float(digit * repeats) for digit in "89" for repeats in range(2, 8))
_HUGE = 1e30
_MAX_MARKS = 3
_MISSING_HASH = np.uint64(0x9E3779B97F4A7C15)
_EPOCH = pd.Timestamp("1970-01-01", tz="UTC")
_DAY = pd.Timedelta(days=1)


class Cleaned(NamedTuple):
    """A cleaned column.

    Attributes:
        column: `(N,)` float64 or pandas `str`.
        note: A sentence that says what was changed; empty if nothing worth saying was.
        style: How its numbers or dates were written, where that is not how programs write them.
        doubt: Why it is text although it looks like numbers or dates, a clause; empty otherwise.
    """

    column: pd.Series
    note: str = ""
    style: Style | None = None
    doubt: str = ""


def as_text(value: object) -> str:
    """Return a value as stripped text; whole numbers lose their `.0`, so that 1 and 1.0 are the same category."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


def clean_columns(
    features: pd.DataFrame, *, decimal_comma: bool = False, is_curated: bool = False
) -> tuple[pd.DataFrame, tuple[str, ...], dict[str, Style]]:
    """Make every column numeric or text, and drop those that say nothing.

    Dropped are columns without values, constant columns, copies of an earlier column, row numbers and text columns in
    which every value is different.

    Args:
        features: `(N, columns)`, unique column names, any dtypes.
        decimal_comma: Whether commas in numbers are decimal where nothing else tells, see `find_style`.
        is_curated: Whether the columns were chosen by hand: then ids stay, and text is not looked through for dates.

    Returns:
        The cleaned columns (float64, or pandas `str`; NaN = missing) with a fresh index; one sentence a change, or
        about what looks wrong; and the style of the columns whose numbers or dates were written for people.

    Raises:
        InvalidTaskError: No column is left.
    """
    notes: list[str] = []
    dropped: dict[str, list[str]] = {}
    kept: dict[str, pd.Series] = {}
    seen: set[bytes] = set()
    styles: dict[str, Style] = {}
    for name in features.columns:
        column, note, style, doubt = clean_column(
            features[name].reset_index(drop=True), decimal_comma=decimal_comma, finds_dates=not is_curated
        )
        notes += [note] if note else []
        reason = _reason_to_drop(str(name), column, doubt, keeps_ids=is_curated)
        digest = hashlib.sha256(hash_column(column).tobytes()).digest()
        if not reason and digest in seen:
            reason = "copies of another column"
        if reason:
            dropped.setdefault(reason, []).append(str(name))
            continue
        seen.add(digest)
        kept[str(name)] = column
        if style is not None:
            styles[str(name)] = style
        if types.is_float_dtype(column.dtype) and (strange := describe_extremes(column)):
            notes.append(f"Column {str(name)!r}: {strange}.")
    notes += [f"Dropped {reason}: {listed(names)}." for reason, names in dropped.items()]
    if not kept:
        raise InvalidTaskError(
            f"Expected at least one usable feature column; found none of {len(features.columns)} "
            f"({' '.join(notes) or 'there is only the target'}). Add columns that vary from row to row."
        )
    return pd.DataFrame(kept), tuple(notes), styles


def clean_column(  # noqa: PLR0911 - one line a dtype
    column: pd.Series, *, decimal_comma: bool = False, finds_dates: bool = True
) -> Cleaned:
    """Turn one column into float64 or pandas `str`.

    Args:
        column: `(N,)`, any dtype.
        decimal_comma: As in `clean_columns`.
        finds_dates: Whether dates are looked for that programs do not write: 14.03.2021, 20210314.
    """
    name, dtype = str(column.name), column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return Cleaned(_categories(column))
    if types.is_datetime64_any_dtype(dtype) or isinstance(dtype, pd.PeriodDtype):
        return Cleaned(_days(column), f"Column {name!r}: dates became days since 1970-01-01.", ISO)
    if types.is_timedelta64_dtype(dtype):
        days = pd.Series(column.dt.total_seconds() / 86400.0, dtype="float64")
        return Cleaned(days, f"Column {name!r}: durations became days.")
    if types.is_complex_dtype(dtype):
        return Cleaned(pd.Series(np.nan, index=column.index), f"Column {name!r}: complex numbers became missing.")
    if types.is_numeric_dtype(dtype) or types.is_bool_dtype(dtype):
        return _numbers_or_dates(column.astype("float64"), name, finds_dates=finds_dates)
    content = types.infer_dtype(column, skipna=True)
    if content in {"boolean", "integer", "floating", "mixed-integer-float", "decimal"}:
        numbers = pd.to_numeric(column.astype(object).where(column.notna(), np.nan)).astype("float64")
        return _numbers_or_dates(numbers, name, finds_dates=finds_dates)
    if content in {"date", "datetime", "datetime64"}:
        return Cleaned(_days(column), f"Column {name!r}: dates became days since 1970-01-01.", ISO)
    return _text(column, name, content, decimal_comma=decimal_comma, finds_dates=finds_dates)


def hash_column(column: pd.Series) -> NDArray[np.uint64]:
    """Return a stable 64-bit hash of every value of a cleaned column, `(N,)`; it does not depend on other rows."""
    if types.is_float_dtype(column.dtype):
        values = column.to_numpy(dtype="float64", copy=True)
        values[np.isnan(values)] = np.nan  # one bit pattern for all kinds of NaN
        return pd.util.hash_array(values + 0.0)  # and one for both zeros
    codes, categories = pd.factorize(column)
    hashes = pd.util.hash_array(np.asarray(categories, dtype=object), categorize=False)
    return np.append(hashes, _MISSING_HASH)[codes]


def _numbers(values: NDArray[np.float64] | pd.Series, name: str) -> Cleaned:
    numbers = pd.Series(np.array(values, dtype="float64"), name=name)
    infinite = np.isinf(numbers)
    if not infinite.any():
        return Cleaned(numbers)
    return Cleaned(numbers.mask(infinite), f"Column {name!r}: {int(infinite.sum())} infinite values became missing.")


def _numbers_or_dates(values: pd.Series, name: str, *, finds_dates: bool) -> Cleaned:
    cleaned = _numbers(values, name)
    style = find_dates_in_numbers(cleaned.column.to_numpy()) if finds_dates else None
    if style is None:
        return cleaned
    days = style.read_numbers(cleaned.column.to_numpy())
    first = int(np.nanargmin(days))
    example = f"{cleaned.column.iloc[first]:.0f} is {say_day(days[first])}"
    return Cleaned(
        pd.Series(days, name=name), f"Column {name!r}: dates became days since 1970-01-01 ({example}).", style
    )


def _days(column: pd.Series) -> pd.Series:
    """Return days since 1970-01-01 (UTC), as float64."""
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    moments = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601" if is_text(column) else None)
    return pd.Series((moments - _EPOCH) / _DAY, dtype="float64", name=column.name)


def _categories(column: pd.Series) -> pd.Series:
    names = np.array([as_text(value) for value in column.cat.categories] + [None], dtype=object)
    return _blank_to_missing(pd.Series(names[column.cat.codes.to_numpy()], name=column.name, dtype=STR))


def _blank_to_missing(text: pd.Series) -> pd.Series:
    blank = text == ""
    return text.mask(blank) if blank.any() else text


def _text(  # noqa: PLR0911 - one line an outcome
    column: pd.Series, name: str, content: str, *, decimal_comma: bool, finds_dates: bool
) -> Cleaned:
    """Turn text, or values of several types, into numbers, days or strings."""
    if content == "string":
        text = column.astype(STR).str.strip()
    else:  # 1, 1.0 and True are equal, so that their text must be made before they are compared
        values = column.astype(object)
        _check_flat(values)
        text = pd.Series(values.map(as_text, na_action="ignore").where(values.notna(), None), name=name, dtype=STR)
    text = _blank_to_missing(text)
    codes, categories = pd.factorize(text)
    counts = np.bincount(codes[codes >= 0], minlength=len(categories))
    if not counts.sum():
        return Cleaned(pd.Series(np.nan, index=text.index, name=name))
    numbers = pd.to_numeric(pd.Series(np.asarray(categories, dtype=object)), errors="coerce").to_numpy(dtype="float64")
    truths = np.array([TRUTH.get(category, np.nan) for category in categories], dtype="float64")
    if not np.isnan(truths).any():
        return Cleaned(pd.Series(np.append(truths, np.nan)[codes], name=name))
    unparsed, doubt, style = np.isnan(numbers), "", None
    if unparsed.any():
        (style, doubt), read = _as_written(list(categories), counts, decimal_comma=decimal_comma)
        if style is not None and counts[~np.isnan(read)].sum() > counts[~unparsed].sum():
            numbers, unparsed = read, np.isnan(read)
        else:
            style = None
    if counts[~unparsed].sum() >= MIN_PARSED_FRACTION * counts.sum():
        cleaned, note, written, _ = _numbers_or_dates(
            pd.Series(np.append(numbers, np.nan)[codes]), name, finds_dates=finds_dates and style is None
        )
        how = "" if style is None else describe_style(categories, numbers)
        unread = _say_unread(categories, unparsed, counts)
        said = f"Column {name!r}: read as numbers{how}{unread}." if how or unread else ""
        return Cleaned(cleaned, " ".join(filter(None, [said, note])), style or written)
    dates = np.array([bool(_ISO_DATE.fullmatch(category)) for category in categories])
    if counts[dates].sum() >= MIN_PARSED_FRACTION * counts.sum():
        return Cleaned(_days(text), f"Column {name!r}: dates became days since 1970-01-01.", ISO)
    if finds_dates:
        dated, date_doubt = find_date_style(list(categories), counts, MIN_PARSED_FRACTION)
        if dated is not None:
            return _dates(dated, list(categories), counts, codes, name)
        doubt = doubt or (f"{date_doubt}: write dates as 2021-03-14" if date_doubt else "")
    mixed = content != "string" and len({type(value) for value in column.dropna()}) > 1
    if doubt:
        what = "dates" if "write dates" in doubt else "numbers"
        return Cleaned(text, f"Column {name!r}: left as text although it looks like {what}: {doubt}.", None, doubt)
    return Cleaned(text, f"Column {name!r}: values of several types became text." if mixed else "")


def _check_flat(column: pd.Series) -> None:
    for value in column.dropna():
        if isinstance(value, list | tuple | dict | set | bytes | np.ndarray):
            raise InvalidTaskError(
                f"Expected numbers, text, truth values or dates; the column {str(column.name)!r} holds values of the "
                f"type {type(value).__name__}. Give each of their parts a column of its own, or leave it out."
            )


def _dates(
    style: DateStyle, categories: list[str], counts: NDArray[np.int64], codes: NDArray[np.int64], name: str
) -> Cleaned:
    days = style.read(categories)
    unread = _say_unread(categories, np.isnan(days), counts)
    first = min(np.flatnonzero(~np.isnan(days)), key=lambda position: categories[position])
    example = f"{categories[first]!r} is {say_day(days[first])}"
    note = f"Column {name!r}: dates became days since 1970-01-01 ({example}){unread}."
    return Cleaned(pd.Series(np.append(days, np.nan)[codes], name=name), note, style)


def _say_unread(categories: Iterable[str], unread: NDArray[np.bool_], counts: NDArray[np.int64]) -> str:
    examples = sorted(str(category) for category in np.asarray(categories, dtype=object)[unread])
    return f"; {int(counts[unread].sum())} values that are none became missing ({listed(examples)})" if examples else ""


def _as_written(
    categories: list[str], counts: NDArray[np.int64], *, decimal_comma: bool
) -> tuple[tuple[NumberStyle | None, str], NDArray[np.float64]]:
    """Return the style of different texts and why there is none, and the numbers, NaN where there is none."""
    found = find_style(categories, counts, MIN_PARSED_FRACTION, decimal_comma=decimal_comma)
    values = np.full(len(categories), np.nan) if found.style is None else found.style.read(categories)
    return (found.style, found.doubt), values


def describe_style(texts: Iterable[str], numbers: NDArray[np.float64]) -> str:
    """Return how numbers are written, by the longest example, as a clause that follows "numbers"."""
    read = [(str(text), number) for text, number in zip(texts, numbers.tolist(), strict=True) if not np.isnan(number)]
    text, number = max(read, key=lambda pair: (len(pair[0]), pair[0]))
    return f" that were written for people ({text!r} is {number:.10g})"


def describe_extremes(column: pd.Series) -> str:
    """Return what looks like a mark of missing values among numbers, a clause; empty where nothing does.

    Args:
        column: `(N,)` float64, NaN = missing.
    """
    values = column.to_numpy()
    values = values[~np.isnan(values)]
    found: list[str] = []
    for _ in range(_MAX_MARKS):
        if len(values) < IDENTIFIER_MIN_ROWS // 2:
            break
        ends = (float(values.min()), float(values.max()))
        strange = [end for end in ends if _is_strange(end, values)]
        if not strange:
            break
        found += [f"{end:.10g} ({int((values == end).sum())} rows)" for end in strange]
        values = values[~np.isin(values, strange)]
    if not found:
        return ""
    others = f"{values.min():.6g} to {values.max():.6g}" if len(values) else "none"
    return f"{' and '.join(found)} lies far from the other values ({others}); if it stands for a missing one, empty it"


def _is_strange(end: float, values: NDArray[np.float64]) -> bool:
    """Tell whether the lowest or highest value is what programs write for none: -999, 99999, the largest float."""
    others = values[values != end]
    if not len(others) or not (abs(end) in _SENTINELS or abs(end) >= _HUGE):
        return False
    low, high = float(others.min()), float(others.max())
    gap = low - end if end < low else end - high
    if abs(end) >= _HUGE:
        return bool(abs(end) > 1e6 * float(np.median(np.abs(others))))
    return gap > high - low


def _reason_to_drop(name: str, column: pd.Series, doubt: str, *, keeps_ids: bool) -> str:
    distinct, present, rows = column.nunique(), int(column.notna().sum()), len(column)
    if not present:
        return "columns without values"
    if distinct == 1 and present == rows:
        return "constant columns"
    is_unnamed = _NO_NAME.fullmatch(name) is not None
    if types.is_float_dtype(column.dtype):
        is_whole = distinct == rows and bool((column == column.round()).all())
        return _reason_to_drop_numbers(name, column, is_unnamed, keeps_ids=keeps_ids) if is_whole else ""
    if is_unnamed and distinct == rows and not keeps_ids:
        return "names of rows (every value different)"
    if distinct == present > IDENTIFIER_MIN_ROWS:
        return "text that looks like dates or numbers" if doubt else "identifiers (text, every value different)"
    return ""


def _reason_to_drop_numbers(name: str, column: pd.Series, is_unnamed: bool, *, keeps_ids: bool) -> str:
    """Return why different whole numbers are dropped, by the name of their column."""
    is_counted = column.max() == column.min() + len(column) - 1
    if is_unnamed and not keeps_ids:
        return "the index of a saved table"
    if is_counted and (is_unnamed or _INDEX_NAME.fullmatch(name)):
        return "row numbers"
    if keeps_ids or not _ID_NAME.fullmatch(name):
        return ""
    return "row numbers" if is_counted else "identifiers (whole numbers, all different)"
