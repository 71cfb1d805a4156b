"""What all modalities of items share keeps the contract, is kept whole and sampled by class."""

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTaskError
from metaflow_hpo.modalities.items.item_data import expect_items
from metaflow_hpo.modalities.items.item_files import load_items, pack_texts, save_items, unpack_texts
from metaflow_hpo.modalities.items.sample import sample_items
from metaflow_hpo.modalities.opaque import read_opaque

from .toy import ToyModality, assemble_rows, draw


@pytest.fixture
def data():
    rows, labels = draw(120, 3)
    return assemble_rows(rows, labels, groups=[i // 4 for i in range(120)])


def test_a_task_is_kept_value_by_value(tmp_path, data):
    toy = ToyModality()
    toy.save(data, tmp_path / "it.toy")
    loaded = toy.load(tmp_path / "it.toy")
    assert loaded.task == data.task
    assert loaded.class_names == data.class_names
    for name in ("items", "target", "is_test", "digests", "groups"):
        assert np.array_equal(getattr(loaded, name), getattr(data, name))
    toy.save(loaded, tmp_path / "again.toy")
    assert (tmp_path / "it.toy").read_bytes() == (tmp_path / "again.toy").read_bytes()


def test_a_changed_damaged_or_missing_file_is_refused(tmp_path, data):
    path = tmp_path / "it.toy"
    save_items(path, data, {"rows": data.items}, {"rate": 8000})
    assert load_items(path)[2] == {"rate": 8000}
    whole = path.read_bytes()
    path.write_bytes(whole[:-40] + bytes(40))
    with pytest.raises(InvalidTaskError, match="damaged"):
        load_items(path)
    for broken in (b"", b"text", whole[:200], whole[:-1]):
        path.write_bytes(broken)
        with pytest.raises(InvalidTaskError, match=r"it\.toy"):
            load_items(path)
    with pytest.raises(InvalidTaskError, match="there is no such file"):
        load_items(tmp_path / "nothing")


def test_texts_are_kept_as_arrays():
    texts = ["", "käse", "🙂 two\nlines", "\udc80", ""]
    assert unpack_texts(pack_texts(texts)) == texts
    assert unpack_texts(pack_texts([])) == []


def test_a_sample_keeps_the_split_and_the_classes(data):
    sample = sample_items(data, 60)
    assert np.bincount(data.test_target).tolist() == [8, 8, 8]
    assert np.bincount(sample.test_target).tolist() == [8, 8, 8]  # so few of a class are all kept
    assert np.bincount(sample.train_target).tolist() == [16, 16, 16]
    assert sample.task.notes[-1] == "A sample of 72 of 120 items."
    assert sample.task.sha256 != data.task.sha256
    assert sample_items(data, 120) is data


def test_arrays_are_learned_from_training_items_alone(data):
    toy = ToyModality()
    split = toy.split(data).validation[0]
    fold = toy.prepare(data, split)
    assert np.allclose(fold.x_train.mean(axis=0), 0, atol=1e-5)
    assert not np.allclose(fold.x_valid.mean(axis=0), 0, atol=1e-3)
    assert np.array_equal(fold.y_valid, data.target[split.valid])
    assert fold.classes == 3


def test_parts_of_a_task_share_fingerprints():
    rows, labels = draw(400, 2)
    toy = ToyModality()
    one, other = assemble_rows(rows, labels), assemble_rows(rows[:300], labels[:300])
    unlike = assemble_rows(*draw(400, 2, seed=1))
    shared = toy.fingerprint(one) & toy.fingerprint(other)
    assert len(shared) >= 32
    assert not toy.fingerprint(one) & toy.fingerprint(unlike)


def test_what_has_no_items_is_refused(data):
    assert expect_items(data) is data
    with pytest.raises(InvalidTaskError, match="Expected items with a class each"):
        expect_items(read_opaque({"task_id": "a", "metric": "accuracy"}))


def test_sizes_that_do_not_agree_are_refused(data):
    from dataclasses import replace

    with pytest.raises(InvalidTaskError, match="120 items announced; found 119 of items"):
        replace(data, items=data.items[:119])
    with pytest.raises(InvalidTaskError, match="with 1 names"):
        replace(data, class_names=("a",))
