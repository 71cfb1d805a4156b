"""What is recorded of recommendations and of what came of them."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest

from metaflow_hpo.actions import feedback
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.recommender.observed import ObservedTrial
from metaflow_hpo.settings import Settings

SHA256 = "5" * 64
MADE_BY = {"surrogate_name": "s", "surrogate_version": 3, "mlflow_run_id": "r", "meta_dataset_md5": "m"}


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(Settings(data=tmp_path / "data"))


def answer(count: int = 2, sha256: str = SHA256, percentile: float = 40.0) -> dict[str, Any]:
    performance = {"metric": "r2", "mean": 0.7, "low": 0.6, "high": 0.8, "coverage": 0.8}
    listed = [{"rank": n + 1, "configuration": {"width": n}, "performance": performance} for n in range(count)]
    return {
        "task": {"task_id": "mine", "sha256": sha256},
        "recommendations": listed,
        "novelty": {"percentile": percentile, "fallback": percentile > 95},
        "lineage": {**MADE_BY, "recommendation_id": feedback.identify(sha256, MADE_BY)},
    }


def name_of(given: dict[str, Any]) -> str:
    return str(given["lineage"]["recommendation_id"])


def test_an_id_depends_on_task_version_and_observed_trials_only() -> None:
    seen = [ObservedTrial({"width": 1}, 0.5), ObservedTrial({"width": 2}, 0.6)]
    first = feedback.identify(SHA256, MADE_BY, seen)
    assert first == feedback.identify(SHA256, {**MADE_BY, "other": 1}, seen[::-1])
    others = [
        feedback.identify("6" * 64, MADE_BY, seen),
        feedback.identify(SHA256, {**MADE_BY, "surrogate_version": 4}, seen),
        feedback.identify(SHA256, MADE_BY, seen[:1]),
    ]
    assert len({first, *others}) == 4


def test_the_longest_list_of_an_id_is_kept(pipeline: Pipeline) -> None:
    for count in (2, 5, 1):
        feedback.remember(pipeline, answer(count))
    (kept,) = feedback.read_recommendations(pipeline)
    assert len(kept["recommendations"]) == 5
    assert feedback.find_recommendation(pipeline, SHA256, {"width": 4}, "r2") == name_of(answer())
    assert feedback.find_recommendation(pipeline, SHA256, {"width": 4}, "rmse") is None
    assert feedback.find_recommendation(pipeline, "6" * 64, {"width": 4}, "r2") is None


@pytest.mark.parametrize("name", ["f" * 16, "../../etc/passwd", "", "0" * 15 + "/"])
def test_an_unknown_id_is_refused_and_the_known_ones_are_named(pipeline: Pipeline, name: str) -> None:
    feedback.remember(pipeline, answer())
    with pytest.raises(MetaflowHPOError, match=rf"made here.*{name_of(answer())}"):
        feedback.read_recommendation(pipeline, name)


def test_an_outcome_stands_beside_its_prediction_once(pipeline: Pipeline) -> None:
    feedback.remember(pipeline, answer())
    trials = [({"width": 0}, 0.75), ({"width": 1}, math.nan), ({"width": 9}, 0.9)]
    lines = feedback.record_outcomes(pipeline, name_of(answer()), trials, source="feedback")
    assert [(line["rank"], line["mean"], line["low"], line["high"]) for line in lines] == [
        (1, 0.7, 0.6, 0.8),
        (2, 0.7, 0.6, 0.8),
    ]
    assert feedback.record_outcomes(pipeline, name_of(answer()), trials, source="train") == []
    table = feedback.read_outcomes(pipeline)
    assert table["realised"].isna().tolist() == [False, True]
    assert set(table["surrogate_version"]) == {"3"}


@pytest.mark.parametrize(
    ("trials", "match"),
    [
        ([({"width": 9}, 0.5)], "none of the 1 is one"),
        ([({"width": 0}, 1.5)], "at most 1"),
        ([({"width": 0}, -math.inf)], "at most 1"),
    ],
)
def test_wrong_outcomes_are_refused_whole(pipeline: Pipeline, trials: Any, match: str) -> None:
    feedback.remember(pipeline, answer())
    with pytest.raises(MetaflowHPOError, match=match):
        feedback.record_outcomes(pipeline, name_of(answer()), [*trials], source="feedback")
    assert feedback.read_outcomes(pipeline).empty


def test_a_line_cut_by_a_crash_costs_only_itself(pipeline: Pipeline) -> None:
    feedback.remember(pipeline, answer())
    feedback.record_outcomes(pipeline, name_of(answer()), [({"width": 0}, 0.75)], source="feedback")
    with (pipeline.store.data / "feedback" / "outcomes.jsonl").open("a") as file:
        file.write('{"recommendation_id": "')
    feedback.record_outcomes(pipeline, name_of(answer()), [({"width": 1}, 0.65)], source="feedback")
    assert feedback.read_outcomes(pipeline)["realised"].tolist() == [0.75, 0.65]


def test_monitoring_reads_all_outcomes_and_all_questions(pipeline: Pipeline) -> None:
    report, _ = feedback.monitor(pipeline)
    assert (report["outcomes"], report["recommendations"], report["drifted"]) == (0, 0, False)
    for number in range(20):
        given = answer(1, sha256=f"{number:064d}", percentile=99.0 if number < 5 else 40.0)
        feedback.remember(pipeline, given)
        feedback.record_outcomes(pipeline, name_of(given), [({"width": 0}, 0.3)], source="feedback")
    other = {**answer(1, sha256="b" * 64), "learner": "svm"}
    feedback.remember(pipeline, other)
    feedback.record_outcomes(pipeline, name_of(other), [({"width": 0}, 0.7)], source="feedback")
    report, figures = feedback.monitor(pipeline)
    svm = report["learners"]["svm"]
    assert (svm["outcomes"], svm["recommendations"], svm["coverage"], svm["drifted"]) == (1, 1, 1.0, False)
    assert (report["outcomes"], report["tasks"], report["coverage"], report["drifted"]) == (20, 20, 0.0, True)
    assert (report["median_novelty"], report["fallback_fraction"]) == (40.0, 0.25)
    assert json.loads(feedback.monitoring_path(pipeline).read_text())["reason"] == report["reason"]
    assert {name: len(figure.axes) for name, figure in figures.items()} == {"mlp": 2, "svm": 2}


@pytest.mark.skipif(os.name != "posix", reason="needs a file where the folder should be")
def test_a_recommendation_is_given_even_where_it_cannot_be_recorded(pipeline: Pipeline, caplog: Any) -> None:
    pipeline.store.data.mkdir()
    (pipeline.store.data / "feedback").write_text("no folder")
    feedback.remember(pipeline, answer())
    assert "is not recorded for later feedback" in caplog.text
