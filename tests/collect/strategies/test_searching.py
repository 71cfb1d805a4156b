import math
import warnings
from dataclasses import replace

import numpy as np
import pytest

from metaflow_hpo.collect.strategies.pool import Pool
from metaflow_hpo.collect.strategies.registry import SEARCHING, make_strategy
from metaflow_hpo.collect.strategies.strategy import (
    UNLIMITED,
    StrategyContext,
    canonical,
    performances_with_failures,
)
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.space import Categorical, Condition, Float, Integer, SearchSpace, configuration_id
from metaflow_hpo.trial import Trial

SPACE = SearchSpace(
    (
        Float("learning_rate", 1e-4, 1.0, 0.01, log=True),
        Categorical("optimizer", ("sgd", "adam", "rmsprop"), "adam"),
        Float("momentum", 0.0, 0.99, 0.9, condition=Condition("optimizer", ("sgd", "rmsprop"))),
        Integer("width", 8, 512, 64, log=True),
        Integer("layers", 1, 4, 2),
    )
)
FIDELITY = 27
STRATEGIES = [name for name in SEARCHING if name not in {"default", "gp", "optuna_gp"}]
"""Those that draw from the whole space and go on for long; `test_contract` has the others as well."""
TINY = SearchSpace((Categorical("a", ("x", "y"), "y"), Integer("b", 1, 3, 2)))


def measure(configuration):
    """Peak of 1 at learning rate 0.01, SGD, momentum 0.8, 3 layers."""
    distance = (math.log10(configuration["learning_rate"]) + 2) ** 2 / 4
    return 1 - distance - 0.2 * (configuration["optimizer"] != "sgd") - 0.05 * abs(configuration["layers"] - 3)


def make_trial(configuration, performance, epochs=1):
    failed = math.isnan(performance)
    outcome = {"status": "failed", "reason": "diverged"} if failed else {}
    return Trial("t", "t", "mlp", configuration, "s", 0, epochs, performance, performance, 0.0, **outcome)


def play_trials(name, count, *, seed=0, space=SPACE, measure=measure, budget=None, step=None):
    strategy = make_strategy(name, StrategyContext(space, seed=seed, budget=budget or count, fidelity=FIDELITY))
    told = []
    while len(told) < count:
        fidelity = strategy.fidelity or FIDELITY
        asked = strategy.ask(min(count - len(told), step or strategy.batch_size))
        if not asked:
            break
        told += (trials := [make_trial(configuration, measure(configuration), fidelity) for configuration in asked])
        strategy.tell(trials)
    return told


def play(name, count, **options):
    return [trial.configuration for trial in play_trials(name, count, **options)]


@pytest.mark.parametrize("name", STRATEGIES)
def test_configurations_are_canonical_and_distinct_at_each_fidelity(name):
    trials = play_trials(name, 23)
    configurations = [trial.configuration for trial in trials]
    assert len(configurations) == (len(SPACE.grid(23)) if name == "grid" else 23)
    assert [SPACE.validate(configuration) for configuration in configurations] == configurations
    assert all(list(configuration) == list(SPACE.validate(configuration)) for configuration in configurations)
    assert len({trial.key for trial in trials}) == len(trials)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "halving"])
def test_only_halving_says_at_which_fidelity_to_train(name):
    assert make_strategy(name, StrategyContext(SPACE, seed=0, budget=9, fidelity=FIDELITY)).fidelity is None


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_same_seed_and_the_same_tells_give_the_same_configurations(name):
    assert play_trials(name, 23, seed=3) == play_trials(name, 23, seed=3)


@pytest.mark.parametrize("name", ["random", "tpe", "hyperopt", "halving"])
def test_another_seed_gives_other_configurations(name):
    assert play(name, 5, seed=1) != play(name, 5, seed=2)


@pytest.mark.parametrize("name", ["sobol", "random", "tpe", "hyperopt"])
def test_a_longer_search_starts_like_a_shorter_one(name):
    assert play(name, 24)[:22] == play(name, 22)


