"""Tables of series: wide and long, and which names of columns say so."""

from pathlib import Path

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.series.found_series import FoundSeries
from metaflow_hpo.modalities.series.series_tables import names_steps, read_series_table

LONG = (
    "id,time,speed,height,class,subject\n"
    "b,2,20,-2,run,s1\nb,1,10,-1,run,s1\na,10,3,,walk,s2\na,2,1,5,walk,s2\na,3,2,6,walk,s2\n"
)


def read(tmp_path: Path, text: str, **hints: object) -> FoundSeries:
    path = tmp_path / "own.csv"
    path.write_text(text)
    return read_series_table(path, Hints.model_validate(hints))


def test_columns_in_the_order_of_their_numbers_are_steps(tmp_path: Path) -> None:
    header = [f"t_{i}" for i in range(10, -1, -1)]
    rows = [[i * 10 + j for j in range(10, -1, -1)] for i in range(2)]
    text = (
        ",".join(["label", *header])
        + "\n"
        + "\n".join(",".join(map(str, ["007" if i else "7", *row])) for i, row in enumerate(rows))
    )
    found = read(tmp_path, text)
    assert found.labels == ["7", "007"]
    np.testing.assert_array_equal(found.series[1], [[10 + j for j in range(11)]])


def test_columns_with_several_prefixes_are_channels_and_empty_cells_are_missing(tmp_path: Path) -> None:
    found = read(tmp_path, "x0,y0,x1,y1,class\n1,2,3,4,a\n5,,7,8,b\n")
    np.testing.assert_array_equal(found.series[0], [[1, 3], [2, 4]])
    np.testing.assert_array_equal(found.series[1], [[5, 7], [np.nan, 8]])


def test_rows_of_an_id_are_sorted_by_time_and_their_values_are_channels(tmp_path: Path) -> None:
    found = read(tmp_path, LONG)
    assert found.labels == ["run", "walk"]
    assert found.groups == ["s1", "s2"]
    np.testing.assert_array_equal(found.series[0], [[10, 20], [-1, -2]])
    np.testing.assert_array_equal(found.series[1], [[1, 2, 3], [5, 6, np.nan]])


def test_columns_can_be_named_and_times_can_be_dates(tmp_path: Path) -> None:
    text = "run,when,v,w,kind\n1,2024-01-02,2,9,a\n1,2024-01-01,1,9,a\n2,2024-01-01T10:00,3,9,b\n"
    found = read(tmp_path, text, target="kind", options={"id": "run", "time": "when", "values": ["v"]})
    np.testing.assert_array_equal(found.series[0], [[1, 2]])
    np.testing.assert_array_equal(found.series[1], [[3]])


@pytest.mark.parametrize(
    ("text", "hints", "message"),
    [
        (LONG.replace("b,1,10,-1,run", "b,1,10,-1,walk"), {}, "one class for each series; id 'b'"),
        (LONG.replace("b,1,", "b,2,"), {}, "different times in each series; id 'b'"),
        (LONG.replace("b,1,", "b,soon,"), {}, "numbers or dates .* found 'soon'"),
        (LONG.replace("b,1,10", "b,1,fast"), {}, "numbers in the column 'speed' .* found 'fast'"),
        (LONG.replace("b,1,10", "b,1,1e300"), {}, "the column 'speed' has others"),
        (LONG.replace("b,1,", ",1,"), {}, "an id on each row .* 1 have none"),
        (LONG.replace("-1,run,s1", "-1,run,s2"), {}, "one group for each series; id 'b'"),
        (LONG, {"target": "kind"}, "'kind'"),
        (LONG, {"options": {"id": "who"}}, "'who'"),
        (LONG, {"options": {"values": ["weight"]}}, "no 'weight'"),
        ("x0,x1,u\n1,2,a\n", {}, "which column of own.csv is the class"),
        ("x0,x1,age,class\n1,2,3,a\n", {}, "found 'age'"),
        ("x0,x2,class\n1,2,a\n", {}, "numbered by step"),
        ("x0,x1,y0,y1,y2,class\n1,2,3,4,5,a\n", {}, "as many for each channel"),
    ],
)
def test_what_is_no_table_of_series_is_refused(
    tmp_path: Path, text: str, hints: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidTaskError, match=message):
        read(tmp_path, text, **hints)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([*(f"t_{i}" for i in range(8)), "class"], True),
        (["subject", "label", *(f"time{i}" for i in range(1, 30))], True),
        ([*map(str, range(24)), "target"], True),
        ([*(f"t_{i}" for i in range(7)), "class"], False),
        ([*map(str, range(23)), "target"], False),
        ([*map(str, range(24))], False),
        ([*(f"feature_{i}" for i in range(50)), "target"], False),
        ([*(f"t_{i}" for i in range(8)), "age", "class"], False),
        ([*(f"t_{i}" for i in range(0, 16, 2)), "class"], False),
    ],
)
def test_only_consecutive_steps_beside_a_class_tell_themselves(names: list[str], expected: bool) -> None:
    assert names_steps(names) == expected
