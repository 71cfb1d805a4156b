"""Dates as people write them: `2021/03/14`, `14.03.2021`, `3/14/21 1:05 PM`, `14 Mar 2021`, `20210314`.

A column is read as a whole: 03/04/2021 is in March or in April, which a day above 12 elsewhere in the column tells.
Where none does, it stays text and the caller is told.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaflow_hpo.text_columns import STR

Order = Literal["ymd", "dmy", "mdy", "digits", "milliseconds"]

_ORDERS: tuple[Order, ...] = ("ymd", "dmy", "mdy")
_EPOCH = pd.Timestamp("1970-01-01", tz="UTC")
_DAY = pd.Timedelta(days=1)
_DAY_IN_MILLISECONDS = 86_400_000
_PIVOT = 69
"""Two digits from here on are of the last century, as in POSIX."""
_MAX_LENGTH = 60
_MIN_DISTINCT = 3
"""Different whole numbers that must all be dates, before they are taken for some."""

_MONTHS = {
    name: number
    for number, names in enumerate(
        ("jan", "feb", "mar mär mrz", "apr", "may mai", "jun", "jul", "aug", "sep", "oct okt", "nov", "dec dez"),
        start=1,
    )
    for name in names.split()
}
_TIME = (
    r"(?:(?:[T ]|, )\s*(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2})?)?"
)
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*[.,]?\s+)?"
_MONTH = r"(?P<month>[^\W\d_]{3,9})\.?"
_FORMS = tuple(
    re.compile(_WEEKDAY + form + _TIME, re.IGNORECASE)
    for form in (
        r"(?P<a>\d{4})(?P<sign>[-/. ])(?P<b>\d{1,2})(?P=sign)(?P<c>\d{1,2})",
        r"(?P<a>\d{1,2})(?P<sign>[-/.])\s?(?P<b>\d{1,2})(?P=sign)\s?(?P<c>\d{4}|\d{2})",
        rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)?[-/ ]?{_MONTH}[-/, ]\s*(?P<year>\d{{4}}|\d{{2}})",
        rf"{_MONTH}[-/ ](?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:, ?|[-/ ])(?P<year>\d{{4}})",
        rf"(?P<year>\d{{4}})[-/ ]{_MONTH}[-/ ](?P<day>\d{{1,2}})",
        rf"{_MONTH}[-/ ](?P<year>\d{{4}})",
        r"(?P<year>\d{4})[-/](?P<number>\d{2})",
        r"(?P<number>\d{1,2})[/.](?P<year>\d{4})",
        r"(?P<year>\d{4})[- ]?Q(?P<quarter>[1-4])",
    )
)


@dataclass(frozen=True)
class DateStyle:
    """How dates are written.

    Attributes:
        order: The order of day, month and year where they are numbers; `digits` for 20210314, `milliseconds` for those
            since 1970.
    """

    order: Order

    def read(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Return days since 1970-01-01 (UTC), `(n,)`; NaN for what is no date in this style."""
        return _to_days([_write_iso(text, self.order) for text in texts])

    def read_numbers(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the days that numbers stand for, `(n,)`; as they are where the style is one of text."""
        if self.order == "milliseconds":
            return values / _DAY_IN_MILLISECONDS
        if self.order != "digits":
            return values
        return _to_days([_write_digits(value) for value in values.tolist()])


ISO = DateStyle("ymd")
"""What programs write."""


class DateReading(NamedTuple):
    """What was found out about the texts of a column.

    Attributes:
        style: The one order in which nearly all are dates; None where there is none.
        doubt: Why there is none although they look like dates, a clause; empty otherwise.
    """

    style: DateStyle | None
    doubt: str = ""


def find_date_style(texts: Sequence[str], counts: NDArray[np.int64], min_fraction: float) -> DateReading:
    """Find the order in which the dates of a column are written.

    Args:
        texts: `(n,)` different texts.
        counts: `(n,)` how often each occurs.
        min_fraction: Fraction of the values that must be dates.
    """
    needed, others, is_open = min_fraction * counts.sum(), 0, False
    for text, count in zip(texts, counts.tolist(), strict=True):
        found = _match(text)
        if found is None:
            others += count
            if others > counts.sum() - needed:  # text that holds no dates ends here soon
                return DateReading(None)
        else:
            is_open |= len(found.groupdict().get("a") or "year") < 4
    readings = {order: DateStyle(order).read(texts) for order in (_ORDERS if is_open else _ORDERS[:1])}
    weights = {order: int(counts[~np.isnan(days)].sum()) for order, days in readings.items()}
    most = max(weights.values())
    best = [order for order in readings if weights[order] == most]
    if most < needed:
        return DateReading(None)
    first = readings[best[0]]
    for order in best[1:]:
        differs = np.flatnonzero(first != readings[order])
        differs = differs[~np.isnan(first[differs])]
        if len(differs):
            at = min(differs.tolist(), key=lambda position: texts[position])
            shown = " or ".join(say_day(reading[at]) for reading in (first, readings[order]))
            return DateReading(None, f"{texts[at]!r} may be {shown}, and no day above 12 tells which")
    return DateReading(DateStyle(best[0]))


def find_dates_in_numbers(values: NDArray[np.float64]) -> DateStyle | None:
    """Return the style of whole numbers that all are dates: 20210314, or milliseconds of days since 1970.

    Args:
        values: `(n,)`, NaN = missing.
    """
    present = values[~np.isnan(values)]
    if not len(present):
        return None
    low, high = present.min(), present.max()
    if not (19_000_101 <= low <= high <= 21_001_231 or 1e11 <= low <= high <= 4.2e12):
        return None
    distinct = np.unique(present)
    if len(distinct) < _MIN_DISTINCT or bool((distinct != np.round(distinct)).any()):
        return None
    if low >= 1e11:
        return DateStyle("milliseconds") if not (distinct % _DAY_IN_MILLISECONDS).any() else None
    style = DateStyle("digits")
    return None if np.isnan(style.read_numbers(distinct)).any() else style


def say_day(days: float) -> str:
    """Return days since 1970-01-01 as people read them."""
    moment = _EPOCH + days * _DAY
    return f"{moment:%Y-%m-%d}" if days == math.floor(days) else f"{moment.round('s'):%Y-%m-%d %H:%M:%S}"


def _match(text: str) -> re.Match[str] | None:
    if len(text) > _MAX_LENGTH or not any(map(str.isdigit, text[:12])):
        return None
    return next((found for form in _FORMS if (found := form.fullmatch(text))), None)


def _write_iso(text: str, order: str) -> str | None:
    found = _match(text)
    day = None if found is None else _find_day(found.groupdict(), order)
    if found is None or day is None:
        return None
    year, month, number = day
    if not (1 <= month <= 12 and 1 <= number <= 31 and 1000 <= year <= 2999):
        return None
    return f"{year:04d}-{month:02d}-{number:02d}{_write_time(found.groupdict())}"


def _find_day(parts: dict[str, str | None], order: str) -> tuple[int, int, int] | None:
    """Return year, month and day; None where the text has no date in this order."""
    if (first := parts.get("a")) is not None:
        return _order_parts(first, parts["b"] or "", parts["c"] or "", parts["sign"] or "", order)
    year = _full_year(parts["year"] or "")
    if quarter := parts.get("quarter"):
        return year, 3 * int(quarter) - 2, 1
    if number := parts.get("number"):
        return year, int(number), 1
    month = _MONTHS.get((parts["month"] or "")[:3].lower())
    return None if month is None else (year, month, int(parts.get("day") or 1))


def _order_parts(a: str, b: str, c: str, sign: str, order: str) -> tuple[int, int, int] | None:
    if len(a) == 4:  # written in one way only
        return int(a), int(b), int(c)
    if order == "dmy":
        return _full_year(c), int(b), int(a)
    if order == "mdy":
        return _full_year(c), int(a), int(b)
    # 21-03-14 may begin with the year; 21/03/14 and 21.03.14 hardly ever do.
    return (_full_year(a), int(b), int(c)) if sign == "-" and len(c) == 2 and len(a) == 2 else None


def _full_year(digits: str) -> int:
    year = int(digits)
    return year if len(digits) == 4 else year + (1900 if year >= _PIVOT else 2000)


def _write_time(parts: dict[str, str | None]) -> str:
    if parts["hour"] is None:
        return ""
    hour, half = int(parts["hour"]), (parts["half"] or "").lower()
    if half and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half.startswith("p") else 0)
    fraction = f".{parts['fraction']}" if parts["fraction"] else ""
    zone = {"UTC": "Z", "GMT": "Z", None: ""}.get(parts["zone"], parts["zone"])
    return f"T{hour:02d}:{parts['minute']}:{parts['second'] or '00'}{fraction}{zone}"


def _write_digits(value: float) -> str | None:
    digits = f"{value:.0f}" if math.isfinite(value) else ""
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if len(digits) == 8 and digits.isdecimal() else None


def _to_days(moments: Sequence[str | None]) -> NDArray[np.float64]:
    texts = pd.Series(np.array(moments, dtype=object), dtype=STR)
    found = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
    return np.asarray((found - _EPOCH) / _DAY, dtype=np.float64)
