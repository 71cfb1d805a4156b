"""A package outside of metaflow_hpo adds one of all that can be added, each in one file."""

import importlib
import time
from pathlib import Path

import numpy as np
import pytest

from metaflow_hpo.actions.collect import build_catalogue, describe_tasks, join_tasks, search_tasks
from metaflow_hpo.actions.intake import find_pending, take_in
from metaflow_hpo.adapters import landed
from metaflow_hpo.adapters.past_trials.registry import get_source
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.adapters.store import DataStore
from metaflow_hpo.collect.search import find_best, search
from metaflow_hpo.history import History
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.modalities import registry
from metaflow_hpo.modalities.registry import describe, read_source
from metaflow_hpo.modalities.roles import Roles
from metaflow_hpo.settings import Settings
from metaflow_hpo.testing import check_learner, check_meta_features, check_modality, check_source, check_strategy
from tests.outside.points import DIARY, write_points

HERE = Path(__file__).parent
GROUPS = ["mf_shape.log_points", "mf_shape.chance", "mf_shape.nearest_centre", "mf_shape.spread"]
OUTLINE = "mf_outline.v2.log_items"


@pytest.fixture(autouse=True)
def installed(monkeypatch):
    """The package beside this file, as if it was installed."""
    monkeypatch.syspath_prepend(str(HERE))
    registry._find_groups.cache_clear()
    yield
    registry._find_groups.cache_clear()


def test_the_modality_keeps_the_contract(tmp_path):
    check_modality(registry.get_modality("points"), write_points(tmp_path / "a.points", 0))


def test_the_learner_keeps_the_contract(tmp_path):
    check_learner(get_learner("nearest_centre"), read_source(write_points(tmp_path / "a.points", 0)))


def test_the_strategy_keeps_the_contract():
    check_strategy("near_best")


def test_the_source_of_past_trials_keeps_the_contract(tmp_path):
    (tmp_path / "trials.diary").write_text(DIARY)
    check_source(get_source("diary"), tmp_path / "trials.diary")


def test_the_group_of_meta_features_keeps_the_contract(tmp_path):
    data = read_source(write_points(tmp_path / "a.points", 0))
    check_meta_features(registry.META_FEATURES.load("size_on_disk"), data)


def test_a_file_is_told_by_what_it_is_and_described_by_its_own_group_and_by_that_for_all(tmp_path):
    data = read_source(write_points(tmp_path / "a.points", 0))
    assert (data.task.modality, data.task.rows, data.task.metric.name) == ("points", 150, "accuracy")
    assert list(describe(data)) == [*GROUPS, OUTLINE]
    found = Roles.of([*GROUPS, OUTLINE])
    row = np.array([list(describe(data).values())])
    assert found.sizes(row).shape == (1, 2)
    assert found.chance(row)[0] == row[0, 1]
    assert found.best_landmark(row)[0] == row[0, 2]


def test_what_is_wrong_with_a_file_is_said_by_the_modality(tmp_path):
    path = tmp_path / "a.points"
    path.write_text("1 2\n")
    with pytest.raises(registry.InvalidTaskError, match=r"Expected lines `x y label` in a.points"):
        read_source(path)


def test_files_and_folders_land_are_collected_and_taken_out_again(tmp_path, monkeypatch):
    monkeypatch.setattr(landed, "SETTLED_S", 0.0)
    store = DataStore(tmp_path / "data")
    folder = store.inbox / "many"
    folder.mkdir(parents=True)
    for seed in range(2):
        write_points(folder / f"part_{seed}.points", seed)
    write_points(store.inbox / "one.points", 2)
    (store.inbox / "one.yaml").write_text("family: relatives\nlicence: CC0\n")
    (store.inbox / "broken.points").write_text("nonsense\n")
    (store.inbox / "empty").mkdir()
    assert find_pending(store) == ["broken.points", "many", "one.points"]
    taken = take_in(store, [])
    assert [(data.task.task_id, data.task.rows) for data in taken.tasks] == [("many", 300), ("one", 150)]
    assert "Expected lines" in (store.quarantine / "broken.points.reason.txt").read_text()
    assert find_pending(store) == []
    frame = store.write_catalogue(taken.tasks)
    assert frame["modality"].tolist() == ["points", "points"]
    assert frame["family"].tolist() == ["many", "relatives"]
    assert store.read_task("many").task == taken.tasks[0].task
    write_points(folder / "part_2.points", 3)
    assert find_pending(store) == ["many"]
    for path in folder.iterdir():
        path.unlink()
    assert find_pending(store) == ["many"]


def test_a_learner_from_outside_is_searched_and_its_trials_are_a_history(tmp_path):
    learner = importlib.import_module("outside_learner").NEAREST_CENTRE
    store = DataStore(tmp_path / "data")
    tasks = [read_source(write_points(tmp_path / f"task_{t}.points", t), family=f"family_{t}") for t in range(4)]
    store.write_catalogue(tasks)
    for data in tasks:
        started = time.monotonic()
        found = search(data, learner, strategy="sobol", trials=8, seed=0)
        assert find_best(found).performance > 0.5
        assert found[0].fidelity_unit == "passes"
        store.write_trials(data.task, found)
        store.write_meta_features(data.task, describe(data), time.monotonic() - started)
    frame = store.write_meta_dataset([data.task.task_id for data in tasks])
    history = History.from_frame(frame, space=learner.space)
    assert history.task_ids == tuple(f"task_{t}" for t in range(4))
    assert set(history.meta_feature_names) == {*GROUPS, OUTLINE}


def test_a_step_works_on_the_tasks_that_its_learner_can_train_on(tmp_path, monkeypatch):
    monkeypatch.setattr(landed, "SETTLED_S", 0.0)
    settings = {"data": tmp_path / "data", "tasks": ("iris",), "core_trials": 8, "random_trials": 0}
    (tmp_path / "data" / "inbox").mkdir(parents=True)
    write_points(tmp_path / "data" / "inbox" / "task_0.points", 0)
    tables = Pipeline(Settings(**settings))
    assert build_catalogue(tables)["modalities"] == {"table": 1, "points": 1}
    assert tables.task_ids() == ["iris"]
    points = Pipeline(Settings(**settings, learner="nearest_centre"))
    assert points.task_ids() == ["task_0"]
    [report] = search_tasks(points, points.task_ids()).values()
    assert (report["trials"], report["failed_fraction"]) == (8, 0.0)
    assert describe_tasks(points, points.task_ids())["task_0"]["groups"] == "shape version 1, outline version 2"
    assert join_tasks(points)["trials"] == 8
