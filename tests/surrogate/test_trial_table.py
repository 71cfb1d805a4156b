import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTableError, SearchSpaceMismatchError
from metaflow_hpo.space import Categorical, Float, SearchSpace
from metaflow_hpo.surrogate.trial_table import build_trial_table


def make_frame():
    """Two tasks, three shared configurations; the third failed on b."""
    return pd.DataFrame(
        {
            "task_id": ["a", "a", "a", "b", "b", "b"],
            "hp_x": [0.0, 0.5, 1.0, 0.0, 0.5, 1.0],
            "mf_rows": [10, 10, 10, 20, 20, 20],
            "performance": [0.1, 0.3, 0.2, 0.5, 0.9, np.nan],
            "test_performance": [0.0, 0.1, 0.2, 0.3, 0.4, np.nan],
            "status": ["ok", "ok", "ok", "ok", "ok", "failed"],
        }
    )


def test_tasks_hold_their_trials_and_a_failed_trial_is_the_worst_of_its_task():
    table = build_trial_table(make_frame())
    assert [task.task_id for task in table.tasks] == ["a", "b"]
    assert table.is_shared
    np.testing.assert_array_equal(table.tasks[1].performance, [0.5, 0.9, 0.5])
    np.testing.assert_array_equal(table.tasks[1].test_performance, [0.3, 0.4, np.nan])
    np.testing.assert_array_equal(table.tasks[0].meta_features, [10.0])
    np.testing.assert_array_equal(table.points[:, 0], [0.0, 0.5, 1.0])
    assert table.families == ("a", "b")


def test_a_stopped_trial_is_left_out():
    frame = make_frame()
    frame.loc[5, "status"] = "stopped"
    assert [task.performance.tolist() for task in build_trial_table(frame).tasks] == [[0.1, 0.3, 0.2], [0.5, 0.9]]


def test_lower_is_better_flips_both_performances():
    table = build_trial_table(make_frame(), lower_is_better=True)
    np.testing.assert_array_equal(table.tasks[0].performance, [-0.1, -0.3, -0.2])
    np.testing.assert_array_equal(table.tasks[1].performance, [-0.5, -0.9, -0.9])
    np.testing.assert_array_equal(table.tasks[0].test_performance, [0.0, -0.1, -0.2])


def test_the_order_of_lines_changes_nothing():
    frame = make_frame()
    expected = build_trial_table(frame)
    found = build_trial_table(frame.sample(frac=1.0, random_state=3))
    assert found.configurations == expected.configurations
    for mine, theirs in zip(found.tasks, expected.tasks, strict=True):
        np.testing.assert_array_equal(mine.performance, theirs.performance)
        np.testing.assert_array_equal(mine.positions, theirs.positions)


def test_repetitions_are_averaged_over_the_trials_that_worked():
    again = make_frame().assign(performance=[0.3, 0.3, np.nan, 0.5, 0.9, 0.7], status="ok")
    table = build_trial_table(pd.concat([make_frame(), again]))
    np.testing.assert_allclose(table.tasks[0].performance, [0.2, 0.3, 0.2])
    np.testing.assert_allclose(table.tasks[1].performance, [0.5, 0.9, 0.7])


def test_tasks_may_have_configurations_of_their_own():
    frame = make_frame().assign(hp_x=[0.0, 0.5, 1.0, 0.0, 0.2, 0.4])
    table = build_trial_table(frame)
    assert not table.is_shared
    assert len(table.configurations) == 5
    np.testing.assert_array_equal(table.tasks[1].positions, [0, 1, 2])
    np.testing.assert_array_equal(table.tasks[0].positions, [0, 3, 4])


def test_tasks_that_tell_nothing_are_left_out_and_named():
    more = make_frame().replace({"task_id": {"a": "flat", "b": "broken"}})
    more["performance"] = [0.4, 0.4, 0.4, np.nan, np.nan, np.nan]
    table = build_trial_table(pd.concat([make_frame(), more]))
    assert [task.task_id for task in table.tasks] == ["a", "b"]
    assert "flat" in table.notes[0]
    assert "broken" in table.notes[1]


