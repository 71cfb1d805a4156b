"""Items become a task by their content alone; what cannot be used is said."""

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.assembling import digest_of

from .toy import assemble_rows, draw


def test_a_fifth_of_every_class_is_held_out():
    rows, labels = draw(90, 3)
    data = assemble_rows(rows, labels)
    assert (data.task.rows, data.task.test_rows, data.task.classes, data.task.kind) == (90, 18, 3, "multiclass")
    assert np.bincount(data.test_target).tolist() == [6, 6, 6]
    assert data.class_names == ("c0", "c1", "c2")
    assert data.task.metric.name == "balanced_accuracy"
    assert data.groups is None


def test_items_keep_their_labels_in_the_new_order():
    rows, labels = draw(60, 3)
    data = assemble_rows(rows, labels)
    where = {row.tobytes(): label for row, label in zip(rows, labels, strict=True)}
    assert [data.class_names[c] for c in data.target] == [where[row.tobytes()] for row in data.items]
    assert [digest.tobytes() for digest in data.digests] == sorted(digest_of(row.tobytes()) for row in rows)


def test_the_order_of_files_and_the_name_of_the_source_do_not_matter():
    rows, labels = draw(80, 4)
    one = assemble_rows(rows, labels)
    order = np.random.default_rng(1).permutation(80)
    other = assemble_rows(rows[order], [labels[i] for i in order], "else.npy")
    assert one.task.sha256 == other.task.sha256
    assert np.array_equal(one.items, other.items)
    assert np.array_equal(one.is_test, other.is_test)


def test_copies_are_dropped_and_said():
    rows, labels = draw(60, 3)
    data = assemble_rows(np.concatenate([rows, rows[:5], rows[:1]]), [*labels, *labels[:5], labels[0]])
    assert data.task.rows == 60
    assert "Dropped 6 exact copies of other items." in data.task.notes
    assert data.task.sha256 == assemble_rows(rows, labels).task.sha256


def test_copies_of_different_classes_are_all_dropped_and_said():
    rows, labels = draw(60, 3)
    data = assemble_rows(np.concatenate([rows, rows[:2]]), [*labels, "c2", "c2"])
    assert data.task.rows == 58
    assert "Dropped 4 items whose content occurs with different classes." in data.task.notes


def test_items_without_a_class_are_dropped_and_said():
    rows, labels = draw(60, 3)
    data = assemble_rows(rows, [None, "  ", *labels[2:]])
    assert data.task.rows == 58
    assert "Dropped 2 items without a class." in data.task.notes


def test_classes_that_are_numbers_are_in_their_order():
    rows, _ = draw(60, 3)
    data = assemble_rows(rows, [("10", "9", "b")[i % 3] for i in range(60)])
    assert data.class_names == ("9", "10", "b")


def test_a_class_with_one_item_is_learned_from_and_said():
    rows, labels = draw(60, 3)
    data = assemble_rows(rows, ["only", *labels[1:]])
    assert "Classes with one item are learned from, never tested: 'only'." in data.task.notes
    assert not data.is_test[data.target == data.class_names.index("only")].any()


def test_groups_stay_on_one_side_and_every_class_is_tested():
    rows, labels = draw(200, 4)
    groups = [f"speaker {i // 20}" for i in range(200)]
    data = assemble_rows(rows, labels, groups=groups)
    assert not set(data.groups[data.is_test]) & set(data.groups[~data.is_test])
    assert data.task.test_rows == 40
    assert np.bincount(data.test_target).tolist() == [10, 10, 10, 10]
    assert "Kept the items of each of 10 groups on one side of every split." in data.task.notes


