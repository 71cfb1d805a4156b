"""Dates as people write them: one order a column, or none with the reason."""

import numpy as np
import pytest

from metaflow_hpo.modalities.table.written_dates import (
    DateReading,
    DateStyle,
    find_clock,
    find_date_style,
    find_dates_in_numbers,
    say_day,
)

DAY = 18_700  # 2021-03-14


def find(*texts: str, fraction: float = 0.95) -> DateReading:
    return find_date_style(texts, np.ones(len(texts), np.int64), fraction)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("2021-03-14", "ymd"),
        ("2021/03/14", "ymd"),
        ("2021.3.14", "ymd"),
        ("14.03.2021", "dmy"),
        ("14. 3. 2021", "dmy"),
        ("14/3/2021", "dmy"),
        ("14-03-2021", "dmy"),
        ("14.03.21", "dmy"),
        ("03/14/2021", "mdy"),
        ("3/14/21", "mdy"),
        ("14 Mar 2021", "ymd"),
        ("14-Mar-21", "ymd"),
        ("14. März 2021", "ymd"),
        ("Mar 14, 2021", "ymd"),
        ("March 14 2021", "ymd"),
        ("14th March 2021", "ymd"),
        ("2021-Mar-14", "ymd"),
        ("Sun, 14 Mar 2021", "ymd"),
        ("Sunday 14 March 2021", "ymd"),
        ("14MAR2021", "ymd"),
        ("14 mars 2021", "ymd"),
        ("14 de marzo de 2021", "ymd"),
        ("14 marzo 2021", "ymd"),
        ("14 mrt 2021", "ymd"),
        ("dimanche 14 mars 2021", "ymd"),
        ("Sonntag, 14. März 2021", "ymd"),
    ],
)
def test_every_usual_form_is_read(text: str, order: str) -> None:
    found = find(text)
    assert found == DateReading(DateStyle(order))
    assert found.style is not None
    assert found.style.read([text]).tolist() == [DAY]


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("2021-03-14T12:00:00", DAY + 0.5),
        ("2021/03/14 06:00", DAY + 0.25),
        ("14.03.2021 18:00:00.000", DAY + 0.75),
        ("3/14/2021 6:00 PM", DAY + 0.75),
        ("3/14/2021 12:00 a.m.", DAY),
        ("14 Mar 2021 12:00 UTC", DAY + 0.5),
        ("2021-03-14T12:00:00+02:00", DAY + 10 / 24),
        ("Mar 2021", DAY - 13),
        ("2021-03", DAY - 13),
        ("03/2021", DAY - 13),
        ("2021Q1", DAY - 72),
        ("2021-Q2", DAY + 18),
        ("Q2 2021", DAY + 18),
        ("2021-W10", DAY - 6),
        ("2021W107", DAY),
        ("14MAR2021:12:00:00", DAY + 0.5),
        ("Sun Mar 14 12:00:00 2021", DAY + 0.5),
        ("Sun Mar 14 12:00:00 +0000 2021", DAY + 0.5),
        ("Sun Mar 14 2021 13:00:00 GMT+0100 (CET)", DAY + 0.5),
        ("2021/03/14 1:00:00 PM GMT+1", DAY + 0.5),
        ("2021-03-14 13:00:00+01", DAY + 0.5),
        ("1er juin 2021", DAY + 79),
        ("2 juil. 2021", DAY + 110),
        ("3 août 2021", DAY + 142),
        ("14.03.69", DAY - 52 * 365 - 13),
    ],
)
def test_times_months_quarters_and_short_years_are_read(text: str, days: float) -> None:
    style = find(text).style
    assert style is not None
    assert style.read([text])[0] == pytest.approx(days, abs=1e-9)


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (("01/02/2021", "13/02/2021"), "dmy"),
        (("01/02/2021", "02/13/2021"), "mdy"),
        (("05.06.07", "31.12.99"), "dmy"),
        (("99-01-02", "98-01-02"), "ymd"),
        (("1/2/2021", "2021-03-14", "30/2/2021", *["14/1/2021"] * 30), "dmy"),
    ],
)
def test_a_day_above_12_tells_the_order_of_the_whole_column(texts: tuple[str, ...], order: str) -> None:
    assert find(*texts) == DateReading(DateStyle(order))


