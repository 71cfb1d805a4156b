from dataclasses import replace

import numpy as np
import pytest

from metaflow_hpo.collect.strategies.pool import Pool
from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.recommender.new_task import DESCRIBED
from metaflow_hpo.recommender.observed import ObservedTrial
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.recommender.strategies.recommended import RecommendedStrategy
from metaflow_hpo.space import configuration_id
from metaflow_hpo.trial import Trial


@pytest.fixture
def make(served, meta):
    def made(*, batch_size=1, pool=None, **options):
        context = StrategyContext(served.space, parallel=batch_size, pool=pool, meta_features=meta.meta_features[3])
        return RecommendedStrategy(served, context, **options)

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


def test_a_failed_trial_counts_as_the_worst_of_the_others(make, meta):
    good, bad = trial(meta, meta.configurations[0]), trial(meta, meta.configurations[1])
    nothing = float("nan")
    failed = replace(bad, performance=nothing, test_performance=nothing, status="failed", reason="diverged")
    found = []
    for second in (failed, replace(bad, performance=good.performance)):
        strategy = make()
        strategy.tell([good, second])
        found.append(strategy.ask(3))
    assert found[0] == found[1]


def test_confined_to_the_pool_nothing_beside_it_is_proposed(make, meta):
    pool = Pool(meta.space, meta.configurations)
    made = run(make(fresh_from=2, pool=pool), meta, 30)
    assert {t.configuration_id for t in made} == set(meta.configuration_ids)


def test_what_is_pending_counts_before_and_after_the_first_trial(make, meta):
    strategy = make()
    asked = [c for _ in range(4) for c in strategy.ask(1)]
    assert len({configuration_id(c) for c in asked}) == 4
    strategy.tell([trial(meta, asked[0])])
    assert configuration_id(strategy.ask(1)[0]) not in {configuration_id(c) for c in asked}


def test_it_answers_what_recommend_answers_after_trials(make, served, meta):
    strategy = make()
    told = [trial(meta, c) for c in meta.configurations[4:8]]
    strategy.tell(told)
    observed = [ObservedTrial(t.configuration, t.performance) for t in told]
    known = dict(zip(meta.meta_feature_names, meta.meta_features[3].tolist(), strict=True))
    assert strategy.ask(3) == [r["configuration"] for r in served.recommend(known, 3, observed)["recommendations"]]


@pytest.mark.parametrize("networks", [None, (2,)])
@pytest.mark.parametrize("trust", [0.5, 1.0])
def test_with_networks_the_order_of_past_tasks_changes_nothing(meta, surrogate, networks, trust):
    asked = []
    for history in (meta, meta.subset(np.random.default_rng(0).permutation(12))):
        recommender = Recommender(history.past_tasks(), DESCRIBED, surrogate, networks, trust)
        context = StrategyContext(meta.space, meta_features=meta.meta_features[7] + 0.01)
        asked.append(RecommendedStrategy(recommender, context).ask(5))
    assert asked[0] == asked[1]
    assert len({configuration_id(c) for c in asked[0]}) == 5


def test_a_task_unlike_all_others_gets_an_answer(served, meta):
    strange = StrategyContext(meta.space, meta_features=np.full(4, 1e6))
    assert RecommendedStrategy(served, strange).ask(2)[0] == meta.space.default
