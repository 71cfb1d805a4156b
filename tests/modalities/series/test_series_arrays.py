"""Series in files of arrays: shapes, lengths, several tasks over the same series, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.series.found_series import FoundSeries
from metaflow_hpo.modalities.series.series_arrays import holds_series_arrays, read_series_arrays

X = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
Y = np.array(["a", "b", "a", "b"])


def read(folder: Path, arrays: dict[str, Any], **hints: Any) -> FoundSeries:
    np.savez(folder / "own.npz", **arrays)
    return read_series_arrays(folder / "own.npz", Hints.model_validate(hints))


def test_lengths_say_where_series_end(tmp_path: Path) -> None:
    found = read(tmp_path, {"X": X, "y": Y, "length": np.array([3, 2, 1, 3])})
    np.testing.assert_array_equal(found.series[1], [[6, 7], [9, 10]])
    assert [one.shape for one in found.series] == [(2, 3), (2, 2), (2, 1), (2, 3)]
    assert found.labels == ["a", "b", "a", "b"]


def test_two_axes_are_one_channel_and_whole_numbers_are_values(tmp_path: Path) -> None:
    found = read(tmp_path, {"x": np.array([[1, 2], [3, 4]], np.int16), "labels": np.array([7, 8])})
    np.testing.assert_array_equal(found.series[1], [[3, 4]])
    assert found.labels == ["7", "8"]


def test_a_key_chooses_the_task_its_items_and_their_names(tmp_path: Path) -> None:
    arrays = {
        "X": X,
        "y_one": np.array([0, -1, 1, 0]),
        "names_one": np.array(["low", "high"]),
        "y_two": np.array([0, 0, 1, 1]),
        "length": np.array([3, 3, 2, 1]),
        "group": np.array([5, 5, 6, 6]),
    }
    found = read(tmp_path, arrays, options={"key": "one"})
    assert found.labels == ["low", "high", "low"]
    assert [one.shape[1] for one in found.series] == [3, 2, 1]
    assert found.groups == [5, 6, 6]
    np.testing.assert_array_equal(found.series[1], X[2, :, :2])


def test_parts_are_training_and_test_rows(tmp_path: Path) -> None:
    found = read(tmp_path, {"X_train": X[:3], "y_train": Y[:3], "X_test": X[3:], "y_test": Y[3:]})
    assert found.is_test == [False, False, False, True]
    np.testing.assert_array_equal(found.series[3], X[3])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X[..., None], "y": Y}, r"shape \(n, steps\) or \(n, channels, steps\); found float32 \(4, 2, 3, 1\)"),
        ({"X": X[:, 0, 0], "y": Y}, r"found float32 \(4,\)"),
        ({"X": X.astype(str), "y": Y}, "as numbers of the shape"),
        ({"X": X[:, :, :0], "y": Y}, "as numbers of the shape"),
        ({"X": X * np.float64(1e300), "y": Y}, "finite numbers"),
        ({"X": X, "y": Y[:3]}, "as many classes as items"),
        ({"X": X}, "one array of classes"),
        ({"y": Y}, "an array of items called X"),
        ({"X": X, "y": Y, "length": np.array([3, 3, 3, 4])}, "a length of 0 to 3 for each of 4 series"),
        ({"X": X, "y": Y, "length": np.array([3, 3])}, "a length of 0 to 3 for each of 4 series"),
        ({"X": np.array([[1], [1, 2]], object), "y": Y[:2]}, "whole arrays of numbers or text"),
    ],
)
def test_arrays_that_are_no_series_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidTaskError, match=message):
        read(tmp_path, arrays)


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        ({"X": np.zeros((5, 40), np.float32), "y": Y}, True),
        ({"X": np.zeros((5, 3, 40)), "y": Y}, True),
        ({"X": np.zeros((5, 12, 13)), "y": Y, "length": np.zeros(5)}, True),
        ({"X": np.zeros((5, 28, 28)), "y": Y}, False),
        ({"X": np.zeros((5, 3, 40), np.uint8), "y": Y}, False),
        ({"wave": np.zeros(40), "y": Y}, False),
    ],
)
def test_floats_of_a_few_channels_look_like_series(tmp_path: Path, arrays: dict[str, Any], expected: bool) -> None:
    np.savez(tmp_path / "own.npz", **arrays)
    assert holds_series_arrays(tmp_path / "own.npz") == expected
    assert not holds_series_arrays(Path(__file__))
