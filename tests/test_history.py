import json
from functools import partial

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import DegenerateTaskError, InvalidTableError, SearchSpaceMismatchError
from metaflow_hpo.history import History
from metaflow_hpo.space import Categorical, Condition, Float, Integer, SearchSpace
from tests.conftest import changed, make_history

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


def read(trials, **options):
    frame = trials if isinstance(trials, pd.DataFrame) else frame_of(trials)
    return History.from_frame(frame, space=SPACE, **{"learner": "mlp", **options})


@pytest.fixture
def built():
    return read(TRIALS)


def test_tasks_are_sorted_by_name_and_configurations_by_value(built):
    assert built.task_ids == ("iris", "wine")
    assert built.families == ("iriss", "wines")
    assert [c["layers"] for c in built.configurations] == [1, 2, 3]
    assert built.configurations[1] == {"layers": 2, "optimizer": "sgd"}
    assert built.meta_feature_names == ("mf_a", "mf_rows")
    np.testing.assert_array_equal(built.meta_features, [[1.0, 4.5], [1.0, 4.5]])
    assert built.learner == "mlp"


def test_a_failed_trial_counts_as_the_worst_of_its_task_and_seeds_are_averaged(built):
    # iris: `two` failed, the worst is 0.3. wine: `one` is the mean of 0.8 and 0.6, `three` was never tried.
    np.testing.assert_allclose(built.performance, [[0.9, 0.3, 0.3], [0.7, 0.5, np.nan]])


def test_repetitions_tell_how_much_luck_there_is_in_one_trial(built):
    assert np.isnan(built.tasks[0].noise)
    assert built.tasks[1].noise == pytest.approx(0.02**0.5)  # of 0.8 and 0.6
    more = [("wine", "two", 2, "sgd", seed, value, 1.0, "ok") for seed, value in ((1, 0.4), (2, 0.3))]
    # Squares 0.02 and 0.02, with 1 and 2 degrees of freedom.
    assert read([*TRIALS, *more]).tasks[1].noise == pytest.approx((0.04 / 3) ** 0.5)


def test_a_failed_trial_has_no_duration(built):
    np.testing.assert_allclose(built.duration, [[3.0, np.nan, 5.0], [3.0, 1.0, np.nan]])


def test_performance_is_normalised_between_the_worst_and_the_best_of_each_task(built):
    np.testing.assert_allclose(built.normalised, [[1.0, 0.0, 0.0], [1.0, 0.0, np.nan]])
    np.testing.assert_allclose(built.best, [0.9, 0.7])
    np.testing.assert_allclose(built.worst, [0.3, 0.5])


def test_only_the_highest_fidelity_of_the_learner_counts(built):
    low = [(task, name, layers, optimizer, 0, 0.99, 0.1, "ok") for task, name, layers, optimizer, *_ in TRIALS]
    low += [("wine", "four", 4, "sgd", 0, 0.01, 0.1, "ok"), ("iris", "four", 4, "sgd", 0, np.nan, 0.1, "failed")]
    frame = pd.concat([frame_of(low).assign(fidelity_rows=17), frame_of(TRIALS).assign(fidelity_rows=50)])
    mixed = read(frame)
    assert mixed.configurations == built.configurations
    np.testing.assert_array_equal(mixed.performance, built.performance)
    np.testing.assert_array_equal(mixed.duration, built.duration)
    assert mixed.notes[0] == "8 of 14 trials, of fewer than 50 rows, are left out."


def test_another_learner_has_a_highest_fidelity_of_its_own(built):
    frame = pd.concat([frame_of(TRIALS).assign(fidelity_epochs=17), frame_of(TRIALS, "svm").assign(fidelity_epochs=50)])
    np.testing.assert_array_equal(read(frame).performance, built.performance)


def test_a_task_without_a_trial_at_the_highest_fidelity_is_left_out_and_named():
    frame = frame_of([*TRIALS, ("zoo", "one", 1, "adam", 0, 0.4, 1.0, "ok")])
    found = read(frame.assign(fidelity_epochs=np.where(frame["task_id"] == "zoo", 2, 50)))
    assert found.task_ids == ("iris", "wine")
    assert "1 tasks left out, since they have no trial of 50 epochs: zoo." in found.notes


