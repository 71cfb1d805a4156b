"""Numbers that were written for people: `1,234`, `$1,234.50`, `12.3%`, `1 234,5`, `12 kg`, `<0.5`, `1.5M`.

The one thing to know: a column is read as a whole, in one style, or not at all. `1,234` may be 1234 or 1.234; where all
its values leave that open, it stays text and the caller is told.
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_MAX_LENGTH = 40
_MIN_DRESSED = 10
"""Different numbers of a column from which on it is one of numbers in spite of units or limits: 5K may be a run."""
_MAX_UNITS = 3
"""Different units up to which a column that mixes them is said to look like numbers."""
_OTHER_DIGITS = "\u0660\u06f0\u0966\uff10"
"""Zeros of scripts whose digits follow one another: Arabic, Persian, Devanagari, full width."""
_ALIKE = {
    **dict.fromkeys(map(ord, "\u00a0\u2007\u2009\u202f"), " "),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"), "-"),
    **{ord(zero) + digit: str(digit) for zero in _OTHER_DIGITS for digit in range(10)},
    ord("\u2019"): "'",
    ord("\u066b"): ".",
    ord("\u066c"): ",",
}
_SKELETON = {sign: "9" if plain.isdecimal() else plain for sign, plain in _ALIKE.items()} | dict.fromkeys(
    map(ord, "0123456789"), "9"
)
"""One sign for one sign: what is found in a skeleton lies at the same place in the text."""
_CURRENCY = (
    r"(?:(?:US|CA|AU|R)?[$\u00a2-\u00a5\u20a0-\u20bf]|EUR|USD|GBP|CHF|JPY|CNY|CAD|AUD|SEK|NOK|DKK|PLN|CZK|INR|"
    r"Fr\.|Rs\.?|K\u010d|z\u0142|kr\.?|Ft)"
)
_ONE_CURRENCY = {
    "EUR": "\u20ac",
    "USD": "$",
    "US$": "$",
    "GBP": "\u00a3",
    "INR": "\u20b9",
    "Rs": "\u20b9",
    "Rs.": "\u20b9",
}
_SCALES = {"k": 1e3, "K": 1e3, "M": 1e6}
_UNIT = r"[^\W\d_](?:[^\W\d_]|[./\u00b0\u00b7])*|[\u00b0\u2030][^\W\d_]*"
_NUMBER = re.compile(
    rf"\s*(?P<bracket>\()?\s*(?P<limit>(?:[<>]=?|[\u2264\u2265~\u2248])?)\s*(?P<sign>[+-]?)\s*(?P<before>{_CURRENCY}?)\s*"
    rf"(?P<late_sign>[+-]?)(?P<digits>[9.,' ]*9)(?P<exponent>(?:[eE][+-]?9+)?)"
    rf"(?P<scale>(?:[kKM](?![^\W\d_]))?)(?P<minus>-?)\s*(?P<after>(?:{_CURRENCY}(?![^\W\d_])|%|{_UNIT})?)\s*(?(bracket)\))\s*"
)


@dataclass(frozen=True)
class NumberStyle:
    """How numbers are written.

    Attributes:
        decimal: `.` or `,`.
        thousands: `,`, `.`, `'`, a blank (of any kind), or nothing.
        percent: Whether a percent sign follows.
        unit: The currency or the unit beside them, or nothing.
    """

    decimal: str
    thousands: str
    percent: bool = False
    unit: str = ""

    @property
    def mark(self) -> str:
        """What stands beside the numbers."""
        return "%" if self.percent else self.unit

    def fits(self, digits: str) -> bool:
        """Tell whether digits and separators are written in this style."""
        return _pattern(self.decimal, self.thousands).fullmatch(digits) is not None

    def read(self, texts: Iterable[str]) -> NDArray[np.float64]:
        """Return the numbers, `(n,)`; NaN for what is not written in this style.

        Units are left out, but no others than those of the style: `12.3%` is 12.3. Brackets mean a minus, as in
        accounts; `<0.5` is 0.5, and `1.5M` 1,500,000.
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
            is_read = fits[shape] and self._takes(form.unit)
            numbers.append(form.factor * self._read_digits(*form.cut(text)) if is_read else math.nan)
        return np.array(numbers, dtype=np.float64)

    def _takes(self, unit: str) -> bool:
        return unit in {"", self.mark} or (not self.mark and is_currency(unit))

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
    """Where the parts of a written number lie; the same for all texts with one skeleton.

    Attributes:
        factor: What the digits are multiplied by, for their sign and for `K` or `M` behind them.
        start: Where the digits begin.
        digits: They, with their separators.
        end: Where the exponent ends.
        unit: Currency, percent sign or another unit.
        limit: `<` and the like before it.
        is_dressed: Whether it may as well be a code: with a unit that is no currency, a limit, or a sign at its end.
    """

    factor: float
    start: int
    digits: str
    end: int
    unit: str
    limit: str
    is_dressed: bool

    def shape_of(self, text: str) -> str:
        """Return the digits of the skeleton, with a zero at the start where the text has one: `0,999` for `0,123`."""
        return "0" + self.digits[1:] if text[self.start].translate(_ALIKE) == "0" else self.digits

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
    forms = _find_kept_forms(texts, counts, float(counts.sum() - needed))
    shapes: dict[str, _Shape] = defaultdict(_Shape)
    weights: Counter[str] = Counter()
    for text, form, count in forms:
        if not shapes[form.shape_of(text)].add(form.cut(text)[0], count):
            weights[form.unit] += count
    units = set(weights)
    if len(units - {""}) > 1 or ("%" in units and len(units) > 1):
        shown = " and ".join(repr(unit) if unit else "none" for unit in sorted(units))
        return Reading(None, f"its values have different units ({shown})") if len(units) <= _MAX_UNITS else NO_NUMBERS
    fitting = {style: frozenset(filter(style.fits, shapes)) for style in STYLES}
    enough = [style for style in STYLES if sum(shapes[shape].weight for shape in fitting[style]) >= needed]
    best = [style for style in enough if all(fitting[style] >= fitting[other] for other in enough)]
    if best and fitting[best[0]]:
        explained = {shape: shapes[shape] for shape in fitting[best[0]]}
        found = _settle(best, explained, units, decimal_comma=decimal_comma)
        unit = max(units - {""}, default="")
        if found.style is None or not unit:
            return found
        return Reading(replace(found.style, percent=True) if unit == "%" else replace(found.style, unit=unit))
    return Reading(None, "its numbers are written in different ways") if any(fitting[s] for s in enough) else NO_NUMBERS


