"""Preparation: what is inferred, cleaned and refused, and that row order changes nothing."""

import datetime as dt
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.modalities.table.table_data import TableData
from metaflow_hpo.modalities.table.written_numbers import NumberStyle
from metaflow_hpo.text_columns import STR, is_text

GOLDEN_TEST_ROWS = [4.0, 8.0, 12.0, 25.0, 31.0, 33.0, 35.0, 36.0]
GOLDEN_DIGEST = "7d581093c1a99a67787ea31e1889441e760878c7f2b800d0aeed8869ca887323"


def prepare(frame: pd.DataFrame, target: str = "y", **given: object) -> TableData:
    return prepare_task(frame, **{"task_id": "t", "target": target, "source": "s", "licence": "l", **given})


def mixed_frame(rows: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "number": rng.normal(size=rows).round(2),
            "text": rng.choice(["a", "b", "c"], rows),
            "flag": rng.random(rows) < 0.5,
            "when": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 500, rows), unit="D"),
            "y": rng.choice(["no", "yes", "maybe"], rows, p=[0.5, 0.3, 0.2]),
        }
    )
    frame.loc[::17, "number"] = np.nan
    frame.loc[::19, "text"] = None
    return frame


def assert_same(one: TableData, other: TableData) -> None:
    assert one.task == other.task
    pd.testing.assert_frame_equal(one.features, other.features)
    np.testing.assert_array_equal(one.target, other.target)
    np.testing.assert_array_equal(one.is_test, other.is_test)
    assert one.class_names == other.class_names


@pytest.mark.parametrize("target", ["y", "number"])
def test_shuffling_the_rows_gives_the_identical_task(target: str) -> None:
    frame = mixed_frame()
    frame = pd.concat([frame, frame.head(30)], ignore_index=True)
    for seed in range(3):
        assert_same(prepare(frame, target), prepare(frame.sample(frac=1, random_state=seed), target))


def test_how_values_are_stored_does_not_change_the_task() -> None:
    frame = mixed_frame().drop(columns="when")
    stored = frame.astype({"number": "Float64", "text": "category", "flag": "boolean", "y": object})
    assert_same(prepare(frame), prepare(stored))
    whole = pd.DataFrame({"a": np.arange(100) % 7, "y": np.arange(100) % 2})
    assert_same(prepare(whole), prepare(whole.astype("float32")))


def test_the_order_of_the_columns_does_not_change_the_split() -> None:
    frame = mixed_frame()
    one, other = prepare(frame), prepare(frame[frame.columns[::-1]])
    pd.testing.assert_frame_equal(one.features, other.features[one.features.columns])
    np.testing.assert_array_equal(one.is_test, other.is_test)


def test_a_negative_zero_is_a_zero() -> None:
    frame = pd.DataFrame({"a": [0.0, 1.0] * 20, "b": np.arange(40.0), "y": [0, 1] * 20})
    assert prepare(frame).task.sha256 == prepare(frame.assign(a=[-0.0, 1.0] * 20)).task.sha256


def test_changing_one_value_changes_the_digest() -> None:
    frame = mixed_frame()
    digests = {prepare(frame).task.sha256, prepare(frame.rename(columns={"text": "t"})).task.sha256}
    frame.loc[5, "number"] = 99.0
    digests.add(prepare(frame).task.sha256)
    assert len(digests) == 3
    assert all(len(digest) == 64 for digest in digests)


def test_the_golden_split_does_not_move() -> None:
    frame = pd.DataFrame({"a": np.arange(40.0), "b": list("abcde") * 8, "y": [0, 1] * 20})
    data = prepare(frame)
    assert sorted(data.test_features["a"]) == GOLDEN_TEST_ROWS
    assert data.task.sha256 == GOLDEN_DIGEST


def test_a_fifth_of_every_class_is_held_out() -> None:
    frame = mixed_frame(500)
    data = prepare(frame)
    for number in range(3):
        of_class = data.target == number
        assert data.is_test[of_class].mean() == pytest.approx(0.2, abs=0.01)
    assert data.class_names == ("maybe", "no", "yes")


