"""Numbers that were written for people: `1,234`, `$1,234.50`, `12.3%`, `1 234,5`.

The one thing to know: a column is read as a whole, in one style, or not at all. `1,234` may be 1234 or 1.234; where all
its values leave that open, it stays text and the caller is told.
"""

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_MAX_LENGTH = 40
_ALIKE = dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f"), " ") | {ord("\u2212"): "-", ord("\u2019"): "'"}
_SKELETON = _ALIKE | dict.fromkeys(map(ord, "0123456789"), "9")
"""One sign for one sign: what is found in a skeleton lies at the same place in the text."""
_CURRENCY = r"(?:(?:US|CA|AU)?[$\u00a2-\u00a5\u20a0-\u20bf]|EUR|USD|GBP|CHF|JPY|CNY|CAD|AUD|SEK|NOK|DKK|PLN|CZK|INR)"
_NUMBER = re.compile(
    rf"\s*(?P<bracket>\()?\s*(?P<sign>[+-]?)\s*(?P<before>{_CURRENCY}?)\s*(?P<late_sign>[+-]?)(?P<digits>[9.,' ]*9)"
    rf"(?P<exponent>(?:[eE][+-]?9+)?)\s*(?P<after>(?:{_CURRENCY}|%)?)\s*(?(bracket)\))\s*"
)