def test_asking_in_small_steps_changes_nothing():
    for name in ("sobol", "random", "grid", "halving", "default"):
        assert play(name, 20, step=3, budget=20) == play(name, 20)


@pytest.mark.parametrize("name", ["tpe", "hyperopt"])
def test_asking_twice_for_two_is_asking_for_four(name):
    told = [make_trial(configuration, measure(configuration)) for configuration in play("random", 22)]
    whole, halves = (make_strategy(name, StrategyContext(SPACE, budget=30, fidelity=FIDELITY)) for _ in range(2))
    for strategy in (whole, halves):
        strategy.tell(told)
    assert whole.ask(4) == halves.ask(2) + halves.ask(2)


@pytest.mark.parametrize("name", ["tpe", "hyperopt"])
def test_a_running_trial_keeps_others_away(name):
    """As it counts as bad, the next ones are not asked for right beside it."""
    told = [make_trial(configuration, measure(configuration)) for configuration in play("random", 25)]
    strategy = make_strategy(name, StrategyContext(SPACE, budget=40, fidelity=FIDELITY))
    strategy.tell(told)
    asked = strategy.ask(8)
    assert len({configuration_id(configuration) for configuration in asked}) == 8
    assert not {configuration_id(c) for c in asked} & {trial.configuration_id for trial in told}


@pytest.mark.parametrize("name", ["sobol", "grid", "default", "tpe", "hyperopt"])
def test_in_a_pool_the_nearest_free_configuration_is_asked_for(name):
    pool = Pool(SPACE, tuple(play("random", 30, seed=8)))
    context = StrategyContext(SPACE, budget=30, fidelity=FIDELITY, pool=pool)
    strategy, free = make_strategy(name, context), make_strategy(name, StrategyContext(SPACE, budget=30))
    (first,) = strategy.ask(1)
    assert first in pool.configurations
    if name in {"sobol", "grid", "default"}:
        wanted = SPACE.encode(free.ask(1))[0]
        distance = ((pool.points - wanted) ** 2).sum(axis=1)
        assert first == pool.configurations[int(np.argmin(distance))]


def test_a_pool_is_used_up_in_the_order_of_the_draw():
    pool = Pool(SPACE, tuple(play("sobol", 12)))
    strategy = make_strategy("random", StrategyContext(SPACE, seed=5, pool=pool))
    order = np.random.default_rng(5).permutation(12)
    assert strategy.ask(20) == [pool.configurations[position] for position in order]


def test_what_was_told_without_being_asked_for_is_passed_over():
    told = [make_trial(configuration, 0.5) for configuration in play("sobol", 3)]
    strategy = make_strategy("sobol", StrategyContext(SPACE))
    strategy.tell(told)
    assert strategy.ask(2) == play("sobol", 5)[3:]


@pytest.mark.parametrize(("name", "size"), [("sobol", UNLIMITED), ("random", UNLIMITED), ("tpe", 3), ("hyperopt", 3)])
def test_the_batch_size_says_how_long_a_strategy_goes_without_hearing(name, size):
    assert make_strategy(name, StrategyContext(SPACE, budget=10, fidelity=FIDELITY, parallel=3)).batch_size == size


def test_sobol_starts_with_the_default_and_ignores_the_seed():
    configurations = play("sobol", 64, seed=1)
    assert configurations[0] == SPACE.default
    assert configurations == play("sobol", 64, seed=2)
    assert configurations[:48] == play("sobol", 256)[:48]


def test_anchors_come_after_the_default_and_before_the_sequence():
    anchor = SPACE.default | {"width": 100}
    strategy = make_strategy("anchors", StrategyContext(SPACE, budget=10, anchors=(anchor,)))
    assert strategy.ask(4) == [SPACE.default, anchor, *play("sobol", 3)[1:]]


def test_the_shared_core_never_changes():
    # Trials of all tasks are compared by these configurations: another version of scipy must not draw others.
    assert [configuration_id(configuration) for configuration in play("sobol", 3)] == GOLDEN_SOBOL


