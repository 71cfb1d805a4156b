"""Prepare the target of a task: classes as numbers, or finite float64, and which rows can be used.

A numeric target with few whole values is read as classes unless the caller says otherwise.
"""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types

from metaflow_hpo.errors import InvalidTaskError, listed
from metaflow_hpo.modalities.hints import AskedKind
from metaflow_hpo.modalities.table.columns import (
    TRUTH,
    as_text,
    describe_extremes,
    describe_style,
    find_words,
    holds_dates,
    loses_digits,
)
from metaflow_hpo.modalities.table.metrics import Kind
from metaflow_hpo.modalities.table.written_numbers import NO_NUMBERS, PLAIN, NumberStyle, Reading, find_style
from metaflow_hpo.text_columns import STR, is_text

MIN_ROWS = 20
MAX_CLASSES = 100
MIN_CLASS_ROWS = 5
LOUD_RARE_FRACTION = 0.1
"""Rows of rare classes above which it is said louder that they are left out."""
CLASS_LIKE_VALUES = 20
"""A numeric target with at most this many whole values, each on about `CLASS_LIKE_ROWS` rows, is read as classes."""
CLASS_LIKE_ROWS = 10
_PADDED = re.compile(r"0\d+")
_LONG = re.compile(r"-?\d{16,}")
"""Whole numbers that float64 may not tell apart."""


@dataclass(frozen=True)
class PreparedTarget:
    """A target that can be learned.

    Attributes:
        kind: What it is.
        values: `(n,)` class numbers (int64), or float64 for regression.
        keep: `(n,)` positions of its rows in the table.
        class_names: Names of the classes by number, as they are written; empty for regression.
        class_keys: The same without what a format adds (1.0 is 1, True is true): equal for the same rows.
        notes: What was inferred and changed, one sentence each.
        style: How its numbers were written, where that is not how programs write them.
    """

    kind: Kind
    values: NDArray[Any]
    keep: NDArray[np.int64]
    class_names: tuple[str, ...]
    class_keys: tuple[str, ...]
    notes: tuple[str, ...]
    style: NumberStyle | None = None


def prepare_target(column: pd.Series, kind: AskedKind | None, *, decimal_comma: bool = False) -> PreparedTarget:
    """Find the kind of a target, drop the rows that cannot be used, and code its values.

    Args:
        column: `(N,)`, any dtype.
        kind: What to predict; `classification` leaves binary or multiclass to the number of classes; None infers it.
        decimal_comma: Whether commas in numbers are decimal where the column does not tell, see `find_style`.

    Returns:
        The values that can be used and the positions of their rows.

    Raises:
        InvalidTaskError: Nothing can be learned from it, or it does not fit the kind.
    """
    if kind is not None and kind not in get_args(AskedKind):
        expected = ", ".join(get_args(AskedKind))
        raise InvalidTaskError(f"Expected kind to be one of {expected}; got {kind!r}. Choose one of these.")
    values, spelled, is_numeric = _as_values(column)
    notes: list[str] = []
    written = NO_NUMBERS
    if not is_numeric and kind in {None, "regression"} and not isinstance(column.dtype, pd.CategoricalDtype):
        values, written, note = _read_written(values, kind, decimal_comma=decimal_comma)
        notes += [note] if note else []
        is_numeric = written.style is not None
    keep = np.flatnonzero(values.notna().to_numpy())
    if missing := len(values) - len(keep):
        notes.append(f"Dropped {missing} rows without a target.")
    values, spelled = values.iloc[keep], spelled.iloc[keep]
    if len(keep) < MIN_ROWS:
        raise InvalidTaskError(
            f"Expected at least {MIN_ROWS} rows with a value of {column.name!r}; found {len(keep)} of {len(column)}. "
            "Collect more rows: nothing can be tuned on so few."
        )
    if values.nunique() < 2:
        raise InvalidTaskError(
            f"Expected a target with different values; {column.name!r} is {as_text(values.iloc[0])!r} on all "
            f"{len(keep)} rows. Choose another target, or add rows with other values."
        )
    if kind is None:
        kind, reason = _infer_kind(values, is_numeric=is_numeric)
        notes.append(reason)
    if kind == "regression":
        numbers = _regression_values(values, written.doubt, is_numeric=is_numeric)
        strange = describe_extremes(pd.Series(numbers))
        notes += [f"Target {column.name!r}: {strange}."] if strange else []
        return PreparedTarget("regression", numbers, keep, (), (), tuple(notes), written.style)
    return _classes(values, spelled, keep, kind, notes, written.doubt)


