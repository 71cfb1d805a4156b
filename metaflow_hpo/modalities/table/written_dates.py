"""Dates and times as people write them: `14.03.2021`, `3/14/21 1:05 PM`, `14 Mar 2021`, `20210314`, `1:23:45`.

A column is read as a whole: 03/04/2021 is in March or in April, which a day above 12 elsewhere in the column tells.
Where none does, it stays text and the caller is told.
"""

import datetime as dt
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from metaflow_hpo.text_columns import STR

Order = Literal["ymd", "dmy", "mdy", "digits", "milliseconds", "h:m", "h:m:s"]

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
        (
            "jan ene gen",
            "feb fév fev",
            "mar mär mrz maa mrt",
            "apr avr abr",
            "may mai mei mag maj",
            "jun juin giu",
            "jul juil lug",
            "aug aoû aou ago",
            "sep set",
            "oct okt out ott",
            "nov",
            "dec dez déc dic",
        ),
        start=1,
    )
    for name in names.split()
}
"""By the first three or four letters, in the languages of western Europe."""
_HALF = r"(?P<half>[AaPp]\.?[Mm]\.?)?"
_ZONE = r"(?P<zone>Z|(?:UTC|GMT)?[+-]\d{1,2}(?::?\d{2})?|UTC|GMT)?"
_HOUR = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d{1,9}))?)?"
_TIME = rf"(?:(?:[T :]|, )\s*{_HOUR}\s*{_HALF}\s*{_ZONE}(?:\s*\([^)]*\))?)?"
_WEEKDAY = r"(?:(?:mo|tu|we|th|fr|sa|su|di|mi|do|so|lu|ma|me|je|ve|ju|vi|sá|gi)[^\W\d_]*[.,]?\s+)?"
_MONTH = r"(?P<month>[^\W\d_]{3,10})\.?"
_FORMS = tuple(
    re.compile(_WEEKDAY + form, re.IGNORECASE)
    for form in (
        r"(?P<a>\d{4})(?P<sign>[-/. ])(?P<b>\d{1,2})(?P=sign)(?P<c>\d{1,2})" + _TIME,
        r"(?P<a>\d{1,2})(?P<sign>[-/.])\s?(?P<b>\d{1,2})(?P=sign)\s?(?P<c>\d{4}|\d{2})" + _TIME,
        rf"(?P<day>\d{{1,2}})(?:st|nd|rd|th|er|\.)?[-/ ]?(?:de )?{_MONTH}(?:[-/, ]\s*|\s+del? )"
        rf"(?P<year>\d{{4}}|\d{{2}}){_TIME}",
        rf"(?P<day>\d{{1,2}}){_MONTH}(?P<year>\d{{4}}|\d{{2}}){_TIME}",
        rf"{_MONTH}[-/ ](?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?:, ?|[-/ ])(?P<year>\d{{4}}){_TIME}",
        rf"{_MONTH} +(?P<day>\d{{1,2}}) {_HOUR}(?: {_ZONE})? (?P<year>\d{{4}})(?P<half>)",
        rf"(?P<year>\d{{4}})[-/ ]{_MONTH}[-/ ](?P<day>\d{{1,2}}){_TIME}",
        rf"{_MONTH}[-/ ](?P<year>\d{{4}}){_TIME}",
        r"(?P<year>\d{4})[-/](?P<number>\d{2})" + _TIME,
        r"(?P<number>\d{1,2})[/.](?P<year>\d{4})" + _TIME,
        r"(?P<year>\d{4})[- ]?Q(?P<quarter>[1-4])" + _TIME,
        r"Q(?P<quarter>[1-4])[-/ ](?P<year>\d{4})" + _TIME,
        r"(?P<year>\d{4})[- ]?W(?P<week>\d{2})(?:-?(?P<weekday>[1-7]))?" + _TIME,
    )
)
_CLOCK = re.compile(
    r"(?:(?P<days>-?\d+) days?,? ?\+?|(?P<before>-))?(?P<hour>\d{1,3}):(?P<minute>[0-5]\d)"
    rf"(?::(?P<second>[0-5]\d(?:[.,]\d{{1,9}})?))?\s*{_HALF}"
)


