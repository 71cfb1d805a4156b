"""A folder of tasks: one line of an index a task, whose file it may share with others."""

import pandas as pd
import pytest

from metaflow_hpo.adapters.pipeline import Pipeline, show_nothing
from metaflow_hpo.adapters.sources.chosen import load_chosen
from metaflow_hpo.adapters.sources.task_folder import load_folder_task, read_index
from metaflow_hpo.errors import InvalidTaskError, UnknownTaskError
from metaflow_hpo.modalities.hints import is_landed
from metaflow_hpo.settings import Settings

HEADER = "task_id,modality,family,file,key,target,source,licence,note\n"


def write_rows(path, keys, rows=40):
    """Write the rows of several tasks, whose labels are told by the sign of the first column."""
    parts = [
        pd.DataFrame({
            "task": key,
            "a": [(-1) ** i * (i + 1.0 + k) for i in range(rows)],
            "b": [float(i % 7) for i in range(rows)],
            "label": ["even" if i % 2 == 0 else f"odd_{key}" for i in range(rows)],
        })
        for k, key in enumerate(keys)
    ]  # fmt: skip
    pd.concat(parts, ignore_index=True).to_parquet(path)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tables").mkdir()
    write_rows(tmp_path / "tables" / "both.parquet", ["x", "y"])
    write_rows(tmp_path / "lone.parquet", ["z"])
    (tmp_path / "index.csv").write_text(
        HEADER
        + "both_x,table,both,tables/both.parquet,x,,github someone/both,CC BY 4.0,\n"
        + "both_y,table,both,tables/both.parquet,y,label,,,SIMULATED data\n"
        + "lone,,,,,label,,,\n"
        + "far,points,,far.points,,,,,\n"
    )
    return tmp_path


def test_a_line_says_what_its_task_is_and_what_it_leaves_out_has_a_usual_value(folder):
    specs = {spec.task_id: spec for spec in read_index(folder)}
    assert list(specs) == ["both_x", "both_y", "lone", "far"]
    assert (specs["both_x"].family, specs["both_x"].key, specs["both_x"].target) == ("both", "x", None)
    assert (specs["lone"].family, specs["lone"].modality, specs["lone"].file) == ("lone", "table", "lone.parquet")
    assert (specs["lone"].licence, specs["lone"].source) == ("unstated", "lone.parquet")
    assert [spec.simulated for spec in specs.values()] == [False, True, False, False]
    assert [spec.task_id for spec in read_index(folder, ["points"])] == ["far"]


def test_tasks_that_share_a_table_get_the_rows_of_their_key_alone(folder):
    x, y, *_ = (load_folder_task(folder, spec) for spec in read_index(folder)[:2])
    assert (x.task.rows, y.task.rows) == (40, 40)
    assert set(x.class_names) == {"even", "odd_x"}
    assert set(y.class_names) == {"even", "odd_y"}
    assert list(x.features.columns) == ["a", "b"]
    assert (x.task.source, x.task.licence, x.task.family) == ("github someone/both", "CC BY 4.0", "both")
    assert y.task.simulated
    assert "SIMULATED data" in y.task.notes
    assert not is_landed(x.task.source)


def test_the_settings_choose_a_folder_and_of_it_some_tasks(folder):
    settings = Settings(data=folder / "data", catalogue=f"folder:{folder}", modalities=("table",), tasks=("lone",))
    [data] = load_chosen(settings, show_nothing)
    assert data.task.task_id == "lone"
    with pytest.raises(UnknownTaskError, match=r"names \['iris'\]; the catalogue has 4 tasks, such as both_x"):
        list(load_chosen(Settings(catalogue=f"folder:{folder}", tasks=("iris",)), show_nothing))


def test_a_folder_may_come_on_top_of_built_in_tasks(folder):
    settings = Settings(catalogue=f"builtin+folder:{folder}", tasks=("lone", "iris"))
    assert [data.task.task_id for data in load_chosen(settings, show_nothing)] == ["iris", "lone"]


def test_a_task_that_cannot_be_read_is_left_out_with_its_reason(folder, caplog):
    (folder / "lone.parquet").write_bytes(b"no parquet")
    settings = Settings(data=folder / "data", catalogue=f"folder:{folder}", modalities=("table",))
    assert [data.task.task_id for data in load_chosen(settings, show_nothing)] == ["both_x", "both_y"]
    assert "Left out: lone (lone.parquet): " in caplog.text


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("", "found no line without"),
        ("task_id,file\n,a.csv\n", "found 1 of 1 lines without"),
        ("task_id\na\na\n", "each task once in .*; found 'a' more than once"),
        ("task_id,modality\na,text\n", "tasks of 'table' in .*; it has those of 'text'"),
    ],
)
def test_an_index_that_is_none_is_refused(tmp_path, index, message):
    (tmp_path / "index.csv").write_text(index)
    with pytest.raises(InvalidTaskError, match=message):
        read_index(tmp_path, ["table"])


def test_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(InvalidTaskError, match=r"Expected a table of tasks in UTF-8 at .*index.csv; found: .*No such"):
        read_index(tmp_path)


@pytest.mark.parametrize("file", ["gone.parquet", "../elsewhere.parquet"])
def test_a_file_that_is_missing_or_elsewhere_is_refused(folder, file):
    write_rows(folder.parent / "elsewhere.parquet", ["z"])
    (folder / "index.csv").write_text(f"task_id,file\na,{file}\n")
    with pytest.raises(InvalidTaskError, match="a: expected its file below"):
        load_folder_task(folder, read_index(folder)[0])


def test_a_key_that_no_row_has_is_refused(folder):
    (folder / "index.csv").write_text("task_id,file,key\na,lone.parquet,q\n")
    with pytest.raises(InvalidTaskError, match="Expected rows with 'q' in the column 'task'; there are none"):
        load_folder_task(folder, read_index(folder)[0])


def test_the_catalogue_of_a_folder_holds_its_tasks(folder, mlflow_template):
    from metaflow_hpo.actions.collect import build_catalogue

    settings = Settings(data=folder / "data", catalogue=f"folder:{folder}", modalities=("table",), max_rows=100)
    report = build_catalogue(Pipeline(settings))
    assert (report["tasks"], report["families"]) == (3, 2)
    assert set(report["table"]["source"]) == {"github someone/both", "tables/both.parquet", "lone.parquet"}
