"""What a person with a data set asks for, with a surrogate that stands in for the champion."""

import json
import shutil
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.actions import advise, own_history, own_trials
from metaflow_hpo.actions.closed_loop import choose_batch_size, open_loop
from metaflow_hpo.actions.feedback import read_outcomes, read_recommendations
from metaflow_hpo.adapters.files import write_json
from metaflow_hpo.adapters.knowledge import Knowledge, open_knowledge
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.registry import ChampionVersion
from metaflow_hpo.adapters.tracking import Tracking
from metaflow_hpo.errors import InvalidTableError, InvalidTaskError, NoChampionError, SearchSpaceMismatchError
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.metric import Metric
from metaflow_hpo.modalities.registry import choose_described
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.recommender.observed import ObservedTrial
from metaflow_hpo.settings import Settings

SPACE = get_learner("svm").space


@dataclass
class StandIn:
    """A registry whose champion is a saved recommender."""

    folder: Path

    def champion(self):
        return ChampionVersion("surrogate", 7, "run")

    def download(self, version):
        assert version == 7
        return self.folder


@dataclass(frozen=True)
class Served(Pipeline):
    """Surroundings whose champion stands in."""

    champion_folder: Path = Path()

    @cached_property
    def registry(self):
        return StandIn(self.champion_folder)


@pytest.fixture
def pipeline(tmp_path, tracking: Tracking, served_folder):
    return Served(Settings(data=tmp_path / "data", learner="svm"), champion_folder=served_folder)


@pytest.fixture
def mlp_pipeline(pipeline):
    """With the learner of the champion that stands in."""
    return replace(pipeline, settings=pipeline.settings.model_copy(update={"learner": "mlp"}))


@pytest.fixture
def fresh(tmp_path):
    """Surroundings right after the installation: an empty folder, and the knowledge that ships."""
    return Pipeline(Settings(data=tmp_path / "fresh" / "data"))


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 2))
    frame = pd.DataFrame({"a": x[:, 0], "b": x[:, 1], "y": np.where(x[:, 0] > 0, "p", "q")})
    return prepare_task(frame, task_id="mine", target="y", source="test", licence="none")


def describe_past(data, served):
    """Describe a data set as the first task a recommender knows."""
    values = served.past.meta_features[0].tolist()
    return advise.Described(data, dict(zip(served.meta_feature_names, values, strict=True)))


def test_a_recommendation_names_the_task_and_the_version_it_comes_from(mlp_pipeline, data, served) -> None:
    answer = advise.recommend(mlp_pipeline, describe_past(data, served), 3)
    assert answer["task"]["task_id"] == "mine"
    assert (answer["task"]["rows"], answer["task"]["classes"]) == (80, 2)
    assert [r["rank"] for r in answer["recommendations"]] == [1, 2, 3]
    recommendation_id = answer["lineage"].pop("recommendation_id")
    assert answer["lineage"] == {"surrogate_version": 7, "surrogate_name": "surrogate", "meta_dataset_md5": "abc"}
    again = advise.recommend(mlp_pipeline, describe_past(data, served), 3)
    assert again["lineage"]["recommendation_id"] == recommendation_id
    json.dumps(answer, allow_nan=False)


def test_without_a_champion_the_shipped_recommender_of_the_learner_answers_and_nothing_is_written(fresh, data) -> None:
    served, _ = advise.load_recommender(fresh)
    answer = advise.recommend(fresh, describe_past(data, served), 2)
    assert served.surrogate.learner == "mlp"
    assert answer["lineage"]["surrogate_version"] == f"shipped-{open_knowledge().provenance['package_version']}"
    assert answer["lineage"]["surrogate_name"] == "shipped"
    assert answer["lineage"]["meta_dataset_md5"] == open_knowledge().provenance["meta_dataset_md5"]
    assert not fresh.settings.data.exists()


def test_a_champion_of_another_learner_does_not_answer(pipeline) -> None:
    served, source = advise.load_recommender(pipeline)
    assert (served.surrogate.learner, source["surrogate_name"]) == ("svm", "shipped")