@dataclass(frozen=True)
class DateStyle:
    """How dates are written.

    Attributes:
        order: The order of day, month and year where they are numbers; `digits` for 20210314, `milliseconds` for those
            since 1970, `h:m` and `h:m:s` for times of day and durations.
    """

    order: Order

    @property
    def is_text(self) -> bool:
        """Whether the dates are text, not numbers."""
        return self.order not in {"digits", "milliseconds"}

    @property
    def is_clock(self) -> bool:
        """Whether they are times of day or durations, not dates."""
        return self.order in {"h:m", "h:m:s"}

    def read(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Return days since 1970-01-01 (UTC), or that a time or duration takes, `(n,)`; NaN for what is none."""
        if self.is_clock:
            return np.array([_read_clock(text, self.order) for text in texts], dtype=np.float64)
        return _to_days([_write_iso(text, self.order) for text in texts])

    def read_numbers(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the days that numbers stand for, `(n,)`; as they are where the style is one of text."""
        if self.order == "milliseconds":
            return values / _DAY_IN_MILLISECONDS
        if self.is_text:
            return values
        return _to_days([_write_digits(value) for value in values.tolist()])


ISO = DateStyle("ymd")
"""What programs write."""
CLOCK = DateStyle("h:m:s")
"""What programs write of times and durations."""


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


def find_clock(texts: Sequence[str], counts: NDArray[np.int64], min_fraction: float) -> DateReading:
    """Find out whether a column holds times of day or durations: `13:45`, `1:05 PM`, `1:23:45`, `2 days 03:00:00`.

    Args:
        texts: `(n,)` different texts.
        counts: `(n,)` how often each occurs.
        min_fraction: Fraction of the values that must be such.
    """
    needed = min_fraction * counts.sum()
    others = 0
    examples: dict[int, str] = {}
    for text, count in zip(texts, counts.tolist(), strict=True):
        found = _CLOCK.fullmatch(text) if len(text) <= _MAX_LENGTH else None
        if found is None:
            others += count
            if others > counts.sum() - needed:
                return DateReading(None)
        else:
            parts = 3 if found["second"] else 2
            examples[parts] = min(text, examples.get(parts, text))
    if len(examples) == 1:
        return DateReading(CLOCK if 3 in examples else DateStyle("h:m"))
    return DateReading(
        None, f"{examples[2]!r} may be hours and minutes, or minutes and seconds as beside {examples[3]!r}"
    )


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
    if week := parts.get("week"):
        try:
            day = dt.date.fromisocalendar(year, int(week), int(parts["weekday"] or 1))
        except ValueError:
            return None
        return day.year, day.month, day.day
    if number := parts.get("number"):
        return year, int(number), 1
    name = (parts["month"] or "").lower()
    month = _MONTHS.get(name[:4]) or _MONTHS.get(name[:3])
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
    return f"T{hour:02d}:{parts['minute']}:{parts['second'] or '00'}{fraction}{_write_zone(parts['zone'] or '')}"


def _write_zone(zone: str) -> str:
    """Return `GMT+1` as `+01:00`."""
    offset = zone.upper().removeprefix("UTC").removeprefix("GMT")
    if not offset or offset == "Z":
        return "Z" if zone else ""
    digits = offset[1:].replace(":", "")
    hours, minutes = (digits, "00") if len(digits) <= 2 else (digits[:-2], digits[-2:])
    return f"{offset[0]}{int(hours):02d}:{minutes}"


def _read_clock(text: str, order: str) -> float:
    """Return the days that a time of day or a duration takes; beside 1:23:45, 23:45 may be minutes and seconds."""
    found = _CLOCK.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if found is None or (order == "h:m:s" and not (found["second"] or found["half"])):
        return math.nan
    hour, half = int(found["hour"]), (found["half"] or "").lower()
    if half:
        hour = hour % 12 + (12 if half.startswith("p") else 0)
    seconds = 3600 * hour + 60 * int(found["minute"]) + float((found["second"] or "0").replace(",", "."))
    return (-1 if found["before"] else 1) * (int(found["days"] or 0) + seconds / 86_400)


def _write_digits(value: float) -> str | None:
    digits = f"{value:.0f}" if math.isfinite(value) else ""
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if len(digits) == 8 and digits.isdecimal() else None


def _to_days(moments: Sequence[str | None]) -> NDArray[np.float64]:
    texts = pd.Series(np.array(moments, dtype=object), dtype=STR)
    found = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
    return np.asarray((found - _EPOCH) / _DAY, dtype=np.float64)
