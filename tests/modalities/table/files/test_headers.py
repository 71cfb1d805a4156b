"""Names of columns: below titles, groups, comments and `sep=`, beside names of rows; and as before in the first row."""

from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.modalities.table.files.header import find_header
from metaflow_hpo.modalities.table.files.tables import read_table

ROWS = [(i, i / 4, i % 2) for i in range(30)]
NAMES = ("a", "b", "y")


def csv_of(*above: str, separator: str = ",", names: tuple[str, ...] = NAMES) -> str:
    lines = [separator.join(names), *(separator.join(map(str, row)) for row in ROWS)]
    return "\n".join([*above, *lines]) + "\n"


def assert_is_the_table(table: pd.DataFrame) -> None:
    assert list(table.columns)[-3:] == list(NAMES)
    assert [tuple(row) for row in table[list(NAMES)].itertuples(index=False)] == ROWS


@pytest.mark.parametrize(
    ("content", "note"),
    [
        (csv_of(), ""),
        (csv_of("Sales report 2026"), "Took line 2 as names of the columns."),
        (csv_of("Sales report 2026", ""), "Took line 3 as names of the columns."),
        (csv_of("Sales report 2026,,", ",,"), "Took line 3 as names of the columns."),
        (csv_of('"Report, of 2026"', "by: me, you"), "Took line 3 as names of the columns."),
        (csv_of("Report;", "", separator=";"), "Took line 3 as names of the columns."),
        (csv_of("# made by a tool"), "Took line 2 as names"),
        (csv_of("# made by a tool", "# on, a, day", "#"), "Took line 4 as names"),
        (csv_of("sep=;", separator=";"), ""),
        (csv_of('"sep=,"'), ""),
        (csv_of("sep=|", separator="|"), ""),
        (csv_of(separator=" "), ""),
        (csv_of(separator="   "), ""),
        (csv_of(separator="\t"), ""),
        (csv_of().replace("a,b,y", "# a,b,y"), ""),
        (csv_of("# version 3").replace("a,b,y", "# a,b,y"), "Took line 2 as names"),
        (csv_of() + "# the end\n", "Left out 1 comment lines."),
        (csv_of().replace("\n3,", "\n# half, way\n3,"), "Left out 1 comment lines."),
    ],
)
@pytest.mark.parametrize("target", ["y", None])
def test_names_are_found_below_whatever_stands_above_them(
    tmp_path: Path, content: str, note: str, target: str | None
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    table = read_table(path, names=[target] if target else [])
    assert_is_the_table(table)
    assert note in " ".join(table.attrs["notes"])
    assert note or not table.attrs["notes"] or "comment" in content
    if table.attrs["read"]:
        again = eval(table.attrs["read"], {"pd": pd, "path": path, "MISSING": table.attrs["marks"]})  # noqa: S307
        assert again.to_numpy().tolist() == table.to_numpy().tolist()


@pytest.mark.parametrize(
    "content",
    [
        "a b y\n" + "".join(f'"{n}" {i} {j} {k}\n' for n, (i, j, k) in enumerate(ROWS, start=1)),  # R's write.table
        "a,b,y\n" + "".join(f"car {n},{i},{j},{k}\n" for n, (i, j, k) in enumerate(ROWS)),
        '"","a","b","y"\n' + "".join(f'"{n}",{i},{j},{k}\n' for n, (i, j, k) in enumerate(ROWS, start=1)),
        ",a,b,y\n" + "".join(f"{n * 7 % 31},{i},{j},{k}\n" for n, (i, j, k) in enumerate(ROWS)),
    ],
)
def test_names_of_rows_are_no_feature(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    assert_is_the_table(read_table(path, names=["y"]))
    task = read_source(path, "y").task
    assert task.columns == 2
    assert any("'Unnamed: 0'" in note for note in task.notes)


def test_separators_at_the_end_of_each_line_but_that_of_the_names_add_a_column_without_name(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "".join(f"{i},{j},{k},\n" for i, j, k in ROWS))
    table = read_table(path, names=["y"])
    assert table["y"].tolist() == [row[2] for row in ROWS]
    assert table["Unnamed: 3"].isna().all()


def test_a_comma_in_each_number_is_no_name_of_a_row(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "".join(f"{i % 7},5,{j},{k}\n" for i, j, k in ROWS))
    with pytest.raises(InvalidTaskError, match="Expected 3 fields on every line"):
        read_table(path, names=["y"])


def test_what_guards_text_from_excel_is_taken_off(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,y\n" + "".join(f'="{i:03d}",="{j}",="{k}"\n' for i, j, k in ROWS))
    table = read_table(path, as_written=["y"])
    assert [tuple(row) for row in table.itertuples(index=False)] == [(i, j, str(k)) for i, j, k in ROWS]


def workbook(path: Path, rows: list[list[Any]], merged: str = "") -> Path:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    if merged:
        book.active.merge_cells(merged)
    book.save(path)
    return path


TABLE = [list(NAMES), *map(list, ROWS)]


@pytest.mark.parametrize(
    ("above", "note"),
    [
        ([], []),
        ([["Sales report 2026"], []], ["Took row 3 as names of the columns."]),
        ([["Report", "2026"]], ["Took row 2 as names of the columns."]),
        ([[None, "Report"], ["by me"]], ["Took row 3 as names of the columns."]),
        ([[], []], []),
        ([["Sizes", None, "Result"]], ["Took row 2 as names of the columns."]),
    ],
)
def test_a_title_above_the_names_of_a_workbook_is_passed_over(
    tmp_path: Path, above: list[list[Any]], note: list[str]
) -> None:
    path = workbook(tmp_path / "t.xlsx", [*above, *TABLE])
    table = read_table(path, names=["y"])
    assert_is_the_table(table)
    assert table.attrs["notes"] == note
    again = eval(table.attrs["read"], {"pd": pd, "path": path, "MISSING": table.attrs["marks"]})  # noqa: S307
    assert again.to_numpy().tolist() == table.to_numpy().tolist()


def test_merged_groups_are_put_before_the_names_below_them(tmp_path: Path) -> None:
    rows = [["Size", None, "Price", None, "y"], ["low", "high", "low", "high", None]]
    path = workbook(tmp_path / "t.xlsx", [*rows, *([i, i + 1, i / 2, i / 2 + 1, i % 2] for i in range(30))], "A1:B1")
    table = read_table(path, names=["y"])
    assert list(table.columns) == ["Size low", "Size high", "Price low", "Price high", "y"]
    assert table["Price high"].tolist()[2] == 2
    assert table.attrs["notes"] == ["Took row 2 and the one above as names of the columns."]
    again = eval(table.attrs["read"], {"pd": pd, "path": path, "MISSING": table.attrs["marks"]})  # noqa: S307
    assert list(again.columns) == list(table.columns)


@pytest.mark.parametrize(
    ("rows", "width", "expected", "last"),
    [
        ([["", "a", "y"], ["0", "1", "2"]], 3, [], 0),  # an index
        ([["a", "", "y"], ["red", "big", "yes"], ["blue", "old", "no"]], 3, [], 0),  # a column without a name
        ([["a", "y", "", ""], ["1", "2", "", ""]], 4, [], 0),  # separators at the ends of lines
        ([["a", "y"], ["red", "no"]], 2, ["z"], 0),  # a misspelt target is not looked for among the rows
        ([["a", "y"], ["red", "z"]], 2, ["z"], 0),
        ([["2019", "2020", "y"], ["1", "2", "3"]], 3, [], 0),
        ([["", "y"], ["0", "1"]], 2, [], 0),
        ([["Report", ""], ["a", "y"], ["1", "2"]], 2, [], 1),
        ([["Report", "", ""], ["a", "b", "y"], ["u", "v", "w"]], 3, [], 1),
        ([["Report", "", ""], ["1", "2", "3"], ["4", "5", "6"]], 3, [], 0),  # there are no names
    ],
)
def test_the_row_of_names(rows: list[list[str]], width: int, expected: list[str], last: int) -> None:
    assert find_header(rows, width, expected).last == last


def test_a_target_that_is_not_there_is_answered_with_the_names_below_the_title(tmp_path: Path) -> None:
    path = workbook(tmp_path / "t.xlsx", [["Sales report 2026"], [], *TABLE])
    with pytest.raises(InvalidTaskError, match="There are: 'a', 'b', 'y'"):
        read_source(path, "zzz")


def test_the_line_of_a_broken_row_is_counted_from_the_start_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(csv_of("Report", "", "# x") + "1,2\n")
    with pytest.raises(InvalidTaskError, match="found 2 on line 35"):
        read_table(path)
    path.write_text(csv_of("Report") + '1,"2,3\n')
    with pytest.raises(InvalidTaskError, match="begins on line 33"):
        read_table(path)
    path.write_text('a,"b\n1,2\n')
    with pytest.raises(InvalidTaskError, match="begins on line 1"):
        read_table(path)