@dataclass(frozen=True)
class NumberStyle:
    """How numbers are written.

    Attributes:
        decimal: `.` or `,`.
        thousands: `,`, `.`, `'`, a blank (of any kind), or nothing.
        percent: Whether a percent sign follows.
    """

    decimal: str
    thousands: str
    percent: bool = False

    def fits(self, digits: str) -> bool:
        """Tell whether digits and separators are written in this style."""
        return _pattern(self.decimal, self.thousands).fullmatch(digits) is not None

    def read(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Return the numbers, `(n,)`; NaN for what is not written in this style.

        Currencies and the percent sign are left out: `12.3%` is 12.3. Brackets mean a minus, as in accounts.
        """
        fits: dict[str, bool] = {}
        numbers = []
        for text, form in _find_forms(texts):
            if form is None:
                numbers.append(math.nan)
                continue
            shape = form.shape_of(text)
            if shape not in fits:
                fits[shape] = self.fits(shape)
            numbers.append(form.sign * self._read_digits(*form.cut(text)) if fits[shape] else math.nan)
        return np.array(numbers, dtype=np.float64)

    def value_of(self, digits: str) -> float:
        """Return the number that digits and separators stand for; NaN where they are not written in this style."""
        return self._read_digits(digits) if self.fits(digits) else math.nan

    def _read_digits(self, digits: str, exponent: str = "") -> float:
        plain = digits.replace(self.thousands, "") if self.thousands else digits
        return float(plain.replace(self.decimal, ".") + exponent)


STYLES = tuple(
    NumberStyle(decimal, thousands)
    for decimal, other in ((".", ","), (",", "."))
    for thousands in ("", other, " ", "'")
)
PLAIN = STYLES[0]
"""What every program reads."""


@dataclass(frozen=True)
class Reading:
    """What was found out about the texts of a column.

    Attributes:
        style: The one style in which nearly all are written; None where there is none.
        doubt: Why there is none although they look like numbers, a clause; empty otherwise.
    """

    style: NumberStyle | None
    doubt: str = ""


NO_NUMBERS = Reading(None)


class _Form(NamedTuple):
    """Where the parts of a written number lie; the same for all texts with one skeleton."""

    sign: int
    start: int
    digits: str
    end: int
    unit: str

    def shape_of(self, text: str) -> str:
        """Return the digits of the skeleton, with a zero at the start where the text has one: `0,999` for `0,123`."""
        return "0" + self.digits[1:] if text[self.start] == "0" else self.digits

    def cut(self, text: str) -> tuple[str, str]:
        """Return digits with separators, and exponent."""
        middle = self.start + len(self.digits)
        return text[self.start : middle].translate(_ALIKE), text[middle : self.end]


@dataclass
class _Shape:
    """What the texts of one shape have in common with the decision."""

    weight: int = 0
    example: str = ""
    ends_in_zero: bool = False
    is_number: bool = False
    """Not all are zero."""

    def add(self, digits: str, count: int) -> bool:
        """Count a text; return whether it stands for zero."""
        is_zero = digits[0] in "0.," and not any(sign in digits for sign in "123456789")
        self.weight += count
        self.example = min(self.example or digits, digits)
        self.ends_in_zero |= digits[-1] == "0"
        self.is_number |= not is_zero
        return is_zero


def find_style(
    texts: Sequence[str], counts: NDArray[np.int64], min_fraction: float, *, decimal_comma: bool = False
) -> Reading:
    """Find the style in which a column is written.

    A style must explain nearly all values, and all that any other style explains. Where several do, and read the same
    text as different numbers, the column decides, see `_settle`.

    Args:
        texts: `(n,)` different texts.
        counts: `(n,)` how often each occurs.
        min_fraction: Fraction of the values that must be written in the style.
        decimal_comma: Whether the file is one in which commas are decimal.
    """
    needed = min_fraction * counts.sum()
    shapes: dict[str, _Shape] = defaultdict(_Shape)
    units: set[str] = set()
    others = 0
    for (text, form), count in zip(_find_forms(texts), counts.tolist(), strict=True):
        if form is None:
            others += count
            if others > counts.sum() - needed:  # free text ends here soon
                return NO_NUMBERS
        elif not shapes[form.shape_of(text)].add(form.cut(text)[0], count):
            units.add(form.unit)
    if len(units - {""}) > 1 or ("%" in units and len(units) > 1):
        shown = " and ".join(repr(unit) if unit else "none" for unit in sorted(units))
        return Reading(None, f"its values have different units ({shown})")
    fitting = {style: frozenset(filter(style.fits, shapes)) for style in STYLES}
    enough = [style for style in STYLES if sum(shapes[shape].weight for shape in fitting[style]) >= needed]
    best = [style for style in enough if all(fitting[style] >= fitting[other] for other in enough)]
    if best and fitting[best[0]]:
        explained = {shape: shapes[shape] for shape in fitting[best[0]]}
        found = _settle(best, explained, units, decimal_comma=decimal_comma)
        is_percent = found.style is not None and "%" in units
        return Reading(replace(found.style, percent=True)) if is_percent and found.style else found
    return Reading(None, "its numbers are written in different ways") if any(fitting[s] for s in enough) else NO_NUMBERS


def _settle(best: Sequence[NumberStyle], shapes: dict[str, _Shape], units: set[str], *, decimal_comma: bool) -> Reading:
    """Choose among styles that explain the same texts.

    Where they read them differently, one sign is the decimal mark of some and the thousands separator of others. Beside
    950, 1,250 has thousands: whoever writes three decimals writes 950,000, and whoever leaves zeros out writes 1,25.
    """
    readings = {tuple(style.value_of(shape) for shape in shapes) for style in best}
    if len(readings) == 1:
        # Blocks of digits that all look alike are rather a code or a telephone number.
        is_code = best[0].thousands == " " and len(shapes) == 1 and not units - {""}
        return NO_NUMBERS if is_code else Reading(best[0])
    sign = "," if any("," in shape for shape in shapes) else "."
    as_decimal = next(style for style in best if style.decimal == sign)
    as_thousands = next(style for style in best if style.thousands == sign)
    if sign == "." and not units - {"", "%"}:
        return Reading(PLAIN)
    grouped = [found for shape, found in shapes.items() if sign in shape]
    has_short = any(found.is_number for shape, found in shapes.items() if sign not in shape)
    if has_short and any(found.ends_in_zero for found in grouped):
        return Reading(as_thousands)
    if sign == "," and decimal_comma:
        return Reading(as_decimal)
    example = min(found.example for found in grouped)
    values = (f"{style.value_of(example):.10g}" for style in (as_thousands, as_decimal))
    return Reading(None, f"{example} may be {' or '.join(values)}")


def _find_forms(texts: Iterable[str]) -> Iterator[tuple[str, _Form | None]]:
    """Yield each text with its form; None for what is no written number."""
    known: dict[str, _Form | None] = {}
    for text in texts:
        skeleton = text.translate(_SKELETON) if len(text) <= _MAX_LENGTH else ""
        if skeleton not in known:
            known[skeleton] = _find_form(skeleton)
        yield text, known[skeleton]


def _find_form(skeleton: str) -> _Form | None:
    found = _NUMBER.fullmatch(skeleton)
    if found is None or (found["sign"] and found["late_sign"]) or (found["before"] and found["after"]):
        return None
    is_negative = "-" in (found["sign"], found["late_sign"]) or found["bracket"] is not None
    unit = found["before"] or found["after"]
    return _Form(-1 if is_negative else 1, found.start("digits"), found["digits"], found.end("exponent"), unit)


@cache
def _pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    fraction = rf"{re.escape(decimal)}[0-9]+"
    grouped = rf"[1-9][0-9]{{0,2}}(?:{re.escape(thousands)}[0-9]{{3}})+|" if thousands else ""
    return re.compile(rf"(?:{grouped}[0-9]+)(?:{fraction})?|{fraction}")