def test_a_fifth_of_every_decile_is_held_out() -> None:
    frame = pd.DataFrame({"a": np.random.default_rng(1).normal(size=1000), "y": np.arange(1000.0)})
    data = prepare(frame)
    np.testing.assert_array_equal(np.bincount((data.test_target // 100).astype(int)), [20] * 10)


def test_equal_rows_never_land_on_both_sides() -> None:
    rng = np.random.default_rng(2)
    frame = pd.DataFrame({"a": rng.integers(0, 12, 600), "b": rng.integers(0, 12, 600), "y": rng.integers(0, 2, 600)})
    data = prepare(frame)
    train = set(map(tuple, data.train_features.to_numpy()))
    test = set(map(tuple, data.test_features.to_numpy()))
    assert not train & test
    assert data.is_test.mean() == pytest.approx(0.2, abs=0.03)
    assert data.task.test_rows == data.is_test.sum()


def test_a_dominant_row_stays_in_training() -> None:
    frame = pd.DataFrame({"a": [0] * 70 + list(range(1, 31)), "y": [0, 1] * 50})
    data = prepare(frame)
    assert not (data.test_features["a"] == 0).any()


def test_two_different_rows_are_split_between_both_sides() -> None:
    data = prepare(pd.DataFrame({"a": [0, 1] * 15, "y": [0] * 15 + [1] * 15}))
    assert 0 < data.is_test.sum() < 30
    assert set(data.train_target) == {0, 1}


def test_given_test_rows_win() -> None:
    frame = mixed_frame(100)
    data = prepare(frame, test_rows=range(40), target="number", drop=["when"])
    expected = sorted(frame.loc[:39, "number"].dropna())
    assert sorted(data.test_target) == expected


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([0, 100], "between 0 and 99; found outside that range: 100"),
        ([0, 0], "repeated positions"),
        ([], "found 0 test rows"),
        (range(100), "found 100 test rows"),
    ],
)
def test_impossible_test_rows_are_refused(rows: list[int], match: str) -> None:
    with pytest.raises(InvalidTaskError, match=match):
        prepare(mixed_frame(100), test_rows=rows)


def test_a_class_must_keep_training_rows() -> None:
    frame = pd.DataFrame({"a": range(40), "b": range(100, 140), "y": ["x"] * 10 + ["z"] * 30})
    with pytest.raises(InvalidTaskError, match="no training row of 'x'"):
        prepare(frame, test_rows=range(10))


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "b"] * 50, "binary"),
        ([True, False] * 50, "binary"),
        (pd.Categorical([1, 2, 3, 4] * 25), "multiclass"),
        ([1.0, 2.0, 3.0] * 33 + [1.0], "multiclass"),
        ([*np.linspace(0, 1, 100)], "regression"),
        ([*range(12)] * 8 + [0, 1, 2, 3], "regression"),
        ([0.5, 1.5] * 50, "regression"),
        ([1.0, 0.0, None, np.nan] * 25, "binary"),
        (["1", "2.5", "7", "8.25", "9"] * 20, "regression"),
    ],
)
def test_the_kind_is_inferred_and_said(values: list[object], kind: str) -> None:
    data = prepare(pd.DataFrame({"a": np.arange(100.0), "y": values}))
    assert data.task.kind == kind
    assert any("Read as" in note for note in data.task.notes)


def test_classes_are_in_numeric_order_and_named_without_decimals() -> None:
    data = prepare(pd.DataFrame({"a": np.arange(300.0), "y": [10.0, 9.0, 2.0] * 100}))
    assert data.class_names == ("2", "9", "10")


def test_the_default_metric_follows_the_kind_and_another_can_be_asked_for() -> None:
    assert prepare(mixed_frame()).task.metric.name == "balanced_accuracy"
    assert prepare(mixed_frame(), "number", metric="rmse").task.metric.name == "rmse"
    with pytest.raises(InvalidTaskError, match="metric of a multiclass task"):
        prepare(mixed_frame(), metric="r2")


