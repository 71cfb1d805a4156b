"""Fingerprints: relatives are found by content, and trivial columns prove nothing."""

import numpy as np
import pandas as pd

from metaflow_hpo.modalities.table.fingerprint import assign_families, column_fingerprints
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


def test_tasks_on_the_same_table_become_one_family_named_by_the_first() -> None:
    one, other = table(0), table(1)
    tasks = [task("first", one), task("alone", other), task("again", one.drop(columns=["c2", "c3"]), "c0")]
    assert assign_families(tasks) == {"first": "first", "alone": "alone", "again": "first"}


def test_relatives_of_relatives_and_declared_families_are_merged() -> None:
    one, other = table(0), table(1)
    bridge = pd.concat([one.drop(columns="y"), other.drop(columns="y").add_suffix("_2")], axis=1).assign(y=[0, 1] * 40)
    tasks = [
        task("a", one),
        task("b", other, family="b_family"),
        task("c", bridge),
        task("d", table(2), family="b_family"),
    ]
    assert set(assign_families(tasks).values()) == {"a"}


def test_one_shared_column_or_less_than_half_is_no_relation() -> None:
    one, other = table(0, 6), table(1, 6)
    assert assign_families([task("a", one), task("b", other.assign(c0=one["c0"]))]) == {"a": "a", "b": "b"}
    half = {"a": table(0, 1), "b": table(1, 1).assign(c0=table(0, 1)["c0"])}  # the other half are towns
    assert assign_families([task(name, frame) for name, frame in half.items()]) == {"a": "a", "b": "b"}
    less = other.assign(c0=one["c0"], c1=one["c1"])
    assert assign_families([task("a", one), task("b", less)]) == {"a": "a", "b": "b"}


def test_numbers_near_zero_and_huge_numbers_are_rounded_without_warning() -> None:
    frame = table(0).assign(c0=np.linspace(-1e-250, 1e-250, 80), c1=np.linspace(0, 1e300, 80))
    assert len(column_fingerprints(task("a", frame))) == 5
