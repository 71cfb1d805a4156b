import math

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.modalities.table.canonical_order import put_in_canonical_order
from metaflow_hpo.modalities.table.landmark_names import LANDMARKS
from metaflow_hpo.modalities.table.landmarks import make_holdout, measure_landmarks
from metaflow_hpo.modalities.table.meta_features import TABLE_GROUP, measure
from metaflow_hpo.modalities.table.metrics import METRICS
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.task import Task


def make_data(features, target, *, test_rows=2, kind=None):
    """A task whose first `test_rows` rows are the test rows."""
    features, target = pd.DataFrame(features), np.asarray(target)
    for name in features.columns[features.dtypes != "float64"]:
        features[name] = features[name].astype(object if features[name].dtype.kind not in "if" else float)
    classes = 0 if target.dtype.kind == "f" else int(target.max()) + 1
    kind = kind or ("regression" if classes == 0 else "binary" if classes == 2 else "multiclass")
    rows = len(features)
    task = Task(
        task_id="t", family="t", modality="table", kind=kind, metric=METRICS[kind][0], target="y", licence="CC0",
        source="made", sha256="0" * 64, rows=rows, columns=features.shape[1], classes=classes, test_rows=test_rows,
    )  # fmt: skip
    return TableData(task, features, target, np.arange(rows) < test_rows)


def with_test_rows(columns, target):
    """Put two test rows of nonsense before the training rows."""
    junk = {
        name: [values[0], values[0]] if isinstance(values[0], str) else [1e6, -1e6] for name, values in columns.items()
    }
    return make_data(
        {name: junk[name] + list(values) for name, values in columns.items()}, [target[0]] * 2 + list(target)
    )


def plain(columns, target):
    return measure(with_test_rows(columns, target), landmarks=False)


def make_mixed(kind="binary", rows=150, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=rows), rng.lognormal(size=rows)
    b[rng.random(rows) < 0.1] = math.nan
    colour = rng.choice(np.array(["red", "green", "blue"], dtype=object), rows)
    signal = a + (colour == "red")
    target = signal if kind == "regression" else (signal > 0.3).astype(np.int64)
    return make_data({"a": a, "b": b, "colour": colour}, target, test_rows=30)


def test_sizes_are_counted_on_training_rows_only():
    found = plain({"a": [0.0, 1.0] * 5, "c": ["x", "y", "x", "z", "x"] * 2}, [0, 1] * 5)
    assert found["log_rows"] == pytest.approx(1.0)
    assert found["log_columns"] == pytest.approx(math.log10(2))
    assert found["log_encoded_columns"] == pytest.approx(math.log10(4))
    assert found["log_rows_per_encoded_column"] == pytest.approx(math.log10(10 / 4))


def test_classes_are_described_by_hand_computed_values():
    found = plain({"a": np.arange(8.0)}, [0, 0, 0, 0, 1, 1, 2, 2])
    assert found["is_regression"] == 0
    assert found["log_classes"] == pytest.approx(math.log10(3))
    assert found["class_entropy"] == pytest.approx(1.5 * math.log(2) / math.log(3))
    assert found["majority_fraction"] == 0.5
    assert found["minority_fraction"] == 0.25
    assert found["log_imbalance"] == pytest.approx(math.log10(2))


def test_a_regression_has_neutral_class_features():
    found = plain({"a": np.arange(8.0)}, np.arange(8.0))
    assert found["is_regression"] == 1
    names = ("log_classes", "class_entropy", "majority_fraction", "minority_fraction", "log_imbalance")
    assert [found[name] for name in names] == [0.0] * 5
    assert found["target_correlation_max"] == pytest.approx(1.0)


def test_missing_cells_and_categories_are_counted():
    columns = {
        "a": [1.0, math.nan, 3.0, math.nan],
        "b": [1.0, 2.0, 3.0, 4.0],
        "c": ["x", "y", None, "x"],
        "d": ["p"] * 4,
    }
    found = plain(columns, [0, 1, 0, 1])
    assert found["missing_fraction"] == pytest.approx(3 / 16)
    assert found["missing_columns_fraction"] == 0.5
    assert found["categorical_fraction"] == 0.5
    assert found["mean_log_cardinality"] == pytest.approx(math.log10(2) / 2)
    assert found["max_log_cardinality"] == pytest.approx(math.log10(2))


