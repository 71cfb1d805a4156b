import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.modalities.table.sample import LARGE_EVERY, LARGE_FACTOR, MIN_OF_STRATUM, sample_rows
from metaflow_hpo.modalities.table.table_data import TableData


def make_task(rows: int, seed: int, *, rare: int = 15) -> TableData:
    rng = np.random.default_rng(seed)
    labels = np.where(np.arange(rows) < rare, "rare", np.where(np.arange(rows) % 4 == 0, "some", "most"))
    frame = pd.DataFrame({"a": rng.normal(size=rows), "b": rng.normal(size=rows), "y": labels})
    return prepare_task(frame, task_id="t", target="y", source="test", licence="none")


def is_large(data: TableData) -> bool:
    return int(data.task.sha256[:8], 16) % LARGE_EVERY == 0


@pytest.fixture(scope="module")
def usual() -> TableData:
    return next(data for data in (make_task(2000, seed) for seed in range(20)) if not is_large(data))


def test_a_task_within_the_limit_is_left_alone(usual: TableData) -> None:
    assert sample_rows(usual, 2000) is usual


def test_the_sample_keeps_the_split_and_the_shares_of_the_classes(usual: TableData) -> None:
    small = sample_rows(usual, 400)
    share = 400 / 2000
    for side in (False, True):
        before = np.bincount(usual.target[usual.is_test == side], minlength=3)
        after = np.bincount(small.target[small.is_test == side], minlength=3)
        expected = [max(round(share * n), min(n, MIN_OF_STRATUM)) for n in before.tolist()]
        assert after.tolist() == expected
    assert small.task.rows == len(small.features)
    assert small.task.test_rows == small.is_test.sum()
    assert "of 2000 rows" in small.task.notes[-1]


def test_the_sample_is_made_of_rows_of_the_task_and_has_a_digest_of_its_own(usual: TableData) -> None:
    small = sample_rows(usual, 400)
    assert small.features["a"].isin(usual.features["a"]).all()
    assert small.task.sha256 != usual.task.sha256
    assert sample_rows(usual, 400).task == small.task


def test_the_sample_does_not_depend_on_the_order_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=900), "y": rng.normal(size=900)})
    tasks = [
        sample_rows(prepare_task(one, task_id="t", target="y", source="test", licence="none"), 100)
        for one in (frame, frame.sample(frac=1, random_state=1))
    ]
    assert tasks[0].task.sha256 == tasks[1].task.sha256
    assert tasks[0].task.rows < 900


def test_one_task_in_five_keeps_four_times_as_many_rows() -> None:
    tasks = [make_task(1000, seed) for seed in range(40)]
    large = [data for data in tasks if is_large(data)]
    assert 0 < len(large) < 20
    for data in tasks:
        rows = sample_rows(data, 100).task.rows
        limit = 100 * LARGE_FACTOR if is_large(data) else 100
        assert limit <= rows <= limit + 3 * MIN_OF_STRATUM


def test_equal_rows_are_not_kept_or_left_out_together() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.integers(0, 40, 4000).astype(float), "y": rng.choice(["u", "v"], 4000)})
    small = sample_rows(prepare_task(frame, task_id="t", target="y", source="test", licence="none"), 400)
    sides = pd.DataFrame({"a": small.features["a"], "y": small.target, "test": small.is_test})
    purity = sides.groupby("a")["y"].agg(lambda y: max(y.mean(), 1 - y.mean()))
    assert purity.mean() < 0.75
