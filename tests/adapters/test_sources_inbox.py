"""A person's own files: what is read, what is refused, and that the message says where."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import read_sidecar
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.modalities.table.files.tables import read_table


def own_frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.normal(size=60), "b": rng.choice(["u", "v"], 60), "y": [0, 1] * 30})


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    path = tmp_path / "My Data-2.csv"
    own_frame().to_csv(path, index=False)
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_every_separator_and_mark_gives_the_same_table(tmp_path: Path, separator: str, encoding: str) -> None:
    path = tmp_path / "t.csv"
    own_frame().to_csv(path, index=False, sep=separator, encoding=encoding)
    pd.testing.assert_frame_equal(read_table(path), own_frame())


def test_parquet_and_csv_give_the_same_task(tmp_path: Path, csv_file: Path) -> None:
    path = tmp_path / "t.parquet"
    own_frame().to_parquet(path)
    assert read_source(path).task.sha256 == read_source(csv_file).task.sha256


def test_a_named_index_of_a_parquet_file_is_a_column(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    own_frame().set_index("b").to_parquet(path)
    assert set(read_table(path).columns) == {"a", "b", "y"}


def test_marks_of_missing_values_are_missing(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,x\n,y\nNA,?\n?,null\n5,none\n")
    table = read_table(path)
    assert table["a"].isna().tolist() == [False, True, True, True, False]
    assert table["b"].isna().tolist() == [False, False, True, True, False]


def test_quoted_separators_line_ends_and_blank_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'a,"b, c"\r\n1,"x\r\ny"\r\n\r\n2,"say ""z"""\r\n \r\n\r\n')
    table = read_table(path)
    assert list(table.columns) == ["a", "b, c"]
    assert table["a"].tolist() == [1, 2]
    assert table["b, c"].tolist()[1] == 'say "z"'


def test_decimal_commas_are_read_where_semicolons_separate(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a;b\n1,5;x\n2;y\n-0,25;z,1\n")
    table = read_table(path)
    assert table["a"].tolist() == [1.5, 2.0, -0.25]
    assert table.attrs["notes"] == ["Read decimal commas in 'a'."]


def test_columns_are_returned_as_written_where_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a; b;c;a2\n1.234;007;1,5;2\n5;1,5;;3\n")
    table = read_table(path, as_written=["a", "b"])
    assert table["a"].tolist() == ["1.234", "5"]
    assert table["b"].tolist() == ["007", "1,5"]
    assert (table["c"].tolist()[0], table["a2"].tolist()) == (1.5, [2, 3])
    assert read_table(path, reads_commas=False)["c"].tolist()[0] == "1,5"


def test_commas_of_a_file_with_semicolons_are_decimal_unless_the_column_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"{n},{n:03d};{'950' if n % 2 else f'{n},250'};{n % 7}" for n in range(1, 41)]
    path.write_text("\n".join(["open;grouped;y", *rows]))
    data = read_source(path, kind="regression")
    assert data.features["open"].max() == pytest.approx(40.04)
    assert data.features["grouped"].max() == 40_250


@pytest.mark.parametrize("name", ["UTF-16", "UTF-32"])
def test_utf_16_and_32_are_read_and_noted(tmp_path: Path, name: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("größe\ty\n1\t2\n", encoding=name)
    frame = read_table(path)
    assert (list(frame.columns), frame.attrs["notes"]) == (["größe", "y"], [f"Read as {name}."])


def test_a_misspelt_file_is_answered_with_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InvalidTaskError, match=r"there is no .*slaes\.csv\. Did you mean 'sales\.csv'\?"):
        read_table(tmp_path / "slaes.csv")


