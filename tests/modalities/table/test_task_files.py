"""Prepared tasks as files: they round-trip exactly, and equal tasks are equal bytes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.modalities.table.task_files import read_task, write_task
from metaflow_hpo.modalities.table.written_numbers import NumberStyle


def small_task(target: str = "y", name: str = "text") -> TableData:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"number": rng.normal(size=60), name: ["ä", None, "c d"] * 20, "y": ["p", "q"] * 30})
    frame.loc[3, "number"] = np.nan
    return prepare_task(frame, task_id="t", target=target, source="s", licence="l", notes=["A note, with ümlaut."])


@pytest.mark.parametrize("target", ["y", "number"])
def test_a_task_round_trips_exactly(tmp_path: Path, target: str) -> None:
    data = small_task(target)
    write_task(tmp_path / "t.parquet", data)
    read = read_task(tmp_path / "t.parquet")
    assert read.task == data.task
    assert read.class_names == data.class_names
    pd.testing.assert_frame_equal(read.features, data.features)
    np.testing.assert_array_equal(read.target, data.target)
    np.testing.assert_array_equal(read.is_test, data.is_test)
    assert (read.target.dtype, read.is_test.dtype) == (data.target.dtype, data.is_test.dtype)
    assert read.target.flags.writeable
    assert read.styles == {}


def test_how_numbers_were_written_is_kept(tmp_path: Path) -> None:
    data = replace(small_task(), styles={"number": NumberStyle(",", ".")})
    write_task(tmp_path / "t.parquet", data)
    assert read_task(tmp_path / "t.parquet").styles == data.styles


def test_equal_tasks_are_equal_bytes(tmp_path: Path) -> None:
    write_task(tmp_path / "a.parquet", small_task())
    write_task(tmp_path / "b.parquet", read_task(tmp_path / "a.parquet"))
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.parquet", "b.parquet"]


def test_a_reserved_column_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidTaskError, match="not to be called __target__"):
        write_task(tmp_path / "t.parquet", small_task(name="__target__"))


def test_files_that_hold_no_task_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    with pytest.raises(InvalidTaskError, match="there is no such file"):
        read_task(path)
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(InvalidTaskError, match="found another table"):
        read_task(path)
    write_task(path, small_task())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InvalidTaskError, match="whole parquet file"):
        read_task(path)
