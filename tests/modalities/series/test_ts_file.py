"""`.ts` files: values, channels, gaps and classes as written, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.series.found_series import FoundSeries
from metaflow_hpo.modalities.series.ts_file import read_ts

NAN = np.nan


def read(text: str) -> FoundSeries:
    return read_ts(Path("Own_TRAIN.ts"), text.encode())


def test_values_channels_gaps_and_classes_are_as_written() -> None:
    found = read(
        "# made by hand\n@problemName Own\n@timestamps false\n@missing true\n@univariate false\n@dimensions 2\n"
        "@equalLength false\n@classLabel true walk run\n\n@data\n"
        "1,2.5,?:-1,NaN,3e2:walk\n  4,5:6,7:run  \n8:9,10,11:walk\n"
    )
    assert found.labels == ["walk", "run", "walk"]
    np.testing.assert_array_equal(found.series[0], [[1, 2.5, NAN], [-1, NAN, 300]])
    np.testing.assert_array_equal(found.series[1], [[4, 5], [6, 7]])
    np.testing.assert_array_equal(found.series[2], [[8, NAN, NAN], [9, 10, 11]])


def test_a_windows_file_with_a_byte_order_mark_and_no_list_of_classes_is_read() -> None:
    found = read("\ufeff@CLASSLABEL TRUE\r\n@DATA\r\n1,2,3:a b\r\n4,5,6:c\r\n")
    assert found.labels == ["a b", "c"]
    np.testing.assert_array_equal(found.series[1], [[4, 5, 6]])


def test_there_may_be_no_classes() -> None:
    found = read("@classLabel false\n@data\n1,2,3:4,5,6\n")
    assert found.labels == [None]
    np.testing.assert_array_equal(found.series[0], [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("@timestamps true\n@classLabel true 1\n@data\n(0,1),(1,2):1\n", "time stamps"),
        ("@classLabel true 1\n@data\n(0,1),(1,2):1\n", r"without time stamps on line 3 of Own_TRAIN.ts"),
        ("@targetLabel true\n@data\n1,2:3.5\n", "Expected classes"),
        ("@classLabel\n@data\n1,2,3\n", "@classLabel false` in Own_TRAIN.ts; found @classLabel. "),
        ("@data\n1,2,3:1\n", "found @classLabel nowhere"),
        ("@classLabel true 1 2\n@data\n1,2:3\n", "a class among 1, 2 at the end on line 3 .* found '3'"),
        ("@classLabel true\n@data\n1,2:\n", "a class at the end"),
        ("@classLabel true\n@data\n1,2,3\n", "channels and a class"),
        ("@classLabel true\n@data\n1,x:a\n", "numbers on line 3 .* found 'x'"),
        ("@classLabel true\n@data\n1,1e50:a\n", "finite numbers .* found '1e50'"),
        ("@classLabel true\n@data\n1,inf:a\n", "finite numbers"),
        ("@classLabel true\n@data\n1,2:3,4:a\n5,6:b\n", "Expected 2 channels on line 4 .* found 1"),
        ("@dimensions 3\n@classLabel true\n@data\n1,2:3,4:a\n", "Expected 3 channels on line 4"),
        ("@equalLength true\n@seriesLength 3\n@classLabel true\n@data\n1,2:a\n", "3 steps, as @equalLength says"),
        ("@equalLength true\n@classLabel true\n@data\n1,2,3:a\n1,2:a\n", "3 steps, as @equalLength says, on line 5"),
        ("@classLabel true\n@data\n", "found none"),
        ("1,2,3:a\n", "lines with @ before @data"),
        ("export const a = 1;\n", "lines with @ before @data"),
    ],
)
def test_what_is_no_such_file_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(InvalidTaskError, match=message):
        read(text)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidTaskError, match="binary file"):
        read_ts(Path("video.ts"), b"G@\x00\x10\x00" * 100)
