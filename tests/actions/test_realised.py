"""What is recommended is really trained on held-out tasks, whatever the learner, and vetoes what harms."""

import json
import shutil

import pandas as pd
import pytest

from metaflow_hpo.actions import collect, evaluate, fit, realised
from metaflow_hpo.actions.report import read_knowledge
from metaflow_hpo.adapters import landed
from metaflow_hpo.adapters.evaluation_files import REPORT_FILE, read_results
from metaflow_hpo.adapters.journal import Journal
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.learners.function import learner_from_function
from metaflow_hpo.learners.recorded import RecordedLearner
from metaflow_hpo.settings import Settings

pytestmark = pytest.mark.integration

TASKS = [f"hill_{t}" for t in range(8)]


def climb(configuration, task, report):
    """Best near the address of the task, far from the default."""
    score = 1.0 - (configuration["x"] - float(task.address)) ** 2
    return {"score": score, "test_score": score - 0.125}


def fall(configuration, task, report):
    """What the learner does since its code was changed: now the default is best."""
    return 1.0 - climb(configuration, task, report)["score"]


SPACE = {"x": {"type": "float", "low": 0.0, "high": 1.0, "default": 0.0}}
HILLS, HOLES = (learner_from_function(train, SPACE, name="hills", modalities=("opaque",)) for train in (climb, fall))


@pytest.fixture(scope="module")
def searched(tmp_path_factory, mlflow_template):
    """A project of eight opaque tasks that were searched by a learner from outside."""
    data = tmp_path_factory.mktemp("hills") / "data"
    for folder in (data / "mlflow", data / "inbox"):
        folder.mkdir(parents=True)
    shutil.copy(mlflow_template, data / "mlflow" / "mlflow.db")
    for t, name in enumerate(TASKS):
        described = {"metric": "accuracy", "family": f"range_{t // 2}", "data": str(0.7 + 0.02 * t), "licence": "CC0"}
        (data / "inbox" / f"{name}.yaml").write_text(json.dumps(described | {"meta_features": {"at": t}}))
    pipeline = open_project(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landed, "SETTLED_S", 0.0)
        collect.build_catalogue(pipeline)
    collect.search_tasks(pipeline, TASKS)
    collect.describe_tasks(pipeline, TASKS)
    collect.join_tasks(pipeline)
    fit.fit(pipeline)
    return data


def open_project(data, learner=HILLS, **settings):
    given = {"tasks": (), "core_trials": 8, "random_trials": 12, "folds": 3, **settings}
    return Pipeline(Settings(data=data, **given), own_learner=learner)


@pytest.fixture
def project(searched, tmp_path):
    shutil.copytree(searched.parent, tmp_path / "copy")
    return tmp_path / "copy" / "data"


def trained(data):
    return [record["task_id"] for record in Journal(data / "mlflow" / "realised.journal.jsonl").read()]


def test_the_first_recommendation_is_trained_against_the_default_and_random_trials_on_held_out_tasks(project):
    report = evaluate.evaluate(open_project(project, trained_tasks=4))
    # One of each family before a second of any, with the test items.
    table = report["realised"]
    assert sorted(table["family"]) == [f"range_{f}" for f in range(4)]
    assert set(trained(project)) == set(table["task_id"])
    assert len(trained(project)) > 4 * 4
    assert (table["best_of_5"] >= table["first"]).all()
    at = 0.7 + 0.02 * table["task_id"].str[-1].astype(int)
    assert table["default"].tolist() == pytest.approx((1.0 - at**2).tolist())
    assert table["default_test"].tolist() == pytest.approx((0.875 - at**2).tolist())
    assert (table["first"] > table["random_10"] - 0.05).all()
    assert table["random_30"].isna().all()  # 12 were drawn
    gains = report["gains"].query("way == 'first'").set_index("rival")
    assert set(gains.index) == {"default", "random_10"}
    assert gains.loc["default", "low"] > 0.3
    assert gains.loc["default", "wins"] == 4

    assert report["promoted"], report["reason"]
    assert report["realised_note"] == "Trained on 4 of 8 held-out tasks."
    assert report["metrics"]["gain/first_over_default"] == pytest.approx(gains.loc["default", "mean_gain"])
    pipeline = open_project(project)
    logged = pipeline.tracking.client().get_run(report["run_id"]).data.metrics
    assert logged["gain/first_over_default"] == report["metrics"]["gain/first_over_default"]
    page = (pipeline.store.evaluation_folder / REPORT_FILE).read_text()
    assert "Really trained, the first recommendation is" in page
    assert "Gain in test performance" in str(pipeline.registry.version(report["version"]).description)
    pd.testing.assert_frame_equal(read_results(pipeline.store)["realised"], table)

    tuning = read_knowledge(pipeline).tuning
    assert set(tuning["task_id"]) == set(TASKS)

    # What was trained once is not trained again.
    before = trained(project)
    evaluate.evaluate(open_project(project, trained_tasks=4))
    assert trained(project) == before


def test_where_trials_take_long_only_the_first_recommendation_is_trained_on_a_few_tasks(project, monkeypatch):
    monkeypatch.setattr(realised, "MAX_TASKS", 3)
    pipeline = open_project(project)
    pipeline.store.write_history(pipeline.store.read_meta_dataset().assign(duration_s=20.0))
    report = evaluate.evaluate(pipeline)
    assert report["realised_note"] == "Trained on 3 of 8 held-out tasks."
    assert "best_of_5" not in report["realised"]
    assert sorted(trained(project)) == sorted([*report["realised"]["task_id"]] * 2)


def test_a_history_that_is_wrong_about_the_learner_is_found_out(project):
    report = evaluate.evaluate(open_project(project, HOLES))
    assert not report["promoted"]
    assert "first recommendation, really trained, is" in report["reason"]
    assert "worse than the default over 8 held-out tasks" in report["reason"]


@pytest.mark.parametrize(
    ("settings", "note"),
    [
        ({"trained_tasks": 0}, "Nothing was trained: the setting trained_tasks is 0."),
        ({}, "Nothing was trained: of the learner hills only trials are here, not its code."),
    ],
)
def test_what_cannot_or_shall_not_be_trained_is_said(project, settings, note):
    learner = HILLS if settings else RecordedLearner(HILLS.name, HILLS.modalities, HILLS.space, HILLS.fidelity)
    pipeline = open_project(project, learner, **settings)
    report = evaluate.evaluate(pipeline)
    assert (report["realised_note"], len(report["realised"]), trained(project)) == (note, 0, [])
    assert note in (pipeline.store.evaluation_folder / REPORT_FILE).read_text()
    assert read_results(pipeline.store)["realised"].empty


def test_without_the_rows_of_any_task_nothing_is_trained_and_it_is_said(project):
    pipeline = open_project(project)
    for path in (project / "tasks").iterdir():
        path.unlink()
    report = evaluate.evaluate(pipeline)
    assert report["realised_note"] == "Nothing was trained: the rows of none of the 8 held-out tasks are here."