def test_without_champion_and_knowledge_the_remedy_is_named(pipeline, fresh, tmp_path, monkeypatch) -> None:
    known = [Knowledge(tmp_path), None]
    monkeypatch.setattr("metaflow_hpo.adapters.pipeline.find_shipped", lambda learner: known.pop())
    with pytest.raises(NoChampionError, match=r"'mlp' in sqlite.*none has been promoted.*metaflow-hpo fit"):
        advise.load_recommender(fresh)
    counted = dict.fromkeys(["package_version", "tasks", "families", "trials", "learners", "meta_dataset_md5"])
    write_json(tmp_path / "provenance.json", {**counted, "recommenders": {"mlp": {}}, "files": {}})
    with pytest.raises(NoChampionError, match=r"'svm'.*nothing was fitted, and this package ships no"):
        advise.load_recommender(pipeline)


def test_a_search_goes_through_what_the_shipped_recommender_recommends(tmp_path, tracking: Tracking, data) -> None:
    made = Pipeline(Settings(data=tmp_path / "data", learner="svm"))
    found = own_trials.search(made, data, strategy="recommended", trials=2)
    again = advise.recommend(made, advise.describe_data(data), 2)["recommendations"]
    assert [dict(t.configuration) for t in found] == [r["configuration"] for r in again]
    assert {t.strategy for t in found} == {"recommended"}


def test_a_killed_closed_loop_goes_on_with_the_same_decisions(tmp_path, tracking: Tracking, data) -> None:
    chosen = {"learner": "svm", "tracking_uri": tracking.tracking_uri}
    whole, killed = (Pipeline(Settings(data=tmp_path / name, **chosen)) for name in ("whole", "killed"))
    found = own_trials.search(whole, data, strategy="recommended", trials=6)

    class Killed(BaseException):
        pass

    def die(what, done, total):
        if (what, done) == ("trials", 4):
            raise Killed

    dying = Pipeline(killed.settings, die)
    with pytest.raises(Killed):
        own_trials.search(dying, data, strategy="recommended", trials=6)
    assert len(own_history.kept(killed, own_history.SEARCH).read_trials(data.task)) == 4
    trained: list[int] = []
    resumed = Pipeline(killed.settings, lambda what, done, total: trained.append(done))
    again = own_trials.search(resumed, data, strategy="recommended", trials=6)
    assert [(t.configuration_id, t.performance) for t in again] == [(t.configuration_id, t.performance) for t in found]
    assert trained == [1, 2]
    assert len({t.configuration_id for t in found}) == 6


def test_a_loop_stops_what_will_not_win(tmp_path, tracking: Tracking) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6))
    y = np.where(x[:, 0] * x[:, 1] + 0.5 * x[:, 2] > 0.1, "p", "q")
    frame = pd.DataFrame(x, columns=list("abcdef")).assign(y=y)
    rows = prepare_task(frame, task_id="mine", target="y", source="test", licence="none")
    made = Pipeline(Settings(data=tmp_path / "data"))
    found = own_trials.search(made, rows, strategy="recommended", trials=10)
    stopped = [trial for trial in found if trial.status == "stopped"]
    best = max((trial for trial in found if trial.status == "ok"), key=lambda trial: trial.performance)
    assert stopped
    assert all(len(trial.learning_curve) in served_checkpoints(made) for trial in stopped)
    assert all(trial.reason.startswith("stopped: after epoch") for trial in stopped)
    assert [trial for trial in found if np.isfinite(trial.test_performance)] == [best]
    assert set(read_outcomes(made)["realised"]) <= {t.performance for t in found if t.status == "ok"}
    # What is stopped would not have won.
    store = own_history.kept(made, own_history.SEARCH)
    whole = own_trials.search(made, rows, strategy="recommended", trials=10, stop=False)
    assert {trial.status for trial in whole} <= {"ok", "failed"}
    ends = {trial.configuration_id: trial.performance for trial in whole}
    assert all(ends.get(trial.configuration_id, 0.0) < best.performance for trial in stopped)
    assert {trial.status for trial in store.read_trials(rows.task)} <= {"ok", "failed", "stopped"}
    accuracy = replace(rows, task=replace(rows.task, metric=Metric.read("accuracy")))
    assert open_loop(made, accuracy, 0).stopping is None


def served_checkpoints(pipeline):
    return advise.load_recommender(pipeline)[0].stopping.checkpoints


def test_what_came_of_the_first_recommendations_of_a_loop_is_recorded_once(tmp_path, tracking: Tracking, data) -> None:
    made = Pipeline(Settings(data=tmp_path / "data", learner="svm"))
    found = own_trials.search(made, data, strategy="recommended", trials=3)
    own_trials.search(made, data, strategy="recommended", trials=3)
    (remembered,) = read_recommendations(made)
    outcomes = read_outcomes(made)
    assert set(outcomes["source"]) == {"search"}
    assert set(outcomes["recommendation_id"]) == {remembered["lineage"]["recommendation_id"]}
    first = outcomes.loc[outcomes["rank"] == 1]
    assert first["realised"].tolist() == [found[0].performance]
    assert first["configuration_id"].tolist() == [found[0].configuration_id]
    assert outcomes["configuration_id"].is_unique


