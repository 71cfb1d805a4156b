import subprocess
import sys

import numpy as np
import pytest
import torch

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.surrogate.network import SurrogateNetwork
from metaflow_hpo.surrogate.trained_network import WEIGHTS, NetworkShape, TrainedNetwork

SHAPE = NetworkShape(encoded=5, meta_features=7, members=3)


def make_network(seed=0):
    torch.manual_seed(seed)
    network = SurrogateNetwork(SHAPE).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def test_numpy_answers_as_torch_does():
    network = make_network()
    t, x = (4.0 * torch.randn(6, 7)).clamp(-4, 4), torch.rand(11, 5)
    anchors = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.9], [0.3, 0.8], [0.2, 0.2]])
    with torch.inference_mode():
        rows = network(t.repeat_interleave(11, 0), x.repeat(6, 1))
        ends = network.ends(t, anchors)
    trained = network.trained()
    for found, expected in zip(trained.predict(t.numpy(), x.numpy()), rows, strict=True):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, expected.numpy().reshape(3, 6, 11), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(trained.ends(t.numpy(), anchors.numpy()), ends.numpy(), rtol=1e-5, atol=1e-5)


def test_the_networks_of_a_fitted_surrogate_answer_as_torch_does(meta, surrogate):
    t = surrogate.standardisers[1].transform(meta.meta_features).astype(np.float32)
    x = meta.points.astype(np.float32)
    score, position, _ = surrogate.networks[1].predict(t, x)
    network = SurrogateNetwork.of(surrogate.networks[1]).eval()
    with torch.inference_mode():
        expected = network(torch.from_numpy(t).repeat_interleave(len(x), 0), torch.from_numpy(x).repeat(len(t), 1))
    np.testing.assert_allclose(score, expected[0].numpy().reshape(score.shape), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(position, expected[1].numpy().reshape(score.shape), rtol=1e-5, atol=1e-5)


def test_a_network_is_trained_on_from_a_copy():
    trained = make_network().trained()
    again = SurrogateNetwork.of(trained)
    for name in WEIGHTS:
        np.testing.assert_array_equal(again.trained().weights[name], trained.weights[name])
    before = trained.weights["trunk.0.weight"].copy()
    with torch.no_grad():
        again.trunk[0].weight += 1.0
    np.testing.assert_array_equal(trained.weights["trunk.0.weight"], before)


def test_weights_that_are_missing_are_named():
    weights = dict(make_network().trained().weights)
    del weights["score_head.bias"]
    with pytest.raises(InvalidTableError, match=r"\['score_head.bias'\] are missing or too many. Run `metaflow-hpo fi"):
        TrainedNetwork(SHAPE, weights)


def test_strange_numbers_do_not_overflow():
    trained = make_network().trained()
    large = np.full((2, 7), 1e4, np.float32)
    for values in trained.predict(large, np.ones((3, 5), np.float32)):
        assert np.isfinite(values).all()


def test_a_shipped_recommender_is_loaded_without_torch():
    code = (
        "import sys; from pathlib import Path; import metaflow_hpo.recommender.recommender as r; "
        "Recommender = r.Recommender; served = Recommender.load(Path(r.__file__).parents[1] / 'knowledge' / 'mlp'); "
        "import numpy as np; served.predict(served.past.meta_features[0], served.past.points); "
        "print([n for n in ('torch', 'pytorch_lightning', 'sklearn.ensemble') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
