"""The contract of sequential recommenders: every contender passes every test of this class."""

from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.evaluate.benchmark import replay
from metaflow_hpo.history import History
from metaflow_hpo.recommend.contenders import ABLATIONS, CONTENDERS, DEFAULT_NAMES, choose_names
from metaflow_hpo.recommend.sequential import Observed
from metaflow_hpo.recommend.transfer_peers import PACKAGES

POOL = 16
STOPS = {"default", "flaml_zero_shot"}
"""They have nothing more to say after a while."""
PICKS = 12
SEED = 1_000_003_000
"""Seeds of the benchmark are that large: they depend on the task's name."""


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


@pytest.fixture(params=list(CONTENDERS))
def name(request):
    if request.param in PACKAGES:
        pytest.importorskip(PACKAGES[request.param])
    return request.param


def fit(name, history, past, target):
    return CONTENDERS[name](history.past_tasks(past, history.tasks[target].positions))


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


class TestEveryContender:
    def test_never_repeats_a_pick_and_uses_up_the_pool(self, name, history):
        target = history.tasks[2]
        pick = fit(name, history, [0, 1, 3, 4, 5], 2).start(target.meta_features, SEED)
        order = replay(pick, target.performance, POOL + 5)
        assert len(set(order.tolist())) == len(order)
        assert 1 <= len(order) <= POOL if name in STOPS else len(order) == POOL
        assert order.min() >= 0
        assert order.max() < POOL

    def test_the_same_seed_gives_the_same_picks_and_a_picker_holds_no_state(self, name, history):
        target = history.tasks[2]
        first, again = (fit(name, history, [0, 1, 3, 4, 5], 2) for _ in range(2))
        order = replay(first.start(target.meta_features, SEED), target.performance, PICKS)
        # A picker that was never asked before continues from the same trials with the same pick.
        for n in range(len(order)):
            observed = Observed(order[:n], target.performance[order[:n]])
            assert again.start(target.meta_features, SEED)(observed) == order[n]

    def test_the_order_of_past_tasks_changes_nothing(self, name, history):
        target = history.tasks[2]
        orders = [
            replay(fit(name, history, past, 2).start(target.meta_features, SEED), target.performance, PICKS).tolist()
            for past in ([0, 1, 3, 4, 5], [5, 3, 0, 4, 1])
        ]
        assert orders[0] == orders[1]

    def test_reads_nothing_of_the_new_task_but_what_it_picked(self, name, history):
        target = history.tasks[2]
        performance = RecordingPerformance(target.performance)
        pick = fit(name, history, [0, 1, 3, 4, 5], 2).start(target.meta_features, SEED)
        order = replay(pick, performance, PICKS)
        assert performance.read == order.tolist()

    def test_what_it_did_not_pick_cannot_change_its_picks(self, name):
        frame = make_frame()
        history = History.from_frame(frame)
        target = history.tasks[2]
        order = replay(fit(name, history, [0, 1, 3, 4, 5], 2).start(target.meta_features, SEED), target.performance, 6)
        # The same table with everything the recommender did not see of the task turned upside down.
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
        again = replay(fit(name, other, [0, 1, 3, 4, 5], 2).start(target.meta_features, SEED), changed, 6)
        assert again.tolist() == order.tolist()

    def test_answers_for_a_task_unlike_all_others_and_one_with_unknown_meta_features(self, name, history):
        recommender = fit(name, history, [0, 1, 3, 4, 5], 2)
        for strange in (np.array([1e9]), np.array([np.nan])):
            assert recommender.start(strange, 0)(Observed.nothing()) in range(POOL)

    def test_survives_equal_and_wildly_bad_performances(self, name, history):
        recommender = fit(name, history, [0, 1, 3, 4, 5], 2)
        for values in (np.zeros(POOL), np.where(np.arange(POOL) % 2, -1e12, 0.5)):
            order = replay(recommender.start(np.array([0.5]), 0), values, PICKS)
            assert 1 <= len(order) <= PICKS if name in STOPS else len(order) == PICKS


@pytest.mark.skipif(find_spec("flaml") is not None, reason="FLAML is installed")
def test_a_missing_package_is_named_with_the_remedy():
    with pytest.raises(
        MetaflowHPOError, match=r"flaml_zero_shot needs flaml, .* pip install 'metaflow-hpo\[benchmark\]'"
    ):
        choose_names(["surrogate", "flaml_zero_shot"])


def test_flags_choose_the_parts_and_the_baselines():
    assert choose_names() == DEFAULT_NAMES
    assert choose_names(ablation=True) == ("surrogate", *ABLATIONS)
    assert choose_names(["random"], ablation=True) == ("random", *ABLATIONS)


@pytest.mark.parametrize("name", [n for n in DEFAULT_NAMES if n not in {"random", "default", "gp", "tpe"}])
def test_finds_a_good_configuration_at_once_where_past_tasks_agree(name):
    frame = make_frame()
    frame["performance"] -= frame["performance"].where(frame["hp_optimizer"] == "sgd", 0.0).ne(0.0) * 3.0
    history = History.from_frame(frame)
    first = replay(fit(name, history, [0, 1, 2, 4, 5], 3).start(np.array([0.6]), 0), history.tasks[3].performance, 1)
    assert history.configurations[first[0]]["optimizer"] == "adam"


@pytest.mark.parametrize("name", ["surrogate", "gp", "gp_warm", "rgpe"])
def test_model_based_recommenders_find_the_optimum_of_a_known_function(name):
    history = History.from_frame(make_frame(tasks=8, pool=120))
    task = history.tasks[3]
    past = [0, 1, 2, 4, 5, 6, 7]
    found = []
    for seed in range(3):
        order = replay(fit(name, history, past, 3).start(task.meta_features, seed), task.performance, 16)
        found.append((task.performance.max() - task.performance[order].max()) / np.ptp(task.performance))
    # Random search of 16 in 120 leaves about .05.
    assert np.mean(found) < 0.02
