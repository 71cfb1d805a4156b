from dataclasses import replace

import numpy as np
import pytest

from metaflow_hpo.collect.strategies.registry import make_strategy
from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.recommender.new_task import DESCRIBED, RecommenderSettings
from metaflow_hpo.recommender.observed import Observed, place
from metaflow_hpo.recommender.portfolio import select_greedily, with_default
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.recommender.task_forest import TaskForest
from metaflow_hpo.space import configuration_id
from tests.conftest import changed

TABLE = RecommenderSettings()


def begin(meta, t, *, trust=0.0, **options):
    """Begin task t with a recommender that does not know it."""
    others = [other for other in range(len(meta.task_ids)) if other != t]
    forest = TaskForest.without_say(len(others))
    recommender = Recommender(meta.past_tasks(others), DESCRIBED, trust=trust, forest=forest)
    return recommender.begin(meta.meta_features[t], **options)


def with_weights(task, weights):
    """Return the task with other weights of past tasks."""
    return replace(task, weights=weights)


def search(task, performance, count):
    observed = Observed.nothing()
    for _ in range(count):
        (position,) = task.choose(observed, 1)
        observed = observed.with_trial(position, float(performance[position]))
    return observed


def test_before_the_first_trial_it_is_the_portfolio(meta):
    task = begin(meta, 3)
    assert task.choose(Observed.nothing(), 6) == select_greedily(task.past.regret, task.weights, 6)


def test_it_finds_the_optimum_of_a_family_it_has_never_seen(meta):
    # Performance falls with the distance to an optimum that differs from task to task.
    found, static = [], []
    for t in range(len(meta.task_ids)):
        regret = 1.0 - meta.normalised[t]
        task = begin(meta, t)
        found.append(regret[search(task, meta.performance[t], 7).positions].min())
        static.append(regret[select_greedily(task.past.regret, task.weights, 7)].min())
    assert np.mean(found) < 0.04
    assert np.mean(found) < 0.8 * np.mean(static)


def test_a_search_goes_on_until_the_pool_is_used_up(meta):
    task = begin(meta, 0)
    observed = search(task, meta.performance[0], 24)
    assert sorted(observed.positions.tolist()) == list(range(24))
    assert task.choose(observed, 3) == []


@pytest.mark.parametrize("trials", [0, 1, 3, 6])
def test_several_are_distinct_and_none_is_tried_or_pending(meta, trials):
    task = begin(meta, 5)
    observed = search(task, meta.performance[5], trials)
    pending = task.choose(observed, 2)
    chosen = task.choose(observed, 4, pending)
    assert len({*chosen, *pending, *observed.positions.tolist()}) == 4 + 2 + trials
    assert task.choose(observed, 6) == [*pending, *chosen]


def test_the_order_of_past_tasks_changes_nothing(meta):
    order = np.random.default_rng(0).permutation(11)
    observed = search(begin(meta, 11), meta.performance[11], 6)
    one = Recommender(meta.subset(range(11)).past_tasks()).begin(meta.meta_features[11])
    other = Recommender(meta.subset(order).past_tasks()).begin(meta.meta_features[11])
    assert one.choose(observed, 5) == other.choose(observed, 5)
    np.testing.assert_allclose(one.predict(observed)[0], other.predict(observed)[0], rtol=1e-9)


def test_the_order_of_the_trials_changes_nothing(meta):
    task = begin(meta, 2)
    observed = search(task, meta.performance[2], 8)
    turned = Observed(observed.positions[::-1], observed.performance[::-1])
    assert task.choose(turned, 3) == task.choose(observed, 3)


def test_units_of_the_performance_do_not_matter_to_the_choice_and_scale_the_prediction(meta):
    # As far as scales of past tasks reach: offset at will, the scale within what they show.
    task = begin(meta, 4)
    observed = search(task, meta.performance[4], 6)
    shifted = Observed(observed.positions, observed.performance + 5.0)
    assert task.choose(shifted, 3) == task.choose(observed, 3)
    np.testing.assert_allclose(task.predict(shifted)[0], task.predict(observed)[0] + 5.0, atol=0.05)


def test_predictions_go_through_what_was_observed_and_are_surest_there(meta):
    task = begin(meta, 6)
    observed = search(task, meta.performance[6], 6)
    mean, deviation = task.predict(observed)
    np.testing.assert_allclose(mean[observed.positions], observed.performance, atol=0.03)
    untried = np.setdiff1d(np.arange(24), observed.positions)
    assert deviation[observed.positions].max() < deviation[untried].mean()