def test_a_given_space_is_used_and_checked():
    space = SearchSpace((Float("x", -1.0, 1.0, 0.0),))
    np.testing.assert_array_equal(build_trial_table(make_frame(), space=space).points[:, 0], [0.5, 0.75, 1.0])
    narrow = SearchSpace((Float("x", 0.0, 0.7, 0.5),))
    with pytest.raises(SearchSpaceMismatchError, match=r"x must be in \[0.0, 0.7\]; got 1.0"):
        build_trial_table(make_frame(), space=narrow)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="task_id"), r"\['task_id'\] are missing"),
        (lambda f: f.drop(columns="hp_x"), r"hyperparameters that vary.*no such column"),
        (lambda f: f.iloc[:0], "there is no line"),
        (lambda f: f.assign(performance=list("abcdef")), r"Expected numbers in \['performance'\]; found .* 'a'"),
        (lambda f: f.assign(mf_rows=range(6)), "one value of mf_rows a task; a has 3"),
        (lambda f: f.assign(mf_rows=np.inf), r"finite or missing; \['mf_rows'\]"),
        (lambda f: f.assign(family="same"), r"at least two families.*found \['same'\]"),
        (lambda f: f.assign(task_id=[None, *f["task_id"][1:]]), "1 trials have no task_id"),
        (lambda f: f.assign(status="SUCCESS"), r"the status 'ok'.*found only \['SUCCESS'\]"),
        (lambda f: f.assign(hp_layers=[[64, 32]] * 6), r"found \[64, 32\]\. Split it into columns"),
        (lambda f: pd.concat([f, f[["hp_x"]]], axis=1), r"every column once; found \['hp_x'\]"),
    ],
)
def test_what_is_wrong_is_named_with_a_remedy(change, message):
    with pytest.raises(InvalidTableError, match=message):
        build_trial_table(change(make_frame()))


def test_numbers_written_as_text_are_read_as_numbers():
    frame = make_frame()
    found = build_trial_table(frame.assign(hp_x=frame["hp_x"].astype(str) + " "))
    assert found.space == build_trial_table(frame).space
    assert found.configurations == build_trial_table(frame).configurations


def test_text_stays_text_where_one_value_is_no_number_or_the_space_says_so():
    mixed = build_trial_table(make_frame().assign(hp_x=["auto", "2", "3"] * 2))
    assert mixed.space.hyperparameters[0].choices == ("2", "3", "auto")
    space = SearchSpace((Categorical("x", ("1", "2", "3"), "1"),))
    given = build_trial_table(make_frame().assign(hp_x=["1", "2", "3"] * 2), space=space)
    assert [c["x"] for c in given.configurations] == ["1", "2", "3"]


def test_true_and_false_are_choices():
    table = build_trial_table(make_frame().assign(hp_x=np.array([True, False, True] * 2, dtype=object), hp_y=range(6)))
    assert table.space.hyperparameters[0].choices == ("False", "True")


def test_failed_and_repeated_trials_are_counted_in_the_notes():
    notes = build_trial_table(pd.concat([make_frame(), make_frame().iloc[:2]])).notes
    assert notes[0].startswith("1 of 8 trials failed")
    assert notes[1].startswith("2 of 8 trials repeat")


def test_text_that_only_names_the_configuration_is_pointed_out():
    names = [f"run {i}" for i in range(30)]
    frame = pd.DataFrame({"task_id": ["a"] * 30 + ["b"] * 30, "hp_id": names * 2, "performance": range(60)})
    assert build_trial_table(frame).notes[0].startswith("hp_id holds 30 different texts in 30 configurations")


def test_a_range_that_is_only_rounding_is_no_difference():
    flat = make_frame().assign(task_id="c", mf_rows=1, performance=[0.1, 0.1, np.nextafter(0.1, 1.0)] * 2, status="ok")
    table = build_trial_table(pd.concat([make_frame(), flat]))
    assert [task.task_id for task in table.tasks] == ["a", "b"]
    assert any("perform the same: c." in note for note in table.notes)
