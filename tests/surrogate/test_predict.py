import json

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.surrogate.predict import Surrogate, load_surrogate, save_surrogate
from metaflow_hpo.surrogate.trained_network import BEYOND


def test_a_prediction_has_a_score_of_each_member_and_one_distribution(meta, surrogate):
    prediction = surrogate.predict(meta.meta_features[:2], meta.points)
    assert prediction.scores.shape == (6, 2, 24)
    assert prediction.mean.shape == prediction.spread.shape == (2, 24)
    assert (prediction.spread > 0).all()


def test_only_the_asked_networks_answer(meta, surrogate):
    everyone = surrogate.predict(meta.meta_features, meta.points)
    second = surrogate.predict(meta.meta_features, meta.points, [1])
    np.testing.assert_allclose(second.scores, everyone.scores[2:4], atol=1e-5)
    apart = [surrogate.predict(meta.meta_features, meta.points, [j]).mean for j in range(3)]
    np.testing.assert_allclose(np.mean(apart, axis=0), everyone.mean, atol=1e-5)


def test_a_task_is_answered_the_same_alone_and_among_others(meta, surrogate):
    alone = surrogate.predict(meta.meta_features[[3]], meta.points[[5]])
    among = surrogate.predict(meta.meta_features, meta.points)
    np.testing.assert_allclose(alone.mean[0, 0], among.mean[3, 5], atol=1e-5)
    np.testing.assert_allclose(alone.spread[0, 0], among.spread[3, 5], atol=1e-5)


def test_a_family_is_asked_of_the_network_that_never_saw_it(surrogate):
    for family, fold in surrogate.fold_of_family.items():
        assert surrogate.networks_blind_to(family) == (fold,)
        assert surrogate.networks_blind_to(family, validation=True) == ((fold - 1) % 3,)
    assert surrogate.networks_blind_to("never seen") == (0, 1, 2)


def test_another_number_of_meta_features_is_refused(meta, surrogate):
    with pytest.raises(InvalidTableError, match=r"shape \(tasks, 4\); got \(12, 3\)"):
        surrogate.predict(meta.meta_features[:, :3], meta.points)
    with pytest.raises(InvalidTableError, match=r"shape \(tasks, 4\); got \(4,\)"):
        surrogate.predict(meta.meta_features[0], meta.points)


def test_a_saved_surrogate_predicts_the_same_bits(meta, surrogate, tmp_path):
    save_surrogate(surrogate, tmp_path)
    loaded = load_surrogate(tmp_path)
    expected, found = (s.predict(meta.meta_features, meta.points) for s in (surrogate, loaded))
    for name in ("scores", "mean", "spread"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert loaded.to_json() == surrogate.to_json()
    assert loaded.space == surrogate.space


def test_the_description_survives_json(meta, surrogate):
    description = json.loads(json.dumps(surrogate.to_json()))
    rebuilt = Surrogate.from_parts(description, surrogate.to_arrays())
    assert rebuilt.meta_feature_names == meta.meta_feature_names
    assert rebuilt.fold_of_family == surrogate.fold_of_family


def test_networks_of_another_form_are_refused_with_what_to_do(surrogate):
    description = surrogate.to_json()
    description["shape"] = {name: value for name, value in description["shape"].items() if name != "ends_hidden"}
    with pytest.raises(InvalidTableError, match=r"another version of metaflow_hpo made them. Run `metaflow-hpo fit`"):
        Surrogate.from_parts(description, surrogate.to_arrays())


def test_nothing_much_better_than_perfect_is_expected(meta, surrogate):
    prediction = surrogate.predict(100.0 * meta.meta_features - 50.0, meta.points)
    assert (prediction.mean <= 1.0 + BEYOND).all()


def test_an_empty_folder_holds_no_surrogate(tmp_path):
    with pytest.raises(InvalidTableError, match=r"Expected surrogate.safetensors and surrogate.json in .*; run"):
        load_surrogate(tmp_path)
