"""The same table, written in n ways, is the same task: one digest, one split, one set of classes."""

import itertools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from metaflow_hpo.actions.advise import describe_file, recommend
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.learners.trained_rows import fit_network
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.modalities.table.conform import conform_rows
from metaflow_hpo.modalities.table.files.tables import read_table
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.settings import Settings

Writer = Callable[[pd.DataFrame, Path], None]


def csv_writer(**options: object) -> Writer:
    return lambda frame, path: frame.to_csv(path, **options)


def json_writer(**options: object) -> Writer:
    return lambda frame, path: frame.to_json(path, double_precision=15, date_format="iso", **options)


def write_lines(frame: pd.DataFrame, path: Path) -> None:
    """Write with all digits, which `to_json` does not."""
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    path.write_text("".join(json.dumps(record, default=str) + "\n" for record in records), encoding="utf-8")


WAYS: dict[str, tuple[str, Writer]] = {
    f"csv {name} {'with' if index else 'without'} index": ("t.csv", csv_writer(index=index, **options))
    for (name, options), index in itertools.product(
        {
            "comma": {},
            "semicolon": {"sep": ";"},
            "tab": {"sep": "\t"},
            "pipe": {"sep": "|"},
            "BOM": {"encoding": "utf-8-sig"},
            "UTF-16": {"encoding": "utf-16"},
            "quotes": {"quoting": 2},
            "all quoted": {"quoting": 1},
            "Windows": {"lineterminator": "\r\n"},
            "packed": {"compression": "gzip"},
        }.items(),
        (False, True),
    )
}
WAYS = {name: (f"t.csv{'.gz' if 'packed' in name else ''}", writer) for name, (_, writer) in WAYS.items()} | {
    "lines": ("t.jsonl", write_lines),
    "records": ("t.json", json_writer(orient="records")),
    "pretty": ("t.json", json_writer(orient="records", indent=2)),
    "columns": ("t.json", json_writer()),
    "split": ("t.json", json_writer(orient="split")),
    "Excel": ("t.xlsx", lambda frame, path: frame.to_excel(path, index=False)),
    "Excel with index": ("t.xlsx", lambda frame, path: frame.to_excel(path)),
    "parquet": ("t.parquet", lambda frame, path: frame.to_parquet(path)),
    "parquet of categories": (
        "t.parquet",
        lambda frame, path: frame.astype({"town": "category", "y": "category"}).to_parquet(path),
    ),
}


QUICK = ["csv semicolon with index", "csv tab without index", "csv quotes with index", "csv Windows with index"]


def wide_frame(seed: int = 0, rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"x": rng.normal(size=rows).round(9), "count": rng.integers(-5, 50, rows)})
    frame = frame.assign(
        flag=rng.random(rows) < 0.5,
        town=rng.choice(["Köln", 'a "b"', "x,y;z", "None", "007"], rows),
        mixed=rng.choice(["1", "A2", "3"], rows),
        price=[f"${value:,}.50" for value in rng.integers(500, 9_000, rows)],
        day=[f"{day:02d}.03.2021" for day in rng.integers(1, 29, rows)],
        when=pd.Timestamp("2021-01-01") + pd.to_timedelta(rng.integers(0, 90, rows), "D"),
        y=rng.choice(["yes", "no"], rows),
    )
    frame.loc[::7, "x"] = np.nan
    frame.loc[::11, "town"] = None
    return frame


def read_written(frame: pd.DataFrame, folder: Path, way: str, target: str = "y") -> TableData:
    name, write = WAYS[way]
    write(frame, folder / name)
    return read_source(folder / name, target)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_table_is_the_same_task_in_whatever_way_it_is_written(tmp_path: Path, way: str) -> None:
    (tmp_path / "other").mkdir()
    expected = read_written(wide_frame(), tmp_path / "other", "csv comma without index")
    found = read_written(wide_frame(), tmp_path, way)
    assert found.task.sha256 == expected.task.sha256
    assert found.class_names == expected.class_names
    pd.testing.assert_frame_equal(found.features, expected.features)
    np.testing.assert_array_equal(found.is_test, expected.is_test)
    assert found.styles == expected.styles