def test_columns_are_cleaned_and_every_change_is_noted() -> None:
    rows = 100
    frame = pd.DataFrame(
        {
            " spaced ": np.arange(rows) % 9 + 0.5,
            "same": 1,
            "none": None,
            "copy": np.arange(rows) % 9 + 0.5,
            "infinite": [np.inf, *range(rows - 1)],
            "nearly": ["oops", *map(str, range(7, rows + 6))],
            "mixed": [1, "x", 2.5, True] * 25,
            "flag": [True, False, None, True] * 25,
            "date": [dt.date(1970, 1, 2), dt.date(1970, 1, 11)] * 50,
            "iso": ["1970-01-03", "1970-01-01T12:00:00"] * 50,
            "took": pd.to_timedelta([12, 24] * 50, unit="h"),
            "code": [f"c{number}" for number in range(rows)],
            "id": np.random.default_rng(0).permutation(rows),
            "blank": ["a", " ", "b", "a "] * 25,
            "y": [0, 1, 1] * 33 + [0],
        }
    )
    data = prepare(frame)
    features, said = data.features, " ".join(data.task.notes)
    kept = ["spaced", "infinite", "nearly", "mixed", "flag", "date", "iso", "took", "blank"]
    assert list(features.columns) == kept
    assert set(features["mixed"]) == {"1", "x", "2.5", "true"}
    assert set(features["flag"].dropna()) == {0.0, 1.0}
    assert set(features["date"]) == {1.0, 10.0}
    assert set(features["iso"]) == {2.0, 0.5}
    assert set(features["took"]) == {0.5, 1.0}
    assert set(features["blank"].dropna()) == {"a", "b"}
    assert features["infinite"].isna().sum() == features["nearly"].isna().sum() == 1
    assert [name for name in kept if is_text(features[name])] == ["mixed", "blank"]
    assert all(features[name].dtype == "float64" for name in kept if name not in {"mixed", "blank"})
    for part in [
        "constant columns: 'same'",
        "columns without values: 'none'",
        "copies of another column: 'copy'",
        "'infinite': 1 infinite",
        "1 values that are none became missing ('oops')",
        "'mixed': values of several types",
        "'date': dates became days",
        "identifiers (text, every value different): 'code'",
        "row numbers: 'id'",
    ]:
        assert part in said


def test_columns_to_drop_are_dropped_and_named() -> None:
    data = prepare(mixed_frame(), drop=["when"])
    assert "when" not in data.features
    assert "Dropped as asked: 'when'." in data.task.notes


def test_a_recoding_of_the_target_is_pointed_out() -> None:
    frame = mixed_frame().assign(again=lambda table: table["y"].str.upper())
    assert "'again' is the target in another coding" in prepare(frame).task.notes[-1]
    values = np.random.default_rng(0).normal(size=2000)
    frame = pd.DataFrame({"a": values * 2 + 1, "b": values**3, "y": values})
    assert "'a' is the target in another coding" in prepare(frame).task.notes[-1]


