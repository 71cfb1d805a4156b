"""What stands for a missing value in a table; words such as None and NA may be values as well, which the file tells."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import pandas as pd
from pandas.api import types

from metaflow_hpo.modalities.table.columns import TRUTH, clean_column
from metaflow_hpo.text_columns import STR, is_text

SIGNS = ("", "?", "#N/A", "<NA>", "<null>")
"""Never a value."""
WORDS = ("NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None")
"""Missing, unless a column of text shows that they are what people chose."""
MISSING = (*SIGNS, *WORDS)

_NEEDS_QUOTES = frozenset(',;|\t"\r\n ')
_LOOKED_AT = 20
_Quoted = Callable[[str], bool]


@dataclass
class Words:
    """The words of a table.

    Attributes:
        kept: By column, the word that is a value there, and on how many rows.
        missing: By column, the words that are missing values there, and on how many rows each.
    """

    kept: dict[str, tuple[str, int]] = field(default_factory=dict)
    missing: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def marks(self) -> tuple[str, ...]:
        """What stands for a missing value in this table."""
        values = {word for word, _ in self.kept.values()}
        return tuple(mark for mark in MISSING if mark not in values)

    def notes(self) -> list[str]:
        """Say which words are values: that is rarer."""
        return [
            f"Took the text {word!r} in {name!r} as a value, not as missing ({rows} rows): a cell without a value is "
            "empty there."
            for name, (word, rows) in self.kept.items()
        ]


def settle_words(
    frame: pd.DataFrame, is_quoted: _Quoted | None = None, as_written: Collection[str] = ()
) -> tuple[pd.DataFrame, Words]:
    """Make missing what stands for a missing value, and keep a word that is a value.

    A word is a mark of missing values where it stands among numbers or dates, beside another such word, or unquoted in
    a file that quotes all its text (as R writes it); and if it is that in one column, it is in all. In any other column
    of text it is a category like the others, as an empty cell is what is missing.

    Args:
        frame: A table as it was read, text included.
        is_quoted: Tells whether a text stands in quotation marks in the file; None where the format has types.
        as_written: Columns that stay text.
    """
    texts = {
        position: column for position in range(frame.shape[1]) if _may_hold_text(column := frame.iloc[:, position])
    }
    found = {position: counts for position, column in texts.items() if (counts := _count_marks(column))}
    if not found:
        return frame, Words()
    marks = {
        word
        for position, counts in found.items()
        if not _is_value(texts[position], counts, is_quoted)
        for word in counts
    }.union(SIGNS)
    words = Words()
    settled = {}
    for position, counts in found.items():
        name = str(frame.columns[position]).strip()
        lost = {word: rows for word, rows in counts.items() if word in marks}
        for word in set(counts) - marks:
            words.kept[name] = (word, counts[word])
        if lost:
            words.missing[name] = {word: rows for word, rows in lost.items() if word}
            column = texts[position].mask(texts[position].isin(list(lost)))
            settled[position] = column if name in as_written else _with_type(column)
    columns = [settled.get(position, frame.iloc[:, position]) for position in range(frame.shape[1])]
    table = pd.concat(columns, axis="columns").set_axis(frame.columns, axis="columns")
    table.attrs = frame.attrs
    return table, words


def _may_hold_text(column: pd.Series) -> bool:
    return is_text(column) or types.is_object_dtype(column.dtype)


def _count_marks(column: pd.Series) -> dict[str, int]:
    """Return how often each possible mark of missing values stands in a column."""
    texts = column if is_text(column) else column[_is_text(column)].astype(STR)
    return {str(mark): int(rows) for mark, rows in texts[texts.isin(MISSING)].value_counts().items()}


def _is_text(column: pd.Series) -> pd.Series:
    return column.map(lambda value: isinstance(value, str)).astype(bool)


def _is_value(column: pd.Series, counts: Collection[str], is_quoted: _Quoted | None) -> bool:
    """Tell whether the one word of a column is a category like its others."""
    present = column.dropna()
    texts = present if is_text(column) else present[_is_text(present)]
    others = texts[~texts.isin(MISSING)].astype(STR).unique()
    marks = [mark for mark in counts if mark]
    if len(marks) != 1 or marks[0] in SIGNS or not len(others) or len(texts) < len(present):
        return False
    if types.is_float_dtype(clean_column(pd.Series(others, name=column.name, dtype=STR)).column.dtype):
        return False
    plain = [text for text in others if not _NEEDS_QUOTES & set(text)][:_LOOKED_AT]
    return is_quoted is None or is_quoted(marks[0]) or not plain or not all(map(is_quoted, plain))


def _with_type(column: pd.Series) -> pd.Series:
    """Return text as the numbers or truth values that are left, where that is what is left."""
    present = column.dropna()
    if not is_text(column) or not len(present):
        return column.infer_objects()
    if present.isin(TRUTH).all():
        return column.map(TRUTH)
    numbers = pd.to_numeric(column, errors="coerce")
    return numbers if numbers.count() == len(present) else column


def say_lost_rows(words: Mapping[str, int], target: str) -> list[str]:
    """Say which words count as missing in the target, how many rows that costs, and how to keep them."""
    return [
        f"Warning: {rows} rows have the text {word!r} as {target!r}, which counts as a missing value here, as it also "
        f"stands among numbers or beside another such word: they are left out. If it is a class, give it another name."
        for word, rows in words.items()
    ]