def test_of_several_learners_one_is_chosen():
    frame = pd.concat([frame_of(TRIALS), frame_of(TRIALS, "svm")])
    assert read(frame, learner="svm").learner == "svm"
    with pytest.raises(InvalidTableError, match=r"trials of one learner; the table holds \['mlp', 'svm'\]"):
        read(frame, learner=None)
    with pytest.raises(InvalidTableError, match=r"No trial of the learner 'cnn' in the table; it has \['mlp', 'svm'\]"):
        read(frame, learner="cnn")


def test_a_table_in_which_everything_performs_the_same_is_refused():
    with pytest.raises(DegenerateTaskError, match=r"2 tasks left out.*perform the same: iris, wine"):
        read(frame_of(TRIALS).assign(performance=0.5, status="ok"))


def test_meta_features_may_be_missing():
    frame = frame_of(TRIALS)
    frame.loc[frame["task_id"] == "wine", "mf_a"] = np.nan
    np.testing.assert_array_equal(read(frame).meta_features, [[1.0, 4.5], [np.nan, 4.5]])


def test_shared_keeps_only_configurations_that_were_tried_everywhere(built):
    assert [c["layers"] for c in built.shared().configurations] == [1, 2]
    assert built.shared(0.5).configurations == built.configurations
    np.testing.assert_allclose(built.shared().performance, [[0.9, 0.3], [0.7, 0.5]])
    assert built.shared().duration.shape == (2, 2)
    assert built.shared().is_shared
    assert not built.is_shared


def test_configurations_come_in_the_asked_order_and_tasks_without_any_go(built):
    part = built.on([2, 0])
    assert [c["layers"] for c in part.configurations] == [3, 1]
    np.testing.assert_allclose(part.performance, [[0.3, 0.9], [np.nan, 0.7]])
    assert built.on([2]).task_ids == ("iris",)


def test_a_subset_holds_the_asked_tasks_in_the_asked_order(built):
    part = built.subset([1])
    assert (part.task_ids, part.families) == (("wine",), ("wines",))
    assert part.configurations == built.configurations
    np.testing.assert_allclose(part.performance, built.performance[[1]])
    assert built.subset([1, 0]).task_ids == ("wine", "iris")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("performance", r"durations of shape \(2, 3\)"),
        ("duration", r"durations of shape \(2, 3\)"),
        ("meta_features", "2 meta-features of 2 tasks"),
    ],
)
def test_arrays_of_another_shape_are_refused(built, name, message):
    with pytest.raises(InvalidTableError, match=message):
        changed(built, **{name: getattr(built, name)[:, :1]})


def test_a_whole_number_with_a_fraction_is_refused_and_named_instead_of_being_cut():
    trials = [(*t[:2], 2.7, *t[3:]) if t[1] == "three" else t for t in TRIALS]
    with pytest.raises(SearchSpaceMismatchError, match=r"configuration of mlp.*task iris: layers must.*got 2\.7"):
        read(trials)


def test_a_pool_without_holes_is_seen_as_it_was_tried():
    history = make_history()
    past = history.past_tasks([3, 1], [5, 0, 7])
    np.testing.assert_allclose(past.regret, 1.0 - history.normalised[[1, 3]][:, [5, 0, 7]])
    assert past.families == ("family_01", "family_03")  # their order does not matter
    assert past.default == 1


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_what_is_written_is_read_back(tmp_path, ending):
    history = make_history(tasks=3, configurations=6)
    performance = -history.performance
    performance[1, 2] = np.nan
    history = History.from_frame(
        changed(history, performance=performance).to_frame(), space=history.space, lower_is_better=True
    )
    history.write(tmp_path / f"past.{ending}")
    found = History.read(tmp_path / f"past.{ending}")
    assert found.space == history.space  # given, and wider than the values
    assert found.configurations == history.configurations
    assert found.lower_is_better
    np.testing.assert_allclose(found.performance, history.performance, rtol=1e-12)
    np.testing.assert_allclose(found.meta_features, history.meta_features, rtol=1e-12)
    assert found.families == history.families