def test_moments_are_those_of_the_columns():
    found = plain({"a": [-1.0, -1.0, 1.0, 1.0], "b": [0.0, 0.0, 0.0, 1.0]}, [0, 1, 0, 1])
    # Two points: skewness 0, kurtosis 1. One in four: skewness 2 / sqrt(3), kurtosis 7 / 3.
    skewness = [0.0, math.asinh(2 / math.sqrt(3))]
    kurtosis = [math.asinh(-2), math.asinh(7 / 3 - 3)]
    assert found["skewness_mean"] == pytest.approx(np.mean(skewness))
    assert found["skewness_sd"] == pytest.approx(np.std(skewness))
    assert found["skewness_max"] == pytest.approx(skewness[1])
    assert found["kurtosis_mean"] == pytest.approx(np.mean(kurtosis))
    assert found["kurtosis_sd"] == pytest.approx(np.std(kurtosis))
    assert found["kurtosis_max"] == pytest.approx(kurtosis[1])
    assert found["zero_fraction"] == pytest.approx(3 / 8)
    assert found["whole_fraction"] == 1.0


def test_outliers_lie_more_than_one_and_a_half_interquartile_ranges_outside():
    # Quartiles 2.25 and 6.75: margins at -4.5 and 13.5.
    found = plain({"a": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 100.0]}, [0, 1] * 5)
    assert found["outlier_fraction"] == pytest.approx(0.1)


def test_relations_of_columns_are_hand_computed():
    a, b = np.array([1.0, 1.0, -1.0, -1.0]), np.array([1.0, -1.0, 1.0, -1.0])
    found = plain({"a": a, "b": b, "twin": 2 * a}, a + 10)
    assert found["correlation_mean"] == pytest.approx(1 / 3)
    assert found["correlation_strong_fraction"] == pytest.approx(1 / 3)
    assert found["target_correlation_max"] == pytest.approx(1.0)
    assert found["target_correlation_mean"] == pytest.approx(2 / 3)
    assert found["pca_first_fraction"] == pytest.approx(2 / 3)
    assert found["pca_95_fraction"] == pytest.approx(2 / 3)
    assert found["target_kurtosis"] == pytest.approx(math.asinh(-2))


def test_the_correlation_with_classes_is_the_correlation_ratio():
    # Class means -1 and 1; variance between 1, in all 2.
    found = plain({"a": [0.0, -2.0, 2.0, 0.0]}, [0, 0, 1, 1])
    assert found["target_correlation_max"] == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_test_rows_change_nothing(kind):
    data = make_mixed(kind)
    features, target = data.features.copy(), data.target.copy()
    features.loc[data.is_test, "a"] = 1e9
    features.loc[data.is_test, "colour"] = "violet"
    target[data.is_test] = target[data.is_test][::-1] + (100 if kind == "regression" else 0)
    assert measure(TableData(data.task, features, target, data.is_test)) == measure(data)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_the_order_of_rows_and_columns_and_the_names_of_columns_change_nothing(kind):
    data = make_mixed(kind)
    order = np.random.default_rng(1).permutation(len(data.features))
    shuffled = data.features.iloc[order, [2, 0, 1]].reset_index(drop=True).set_axis(["x", "y", "z"], axis=1)
    assert measure(TableData(data.task, shuffled, data.target[order], data.is_test[order])) == measure(data)


def test_swapping_the_values_of_two_columns_in_a_row_is_noticed():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "b": [4.0, 7.0, 2.0, 9.0]})
    swapped = frame.copy()
    swapped.loc[1] = [7.0, 2.0]
    first, second = (put_in_canonical_order(f, np.zeros(4))[0].to_numpy().tolist() for f in (frame, swapped))
    assert sorted(first) != sorted(second)


def test_the_canonical_order_keeps_rows_together():
    frame = pd.DataFrame({"a": np.arange(50.0), "b": [str(n) for n in range(50)]})
    ordered, target = put_in_canonical_order(frame, np.arange(50))
    assert sorted(target) == list(range(50))
    assert (ordered["a"].to_numpy() == target).all()
    assert (ordered["b"] == [str(n) for n in target]).all()


def test_zero_and_minus_zero_are_the_same_number():
    frame = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [5.0, 6.0, 7.0]})
    for changed in (frame, frame.replace({"a": {0.0: -0.0}})):
        assert (
            put_in_canonical_order(changed, np.arange(3))[1].tolist()
            == put_in_canonical_order(frame, np.arange(3))[1].tolist()
        )


