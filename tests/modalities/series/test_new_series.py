"""New series look like those that a network was trained on: the same channels, and steps averaged as those were."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
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


def write_wide(path: Path, **renamed: str) -> Path:
    """Write 40 series of two channels, `x` and `y`, as a table with a row each."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"{name}_{t}": rng.normal(size=40).round(4) for name in "xy" for t in range(9)})
    frame = frame.rename(columns=lambda name: renamed.get(name[0], name[0]) + name[1:])
    frame.assign(species=["a", "b"] * 20).to_csv(path, index=False)
    return path


def read_wide(path: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    data = read_source(write_wide(path), "species", modality="series")
    assert isinstance(data, ItemData)
    SERIES_MODALITY.save(data, path.with_suffix(".kept"))
    return SERIES_MODALITY.form(SERIES_MODALITY.load(path.with_suffix(".kept"))), pd.read_csv(path)


@pytest.mark.parametrize("form_of_table", ["as it was", "reordered", "without classes", "with other classes", "wider"])
def test_new_rows_of_a_table_are_read_by_the_names_of_its_columns(tmp_path: Path, form_of_table: str) -> None:
    form, frame = read_wide(tmp_path / "own.csv")
    expected = SERIES_MODALITY.read_new(tmp_path / "own.csv", form).arrays
    assert expected.shape == (40, 2, 9)
    match form_of_table:
        case "reordered":  # channels the other way round, steps shuffled
            frame = frame[sorted(frame.columns, reverse=True)]
        case "without classes":
            frame = frame.drop(columns="species")
        case "with other classes":
            frame = frame.assign(species="?")
        case "wider":
            frame = frame.assign(id=range(40))
    frame.to_csv(tmp_path / "new.csv", index=False)
    np.testing.assert_array_equal(SERIES_MODALITY.read_new(tmp_path / "new.csv", form).arrays, expected)


@pytest.mark.parametrize(("x", "y"), [("u", "v"), ("x", "z"), ("y", "yy")])
def test_other_channels_are_refused_by_name(tmp_path: Path, x: str, y: str) -> None:
    form, _ = read_wide(tmp_path / "own.csv")
    write_wide(tmp_path / "new.csv", x=x, y=y)
    with pytest.raises(InvalidTaskError, match=r"Expected the channels 'x_\*', 'y_\*' in new\.csv"):
        SERIES_MODALITY.read_new(tmp_path / "new.csv", form)


def test_new_rows_of_a_long_table_are_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40 * 8, 2)).round(4), columns=["u", "v"])
    frame = frame.assign(id=np.repeat(range(40), 8), time=list(range(8)) * 40, label=np.repeat(["a", "b"] * 20, 8))
    frame.to_csv(tmp_path / "own.csv", index=False)
    data = read_source(tmp_path / "own.csv", modality="series")
    form = SERIES_MODALITY.form(data)  # type: ignore[arg-type]
    expected = SERIES_MODALITY.read_new(tmp_path / "own.csv", form).arrays
    new = frame[["time", "v", "id", "u"]].assign(temperature=20.0)
    new.to_csv(tmp_path / "new.csv", index=False)
    np.testing.assert_array_equal(SERIES_MODALITY.read_new(tmp_path / "new.csv", form).arrays, expected)
    new.drop(columns="u").to_csv(tmp_path / "new.csv", index=False)
    with pytest.raises(InvalidTaskError, match="no 'u'"):
        SERIES_MODALITY.read_new(tmp_path / "new.csv", form)


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