@pytest.mark.parametrize(
    ("texts", "doubt"),
    [
        (("03/04/2021", "05/06/2021"), "'03/04/2021' may be 2021-04-03 or 2021-03-04, and no day above 12 tells which"),
        (("3.4.2021", "5.6.2021"), "'3.4.2021' may be 2021-04-03 or 2021-03-04"),
        (("21-03-14", "21-03-15"), "'21-03-14' may be 2021-03-14 or 2014-03-21"),
    ],
)
def test_what_leaves_day_and_month_open_is_left_with_the_reason(texts: tuple[str, ...], doubt: str) -> None:
    found = find(*texts)
    assert found.style is None
    assert found.doubt.startswith(doubt)


@pytest.mark.parametrize(
    "texts",
    [
        ("1.2.3", "2.3.4"),
        ("20-45-67", "12-34-56"),
        ("192.168.0.1",),
        ("Mayor 2021x",),
        ("Maybe 2 2021 times",),
        ("14 Foo 2021",),
        ("2021-13-01",),
        ("30/02/2021",),
        ("1999-2000",),
        ("12:30",),
        ("2021-W60",),
        ("12abc2021",),
        ("", " "),
        ("x" * 100,),
    ],
)
def test_what_is_no_date_is_not_read_and_nothing_is_said(texts: tuple[str, ...]) -> None:
    assert find(*texts) == DateReading(None)


def test_a_few_other_values_do_not_keep_a_column_from_being_dates() -> None:
    texts = ["14.03.2021", "15.03.2021", "soon"]
    assert find_date_style(texts, np.array([50, 49, 1]), 0.95).style == DateStyle("dmy")
    assert find_date_style(texts, np.array([50, 30, 20]), 0.95).style is None
    np.testing.assert_array_equal(DateStyle("dmy").read(texts), [DAY, DAY + 1, np.nan])


@pytest.mark.parametrize(
    ("values", "order"),
    [
        ([20210314, 20210315, np.nan, 20211231], "digits"),
        ([1_615_680_000_000, 1_615_766_400_000, 1_615_852_800_000], "milliseconds"),
    ],
)
def test_whole_numbers_that_all_are_dates_are_read(values: list[float], order: str) -> None:
    style = find_dates_in_numbers(np.array(values))
    assert style == DateStyle(order)
    assert style.read_numbers(np.array(values))[:2].tolist() == [DAY, DAY + 1]


@pytest.mark.parametrize(
    "values",
    [
        [20210314, 20211331, 20210101],
        [20210314, 20210315],
        [1, 2, 3],
        [20210314.5] * 4,
        [1.6e12 + 1, 1.7e12, 1.8e12],
        [],
    ],
)
def test_other_numbers_stay_numbers(values: list[float]) -> None:
    assert find_dates_in_numbers(np.array(values, dtype=float)) is None


@pytest.mark.parametrize(
    ("texts", "order", "hours"),
    [
        (("13:45", "00:15"), "h:m", (13.75, 0.25)),
        (("1:05 PM", "12:30 AM"), "h:m", (13 + 5 / 60, 0.5)),
        (("1:30:00", "100:00:36"), "h:m:s", (1.5, 100.01)),
        (("2 days 03:00:00", "-1 days +23:00:00"), "h:m:s", (51, -1)),
        (("-00:30:00",), "h:m:s", (-0.5,)),
    ],
)
def test_times_of_day_and_durations_are_days(texts: tuple[str, ...], order: str, hours: tuple[float, ...]) -> None:
    found = find_clock(texts, np.ones(len(texts), np.int64), 0.95)
    assert found == DateReading(DateStyle(order))
    assert found.style is not None
    np.testing.assert_allclose(found.style.read(texts) * 24, hours, atol=1e-9)


def test_what_is_no_time_is_not_read() -> None:
    for texts in (("16:9", "4:3"), ("10:75",), ("12:30 x",)):
        assert find_clock(texts, np.ones(len(texts), np.int64), 0.95) == DateReading(None)
    doubt = find_clock(("23:45", "1:23:45"), np.ones(2, np.int64), 0.95).doubt
    assert doubt.startswith("'23:45' may be hours and minutes")
    assert np.isnan(DateStyle("h:m:s").read(["23:45"])[0])


def test_days_are_said_as_people_read_them() -> None:
    assert (say_day(DAY), say_day(DAY + 0.5)) == ("2021-03-14", "2021-03-14 12:00:00")
