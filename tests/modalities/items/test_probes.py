"""Probes see training items alone, and find what there is to find."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from metaflow_hpo.modalities.hints import Hints
from metaflow_hpo.modalities.items import probes
from metaflow_hpo.modalities.items.assembling import assemble, digest_of
from metaflow_hpo.modalities.items.probes import ITEM_GROUP
from metaflow_hpo.modalities.roles import Roles


def make(count=400, classes=4, signal=1.0, seed=0, groups=None):
    """Return pictures whose class shows in how bright a corner of theirs is."""
    rng = np.random.default_rng(seed)
    label = np.arange(count) % classes
    pixels = rng.integers(90, 130, (count, 12, 12, 1)).astype(np.float64)
    for c in range(classes):
        row, column = divmod(c, 2)
        pixels[label == c, 6 * row : 6 * row + 6, 6 * column : 6 * column + 6] += 100 * signal
    pixels = pixels.astype(np.uint8)
    return assemble(
        pixels,
        [f"c{c}" for c in label],
        [digest_of(one.tobytes()) for one in pixels],
        hints=Hints(),
        source=Path("it.npz"),
        modality="image",
        groups=groups,
    )


def test_what_is_easy_is_found_and_what_is_noise_is_not():
    easy, noise = ITEM_GROUP.measure(make()), ITEM_GROUP.measure(make(signal=0.0))
    assert easy["ridge_1000"] == easy["centroid_1000"] == 1.0
    assert easy["purity"] > 0.95
    assert abs(noise["ridge_1000"] - 0.25) < 0.15
    for values, nothing in ((easy, False), (noise, True)):
        columns = {name: np.array([value]) for name, value in values.items()}
        assert bool(ITEM_GROUP.finds_nothing(columns)[0]) is nothing


def test_test_items_are_not_looked_at():
    data = make()
    pixels = data.items.copy()
    pixels[data.is_test] = 255
    assert ITEM_GROUP.measure(replace(data, items=pixels)) == ITEM_GROUP.measure(data)


def test_sizes_and_classes_are_described():
    described = ITEM_GROUP.measure(make(400, 4))
    assert described["log_items"] == pytest.approx(np.log10(320))
    assert described["log_classes"] == pytest.approx(np.log10(4))
    assert described["chance"] == 0.25
    assert described["class_entropy"] == pytest.approx(1.0)
    assert (described["log_imbalance"], described["grouped_share"]) == (0.0, 0.0)


def test_roles_say_what_guessing_gives_and_how_large_a_task_is():
    data = make(400, 4, groups=[i // 4 for i in range(400)])
    described = ITEM_GROUP.describe(data)
    roles = Roles.of(tuple(described))
    row = np.array([list(described.values())])
    assert roles.chance(row).tolist() == [0.25]
    assert roles.best_landmark(row).tolist() == [1.0]
    assert roles.sizes(row)[0].tolist() == pytest.approx([np.log10(320), np.log10(4), np.log10(80)])
    assert roles.metric(row[0]).name == "balanced_accuracy"
    assert described["mf_items.grouped_share"] == 0.75


def test_ridge_regression_chooses_its_penalty_by_leaving_one_out():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 6)).astype(np.float32)
    y = (x[:, 0] + 0.3 * rng.normal(size=40) > 0).astype(np.int64)
    new = rng.normal(size=(20, 6)).astype(np.float32)

    def fit(train, target, penalty, valid):
        centred = train - train.mean(axis=0)
        wanted = np.eye(2)[target]
        weights = np.linalg.solve(centred.T @ centred + penalty * np.eye(6), centred.T @ (wanted - wanted.mean(axis=0)))
        return ((valid - train.mean(axis=0)) @ weights + wanted.mean(axis=0)).argmax(axis=1)

    centred = x - x.mean(axis=0)
    scale = np.trace(centred @ centred.T) / 40
    scores = []
    for relative in probes._PENALTIES:
        # With the penalty of all items, as the closed form has it.
        left = [fit(np.delete(x, i, 0), np.delete(y, i), relative * scale, x[i : i + 1])[0] == y[i] for i in range(40)]
        scores.append(np.mean(left))
    best = probes._PENALTIES[int(np.argmax(scores))]
    assert np.array_equal(probes._ridge(x, y, new), fit(x, y, best * scale, new))


def test_plain_probes_do_what_they_say():
    train = np.array([[0, 0], [0, 2], [9, 0], [9, 2]], np.float32)
    y = np.array([3, 3, 5, 5])
    valid = np.array([[1, 1], [8, 1], [5, 0]], np.float32)
    assert probes._nearest_centre(train, y, valid).tolist() == [3, 5, 5]
    assert probes._nearest_neighbour(train, y, valid).tolist() == [3, 5, 5]
    assert probes._balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])) == pytest.approx((2 / 3 + 1) / 2)
    assert probes._find_purity(np.array([[0.0], [0.1], [5.0], [5.2]]), np.array([0, 0, 1, 0])) == 0.5
    assert probes._find_rank(np.eye(10)) == pytest.approx(1.0)


def test_every_start_of_what_is_learned_from_is_alike_in_classes():
    target = np.repeat([0, 1, 2], [60, 30, 10])
    taken = probes._take_evenly(np.arange(100), target)
    assert sorted(taken.tolist()) == list(range(100))
    assert np.bincount(target[taken[:20]]).tolist() == [12, 6, 2]


def test_a_slope_from_too_few_items_is_nought():
    assert ITEM_GROUP.measure(make(100))["slope"] == 0.0


def test_groups_are_not_scored_with_what_was_learned_from_them():
    data = make(400, 4, groups=[i // 8 for i in range(400)])
    chosen, scored = probes._choose(data, data.train_target)
    groups = data.groups[~data.is_test]
    assert not set(groups[chosen]) & set(groups[scored])
