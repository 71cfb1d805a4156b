import itertools
import math

import pytest

from metaflow_hpo.collect.strategies.halving import bracket_size, promote, rung_fidelities
from metaflow_hpo.collect.strategies.registry import make_strategy
from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.space import Float, SearchSpace
from metaflow_hpo.trial import Trial

SPACE = SearchSpace((Float("x", 0.0, 1.0, 0.5),))
CYCLE = [(2, 27), (6, 9), (17, 3), (50, 1), (6, 12), (17, 4), (50, 1), (17, 6), (50, 2), (50, 4)]
"""Rungs of a cycle for 50 epochs: (epochs, configurations)."""


def make_trial(x, performance, epochs=1):
    outcome = {"status": "failed", "reason": "diverged"} if math.isnan(performance) else {}
    return Trial("t", "t", "mlp", {"x": x}, "halving", 0, epochs, performance, performance, 0.0, **outcome)


def play(budget, *, epochs=50, measure=lambda x, epochs: x, step=None, seed=0):
    """Return the rungs of a search, each the list of its trials in the order asked for."""
    strategy = make_strategy("halving", StrategyContext(SPACE, seed=seed, budget=budget, fidelity=epochs))
    rungs, fresh = [], True
    while True:
        at = strategy.fidelity
        size = strategy.batch_size
        asked = strategy.ask(step or size)
        if not asked:
            return rungs
        trials = [make_trial(c["x"], measure(c["x"], at), at) for c in asked]
        if fresh:
            rungs.append([])
        rungs[-1] += trials
        fresh = len(asked) == size
        strategy.tell(trials)


def shape(rungs):
    return [(rung[0].fidelity, len(rung)) for rung in rungs]


def test_a_cycle_is_that_of_hyperband_and_repeats_with_new_configurations():
    assert shape(play(69)) == CYCLE
    rungs = play(138)
    assert shape(rungs) == CYCLE * 2
    starts = [trial.configuration_id for i in (0, 4, 7, 9, 10, 14, 17, 19) for trial in rungs[i]]
    assert len(set(starts)) == len(starts) == 2 * (27 + 12 + 6 + 4)


