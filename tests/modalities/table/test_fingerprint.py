"""Fingerprints: relatives are found by content, and trivial columns prove nothing."""

import numpy as np
import pandas as pd

from metaflow_hpo.modalities.table.fingerprint import column_fingerprints
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.modalities.table.table_data import TableData


def table(seed: int, columns: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"c{number}": rng.normal(size=80) for number in range(columns)})
    return frame.assign(town=[f"town {number}" for number in rng.integers(0, 20, 80)], y=[0, 1] * 40)


def task(name: str, frame: pd.DataFrame, target: str = "y", family: str | None = None) -> TableData:
    return prepare_task(frame, task_id=name, target=target, source="s", licence="l", family=family)


def test_names_row_order_and_small_noise_do_not_change_a_fingerprint() -> None:
    frame = table(0)
    other = (frame.sample(frac=1, random_state=1)).rename(columns={"c0": "height", "town": "place"})
    other["c1"] *= 1 + 1e-12
    assert column_fingerprints(task("a", frame)) == column_fingerprints(task("b", other))
    assert len(column_fingerprints(task("a", frame))) == 5


def test_columns_with_few_values_are_not_counted() -> None:
    frame = pd.DataFrame(
        {"a": [0, 1] * 40, "month": np.arange(80) % 11, "b": np.arange(80) * 1.5, "y": [0, 0, 1, 1] * 20}
    )
    assert len(column_fingerprints(task("a", frame))) == 1


def test_the_target_of_a_regression_counts() -> None:
    frame = table(0)
    assert column_fingerprints(task("a", frame)) == column_fingerprints(task("b", frame.drop(columns="y"), "c0"))


def test_numbers_near_zero_and_huge_numbers_are_rounded_without_warning() -> None:
    frame = table(0).assign(c0=np.linspace(-1e-250, 1e-250, 80), c1=np.linspace(0, 1e300, 80))
    assert len(column_fingerprints(task("a", frame))) == 5
