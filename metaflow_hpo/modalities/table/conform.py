"""Read new rows like the training rows were read, whatever the file now looks like, and say where that failed.

The training rows decide the type of a column. A value that cannot be read that way is read as a new table would be, and
said; what cannot be read at all is missing, and said; a column of which nothing can be read is an error.
"""

import datetime as dt
import difflib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from metaflow_hpo.errors import InvalidTableError, listed
from metaflow_hpo.modalities.table.columns import TRUTH, Cleaned, as_text, clean_column
from metaflow_hpo.modalities.table.files.marks import MISSING
from metaflow_hpo.modalities.table.styles import Style
from metaflow_hpo.modalities.table.written_dates import DateStyle, find_dates_in_numbers
from metaflow_hpo.modalities.table.written_numbers import NumberStyle, is_currency
from metaflow_hpo.text_columns import STR, is_text

_YES, _NO = (
    frozenset(words.split())
    for words in (
        "true t yes y on 1 ja j wahr oui o vrai si sí s sì verdadero vero sim verdadeiro waar tak prawda ano да истина",
        "false f no n off 0 nein falsch non faux falso não nee onwaar nie fałsz ne нет ложь",
    )
)
_NUMBERS = frozenset(("integer", "floating", "mixed-integer-float", "decimal", "boolean", "empty"))
_MOMENTS = frozenset(("date", "datetime", "datetime64", "time", "timedelta", "timedelta64"))


@dataclass(frozen=True)
class TrainingColumn:
    """What the training rows say of a column.

    Attributes:
        name: What it is called.
        is_numeric: Whether it holds numbers; text otherwise.
        style: How its numbers or dates were written, where that was for people.
        is_truth: Whether its numbers are 0 and 1 only.
        categories: All its categories; None where that is not known.
    """

    name: str
    is_numeric: bool
    style: Style | None = None
    is_truth: bool = False
    categories: Collection[str] | None = None


class Conformed(NamedTuple):
    """New rows as the training rows were.

    Attributes:
        features: `(n, columns)`, float64 or pandas `str`, NaN = missing, with a fresh index.
        notes: What was read in another way than in the training rows, or not at all, one sentence each.
    """

    features: pd.DataFrame
    notes: tuple[str, ...]


def conform_rows(frame: pd.DataFrame, columns: Sequence[TrainingColumn], *, decimal_comma: bool = False) -> Conformed:
    """Return the columns a trained network needs, cleaned like those of its training rows.

    Args:
        frame: `(n, columns)`, any dtypes; columns that are not needed are left out.
        columns: Columns of the training rows, in order.
        decimal_comma: As in `find_style`, for columns that are written in another way than in the training rows.

    Raises:
        InvalidTableError: A column is missing or there twice, nothing in it can be read, or there is no row.
    """
    plain = frame.set_axis([str(name).strip() for name in frame.columns], axis="columns").reset_index(drop=True)
    _check_names(plain, [column.name for column in columns])
    features, notes = {}, []
    for column in columns:
        values = plain[column.name]
        if column.is_numeric:
            features[column.name], note = _read_numbers(values, column, decimal_comma=decimal_comma)
            note = "; ".join(filter(None, [note, _say_no_truth(features[column.name], column)]))
        else:
            features[column.name], note = _read_categories(values, column)
        notes += [f"Column {column.name!r}: {note}."] if note else []
    return Conformed(pd.DataFrame(features), tuple(notes))


def _check_names(frame: pd.DataFrame, names: Sequence[str]) -> None:
    counts = Counter(frame.columns)
    repeated = [name for name in names if counts[name] > 1]
    if repeated:
        raise InvalidTableError(
            f"Expected each column once; found {listed(repeated)} more than once. Rename or remove the repeats."
        )
    missing = [name for name in names if name not in counts]
    if missing or frame.empty:
        raise InvalidTableError(
            f"Expected rows with the {len(names)} columns of the training rows; found {len(frame)} rows, "
            f"missing columns: {listed(missing)}.{_suggest(missing, set(counts) - set(names))} "
            "Give the columns as in the table that was trained on."
        )


