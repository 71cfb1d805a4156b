from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import DegenerateTaskError, InvalidTableError, SearchSpaceMismatchError
from metaflow_hpo.space import Categorical, Integer, SearchSpace
from metaflow_hpo.surrogate.meta_dataset import build_meta_dataset

SPACE = SearchSpace((Integer("layers", 1, 4, 2), Categorical("optimizer", ("sgd", "adam"), "adam")))

# task, configuration, layers, optimizer, seed, performance, duration_s, status
TRIALS = [
    ("wine", "two", 2, "sgd", 0, 0.5, 1.0, "ok"),
    ("wine", "one", 1, "adam", 0, 0.8, 2.0, "ok"),
    ("wine", "one", 1, "adam", 1, 0.6, 4.0, "ok"),
    ("iris", "two", 2, "sgd", 0, np.nan, 9.0, "failed"),
    ("iris", "one", 1, "adam", 0, 0.9, 3.0, "ok"),
    ("iris", "three", 3, "adam", 0, 0.3, 5.0, "ok"),
]


def frame_of(trials, learner="mlp"):
    columns = [
        "task_id",
        "configuration_id",
        "hp_layers",
        "hp_optimizer",
        "seed",
        "performance",
        "duration_s",
        "status",
    ]
    frame = pd.DataFrame(trials, columns=columns)
    return frame.assign(
        learner=learner, family=frame["task_id"] + "s", mf_rows=frame["task_id"].map(len) + 0.5, mf_a=1.0
    )


@pytest.fixture
def built():
    return build_meta_dataset(frame_of(TRIALS), SPACE, "mlp")


def test_tasks_are_sorted_and_configurations_keep_their_order(built):
    assert built.task_ids == ("iris", "wine")
    assert built.families == ("iriss", "wines")
    assert built.configuration_ids == ("two", "one", "three")
    assert built.configurations == (
        {"layers": 2, "optimizer": "sgd"},
        {"layers": 1, "optimizer": "adam"},
        {"layers": 3, "optimizer": "adam"},
    )
    assert built.meta_feature_names == ("mf_a", "mf_rows")
    np.testing.assert_array_equal(built.meta_features, [[1.0, 4.5], [1.0, 4.5]])


def test_a_failed_trial_counts_as_the_worst_of_its_task_and_seeds_are_averaged(built):
    # iris: `two` failed, the worst is 0.3. wine: `one` is the mean of 0.8 and 0.6, `three` was never tried.
    np.testing.assert_allclose(built.performance, [[0.3, 0.9, 0.3], [0.5, 0.7, np.nan]])


def test_a_stopped_trial_is_left_out_as_what_it_would_have_reached_is_not_known(built):
    stopped = ("wine", "three", 3, "adam", 0, np.nan, 1.0, "stopped")
    found = build_meta_dataset(frame_of([*TRIALS, stopped]), SPACE, "mlp")
    np.testing.assert_array_equal(found.performance, built.performance)
    assert np.isnan(found.performance[1, 2])


def test_a_failed_trial_has_no_duration(built):
    np.testing.assert_allclose(built.duration, [[np.nan, 3.0, 5.0], [1.0, 3.0, np.nan]])


def test_performance_is_normalised_between_the_worst_and_the_best_of_each_task(built):
    np.testing.assert_allclose(built.normalised, [[0.0, 1.0, 0.0], [0.0, 1.0, np.nan]])
    np.testing.assert_allclose(built.best, [0.9, 0.7])
    np.testing.assert_allclose(built.worst, [0.3, 0.5])


def test_a_task_whose_every_trial_failed_is_left_out():
    trials = [*TRIALS, ("zoo", "one", 1, "adam", 0, np.nan, 1.0, "failed")]
    assert build_meta_dataset(frame_of(trials), SPACE, "mlp").task_ids == ("iris", "wine")


def test_the_order_of_trials_changes_no_performance(built):
    other = build_meta_dataset(frame_of(TRIALS[::-1]), SPACE, "mlp")
    columns = [other.configuration_ids.index(name) for name in built.configuration_ids]
    np.testing.assert_allclose(other.performance[:, columns], built.performance)