def test_the_numbers_of_groups_do_not_depend_on_their_names():
    rows, labels = draw(60, 3)
    one = assemble_rows(rows, labels, groups=[i // 6 for i in range(60)])
    other = assemble_rows(rows, labels, groups=[f"g{9 - i // 6}" for i in range(60)])
    assert np.array_equal(one.groups, other.groups)
    assert one.task.sha256 == other.task.sha256


def test_items_of_an_unknown_group_stand_alone():
    rows, labels = draw(60, 3)
    data = assemble_rows(rows, labels, groups=[None, "", -1, float("nan")] * 15)
    assert data.groups is None


def test_one_group_says_nothing():
    rows, labels = draw(60, 3)
    data = assemble_rows(rows, labels, groups=["all"] * 60)
    assert data.groups is None
    assert any("All items are of one group" in note for note in data.task.notes)


def test_what_is_nearly_alike_stays_on_one_side():
    rows, labels = draw(60, 3)
    near = np.arange(60)
    near[3::3] -= 3  # of class 0, in pairs
    near[[0, 3]] = 0
    data = assemble_rows(rows, labels, near=near // 6 * 6)
    assert not set(data.groups[data.is_test]) & set(data.groups[~data.is_test])
    assert "Kept 60 items that are nearly alike together in splits." in data.task.notes


def test_where_most_of_a_class_are_nearly_alike_they_are_split_as_if_they_were_not():
    rows, labels = draw(60, 3)
    near = np.arange(60)
    near[::3][:10] = 0  # half of class 0
    near[[1, 4]] = 1
    data = assemble_rows(rows, labels, near=near)
    assert np.bincount(data.groups).max() == 2
    assert data.task.notes == (
        "10 items are nearly alike to most of their class: they are split as if they were not.",
        "Kept 2 items that are nearly alike together in splits.",
    )
    assert assemble_rows(rows, labels, near=[0] * 60).groups is None


def test_near_items_that_would_join_all_groups_leave_these_alone():
    rows, labels = draw(60, 3)
    groups = [i // 12 for i in range(60)]
    near = [0 if i % 12 == 0 else i for i in range(60)]
    data = assemble_rows(rows, labels, groups=groups, near=near)
    assert len(set(data.groups.tolist())) == 5
    assert any("kept together by group alone" in note for note in data.task.notes)


def test_test_items_that_were_said_are_held_out():
    rows, labels = draw(60, 3)
    data = assemble_rows(rows, labels, hints=Hints(test_rows=tuple(range(12))))
    held = {row.tobytes() for row in rows[:12]}
    assert {row.tobytes() for row in data.test_items} == held


def test_a_copy_of_a_test_item_is_not_learned_from():
    rows, labels = draw(60, 3)
    rows[59] = rows[2]
    data = assemble_rows(rows, labels, hints=Hints(test_rows=(0, 1, 59)))
    assert data.task.test_rows == 3
    assert rows[2].tobytes() in {row.tobytes() for row in data.test_items}


def test_a_class_whose_only_group_would_be_held_out_is_learned_from():
    rows, labels = draw(60, 3)
    groups = ["g" if label == "c2" else str(i) for i, label in enumerate(labels)]
    data = assemble_rows(rows, labels, groups=groups)
    assert set(data.train_target) == {0, 1, 2}


@pytest.mark.parametrize(
    ("count", "labels", "more", "match"),
    [
        (10, ["a", "b"] * 5, {}, "at least 20 different items.*found 10"),
        (40, ["a"] * 40, {}, "at least 2 classes in toy.npy; all 40 are 'a'"),
        (40, [str(i) for i in range(40)], {}, "found 40 classes of 40 items"),
        (40, ["a"] * 38 + ["b"] * 2, {}, "at least 3 items in each of two classes"),
        (40, ["a", "b"] * 20, {"test_rows": (40,)}, "test_rows below 40.*found 40"),
        (40, ["a", "b"] * 20, {"test_rows": tuple(range(0, 40, 2))}, "leave items of every class.*'a'"),
        (40, ["a", "b"] * 20, {"kind": "regression"}, "a number was asked for"),
        (40, ["a", "b"] * 20, {"kind": "multiclass"}, "Expected a multiclass task.*2 classes. Ask for binary"),
        (40, ["a", "b"] * 20, {"metric": "rmse"}, "Expected a metric of a binary task"),
        (40, ["a", "b"] * 20, {"drop": ("x",)}, "Expected no `drop`"),
    ],
)
def test_what_cannot_be_learned_from_is_refused(count, labels, more, match):
    rows, _ = draw(count)
    with pytest.raises(InvalidTaskError, match=match):
        assemble_rows(rows, labels, hints=Hints(**more))


def test_the_metric_that_was_said_is_taken():
    rows, labels = draw()
    assert assemble_rows(rows, labels, hints=Hints(metric="log_loss")).task.metric.name == "log_loss"


def test_speakers_who_are_the_classes_are_split_by_class_alone():
    rows, labels = draw()
    data = assemble_rows(rows, labels, groups=labels)
    assert data.groups is None
    assert set(data.target[data.is_test]) == {0, 1, 2}
    assert any(note.startswith("Groups are of one class each") for note in data.task.notes)
