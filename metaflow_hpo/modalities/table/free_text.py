"""Which columns of a table are free text: sentences that people wrote, and neither names nor codes."""

import re

import pandas as pd
from pandas.api import types

MIN_WORDS = 3.0
"""Of a text, on average."""
MIN_DIFFERENT = 0.5
"""Share of the texts that are different."""
_MIN_LETTERS = 0.5
"""Share of letters among what is not blank; dates, codes and numbers have fewer."""
_LOOKED_AT = 500
# Scripts without blanks between words have about two letters a word.
_WORDS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]{2}|\S+")


def find_free_text(frame: pd.DataFrame) -> list[str]:
    """Return the names of the columns of free text, in order."""
    return [str(name) for position, name in enumerate(frame.columns) if is_free_text(frame.iloc[:, position])]


def is_free_text(column: pd.Series) -> bool:
    """Tell by its first values whether a column is free text."""
    return has_words(column, MIN_WORDS, MIN_DIFFERENT)


def has_words(column: pd.Series, min_words: float, min_different: float) -> bool:
    """Tell by its first values whether a column is of words.

    Args:
        column: `(N,)`, any dtype.
        min_words: Words of a value, on average.
        min_different: Share of the values that are different.
    """
    if types.is_numeric_dtype(column.dtype) or types.is_datetime64_any_dtype(column.dtype):
        return False
    values = column.dropna()[:_LOOKED_AT].tolist()
    if not values or not all(isinstance(value, str) for value in values):
        return False
    signs = "".join("".join(value[:_LOOKED_AT].split()) for value in values)
    if sum(map(_is_letter, signs)) < _MIN_LETTERS * len(signs):
        return False
    words = sum(len(_WORDS.findall(value[: 10 * _LOOKED_AT])) for value in values)
    return words >= min_words * len(values) and len(set(values)) >= min_different * len(values)


def _is_letter(sign: str) -> bool:
    return sign.isalpha() or not sign.isascii()
