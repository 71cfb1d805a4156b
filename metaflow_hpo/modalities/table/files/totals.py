"""A row of totals or means, as people and spreadsheets put it below a table."""

import re

import pandas as pd

_TOTAL = re.compile(
    r"(grand |sub)?totale?s?( général| generale| general)?|sum(me)?|summa|somme|suma|gesamt(summe|ergebnis)?|insgesamt|"
    r"average|mean|mittelwert|moyenne|media|best|итого",
    re.IGNORECASE,
)
_ROUNDING = 1e-3


def without_total(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Leave out a last row that sums up the others, and say so.

    A word such as Total stands in it and nowhere else; and it stands among numbers, or beside a gap that no other row
    has, or beside numbers of which half are the sum or the mean of the others: else it is a value like any.
    """
    for position in range(frame.shape[1] if len(frame) > 2 else 0):
        word = frame.iloc[-1, position]
        if not isinstance(word, str) or not _TOTAL.fullmatch(word.strip()):
            continue
        others = frame.iloc[:-1, position]
        if (others == word).any():
            continue
        if pd.to_numeric(others, errors="coerce").notna().mean() > 0.5 or _has_own_gap(frame) or _adds_up(frame):
            kept = frame.iloc[:-1].copy()
            kept.attrs = frame.attrs
            return kept, [f"Left out the last row: {word.strip()!r} in {str(frame.columns[position]).strip()!r}."]
    return frame, []


def _has_own_gap(frame: pd.DataFrame) -> bool:
    empty = frame.isna() | (frame == "")
    return bool((empty.iloc[-1] & ~empty.iloc[:-1].any()).any())


def _adds_up(frame: pd.DataFrame) -> bool:
    found = numbers = 0
    for position in range(frame.shape[1]):
        values = pd.to_numeric(frame.iloc[:, position], errors="coerce")
        others, last = values.iloc[:-1], float(values.iloc[-1])
        if values.isna().iloc[-1] or others.isna().mean() > 0.5:
            continue
        numbers += 1
        found += any(abs(last - one) <= _ROUNDING * max(abs(one), _ROUNDING) for one in (others.sum(), others.mean()))
    return 2 * found >= max(numbers, 1)