def _find_kept_forms(
    texts: Sequence[str], counts: NDArray[np.int64], most_others: float
) -> list[tuple[str, _Form, int]]:
    """Return texts that are written numbers with their form and how often each occurs; none where too many are none.

    Those with units, limits or the like count where the column has many numbers. A unit that hardly occurs is left out,
    as words are that hardly occur.
    """
    found: list[tuple[str, _Form, int]] = []
    others = 0
    for (text, form), count in zip(_find_forms(texts), counts.tolist(), strict=True):
        if form is not None:
            found.append((text, form, count))
            continue
        others += count
        if others > most_others:  # free text ends here soon
            return []
    if sum(not form.limit for _, form, _ in found) < _MIN_DRESSED:
        found = [one for one in found if not one[1].is_dressed]
    weights: Counter[str] = Counter()
    for _, form, count in found:
        weights[form.unit] += count
    rare = {unit for unit, weight in weights.items() if weight <= most_others and unit not in {"", "%"}}
    rare = {unit for unit in rare if not is_currency(unit)}
    return [one for one in found if one[1].unit not in rare]


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
    if sign == "." and not any(map(is_currency, units)):
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
    if found is None or (found["before"] and found["after"]):
        return None
    signs = found["sign"] + found["late_sign"] + found["minus"]
    if len(signs) > 1:
        return None
    is_negative = signs == "-" or found["bracket"] is not None
    unit = found["before"] or found["after"]
    unit = _ONE_CURRENCY.get(unit, unit)
    factor = (-1 if is_negative else 1) * _SCALES.get(found["scale"], 1.0)
    extras = found["limit"], found["scale"], found["minus"], unit if unit != "%" and not is_currency(unit) else ""
    return _Form(
        factor, found.start("digits"), found["digits"], found.end("exponent"), unit, found["limit"], any(extras)
    )


def is_bare(text: str) -> bool:
    """Tell whether a text is a number, with a currency or a percent sign at most, in the digits that programs read."""
    form = next(_find_forms([text]))[1]
    return form is not None and not form.is_dressed and not any(map(str.isdecimal, re.sub(r"[0-9\s]", "", text)))


def is_currency(unit: str) -> bool:
    """Tell whether a unit is one of money."""
    return bool(unit) and re.fullmatch(_CURRENCY, unit) is not None


@cache
def _pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    fraction = rf"{re.escape(decimal)}[0-9]+"
    grouped = rf"[1-9][0-9]{{0,2}}(?:{re.escape(thousands)}[0-9]{{3}})+|" if thousands else ""
    if thousands == ",":  # 12,34,567 in India
        grouped += r"[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}|"
    return re.compile(rf"(?:{grouped}[0-9]+)(?:{fraction})?|{fraction}")