def test_a_surrogate_that_knows_the_task_is_believed(meta):
    regret = 1.0 - meta.normalised[7]
    knowing = begin(meta, 7, believe=lambda encoded: meta.normalised[7], trust=0.9)
    assert regret[knowing.choose(Observed.nothing(), 1)[0]] == pytest.approx(0.0)
    assert len(knowing.past.scores) == len(begin(meta, 7).past.scores) + 1


def test_on_a_task_unlike_all_others_the_default_comes_first_until_it_was_tried(meta):
    task = begin(meta, 1, is_novel=True, believe=lambda encoded: encoded[:, 0], trust=0.5)
    default = task.past.default
    assert len(np.unique(task.weights)) == 1
    assert task.choose(Observed.nothing(), 3)[0] == default
    other = (default + 1) % 24
    observed = Observed(np.array([other]), np.array([0.5]))
    assert task.choose(observed, 1) == [default]
    assert default not in task.choose(observed.with_trial(default, 0.4), 5)


def test_configurations_beside_the_pool_are_learned_from_and_may_be_chosen(meta):
    fresh = meta.space.from_unit(np.random.default_rng(1).random((6, 4)))
    task = begin(meta, 8, more=fresh)
    assert task.past.regret.shape[1] == 30
    observed = Observed(np.array([24, 25, 0, 26, 1]), np.array([0.9, 0.5, 0.6, 0.4, 0.55]))
    assert set(task.choose(observed, 25)) == set(range(30)) - {24, 25, 0, 26, 1}


def test_places_are_those_of_the_pool_and_new_ones_behind_it(meta):
    pool, fresh = meta.configurations[:3], list(meta.configurations[3:6])
    positions = {configuration_id(configuration): p for p, configuration in enumerate(pool)}
    beside, at = place(positions, [fresh[0], pool[2], fresh[0], fresh[1]], [pool[0], fresh[2], fresh[1]])
    assert beside == fresh
    assert at.tolist() == [3, 2, 3, 4]


def test_the_default_is_added_only_where_all_others_are_expected_to_do_worse():
    mean = np.array([0.5, 0.4, 0.3, 0.6])
    assert with_default([1, 2], mean, 0) == [1, 0]
    assert with_default([2], mean, 0) == [0]
    assert with_default([1, 3], mean, 0) == [1, 3]
    assert with_default([0, 1], mean, 0) == [0, 1]
    assert with_default([], mean, 0) == []


def test_given_weights_are_those_of_the_portfolio_and_of_the_experts(meta):
    weights = np.full(11, 0.001)
    weights[8] = 0.99
    task = with_weights(begin(meta, 2), weights)
    np.testing.assert_array_equal(task.weights, weights)
    best_there = int(np.argmax(task.past.scores[8]))
    assert task.choose(Observed.nothing(), 1) == [best_there]
    # With that expert alone, what was observed elsewhere leaves its order nearly as it was.
    observed = Observed(np.array([(best_there + 1) % 24]), np.array([0.5]))
    mean, _ = task.predict(observed)
    assert np.corrcoef(mean, task.past.scores[8])[0, 1] > 0.9
    other, _ = begin(meta, 2).predict(observed)
    assert np.corrcoef(other, task.past.scores[8])[0, 1] < np.corrcoef(mean, task.past.scores[8])[0, 1]


def test_given_weights_count_behind_the_default_on_a_task_unlike_all_others(meta):
    weights = np.full(11, 0.001)
    weights[8] = 0.99
    task = with_weights(begin(meta, 2, is_novel=True), weights)
    best_there = int(np.argmax(task.past.scores[8]))
    observed = Observed(np.array([task.past.default]), np.array([0.5]))
    assert task.choose(Observed.nothing(), 1) == [task.past.default]
    assert task.choose(observed, 1) == [best_there]


