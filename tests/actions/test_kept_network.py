"""The network that `train` keeps, as MLflow's own server gives it rows, and as `predict` reads a file."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import pyfunc
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import invocations

from metaflow_hpo.actions.kept_network import predict_file
from metaflow_hpo.actions.own_trials import train_and_keep
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.tracking import Tracking
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.modalities.registry import read_source
from metaflow_hpo.settings import Settings

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:mlflow"),
    pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning:mlflow"),
]


def own_frame(rows: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    amount, code = rng.integers(1_000, 90_000, rows), rng.choice(["007", "008", "A12"], rows)
    frame = pd.DataFrame({"amount": [f"{a:,}.50 $" for a in amount], "code": code, "size": rng.normal(size=rows)})
    return frame.assign(y=np.where(amount + 20_000 * (code == "007") > 50_000, "yes", "no"))


def test_every_way_in_gives_the_same_predictions_and_what_is_no_row_gets_400(
    tmp_path: Path, tracking: Tracking
) -> None:
    path = tmp_path / "my.csv"
    own_frame().to_csv(path, index=False)
    pipeline = Pipeline(Settings(data=tmp_path / "data", fidelity_epochs=10))
    _, kept = train_and_keep(pipeline, read_source(path, "y"), get_learner("mlp").space.default)
    assert kept is not None
    source = tracking.client().get_model_version_download_uri(kept["name"], str(kept["version"]))
    model = pyfunc.load_model(source)

    def post(body: bytes, content_type: str = "application/json") -> pd.DataFrame:
        answer = invocations(body, content_type, model, model.metadata.get_input_schema())
        return pd.DataFrame(json.loads(answer.response)["predictions"])

    rows = own_frame().drop(columns="y").head(20)
    rows.to_csv(tmp_path / "rows.csv", index=False)
    expected, notes = predict_file(pipeline, tmp_path / "rows.csv", kept["uri"])
    assert notes == ()
    assert (expected["prediction"] == own_frame()["y"].head(20)).mean() > 0.8
    records, lists = rows.to_dict("records"), rows.to_dict("list")
    bodies = {
        "dataframe_records": records,
        "dataframe_split": {"columns": list(rows.columns), "data": rows.to_numpy().tolist()},
        "inputs": lists,
        "instances": records,
    }
    for name, rows_as_json in bodies.items():
        pd.testing.assert_frame_equal(post(json.dumps({name: rows_as_json}).encode()), expected, obj=name)
    pd.testing.assert_frame_equal(post(rows.to_csv(index=False).encode(), "text/csv"), expected)
    for body, content_type, message in [
        (b"amount,code\n1,2\n", "text/csv", "missing columns: 'size'"),
        (b'{"dataframe_records": [{"amount": 1}]}', "application/json", "missing columns: 'code', 'size'"),
        (b'{"inputs": [1, 2]}', "application/json", "missing columns: 'amount'"),
        (b'{"inputs": {"amount": [1, 2], "code": [1]}}', "application/json", "Expected rows of a table"),
    ]:
        with pytest.raises(MlflowException, match=message) as caught:
            post(body, content_type)
        assert caught.value.get_http_status_code() == 400


def test_a_single_row_is_read_as_the_training_rows_were(tmp_path: Path, tracking: Tracking) -> None:
    path, rows = tmp_path / "my.csv", tmp_path / "rows.csv"
    own_frame().to_csv(path, index=False)
    pipeline = Pipeline(Settings(data=tmp_path / "data", fidelity_epochs=10))
    _, kept = train_and_keep(pipeline, read_source(path, "y"), get_learner("mlp").space.default)
    own_frame().drop(columns="y").head(5).to_csv(rows, index=False)
    together, _ = predict_file(pipeline, rows, kept["uri"])
    for position in range(5):
        # `007` alone would be a number, and `1.234` with a semicolon beside it another one.
        own_frame().drop(columns="y").iloc[[position]].to_csv(rows, index=False, sep=";")
        alone, notes = predict_file(pipeline, rows, kept["uri"])
        pd.testing.assert_frame_equal(alone, together.iloc[[position]].reset_index(drop=True))
        assert notes == ()


def test_files_of_one_name_in_different_folders_get_models_of_their_own(tmp_path: Path, tracking: Tracking) -> None:
    pipeline = Pipeline(Settings(data=tmp_path / "data", fidelity_epochs=2))
    names = []
    for folder in ("a", "b", "a", "b"):
        path = tmp_path / folder / "train.csv"
        path.parent.mkdir(exist_ok=True)
        own_frame().to_csv(path, index=False)
        _, kept = train_and_keep(pipeline, read_source(path, "y"), get_learner("mlp").space.default, path=path)
        assert kept is not None
        names.append((kept["name"], kept["version"]))
    assert names[0] == ("metaflow_hpo_surrogate_train", 1)
    assert names[2] == ("metaflow_hpo_surrogate_train", 2)
    assert names[1][0] == names[3][0] != names[0][0]
    assert (names[1][1], names[3][1]) == (1, 2)


def test_rows_that_are_written_differently_are_predicted_the_same_and_said(tmp_path: Path, tracking: Tracking) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"years": rng.uniform(1, 40, 120).round(2)}).sample(frac=1, random_state=0)
    path, rows = tmp_path / "train.csv", tmp_path / "rows.csv"
    frame.assign(salary=lambda table: table["years"] * 3_000 + rng.normal(size=120)).to_csv(path)  # with its index
    pipeline = Pipeline(Settings(data=tmp_path / "data", fidelity_epochs=10))
    data = read_source(path, "salary")
    assert "Dropped the index of a saved table: 'Unnamed: 0'." in data.task.notes
    _, kept = train_and_keep(pipeline, data, get_learner("mlp").space.default)
    assert kept is not None
    frame.to_csv(rows, index=False)
    expected, notes = predict_file(pipeline, rows, kept["uri"])
    assert (len(expected), notes) == (120, ())
    dollars = frame["years"].map(lambda value: f"${value:,.2f}")
    for change, note in [
        (lambda: frame.to_csv(rows), ""),
        (lambda: frame.to_csv(rows, sep=";", index=False), ""),
        (lambda: frame.assign(years=dollars).to_csv(rows, index=False), "are written in another way"),
        (lambda: frame.assign(years=frame["years"].map("{:.2f} €".format)).to_csv(rows), "are written in another way"),
        (lambda: frame.to_csv(rows, decimal=",", sep=";"), "are written in another way"),
    ]:
        change()
        found, notes = predict_file(pipeline, rows, kept["uri"])
        pd.testing.assert_frame_equal(found, expected)
        assert note in " ".join(notes)
        assert bool(note) == bool(notes)
    frame.assign(years="many").to_csv(rows, index=False)
    with pytest.raises(InvalidTableError, match=r"numbers in the column 'years', .*; none of its 120"):
        predict_file(pipeline, rows, kept["uri"])
    frame.rename(columns={"years": "Years"}).to_csv(rows)
    with pytest.raises(InvalidTableError, match="Rename 'Years' to 'years'"):
        predict_file(pipeline, rows, kept["uri"])
