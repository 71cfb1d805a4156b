"""The seven steps in order, on real tasks with small budgets: what each leaves behind, and what a second call does."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer

from metaflow_hpo.actions import collect, evaluate, fit, promote
from metaflow_hpo.actions.lineage import trace
from metaflow_hpo.adapters.files import read_json, write_frame, write_json
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.versioning import data_md5
from metaflow_hpo.errors import InvalidTableError, InvalidTaskError, MetaflowHPOError, UnknownTaskError
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.settings import Settings
from tests.conftest import stop_early

pytestmark = pytest.mark.integration

TASKS = ("balance", "glass", "iris", "servo", "wine", "zoo")


@pytest.fixture(scope="module")
def quick_fits():
    with pytest.MonkeyPatch.context() as patch:
        stop_early(patch)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, quick_fits):
    """A project after all seven steps, and what each of them reported."""
    settings = Settings(
        data=tmp_path_factory.mktemp("steps") / "data",
        tasks=TASKS,
        core_trials=8,
        random_trials=4,
        fidelity_epochs=2,
        folds=3,
        accelerator="cpu",
    )
    pipeline = Pipeline(settings)
    reports = {
        "catalogue": collect.build_catalogue(pipeline),
        "searches": collect.search_tasks(pipeline, pipeline.store.task_ids()),
        "descriptions": collect.describe_tasks(pipeline, pipeline.store.task_ids()),
        "join": collect.join_tasks(pipeline),
        "fit": fit.fit(pipeline),
        "evaluation": evaluate.evaluate(pipeline),
        "champion": promote.promote(pipeline),
    }
    assert not mlflow.is_tracking_uri_set()
    return pipeline, reports


def digest(pipeline):
    files = sorted(pipeline.store.data.glob("**/*.parquet"))
    tables = [p for p in files if p.parent.name in {"data", "tasks", "search_results", "meta_features"}]
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in tables}


def test_the_seven_steps_leave_their_tables_version_plots_and_record(finished):
    pipeline, reports = finished
    store = pipeline.store
    assert tuple(store.task_ids()) == TASKS
    assert {t: len(pd.read_parquet(store.search_results_path(t))) for t in TASKS} == dict.fromkeys(TASKS, 12)
    assert {r["fresh_trials"] for r in reports["searches"].values()} == {12}
    assert reports["join"]["trials"] == 72
    md5 = reports["join"]["md5"]
    assert md5 == data_md5(store.meta_dataset_path) == reports["fit"]["meta_dataset_md5"]
    assert (reports["fit"]["version"], reports["fit"]["reused"]) == (1, False)
    for name in ("regret.png", "realised.png", "calibration.png", "gate.csv", "regret_summary.csv", "results.json"):
        assert (store.evaluation_folder / name).stat().st_size > 0
    record = read_json(store.champion_path)
    assert record == reports["champion"]
    assert (record["candidate"], record["meta_dataset_md5"]) == (1, md5)


def test_a_second_pass_trains_nothing_and_leaves_every_byte(finished):
    pipeline, reports = finished
    before = digest(pipeline)
    again = Pipeline(pipeline.settings)
    collect.build_catalogue(again)
    searches = collect.search_tasks(again, again.store.task_ids())
    collect.describe_tasks(again, again.store.task_ids())
    assert {r["fresh_trials"] for r in searches.values()} == {0}
    assert collect.join_tasks(again)["md5"] == reports["join"]["md5"]
    assert fit.fit(again)["reused"]
    assert digest(again) == before


def test_a_step_of_the_command_line_finds_the_same_work_done(finished):
    pipeline, _ = finished
    before = digest(pipeline)
    settings = pipeline.settings
    names = ("core_trials", "random_trials", "fidelity_epochs", "folds", "accelerator", "data")
    values = {f"METAFLOW_HPO_{name.upper()}": str(getattr(settings, name)) for name in names}
    environment = {**os.environ, **values, "METAFLOW_HPO_TASKS": json.dumps(TASKS)}
    command = [sys.executable, "-m", "metaflow_hpo.cli", "step", "meta_dataset"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert digest(pipeline) == before


def test_a_retry_of_a_dagster_run_resumes_its_mlflow_run(finished):
    pipeline, _ = finished
    client = pipeline.tracking.client()
    experiment = client.get_experiment_by_name("metaflow_hpo/search_results").experiment_id

    def run_ids():
        return {run.info.run_id for run in client.search_runs([experiment])}

    first = run_ids()
    under_dagster = replace(pipeline, dagster_run_id="run-1")
    collect.search_tasks(under_dagster, ["iris"])
    once = run_ids()
    collect.search_tasks(under_dagster, ["iris"])
    assert len(once - first) == 1
    assert run_ids() == once


def test_the_trials_of_changed_rows_are_searched_again(finished):
    pipeline, _ = finished
    store = pipeline.store
    path = store.search_results_path("iris")
    kept = path.read_bytes()
    frame = pd.read_parquet(path)
    frame.assign(task_sha256="0" * 64).to_parquet(path, index=False)
    try:
        report = collect.search_tasks(pipeline, ["iris"])["iris"]
        searched = pd.read_parquet(path)
    finally:
        path.write_bytes(kept)
    assert report["fresh_trials"] == 12
    assert set(searched["task_sha256"]) == {store.read_task("iris").task.sha256}
    # The same rows after all, so the same numbers, to the bit.
    pd.testing.assert_frame_equal(
        searched.drop(columns="duration_s"), frame.drop(columns="duration_s"), check_exact=True
    )


def test_a_search_reports_its_own_fidelity_and_keeps_the_trials_of_another(finished):
    pipeline, reports = finished
    path = pipeline.store.search_results_path("iris")
    kept = path.read_bytes()
    shorter = Pipeline(pipeline.settings.model_copy(update={"fidelity_epochs": 1}))
    try:
        report = collect.search_tasks(shorter, ["iris"])["iris"]
        table = pd.read_parquet(path)
    finally:
        path.write_bytes(kept)
    assert table["fidelity_epochs"].value_counts().to_dict() == {1: 12, 2: 12}
    best = table.groupby("fidelity_epochs")["performance"].max()
    assert (report["trials"], report["best_performance"]) == (12, best[1])
    assert best[1] < best[2] == reports["searches"]["iris"]["best_performance"]


def test_a_bad_file_of_the_inbox_goes_to_quarantine_with_a_warning(finished, caplog):
    pipeline, _ = finished
    inbox = pipeline.store.inbox
    inbox.mkdir(exist_ok=True)
    bad = inbox / "bad.csv"
    bad.write_text("a,y\n1\n")
    os.utime(bad, (0, 0))
    report = collect.build_catalogue(pipeline)
    assert report["tasks"] == 6
    assert report["deliveries"] == {"quarantined": 1}
    assert "bad.csv is left out of the catalogue" in caplog.text
    assert not bad.exists()
    assert (pipeline.store.quarantine / "bad.csv.reason.txt").is_file()


def test_a_landed_task_is_searched_from_what_the_champion_recommends(finished):
    pipeline, _ = finished
    if pipeline.registry.champion() is None:
        pipeline.registry.promote(1, "for this test")
    table = load_breast_cancer(as_frame=True).frame.head(120)
    landed = pipeline.store.inbox / "landed.csv"
    landed.parent.mkdir(exist_ok=True)
    table.to_csv(landed, index=False)
    os.utime(landed, (0, 0))
    before = digest(pipeline)
    try:
        assert collect.build_catalogue(pipeline)["deliveries"] == {"accepted": 1}
        # Not searched yet: it must not hold up the others.
        assert collect.join_tasks(pipeline)["waiting_tasks"] == 1
        report = collect.search_tasks(pipeline, ["landed"])["landed"]
        trials = pd.read_parquet(pipeline.store.search_results_path("landed"))
        again = collect.search_tasks(pipeline, ["landed"])["landed"]
    finally:
        landed.unlink()
        collect.build_catalogue(pipeline)
        pipeline.store.search_results_path("landed").unlink()
        collect.join_tasks(pipeline)
    assert list(trials["strategy"]) == ["recommended"] * 5 + ["sobol"] * 8 + ["random"] * 4
    recommended, core = (set(trials.loc[trials["strategy"] == s, "configuration_id"]) for s in ("recommended", "sobol"))
    assert recommended <= core
    assert report["default_performance"] == trials.loc[trials["strategy"] == "sobol", "performance"].iloc[0]
    assert again["fresh_trials"] == 0
    assert digest(pipeline) == before


def test_a_refused_candidate_keeps_the_champion_and_the_registry_says_why(finished):
    pipeline, reports = finished
    registry, store = pipeline.registry, pipeline.store
    registry.promote(1, "for this test")
    example = pd.DataFrame([reports["descriptions"]["iris"]["values"]])
    second = registry.register_surrogate(store.surrogate_folder, run_id=reports["fit"]["run_id"], input_example=example)
    results, candidate = store.evaluation_folder / "results.json", store.data / "mlflow" / "candidate.json"
    kept = {path: path.read_bytes() for path in (results, candidate)}
    try:
        write_json(candidate, {**json.loads(kept[candidate]), "version": second})
        with pytest.raises(MetaflowHPOError, match=f"Version {second} has not been evaluated, version 1 has"):
            promote.promote(pipeline)
        refused = {"version": second, "promoted": False, "reason": "Worse than portfolio."}
        write_json(results, {**json.loads(kept[results]), **refused})
        record = promote.promote(pipeline)
    finally:
        for path, content in kept.items():
            path.write_bytes(content)
    assert (record["version"], record["candidate"], record["promoted"]) == (1, second, False)
    assert registry.champion().version == 1
    tags = pipeline.tracking.client().get_model_version(registry.name, str(second)).tags
    assert (tags["status"], tags["rejection.reason"]) == ("rejected", "Worse than portfolio.")


def test_the_champion_answers_a_golden_request(finished):
    pipeline, _ = finished
    if pipeline.registry.champion() is None:
        pipeline.registry.promote(1, "for this test")
    answer = promote.answer_golden_request(pipeline)
    assert len({str(r["configuration"]) for r in answer["recommendations"]}) == 5


def test_steps_out_of_order_name_the_one_to_run_first(tmp_path):
    pipeline = Pipeline(Settings(data=tmp_path / "data"))
    with pytest.raises(InvalidTableError, match="dataset_catalogue"):
        collect.join_tasks(pipeline)
    with pytest.raises(MetaflowHPOError, match="metaflow-hpo fit"):
        evaluate.evaluate(pipeline)
    with pytest.raises(MetaflowHPOError, match="metaflow-hpo evaluate"):
        promote.promote(pipeline)


def test_an_unknown_task_of_the_settings_is_named(tmp_path):
    with pytest.raises(UnknownTaskError, match="nothing_like_it"):
        collect.build_catalogue(Pipeline(Settings(data=tmp_path / "data", tasks=("nothing_like_it",))))


def test_a_catalogue_of_which_nothing_can_be_read_is_refused(tmp_path, caplog):
    folder = tmp_path / "tasks"
    folder.mkdir()
    index = pd.DataFrame([{"task_id": "away", "modality": "table", "family": "away", "file": "away.csv", "key": "y"}])
    index.to_csv(folder / "index.csv", index=False)
    with pytest.raises(InvalidTaskError, match="found none that can be read"):
        collect.build_catalogue(Pipeline(Settings(data=tmp_path / "data", catalogue=f"folder:{folder}")))
    assert "away" in caplog.text


def test_a_fit_goes_on_from_the_champion_only_where_nothing_it_saw_has_changed(finished):
    pipeline, _ = finished
    registry, store = pipeline.registry, pipeline.store
    if registry.champion() is None:
        registry.promote(1, "for this test")
    first = registry.champion().version
    landed = store.inbox / "landed.csv"
    store.inbox.mkdir(exist_ok=True)
    load_breast_cancer(as_frame=True).frame.head(120).to_csv(landed, index=False)
    os.utime(landed, (0, 0))
    collect.build_catalogue(pipeline)
    collect.search_tasks(pipeline, ["landed"])
    collect.describe_tasks(pipeline, ["landed"])
    collect.join_tasks(pipeline)

    warm = fit.fit(pipeline, incremental=True)
    assert (warm["start"], warm["reused"]) == (f"version {first}", False)
    assert "new tasks: landed (1 in all)" in warm["start_reason"]
    assert fit.fit(pipeline, incremental=True)["reused"]
    old, new = (Recommender.load(registry.download(version)) for version in (first, warm["version"]))
    assert old.surrogate.fold_of_family.items() <= new.surrogate.fold_of_family.items()
    assert set(new.past.task_ids) - set(old.past.task_ids) == {"landed"}
    tags = pipeline.tracking.client().get_run(warm["run_id"]).data.tags
    assert tags["fit.start"] == f"version {first}"
    assert trace(pipeline, str(warm["version"]))["version"]["trained_from"] == f"version {first}"

    # Asked for from scratch, what was trained on is not what is wanted; then the schedule has nothing to do.
    assert fit.find_learned_md5(pipeline) != warm["meta_dataset_md5"]
    scratch = fit.fit(pipeline)
    assert (scratch["start"], scratch["reused"]) == ("scratch", False)
    assert fit.find_learned_md5(pipeline) == scratch["meta_dataset_md5"]

    again = Pipeline(pipeline.settings.model_copy(update={"refit_from": first}))
    repeated = fit.fit(again)
    assert repeated["start"] == f"version {first}"
    same = Recommender.load(registry.download(repeated["version"])).surrogate.to_arrays()
    assert all(np.array_equal(value, same[name]) for name, value in new.surrogate.to_arrays().items())

    path = store.search_results_path("iris")
    frame = pd.read_parquet(path)
    frame.assign(duration_s=frame["duration_s"] + 1.0).to_parquet(path)
    collect.join_tasks(pipeline)
    changed = fit.fit(pipeline, incremental=True)
    assert changed["start"] == "scratch"
    assert "1 of its tasks have other trials: iris" in changed["start_reason"]


def test_a_task_that_makes_relatives_of_two_families_moves_them_in_the_meta_dataset(finished):
    pipeline, _ = finished
    store = pipeline.store
    catalogue = store.read_catalogue()
    kept = store.catalogue_path.read_bytes()
    try:
        write_frame(store.catalogue_path, catalogue.assign(family=catalogue["family"].replace({"wine": "iris"})))
        collect.join_tasks(pipeline)
        families = store.read_meta_dataset().groupby("task_id")["family"].agg(set)
    finally:
        store.catalogue_path.write_bytes(kept)
        collect.join_tasks(pipeline)
    assert families["wine"] == families["iris"] == {"iris"}


def test_one_task_that_cannot_be_searched_does_not_hold_up_the_others(finished):
    pipeline, _ = finished
    store = pipeline.store
    path = store.task_path("servo")
    kept = path.read_bytes()
    try:
        path.write_bytes(kept[: len(kept) // 2])
        with pytest.raises(collect.TasksFailedError, match="1 of 3 tasks could not be searched: servo") as failed:
            collect.search_tasks(pipeline, ["iris", "servo", "zoo"])
        with pytest.raises(collect.TasksFailedError, match="could not be described"):
            collect.describe_tasks(pipeline, ["servo"])
    finally:
        path.write_bytes(kept)
    assert failed.value.done == ("iris", "zoo")
