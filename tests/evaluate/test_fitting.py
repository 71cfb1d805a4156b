from dataclasses import replace

import numpy as np
import pytest

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.evaluate.fitting import MIN_FAMILIES, can_have_networks, fit_recommender
from metaflow_hpo.history import History
from metaflow_hpo.metric import Metric
from metaflow_hpo.recommender.observed import ObservedTrial
from metaflow_hpo.recommender.recommender import Recommender
from tests.conftest import FIT, changed, make_history

LOSS = Metric("perplexity", "min", low=0.0)


@pytest.fixture(scope="module")
def ragged():
    """Tasks with a loss in hundreds that tried half of the configurations each, and gaps in what is known of them."""
    history = make_history(tasks=14, configurations=14, seed=5)
    rng = np.random.default_rng(0)
    performance = 500.0 * (history.performance - 1.5)
    performance[rng.random(performance.shape) < 0.4] = np.nan
    features = history.meta_features.copy()
    features[::4, 3] = np.nan
    sparse = changed(history, performance=performance, meta_features=features)
    return History.from_frame(sparse.to_frame().assign(performance=lambda f: -f["performance"]), lower_is_better=True,
                              metric=LOSS, space=history.space)  # fmt: skip


@pytest.fixture(scope="module")
def with_networks(ragged):
    return fit_recommender(ragged, networks=True, fit=replace(FIT, max_epochs=40))


def test_networks_need_no_shared_core_no_complete_meta_features_and_no_bounds(ragged, with_networks):
    assert not ragged.is_shared
    surrogate = with_networks.surrogate
    assert not surrogate.knows_ends
    assert surrogate.networks[0].shape.meta_features == 4 + 1  # one of them is followed by whether it is missing
    answer = with_networks.recommend(dict(zip(ragged.meta_feature_names, ragged.meta_features[0], strict=True)), 3)
    for item in answer["recommendations"]:
        performance = item["performance"]
        assert performance["metric"] == "perplexity"
        assert 0 < performance["low"] < performance["mean"] < performance["high"] < 900


def test_a_recommender_with_such_networks_answers_the_same_from_its_folder(ragged, with_networks, tmp_path):
    with_networks.save(tmp_path)
    loaded = Recommender.load(tmp_path)
    seen = [ObservedTrial(with_networks.past.configurations[c], 400.0 + 10 * c) for c in (1, 5, 9)]
    for row in ragged.meta_features[:3]:
        values = dict(zip(ragged.meta_feature_names, row.tolist(), strict=True))
        for observed in ([], seen):
            assert loaded.recommend(values, 4, observed) == with_networks.recommend(values, 4, observed)


def test_where_networks_are_of_no_use_past_tasks_answer_alone(ragged):
    """The networks of one epoch know nothing."""
    found = fit_recommender(ragged, networks="auto", fit=replace(FIT, max_epochs=1))
    assert found.surrogate is None
    plain = fit_recommender(ragged)
    assert found.content_sha256 == plain.content_sha256


def test_networks_are_tried_where_there_are_families_and_something_is_known_of_them(ragged):
    assert can_have_networks(ragged)
    assert not can_have_networks(ragged.subset(range(MIN_FAMILIES - 1)))
    assert not can_have_networks(changed(ragged, meta_features=np.full_like(ragged.meta_features, np.nan)))
    with pytest.raises(InvalidTableError, match="at least 3 families; found 2"):
        fit_recommender(ragged.subset([0, 1]), networks=True, fit=FIT)
