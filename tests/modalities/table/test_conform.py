"""New rows: read as the training rows were, or said; never guessed in silence."""

import datetime as dt
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.modalities.table.conform import TrainingColumn, conform_rows
from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.modalities.table.written_dates import CLOCK, ISO, DateStyle
from metaflow_hpo.modalities.table.written_numbers import NumberStyle

NUMBER = TrainingColumn("a", True)
GERMAN = TrainingColumn("a", True, style=NumberStyle(",", "."))
PERCENT = TrainingColumn("a", True, style=NumberStyle(".", "", percent=True))
TRUTH = TrainingColumn("a", True, is_truth=True)
DATE = TrainingColumn("a", True, style=ISO)
DAY_FIRST = TrainingColumn("a", True, style=DateStyle("dmy"))
MONTH_FIRST = TrainingColumn("a", True, style=DateStyle("mdy"))
TIME = TrainingColumn("a", True, style=CLOCK)
PLAIN = TrainingColumn("a", True, style=NumberStyle(".", ""))
KILOS = TrainingColumn("a", True, style=NumberStyle(".", "", unit="kg"))
EUROS = TrainingColumn("a", True, style=NumberStyle(".", ",", unit="€"))
PLACES = TrainingColumn("a", False, categories=("New York", "a-b", "café"))
DIGITS = TrainingColumn("a", True, style=DateStyle("digits"))
TEXT = TrainingColumn("a", False, categories=("007", "red", "1"))
YES = TrainingColumn("a", False, categories=("yes", "no"))
WORDS = TrainingColumn("a", False, categories=("None", "Gold"))
DAY = 18_700  # 2021-03-14


def conform(values: object, column: TrainingColumn, **given: bool) -> tuple[list[object], str]:
    found = conform_rows(pd.DataFrame({"a": values}), [column], **given)
    return found.features["a"].tolist(), " ".join(found.notes)


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        (NUMBER, [1, 2.5], [1, 2.5]),
        (NUMBER, ["1", " 2.5 ", "1e3"], [1, 2.5, 1000]),
        (NUMBER, [True, False], [1, 0]),
        (NUMBER, ["True", "FALSE"], [1, 0]),
        (NUMBER, ["7", "", None, "NA", "?", "null", "None", "nan"], [7, *[np.nan] * 7]),
        (NUMBER, [None, None], [np.nan, np.nan]),
        (GERMAN, ["1.234", "950 €", "5,5", "?"], [1234, 950, 5.5, np.nan]),
        (GERMAN, [1.5, "1.500", None], [1.5, 1500, np.nan]),
        (GERMAN, [1.5, 2], [1.5, 2]),
        (PERCENT, ["12%", "7.5 %"], [12, 7.5]),
        (DATE, ["2021-03-14", "2021/03/14", "14 Mar 2021"], [DAY] * 3),
        (DATE, pd.date_range("2021-03-14", periods=2, freq="12h"), [DAY, DAY + 0.5]),
        (DATE, [dt.date(2021, 3, 14), None], [DAY, np.nan]),
        (DATE, [20210314, 20210315, 20210316], [DAY, DAY + 1, DAY + 2]),
        (DAY_FIRST, ["03/04/2021"], [DAY + 20]),
        (MONTH_FIRST, ["03/14/2021", "03/04/2021"], [DAY, DAY - 10]),
        (DIGITS, [20210314], [DAY]),
        (DIGITS, ["20210314", None], [DAY, np.nan]),
        (TEXT, ["007", " red ", "", None], ["007", "red", np.nan, np.nan]),
        (TEXT, [1, 1.0], ["1", "1"]),
        (TrainingColumn("a", False), ["007", " 1.0 ", "new"], ["007", "1.0", "new"]),  # nothing known, nothing said
        (WORDS, ["None", "Gold", None, "NA"], ["None", "Gold", np.nan, np.nan]),
        (TEXT, ["None", "red"], [np.nan, "red"]),
        (TIME, ["1:30:00", "12:00:00", "1:00:00 PM"], [0.0625, 0.5, 13 / 24]),
        (TIME, ["0 days 12:00:00", "1 day, 6:00:00", "-1 days +12:00:00"], [0.5, 1.25, -0.5]),
        (TIME, [dt.time(12), dt.time(6)], [0.5, 0.25]),
        (TIME, pd.to_timedelta([12, 36], unit="h"), [0.5, 1.5]),
        (TIME, [dt.time(12), "06:00:00"], [0.5, 0.25]),
        (DATE, [dt.datetime(2021, 3, 14), "2021-03-15"], [DAY, DAY + 1]),
        (DATE, ["14 mars 2021", "14MAR2021", "14 de marzo de 2021"], [DAY] * 3),
        (DATE, ["2021/03/14 1:00:00 PM GMT+1", "Sun Mar 14 12:00:00 +0000 2021"], [DAY + 0.5] * 2),
        (KILOS, ["12 kg", "<3kg", "0"], [12, 3, 0]),
        (EUROS, ["1,250 €", "EUR 3", "5"], [1250, 3, 5]),
        (PLAIN, ["<0.5", "1.5M", "3-"], [0.5, 1.5e6, -3]),
    ],
)
def test_what_is_written_as_in_the_training_rows_is_read_without_a_word(
    column: TrainingColumn, values: object, expected: list[object]
) -> None:
    found, notes = conform(values, column)
    pd.testing.assert_series_equal(pd.Series(found), pd.Series(expected), check_dtype=False)
    assert notes == ""