@pytest.mark.parametrize("way", [*QUICK, "lines", "columns", "Excel", "parquet", "parquet of categories"])
@pytest.mark.parametrize("target", [[0, 1], [1.0, 2.0], [True, False], [1.5, 2.5], ["007", "010"], ["None", "some"]])
def test_every_kind_of_target_is_the_same_in_whatever_way_it_is_written(
    tmp_path: Path, way: str, target: list[object]
) -> None:
    frame = wide_frame().assign(y=target * 30)
    (tmp_path / "other").mkdir()
    expected = read_written(frame, tmp_path / "other", "csv comma without index")
    found = read_written(frame, tmp_path, way)
    assert found.task.sha256 == expected.task.sha256
    assert found.task.kind == expected.task.kind
    if not isinstance(target[0], float):  # a format with types has no spelling of numbers
        assert found.class_names == expected.class_names


ASKED = [
    *(f"csv {name} {index} index" for name in ("semicolon", "tab", "BOM", "quotes") for index in ("with", "without")),
    "csv comma with index",
    *("lines", "records", "columns", "Excel", "Excel with index", "parquet", "parquet of categories"),
]
"""The ways that people write a table in, beside the usual one."""


class Outcome(NamedTuple):
    """What a file leads to: its task, what is recommended for it, and what a network that is trained on it predicts."""

    sha256: str
    answer: dict[str, Any]
    predictions: pd.DataFrame
    notes: tuple[str, ...]


def follow(folder: Path, way: str, settings: Settings) -> Outcome:
    """Write a table, and go with it all the way as a person would."""
    name, write = WAYS[way]
    write(wide_frame(), folder / name)
    described = describe_file(folder / name, "y")
    answer = recommend(Pipeline(settings), described, 3)
    answer["task"].pop("notes")  # what had to be guessed is said of each file
    network = fit_network(described.data, "mlp", answer["recommendations"][0]["configuration"], seed=0, epochs=2)
    assert network is not None
    as_written = [column.name for column in network.columns if not column.is_numeric or column.style is not None]
    rows = read_table(folder / name, as_written=as_written, reads_commas=False, settles_words=False)
    conformed = conform_rows(rows, network.columns)
    return Outcome(described.data.task.sha256, answer, network.predict(conformed.features), conformed.notes)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Settings]:
    folder = tmp_path_factory.mktemp("usual")
    settings = Settings.load(data=folder / "data")
    return follow(folder, "csv comma without index", settings), settings


@pytest.mark.parametrize("way", ASKED)
def test_task_recommendation_and_predictions_are_the_same_in_whatever_way_a_table_is_written(
    tmp_path: Path, usual: tuple[Outcome, Settings], way: str
) -> None:
    expected, settings = usual
    found = follow(tmp_path, way, settings)
    assert found.sha256 == expected.sha256
    assert found.answer == expected.answer
    assert found.notes == expected.notes == ()
    pd.testing.assert_frame_equal(found.predictions, expected.predictions)


TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=8)
CELLS = [
    st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15).map(lambda x: float(f"{x:.9g}")),
    st.integers(-(10**12), 10**12),
    st.booleans(),
    TEXT,
    st.sampled_from(["None", "NA", "nan", "null", "a", "B", "7", "007", "1.0", "1e3", "true", "?", ""]),
    st.sampled_from(["2021-03-14", "14.03.2021", "03/04/2021", "Mar 2021", "$1,234.50", "12 %", "1,5", "1.234,50"]),
    st.dates().filter(lambda day: 1900 < day.year < 2100).map(str),
]
COLUMNS = st.sampled_from(range(len(CELLS))).flatmap(
    lambda kind: st.tuples(st.lists(CELLS[kind], min_size=24, max_size=24), st.integers(0, 24))
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), phases=(Phase.generate,))
@given(columns=st.lists(COLUMNS, min_size=1, max_size=3), way=st.sampled_from([*QUICK, "lines", "parquet"]))
def test_any_table_is_the_same_task_in_any_way(columns: list[tuple[list[object], int]], way: str) -> None:
    frame = pd.DataFrame({"x": np.random.default_rng(0).normal(size=24).round(6)})
    for number, (values, gaps) in enumerate(columns):
        frame[f"c{number}"] = pd.Series(values).mask(pd.Series(range(24)) >= 24 - gaps // 2)
    frame = frame.assign(y=["u", "v"] * 12)
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for one in ("csv comma without index", way):
            try:
                results.append(read_written(frame, Path(folder), one).task.sha256)
            except InvalidTaskError as error:
                results.append(str(error))
        assert results[0] == results[1]
