"""What holds for every strategy that a benchmark replays, beside the contract of strategies."""

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.collect.strategies.pool import Pool
from metaflow_hpo.collect.strategies.registry import LEARNING, STRATEGY_NAMES, make_strategy
from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.evaluate.benchmark import DEFAULT_NAMES, SEEDLESS
from metaflow_hpo.evaluate.replay import replay
from metaflow_hpo.history import History
from metaflow_hpo.recommender.strategies.peers import PACKAGES
from metaflow_hpo.trial import Trial

POOL = 16
PICKS = 12
SEED = 1_000_003_000
"""Seeds of the benchmark are that large: they depend on the task's name."""
OTHERS = [0, 1, 3, 4, 5]


def make_frame(tasks=6, pool=POOL, *, shared=True, seed=0):
    """Return trials whose optimum on task t is a learning rate at `a_t`, the task's meta-feature."""
    rng = np.random.default_rng(seed)
    parts = []
    for t, best_at in enumerate(np.linspace(0.1, 0.9, tasks)):
        draw = np.random.default_rng(99) if shared else rng
        u = draw.random((pool, 3))
        kind = np.where(u[:, 2] < 0.5, "adam", "sgd")
        performance = 0.5 + 0.1 * t - np.abs(u[:, 0] - best_at) - 0.2 * u[:, 1] * (kind == "sgd")
        parts.append(
            pd.DataFrame(
                {
                    "task_id": f"task_{t}",
                    "hp_learning_rate": 10 ** (-4 + 4 * u[:, 0]),
                    "hp_width": (16 + 100 * u[:, 1]).astype(int),
                    "hp_optimizer": kind,
                    "mf_best_at": best_at,
                    "performance": performance,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module", params=[True, False], ids=["shared", "unshared"])
def history(request):
    return History.from_frame(make_frame(shared=request.param))


@pytest.fixture(params=[name for name in STRATEGY_NAMES if name not in {"optuna_gp", "halving"}])
def name(request):
    if request.param in PACKAGES:
        pytest.importorskip(PACKAGES[request.param])
    return request.param


def begin(name, history, past, target, *, seed=SEED, meta_features=None):
    """Return a strategy for a task and the pool it is confined to."""
    task = history.tasks[target]
    seen = history.past_tasks(past, task.positions)
    pool = Pool(seen.space, seen.configurations)
    features = task.meta_features if meta_features is None else meta_features
    context = StrategyContext(seen.space, seed=seed, budget=PICKS, pool=pool, past=seen, meta_features=features)
    return make_strategy(name, context), pool


class RecordingPerformance(np.ndarray):
    """An array that remembers which single cells were read and forbids to read it as a whole."""

    def __new__(cls, values):
        array = np.asarray(values, dtype=np.float64).view(cls)
        array.read = []
        return array

    def __getitem__(self, key):
        if not isinstance(key, int):
            raise TypeError(f"read {key!r} at once")
        self.read.append(key)
        return float(np.asarray(self)[key])


class TestEveryStrategy:
    def test_never_repeats_a_pick_and_uses_up_the_pool_or_stops(self, name, history):
        order = replay(*begin(name, history, OTHERS, 2), history.tasks[2].performance, POOL + 5)
        assert len(set(order.tolist())) == len(order) >= 1
        assert name in {"default", "grid", "flaml_zero_shot"} or len(order) == POOL

    def test_the_order_of_past_tasks_changes_nothing(self, name, history):
        performance = history.tasks[2].performance
        orders = [
            replay(*begin(name, history, past, 2), performance, PICKS).tolist() for past in (OTHERS, [5, 3, 0, 4, 1])
        ]
        assert orders[0] == orders[1]

    def test_reads_nothing_of_the_new_task_but_what_it_picked(self, name, history):
        performance = RecordingPerformance(history.tasks[2].performance)
        order = replay(*begin(name, history, OTHERS, 2), performance, PICKS)
        assert performance.read == order.tolist()

    def test_what_it_did_not_pick_cannot_change_its_picks(self, name):
        frame = make_frame()
        history = History.from_frame(frame)
        target = history.tasks[2]
        order = replay(*begin(name, history, OTHERS, 2), target.performance, 6)
        # The same table with everything the strategy did not see of the task turned upside down.
        hidden = np.setdiff1d(np.arange(POOL), order)
        changed = target.performance.copy()
        changed[hidden] = -5.0 - changed[hidden]
        rows = np.flatnonzero(frame["task_id"] == "task_2")
        known = {tuple(c.items()): p for c, p in zip(history.configurations, changed, strict=True)}
        for row in rows:
            configuration = history.space.validate({hp: frame.loc[row, f"hp_{hp}"] for hp in history.space.names})
            frame.loc[row, "performance"] = known[tuple(configuration.items())]
        other = History.from_frame(frame)
        np.testing.assert_array_equal(other.tasks[2].performance, changed)
        again = replay(*begin(name, other, OTHERS, 2), changed, 6)
        assert again.tolist() == order.tolist()

    def test_answers_for_a_task_unlike_all_others_and_one_with_unknown_meta_features(self, name, history):
        for strange in (np.array([1e9]), np.array([np.nan])):
            strategy, pool = begin(name, history, OTHERS, 2, meta_features=strange)
            assert strategy.ask(1)[0] in pool.configurations

    def test_survives_equal_and_wildly_bad_performances(self, name, history):
        for values in (np.zeros(POOL), np.where(np.arange(POOL) % 2, -1e12, 0.5)):
            order = replay(*begin(name, history, OTHERS, 2), values, PICKS)
            assert 1 <= len(order) <= PICKS if name in {"default", "grid", "flaml_zero_shot"} else len(order) == PICKS


@pytest.mark.parametrize("name", [name for name in DEFAULT_NAMES if name in SEEDLESS])
def test_what_a_benchmark_runs_once_does_not_depend_on_the_seed(name, history):
    performance = history.tasks[2].performance
    one, other = (replay(*begin(name, history, OTHERS, 2, seed=seed), performance, PICKS) for seed in (1, 2))
    assert one.tolist() == other.tolist()


@pytest.mark.parametrize("name", [name for name in LEARNING if name not in PACKAGES])
def test_without_past_tasks_a_strategy_that_learns_from_them_says_so(name, history):
    with pytest.raises(MetaflowHPOError, match=r"learns from past tasks, and there are none.*--past HISTORY"):
        make_strategy(name, StrategyContext(history.space))


@pytest.mark.parametrize("name", [name for name in LEARNING if name not in PACKAGES])
def test_without_a_pool_it_chooses_among_what_past_tasks_have_tried(name, history):
    past = history.past_tasks(OTHERS, history.tasks[2].positions)
    strategy = make_strategy(name, StrategyContext(past.space, past=past))
    assert all(configuration in past.configurations for configuration in strategy.ask(4))


@pytest.mark.parametrize("name", [n for n in DEFAULT_NAMES if n not in {"random", "default", "gp", "tpe"}])
def test_finds_a_good_configuration_at_once_where_past_tasks_agree(name):
    frame = make_frame()
    frame["performance"] -= frame["performance"].where(frame["hp_optimizer"] == "sgd", 0.0).ne(0.0) * 3.0
    history = History.from_frame(frame)
    strategy, _ = begin(name, history, [0, 1, 2, 4, 5], 3, seed=0, meta_features=np.array([0.6]))
    assert strategy.ask(1)[0]["optimizer"] == "adam"


@pytest.mark.parametrize("name", ["recommended", "gp", "gp_warm", "rgpe"])
def test_model_based_strategies_find_the_optimum_of_a_known_function(name):
    history = History.from_frame(make_frame(tasks=8, pool=120))
    performance = history.tasks[3].performance
    found = []
    for seed in range(3):
        order = replay(*begin(name, history, [0, 1, 2, 4, 5, 6, 7], 3, seed=seed), performance, 16)
        found.append((performance.max() - performance[order].max()) / np.ptp(performance))
    # Random search of 16 in 120 leaves about .05.
    assert np.mean(found) < 0.02


def test_without_a_pool_a_gaussian_process_searches_the_whole_space(history):
    space = history.space
    strategy = make_strategy("gp", StrategyContext(space, seed=2))
    units = []
    for _ in range(14):
        (configuration,) = strategy.ask(1)
        units.append(space.to_unit([configuration])[0])
        strategy.tell([make_trial(configuration, 1.0 - abs(units[-1][0] - 0.3))])
    assert abs(np.array(units)[3:, 0] - 0.3).min() < 0.02


def make_trial(configuration, performance):
    return Trial("new", "new", "any", configuration, "gp", 0, 1, performance, performance, 0.0)