@pytest.mark.parametrize(
    ("column", "values", "expected", "note"),
    [
        (NUMBER, ["$5,190.00", "$80.50"], [5190, 80.5], r"2 values are written in another way .* '\$5,190.00' as 5190"),
        (NUMBER, ["12", "$5,190.50"], [12, 5190.5], r"read '\$5,190.50' as 5190.5"),
        (NUMBER, ["12%", "7%"], [12, 7], "read '12%' as 12 percent"),
        (NUMBER, ["1,5", "2,25"], [1.5, 2.25], "read '1,5' as 1.5"),
        (NUMBER, ["(3.50)", "2.00"], [-3.5, 2], r"read '\(3.50\)' as -3.5"),
        (NUMBER, ["1", "x", "2"], [1, np.nan, 2], r"1 of 3 values cannot be read and count as missing \('x'\)"),
        (NUMBER, [1.0, np.inf], [1, np.nan], "1 infinite values count as missing"),
        (NUMBER, ["2021-03-14"], [DAY], "a date, as days since 1970-01-01"),
        (GERMAN, ["1,234.50", "2.50"], [1234.5, 2.5], "read '1,234.50' as 1234.5"),
        (PERCENT, ["0.12", "0.5"], [0.12, 0.5], "'0.12' as a percentage: the training rows had a percent sign"),
        (PERCENT, [0.12, 0.5], [0.12, 0.5], "0.12 as 0.12 percent: the training rows had a percent sign"),
        (TRUTH, ["yes", "No"], [1, 0], "read 'yes' as 1"),
        (DATE, ["14.03.2021"], [DAY], "read '14.03.2021' as 18700 .a date"),
        (DATE, ["2021-03-14", "soon"], [DAY, np.nan], r"1 of 2 values cannot be read and count as missing \('soon'\)"),
        (DAY_FIRST, ["03/14/2021", "03/13/2021"], [DAY, DAY - 1], "written in another way"),
        (TEXT, ["RED", "Red"], ["red", "red"], "2 values are spelt in another way .* read 'RED' as 'red'"),
        (TEXT, [7, 1], ["007", "1"], "read '7' as '007'"),
        (TEXT, ["1.00"], ["1"], "read '1.00' as '1'"),
        (TEXT, ["blue", "red"], ["blue", "red"], r"1 of 2 values are categories that training never saw \('blue'\)"),
        (YES, ["True", "f", "no"], ["yes", "no", "no"], "2 values are spelt in another way"),
        (YES, [True, False], ["yes", "no"], "read 'true' as 'yes'"),
        (YES, [1, 0], ["yes", "no"], "read '1' as 'yes'"),
        (YES, ["VRAI", "faux"], ["yes", "no"], "read 'VRAI' as 'yes'"),
        (TRUTH, ["WAHR", "FALSCH"], [1, 0], "read 'WAHR' as 1"),
        (TRUTH, [1, 2], [1, 2], r"1 of 2 values are neither 0 nor 1, as all in the training rows \('2'\)"),
        (KILOS, ["12", "3 kg"], [12, 3], "read '12' as kg: the training rows had that unit"),
        (KILOS, [12.0], [12], "read 12 as 12 kg: the training rows had that unit"),
        (KILOS, ["12 kg", "900 g"], [12, np.nan], r"1 of 2 values cannot be read and count as missing \('900 g'\)"),
        (PERCENT, ["12%", "0.5"], [12, 0.5], "'0.5' as a percentage: the training rows had a percent sign"),
        (DATE, ["20210314", "20210315"], [DAY, DAY + 1], "read '20210314' as 18700 .a date"),
        (DATE, ["2021-03-14", 5], [DAY, np.nan], r"1 of 2 values cannot be read and count as missing \('5'\)"),
        (
            NUMBER,
            [dt.datetime(2021, 3, 14)],
            [DAY],
            "the training rows had numbers: read '2021-03-14 00:00:00' as 18700",
        ),
        (NUMBER, [dt.time(12)], [0.5], "the training rows had numbers: read '12:00:00' as 0.5 .a time"),
        (NUMBER, ["\u22123.5", "2"], [-3.5, 2], "written in another way"),
        (PLACES, ["New\u00a0York", "new  york"], ["New York"] * 2, "2 values are spelt in another way"),
        (PLACES, ["a\u2013b", "a-b\u200b"], ["a-b"] * 2, "2 values are spelt in another way"),
        (PLACES, ["cafe\u0301", "CAFÉ"], ["café"] * 2, "2 values are spelt in another way"),
    ],
)
def test_what_is_written_in_another_way_is_read_as_a_new_table_would_be_and_said(
    column: TrainingColumn, values: object, expected: list[object], note: str
) -> None:
    found, notes = conform(values, column)
    pd.testing.assert_series_equal(pd.Series(found), pd.Series(expected), check_dtype=False)
    assert re.search(note, notes), notes


