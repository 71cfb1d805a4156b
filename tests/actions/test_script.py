"""The script that takes a configuration home: run as a person would, beside our trainer on the same rows."""

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.actions.script import describe_table, write_script
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.sources import builtin
from metaflow_hpo.adapters.sources.raw_files import READERS
from metaflow_hpo.collect.trials import train_trials
from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.learners.realmlp.learner import RealMLP
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.learners.script import render_script
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.modalities.table.preprocessing import Preprocessor
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.settings import Settings

SPECS = {spec.task_id: spec for spec in builtin.builtin_specs()}
MLP = {"learning_rate": 0.003, "batch_size": 50, "weight_decay": 1e-4, "dropout": 0.1, "layers": 2, "width": 64}
CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "adam": ("mlp", MLP | {"optimizer": "adam", "shape": "funnel", "activation": "relu", "schedule": "cosine"}),
    "sgd": (
        "mlp",
        MLP | {"optimizer": "sgd", "momentum": 0.9, "shape": "rectangular", "activation": "tanh", "schedule": "step"},
    ),
    "realmlp": ("realmlp", RealMLP.space.default),
    "members": ("realmlp", {**RealMLP.space.default, "members": 3, "scaling": "quantile", "activation": "mish"}),
    "svm": ("svm", {"C": 10.0, "kernel": "rbf", "gamma": 0.05}),
}


def write_real_table(path: Path, task_id: str) -> str:
    """Write a built-in task as a person's csv, every twentieth value of a feature missing; return the target."""
    spec = SPECS[task_id]
    frame = READERS[spec.reader](builtin._read_bytes(spec), spec.options)
    rng = np.random.default_rng(0)
    for name in frame.columns.drop(spec.target):
        frame.loc[rng.random(len(frame)) < 0.05, name] = None
    frame.to_csv(path, index=False)
    return spec.target


def prepare_like(script: dict[str, Any], path: Path, target: str) -> TableData:
    """Prepare a table with the held-out rows of a script as test rows."""
    features, values = script["read_rows"](str(path))
    held_out = np.flatnonzero(script["split"](features, values)).tolist()
    path.with_suffix(".yaml").write_text(json.dumps({"test_rows": held_out}))
    return read_source(path, target)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("task_id", "choice", "metric", "tolerance"),
    [
        ("car", "adam", "accuracy", 0.03),
        ("medical_cost", "sgd", "r2", 0.02),
        ("car", "realmlp", "accuracy", 0.03),
        ("medical_cost", "members", "r2", 0.02),
        ("medical_cost", "svm", "r2", 1e-4),
        ("car", "svm", "balanced_accuracy", 1e-4),
    ],
)
def test_the_script_in_a_fresh_process_scores_like_the_trainer_on_the_same_rows(
    tmp_path: Path, task_id: str, choice: str, metric: str, tolerance: float
) -> None:
    table, output = tmp_path / "table.csv", tmp_path / "train.py"
    learner, configuration = CONFIGURATIONS[choice]
    target = write_real_table(table, task_id)
    pipeline = Pipeline(Settings(data=tmp_path / "data", learner=learner))
    write_script(pipeline, output, table, read_source(table, target), configuration)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-I", str(output)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    printed = dict(line.split() for line in done.stdout.splitlines()[1:])
    data = prepare_like(runpy.run_path(str(output)), table, target)
    (_, trial), *_ = train_trials(data, get_learner(learner), [configuration], strategy="x", seed=0)
    print(f"\n{task_id} {choice}: script {printed[metric]}, trainer {trial.scores[f'test_{metric}']:.4f}")
    assert float(printed[metric]) == pytest.approx(trial.scores[f"test_{metric}"], abs=tolerance)
    assert f"{len(data.train_target)} rows trained on, {len(data.test_target)} held out" in done.stdout