def _suggest(missing: Sequence[str], others: Collection[str]) -> str:
    """Say which of the other columns may be a missing one under another name."""
    plain = {name.casefold().replace(" ", "_"): name for name in sorted(others)}
    found = []
    for name in missing:
        key = name.casefold().replace(" ", "_")
        close = [key] if key in plain else difflib.get_close_matches(key, plain, n=1, cutoff=0.7)
        found += [f"{plain[close[0]]!r} to {name!r}" for _ in close[:1]]
    return f" Rename {', '.join(found[:5])}?" if found else ""


def _read_numbers(values: pd.Series, column: TrainingColumn, *, decimal_comma: bool) -> tuple[pd.Series, str]:
    """Return float64, and what is to be said of it."""
    if types.is_numeric_dtype(values.dtype) or types.is_bool_dtype(values.dtype):
        return _read_typed(values.astype("float64"), column)
    content = types.infer_dtype(values, skipna=True)
    if types.is_datetime64_any_dtype(values.dtype) or content in _MOMENTS:
        return _read_moments(values, column)
    codes, texts, typed = _split(values, numbers_too=isinstance(column.style, DateStyle))
    if not len(texts):
        return _read_typed(typed, column)
    counts = np.bincount(codes[codes >= 0], minlength=len(texts))
    numbers = _read_in_style(texts, column)
    note = _say_percent(texts[~np.isnan(numbers)], column) or _say_truth(texts, numbers, column)
    unread = np.isnan(numbers)
    if unread.any():
        text = pd.Series(np.array([*texts, None], dtype=object)[codes], name=values.name, dtype=STR)
        other = clean_column(text, decimal_comma=decimal_comma)
        others = _read_like(other, texts, column)
        if counts[~np.isnan(others)].sum() > counts[~unread].sum():
            at = int(np.flatnonzero(~np.isnan(others) & unread)[0])
            rows = int(counts[~np.isnan(others)].sum())
            is_percent = isinstance(other.style, NumberStyle) and other.style.percent
            note = (
                f"{rows} values are written in another way than in the training rows: read {texts[at]!r} as "
                f"{others[at]:.10g}{_what(column.style or other.style)}{' percent' if is_percent else ''}"
            )
            numbers, unread = others, np.isnan(others)
    read = pd.Series(np.append(numbers, np.nan)[codes], name=values.name)
    read = read.where(read.notna(), typed)
    if unread.any():
        if not read.notna().any():
            raise _unreadable(column, texts, len(values))
        examples = listed([str(text) for text in texts[unread]], 3)
        said = f"{int(counts[unread].sum())} of {len(values)} values cannot be read and count as missing ({examples})"
        note = "; ".join(filter(None, [note, said]))
    return read, note


def _read_moments(values: pd.Series, column: TrainingColumn) -> tuple[pd.Series, str]:
    """Read dates, times of day and durations."""
    cleaned = clean_column(values)
    present = cleaned.column.dropna()
    example = str(values[present.index[0]]) if len(present) else ""
    if column.style is None and len(present):
        note = f"the training rows had numbers: read {example!r} as {present.iloc[0]:.10g}{_what(cleaned.style)}"
        return cleaned.column, note
    is_clock = isinstance(cleaned.style, DateStyle) and cleaned.style.is_clock
    if len(present) and not (isinstance(column.style, DateStyle) and column.style.is_clock == is_clock):
        raise _unreadable(column, [example], len(values))
    return cleaned.column, ""


def _read_typed(values: pd.Series, column: TrainingColumn) -> tuple[pd.Series, str]:
    """Read values that are numbers already."""
    numbers = values.to_numpy(dtype="float64", copy=True)
    infinite = np.isinf(numbers)
    numbers[infinite] = np.nan
    note = f"{int(infinite.sum())} infinite values count as missing" if infinite.any() else ""
    style = column.style
    if isinstance(style, DateStyle) and not np.isnan(numbers).all():
        found = find_dates_in_numbers(numbers)
        if found is None and style.order in {"digits", "milliseconds"}:
            found = style
        days = np.full(len(numbers), np.nan) if found is None else found.read_numbers(numbers)
        if np.isnan(days).all():
            raise _unreadable(column, [f"{numbers[~np.isnan(numbers)][0]:.10g}"], len(numbers), "dates")
        unread = int((np.isnan(days) & ~np.isnan(numbers)).sum())
        note = f"{unread} of {len(days)} values are no dates and count as missing" if unread else note
        numbers = days
    if isinstance(style, NumberStyle) and style.mark and not is_currency(style.mark) and not np.isnan(numbers).all():
        example = numbers[~np.isnan(numbers)][0]
        what, had = ("percent", "a percent sign") if style.percent else (style.mark, "that unit")
        note = f"read {example:.10g} as {example:.10g} {what}: the training rows had {had}"
    return pd.Series(numbers, name=values.name), note