@pytest.mark.parametrize(
    ("column", "values", "match"),
    [
        (NUMBER, ["x", "y", None], r"numbers in the column 'a', .* none of its 3 values can be read \('x', 'y'\)"),
        (NUMBER, ["1,234", "2,345"], r"none of its 2 values"),  # 1.234 or 1234: nothing tells
        (DATE, ["03/04/2021"], "dates in the column 'a'"),  # March or April
        (DATE, [44269.0, 44270.0], "dates in the column 'a'"),
        (DATE, ["soon"], "Write them as in the table that was trained on"),
        (DIGITS, [12], "dates in the column 'a'"),
        (DATE, ["2021"], "dates in the column 'a'"),
        (DATE, ["13:45"], "dates in the column 'a'"),
        (DATE, pd.to_timedelta([1], unit="h"), "dates in the column 'a'"),
        (DATE, [dt.time(12)], "dates in the column 'a'"),
        (DATE, [1_615_680_000], "dates in the column 'a'"),
        (TIME, ["23:45"], "times in the column 'a'"),  # minutes and seconds, or hours and minutes
        (TIME, ["5025"], "times in the column 'a'"),
        (TIME, [0.05], "times in the column 'a'"),
        (TIME, [dt.datetime(2021, 3, 14)], "times in the column 'a'"),
        (KILOS, ["900 g", "800 g"], "numbers in kg in the column 'a'"),
        (KILOS, [f"{n} g" for n in range(20)], "numbers in kg in the column 'a'"),
        (EUROS, ["$5.00"], "numbers in € in the column 'a'"),
        (EUROS, ["5%"], "numbers in € in the column 'a'"),
        (NUMBER, ["12 kg", "13 kg"], "numbers in the column 'a'"),
        (GERMAN, ["12 kg"], "numbers in the column 'a'"),
    ],
)
def test_a_column_of_which_nothing_can_be_read_is_refused(column: TrainingColumn, values: object, match: str) -> None:
    with pytest.raises(InvalidTableError, match=match):
        conform(values, column)


def test_the_file_tells_what_a_comma_means_where_the_column_does_not() -> None:
    assert conform(["1,234", "2,345"], NUMBER, decimal_comma=True)[0] == [1.234, 2.345]


def test_columns_are_found_in_any_order_and_others_are_left_out() -> None:
    rows = pd.DataFrame({"extra": [1, 2], " colour ": [1, 2.0], "a": ["7.5", "?"]})
    found = conform_rows(rows, [NUMBER, TrainingColumn("colour", False)])
    assert list(found.features.columns) == ["a", "colour"]
    assert found.features["a"].tolist()[0] == 7.5
    assert found.features["colour"].tolist() == ["1", "2"]
    assert found.notes == ()


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["b", "c"], r"missing columns: 'a'\. Give the columns"),
        (["A", "b"], "missing columns: 'a'. Rename 'A' to 'a'?"),
        (["b", "body mass"], "Rename 'body mass' to 'body_mass'?"),
        (["a", "a"], "'a' more than once"),
    ],
)
def test_missing_renamed_and_repeated_columns_are_named(names: list[str], match: str) -> None:
    wanted = [TrainingColumn("body_mass" if "body" in match else "a", True)]
    with pytest.raises(InvalidTableError, match=match):
        conform_rows(pd.DataFrame([[1, 2]], columns=names), wanted)


def test_a_table_without_rows_is_refused() -> None:
    with pytest.raises(InvalidTableError, match="found 0 rows"):
        conform_rows(pd.DataFrame({"a": []}), [NUMBER])


@pytest.mark.parametrize(
    "content",
    [
        "years\n1\n2.5\n",
        "years\r\n1\r\n2.5\r\n",
        '"years"\n"1"\n"2.5"\n',
        "years,salary\n1,\n2.5,\n",
        "\ufeffyears\n1\n2.5",
    ],
)
def test_a_file_of_one_column_is_read_where_one_is_needed(tmp_path: Path, content: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(content, encoding="utf-8")
    rows = read_table(path, names=["years"], min_columns=1, settles_words=False)
    assert conform_rows(rows, [TrainingColumn("years", True)]).features["years"].tolist() == [1, 2.5]


def test_one_column_of_text_is_not_cut_at_its_blanks_or_commas(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("home town\nNew York\nParis, Texas\n")
    rows = read_table(path, names=["home town"], as_written=["home town"], min_columns=1, settles_words=False)
    assert rows["home town"].tolist() == ["New York", "Paris, Texas"]