def odd_tasks():
    rng = np.random.default_rng(0)
    words = np.array(["a", "b", "c", "d"], dtype=object)
    holes = rng.normal(size=(60, 3))
    holes[rng.random((60, 3)) < 0.8] = math.nan
    rare = np.zeros(4200)
    rare[-1] = 1.0
    huge = rng.normal(size=(40, 2)) * [1e300, 1e-300]
    return {
        "all categorical": ({f"c{i}": rng.choice(words, 60) for i in range(3)}, rng.integers(0, 2, 60)),
        "one column": ({"a": rng.normal(size=40)}, rng.integers(0, 3, 40)),
        "heavily missing": ({f"x{i}": holes[:, i] for i in range(3)}, rng.normal(size=60)),
        "an empty column": ({"a": rng.normal(size=40), "b": np.full(40, math.nan)}, rng.integers(0, 2, 40)),
        "twenty rows": ({"a": rng.normal(size=22)}, np.arange(22) % 2),
        "constant in the sample": ({"a": rare, "b": rng.normal(size=4200)}, rng.integers(0, 2, 4200)),
        "only constants": ({"a": np.ones(30), "b": np.array(["x"] * 30, dtype=object)}, np.arange(30) % 2),
        "a class of one row": ({"a": rng.normal(size=40)}, np.r_[np.arange(39) % 2, 2]),
        "a constant target": ({"a": rng.normal(size=40)}, np.zeros(40)),
        "one class in training": ({"a": rng.normal(size=40)}, np.r_[1, np.zeros(39, dtype=np.int64)]),
        "huge and tiny numbers": ({"a": huge[:, 0], "b": huge[:, 1]}, rng.normal(size=40) * 1e300),
        "infinite numbers": ({"a": np.r_[rng.normal(size=38), math.inf, -math.inf]}, rng.normal(size=40)),
        "more columns than rows": ({f"x{i}": rng.normal(size=30) for i in range(205)}, np.arange(30) % 2),
    }


@pytest.mark.parametrize("name", odd_tasks())
def test_an_odd_task_has_finite_meta_features(name):
    columns, target = odd_tasks()[name]
    described = measure(make_data(columns, target))
    assert tuple(described) == tuple(TABLE_GROUP.features)
    assert all(type(value) is float and math.isfinite(value) for value in described.values()), described


def test_names_are_fixed_and_described_and_landmarks_can_be_left_out():
    assert all(feature.description for feature in TABLE_GROUP.features.values())
    without = measure(make_mixed(), landmarks=False)
    assert tuple(without) == tuple(name for name in TABLE_GROUP.features if not name.startswith("landmark_"))


def test_a_holdout_takes_every_third_row_of_each_class():
    target = np.array([5, 5, 5, 5, 5, 5, 7, 7, 7, 9])
    fold = make_holdout(pd.DataFrame({"a": np.arange(10.0)}), target, regression=False)
    assert sorted(fold.y_valid) == [0, 0, 1]
    assert sorted(fold.y_train) == [0, 0, 0, 0, 1, 1, 2]
    assert fold.classes == 3


def test_landmarks_tell_easy_tasks_from_impossible_ones():
    rng = np.random.default_rng(0)
    x = rng.normal(size=600)
    linear, noise = (x > 0).astype(np.int64), rng.integers(0, 2, 600)
    easy = measure_landmarks(pd.DataFrame({"x": x}), linear, "binary")
    hopeless = measure_landmarks(pd.DataFrame({"x": x}), noise, "binary")
    assert set(easy) == set(LANDMARKS)
    assert min(easy["nearest_neighbour"], easy["linear"], easy["stump"], easy["network_middle_5_epochs"]) > 0.97
    assert max(hopeless.values()) < 0.65


def test_a_landmark_of_a_regression_is_r2_floored_at_zero():
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    measured = measure_landmarks(pd.DataFrame({"x": x}), 1000 + 5 * x, "regression")
    assert measured["linear"] == pytest.approx(1.0, abs=1e-3)
    noise = measure_landmarks(pd.DataFrame({"x": x}), rng.normal(size=300), "regression")
    assert noise["nearest_neighbour"] == 0.0


def test_only_the_first_rows_are_measured():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=2100)})
    target = (frame["x"] > 0).to_numpy().astype(np.int64)
    changed = np.r_[target[:2000], 1 - target[2000:]]
    assert measure_landmarks(frame, target, "binary") == measure_landmarks(frame, changed, "binary")


def test_a_network_landmark_is_taken_after_the_first_and_after_the_last_epoch():
    x = np.random.default_rng(0).normal(size=300)
    measured = measure_landmarks(pd.DataFrame({"x": x}), 5 * x, "regression")
    assert measured["network_middle_1_epoch"] < measured["network_middle_5_epochs"]
