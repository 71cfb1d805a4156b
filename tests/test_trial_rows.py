import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTableError, SearchSpaceMismatchError
from metaflow_hpo.history import History
from metaflow_hpo.space import Categorical, Float, SearchSpace


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
    table = History.from_frame(make_frame())
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
    assert [task.performance.tolist() for task in History.from_frame(frame).tasks] == [[0.1, 0.3, 0.2], [0.5, 0.9]]


def test_lower_is_better_flips_both_performances():
    table = History.from_frame(make_frame(), lower_is_better=True)
    np.testing.assert_array_equal(table.tasks[0].performance, [-0.1, -0.3, -0.2])
    np.testing.assert_array_equal(table.tasks[1].performance, [-0.5, -0.9, -0.9])
    np.testing.assert_array_equal(table.tasks[0].test_performance, [0.0, -0.1, -0.2])


def test_the_order_of_lines_changes_nothing():
    frame = make_frame()
    expected = History.from_frame(frame)
    found = History.from_frame(frame.sample(frac=1.0, random_state=3))
    assert found.configurations == expected.configurations
    for mine, theirs in zip(found.tasks, expected.tasks, strict=True):
        np.testing.assert_array_equal(mine.performance, theirs.performance)
        np.testing.assert_array_equal(mine.positions, theirs.positions)


def test_repetitions_are_averaged_over_the_trials_that_worked():
    again = make_frame().assign(performance=[0.3, 0.3, np.nan, 0.5, 0.9, 0.7], status="ok")
    table = History.from_frame(pd.concat([make_frame(), again]))
    np.testing.assert_allclose(table.tasks[0].performance, [0.2, 0.3, 0.2])
    np.testing.assert_allclose(table.tasks[1].performance, [0.5, 0.9, 0.7])


def test_tasks_may_have_configurations_of_their_own():
    frame = make_frame().assign(hp_x=[0.0, 0.5, 1.0, 0.0, 0.2, 0.4])
    table = History.from_frame(frame)
    assert not table.is_shared
    assert len(table.configurations) == 5
    np.testing.assert_array_equal(table.tasks[1].positions, [0, 1, 2])
    np.testing.assert_array_equal(table.tasks[0].positions, [0, 3, 4])


def test_tasks_that_tell_nothing_are_left_out_and_named():
    more = make_frame().replace({"task_id": {"a": "flat", "b": "broken"}})
    more["performance"] = [0.4, 0.4, 0.4, np.nan, np.nan, np.nan]
    table = History.from_frame(pd.concat([make_frame(), more]))
    assert [task.task_id for task in table.tasks] == ["a", "b"]
    assert "flat" in table.notes[0]
    assert "broken" in table.notes[1]


def test_a_given_space_is_used_and_checked():
    space = SearchSpace((Float("x", -1.0, 1.0, 0.0),))
    np.testing.assert_array_equal(History.from_frame(make_frame(), space=space).points[:, 0], [0.5, 0.75, 1.0])
    narrow = SearchSpace((Float("x", 0.0, 0.7, 0.5),))
    with pytest.raises(SearchSpaceMismatchError, match=r"x must be in \[0.0, 0.7\]; got 1.0"):
        History.from_frame(make_frame(), space=narrow)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="task_id"), r"\['task_id'\] are missing"),
        (lambda f: f.drop(columns="hp_x"), r"hyperparameters that vary.*no such column"),
        (lambda f: f.iloc[:0], "there is no line"),
        (lambda f: f.assign(performance=list("abcdef")), r"Expected numbers in \['performance'\]; found .* 'a'"),
        (lambda f: f.assign(family=list("xyxyxy")), "one family a task; a has 2"),
        (lambda f: f.assign(mf_rows=np.inf), r"finite or missing; \['mf_rows'\]"),
        (lambda f: f.assign(task_id=[None, *f["task_id"][1:]]), "1 trials have no task_id"),
        (
            lambda f: f.assign(status=["odd", "ok", "odd", "ok", "ok", "NEW"]),
            r"found 'odd' \(2 trials\), 'NEW'",
        ),
        (lambda f: f.assign(status="stopped"), "all were stopped"),
        (lambda f: f.assign(hp_layers=[[64, 32]] * 6), r"found \[64, 32\]\. Split it into columns"),
        (lambda f: pd.concat([f, f[["hp_x"]]], axis=1), r"every column once; found \['hp_x'\]"),
    ],
)
def test_what_is_wrong_is_named_with_a_remedy(change, message):
    with pytest.raises(InvalidTableError, match=message):
        History.from_frame(change(make_frame()))


def test_numbers_written_as_text_are_read_as_numbers():
    frame = make_frame()
    found = History.from_frame(frame.assign(hp_x=frame["hp_x"].astype(str) + " "))
    assert found.space == History.from_frame(frame).space
    assert found.configurations == History.from_frame(frame).configurations