def _as_values(column: pd.Series) -> tuple[pd.Series, pd.Series, bool]:
    """Return the target as float64 (True) or as text (False), and as it is spelled; missing as NaN."""
    column = column.reset_index(drop=True)
    if types.is_datetime64_any_dtype(column.dtype) or types.is_timedelta64_dtype(column.dtype):
        raise _holds_dates(column.name)
    numeric = types.is_numeric_dtype(column.dtype) and not types.is_bool_dtype(column.dtype)
    if numeric and not types.is_complex_dtype(column.dtype) and not loses_digits(column):
        numbers = column.astype("float64")
        return numbers, numbers, True
    codes, spelled = _spell(column)
    texts = spelled if not spelled or set(spelled) - set(TRUTH) else [as_text(TRUTH[text]) for text in spelled]
    text, as_spelled = (
        pd.Series(np.array([*one, None], dtype=object)[codes], name=column.name, dtype=STR) for one in (texts, spelled)
    )
    if not isinstance(column.dtype, pd.CategoricalDtype):
        found = pd.to_numeric(pd.Series(texts, dtype=STR), errors="coerce").to_numpy(dtype="float64")
        are_numbers = not np.isnan(found).any() and not _are_codes(texts, found)
        if are_numbers and not loses_digits(pd.Series([int(t) for t in texts if _LONG.fullmatch(t)])):
            return pd.Series(np.append(found, np.nan)[codes], name=column.name), as_spelled, True
        counts = np.bincount(codes[codes >= 0], minlength=len(texts))
        if len(texts) > CLASS_LIKE_VALUES and holds_dates(texts, counts):
            raise _holds_dates(column.name)
    return text, as_spelled, False


def _are_codes(texts: Sequence[str], numbers: NDArray[np.float64]) -> bool:
    """Tell whether texts differ by leading zeros alone: 007 and 07 are two classes, 7 and 7.0 are one."""
    padded = [number for text, number in zip(texts, numbers, strict=True) if _PADDED.fullmatch(text)]
    twice = [number for number in set(padded) if (numbers == number).sum() > 1]
    return len(texts) <= CLASS_LIKE_VALUES and bool(twice)


def _holds_dates(name: object) -> InvalidTaskError:
    return InvalidTaskError(
        f"Expected classes or numbers to predict; {name!r} holds dates or times. Turn it into a number."
    )


def _spell(column: pd.Series) -> tuple[NDArray[np.int64], list[str]]:
    """Return the number of each value's text, -1 where there is none, and the texts; True stays True, 1.0 is 1."""
    if not is_text(column):  # 1, 1.0 and True are equal, so that their text must be made before they are compared
        plain = column.astype(object)
        is_truth = plain.map(lambda value: isinstance(value, bool | np.bool_)).to_numpy(dtype=bool)
        column = plain.mask(is_truth, plain.map(str)).map(as_text, na_action="ignore").where(plain.notna(), None)
    codes, values = pd.factorize(column.astype(STR).str.strip())
    texts = [str(value) for value in values]
    if "" in texts:
        codes = np.where(codes == texts.index(""), -1, codes)
    return codes, texts


def _read_written(text: pd.Series, kind: AskedKind | None, *, decimal_comma: bool) -> tuple[pd.Series, Reading, str]:
    """Read a target whose numbers were written for people; `10%` and `20%` on many rows stay classes of these names."""
    codes, labels = pd.factorize(text)
    counts = np.bincount(codes[codes >= 0], minlength=len(labels))
    found = find_style([str(label) for label in labels], counts, 1.0, decimal_comma=decimal_comma)
    if found.doubt:
        return text, found, f"Target {text.name!r}: left as text although it looks like numbers: {found.doubt}."
    words = find_words([str(label) for label in labels], counts, decimal_comma=decimal_comma) if len(labels) else None
    if found.style is not None:
        read = found.style.read(labels)
        how = describe_style(labels, read)
    elif words is None:
        return text, found, ""
    else:
        style, read = words
        found, lost = Reading(style or PLAIN), np.isnan(read)
        how = f"; {int(counts[lost].sum())} values are none ({listed(sorted(map(str, labels[lost])))})"
    values = pd.Series(np.append(read, np.nan)[codes], name=text.name)
    if kind is None and _infer_kind(values.dropna(), is_numeric=True)[0] == "classification":
        return text, NO_NUMBERS, ""
    return values, found, f"Target {text.name!r}: read as numbers{how}."


