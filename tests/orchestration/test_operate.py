"""The closed loop on a finished project: rollback, audit, lineage, feedback, monitoring, landed files."""

import json
from pathlib import Path

import dagster as dg
import pandas as pd
import pytest
from sklearn.datasets import load_wine

from metaflow_hpo.actions import promote
from metaflow_hpo.actions.candidate import read_candidate
from metaflow_hpo.adapters.files import write_json
from metaflow_hpo.adapters.versioning import data_md5, file_md5
from metaflow_hpo.orchestration import assets, checks
from metaflow_hpo.orchestration.resources import PipelineResource

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "my_wine.csv"
    load_wine(as_frame=True).frame.rename(columns={"target": "y"}).to_csv(path, index=False)
    return path


@pytest.fixture
def champion(project):
    """The project with version 1 as champion, whatever the gate thought of so small a search."""
    registry = project.pipeline().registry
    if registry.champion() is None:
        registry.promote(1, "for the tests")
    return project


def test_a_recommendation_is_followed_back_and_its_outcome_recorded(champion, call, table, tmp_path):
    code, out, err = call("recommend", table, "--target", "y", "--k", 3, "--json")
    assert code == 0, err
    answer = json.loads(out)
    name = answer["lineage"]["recommendation_id"]
    assert json.loads(call("recommend", table, "--target", "y", "--json")[1])["lineage"]["recommendation_id"] == name

    trace = json.loads(call("lineage", name, "--json")[1])
    pipeline = champion.pipeline()
    candidate = read_candidate(pipeline)
    assert trace["recommendation"]["task"]["sha256"] == answer["task"]["sha256"]
    assert trace["version"]["version"] == answer["lineage"]["surrogate_version"]
    assert trace["version"]["meta_dataset_md5"] == data_md5(pipeline.store.meta_dataset_path)
    assert trace["run"]["run_id"] == candidate["run_id"]
    assert trace["inputs"]["catalogue"]["md5"] == file_md5(pipeline.store.catalogue_path)
    tasks = {task["task_id"]: task for task in trace["inputs"]["tasks"]}
    assert {task_id: task["trials"] for task_id, task in tasks.items()} == dict.fromkeys(pipeline.store.task_ids(), 14)
    assert tasks["iris"]["search_results"] == {
        "path": "data/search_results/iris.parquet",
        "md5": file_md5(pipeline.store.search_results_path("iris")),
    }
    assert tasks["iris"]["source"] == "scikit-learn/iris"
    code, out, _ = call("lineage", 1)
    assert code == 0
    assert candidate["run_id"] in out

    first = answer["recommendations"][0]
    trials = tmp_path / "trials.csv"
    hp = {f"hp_{key}": value for key, value in first["configuration"].items()}
    pd.DataFrame([{"performance": 0.8, "hp_momentum": None, **hp}]).to_csv(trials, index=False)
    recorded = json.loads(call("feedback", name, "--trials", trials, "--json")[1])["recorded"]
    assert [(line["realised"], line["mean"]) for line in recorded] == [(0.8, first["performance"]["mean"])]
    trained = json.loads(call("train", table, "--target", "y", "--json")[1])
    assert trained["recommendation_id"] == name
    code, out, err = call("feedback", "0" * 16, "--trials", trials)
    assert (code, out) == (1, "")
    assert name in err


def test_rolling_back_is_one_command_that_the_gate_does_not_undo(champion, call):
    pipeline = champion.pipeline()
    registry, store = pipeline.registry, pipeline.store
    candidate = read_candidate(pipeline)
    example = pd.DataFrame([dict.fromkeys(_meta_features(pipeline), 0.0)])
    second = registry.register_surrogate(store.surrogate_folder, run_id=candidate["run_id"], input_example=example)
    results_file, candidate_file = store.evaluation_folder / "results.json", store.data / "mlflow" / "candidate.json"
    kept = {path: path.read_bytes() for path in (results_file, candidate_file)}
    try:
        passed = {**json.loads(kept[results_file]), "version": second, "promoted": True, "reason": "Not worse."}
        write_json(results_file, passed)
        write_json(candidate_file, {**candidate, "version": second})
        assert promote.promote(pipeline)["version"] == second
        code, out, err = call("promote", 1, "--reason", "version 2 is slower", "--json")
        assert code == 0, err
        assert (json.loads(out)["version"], json.loads(out)["previous"]) == (1, second)
        record = promote.promote(pipeline)
        assert (record["version"], record["promoted"]) == (1, False)
        assert f"metaflow-hpo promote {second}" in record["reason"]
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert registry.champion().version == 1
    history = json.loads(call("audit", "--json")[1])
    last = [(d["version"], d["by"], d["reason"]) for d in history["decisions"]][-2:]
    assert last == [(second, "gate", "Not worse."), (1, "person", "version 2 is slower")]
    assert "version 2 is slower" in call("audit")[1]
    code, _, err = call("promote", 99)
    assert code == 1
    assert "no version 99" in err


def _meta_features(pipeline):
    return sorted(c for c in pipeline.store.read_meta_dataset().columns if c.startswith("mf_"))


def test_the_monitoring_warns_when_intervals_stop_holding(champion):
    pipeline = champion.pipeline()
    journal = pipeline.store.data / "feedback" / "outcomes.jsonl"
    journal.parent.mkdir(exist_ok=True)
    kept = journal.read_bytes() if journal.is_file() else b""
    line = {"task_sha256": "0" * 64, "mean": 0.7, "low": 0.6, "high": 0.8, "realised": 0.2}
    try:
        journal.write_text("".join(json.dumps(line) + "\n" for _ in range(20)))
        done = dg.materialize(
            [*assets.MONITORING, checks.intervals_hold],
            instance=champion.instance,
            resources={"pipeline": PipelineResource()},
        )
    finally:
        journal.write_bytes(kept)
    assert done.success
    (found,) = done.get_asset_check_evaluations()
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "0% of the latest 20 outcomes" in found.description
    (shown,) = done.asset_materializations_for_node("recommendation_monitoring")
    assert "plot_monitoring" in shown.metadata
    (known,) = done.asset_materializations_for_node("knowledge_report")
    page = Path(str(known.metadata["page"].value)).read_text(encoding="utf-8")
    assert all(f"<tr><td>{task_id}</td>" in page for task_id in pipeline.store.task_ids())


def test_add_lands_files_whole_or_says_why_not(champion, call, table, tmp_path):
    code, out, err = call("add", table, "--target", "y", "--licence", "CC0", "--json")
    assert code == 0, err
    inbox = champion.data / "inbox"
    assert json.loads(out) == {"added": [str(inbox / "my_wine.csv")]}
    assert (inbox / "my_wine.yaml").read_text() == "target: y\nlicence: CC0\n"
    bad = tmp_path / "bad.csv"
    bad.write_text("a,y\n1\n")
    code, out, err = call("add", bad)
    assert (code, out) == (1, "")
    assert "Expected 2 fields" in err
    assert sorted(p.name for p in inbox.iterdir()) == ["my_wine.csv", "my_wine.yaml"]
    for path in inbox.iterdir():
        path.unlink()
