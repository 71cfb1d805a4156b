import time

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.modalities.table.preprocessing import Preprocessor, TargetScaler


def test_numbers_are_imputed_by_the_median_and_standardised():
    train = pd.DataFrame({"a": [0.0, 2.0, 4.0, np.nan]})
    preprocessor = Preprocessor.fit(train)
    assert preprocessor.feature_names == ["a", "a=missing"]
    encoded = preprocessor.transform(train)  # imputed 0 2 4 2: mean 2, standard deviation sqrt(2)
    assert encoded.dtype == np.float32
    assert encoded[:, 0] == pytest.approx([-np.sqrt(2), 0, np.sqrt(2), 0], rel=1e-6)
    assert encoded[:, 1].tolist() == [0, 0, 0, 1]


def test_few_missing_values_get_no_indicator():
    train = pd.DataFrame({"a": [np.nan, *np.arange(199.0)]})  # 0.5 %
    assert Preprocessor.fit(train).feature_names == ["a"]


def test_constant_empty_and_wild_columns_stay_finite():
    train = pd.DataFrame(
        {"c": [3.3] * 4, "e": [np.nan] * 4, "w": [1.0, -1.0, 1e300, 1.0], "i": [1.0, np.inf, 2.0, 3.0]}
    )
    encoded = Preprocessor.fit(train).transform(train)
    assert np.isfinite(encoded).all()
    assert not encoded[:, :2].any()
    far = Preprocessor.fit(pd.DataFrame({"a": [-1.0, 1.0]})).transform(pd.DataFrame({"a": [1e9, -1e300]}))
    assert far[:, 0].tolist() == [10, -10]


def test_a_column_constant_in_training_stays_zero_on_new_values():
    preprocessor = Preprocessor.fit(pd.DataFrame({"a": [5.0, 5.0]}))
    assert preprocessor.transform(pd.DataFrame({"a": [7.0]})).tolist() == [[0]]


def test_categories_become_indicators_with_missing_as_its_own():
    train = pd.DataFrame({"c": ["b", "a", "b", None]})
    preprocessor = Preprocessor.fit(train)
    assert preprocessor.feature_names == ["c=b", "c=a", "c=missing"]
    new = pd.DataFrame({"c": ["a", "b", None, "unseen"]})
    assert preprocessor.transform(new).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_a_missing_value_where_training_had_none_has_no_indicator():
    preprocessor = Preprocessor.fit(pd.DataFrame({"c": ["a", "b"]}))
    assert preprocessor.transform(pd.DataFrame({"c": [None]}, dtype=object)).tolist() == [[0, 0]]


def test_rare_and_unseen_categories_share_other():
    train = pd.DataFrame({"c": [f"k{i:02d}" for i in range(25)] + ["k24"]})
    preprocessor = Preprocessor.fit(train)
    assert len(preprocessor.feature_names) == 21
    assert preprocessor.feature_names[:2] == ["c=k24", "c=k00"]  # the most frequent, then ties in alphabetical order
    encoded = preprocessor.transform(pd.DataFrame({"c": ["k19", "unseen"]}))
    assert encoded[:, -1].tolist() == [1, 1]
    assert encoded.sum() == 2


def test_wide_tables_keep_fewer_categories():
    train = pd.DataFrame({f"c{i}": [f"v{j}" for j in range(30)] for i in range(100)})
    assert len(Preprocessor.fit(train).feature_names) == 1000  # 9 categories and "other" a column
    wider = pd.DataFrame({f"c{i}": ["x", "y", "z"] for i in range(600)})
    assert len(Preprocessor.fit(wider).feature_names) == 1200  # never below one category and "other"


def test_row_order_changes_no_bit():
    rng = np.random.default_rng(0)
    train = pd.DataFrame({"a": rng.normal(size=500) * 1e3, "c": rng.choice(list("abcdefg"), 500)})
    one, other = Preprocessor.fit(train), Preprocessor.fit(train.sample(frac=1, random_state=1))
    assert one == other


def test_column_order_of_new_rows_plays_no_role():
    train = pd.DataFrame({"a": [1.0, 2.0], "c": ["x", "y"]})
    preprocessor = Preprocessor.fit(train)
    assert np.array_equal(preprocessor.transform(train), preprocessor.transform(train[["c", "a"]]))


def test_a_hundred_thousand_categories_are_fast():
    train = pd.DataFrame({"c": [f"id{i}" for i in range(100_000)]})
    began = time.process_time()
    assert Preprocessor.fit(train).transform(train).shape == (100_000, 21)
    assert time.process_time() - began < 30  # quadratic code takes an hour


def test_target_scaler_standardises_and_inverts():
    scaler = TargetScaler.fit(np.array([1.0, 3.0]))
    assert scaler == TargetScaler(2.0, 1.0)
    assert scaler.transform(np.array([1.0, 5.0])).tolist() == [-1, 3]
    assert scaler.inverse(np.array([-1, 3], np.float32)).tolist() == [1, 5]
    assert TargetScaler.fit(np.full(3, 0.1)).scale == 1.0
