import numpy as np

from metaflow_hpo.collect.strategies.fresh import fresh_configurations
from metaflow_hpo.space import configuration_id


def test_new_configurations_are_valid_new_and_the_same_for_the_same_seed(meta):
    fresh = fresh_configurations(meta.space, meta.configurations, meta.performance[0], seed=1)
    assert fresh == fresh_configurations(meta.space, meta.configurations, meta.performance[0], seed=1)
    assert fresh != fresh_configurations(meta.space, meta.configurations, meta.performance[0], seed=2)
    names = [configuration_id(c) for c in fresh]
    assert len(set(names)) == len(names) > 150
    assert not set(names) & {configuration_id(c) for c in meta.configurations}
    assert [meta.space.validate(c) for c in fresh] == fresh


def test_half_of_the_new_ones_lie_near_the_best(meta):
    best = meta.space.from_unit(np.array([[0.3, 0.4, 0.9, 0.5]]))
    fresh = fresh_configurations(meta.space, best, [1.0], seed=0)
    away = np.abs(meta.space.to_unit(fresh)[:, :2] - [0.3, 0.4]).max(axis=1)
    # Four standard steps; of points anywhere in the space half as many would lie so near.
    assert (away[:90] < 0.4).sum() > 70
    assert (away[-100:] < 0.4).sum() < 70