def test_text_stays_text_where_one_value_is_no_number_or_the_space_says_so():
    mixed = History.from_frame(make_frame().assign(hp_x=["auto", "2", "3"] * 2))
    assert mixed.space.hyperparameters[0].choices == ("2", "3", "auto")
    space = SearchSpace((Categorical("x", ("1", "2", "3"), "1"),))
    given = History.from_frame(make_frame().assign(hp_x=["1", "2", "3"] * 2), space=space)
    assert [c["x"] for c in given.configurations] == ["1", "2", "3"]


def test_true_and_false_are_choices():
    table = History.from_frame(make_frame().assign(hp_x=np.array([True, False, True] * 2, dtype=object), hp_y=range(6)))
    assert table.space.hyperparameters[0].choices == ("False", "True")


def test_failed_and_repeated_trials_are_counted_in_the_notes():
    notes = History.from_frame(pd.concat([make_frame(), make_frame().iloc[:2]])).notes
    assert notes[0].startswith("1 of 8 trials failed")
    assert notes[1].startswith("2 of 8 trials repeat")


def test_text_that_only_names_the_configuration_is_pointed_out():
    names = [f"run {i}" for i in range(30)]
    frame = pd.DataFrame({"task_id": ["a"] * 30 + ["b"] * 30, "hp_id": names * 2, "performance": range(60)})
    assert History.from_frame(frame).notes[0].startswith("hp_id holds 30 different texts in 30 configurations")


def test_a_range_that_is_only_rounding_is_no_difference():
    flat = make_frame().assign(task_id="c", mf_rows=1, performance=[0.1, 0.1, np.nextafter(0.1, 1.0)] * 2, status="ok")
    table = History.from_frame(pd.concat([make_frame(), flat]))
    assert [task.task_id for task in table.tasks] == ["a", "b"]
    assert any("perform the same: c." in note for note in table.notes)


def test_what_other_tools_call_a_status_is_known():
    """Optuna's and Ray's words, and an enumeration's; none where there is a performance."""
    frame = make_frame().assign(status=["COMPLETE", "TrialState.COMPLETE", "PRUNED", "TERMINATED", None, "KILLED"])
    table = History.from_frame(frame)
    assert [task.performance.tolist() for task in table.tasks] == [[0.1, 0.3], [0.5, 0.9, 0.5]]
    assert "1 of 6 trials were stopped: what they would have reached is not known." in table.notes


def test_a_value_that_is_missing_for_no_known_reason_is_a_value_of_its_own():
    frame = make_frame().assign(hp_y=[1.0, 2.0, np.nan, 1.0, 2.0, np.nan])
    table = History.from_frame(frame)
    assert table.configurations[-1] == {"x": 1.0}
    assert "y is missing in 2 of 6 trials, for no known reason: not used there." in table.notes
    given = SearchSpace((Float("x", 0.0, 1.0, 0.5), Float("y", 1.0, 2.0, 1.5)))
    assert History.from_frame(frame, space=given).configurations == table.configurations


def test_what_one_tool_did_not_record_does_not_stand_in_the_way_of_the_others():
    other = make_frame().replace({"task_id": {"a": "c", "b": "d"}}).drop(columns="hp_x").assign(hp_z=[5, 6, 7] * 2)
    table = History.from_frame(pd.concat([make_frame(), other]))
    assert set(table.space.names) == {"x", "z"}
    assert len(table.configurations) == 6


def test_meta_features_that_vary_within_a_task_are_averaged_and_named():
    table = History.from_frame(make_frame().assign(mf_rows=[1.0, 2.0, 6.0, 5.0, 5.0, 5.0]))
    np.testing.assert_array_equal([task.meta_features[0] for task in table.tasks], [3.0, 5.0])
    assert "mf_rows differ between trials of a task: their mean counts." in table.notes


def make_curves(**columns):
    """Three trials on each of two tasks, a line an epoch; the third ends after two."""
    lines = [
        {
            "task_id": task,
            "trial_id": f"t{i}",
            "hp_x": i / 2,
            "fidelity_epochs": epoch,
            "performance": epoch + i + 3 * j,
        }
        for j, task in enumerate("ab")
        for i in range(3)
        for epoch in range(1, 3 if i == 2 else 4)
    ]
    return pd.DataFrame(lines).assign(**columns)


def test_one_line_an_epoch_is_a_learning_curve_and_no_repetition():
    table = History.from_frame(make_curves())
    # Nothing says that the third trial ran to its end.
    assert [task.performance.tolist() for task in table.tasks] == [[3.0, 4.0], [6.0, 7.0]]
    assert np.isnan(table.tasks[0].noise)
    assert table.notes[0] == "16 lines are the learning curves of 6 trials: the last line of each counts."


def test_a_curve_that_ended_by_itself_counts_however_short_it_is():
    assert [t.performance.tolist() for t in History.from_frame(make_curves(status="ok")).tasks] == [
        [3, 4, 4],
        [6, 7, 7],
    ]
    stopped = make_curves(status="ok")
    stopped.loc[(stopped["trial_id"] == "t2") & (stopped["fidelity_epochs"] == 2), "status"] = "pruned"
    assert [t.performance.tolist() for t in History.from_frame(stopped).tasks] == [[3, 4], [6, 7]]


