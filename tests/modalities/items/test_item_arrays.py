"""Arrays of items are read with their classes, groups and sides; nothing is unpickled."""

import zipfile

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items.arrays import read_arrays, shapes_of

X = np.arange(24).reshape(12, 2)
Y = np.array([0, 1, 2] * 4)


def read(path, **options):
    return read_arrays(path, Hints(options=options))


def test_items_and_classes_are_found_by_their_names(tmp_path):
    np.savez(tmp_path / "a.npz", images=X, labels=Y, class_names=np.array(["u", "v", "w"]))
    found = read(tmp_path / "a.npz")
    assert np.array_equal(found.x, X)
    assert found.labels == ("u", "v", "w") * 4
    assert found.positions.tolist() == list(range(12))
    assert (found.groups, found.held) == (None, None)
    assert found.notes == ("Took the array 'images' as items and 'labels' as classes.",)


def test_a_file_of_several_tasks_asks_for_a_key(tmp_path):
    y_b = np.where(np.arange(12) < 6, Y, -1)
    np.savez(tmp_path / "a.npz", X=X, y_a=Y, y_b=y_b, names_b=np.array(["u", "v", "w"]), group=np.arange(12) // 2 - 1)
    with pytest.raises(InvalidTaskError, match=r"several: 'a', 'b'\. Say which: `options: {key: a}`"):
        read(tmp_path / "a.npz")
    found = read(tmp_path / "a.npz", key="b")
    assert found.positions.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.labels == ("u", "v", "w", "u", "v", "w")
    assert found.groups == (-1, -1, 0, 0, 1, 1)
    assert found.notes[1] == "6 items of the file are not in this task."
    with pytest.raises(InvalidTaskError, match=r"Expected the classes y_c in a\.npz; it has 'a', 'b'"):
        read(tmp_path / "a.npz", key="c")


def test_minus_one_is_a_class_where_there_is_one_task(tmp_path):
    np.savez(tmp_path / "a.npz", X=X, y=np.array([-1, 1] * 6))
    assert read(tmp_path / "a.npz").labels == ("-1", "1") * 6


def test_training_and_test_arrays_are_joined_and_the_second_held_out(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=X[:8], y_train=Y[:8], x_test=X[8:], y_test=Y[8:])
    found = read(tmp_path / "a.npz")
    assert np.array_equal(found.x, X)
    assert found.tell(Hints()).test_rows == (8, 9, 10, 11)


def test_test_rows_are_places_in_the_file(tmp_path):
    np.savez(tmp_path / "a.npz", X=X, y_a=np.where(np.arange(12) < 3, -1, Y))
    found = read_arrays(tmp_path / "a.npz", Hints(test_rows=(4, 5)))
    assert found.tell(Hints()).test_rows == (1, 2)


def test_an_npy_has_its_classes_beside_it(tmp_path):
    np.save(tmp_path / "pictures.npy", X)
    with pytest.raises(InvalidTaskError, match=r"beside it, as pictures_labels\.npy, y\.npy"):
        read(tmp_path / "pictures.npy")
    np.save(tmp_path / "mine.npy", Y.astype(str))
    assert read(tmp_path / "pictures.npy", labels="mine.npy").labels[:3] == ("0", "1", "2")
    np.save(tmp_path / "y.npy", Y)
    assert read(tmp_path / "pictures.npy").labels[:3] == ("0", "1", "2")


@pytest.mark.parametrize(
    ("y", "labels"),
    [
        (np.eye(3)[Y], ("0", "1", "2")),
        (Y[:, None], ("0", "1", "2")),
        (Y.astype(float), ("0", "1", "2")),
        (np.where(Y == 2, np.nan, Y), ("0", "1", None)),
        (Y.astype("S1"), ("0", "1", "2")),
        (Y > 0, ("false", "true", "true")),
    ],
)
def test_classes_are_read_however_they_are_written(tmp_path, y, labels):
    np.savez(tmp_path / "a.npz", X=X, y=y)
    assert read(tmp_path / "a.npz").labels[:3] == labels


def _objects(path):
    np.savez(path, X=X, y=np.array(["a", None] * 6, dtype=object))


def _no_items(path):
    np.savez(path, b=X, y=Y)


def _no_classes(path):
    np.savez(path, X=X, b=Y)


def _other_counts(path):
    np.savez(path, X=X, y=Y[:5])


def _wide_classes(path):
    np.savez(path, X=X, y=X)


def _other_sides(path):
    np.savez(path, x_train=X, y_train=Y, x_test=X[:, :1], y_test=Y)


def _cut(path):
    np.savez(path, X=X, y=Y)
    path.write_bytes(path.read_bytes()[:-60])


def _bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("X.npy", bytes(200_000_000))


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (_objects, "whole arrays of numbers or text"),
        (_no_items, "an array of items called X in a.npz.*it has 'b', 'y'"),
        (_no_classes, "one array of classes in a.npz, called y or labels; it has 'X', 'b'"),
        (_other_counts, "'X' has 12 and 'y' has 5"),
        (_wide_classes, r"'y' has the shape \(12, 2\)"),
        (_other_sides, r"x_train has the shape \(12, 2\) and x_test \(12, 1\)"),
        (_cut, "whole arrays"),
        (_bomb, "at most 67108864 bytes unpacked; a.npz"),
        (lambda path: path.write_bytes(b""), "whole arrays"),
        (lambda path: path.write_text("X, y"), "whole arrays"),
        (lambda path: None, "there is no"),
    ],
)
def test_what_is_no_task_is_refused(tmp_path, write, match):
    write(tmp_path / "a.npz")
    with pytest.raises(InvalidTaskError, match=match):
        read(tmp_path / "a.npz")


def test_shapes_are_told_from_the_heads(tmp_path):
    np.savez(tmp_path / "a.npz", X=X.astype(np.uint8), y=Y)
    assert shapes_of(tmp_path / "a.npz")["X"] == ((12, 2), np.dtype(np.uint8))
    (tmp_path / "b.npz").write_text("no")
    assert shapes_of(tmp_path / "b.npz") == {}
