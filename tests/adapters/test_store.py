"""The files of `data/`: what is kept, what is dropped, and what a kill leaves behind."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.adapters.store import DataStore
from metaflow_hpo.errors import InvalidTableError, UnknownTaskError
from metaflow_hpo.learners.registry import get_learner
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.trial import Trial


def make_task(task_id: str = "mine", seed: int = 0) -> TableData:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60), "y": ["p", "q"] * 30})
    return prepare_task(frame, task_id=task_id, target="y", source="test", licence="none", family=task_id)


def make_trials(data: TableData, count: int = 3, learner: str = "svm") -> list[Trial]:
    chosen = get_learner(learner)
    configurations = chosen.space.from_unit(np.random.default_rng(0).random((count, len(chosen.space.names))))
    return [
        Trial(
            task_id=data.task.task_id,
            family=data.task.family,
            learner=learner,
            configuration=configuration,
            strategy="random",
            seed=0,
            fidelity=chosen.fidelity.maximum,
            performance=0.5 + 0.1 * i,
            test_performance=0.4 + 0.1 * i,
            duration_s=0.25,
        )
        for i, configuration in enumerate(configurations)
    ]


@pytest.fixture
def store(tmp_path: Path) -> DataStore:
    return DataStore(tmp_path / "data")


def test_the_catalogue_lists_the_tasks_by_name_and_their_rows_round_trip(store: DataStore) -> None:
    tasks = [make_task("second", 1), make_task("first")]
    frame = store.write_catalogue(tasks)
    assert store.task_ids() == ["first", "second"]
    assert store.task_ids(max_rows=0) == []
    assert list(frame["rows"]) == [60, 60]
    read = store.read_task("first")
    assert read.task == tasks[1].task
    pd.testing.assert_frame_equal(read.features, tasks[1].features)


def test_prepared_rows_that_have_not_changed_are_left_alone_and_gone_tasks_are_removed(store: DataStore) -> None:
    store.write_catalogue([make_task("kept"), make_task("gone", 1)])
    before = store.task_path("kept").stat()
    store.write_catalogue([make_task("kept")])
    after = store.task_path("kept").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert not store.task_path("gone").exists()


def test_an_unknown_task_is_refused_with_the_known_ones(store: DataStore) -> None:
    store.write_catalogue([make_task("known")])
    with pytest.raises(UnknownTaskError, match=r"No task 'other'.*\['known'\] \(1 in all\)"):
        store.read_task("other")


def test_finished_trials_survive_in_the_journal_and_move_into_the_table(store: DataStore) -> None:
    data = make_task()
    trials = make_trials(data)
    for trial in trials[:2]:
        store.append_trial(data.task, trial)
    assert [t.configuration_id for t in store.read_trials(data.task)] == [t.configuration_id for t in trials[:2]]
    store.write_trials(data.task, trials)
    assert [t.performance for t in store.read_trials(data.task)] == [t.performance for t in trials]
    assert [p.name for p in store.search_results_path("mine").parent.iterdir()] == ["mine.parquet"]
    assert store.is_searched(data.task)
    assert not list((store.data / "kept_trials").glob(".*.journal.jsonl"))


def test_half_a_line_at_the_end_of_the_journal_is_dropped(store: DataStore) -> None:
    data = make_task()
    for trial in make_trials(data):
        store.append_trial(data.task, trial)
    (journal,) = (store.data / "kept_trials").glob(".*.journal.jsonl")
    journal.write_bytes(journal.read_bytes()[:-20])
    assert len(store.read_trials(data.task)) == 2


@pytest.mark.parametrize("finished", [True, False])
def test_trials_of_other_rows_are_left_out(store: DataStore, finished: bool) -> None:
    data = make_task()
    for trial in make_trials(data):
        store.append_trial(data.task, trial)
    if finished:
        store.write_trials(data.task, make_trials(data))
    changed = make_task(seed=1)
    assert changed.task.sha256 != data.task.sha256
    assert store.read_trials(changed.task) == []
    assert len(store.read_trials(data.task)) == 3


def test_rows_that_were_replaced_and_come_back_have_their_trials(store: DataStore) -> None:
    before, after = make_task(), make_task(seed=1)
    store.write_trials(before.task, make_trials(before))
    assert not store.is_searched(after.task)
    store.write_trials(after.task, make_trials(after, 2))
    assert [t.key for t in store.read_trials(before.task)] == [t.key for t in make_trials(before)]
    assert not store.is_searched(before.task)
    store.write_trials(before.task, store.read_trials(before.task))
    assert store.is_searched(before.task)
    assert len(store.read_trials(after.task)) == 2


def test_trials_that_another_process_wrote_meanwhile_are_kept(store: DataStore) -> None:
    data = make_task()
    mine, others = make_trials(data, 5)[:2], make_trials(data, 5)[2:]
    store.append_trial(data.task, others[0])
    store.write_trials(data.task, others[1:])
    assert len(store.write_trials(data.task, mine)) == 5


def test_the_trials_of_two_learners_share_a_table(store: DataStore) -> None:
    data = make_task()
    both = make_trials(data) + make_trials(data, 2, "mlp")
    store.write_trials(data.task, both)
    read = store.read_trials(data.task)
    assert [(t.learner, t.configuration_id) for t in read] == [(t.learner, t.configuration_id) for t in both]
    assert [dict(t.configuration) for t in read] == [dict(t.configuration) for t in both]


def test_of_a_trial_known_without_and_with_its_refit_the_later_one_counts(store: DataStore) -> None:
    data = make_task()
    trials = make_trials(data)
    without = [replace(trial, test_performance=float("nan")) for trial in trials]
    for trial in [*without, *trials]:
        store.append_trial(data.task, trial)
    frame = store.write_trials(data.task, make_trials(data, 1, "mlp"))
    assert len(frame) == 1 + len(trials)
    assert frame["test_performance"].notna().all()


def test_meta_features_are_those_of_the_very_rows_and_complete(store: DataStore) -> None:
    task = make_task().task
    names = ("mf_rows", "mf_columns")
    assert not store.has_meta_features(task, names)
    store.write_meta_features(task, {"mf_rows": 60.0, "mf_columns": 2.0}, 0.5)
    assert store.has_meta_features(task, names)
    assert not store.has_meta_features(task, (*names, "mf_new"))
    assert not store.has_meta_features(replace(task, sha256="0" * 64), names)


def test_the_meta_data_set_joins_each_trial_with_its_task(store: DataStore) -> None:
    tasks = [make_task("first"), make_task("second", 1)]
    for position, data in enumerate(tasks):
        store.write_trials(data.task, make_trials(data))
        store.write_meta_features(data.task, {"mf_position": float(position)}, 0.5)
    store.write_meta_dataset(["first", "second"])
    frame = store.read_meta_dataset()
    assert list(frame["task_id"]) == ["first"] * 3 + ["second"] * 3
    assert list(frame["mf_position"]) == [0.0] * 3 + [1.0] * 3


def test_what_is_missing_is_named_with_the_step_that_makes_it(store: DataStore) -> None:
    with pytest.raises(InvalidTableError, match="metaflow-hpo step dataset_catalogue"):
        store.task_ids()
    with pytest.raises(InvalidTableError, match="metaflow-hpo step meta_dataset"):
        store.read_meta_dataset()
    data = make_task()
    with pytest.raises(InvalidTableError, match="Search the task 'mine' first"):
        store.write_meta_dataset(["mine"])
    store.write_trials(data.task, make_trials(data))
    with pytest.raises(InvalidTableError, match="Describe the task 'mine' first"):
        store.write_meta_dataset(["mine"])


def test_a_cut_table_of_trials_is_refused(store: DataStore) -> None:
    data = make_task()
    store.write_trials(data.task, make_trials(data))
    path = store.search_results_path("mine")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InvalidTableError, match="Delete it and search again"):
        store.read_trials(data.task)


def test_trials_of_a_learner_that_cannot_be_imported_are_read(store: DataStore) -> None:
    data = make_task()
    configuration = {"lr": 0.1, "flip": True, "mode": None, "kind": "1", "size": 1}
    trials = [
        replace(trial, learner="gone", configuration=configuration, seed=n) for n, trial in enumerate(make_trials(data))
    ]
    trials = [replace(trial, fidelity_unit="steps") for trial in trials]
    store.append_trial(data.task, trials[0])
    assert store.read_trials(data.task) == trials[:1]
    store.write_trials(data.task, [*trials[1:], *make_trials(data)])
    read = store.read_trials(data.task)
    assert {json.dumps(dict(trial.configuration)) for trial in read if trial.learner == "gone"} == {
        json.dumps(configuration)
    }
    assert len(read) == 6


def test_searches_of_one_task_at_the_same_time_lose_nothing(store: DataStore) -> None:
    data = make_task()
    [template] = make_trials(data, 1)

    def search(number: int) -> None:
        mine = [replace(template, strategy=f"strategy_{number}", seed=seed) for seed in range(15)]
        for position, trial in enumerate(mine, start=1):
            store.append_trial(data.task, trial)
            if position % 5 == 0:
                store.write_trials(data.task, mine[:position])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(search, range(4)))
    assert len({trial.key for trial in store.read_trials(data.task)}) == 60