def test_every_rung_but_a_first_one_is_the_best_third_of_the_one_below():
    # The order turns round with the epochs, so that each promotion must look at its own rung.
    rungs = play(69, measure=lambda x, epochs: x if epochs in (2, 17) else -x)
    for lower, upper in ((0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (7, 8)):
        best = sorted(rungs[lower], key=lambda trial: trial.performance, reverse=True)[: len(rungs[lower]) // 3]
        assert [t.configuration for t in rungs[upper]] == [t.configuration for t in best]


@pytest.mark.parametrize("budget", range(1, 150))
def test_any_budget_is_spent_exactly_and_ends_at_full_fidelity(budget):
    rungs = play(budget)
    assert sum(len(rung) for rung in rungs) == budget
    assert rungs[-1][0].fidelity == 50
    # No rung is left hanging: above every rung lies its third, or it is the highest.
    for lower, upper in itertools.pairwise(rungs):
        if lower[0].fidelity < 50:
            assert len(upper) == len(lower) // 3


@pytest.mark.parametrize(
    ("budget", "rungs"),
    [
        (1, [(50, 1)]),
        (4, [(17, 3), (50, 1)]),
        (13, [(6, 9), (17, 3), (50, 1)]),
        (20, [(6, 12), (17, 4), (50, 1), (50, 3)]),
        (40, CYCLE[:4]),
    ],
)
def test_a_small_budget_gets_the_longest_bracket_that_fits(budget, rungs):
    assert shape(play(budget)) == rungs


@pytest.mark.parametrize(
    ("epochs", "rungs"),
    [(3, [1, 3]), (7, [3, 7]), (9, [1, 3, 9]), (26, [3, 9, 26]), (27, [1, 3, 9, 27]), (50, [2, 6, 17, 50])],
)
def test_rungs_are_a_third_of_each_other_down_to_a_27th(epochs, rungs):
    assert rung_fidelities(epochs) == rungs


def test_a_thousand_epochs_have_four_rungs_as_well():
    assert rung_fidelities(1000) == [38, 112, 334, 1000]


@pytest.mark.parametrize("epochs", [1, 2])
def test_too_few_epochs_for_two_rungs_are_refused(epochs):
    with pytest.raises(SearchSpaceMismatchError, match=f"needs a full fidelity of at least 3; got {epochs}"):
        rung_fidelities(epochs)


def test_a_bracket_starts_with_hyperbands_number_unless_the_budget_is_too_small():
    assert [bracket_size(halvings, 3, 1000) for halvings in (3, 2, 1, 0)] == [27, 12, 6, 4]
    assert [bracket_size(2, 3, left) for left in (12, 13, 14, 15, 16, 17)] == [0, 9, 10, 11, 11, 12]
    assert [bracket_size(0, 3, left) for left in (0, 1, 3, 9)] == [0, 1, 3, 4]


def test_failed_trials_never_go_on():
    performances = [math.nan, 0.1, math.nan, 0.3, math.nan, 0.2, math.nan, 0.0, math.nan]
    trials = [make_trial(i / 10, performance) for i, performance in enumerate(performances)]
    assert promote(trials) == [{"x": 0.3}, {"x": 0.5}, {"x": 0.1}]
    assert promote(trials[:3]) == [{"x": 0.1}]
    assert promote(trials[:1]) == []
    rungs = play(69, measure=lambda x, epochs: math.nan if x > 0.5 else x)
    promoted = [t for i in (1, 2, 3, 5, 6, 8) for t in rungs[i]]
    assert promoted
    assert all(trial.status == "ok" for trial in promoted)


def test_a_rung_in_which_all_fail_ends_its_bracket_and_the_budget_goes_to_the_next():
    rungs = play(69, measure=lambda x, epochs: math.nan if epochs < 50 else x)
    assert shape(rungs) == [(2, 27), (6, 12), (17, 6), (50, 4), (6, 12), (17, 6), (50, 2)]


def test_equals_go_on_in_the_order_in_which_they_were_proposed():
    trials = [make_trial(x, performance) for x, performance in ((0.9, 0.5), (0.1, 0.5), (0.5, 0.7), (0.2, 0.5))]
    assert promote([*trials, *trials[1:3], make_trial(0.3, 0.1)])[:2] == [{"x": 0.5}, {"x": 0.5}]
    assert promote(trials * 2)[2:] == []
    assert promote([trials[1], trials[0], make_trial(0.3, 0.1)]) == [{"x": 0.1}]


def test_nothing_is_proposed_until_the_rung_has_been_heard_of():
    strategy = make_strategy("halving", StrategyContext(SPACE, budget=40, fidelity=50))
    first, second = strategy.ask(20), strategy.ask(20)
    assert (len(first), len(second), strategy.ask(5)) == (20, 7, [])
    strategy.tell([make_trial(c["x"], c["x"], 2) for c in first])
    assert (strategy.ask(5), strategy.fidelity) == ([], 2)
    strategy.tell([make_trial(c["x"], c["x"], 2) for c in second])
    assert (strategy.fidelity, strategy.batch_size) == (6, 9)


def test_hearing_in_small_steps_and_playing_again_change_nothing():
    assert play(69, step=4) == play(69) == play(69, step=1)
    assert play(69, seed=1) != play(69)


def test_where_more_epochs_tell_more_the_long_trainings_find_the_peak():
    # Short trainings favour a large x a little; the peak of the full ones is at 0.6.
    rungs = play(69, measure=lambda x, epochs: -abs(x - 0.6) + x / epochs)
    full = [trial for rung in rungs for trial in rung if trial.fidelity == 50]
    assert abs(max(full, key=lambda trial: trial.performance).configuration["x"] - 0.6) < 0.05


def test_each_bracket_of_a_cycle_costs_about_four_full_trainings():
    rungs = play(69)
    epochs = [sum(t.fidelity for rung in rungs[part] for t in rung) for part in map(slice, (0, 4, 7, 9), (4, 7, 9, 10))]
    assert epochs == [209, 190, 202, 200]
