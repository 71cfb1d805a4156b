import json

import numpy as np
import pytest

from metaflow_hpo.array_files import write_described
from metaflow_hpo.errors import InvalidTableError, InvalidTaskError
from metaflow_hpo.learners.cnn import CNN
from metaflow_hpo.learners.limits import Limits
from metaflow_hpo.learners.networks.kept import TrainedItemNetwork, find_network_learner, fit_on_fold
from metaflow_hpo.learners.svm import SVM
from tests.learners.networks.pictures import DivergingCNN, make_fold

SMALL = CNN.space.default | {"depth": 2, "width": 8, "learning_rate": 0.01}
NAMES = tuple(f"digit {c}" for c in range(10))


@pytest.fixture(scope="module")
def fold():
    return make_fold()


@pytest.fixture(scope="module")
def network(fold):
    return fit_on_fold(CNN(), fold, SMALL, "image", NAMES, seed=4, epochs=3)


def test_predicts_what_the_training_predicted_at_its_end(network, fold):
    [(_, [outcome])] = CNN().train_folds([fold], [SMALL], seed=4, epochs=3)
    predicted = network.predict(fold.x_valid)
    assert list(predicted) == ["prediction", *(f"probability_{name}" for name in NAMES)]
    assert predicted.iloc[:, 1:].to_numpy() == pytest.approx(outcome.predictions, abs=1e-6)
    assert predicted["prediction"].tolist() == [NAMES[c] for c in outcome.predictions.argmax(axis=1)]


def test_comes_back_from_its_files_and_predicts_the_very_same(network, fold, tmp_path):
    network.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["network.json", "network.safetensors"]
    loaded = TrainedItemNetwork.load(tmp_path)
    assert loaded.predict(fold.x_valid).equals(network.predict(fold.x_valid))
    assert (loaded.learner.name, loaded.modality, loaded.configuration) == ("cnn", "image", SMALL)


def test_predicts_nothing_for_nothing(network, fold):
    assert network.predict(fold.x_valid[:0]).shape == (0, 11)


def test_refuses_items_of_another_shape(network):
    with pytest.raises(InvalidTaskError, match=r"width\) \(1, 8, 8\), as in training; got \(3, 9, 9\)"):
        network.predict(np.zeros((2, 3, 9, 9), np.float32))


def test_there_is_none_of_a_training_that_diverges(fold):
    assert fit_on_fold(DivergingCNN(), fold, SMALL, "image", NAMES, seed=0, epochs=2) is None


def test_a_network_of_another_learner_is_refused(tmp_path):
    write_described(tmp_path, "network", {"x": np.zeros(1)}, {"learner": "svm"})
    with pytest.raises(InvalidTableError, match=r"Expected a network of items in .*; found another one"):
        TrainedItemNetwork.load(tmp_path)


def test_a_changed_description_is_refused(network, tmp_path):
    network.save(tmp_path)
    described = json.loads((tmp_path / "network.json").read_text())
    (tmp_path / "network.json").write_text(json.dumps(described | {"class_names": ["a", "b"]}))
    with pytest.raises(InvalidTableError, match="damaged or was changed"):
        TrainedItemNetwork.load(tmp_path)


def test_the_learner_is_found_inside_its_isolation():
    learner = CNN()
    assert find_network_learner(learner) is learner
    assert find_network_learner(learner.within(Limits(), isolation="process")) == CNN(workers=1)
    assert find_network_learner(SVM()) is None