def test_windows_text_is_read_and_noted(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("town,y\nKöln,1\n".encode("cp1252"))
    table = read_table(path)
    assert table["town"].tolist() == ["Köln"]
    assert table.attrs["notes"] == ["Not UTF-8 at line 2 (byte 8, 0xf6): read as Windows-1252."]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"\n \n", "only blank lines"),
        ("t.csv", b"a\n1\n2\n", "at least two columns.*'a'"),
        ("t.csv", b"a,b\n1,2\n3\n", "Expected 2 fields .* found 1 on line 3"),
        ("t.csv", b"a,b\n1,2,3\n4,5\n", "Expected 2 fields .* found 3 on line 2"),
        ("t.csv", b'a,b\n1,"x\n2,y\n', "begins on line 2"),
        ("t.csv", b"a,b\n1,\xff\x81\n", r"UTF-8; .* at line 2 \(byte 6, 0xff\)"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16-le"), "zero bytes"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16")[:-1], "UTF-16 .* cut short"),
        ("t.xls", b"x", "Expected a file ending in .csv"),
        ("t.parquet", b"PAR1 and no more", "whole parquet file"),
    ],
)
def test_broken_files_are_refused_with_the_place(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidTaskError, match=match):
        read_table(tmp_path / name)


def test_truncated_parquet_folders_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    own_frame().to_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidTaskError, match="may be cut short"):
        read_table(path)
    with pytest.raises(InvalidTaskError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(InvalidTaskError, match="there is no"):
        read_table(tmp_path / "none.csv")


def test_a_file_becomes_a_task_without_a_sidecar(csv_file: Path) -> None:
    task = read_source(csv_file, "b").task
    assert (task.task_id, task.family, task.target, task.source) == (
        "my_data_2",
        "my_data_2",
        "b",
        "inbox/My Data-2.csv",
    )
    assert task.licence == "unspecified (own data)"


def test_a_repeated_column_name_is_not_renamed_silently(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,a,y\n" + "1,2,0\n3,4,1\n" * 20)
    with pytest.raises(InvalidTaskError, match="'a' more than once"):
        read_source(path)


def test_a_column_with_a_usual_name_is_the_target_and_that_is_noted(csv_file: Path) -> None:
    task = read_source(csv_file).task
    assert task.target == "y"
    assert "Took the column 'y' as target, for its name." in task.notes


def test_without_a_target_the_columns_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    own_frame().rename(columns={"y": "outcome"}).to_csv(path, index=False)
    with pytest.raises(InvalidTaskError, match=r"which column of t\.csv.*'a', 'b', 'outcome'.*target: <column>"):
        read_source(path)


def test_the_sidecar_says_what_the_table_cannot_and_the_caller_wins(csv_file: Path) -> None:
    csv_file.with_suffix(".yaml").write_text(
        "target: b\nkind: binary\nfamily: mine\nmetric: log_loss\nlicence: CC0\ndrop: [y]\ntest_rows: [0, 1, 2, 3]\n"
        "task_id: other\nsimulated: true\n"
    )
    task = read_source(csv_file).task
    assert (task.target, task.family, task.metric.name, task.licence, task.columns) == (
        "b",
        "mine",
        "log_loss",
        "CC0",
        1,
    )
    assert (task.task_id, task.test_rows, task.simulated) == ("other", 4, True)
    given = read_source(csv_file, task_id="third", metric="accuracy").task
    assert (given.task_id, given.metric.name) == ("third", "accuracy")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("tagret: y\n", "tagret: Extra inputs"),
        ("kind: ranking\n", "kind: Input should be"),
        ("test_rows: [-1]\n", r"test_rows\.0"),
        ("[1, 2\n", "Expected YAML"),
        ("- target\n", "the whole"),
        ("target: !!python/object/apply:os.getcwd []\n", "Expected YAML"),
    ],
)
def test_a_wrong_sidecar_names_the_key(csv_file: Path, text: str, match: str) -> None:
    csv_file.with_suffix(".yaml").write_text(text)
    with pytest.raises(InvalidTaskError, match=match):
        read_source(csv_file)


def test_an_empty_sidecar_is_none(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("# nothing yet\n")
    assert read_sidecar(tmp_path / "t.yaml") == read_sidecar(tmp_path / "no.yaml")
