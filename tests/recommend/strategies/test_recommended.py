from dataclasses import replace

import pytest

from metaflow_hpo.recommend.strategies.recommended import RecommendedStrategy
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