@pytest.fixture(scope="module")
def two_kinds(forty_tasks):
    """Tasks on which the first or the last configurations are the best ones, as one meta-feature among noise says."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=forty_tasks.meta_features.shape)
    rising = np.linspace(0.0, 1.0, len(forty_tasks.configurations))
    performance = np.where(features[:, :1] > 0, rising[::-1], rising) + 0.02 * rng.random((40, len(rising)))
    return changed(forty_tasks, meta_features=features, performance=performance).past_tasks()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_past_tasks_are_weighed_by_a_forest_where_it_has_proved_itself(two_kinds, sign):
    row = np.zeros(two_kinds.meta_features.shape[1])
    row[0] = 1.5 * sign
    alike = two_kinds.meta_features[:, 0] * sign > 0
    forest, distance = (Recommender(two_kinds, replace(TABLE, task_forest=on)) for on in (True, False))
    np.testing.assert_allclose(forest.weigh(row).sum(), 1.0)
    assert forest.weigh(row)[alike].sum() > 0.8
    assert distance.weigh(row)[alike].sum() < 0.8
    first = forest.begin(row).choose(Observed.nothing(), 1)[0]
    assert two_kinds.regret[alike][:, first].mean() < 0.1


def test_nothing_is_learned_from_meta_features_that_are_not_known(two_kinds):
    recommender = Recommender(two_kinds)
    blank = np.full(two_kinds.meta_features.shape[1], np.nan)
    np.testing.assert_allclose(recommender.weigh(blank), 1 / 40)
    np.testing.assert_allclose(recommender.begin(np.ones_like(blank), is_novel=True).weights, 1 / 40)


def test_a_table_hands_over_to_the_experts_after_two_trials(two_kinds):
    task = Recommender(two_kinds, TABLE).begin(two_kinds.meta_features[3])
    assert task.choose(Observed.nothing(), 2) == select_greedily(two_kinds.regret, task.weights, 2)
    two = Observed(np.array([5, 9]), np.array([0.4, 0.5]))
    improvement = task.belief.improvement(two)
    improvement[two.positions] = -np.inf
    assert task.choose(two, 1) == [int(np.argmax(improvement))]
    without = Recommender(two_kinds, replace(TABLE, portfolio_trials=0, mixture_trials=0))
    begun = without.begin(two_kinds.meta_features[3])
    assert begun.choose(Observed.nothing(), 2) == np.argsort(-begun.belief.means[0], kind="stable")[:2].tolist()


def test_past_tasks_that_are_near_and_alike_weigh_more_than_those_that_are_only_one_of_both(two_kinds):
    recommender = Recommender(two_kinds)
    row = two_kinds.meta_features[3] + 0.1
    weights = recommender.weigh(row)
    alone = recommender.fitted_forest.weigh(recommender.distance.transform(row))
    squared = recommender.distance.squared(row)
    np.testing.assert_allclose(weights.sum(), 1.0)
    # To the forest many tasks of the same kind are alike; the nearest of them come first.
    assert weights[np.argsort(squared)[:5]].sum() > alone[np.argsort(squared)[:5]].sum()
    other_kind = (two_kinds.meta_features[:, 0] > 0) != (row[0] > 0)
    assert weights[other_kind].sum() < 0.2


def test_a_table_of_losses_in_the_thousands_is_searched_as_one_of_scores(two_kinds):
    """The level of the performances is not evidence about their scale."""
    task = Recommender(two_kinds, TABLE).begin(two_kinds.meta_features[3])
    performance = 1.0 - two_kinds.regret[3]
    paths = [search(task, level + performance, 10).positions for level in (0.0, 5000.0)]
    np.testing.assert_array_equal(*paths)


def test_what_a_benchmark_replays_falls_back_on_a_task_unlike_all_others_too(two_kinds):
    recommender = Recommender(two_kinds)
    near, strange = two_kinds.meta_features[3] + 0.01, two_kinds.meta_features[3] + 1e3
    assert recommender.novelty.percentile(near) < 95
    assert recommender.novelty.percentile(strange) == 100
    assert recommender.novelty.percentile(np.full_like(near, np.nan)) is None

    def first(row):
        context = StrategyContext(two_kinds.space, past=two_kinds, meta_features=row)
        (configuration,) = make_strategy("recommended", context).ask(1)
        return two_kinds.configurations.index(configuration)

    even = np.ones(len(two_kinds.regret))
    assert first(strange) == select_greedily(two_kinds.regret, even, 1)[0]
    # Both kinds of tasks count alike: what is best for one of them is not picked, as it is for a task that is known.
    assert two_kinds.regret[3, first(near)] < 0.1