def independent(rows: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)), columns=["a", "b", "c"])
    return frame.assign(y=frame["a"] + 2 * frame["b"] + 3 * frame["c"] + rng.normal(size=rows))


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table,
        lambda table: pd.concat([table, table.head(20)], ignore_index=True),  # rows that repeat
        lambda table: table.assign(y=range(len(table))),
        lambda table: table.assign(y=table["y"] > 0),
        lambda table: table.assign(a=table["y"] + np.random.default_rng(1).normal(size=len(table)) / 10),
    ],
)
def test_independent_features_are_no_leak(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    assert not any("leak" in note for note in prepare(change(independent())).task.notes)


@pytest.mark.parametrize("rows", [60, 200, 3000])
@pytest.mark.parametrize(
    ("leak", "what"),
    [
        (lambda y: y * 1000 + 3, "is the target in another coding"),
        (lambda y: -y, "is the target in another coding"),
        (lambda y: y.where(y.index % 7 > 0) * 2, "is the target in another coding"),  # with gaps
        (lambda y: (y / 2).round(6), "is the target in another coding"),
        (np.exp, "grows or falls with the target without exception"),
        (lambda y: -(y**3), "grows or falls with the target without exception"),
        (lambda y: y.rank(), "grows or falls with the target without exception"),
    ],
)
def test_leaks_of_a_number_are_named_at_any_number_of_rows(
    rows: int, leak: Callable[[pd.Series], pd.Series], what: str
) -> None:
    frame = independent(rows)
    notes = prepare(frame.assign(c=leak(frame["y"]))).task.notes
    assert f"Possible leak: 'c' {what}." in notes


def test_different_numbers_along_which_the_classes_are_sorted_are_named() -> None:
    frame = independent(150).assign(place=range(150), y=["u"] * 50 + ["v"] * 50 + ["w"] * 50)
    assert any("'place' holds different whole numbers along which" in note for note in prepare(frame).task.notes)
    mixed = frame.assign(y=["u", "v", "w"] * 50)
    assert not any("leak" in note for note in prepare(mixed).task.notes)


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (["007", "010"], ("007", "010")),
        (["007", "07"], ("007", "07")),
        (["1.0", "2.0"], ("1.0", "2.0")),
        (["True", "False"], ("False", "True")),
        ([True, False], ("False", "True")),
        (["TRUE", "FALSE"], ("FALSE", "TRUE")),
        ([1.0, 2.0], ("1", "2")),
        (["1", "1.0", "2", "2"], ("1", "2")),  # spelt in two ways
        (["10", "9"], ("9", "10")),
        ([" yes", "no "], ("no", "yes")),
    ],
)
def test_classes_are_called_as_they_are_written(target: list[object], names: tuple[str, ...]) -> None:
    frame = independent(200).assign(y=target * (200 // len(target)))
    assert prepare(frame).class_names == names


def test_how_a_class_is_spelt_does_not_change_the_task() -> None:
    digests = {
        prepare(independent(200).assign(y=pair * 100)).task.sha256
        for pair in ([1, 2], [1.0, 2.0], ["1", "2"], ["1.0", "2.0"], ["001", "002"])
    }
    truths = {
        prepare(independent(200).assign(y=pair * 100)).task.sha256
        for pair in ([True, False], ["True", "False"], ["true", "false"])
    }
    assert (len(digests), len(truths)) == (1, 1)


def test_many_rare_classes_are_left_out_loudly_as_long_as_two_can_be_learned() -> None:
    target = ["a"] * 60 + ["b"] * 60 + [f"c{number // 2}" for number in range(80)]
    data = prepare(independent(200).assign(y=target))
    assert (data.task.rows, data.class_names) == (120, ("a", "b"))
    assert "Dropped 80 rows of 40 classes with fewer than 5 rows." in data.task.notes
    assert any("Warning: that is 40% of the rows" in note for note in data.task.notes)


def test_rows_without_a_target_and_rare_classes_are_dropped() -> None:
    frame = pd.DataFrame({"a": range(100), "b": range(50, 150), "y": ["u"] * 60 + ["v"] * 30 + ["w"] * 4 + [None] * 6})
    data = prepare(frame)
    assert (data.task.rows, data.class_names) == (90, ("u", "v"))
    assert "Dropped 6 rows without a target." in data.task.notes
    assert "Dropped 4 rows of 1 classes with fewer than 5 rows." in data.task.notes


@pytest.mark.parametrize(
    ("change", "given", "match"),
    [
        ({}, {"target": "tex"}, "target column 'tex'.*Did you mean 'text'"),
        ({}, {"target": "zzzz"}, "There are: 'number'"),
        ({}, {"drop": ["nunber"]}, "dropped column 'nunber'.*'number'"),
        ({}, {"drop": ["y"]}, "among the columns to drop"),
        ({}, {"kind": "ranking"}, "kind to be one of"),
        ({}, {"kind": "binary"}, "has 3 classes. Ask for multiclass"),
        ({}, {"kind": "regression"}, "200 values of 'y' are not numbers \\('maybe', 'no', 'yes'\\)"),
        ({"y": "one"}, {}, "'one' on all 200 rows"),
        ({"y": None}, {}, "at least 20 rows"),
        ({"y": [f"k{number}" for number in range(200)]}, {}, "at most 100 classes; 'y' has 200"),
        ({"y": [*range(200)]}, {"kind": "classification"}, "100% of the values are numbers: choose regression"),
        ({"y": ["a"] * 197 + ["b"] * 3}, {}, "fewer \\('b'\\)"),
        ({"y": ["a"] * 170 + [f"c{number}" for number in range(30)]}, {}, "30 of 31 classes"),
        ({"y": [np.inf, *np.linspace(0, 1, 199)]}, {}, "1 values of 'y' are infinite"),
        ({"y": pd.date_range("2020", periods=200)}, {}, "holds dates"),
    ],
)
def test_what_cannot_be_a_task_is_refused(change: dict[str, object], given: dict[str, object], match: str) -> None:
    with pytest.raises(InvalidTaskError, match=match):
        prepare(mixed_frame().assign(**change), **given)


def test_tables_without_use_are_refused() -> None:
    with pytest.raises(InvalidTaskError, match="table with columns and no rows"):
        prepare(mixed_frame().head(0))
    with pytest.raises(InvalidTaskError, match="found 2 of 2"):
        prepare(mixed_frame().head(2))
    with pytest.raises(InvalidTaskError, match=r"usable feature column; found none of 1.*constant columns: 'a'"):
        prepare(pd.DataFrame({"a": 1, "y": [0, 1] * 20}))
    with pytest.raises(InvalidTaskError, match="only the target"):
        prepare(pd.DataFrame({"y": [0, 1] * 20}))
    with pytest.raises(InvalidTaskError, match="'a' more than once"):
        prepare(pd.DataFrame([[1, 2, 3]] * 30, columns=["a", "a ", "y"]))


def test_rows_that_cannot_be_told_apart_are_refused() -> None:
    frame = pd.DataFrame({"a": ["u", "v"] * 20, "y": ["m", "n"] * 20})
    with pytest.raises(InvalidTaskError, match="found 2 different rows among 40"):
        prepare(frame)


def test_many_categories_and_many_rows_are_fast() -> None:
    rows, rng = 100_000, np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(rows, 20)), columns=[f"n{number}" for number in range(20)])
    frame["many"] = [f"category {number}" for number in rng.integers(0, 60_000, rows)]
    frame["y"] = rng.integers(0, 2, rows)
    began = time.process_time()
    assert prepare(frame).task.columns == 21
    assert time.process_time() - began < 60  # quadratic code takes an hour


