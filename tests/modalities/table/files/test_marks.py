"""Words such as None and NA: a value where people chose it, missing where the file uses it for that."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.modalities.table.files.marks import WORDS, settle_words
from metaflow_hpo.modalities.table.files.tables import read_table

ENDINGS = ["csv", "jsonl", "json", "xlsx", "parquet"]


def write(frame: pd.DataFrame, path: Path) -> Path:
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True)
        case ".json":
            frame.to_json(path)
        case ".xlsx":
            frame.to_excel(path, index=False)
        case _:
            frame.to_parquet(path)
    return path


def severity(word: str = "None", rows: int = 90) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=rows).round(6), "b": rng.normal(size=rows).round(6)})
    return frame.assign(severity=[word, "Mild", "Severe"] * (rows // 3))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("word", ["None", "NA", "null", "nan"])
def test_a_word_that_people_chose_is_a_class(tmp_path: Path, ending: str, word: str) -> None:
    data = read_source(write(severity(word), tmp_path / f"t.{ending}"), "severity")
    assert data.class_names == tuple(sorted(["Mild", "Severe", word]))
    assert data.task.rows == 90
    assert f"Took the text {word!r} in 'severity' as a value, not as missing (30 rows)" in data.task.notes[0]


@pytest.mark.parametrize("ending", ENDINGS)
def test_two_classes_are_two_where_one_is_called_none(tmp_path: Path, ending: str) -> None:
    frame = severity().assign(severity=["None", "Gold", "None"] * 30)
    assert read_source(write(frame, tmp_path / f"t.{ending}"), "severity").class_names == ("Gold", "None")


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_empty_target_stays_missing_beside_a_class_called_none(tmp_path: Path, ending: str) -> None:
    frame = severity()
    frame.loc[:5, "severity"] = None
    data = read_source(write(frame, tmp_path / f"t.{ending}"), "severity")
    assert (data.task.rows, data.class_names) == (84, ("Mild", "None", "Severe"))
    assert "Dropped 6 rows without a target." in data.task.notes


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"a": "None"}, "30 rows have the text 'None' as 'severity', which counts as a missing value here"),
        ({"severity": "NA"}, "30 rows have the text 'None'"),
        ({"severity": "?"}, "30 rows have the text 'None'"),
    ],
)
def test_a_word_that_the_file_uses_for_missing_values_costs_rows_and_that_is_said_loudly(
    tmp_path: Path, change: dict[str, str], match: str
) -> None:
    frame = severity().astype(object)
    for name, word in change.items():
        frame.loc[[0, 1], name] = [word, frame.loc[1, name]] if name == "a" else ["None", word]
    frame.loc[0, "severity"] = "None"
    data = read_source(write(frame, tmp_path / "t.csv"), "severity")
    assert data.class_names == ("Mild", "Severe")
    (note,) = [note for note in data.task.notes if match in note]
    assert note.startswith("Warning: ")
    assert "give it another name" in note


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('"a","b"\n"x",NA\n"y","u"\n"NA","v"\n', [np.nan, "u", "v"]),  # R quotes text, and nothing else
        ("a,b\nx,NA\ny,u\n", ["NA", "u"]),
        ("a,b\n1,NA\nNA,u\n", [np.nan, "u"]),  # among numbers
        ("a,b\n2021-03-14,NA\nNA,u\n", [np.nan, "u"]),  # among dates
        ("a,b\nTrue,NA\nNA,u\n", [np.nan, "u"]),
        ("a,b\nx,NA\ny,null\nz,u\n", [np.nan, np.nan, "u"]),  # two of them
        ("a,b\nx,NA\ny,?\nz,u\n", [np.nan, np.nan, "u"]),
        ("a,b\nx,NA\ny,NA\n", [np.nan, np.nan]),  # nothing else
        ("a,b\nx,none\ny,u\n", ["none", "u"]),
    ],
)
def test_the_file_tells_what_a_word_means(tmp_path: Path, content: str, expected: list[object]) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    pd.testing.assert_series_equal(read_table(path)["b"], pd.Series(expected), check_names=False, check_dtype=False)


def test_numbers_with_marks_among_them_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n1,True,x\nNA,NA,y\n2.5,False,z\n")
    table = read_table(path)
    assert table["a"].dtype == "float64"
    assert table["b"].tolist()[::2] == [True, False]
    assert table.attrs["lost"] == {"a": {"NA": 1}, "b": {"NA": 1}}


def test_lists_and_numbers_among_text_are_left_alone() -> None:
    frame = pd.DataFrame({"curve": [[1, 2], None, [3]], "mixed": ["a", 1, "None"], "y": ["", "u", "v"]})
    table, words = settle_words(frame)
    assert table["curve"].tolist() == [[1, 2], None, [3]]
    assert table["mixed"].isna().tolist() == [False, False, True]
    assert table["y"].isna().tolist() == [True, False, False]
    assert words.missing == {"mixed": {"None": 1}, "y": {}}


def test_every_word_is_kept_as_a_category_of_a_feature_and_read_again() -> None:
    for word in WORDS:
        table, words = settle_words(pd.DataFrame({"addon": [word, "Gold", None]}))
        assert table["addon"].tolist()[:2] == [word, "Gold"]
        assert word not in words.marks


def test_a_target_of_one_value_and_marks_is_refused(tmp_path: Path) -> None:
    frame = severity().assign(severity="NA")
    with pytest.raises(InvalidTaskError, match="at least 20 rows with a value of 'severity'; found 0"):
        read_source(write(frame, tmp_path / "t.csv"), "severity")
