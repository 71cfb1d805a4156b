"""Cells as people and programs write them: each is read as what it means, or the column is said to be text."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.modalities.table.columns import clean_column
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.text_columns import is_text

ROWS = 120
FRACTIONS = [f"{n / 100:.2f}" for n in range(301, 301 + ROWS)]
WHOLE = [str(n) for n in range(100, 100 + ROWS)]
CLASSES = ["yes", "no"] * (ROWS // 2)


def sometimes(word: str, others: list[str], every: int = 5) -> list[str]:
    return [word if n % every == 0 else text for n, text in enumerate(others)]


def written(tmp_path: Path, content: str, target: str = "y", **given: str) -> TableData:
    (tmp_path / "t.csv").write_text(content)
    return read_source(tmp_path / "t.csv", target, **given)


@pytest.mark.parametrize(
    "word",
    [
        "-",
        "--",
        "\u2014",
        ".",
        "..",
        "*",
        "#NV",
        "#DIV/0!",
        "#N/V",
        "\\N",
        ".A",
        "-1.#IND",
        "n.a.",
        "k.A.",
        "k. A.",
        "Unknown",
    ],
)
@pytest.mark.parametrize("others", [FRACTIONS, WHOLE])
def test_words_among_numbers_that_mean_none_are_missing_and_said(word: str, others: list[str]) -> None:
    column, note, _, doubt = clean_column(pd.Series(sometimes(word, others), name="a"))
    np.testing.assert_array_equal(column[1:5], [float(text) for text in others[1:5]])
    assert column.isna().sum() == ROWS / 5
    assert "24 values that are none became missing" in note
    assert doubt == ""


def test_any_few_words_among_fractions_are_missing() -> None:
    found = clean_column(pd.Series(sometimes("broken", sometimes("closed", FRACTIONS, 7)), name="a"))
    assert found.column.notna().sum() == ROWS - 24 - 18 + 4
    assert "('broken', 'closed')" in found.note


def test_words_among_whole_numbers_may_be_codes_so_that_these_are_said_and_stay() -> None:
    chromosomes = [str(n % 22 + 1) for n in range(ROWS)]
    found = clean_column(pd.Series(sometimes("X", sometimes("MT", chromosomes, 9)), name="a"))
    assert is_text(found.column)
    assert found.column[0] == "X"
    assert "left as text although it looks like numbers: 35 of 120 values are none ('MT', 'X')" in found.note


@pytest.mark.parametrize(
    ("values", "first", "note"),
    [
        ([f"{n} kg" for n in WHOLE], 100, "'219 kg' is 219"),
        ([f"{n}\u00b0C" for n in WHOLE], 100, ""),
        (sometimes("<0.5", FRACTIONS), 0.5, "'<0.5' is 0.5"),
        (sometimes("> 1000", WHOLE), 1000, "'> 1000' is 1000"),
        ([f"{n}-" for n in FRACTIONS], -3.01, ""),
        ([f"${n}K" for n in WHOLE], 100_000, "'$219K' is 219000"),
        ([f"\u20ac{n}M" for n in FRACTIONS], 3.01e6, ""),
        ([f"{n:,}".replace(",", "\u202f") for n in range(990, 990 + ROWS)], 990, ""),
        ([f"{n} 000 K\u010d" for n in WHOLE], 100_000, ""),
        ([f"{n // 60}:{n % 60:02d}:00" for n in range(60, 60 + ROWS)], 1 / 24, "times became days"),
        ([f"{n // 60:02d}:{n % 60:02d}" for n in range(60, 60 + ROWS)], 1 / 24, "times became days"),
        ([f"{n % 28 + 1} juin 2021" for n in range(ROWS)], 18_779, "dates became days since 1970-01-01"),
        ([f"{n % 28 + 1:02d}JUN2021" for n in range(ROWS)], 18_779, "dates became days"),
    ],
)
def test_units_limits_scales_times_and_dates_in_words_are_numbers(values: list[str], first: float, note: str) -> None:
    found = clean_column(pd.Series(values, name="a"))
    assert found.column.dtype == "float64"
    assert found.column[0] == pytest.approx(first)
    assert found.column.notna().all()
    assert note in found.note


def test_units_that_differ_are_said() -> None:
    found = clean_column(pd.Series([f"{n} {'kg' if i % 2 else 'g'}" for i, n in enumerate(WHOLE)], name="a"))
    assert "left as text although it looks like numbers: its values have different units ('g' and 'kg')" in found.note


def test_long_ids_are_not_made_equal() -> None:
    ids = pd.Series([10**17 + n for n in range(ROWS)], name="account")
    for column in (ids, ids.astype(object), ids.astype("uint64")):
        found = clean_column(column).column
        assert found.nunique() == ROWS
        assert is_text(found)
    assert clean_column(pd.Series([2**60, 2**61, 5])).column.dtype == "float64"  # these are told apart


def test_classes_that_are_long_numbers_are_told_apart(tmp_path: Path) -> None:
    lines = [f"{n % 7},{10**17 + n % 3}" for n in range(ROWS)]
    assert written(tmp_path, "a,y\n" + "\n".join(lines)).class_names == tuple(str(10**17 + n) for n in range(3))
    pd.DataFrame({"a": [n % 7 for n in range(ROWS)], "y": [10**17 + n % 3 for n in range(ROWS)]}).to_parquet(
        tmp_path / "t.parquet"
    )
    assert len(read_source(tmp_path / "t.parquet", "y").class_names) == 3


def test_classes_that_look_alike_are_named(tmp_path: Path) -> None:
    lines = [f"{n % 7},{('Yes', 'yes', 'no')[n % 3]}" for n in range(ROWS)]
    data = written(tmp_path, "a,y\n" + "\n".join(lines))
    assert len(data.class_names) == 3
    assert any("the classes 'Yes', 'yes' differ by capital letters" in note for note in data.task.notes)


@pytest.mark.parametrize("form", ["2021-{m:02d}-{d:02d}", "{d}.{m}.2021", "{d}:{m:02d}:00"])
def test_a_target_of_dates_or_times_is_refused_in_csv_as_in_parquet(tmp_path: Path, form: str) -> None:
    lines = [f"{n % 7},{form.format(d=n % 28 + 1, m=n % 12 + 1)}" for n in range(ROWS)]
    with pytest.raises(InvalidTaskError, match="'y' holds dates or times"):
        written(tmp_path, "a,y\n" + "\n".join(lines))


@pytest.mark.parametrize("word", ["-", ".", "#NV", "unknown"])
def test_a_target_of_numbers_with_a_word_for_none_loses_these_rows_and_says_so(tmp_path: Path, word: str) -> None:
    lines = [f"{n % 7},{text}" for n, text in enumerate(sometimes(word, FRACTIONS))]
    data = written(tmp_path, "a,y\n" + "\n".join(lines))
    assert data.task.kind == "regression"
    assert len(data.target) == ROWS * 4 / 5
    assert any(f"read as numbers; 24 values are none ({word!r})" in note for note in data.task.notes)


def test_a_target_with_units_is_a_regression(tmp_path: Path) -> None:
    data = written(tmp_path, "a,y\n" + "\n".join(f"{n % 7},{text} kg" for n, text in enumerate(FRACTIONS)))
    assert data.task.kind == "regression"
    assert data.target.max() == pytest.approx(4.2)


@pytest.mark.parametrize("last", ["Total,7140,{sum}", "Gesamt,,{sum}", "Grand Total,7140,{sum}", "Mean,59.5,{mean}"])
def test_a_row_of_totals_is_left_out_and_said(tmp_path: Path, last: str) -> None:
    numbers = [n * 1.37 for n in range(ROWS)]
    lines = [f"{'NS'[n % 2]},{n},{number}" for n, number in enumerate(numbers)]
    lines.append(last.format(sum=sum(numbers), mean=sum(numbers) / ROWS))
    data = written(tmp_path, "region,units,y\n" + "\n".join(lines))
    assert len(data.target) == ROWS
    assert any(note.startswith("Left out the last row") for note in data.task.notes)


def test_a_last_row_with_such_a_word_stays_where_it_is_a_value(tmp_path: Path) -> None:
    lines = [f"{'max' if n < ROWS - 1 else 'mean'},{n % 50},{n * 1.37}" for n in range(ROWS)]
    assert len(written(tmp_path, "pooling,width,y\n" + "\n".join(lines)).target) == ROWS


def test_dates_in_words_are_not_called_sentences(tmp_path: Path) -> None:
    lines = [f"{n % 28 + 1} juin 2021,{n % 7},{CLASSES[n]}" for n in range(ROWS)]
    notes = " ".join(written(tmp_path, "quand,a,y\n" + "\n".join(lines)).task.notes)
    assert "dates became days" in notes
    assert "sentences" not in notes