@pytest.mark.parametrize(("members", "workers", "wanted"), [(4, 2, 1), (3, 2, 2), (6, 2, 1), (4, 16, 8), (2, 1, 1)])
def test_as_many_are_trained_at_once_as_keep_the_processors_busy(members, workers, wanted) -> None:
    assert choose_batch_size(members, workers) == wanted


def test_meta_features_of_another_program_version_are_refused(mlp_pipeline, data) -> None:
    with pytest.raises(InvalidTableError, match=r"missing .*Describe the task with the groups"):
        advise.recommend(mlp_pipeline, advise.Described(data, {"mf_other": 1.0}), 3)


def test_describing_a_file_without_the_column_is_refused(tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InvalidTaskError, match="z"):
        advise.describe_file(path, "z")


def test_a_search_trains_once_and_goes_on_from_what_is_known(pipeline, data, tmp_path) -> None:
    seen: list[tuple[str, int, int]] = []
    watched = Pipeline(pipeline.settings, lambda *shown: seen.append(shown))
    output = tmp_path / "out" / "trials.parquet"
    first = own_trials.search(watched, data, strategy="random", trials=3, output=output)
    assert [t.configuration_id for t in first] == list(pd.read_parquet(output)["configuration_id"])
    assert seen[-1] == ("trials", 3, 3)
    seen.clear()
    more = own_trials.search(watched, data, strategy="random", trials=5)
    assert more[:3] == first
    assert len(seen) == 2


def test_a_killed_halving_search_ends_like_an_undisturbed_one(data, tmp_path, mlflow_template) -> None:
    class KilledError(Exception):
        pass

    def kill(label: str, done: int, total: int) -> None:
        if done == 11:
            raise KilledError

    for name in ("whole", "killed"):
        (tmp_path / name / "mlflow").mkdir(parents=True)
        shutil.copy(mlflow_template, tmp_path / name / "mlflow" / "mlflow.db")

    def settings(name: str) -> Settings:
        return Settings(data=tmp_path / name, learner="mlp", fidelity_epochs=9)

    options = {"strategy": "halving", "trials": 15, "seed": 1}
    whole = own_trials.search(Pipeline(settings("whole")), data, output=tmp_path / "whole.parquet", **options)
    with pytest.raises(KilledError):
        own_trials.search(Pipeline(settings("killed"), kill), data, **options)
    seen: list[int] = []
    again = Pipeline(settings("killed"), lambda _, done, __: seen.append(done))
    own_trials.search(again, data, output=tmp_path / "killed.parquet", **options)
    assert len(seen) == 4
    tables = [pd.read_parquet(tmp_path / f"{name}.parquet").drop(columns="duration_s") for name in ("whole", "killed")]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
    assert [t.fidelity for t in whole] == [1] * 9 + [3] * 3 + [9] * 3
    run = _searches(again)[0]
    full = [t.performance for t in whole if t.fidelity == 9 and t.status == "ok"]
    assert run.data.metrics["best_performance"] == max(full)
    figures = {file.path for file in again.tracking.client().list_artifacts(run.info.run_id)}
    assert {"search.png", "learning_curves.png"} <= figures


def _searches(pipeline: Pipeline) -> list:
    client = pipeline.tracking.client()
    experiment = client.get_experiment_by_name("metaflow_hpo/search")
    return client.search_runs([experiment.experiment_id])


def test_a_search_keeps_the_trials_of_another_strategy(pipeline, data) -> None:
    own_trials.search(pipeline, data, strategy="random", trials=2)
    own_trials.search(pipeline, data, strategy="sobol", trials=2)
    (path,) = (pipeline.store.data / "own" / "search_results").glob("mine-*.parquet")
    table = pd.read_parquet(path)
    assert sorted(table["strategy"]) == ["random", "random", "sobol", "sobol"]


