"""The command line as people and programs call it: exit codes, JSON contracts, messages."""

import io
import json
import subprocess
import sys

import jsonschema
import pandas as pd
import pytest
from sklearn.datasets import load_wine

pytestmark = pytest.mark.integration

NUMBER, TEXT, OBJECT = {"type": "number"}, {"type": "string"}, {"type": "object"}
RECOMMEND = {
    "type": "object",
    "required": ["task", "recommendations", "evidence", "novelty", "lineage"],
    "properties": {
        "recommendations": {
            "type": "array",
            "minItems": 3,
            "maxItems": 3,
            "items": {
                "type": "object",
                "required": [
                    "rank",
                    "configuration",
                    "performance",
                    "expected_gain_over_default",
                    "expected_duration_s",
                ],
                "properties": {
                    "rank": {"type": "integer"},
                    "configuration": OBJECT,
                    "expected_gain_over_default": NUMBER,
                    "expected_duration_s": NUMBER,
                    "performance": {
                        "type": "object",
                        "required": ["metric", "mean", "low", "high", "coverage"],
                        "properties": {
                            "metric": TEXT,
                            "mean": NUMBER,
                            "low": NUMBER,
                            "high": NUMBER,
                            "coverage": NUMBER,
                        },
                    },
                },
            },
        },
        "evidence": {"type": "object", "required": ["nearest_tasks"]},
        "novelty": {
            "type": "object",
            "required": ["percentile", "fallback"],
            "properties": {"percentile": NUMBER, "fallback": {"type": "boolean"}},
        },
        "lineage": {"type": "object", "required": ["surrogate_version", "meta_dataset_md5"]},
    },
}
TRAIN = {
    "type": "object",
    "required": ["configuration", "performance", "test_performance", "metric", "duration_s"],
    "properties": {"configuration": OBJECT, "performance": NUMBER, "test_performance": NUMBER, "metric": TEXT},
}
STATUS = {
    "type": "object",
    "required": ["knowledge", "champion", "data"],
    "properties": {
        "knowledge": {"type": "object", "required": ["tasks", "families", "trials", "learners", "meta_dataset_md5"]},
        "champion": {"type": ["object", "null"]},
        "data": OBJECT,
    },
}