def _infer_kind(values: pd.Series, *, is_numeric: bool) -> tuple[AskedKind, str]:
    distinct = values.nunique()
    if not is_numeric:
        return "classification", f"Read as classification: the target is not numeric ({distinct} classes)."
    finite = values[np.isfinite(values)]
    whole = len(finite) == len(values) and bool((finite == finite.round()).all())
    if whole and distinct <= CLASS_LIKE_VALUES and len(values) >= CLASS_LIKE_ROWS * distinct:
        return (
            "classification",
            f"Read as classification: the target has {distinct} whole values (`kind` overrides this).",
        )
    return "regression", f"Read as regression: the target is numeric with {distinct} values (`kind` overrides this)."


def _regression_values(values: pd.Series, doubt: str, *, is_numeric: bool) -> NDArray[np.float64]:
    if not is_numeric:
        bad = values[pd.to_numeric(values, errors="coerce").isna()]
        raise InvalidTaskError(
            f"Expected a numeric target for regression; {len(bad)} values of {values.name!r} are not numbers "
            f"({listed(sorted(bad.unique()))}{f'; {doubt}' if doubt else ''}). Clean them, or choose classification."
        )
    infinite = int(np.isinf(values).sum())
    if infinite:
        raise InvalidTaskError(
            f"Expected a finite target for regression; {infinite} values of {values.name!r} are infinite. "
            "Remove these rows or correct them."
        )
    return values.to_numpy(dtype="float64") + 0.0


def _classes(
    values: pd.Series, spelled: pd.Series, keep: NDArray[np.int64], kind: AskedKind, notes: list[str], doubt: str
) -> PreparedTarget:
    name, counts = values.name, values.value_counts()
    common = counts[counts >= MIN_CLASS_ROWS]
    if len(common) > MAX_CLASSES or (len(common) < 2 and len(counts) > MAX_CLASSES):
        parsed = float(pd.to_numeric(values, errors="coerce").notna().mean())
        hint = f"{parsed:.0%} of the values are numbers: choose regression" if parsed > 0.5 else "Group rare classes"
        hint = f"They look like numbers, but {doubt}: write them without separators" if doubt else hint
        raise InvalidTaskError(
            f"Expected at most {MAX_CLASSES} classes; {name!r} has {len(counts)}. {hint}, or choose another target."
        )
    rare = sorted(counts.index[counts < MIN_CLASS_ROWS])
    shown = listed([as_text(value) for value in rare])
    if len(common) < 2:
        raise InvalidTaskError(
            f"Expected at least {MIN_CLASS_ROWS} rows of each of two classes of {name!r}; {len(rare)} of {len(counts)} "
            f"classes have fewer ({shown}). Add rows, group the rare classes, or choose regression."
        )
    if rare:
        rows = int(counts.sum() - common.sum())
        notes = [*notes, f"Dropped {rows} rows of {len(rare)} classes with fewer than 5 rows."]
        if rows >= LOUD_RARE_FRACTION * len(values):
            notes.append(
                f"Warning: that is {rows / len(values):.0%} of the rows ({shown}); the answer is never one of these "
                "classes. Add rows, or group the rare classes."
            )
        is_common = values.isin(common.index).to_numpy()
        values, spelled, keep = values[is_common], spelled[is_common], keep[is_common]
    labels = sorted(common.index)
    if alike := _find_alike(as_text(label) for label in labels):
        notes = [
            *notes,
            f"Warning: the classes {listed(alike)} differ by capital letters or signs that look alike: if they are the "
            "same, write them in one way.",
        ]
    found: Kind = "binary" if len(labels) == 2 else "multiclass"
    if kind not in (found, "classification"):
        raise InvalidTaskError(f"Expected a {kind} target; {name!r} has {len(labels)} classes. Ask for {found}.")
    codes = pd.Index(labels).get_indexer(pd.Index(values)).astype(np.int64)
    keys = tuple(as_text(label) for label in labels)
    return PreparedTarget(found, codes, keep, _name_classes(codes, spelled, keys), keys, tuple(notes))


def _find_alike(labels: Iterable[str]) -> list[str]:
    """Return the classes that look like another one."""
    looks: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        looks[" ".join(unicodedata.normalize("NFKC", label).casefold().split())].append(label)
    return [label for same in looks.values() if len(same) > 1 for label in same]


def _name_classes(codes: NDArray[np.int64], spelled: pd.Series, keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes as they are written, `007` or `True`; where there are several ways, as `keys`."""
    if not is_text(spelled):
        return keys
    pairs = pd.DataFrame({"code": codes, "text": spelled.to_numpy()}).drop_duplicates()
    texts = pairs.groupby("code")["text"].agg(list)
    return tuple(texts[code][0] if len(texts[code]) == 1 else key for code, key in enumerate(keys))