def test_trainings_come_back_in_the_order_asked_for_and_repeat_bit_for_bit(pipeline, data) -> None:
    configurations = SPACE.from_unit(np.random.default_rng(1).random((3, len(SPACE.names))))
    once, again = (own_trials.train(pipeline, data, configurations, seed=3) for _ in range(2))
    assert [dict(t.configuration) for t in once] == [dict(c) for c in configurations]
    assert [t.performance for t in once] == [t.performance for t in again]
    experiment = pipeline.tracking.client().get_experiment_by_name("metaflow_hpo/training")
    runs = pipeline.tracking.client().search_runs([experiment.experiment_id])
    assert {r.data.metrics["performance"] for r in runs} == {t.performance for t in once}


def test_a_configuration_is_read_from_each_form_that_is_printed(tmp_path) -> None:
    default = dict(SPACE.default)
    path = tmp_path / "c.json"
    for printed in (
        default,
        {"configuration": default, "performance": 0.5},
        {"recommendations": [{"rank": 1, "configuration": default}]},
        {"strategy": "tpe", "best": {"configuration": default, "performance": 0.5}},
    ):
        path.write_text(json.dumps(printed))
        assert advise.read_configuration(path, get_learner("svm")) == SPACE.default


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("{", InvalidTableError, "Expected JSON such as"),
        ("[1]", SearchSpaceMismatchError, "one JSON object"),
        ('{"colour": 1}', SearchSpaceMismatchError, "colour"),
        ('{"recommendations": []}', SearchSpaceMismatchError, "one JSON object"),
        ('{"configuration": 3}', SearchSpaceMismatchError, "found int"),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path, text, error, message) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(error, match=message):
        advise.read_configuration(path, get_learner("svm"))


def test_a_missing_configuration_file_is_named(tmp_path) -> None:
    with pytest.raises(InvalidTableError, match="no such file"):
        advise.read_configuration(tmp_path / "none.json", get_learner("svm"))


def test_a_search_per_time_tries_cheaper_configurations_and_is_remembered_apart(tmp_path, data) -> None:
    made = Pipeline(Settings(data=tmp_path / "data", learner="mlp", fidelity_epochs=2))
    per_trial = advise.recommend(made, advise.describe_data(data), 3)
    per_time = advise.recommend(made, advise.describe_data(data), 3, per_time=True)
    names = [answer["lineage"]["recommendation_id"] for answer in (per_trial, per_time)]
    assert names[0] != names[1]
    seconds = [sum(r["expected_duration_s"] for r in answer["recommendations"]) for answer in (per_trial, per_time)]
    assert seconds[1] < seconds[0]
    found = own_trials.search(made, data, strategy="recommended", trials=1, per_time=True)
    assert dict(found[0].configuration) == per_time["recommendations"][0]["configuration"]


@pytest.mark.parametrize(("metric", "wrong"), [("balanced_accuracy", 98.5), ("balanced_accuracy", -0.2), ("r2", 1.5)])
def test_observed_performances_that_cannot_be_of_the_metric_are_refused(metric, wrong) -> None:
    observed = [ObservedTrial(SPACE.default, value) for value in (0.5, wrong)]
    with pytest.raises(InvalidTableError, match=f"{metric} in the column `performance`.*found {wrong}"):
        advise.check_performances(observed, Metric.read(metric))


def test_a_wrong_observed_configuration_is_named_by_file_and_trial(tmp_path) -> None:
    lines = [{"performance": 0.5, **{f"hp_{n}": SPACE.default.get(n) for n in SPACE.names}} for _ in range(3)]
    lines[2][f"hp_{SPACE.names[0]}"] = -1.0
    pd.DataFrame(lines).to_csv(tmp_path / "seen.csv", index=False)
    with pytest.raises(SearchSpaceMismatchError, match=r"seen\.csv, trial 3: "):
        advise.read_observed(tmp_path / "seen.csv", get_learner("svm"))


def test_a_large_table_is_described_by_a_sample_and_takes_longer_in_proportion(pipeline) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(24_000, 3)), columns=list("abc"))
    frame["y"] = np.where(frame["a"] + rng.normal(size=len(frame)) > 0, "p", "q")
    large = prepare_task(frame, task_id="large", target="y", source="test", licence="none")
    chosen = choose_described(large)
    assert 2_400 < chosen.task.rows < 10_100
    assert advise.describe_data(large).meta_features == advise.describe_data(chosen).meta_features

    served, _ = advise.load_recommender(pipeline)
    answers = [advise.recommend(pipeline, describe_past(data, served), 3) for data in (chosen, large)]
    short, long = ([r["expected_duration_s"] for r in answer["recommendations"]] for answer in answers)
    assert long == pytest.approx([large.task.rows / chosen.task.rows * s for s in short])
