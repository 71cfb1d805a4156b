import numpy as np
import pandas as pd

from metaflow_hpo.modalities.families import assign_families
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.modalities.table.table_data import TableData


def table(seed: int, columns: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({f"c{number}": rng.normal(size=80) for number in range(columns)})
    return frame.assign(town=[f"town {number}" for number in rng.integers(0, 20, 80)], y=[0, 1] * 40)


def task(name: str, frame: pd.DataFrame, target: str = "y", family: str | None = None) -> TableData:
    return prepare_task(frame, task_id=name, target=target, source="s", licence="l", family=family)


def families(tasks):
    return {data.task.task_id: data.task.family for data in assign_families(tasks)}


def test_tasks_on_the_same_table_become_one_family_named_by_the_first() -> None:
    one, other = table(0), table(1)
    tasks = [task("first", one), task("alone", other), task("again", one.drop(columns=["c2", "c3"]), "c0")]
    assert families(tasks) == {"first": "first", "alone": "alone", "again": "first"}


def test_relatives_of_relatives_and_declared_families_are_merged() -> None:
    one, other = table(0), table(1)
    bridge = pd.concat([one.drop(columns="y"), other.drop(columns="y").add_suffix("_2")], axis=1).assign(y=[0, 1] * 40)
    tasks = [
        task("a", one),
        task("b", other, family="b_family"),
        task("c", bridge),
        task("d", table(2), family="b_family"),
    ]
    assert set(families(tasks).values()) == {"a"}


def test_one_shared_column_or_less_than_half_is_no_relation() -> None:
    one, other = table(0, 6), table(1, 6)
    assert families([task("a", one), task("b", other.assign(c0=one["c0"]))]) == {"a": "a", "b": "b"}
    half = {"a": table(0, 1), "b": table(1, 1).assign(c0=table(0, 1)["c0"])}  # the other half are towns
    assert families([task(name, frame) for name, frame in half.items()]) == {"a": "a", "b": "b"}
    less = other.assign(c0=one["c0"], c1=one["c1"])
    assert families([task("a", one), task("b", less)]) == {"a": "a", "b": "b"}