def _split(values: pd.Series, *, numbers_too: bool) -> tuple[NDArray[np.int64], NDArray[np.object_], pd.Series]:
    """Return the codes and the different texts among values, -1 where there is none, and the numbers among them.

    Dates and times among text are as text; so are numbers among dates.
    """
    if is_text(values):
        text, typed = values, pd.Series(np.nan, index=values.index)
    else:
        moments: tuple[type, ...] = (str, dt.date, dt.time, dt.timedelta)
        if numbers_too and types.infer_dtype(values, skipna=True) not in _NUMBERS:
            moments += (int, float, np.number)
        is_str = values.map(lambda value: isinstance(value, moments)).to_numpy(dtype=bool) & values.notna().to_numpy()
        text = values.where(is_str, None).map(as_text, na_action="ignore")
        typed = pd.to_numeric(values.astype(object).mask(is_str), errors="coerce").astype("float64")
    text = text.astype(STR).str.strip()
    codes, texts = pd.factorize(text.mask(text.isin(MISSING)))
    return codes, np.asarray(texts, dtype=object), typed


def _read_in_style(texts: NDArray[np.object_], column: TrainingColumn) -> NDArray[np.float64]:
    if isinstance(column.style, DateStyle):
        if column.style.is_text:
            return column.style.read(texts)
        return column.style.read_numbers(_to_numbers(texts))
    numbers = column.style.read(texts) if column.style is not None else _to_numbers(texts)
    for position in np.flatnonzero(np.isnan(numbers)):
        text = texts[position]
        if column.is_truth and text.casefold() in _YES | _NO:
            numbers[position] = text.casefold() in _YES
        elif text in TRUTH:
            numbers[position] = TRUTH[text]
    return numbers


def _to_numbers(texts: NDArray[np.object_]) -> NDArray[np.float64]:
    numbers = pd.to_numeric(pd.Series(texts, dtype=STR), errors="coerce").to_numpy(dtype="float64", copy=True)
    numbers[np.isinf(numbers)] = np.nan
    return numbers


def _read_like(other: Cleaned, texts: NDArray[np.object_], column: TrainingColumn) -> NDArray[np.float64]:
    """Return the numbers of different texts as a new column would read them; NaN where these cannot stand for it."""
    style = other.style
    if isinstance(column.style, DateStyle) and not column.style.is_clock and style is None:
        return DateStyle("digits").read_numbers(_to_numbers(texts))
    if not _is_alike(style, column.style):
        return np.full(len(texts), np.nan)
    if isinstance(style, DateStyle) and style.is_text:
        return style.read(texts)
    if isinstance(style, NumberStyle):
        return style.read(texts)
    numbers = _to_numbers(texts)
    return numbers if types.is_float_dtype(other.column.dtype) else np.full(len(texts), np.nan)


def _is_alike(style: Style | None, known: Style | None) -> bool:
    """Tell whether values in one style can stand for those in another: grams are no kilograms, and times no dates."""
    if isinstance(style, NumberStyle) and isinstance(known, NumberStyle):
        return not known.mark or style.mark in {"", known.mark}
    if isinstance(known, DateStyle):
        return style == known or (isinstance(style, DateStyle) and not style.is_clock and not known.is_clock)
    return known is None or not isinstance(style, DateStyle)


def _what(style: Style | None) -> str:
    if not isinstance(style, DateStyle):
        return ""
    return " (a time, as days)" if style.is_clock else " (a date, as days since 1970-01-01)"