def run_cli(environment, *arguments):
    """Run the program as people do: in a process of its own."""
    command = [sys.executable, "-m", "metaflow_hpo.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def wine(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "my_wine.csv"
    frame = load_wine(as_frame=True).frame
    frame.assign(target=frame["target"].map({0: "a", 1: "b", 2: "c"})).rename(columns={"target": "y"}).to_csv(
        path, index=False
    )
    return path


@pytest.fixture
def served(project):
    """The project with a champion, whatever the gate thought of so small a search."""
    pipeline = project.pipeline()
    if pipeline.registry.champion() is None:
        pipeline.registry.promote(1, "for the tests")
    return project


def test_recommend_prints_its_contract_and_nothing_else(served, wine):
    done = run_cli(served.environment, "recommend", wine, "--target", "y", "--k", 3, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    jsonschema.validate(answer, RECOMMEND)
    assert [r["rank"] for r in answer["recommendations"]] == [1, 2, 3]
    assert answer["task"]["kind"] == "multiclass"


def test_recommend_goes_on_from_observed_trials(served, wine, tmp_path, call):
    first = json.loads(call("recommend", wine, "--target", "y", "--k", 4, "--json").out)
    tried = [r["configuration"] for r in first["recommendations"]]
    names = first["recommendations"][0]["configuration"].keys() | {"momentum"}
    rows = [{"performance": 0.5 + 0.1 * i, **{f"hp_{n}": c.get(n) for n in names}} for i, c in enumerate(tried)]
    observed = tmp_path / "observed.csv"
    pd.DataFrame(rows).to_csv(observed, index=False)
    done = call("recommend", wine, "--target", "y", "--k", 3, "--json", "--trials", observed)
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    jsonschema.validate(answer, RECOMMEND)
    assert answer["evidence"]["observed_trials"] == 4
    assert not [r for r in answer["recommendations"] if r["configuration"] in tried]


def test_train_uses_the_first_recommendation_or_the_one_given(served, wine, tmp_path, call):
    given = {"learning_rate": 0.01, "batch_size": 32, "optimizer": "adam", "weight_decay": 1e-4, "dropout": 0.0}
    given |= {"layers": 1, "width": 32, "shape": "rectangular", "activation": "relu", "schedule": "constant"}
    file = tmp_path / "configuration.json"
    file.write_text(json.dumps(given))
    for options in ((), ("--configuration", file)):
        done = call("train", wine, "--target", "y", "--json", *options)
        assert done.code == 0, done.err
        answer = json.loads(done.out)
        jsonschema.validate(answer, TRAIN)
    assert answer["configuration"] == given
    rows = tmp_path / "rows.csv"  # as a European spreadsheet writes it, and without the target
    pd.read_csv(wine).drop(columns="y").to_csv(rows, index=False, sep=";", decimal=",")
    done = call("predict", rows, "--model", answer["model"]["uri"])
    assert done.code == 0, done.err
    predicted = pd.read_csv(io.StringIO(done.out))
    assert (predicted["prediction"].astype(str) == pd.read_csv(wine)["y"].astype(str)).mean() > 0.9
    done = call("predict", rows, "--model", "models:/nobody/1")
    assert (done.code, done.out) == (1, "")
    assert "there is no models:/nobody/1" in done.err


def test_train_of_a_machine_says_that_no_model_is_kept_and_what_to_do(served, wine, tmp_path, call, monkeypatch):
    script = tmp_path / "again.py"
    monkeypatch.setenv("METAFLOW_HPO_FIDELITY_EPOCHS", "")  # a machine has no epochs
    done = call("train", wine, "--target", "y", "--learner", "svm", "--json", "--script", script)
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    assert answer["model"] is None
    assert "note: No model was kept" in done.err
    assert "pickle" in done.err
    assert f"C = {answer['configuration']['C']}" in script.read_text()


@pytest.mark.parametrize("strategy", ["random", "recommended"])
def test_search_writes_a_table_of_trials(served, wine, tmp_path, strategy, call):
    output = tmp_path / "trials.parquet"
    options = ("--trials", 3, "--strategy", strategy, "--output", output, "--json")
    done = call("search", wine, "--target", "y", *options)
    assert done.code == 0, done.err
    summary, table = json.loads(done.out), pd.read_parquet(output)
    assert summary["trials"] == len(table) == 3
    assert set(table["strategy"]) == {strategy}
    assert summary["best"]["performance"] == pytest.approx(table["performance"].max())


def test_status_prints_its_contract(served, call):
    done = call("status", "--json")
    assert done.code == 0, done.err
    answer = json.loads(done.out)
    jsonschema.validate(answer, STATUS)
    assert answer["knowledge"]["tasks"] == 6
    assert answer["knowledge"]["learners"]["mlp"]["trials"] == 6 * 14


def test_describe_prints_a_request_for_the_served_model(served, wine, call):
    done = call("describe", wine, "--target", "y")
    assert done.code == 0, done.err
    request = json.loads(done.out)
    assert request["params"] == {"k": 5}
    assert all(name.startswith("mf_") for name in request["dataframe_records"][0])


def test_status_of_nothing_is_an_answer_and_makes_no_database(project, tmp_path, call, monkeypatch):
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path / "none"))
    done = call("status", "--json")
    assert json.loads(done.out)["champion"] is None
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        ("a,y\n1,2\n", "z", "z"),
        ("a,y\n1,2\n3,4\n", "y", "20"),
        ("a,y\n" + "1,same\n" * 40, "y", "different values"),
    ],
)
def test_a_bad_table_ends_in_one_message_and_code_1(project, tmp_path, content, target, message, call):
    path = tmp_path / "bad.csv"
    path.write_text(content)
    done = call("recommend", path, "--target", target, "--json")
    assert done.code == 1
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
    assert message in done.err


def test_without_a_champion_the_shipped_knowledge_answers(project, wine, tmp_path, call, monkeypatch):
    monkeypatch.setenv("METAFLOW_HPO_DATA", str(tmp_path / "none"))
    done = call("recommend", wine, "--target", "y")
    assert done.code == 0
    assert "surrogate version shipped-" in done.out


def test_a_wrong_setting_is_named(project, call, monkeypatch):
    monkeypatch.setenv("METAFLOW_HPO_FOLDS", "1")
    done = call("status")
    assert done.code == 1
    assert "folds" in done.err


def test_wrong_usage_is_code_2(project, call):
    assert call("recommend", "--colour").code == 2
    assert call("step", "nothing").code == 2


def test_help_imports_nothing_large_and_ends_in_a_command():
    command = [sys.executable, "-X", "importtime", "-m", "metaflow_hpo.cli", "--help"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.rstrip().endswith("metaflow-hpo demo")
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert imported.isdisjoint(
        {"numpy", "pandas", "pyarrow", "pydantic", "sklearn", "scipy", "numba", "torch", "dagster", "mlflow"}
    )