def strange_frame(rows: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 400, rows), unit="D")
    frame = pd.DataFrame({"plain": rng.normal(size=rows), 'quoted "name" \\': rng.normal(size=rows) * 1e6})
    frame = frame.assign(
        when=days.strftime("%Y-%m-%d"),
        price=[f"${p:,}.25" for p in rng.integers(100, 9_000, rows)],
        share=[f"({s},5) %" for s in rng.integers(0, 90, rows)],
        flag=rng.random(rows) < 0.5,
        many=[f"c{i}" for i in rng.integers(0, 35, rows)],
        few=rng.choice(["a ", "b", "?"], rows),
        wild=[1e9, *[1.0, 2.0] * ((rows - 1) // 2), 3.0],
        y=rng.choice(['"""', "'{{ 1 }}"], rows),
    )
    for name in frame.columns.drop("y"):
        frame[name] = frame[name].astype(object).mask(rng.random(rows) < 0.1)
    return frame.assign(moment=days + pd.to_timedelta(rng.integers(0, 86_400, rows), unit="s"))


@pytest.mark.parametrize("ending", ["csv", "xlsx", "jsonl", "parquet"])
def test_columns_are_prepared_like_ours_whatever_the_format(tmp_path: Path, ending: str) -> None:
    table, frame = tmp_path / f"t.{ending}", strange_frame()
    match ending:
        case "csv":
            frame.to_csv(table, index=False, sep=";")
        case "xlsx":
            frame.to_excel(table, index=False)
        case "jsonl":
            frame.to_json(table, lines=True, orient="records", date_format="iso")
        case _:
            frame.to_parquet(table)
    data = read_source(table, "y")
    output = tmp_path / "train.py"
    learner = get_learner("svm")
    output.write_text(
        render_script(describe_table(table, data), "svm", learner.space.default, epochs=1, seed=3), encoding="utf-8"
    )
    script = runpy.run_path(str(output))
    data = prepare_like(script, table, "y")
    features, target = script["read_rows"](str(table))
    is_test = script["split"](features, target)
    encoder = script["fit_encoder"](features[~is_test])
    ours = Preprocessor.fit(data.train_features)
    assert 0.1 < is_test.mean() < 0.3
    for rows, expected in [
        (features[~is_test], ours.transform(data.train_features)),
        (features[is_test], ours.transform(data.test_features)),
    ]:
        encoded = script["encode"](rows, encoder)
        assert encoded.shape == expected.shape
        # Neither rows nor columns are in the same order.
        for one, other in [(encoded, expected), (encoded.T, expected.T)]:
            np.testing.assert_allclose(
                np.sort(np.sort(one, axis=1), axis=0), np.sort(np.sort(other, axis=1), axis=0), atol=1e-5
            )
    assert script["CLASSES"] == list(data.class_names)


@pytest.mark.parametrize("learner", ["mlp", "realmlp", "svm"])
@pytest.mark.parametrize("classes", [(), ("p", "q")])
def test_scripts_are_formatted_and_lint_like_our_own_code(
    tmp_path: Path, learner: str, classes: tuple[str, ...]
) -> None:
    strange_frame().assign(n=range(120)).to_csv(tmp_path / "t.csv", index=False)
    data = read_source(tmp_path / "t.csv", "y" if classes else "plain", kind=None if classes else "regression")
    table = describe_table(tmp_path / "t.csv", data)
    output = tmp_path / "train.py"
    text = render_script(table, learner, get_learner(learner).space.default, epochs=50, seed=0)
    output.write_text(text.replace(str(tmp_path), "."), encoding="utf-8")
    config = ["--config", str(Path(__file__).parents[2] / "pyproject.toml"), "--no-cache"]
    rules = ["--select", "E,F,W,I,B,UP,SIM,RET,D"]
    for arguments in (["check", *rules, *config], ["format", "--check", *config]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *arguments, str(output)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout
    assert "metaflow_hpo" not in text


def test_a_target_in_euros_is_read_by_the_script_as_it_was_here(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    values = np.arange(40) * 61.25 - 500
    written = [f"{value:,.2f} €".translate({44: ".", 46: ","}) for value in values]
    pd.DataFrame({"a": range(40), "b": [f"{n % 7},5" for n in range(40)], "y": written}).to_csv(
        table, index=False, sep=";"
    )
    data = read_source(table, "y")
    text = render_script(describe_table(table, data), "svm", get_learner("svm").space.default, epochs=1, seed=0)
    (tmp_path / "train.py").write_text(text, encoding="utf-8")
    features, target = runpy.run_path(str(tmp_path / "train.py"))["read_rows"]()
    np.testing.assert_array_equal(target, values)
    assert sorted(target) == sorted(data.target)
    np.testing.assert_array_equal(features["b"], [n % 7 + 0.5 for n in range(40)])


def test_classes_that_a_script_would_not_find_are_named(tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    pd.DataFrame({"a": range(40), "b": [1, 2, 3, 5] * 10, "y": ["1.0", "2.0", "1", "2.0"] * 10}).to_parquet(table)
    with pytest.raises(InvalidTaskError, match=r"each of the classes '1', '2.0' to be written in one way"):
        describe_table(table, read_source(table, "y"))


@pytest.mark.parametrize(
    "target", [[0, 1] * 20, [1.0, None, 2.0, 1.0] * 10, [True, False] * 20, ["a ", "b"] * 20, [1.5, 2.5] * 20]
)
def test_classes_are_found_whatever_their_type(tmp_path: Path, target: list[Any]) -> None:
    table = tmp_path / "t.csv"
    pd.DataFrame({"a": np.random.default_rng(0).normal(size=40), "y": target}).to_csv(table, index=False)
    data = read_source(table, "y", kind="classification")
    learner = get_learner("svm")
    text = render_script(describe_table(table, data), "svm", learner.space.default, epochs=1, seed=0)
    (tmp_path / "train.py").write_text(text)
    _, found = runpy.run_path(str(tmp_path / "train.py"))["read_rows"]()
    assert sorted(found) == sorted(data.target)


def test_columns_that_a_script_cannot_prepare_are_named(tmp_path: Path) -> None:
    table = tmp_path / "t.parquet"
    frame = pd.DataFrame({"a": pd.to_timedelta(np.arange(40) ** 2, unit="D"), "y": [0, 1] * 20})
    frame.to_parquet(table)
    with pytest.raises(InvalidTaskError, match="'a' holds timedelta"):
        describe_table(table, read_source(table, "y"))


@pytest.mark.parametrize(
    ("form", "order"), [("%d.%m.%Y", "dmy"), ("%m/%d/%Y", "mdy"), ("%d %b %Y", "ymd"), ("%Y%m%d", "digits")]
)
def test_dates_below_a_title_are_read_by_the_script_as_here(tmp_path: Path, form: str, order: str) -> None:
    table = tmp_path / "t.csv"
    days = pd.Series(pd.date_range("2021-03-14", periods=80))
    frame = pd.DataFrame({"day": days.dt.strftime(form), "town": ["None", "a", "b", "a"] * 20, "y": ["01", "02"] * 40})
    table.write_text("Sales report\n\n" + frame.to_csv(index=False))
    data = read_source(table, "y")
    described = describe_table(table, data)
    assert described.dates == {"day": order}
    output = tmp_path / "train.py"
    output.write_text(render_script(described, "svm", get_learner("svm").space.default, epochs=1, seed=0))
    script = runpy.run_path(str(output))
    features, target = script["read_rows"]()
    assert features["day"].tolist() == list(range(18_700, 18_780))
    assert features["town"].tolist()[:2] == ["None", "a"]
    assert target.tolist() == [0, 1] * 40
    assert script["CLASSES"] == ["01", "02"]
