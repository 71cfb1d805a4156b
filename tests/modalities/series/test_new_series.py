"""New series look like those that a network was trained on: the same channels, and steps averaged as those were."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.items.item_data import ItemData
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.modalities.series.modality import SERIES_MODALITY
from tests.modalities.series.own_series import draw_series, write_ts

FORM = {"channels": 1, "block": 3}


def test_steps_are_averaged_as_those_of_the_task_whatever_the_longest_is(tmp_path: Path) -> None:
    waves, labels = draw_series(steps=1100)
    data = read_source(write_ts(tmp_path / "own.ts", list(waves), labels))
    assert isinstance(data, ItemData)
    SERIES_MODALITY.save(data, tmp_path / "kept")
    form = SERIES_MODALITY.form(SERIES_MODALITY.load(tmp_path / "kept"))
    assert form == FORM
    shorter = write_ts(tmp_path / "new.ts", [one[:, :600] for one in waves], labels)
    found = SERIES_MODALITY.read_new(shorter, form)
    np.testing.assert_allclose(found.arrays[:, 0], waves[:, 0, :600].reshape(60, 200, 3).mean(axis=2), atol=1e-6)
    assert found.names[:2] == ("0", "1")


def test_series_without_classes_keep_their_places(tmp_path: Path) -> None:
    (tmp_path / "new.ts").write_text("@classLabel false\n@data\n1,2,3,4\n?,?,?,?\n5,6,7\n")
    found = SERIES_MODALITY.read_new(tmp_path / "new.ts", {"channels": 1, "block": 1})
    nothing = [np.nan] * 4
    np.testing.assert_array_equal(found.arrays[:, 0], [[1, 2, 3, 4], nothing, [5, 6, 7, np.nan]])
    with pytest.raises(InvalidTaskError, match=r"a class for each series of new\.ts; it has none"):
        read_source(tmp_path / "new.ts")


def test_missing_values_of_a_request_are_null() -> None:
    found = SERIES_MODALITY.take_new([[1, None, 3], [[4, 5]]], {"channels": 1, "block": 1})
    np.testing.assert_array_equal(found[:, 0], [[1, np.nan, 3], [4, 5, np.nan]])
    assert SERIES_MODALITY.take_new([], FORM).shape == (0, 1, 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[[1, 2], [3, 4]]], "series of 1 channels in the request, as were trained on; found 2"),
        ([[1, 2], [[1, 2], [3, 4]]], "found 2"),
        ([[1, "x"]], "a list of numbers a channel"),
        ([[[1, 2], [3]]], "a list of numbers a channel"),
        ([[[[1]]]], "finite numbers a channel"),
        ([[1, float("inf")]], "finite numbers a channel"),
        ([[1, 1e300]], "finite numbers a channel"),
        ([[None]], "all are missing"),
        ([{}], "a list of numbers a channel"),
    ],
)
def test_what_is_no_series_is_refused(values: list[Any], message: str) -> None:
    with pytest.raises(InvalidTaskError, match=message):
        SERIES_MODALITY.take_new(values, FORM)