def test_what_cannot_stand_in_the_lines_is_kept_with_them(tmp_path, built):
    built.write(tmp_path / "past.parquet")
    found = History.read(tmp_path / "past.parquet")
    assert found.tasks[1].noise == pytest.approx(built.tasks[1].noise)
    assert (found.learner, found.notes) == ("mlp", built.notes)


def test_an_option_says_more_than_the_file(tmp_path, built):
    built.write(tmp_path / "past.csv")
    wider = SearchSpace((Integer("layers", 1, 9, 2), SPACE.hyperparameters[1]))
    found = History.read(tmp_path / "past.csv", space=wider, lower_is_better=True)
    assert found.space == wider
    np.testing.assert_allclose(found.best, -built.worst)


def test_a_file_of_another_kind_is_refused(tmp_path, built):
    with pytest.raises(InvalidTableError, match=r"ends in .parquet or .csv; got past.xlsx"):
        built.write(tmp_path / "past.xlsx")
    built.write(tmp_path / "past.csv")
    (tmp_path / "past.csv.json").write_text("{")
    with pytest.raises(InvalidTableError, match=r"Expected JSON in .*past\.csv\.json"):
        History.read(tmp_path / "past.csv")


def test_a_space_with_an_optional_hyperparameter_goes_through_a_file(tmp_path):
    frame = pd.DataFrame(
        {
            "task_id": ["a"] * 4 + ["b"] * 4,
            "hp_rate": [0.1, 0.2, np.nan, 0.4] * 2,
            "hp_kind": ["x", "y", "x", "y"] * 2,
            "performance": [0.1, 0.2, 0.3, 0.4, 0.4, 0.3, 0.2, 0.1],
        }
    )
    history = History.from_frame(frame)
    history.write(tmp_path / "past.parquet")
    assert History.read(tmp_path / "past.parquet").configurations == history.configurations
    assert json.loads(json.dumps(history.space.to_json())) == history.space.to_json()


def test_an_optional_hyperparameter_survives_its_encoding():
    space = SearchSpace(
        (
            Categorical("kind", ("a", "b"), "a"),
            Float("rate", 0.0, 1.0, 0.5, condition=Condition("kind", ("a",)), optional=True),
            Integer("width", 1, 3, 2, optional=True),
        )
    )
    configurations = [{"kind": "a", "rate": 0.25}, {"kind": "a", "width": 3}, {"kind": "b"}]
    assert space.decode(space.encode(configurations)) == configurations
    assert [space.validate(c) for c in configurations] == configurations
    assert space.default == {"kind": "a", "rate": 0.5, "width": 2}
    assert SearchSpace.from_json(space.to_json()) == space


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
def test_what_has_zeros_before_it_is_a_name_and_no_number(tmp_path, ending):
    codes = ["01", "1", "001"] * 2
    frame = pd.DataFrame(
        {
            "task_id": ["7"] * 3 + ["07"] * 3,
            "hp_code": codes,
            "hp_lr": [0.1, 0.2, 0.3] * 2,
            "performance": [0.5, 0.6, 0.7, 0.6, 0.5, 0.8],
        }
    )
    path = tmp_path / f"t.{ending}"
    (frame.to_parquet if ending == "parquet" else partial(frame.to_csv, index=False))(path)
    history = History.read(path)
    assert history.task_ids == ("07", "7")
    assert [hp.choices for hp in history.space.hyperparameters if hp.name == "code"] == [("001", "01", "1")]


def test_a_number_is_one_where_the_space_says_so_however_it_is_written(tmp_path):
    (tmp_path / "t.csv").write_text("task_id,hp_n,performance\na,08,0.5\na,9,0.6\nb,08,0.4\nb,10,0.9\n")
    space = SearchSpace((Integer("n", 1, 16, 8),))
    history = History.from_frame(pd.read_csv(tmp_path / "t.csv", dtype={"hp_n": str}), space=space)
    assert sorted(one["n"] for one in history.configurations) == [8, 9, 10]