GOLDEN_SOBOL = ["d5a941c1455e", "d633775266a7", "149b72643256"]


def test_sobol_fills_the_space_more_evenly_than_chance():
    units = np.sort([math.log10(configuration["learning_rate"]) / 4 + 1 for configuration in play("sobol", 65)[1:]])
    # 64 scrambled points in base 2: exactly one in each 64th of every dimension (up to the six digits kept).
    assert np.abs(units - (np.arange(64) + 0.5) / 64).max() < 0.5 / 64 + 1e-4


def test_the_grid_is_that_of_the_space():
    assert play("grid", 40) == [SPACE.validate(configuration) for configuration in SPACE.grid(40)]


@pytest.mark.parametrize("name", STRATEGIES)
def test_an_exhausted_space_ends_the_search(name):
    configurations = play(name, 20, space=TINY, measure=lambda configuration: 0.5)
    assert len({configuration_id(configuration) for configuration in configurations}) == 6
    assert len(configurations) == (9 if name == "halving" else 6)  # rungs of 6, 2 and 1


@pytest.mark.parametrize("name", ["tpe", "hyperopt"])
def test_a_strategy_that_learns_beats_chance_on_a_peak_and_finds_its_branch(name):
    late = [measure(configuration) for configuration in play(name, 45)[-15:]]
    chance = [measure(configuration) for configuration in play("random", 200)]
    assert np.mean(late) > np.mean(chance) + 0.1


@pytest.mark.parametrize("name", ["tpe", "hyperopt"])
def test_a_failed_trial_counts_as_the_worst_so_far(name):
    def fail(configuration):
        return math.nan if configuration["learning_rate"] > 0.1 else measure(configuration)

    def score_as_worst():
        strategy = make_strategy(name, StrategyContext(SPACE, seed=0, budget=30, fidelity=FIDELITY))
        told = []
        for _ in range(30):
            (configuration,) = strategy.ask(1)
            told.append(configuration)
            strategy.tell([make_trial(configuration, fail(configuration))])
        return told

    configurations = score_as_worst()
    assert sum(configuration["learning_rate"] > 0.1 for configuration in configurations[20:]) <= 2


def test_failed_trials_get_the_worst_performance_and_zero_where_all_failed():
    failed = make_trial(TINY.default, math.nan)
    trials = [make_trial(TINY.default, -3.0), failed, make_trial(TINY.default, 2.0)]
    assert performances_with_failures(trials) == [-3.0, -3.0, 2.0]
    assert performances_with_failures([failed]) == [0.0]


def test_a_stopped_trial_counts_as_what_it_had_reached():
    stopped = replace(
        make_trial(TINY.default, math.nan), status="stopped", reason="stopped: too low", learning_curve=(0.1, 0.4)
    )
    assert performances_with_failures([make_trial(TINY.default, 0.2), stopped]) == [0.2, 0.4]


@pytest.mark.parametrize("name", ["tpe", "hyperopt"])
def test_a_search_in_which_everything_fails_goes_on(name):
    assert len(play(name, 25, measure=lambda configuration: math.nan)) == 25


def test_a_value_outside_its_range_is_clipped():
    drawn = {"learning_rate": 1.0000001, "optimizer": "adam", "width": 513, "layers": 0.4, "momentum": 0.5}
    assert canonical(SPACE, drawn) == {"learning_rate": 1.0, "optimizer": "adam", "width": 512, "layers": 1}


def test_optuna_stays_silent_and_keeps_its_settings(capfd):
    import optuna

    before = optuna.logging.get_verbosity()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        play("tpe", 12)
    assert caught == []
    assert optuna.logging.get_verbosity() == before
    assert capfd.readouterr() == ("", "")


def test_an_unknown_strategy_is_refused():
    with pytest.raises(
        MetaflowHPOError, match=r"strategy must be one of sobol, random, .* or an address module:attribute; got 'magic'"
    ):
        make_strategy("magic", StrategyContext(SPACE, seed=0, budget=1, fidelity=FIDELITY))