def test_only_the_highest_fidelity_of_the_learner_counts(built, caplog):
    low = [(task, name, layers, optimizer, 0, 0.99, 0.1, "ok") for task, name, layers, optimizer, *_ in TRIALS]
    low += [("wine", "four", 4, "sgd", 0, 0.01, 0.1, "ok"), ("iris", "four", 4, "sgd", 0, np.nan, 0.1, "failed")]
    frame = pd.concat([frame_of(low).assign(fidelity_epochs=17), frame_of(TRIALS).assign(fidelity_epochs=50)])
    mixed = build_meta_dataset(frame, SPACE, "mlp")
    assert mixed.configuration_ids == built.configuration_ids
    np.testing.assert_array_equal(mixed.performance, built.performance)
    np.testing.assert_array_equal(mixed.duration, built.duration)
    assert caplog.records == []


def test_another_learner_has_a_highest_fidelity_of_its_own(built):
    frame = pd.concat([frame_of(TRIALS).assign(fidelity_epochs=17), frame_of(TRIALS, "svm").assign(fidelity_epochs=50)])
    np.testing.assert_array_equal(build_meta_dataset(frame, SPACE, "mlp").performance, built.performance)


def test_a_task_without_a_trial_at_the_highest_fidelity_is_left_out_and_named(caplog):
    frame = frame_of([*TRIALS, ("zoo", "one", 1, "adam", 0, 0.4, 1.0, "ok")])
    epochs = np.where(frame["task_id"] == "zoo", 2, 50)
    assert build_meta_dataset(frame.assign(fidelity_epochs=epochs), SPACE, "mlp").task_ids == ("iris", "wine")
    assert "1 tasks have no trial of 50 epochs and are left out: ['zoo']" in caplog.text


def test_an_unknown_learner_is_refused_with_the_known_ones():
    with pytest.raises(InvalidTableError, match=r"No trial of the learner 'svm' in the table; it has \['mlp'\]"):
        build_meta_dataset(frame_of(TRIALS), SPACE, "svm")


def test_a_table_in_which_everything_performs_the_same_is_refused():
    with pytest.raises(DegenerateTaskError, match="performs the same on every task"):
        build_meta_dataset(frame_of(TRIALS).assign(performance=0.5, status="ok"), SPACE, "mlp")


def test_meta_features_that_are_not_finite_are_refused_with_their_task():
    frame = frame_of(TRIALS)
    frame.loc[frame["task_id"] == "wine", "mf_a"] = np.nan
    with pytest.raises(InvalidTableError, match=r"must be finite; they are not on \['wine'\]"):
        build_meta_dataset(frame, SPACE, "mlp")


def test_shared_keeps_only_configurations_that_were_tried_everywhere(built):
    assert built.shared().configuration_ids == ("two", "one")
    assert built.shared(0.5).configuration_ids == ("two", "one", "three")
    np.testing.assert_allclose(built.shared().performance, [[0.3, 0.9], [0.5, 0.7]])
    assert built.shared().duration.shape == (2, 2)


def test_a_subset_holds_the_asked_tasks_in_the_asked_order(built):
    part = built.subset([1])
    assert (part.task_ids, part.families) == (("wine",), ("wines",))
    assert part.configuration_ids == built.configuration_ids
    np.testing.assert_allclose(part.performance, built.performance[[1]])


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ("performance", r"performances of shape \(2, 3\)"),
        ("duration", r"performances of shape \(2, 3\)"),
        ("meta_features", "meta-features of 2 tasks"),
    ],
)
def test_arrays_of_another_shape_are_refused(built, field, message):
    with pytest.raises(InvalidTableError, match=message):
        replace(built, **{field: getattr(built, field)[:, :1]})


def test_a_whole_number_with_a_fraction_is_refused_and_named_instead_of_being_cut():
    trials = [(*t[:2], 2.7, *t[3:]) if t[1] == "three" else t for t in TRIALS]
    with pytest.raises(SearchSpaceMismatchError, match=r"Configuration three of mlp.*task iris: layers must.*got 2\.7"):
        build_meta_dataset(frame_of(trials), SPACE, "mlp")
