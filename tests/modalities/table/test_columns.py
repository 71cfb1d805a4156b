"""Columns: ids and row numbers, dates in every form, marks of missing values that are numbers."""

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.modalities.table.columns import clean_columns, describe_extremes
from metaflow_hpo.modalities.table.written_dates import DateStyle

ROWS = 120
DAYS = pd.Series(pd.date_range("2021-03-14", periods=ROWS))
DRAWN = np.random.default_rng(0).permutation(400)[:ROWS]


def clean(name: str, values: object, **given: bool) -> tuple[list[str], str]:
    frame = pd.DataFrame({name: values, "x": np.random.default_rng(1).normal(size=ROWS)})
    columns, notes, _ = clean_columns(frame, **given)
    return list(columns.columns), " ".join(notes)


@pytest.mark.parametrize(
    ("name", "values", "note"),
    [
        ("Unnamed: 0", DRAWN, "Dropped the index of a saved table: 'Unnamed: 0'."),
        ("Unnamed: 0", np.arange(ROWS), "the index of a saved table"),
        ("", DRAWN, "the index of a saved table"),
        ("Unnamed: 0", [f"car {n}" for n in DRAWN], "names of rows (every value different)"),
        ("id", np.arange(ROWS), "row numbers: 'id'"),
        ("id", DRAWN, "identifiers (whole numbers, all different): 'id'"),
        ("ID", DRAWN, "identifiers"),
        ("PassengerId", DRAWN, "identifiers"),
        ("customer_id", DRAWN, "identifiers"),
        ("Customer ID", DRAWN, "identifiers"),
        ("row", np.arange(ROWS) + 1, "row numbers"),
        ("lfd. Nr.", np.arange(ROWS) + 1, "row numbers"),
        ("uuid", DRAWN, "identifiers"),
        ("key", [f"k{n}" for n in DRAWN], "identifiers (text, every value different)"),
    ],
)
def test_what_only_numbers_the_rows_is_left_out_and_said(name: str, values: object, note: str) -> None:
    left, notes = clean(name, values)
    assert left == ["x"]
    assert note in notes


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Unnamed: 0", np.arange(ROWS) % 7),  # repeats
        ("Unnamed: 0", np.arange(ROWS) / 4),  # fractions
        ("id", np.arange(ROWS) % 50),
        ("id", np.where(np.arange(ROWS) == 3, np.nan, DRAWN)),
        ("year", np.arange(ROWS) + 1900),
        ("distance", DRAWN),
        ("grid", DRAWN),
        ("acid", DRAWN),
        ("humid", DRAWN),
        ("valid", DRAWN),
        ("no2", DRAWN),
    ],
)
def test_other_numbers_stay(name: str, values: object) -> None:
    assert clean(name, values)[0] == [name, "x"]


def test_ids_of_columns_that_were_chosen_by_hand_stay() -> None:
    assert clean("id", DRAWN, is_curated=True)[0] == ["id", "x"]
    assert clean("id", np.arange(ROWS), is_curated=True)[0] == ["x"]
    assert clean("when", [f"{n % 28 + 1}.03.2021" for n in range(ROWS)], is_curated=True)[1] == ""


@pytest.mark.parametrize(
    ("values", "style", "note"),
    [
        (DAYS, "ymd", ""),
        (DAYS.dt.strftime("%Y/%m/%d"), "ymd", "'2021/03/14' is"),
        (DAYS.dt.strftime("%d.%m.%Y"), "dmy", " is 2021-"),
        (DAYS.dt.strftime("%m/%d/%Y"), "mdy", " is 2021-"),
        (DAYS.dt.strftime("%d %b %Y"), "ymd", " is 2021-"),
        (
            pd.Series(pd.date_range("2021-03-14", periods=ROWS)).dt.strftime("%Y%m%d").astype(int),
            "digits",
            "20210314 is",
        ),
    ],
)
def test_dates_are_days_in_whatever_form(values: pd.Series, style: str, note: str) -> None:
    columns, notes, styles = clean_columns(pd.DataFrame({"date": values}))
    assert columns["date"].tolist() == list(range(18_700, 18_700 + ROWS))
    assert styles == {"date": DateStyle(style)}
    assert "'date': dates became days since 1970-01-01" in notes[0]
    assert note in notes[0]


def test_dates_that_leave_day_and_month_open_are_said_and_never_called_identifiers() -> None:
    values = [f"{n % 12 + 1:02d}/{n // 12 + 1:02d}/2021" for n in range(ROWS)]
    left, notes = clean("date", values)
    assert left == ["x"]
    assert "looks like dates" in notes
    assert "write dates as 2021-03-14" in notes
    assert "identifiers" not in notes
    assert clean("date", [values[n % 5] for n in range(ROWS)])[0] == ["date", "x"]


@pytest.mark.parametrize(
    ("mark", "rows"),
    [(-999, 5), (-9999, 1), (999, 8), (99999, 2), (-99, 3), (1e200, 1), (1.7976931348623157e308, 4), (-3.4e38, 2)],
)
def test_numbers_that_stand_for_none_are_named(mark: float, rows: int) -> None:
    values = pd.Series(np.random.default_rng(0).normal(size=ROWS))
    values[:rows] = mark
    assert f"{mark:.10g} ({rows} rows) lies far from the other values" in describe_extremes(values)
    assert f"{mark:.10g}" in clean("a", values)[1]


@pytest.mark.parametrize(
    "values",
    [
        np.arange(ROWS) * 9.0,  # 999 is one among others
        np.arange(ROWS) + 900.0,
        np.random.default_rng(0).normal(size=ROWS) * 1e35,
        np.random.default_rng(0).normal(size=ROWS).round(2),
        [0.0, 1.0] * (ROWS // 2),
        [99.0, 98.0, 97.0] * (ROWS // 3),
    ],
)
def test_other_extremes_are_not(values: object) -> None:
    assert describe_extremes(pd.Series(values)) == ""
