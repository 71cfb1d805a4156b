"""`.arff` files of series: a step an attribute, or a relational attribute with a channel a line."""

from pathlib import Path

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.series.arff_file import holds_series, read_arff
from metaflow_hpo.modalities.series.found_series import FoundSeries

FLAT = "% note\n@relation Own\n@attribute att0 numeric\n@ATTRIBUTE 'att1' REAL\n@attribute target {1, 2}\n@data\n"
RELATIONAL = (
    "@relation Own\n@attribute both relational\n  @attribute t1 numeric\n  @attribute t2 numeric\n@end both\n"
    "@attribute activity {Standing,'Badminton Smash'}\n@data\n"
)


def read(text: str) -> FoundSeries:
    return read_arff(Path("Own.arff"), text.encode())


def test_attributes_are_steps_and_the_last_one_is_the_class() -> None:
    found = read(FLAT + "0.5,?,1\n% between\n-1, 2e1, 2\n")
    assert found.labels == ["1", "2"]
    np.testing.assert_array_equal(found.series[0], [[0.5, np.nan]])
    np.testing.assert_array_equal(found.series[1], [[-1, 20]])


@pytest.mark.parametrize("quote", ["'", '"'])
def test_lines_of_a_relational_attribute_are_channels(quote: str) -> None:
    found = read(RELATIONAL + f"{quote}1,2\\n3,?{quote},Standing\n{quote}5,6\\n7,8{quote},'Badminton Smash'\n")
    assert found.labels == ["Standing", "Badminton Smash"]
    np.testing.assert_array_equal(found.series[0], [[1, 2], [3, np.nan]])
    np.testing.assert_array_equal(found.series[1], [[5, 6], [7, 8]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FLAT + "1,2,3,1\n", "1 channels of 2 values on line 7 of Own.arff; found 1 of 3"),
        (FLAT + "1,x,1\n", "found 'x'"),
        (FLAT + "1,2,3\n", "a class among 1, 2 at the end .* found '3'"),
        (FLAT, "found none"),
        (FLAT + "{0 1, 1 2}\n", "Own.arff; found"),
        ("@relation r\n@attribute a string\n@attribute c {1,2}\n@data\n", "found also a string"),
        ("@relation r\n@attribute a numeric\n@attribute c numeric\n@data\n1,2\n", "a last attribute with classes"),
        ("@relation r\n@attribute c {1,2}\n@attribute a numeric\n@data\n1,2\n", "the class as the last attribute"),
        (RELATIONAL + "1,2,Standing\n", "a series in quotes"),
        (RELATIONAL + "'1,2\\n3',Standing\n", "2 values"),
    ],
)
def test_what_is_no_such_file_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InvalidTaskError, match=message):
        read(text)


def test_only_numbered_or_relational_attributes_look_like_series() -> None:
    steps = [f"@attribute att{i} numeric" for i in range(8)]
    assert holds_series([*steps, "@attribute target {1,2}"])
    assert holds_series(RELATIONAL.splitlines())
    assert not holds_series(steps[:7])
    assert not holds_series([*steps[:4], *steps[5:], "@attribute att99 numeric"])
    assert not holds_series([f"@attribute {name} numeric" for name in "abcdefghijk"])
