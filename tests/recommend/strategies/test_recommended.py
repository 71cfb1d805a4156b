from dataclasses import replace

import numpy as np
import pytest

from metaflow_hpo.recommend.closed_loop import RecommendedStrategy, fresh_configurations
from metaflow_hpo.recommend.sequential import ObservedTrial
from metaflow_hpo.space import configuration_id
from metaflow_hpo.trial import Trial


@pytest.fixture
def make(served, meta):
    def made(**options):
        def choose(observed, fresh, count):
            return served.choose(meta.meta_features[3], count, observed, fresh).configurations

        return RecommendedStrategy(choose, served.surrogate.space, **options)

    return made


def trial(meta, configuration):
    """A trial on task 3, whose performance depends on the learning rate alone."""
    at = meta.space.to_unit([configuration])[0, 0]
    value = 0.9 - 0.4 * abs(at - meta.meta_features[3, 0])
    return Trial("task_03", "family_03", "mlp", configuration, "recommended", 0, 50, value, value, 0.1)


def run(strategy, meta, rounds, count=1):
    made = []
    for _ in range(rounds):
        batch = [trial(meta, configuration) for configuration in strategy.ask(count)]
        strategy.tell(batch)
        made += batch
    return made


def test_told_the_same_it_asks_for_the_same(make, meta):
    first = run(make(fresh_from=4), meta, 8)
    again = make(fresh_from=4)
    again.tell(first[:5])
    assert [t.configuration for t in run(again, meta, 3)] == [t.configuration for t in first[5:]]


def test_it_starts_with_what_is_recommended_without_trials(make, served, meta):
    known = dict(zip(meta.meta_feature_names, meta.meta_features[3].tolist(), strict=True))
    wanted = [r["configuration"] for r in served.recommend(known, 3)["recommendations"]]
    assert make().ask(3) == wanted


def test_nothing_is_asked_for_twice_and_the_best_is_found(make, meta):
    made = run(make(fresh_from=6, batch_size=2), meta, 10, count=2)
    assert len({t.configuration_id for t in made}) == 20
    best = max(trial(meta, c).performance for c in meta.configurations)
    assert max(t.performance for t in made) >= best


def test_new_configurations_are_proposed_once_the_pool_is_used_up(make, meta):
    made = run(make(fresh_from=20), meta, 26)
    beside = [t for t in made if t.configuration_id not in meta.configuration_ids]
    assert len(made) == 26
    assert beside
    for t in beside:
        assert meta.space.validate(t.configuration) == t.configuration


def test_a_failed_trial_counts_as_the_worst_of_the_others(served, meta):
    heard = []

    def choose(observed, fresh, count):
        heard.extend(observed)
        return list(meta.configurations[:count])

    strategy = RecommendedStrategy(choose, meta.space)
    good, bad = trial(meta, meta.configurations[0]), trial(meta, meta.configurations[1])
    nothing = float("nan")
    failed = replace(bad, performance=nothing, test_performance=nothing, status="failed", reason="diverged")
    strategy.tell([good, failed])
    strategy.ask(1)
    assert [o.performance for o in heard] == [good.performance, good.performance]


def test_new_configurations_are_valid_new_and_the_same_for_the_same_seed(meta):
    observed = [ObservedTrial(c, float(p)) for c, p in zip(meta.configurations, meta.performance[0], strict=True)]
    fresh = fresh_configurations(meta.space, observed, seed=1)
    assert fresh == fresh_configurations(meta.space, observed, seed=1)
    assert fresh != fresh_configurations(meta.space, observed, seed=2)
    names = [configuration_id(c) for c in fresh]
    assert len(set(names)) == len(names) > 150
    assert not set(names) & set(meta.configuration_ids)
    assert [meta.space.validate(c) for c in fresh] == fresh


def test_half_of_the_new_ones_lie_near_the_best(meta):
    best = [ObservedTrial(meta.space.from_unit(np.array([[0.3, 0.4, 0.9, 0.5]]))[0], 1.0)]
    fresh = fresh_configurations(meta.space, best, seed=0)
    away = np.abs(meta.space.to_unit(fresh)[:, :2] - [0.3, 0.4]).max(axis=1)
    # Four standard steps; of points anywhere in the space half as many would lie so near.
    assert (away[:90] < 0.4).sum() > 70
    assert (away[-100:] < 0.4).sum() < 70
