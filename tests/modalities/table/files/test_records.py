"""JSON as pandas and people write it: lines, lists, objects of columns; and what is one object, but no table."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet as pq

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.modalities.table.files.tables import read_table


def frame_of(rows: int = 40) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"a": rng.normal(size=rows).round(6), "b": rng.choice(["u", "v"], rows), "y": [0, 1] * (rows // 2)}
    )


@pytest.mark.parametrize("orient", ["records", "columns", "index", "split", "table"])
@pytest.mark.parametrize("indent", [None, 2])
def test_every_form_that_pandas_writes_is_the_same_task(tmp_path: Path, orient: str, indent: int | None) -> None:
    path, csv = tmp_path / "t.json", tmp_path / "t.csv"
    frame_of().to_json(path, orient=orient, indent=indent)
    frame_of().to_csv(csv, index=False)
    assert read_source(path, "y").task.sha256 == read_source(csv, "y").task.sha256
    assert list(read_table(path).columns) == ["a", "b", "y"]
    assert read_source(path).task.target == "y"


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(frame_of().to_dict("list")),
        json.dumps(frame_of().to_dict("list"), indent=1),
        json.dumps({"columns": ["a", "b", "y"], "data": frame_of().to_numpy().tolist()}),
        "\n".join(json.dumps(record) for record in frame_of().to_dict("records")),
        json.dumps(frame_of().to_dict("records"), indent=4),
        json.dumps(frame_of().sample(frac=1, random_state=0).to_dict()),
    ],
)
def test_other_usual_forms_are_tables_too(tmp_path: Path, content: str) -> None:
    (tmp_path / "t.json").write_text(content)
    frame_of().to_csv(tmp_path / "t.csv", index=False)
    assert read_source(tmp_path / "t.json", "y").task.sha256 == read_source(tmp_path / "t.csv", "y").task.sha256


@pytest.mark.parametrize("indent", [None, 2])
def test_an_object_that_is_no_table_is_not_called_damaged(tmp_path: Path, indent: int | None) -> None:
    path = tmp_path / "runhistory.json"
    runs = {"stats": {"submitted": 3}, "data": [{"config_id": 1, "cost": [0.1]}], "configs": {"1": {"x": 0.5}}}
    path.write_text(json.dumps(runs, indent=indent))
    with pytest.raises(
        InvalidTaskError, match=r"one JSON object, with the keys 'stats', 'data', 'configs'.*records"
    ) as e:
        read_table(path)
    assert "cut short" not in str(e.value)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ('{"a": [1, 2], "y": [1]}', "one JSON object"),
        ('{"a": {"0": [1]}, "y": {"0": 1}}', "one JSON object"),
        ('{"a": 1, "b": 2, "y": [2]}\n', "'y' of record 1 holds more than one"),
        ('{"a": 1}\n{"a": \n', "found on line 2"),
        ("{\n 'a': 1}", "found on line 1"),
    ],
)
def test_what_is_wrong_in_json_is_said(tmp_path: Path, content: str, match: str) -> None:
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(InvalidTaskError, match=match):
        read_table(tmp_path / "t.json")


@pytest.mark.parametrize("way", ["lines", "list", "parquet"])
def test_objects_in_records_and_structs_are_unfolded_alike(tmp_path: Path, way: str) -> None:
    frame = frame_of()
    flat = frame.rename(columns={"a": "at.x", "b": "at.in.b"})
    records = [{"at": {"x": a, "in": {"b": b}}, "y": y} for a, b, y in frame.itertuples(index=False)]
    records[3]["at"] = {"x": records[3]["at"]["x"], "in": None} if way == "parquet" else {"x": records[3]["at"]["x"]}
    flat.loc[3, "at.in.b"] = None
    flat.to_csv(tmp_path / "t.csv", index=False)
    path = tmp_path / {"lines": "n.jsonl", "list": "n.json", "parquet": "n.parquet"}[way]
    if way == "parquet":
        # An older pyarrow sorts the fields that it infers by name.
        at = pa.struct([("x", pa.float64()), ("in", pa.struct([("b", pa.string())]))])
        pq.write_table(pa.Table.from_pylist(records, pa.schema([("at", at), ("y", pa.int64())])), path)
    else:
        path.write_text(json.dumps(records) if way == "list" else "\n".join(map(json.dumps, records)))
    found, expected = read_source(path, "y"), read_source(tmp_path / "t.csv", "y")
    assert found.task.sha256 == expected.task.sha256
    assert read_table(path).attrs["read"] == ""


@pytest.mark.parametrize("value", [[1, 2], {"x": [1]}, [], {"x": {"y": [None]}}])
def test_lists_are_refused_by_name_wherever_they_stand(tmp_path: Path, value: object) -> None:
    rows = [{"a": float(i), "b": value, "y": i % 2} for i in range(40)]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "t.parquet")
    for name in ("t.jsonl", "t.parquet"):
        with pytest.raises(InvalidTaskError, match=r"'b[.xy]*'.*(list|ndarray).*a column of its own"):
            read_source(tmp_path / name, "y")


@pytest.mark.parametrize("record", [{"a": {"b": 1}, "a.b": 2, "y": 0}, {"a": {"": {"": {"": {"": {"": {"": 1}}}}}}}])
def test_parts_that_cannot_be_told_apart_are_refused(tmp_path: Path, record: object) -> None:
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(record) for _ in range(30)))
    pq.write_table(pa.Table.from_pylist([record] * 30), tmp_path / "t.parquet")  # type: ignore[list-item]
    for name in ("t.jsonl", "t.parquet"):
        with pytest.raises(InvalidTaskError, match="nested deeper than 5, or two"):
            read_table(tmp_path / name, min_columns=1)


def test_one_record_is_one_row_also_over_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    for indent in (None, 2):
        path.write_text(json.dumps({"a": 1, "y": "x"}, indent=indent))
        assert read_table(path).to_dict("records") == [{"a": 1, "y": "x"}]


def test_numbers_that_only_python_writes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": NaN, "y": 1}\n{"a": Infinity, "y": 2}\n{"a": 3, "y": NaN}\n')
    table = read_table(path)
    assert table["a"].isna().tolist() == [True, False, False]
    assert table["y"].isna().tolist() == [False, False, True]


def test_nested_parquet_names_the_column(tmp_path: Path) -> None:
    for value in ([1, 2], {"k": [1]}, b"\x00"):
        path = tmp_path / "t.parquet"
        frame_of().assign(nested=[value] * 40).to_parquet(path)
        with pytest.raises(InvalidTaskError, match="column 'nested"):
            read_source(path, "y")
