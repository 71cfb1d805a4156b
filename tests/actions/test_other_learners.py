"""Tasks of several modalities in one project: each is searched with its learner, and each learner gets a champion."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from metaflow_hpo.actions import collect
from metaflow_hpo.actions.other_learners import find_others, learn_others
from metaflow_hpo.adapters import landed
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.learners.registry import DEFAULT_LEARNERS
from metaflow_hpo.modalities import registry
from metaflow_hpo.settings import Settings
from tests.outside.points import write_points

pytestmark = pytest.mark.integration

OUTSIDE = Path(__file__).parents[1] / "outside"
POINTS = [f"points_{t}" for t in range(4)]


@pytest.fixture
def pipeline(tmp_path, monkeypatch, mlflow_template):
    """A project with a table and four tasks of a modality whose learner is not that of the settings."""
    monkeypatch.syspath_prepend(str(OUTSIDE))
    monkeypatch.setattr(landed, "SETTLED_S", 0.0)
    monkeypatch.setitem(DEFAULT_LEARNERS, "points", "nearest_centre")
    registry._find_groups.cache_clear()
    data = tmp_path / "data"
    (data / "mlflow").mkdir(parents=True)
    shutil.copy(mlflow_template, data / "mlflow" / "mlflow.db")
    (data / "inbox").mkdir()
    for seed, name in enumerate(POINTS):
        write_points(data / "inbox" / f"{name}.points", seed)
    yield Pipeline(Settings(data=data, tasks=("iris",), core_trials=8, random_trials=0, fidelity_epochs=1, folds=3))
    registry._find_groups.cache_clear()


def test_each_task_is_searched_with_its_own_learner_and_each_learner_gets_a_champion(pipeline):
    collect.build_catalogue(pipeline)
    names = pipeline.collected_task_ids()
    assert names == ["iris", *POINTS]
    assert pipeline.task_ids() == ["iris"]
    collect.search_tasks(pipeline, names)
    collect.describe_tasks(pipeline, names)
    for name in names:
        trials = pd.read_parquet(pipeline.store.search_results_path(name))
        assert set(trials["learner"]) == {"mlp" if name == "iris" else "nearest_centre"}

    [other] = find_others(pipeline)
    assert other.learner_name == "nearest_centre"
    report = learn_others(pipeline)["nearest_centre"]
    assert (report["tasks"], report["version"]) == (4, 1), report
    # The gate has judged it, on so few tasks either way.
    assert (other.registry.champion() is not None) == report["promoted"]
    assert (pipeline.registry.champion(), other.registry.name) == (None, "metaflow_hpo_surrogate.nearest_centre")
    # Nothing is new: nothing is fitted or judged again.
    assert learn_others(pipeline)["nearest_centre"]["version"] == 1
    assert collect.join_tasks(pipeline)["tasks"] == 1


def test_a_learner_with_too_few_tasks_holds_up_nobody(pipeline):
    for name in POINTS[1:]:
        (pipeline.store.inbox / f"{name}.points").unlink()
    collect.build_catalogue(pipeline)
    collect.search_tasks(pipeline, POINTS[:1])
    collect.describe_tasks(pipeline, POINTS[:1])
    report = learn_others(pipeline)["nearest_centre"]
    assert set(report) == {"reason"}
    assert "Expected trials of nearest_centre on tasks of at least 2 families" in report["reason"]


def test_the_first_of_each_family_is_searched_first(pipeline):
    collect.build_catalogue(pipeline)
    catalogue = pd.read_parquet(pipeline.store.catalogue_path)
    catalogue["family"] = ["a", "a", "b", "b", "c"]
    catalogue.to_parquet(pipeline.store.catalogue_path)
    assert collect._spread_families(pipeline, ["iris", *POINTS]) == [
        "iris",
        "points_1",
        "points_3",
        "points_0",
        "points_2",
    ]


@pytest.mark.parametrize("learner", ["cnn", "text", "audio_cnn", "series"])
def test_what_ships_of_items_is_learned_from_whatever_its_trials_made_active(tmp_path, learner):
    shipped = collect._add_shipped(Pipeline(Settings(data=tmp_path / "data", learner=learner)), None)
    assert shipped is not None
    assert shipped["task_id"].nunique() > 3