def test_a_line_that_is_there_twice_is_no_repetition_where_its_trial_can_be_told():
    frame = make_frame().assign(seed=0)
    table = History.from_frame(pd.concat([frame, frame]))
    assert "6 of 12 lines are there before: each trial counts once." in table.notes
    assert not any("repeat" in note for note in table.notes)


def test_numbers_that_differ_beyond_the_digits_that_count_are_one_configuration():
    frame = make_frame().assign(hp_x=[0.0, 0.5, 0.50000001, 0.0, 0.5, 0.50000001])
    table = History.from_frame(frame)
    assert len(table.configurations) == 2
    np.testing.assert_allclose(table.tasks[0].performance, [0.1, 0.25])


@pytest.mark.parametrize("shuffle", [0, 1])
def test_an_export_of_six_studies_keeps_every_trial_that_was_made(shuffle):
    """Three tasks of this program and three of Optuna, whose trials have other statuses."""
    rng = np.random.default_rng(shuffle)
    statuses = np.array(["ok", "stopped", "COMPLETE", "PRUNED"])
    lines = [
        {
            "task_id": f"t{t}",
            "hp_x": float(x),
            "performance": float(t + x),
            "status": statuses[2 * (t >= 3) + (i == 0)],
        }
        for t in range(6)
        for i, x in enumerate(rng.permutation(30))
    ]
    table = History.from_frame(pd.DataFrame(lines))
    assert (len(table.tasks), sum(len(task.positions) for task in table.tasks)) == (6, 174)


def curves(steps: str = "epoch", **more: object) -> pd.DataFrame:
    """Three tasks with eight trials of four lines each, whose last line is the best."""
    rng = np.random.default_rng(0)
    lines = [
        {"task_id": f"t{t}", "hp_x": x, steps: step, "performance": round((1 - abs(x - 0.5)) * step / 4, 4), **more}
        for t in range(3)
        for x in rng.random(8).round(3).tolist()
        for step in (1, 2, 3, 4)
    ]
    return pd.DataFrame(lines)


@pytest.mark.parametrize("steps", ["epoch", "Step", "iteration", "training_iteration", "global_step"])
@pytest.mark.parametrize("order", ["as written", "shuffled", "with seeds", "with status"])
def test_lines_that_differ_by_a_step_are_a_learning_curve_and_no_repetitions(steps: str, order: str) -> None:
    frame = curves(steps)
    if order == "shuffled":
        frame = frame.sample(frac=1, random_state=0)
    elif order == "with seeds":
        frame = pd.concat([frame.assign(seed=0), frame.assign(seed=1)])
    elif order == "with status":
        frame = frame.assign(status="COMPLETE")
    history = History.from_frame(frame)
    whole = History.from_frame(curves().query("epoch == 4").drop(columns="epoch"))
    for found, expected in zip(history.tasks, whole.tasks, strict=True):
        np.testing.assert_allclose(found.performance, expected.performance)
    assert any("are the learning curves of" in note for note in history.notes)
    assert any("repeat a configuration" in note for note in history.notes) == (order == "with seeds")


def test_a_curve_that_ended_early_is_no_whole_training_unless_its_status_says_so() -> None:
    frame = curves().drop(index=3)  # the first trial lacks its last line
    assert sum(len(task.positions) for task in History.from_frame(frame).tasks) == 23
    told = History.from_frame(frame.assign(status="ok"))
    assert sum(len(task.positions) for task in told.tasks) == 24


def test_a_step_that_tells_no_lines_apart_is_left_alone() -> None:
    frame = curves().query("epoch == 4")
    assert not [note for note in History.from_frame(frame).notes if "curve" in note]


@pytest.mark.parametrize("missing", [None, np.nan])
def test_one_choice_or_none_is_a_hyperparameter(missing: object) -> None:
    frame = curves().query("epoch == 4").drop(columns="epoch").reset_index(drop=True)
    frame["hp_schedule"] = [("cosine", missing)[i % 2] for i in range(len(frame))]
    history = History.from_frame(frame)
    assert {c["schedule"] for c in history.configurations} == {"cosine", None}
    assert any("schedule is missing in 12 of 24 trials: that counts as the choice None" in n for n in history.notes)
    frame["hp_schedule"] = [("cosine", missing)[t == "t0"] for t in frame["task_id"]]  # not recorded on a task
    assert "schedule" not in History.from_frame(frame).space.names


@pytest.mark.parametrize("value", [-999.0, 99999.0, 1e308, -3.4e38])
def test_marks_among_performances_are_named(value: float) -> None:
    frame = pd.concat([curves().query("epoch == 4").drop(columns="epoch")] * 2, ignore_index=True)
    frame.loc[[3, 11, 20], "performance"] = value
    assert any(f"Performances: {value:.10g} (3 rows) lies far" in note for note in History.from_frame(frame).notes)


def test_a_negative_duration_is_refused() -> None:
    with pytest.raises(InvalidTableError, match="durations of 0 s or more; found -1"):
        History.from_frame(curves(duration_s=-1.0))
