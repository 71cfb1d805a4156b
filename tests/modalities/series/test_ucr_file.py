"""UCR text files: the class first, then a value a step."""

from pathlib import Path

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.series.found_series import canonical_label
from metaflow_hpo.modalities.series.ucr_file import looks_like_ucr, read_ucr


@pytest.mark.parametrize("separator", ["\t", ",", "  ", " , "])
def test_the_first_number_is_the_class_and_the_others_are_the_values(separator: str) -> None:
    rows = [["1.0000000e+00", "0.5", "-2", "NaN"], ["-1", "3", "", "4"] if separator == "," else ["-1", "3", "?", "4"]]
    text = "\n".join(separator.join(row) for row in rows)
    found = read_ucr(Path("Own_TRAIN.txt"), text.encode())
    assert found.labels == ["1", "-1"]
    np.testing.assert_array_equal(found.series[0], [[0.5, -2, np.nan]])
    np.testing.assert_array_equal(found.series[1], [[3, np.nan, 4]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\t2\t3\t4\n2\t5\t6\n", "Expected 3 values on line 2 of Own.tsv; found 2"),
        ("1\t2\tx\n", "found 'x'"),
        ("NaN\t2\t3\n", "a class before the values on line 1"),
        ("word\n", "a class and values"),
        (" \n\n", "only blank lines"),
    ],
)
def test_what_is_no_such_file_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InvalidTaskError, match=message):
        read_ucr(Path("Own.tsv"), text.encode())


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("1\t" + "\t".join(["0.5"] * 8), True),
        ("  1.0e+00  " + "  ".join(["0.5"] * 8), True),
        ("1\t" + "\t".join(["0.5"] * 7 + ["NaN"]), True),
        ("1\t" + "\t".join(["0.5"] * 7), False),
        ("a\t" + "\t".join(["0.5"] * 8), False),
        ("class\t" + "\t".join(f"f{i}" for i in range(9)), False),
        ("", False),
    ],
)
def test_a_line_of_numbers_without_names_looks_like_series(line: str, expected: bool) -> None:
    assert looks_like_ucr(line) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("1.0", "1"), (" a b ", "a b"), ("1.5", "1.5"), ("-1", "-1"), ("007", "7"), ("nan1", "nan1")]
)
def test_classes_that_are_whole_numbers_are_written_as_such(text: str, expected: str) -> None:
    assert canonical_label(text) == expected
