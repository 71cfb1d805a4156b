"""Names of tasks: different files are different tasks, in any script."""

import os
from pathlib import Path

import pytest

from metaflow_hpo.metric import Metric
from metaflow_hpo.modalities.hints import read_hints, show_name, task_id_of
from metaflow_hpo.task import Task


@pytest.mark.parametrize(
    ("name", "task_id"),
    [
        ("train.csv", "train"),
        ("My Data-2.csv", "my_data_2"),
        ("my.data (1).csv.gz", "my_data_1"),
        ("Sales_2024.xlsx", "sales_2024"),
        (f"{'x' * 80}.csv", "x" * 80),
    ],
)
def test_a_plain_name_in_latin_letters_is_the_id(name: str, task_id: str) -> None:
    assert task_id_of(Path(name)) == task_id


STRANGE = [
    *("数据1", "训练1", "销售数据", "данные", "таблица", "données", "donnees!", "größe", "grüße", "café", "cafè"),
    *("a#b", "a%b", "a?b", "a&b", "a\nb", "a\tb", "a+b", "---", "...", "😀", "😁", "ا", "ב", " ", "x" * 81, "x" * 82),
    *("Über Data", "Uber  Data!", "1²", "1½", "ﬁle", "İstanbul", "ıstanbul"),
    os.fsdecode(b"caf\xe9"),
    os.fsdecode(b"caf\xe8"),
]


def test_different_names_in_any_script_give_different_ids_that_a_task_may_have() -> None:
    ids = [task_id_of(Path(f"{name}.csv")) for name in STRANGE]
    assert len(set(ids)) == len(STRANGE)
    for task_id in ids:
        Task(
            task_id=task_id,
            family="f",
            modality="table",
            metric=Metric.read("accuracy"),
            licence="l",
            source="s",
            sha256="0",
        )
    assert not set(ids) & {"a_b", "1", "caf", "ber_data"}
    assert task_id_of(Path("données.csv")).startswith("donnees_")  # what Latin letters are left can be recognised


def test_the_same_name_gives_the_same_id_whatever_the_folder_and_the_format() -> None:
    assert task_id_of(Path("a/数据.csv")) == task_id_of(Path("b/数据.parquet")) == task_id_of(Path("数据.jsonl.gz"))


def test_a_name_that_is_no_text_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.csv")
    assert show_name(path) == "caf\\xe9.csv"
    assert read_hints(path).describe(path)["source"] == "inbox/caf\\xe9.csv"
    assert show_name(Path("数据.csv")) == "数据.csv"