def _say_percent(texts: NDArray[np.object_], column: TrainingColumn) -> str:
    """Say that a percent sign or a unit is gone."""
    mark = column.style.mark if isinstance(column.style, NumberStyle) else ""
    bare = [text for text in texts if mark not in text and text.strip("0.,")]
    if not mark or is_currency(mark) or not bare:
        return ""
    if mark == "%":
        return f"read {bare[0]!r} as a percentage: the training rows had a percent sign"
    return f"read {bare[0]!r} as {mark}: the training rows had that unit"


def _say_no_truth(numbers: pd.Series, column: TrainingColumn) -> str:
    """Say that there are numbers where training saw truth values: 1 and 2 may be no and yes."""
    if not column.is_truth or column.style is not None:
        return ""
    others = numbers[numbers.notna() & ~numbers.isin((0.0, 1.0))]
    if others.empty:
        return ""
    shown = listed([f"{number:.10g}" for number in others.unique()], 3)
    return f"{len(others)} of {len(numbers)} values are neither 0 nor 1, as all in the training rows ({shown})"


def _say_truth(texts: NDArray[np.object_], numbers: NDArray[np.float64], column: TrainingColumn) -> str:
    """Say that words were read as truth values."""
    words = (_YES | _NO) - {"0", "1"}
    for text, number in zip(texts, numbers.tolist(), strict=True):
        if column.is_truth and text not in TRUTH and text.casefold() in words:
            return f"read {text!r} as {number:.0f}"
    return ""


def _unreadable(
    column: TrainingColumn, examples: Sequence[str] | NDArray[np.object_], rows: int, what: str = "numbers"
) -> InvalidTableError:
    if isinstance(column.style, DateStyle):
        what = "times" if column.style.is_clock else "dates"
    elif column.style is not None and column.style.unit:
        what = f"numbers in {column.style.unit}"
    return InvalidTableError(
        f"Expected {what} in the column {column.name!r}, as in the training rows; none of its {rows} values can be "
        f"read ({listed([str(one) for one in examples], 3)}). Write them as in the table that was trained on."
    )


def _read_categories(values: pd.Series, column: TrainingColumn) -> tuple[pd.Series, str]:
    """Return text, and what is to be said of it; `007` is a category where no other row shows that it is no number."""
    known = set(column.categories or ())
    if types.infer_dtype(values, skipna=True) == "string":
        text = values.astype(STR).str.strip()
    else:
        plain = values.astype(object)
        text = pd.Series(plain.map(as_text, na_action="ignore").where(plain.notna(), None), dtype=STR)
    text = text.mask(text.isin([mark for mark in MISSING if mark not in known]))
    if column.categories is None:
        return text, ""
    unseen = Counter(text[~text.isin(known)].dropna())
    same = {value: match for value in unseen if (match := _match(value, known)) is not None}
    notes = []
    if same:
        value = next(iter(same))
        rows = sum(unseen[value] for value in same)
        notes.append(
            f"{rows} values are spelt in another way than in the training rows: read {value!r} as {same[value]!r}"
        )
        text = text.replace(same)
    strange = {value: rows for value, rows in unseen.items() if value not in same}
    if strange:
        rows = sum(strange.values())
        notes.append(
            f"{rows} of {len(text)} values are categories that training never saw ({listed(list(strange), 3)})"
        )
    return text.astype(STR), "; ".join(notes)


def _match(value: str, known: Collection[str]) -> str | None:
    """Return the one category that is the same but for its spelling: case, signs, a number, or a truth value."""
    keys: list[Callable[[str], object]] = [str.casefold, _look, _number]
    if all(_truth(category) is not None for category in known):
        keys.append(_truth)
    for key in keys:
        wanted = key(value)
        found = [category for category in known if key(category) == wanted] if wanted is not None else []
        if len(found) == 1:
            return found[0]
    return None


def _look(text: str) -> str:
    """Return what a text looks like, whatever blanks, dashes and combined signs it is written with."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    plain = "".join(sign for sign in plain if unicodedata.category(sign) != "Cf")
    return " ".join(re.sub(r"[\u2010-\u2015\u2212]", "-", plain).split())


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _truth(text: str) -> bool | None:
    folded = text.casefold()
    return True if folded in _YES else False if folded in _NO else None