def written_frame(rows: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    price = rng.integers(100, 9_000, rows) * 10
    frame = pd.DataFrame(
        {"price": [f"${p:,}.50" for p in price], "share": [f"{s:.1f}%" for s in rng.random(rows) * 100]}
    )
    return frame.assign(open=[f"{p // 1000 + 1},{p % 999:03d}" for p in price], y=np.arange(rows) * 1.5)


def test_numbers_written_for_people_are_numbers_and_that_is_said() -> None:
    frame = written_frame()
    frame.loc[3, "price"] = "on request"
    frame.loc[5, "open"] = frame.loc[4, "open"]  # or it would be an identifier
    data = prepare(frame)
    assert set(data.styles) == {"price", "share"}
    assert data.features.dtypes.to_dict() == {"price": np.dtype("float64"), "share": np.dtype("float64"), "open": STR}
    assert data.features["price"].isna().sum() == 1
    assert data.features["share"].between(0, 100).all()
    notes = " ".join(data.task.notes)
    assert "Column 'price': read as numbers that were written for people ('$8" in notes
    assert "; 1 values that are none became missing ('on request')." in notes
    assert "Column 'open': left as text although it looks like numbers: " in notes


def test_plain_numbers_beside_written_ones_are_not_lost() -> None:
    frame = written_frame()
    frame["price"] = [*map(str, range(100, 158)), "1,500", "1,250"]
    data = prepare(frame)
    assert data.features["price"].max() == 1500


def test_a_target_in_euros_is_a_regression_and_percents_on_many_rows_are_classes() -> None:
    frame = written_frame().assign(y=[f"{1000 + 37 * i / 4:,.2f} €" for i in range(60)])
    data = prepare(frame)
    assert data.task.kind == "regression"
    assert sorted(data.target) == [round(1000 + 37 * i / 4, 2) for i in range(60)]
    assert data.styles["y"] == NumberStyle(".", ",", unit="€")
    assert any(
        note.startswith("Target 'y': read as numbers that were written for people (") for note in data.task.notes
    )
    classes = prepare(frame.assign(y=["10%", "20%"] * 30))
    assert classes.class_names == ("10%", "20%")
    asked = prepare(frame.assign(y=["10%", "20%"] * 30), kind="regression")
    assert set(asked.target) == {10.0, 20.0}


def test_a_target_that_may_be_read_in_two_ways_is_refused_with_both() -> None:
    frame = written_frame(200)
    with pytest.raises(
        InvalidTaskError, match=r"look like numbers, but 1\d*,\d+ may be 1\d+ or 1\d*\.\d+: write them without"
    ):
        prepare(frame.drop(columns="y"), "open")
    with pytest.raises(InvalidTaskError, match=r"are not numbers \(.*; 1\d*,\d+ may be"):
        prepare(frame, "open", kind="regression")
