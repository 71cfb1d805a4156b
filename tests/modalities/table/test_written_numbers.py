"""Numbers written for people: one style a column, or none with the reason."""

import numpy as np
import pytest

from metaflow_hpo.modalities.table.written_numbers import NO_NUMBERS, NumberStyle, find_style

TENS = tuple(map(str, range(10, 20)))


def find(*texts: str, fraction: float = 0.95, decimal_comma: bool = False):
    return find_style(texts, np.ones(len(texts), np.int64), fraction, decimal_comma=decimal_comma)


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (("$1,234.50", "$950", "0"), (1234.5, 950, 0)),
        (("12.3%", "7 %", "-0.5%"), (12.3, 7, -0.5)),
        (("1 234,5", "12,25"), (1234.5, 12.25)),
        (("1\u00a0234,5", "12\u202f345,25"), (1234.5, 12345.25)),
        (("1.234,50 €", "12 €", "1.000.000 €"), (1234.5, 12, 1e6)),
        (("1'234.5", "2", "1\u2019000"), (1234.5, 2, 1000)),
        (("(1,234.50)", "2.00", "-$3.25", "$-4.00"), (-1234.5, 2, -3.25, -4)),
        (("\u22125,5", "+3,25", "1,5e3"), (-5.5, 3.25, 1500)),
        (("USD 1,250.00", "USD 3"), (1250, 3)),
        ((".5%", "1.5%"), (0.5, 1.5)),
        (("1,234,567", "1,234"), (1234567, 1234)),  # a second comma decides
        (("1,234", "12,5"), (1.234, 12.5)),  # so does a group that is none
        (("0,123", "0,456"), (0.123, 0.456)),  # and a leading zero
        (("1,234", "950", "1,250"), (1234, 950, 1250)),  # nobody writes 1.250 and 950 with the same decimals
        (("1 250", "950"), (1250, 950)),
        (("1.234 €", "950 €", "1.250 €"), (1234, 950, 1250)),
        (("1.234", "2.5", "x", *["3.5"] * 60), (1.234, 2.5, np.nan, *[3.5] * 60)),
        (("1,25,000", "₹12,50,000", "₹95,000"), (125_000, 1_250_000, 95_000)),  # as in India
        (("1 234 Kč", "12 345 Kč", "999 Kč"), (1234, 12345, 999)),
        (("R$ 1.234,50", "R$ 12,00"), (1234.5, 12)),
        (("\u20135,5", "3,2"), (-5.5, 3.2)),  # an en dash is a minus, too
        (("\u06f1\u06f2\u066b\u06f5", "\u06f3"), (12.5, 3)),
        ((*TENS, "5.5"), (*range(10, 20), 5.5)),
        (tuple(f"{text} kg" for text in TENS), tuple(range(10, 20))),
        (tuple(f"{text}m²" for text in TENS), tuple(range(10, 20))),
        ((*(f"{text} mg/dL" for text in TENS * 2), "3 g"), (*range(10, 20), *range(10, 20), np.nan)),
        ((*(f"{text},5-" for text in TENS), "3,5"), (*-np.arange(10.5, 20), 3.5)),
        ((*TENS, "<0.5", "> 900"), (*range(10, 20), 0.5, 900)),
        ((*(f"€{text}.5M" for text in TENS), "€565K", "€0"), (*np.arange(10.5, 20) * 1e6, 565_000, 0)),
    ],
)
def test_a_column_that_is_written_in_one_way_is_read(texts: tuple[str, ...], numbers: tuple[float, ...]) -> None:
    found = find(*texts)
    assert found.style is not None
    assert found.doubt == ""
    np.testing.assert_array_equal(found.style.read(texts), numbers)


@pytest.mark.parametrize(
    ("texts", "doubt"),
    [
        (("1,234", "2,345"), "1,234 may be 1234 or 1.234"),
        (("$3.459", "$3.999"), "3.459 may be 3459 or 3.459"),
        (("1,234", "950", "1,251"), "1,234 may be 1234 or 1.234"),
        (("12.3%", ".2"), r"its values have different units (none and '%')"),
        (("$5", "€5"), r"its values have different units ('$' and '€')"),
        (
            (*(f"{text} kg" for text in TENS), *(f"{text}00 g" for text in TENS)),
            "its values have different units ('g' and 'kg')",
        ),
    ],
)
def test_what_is_open_is_left_with_the_reason(texts: tuple[str, ...], doubt: str) -> None:
    found = find(*texts)
    assert (found.style, found.doubt) == (None, doubt)


def test_the_file_decides_where_the_column_does_not() -> None:
    assert find("1,234", "2,345", decimal_comma=True).style == NumberStyle(",", "")
    assert find("1,234", "950", "1,250", decimal_comma=True).style == NumberStyle(".", ",")


@pytest.mark.parametrize(
    "texts",
    [
        ("abc", "1,2"),
        ("12.05.2020", "13.05.2020"),
        ("101 234", "202 345"),  # blocks of one shape: codes, telephone numbers
        ("192.168.0.1", "10.0.0.1"),
        ("5'11", "6'2"),
        ("1-2", "3-4"),
        ("+-5", "$5$"),
        ("9" * 50, "1" * 50),
        ("", " "),
        ("<=50K", ">50K"),  # classes
        ("12A", "14A"),
        ("1st", "2nd", "3rd"),
        tuple(f"{text}{end}" for text in TENS for end in "ABCD"),
        (*(f"{text}." for text in TENS), "Q1"),
    ],
)
def test_what_is_no_number_is_not_read_and_nothing_is_said(texts: tuple[str, ...]) -> None:
    assert find(*texts) == NO_NUMBERS


def test_rows_count_not_texts_and_their_order_plays_no_role() -> None:
    texts = ["1,5", "2,5", "none"]
    assert find_style(texts, np.array([90, 9, 1]), 0.95).style == NumberStyle(",", "")
    assert find_style(texts[::-1], np.array([1, 9, 90]), 0.95).style == NumberStyle(",", "")
    assert find_style(texts, np.array([50, 9, 41]), 0.95) == NO_NUMBERS
    assert find_style(texts, np.array([90, 9, 1]), 1.0) == NO_NUMBERS
    np.testing.assert_array_equal(NumberStyle(",", "").read(texts), [1.5, 2.5, np.nan])
