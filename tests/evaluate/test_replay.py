import numpy as np
import pytest

from metaflow_hpo.collect.strategies.pool import Pool
from metaflow_hpo.collect.strategies.registry import make_strategy
from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.evaluate.replay import Contestant, HeldOut, incumbent_regret, replay
from tests.conftest import changed


def test_the_regret_of_an_order_is_that_of_the_best_so_far():
    regret = np.array([0.9, 0.2, np.nan, 0.0])
    assert incumbent_regret(regret, [2, 0, 1, 3], (1, 2, 3, 4)) == [1.0, 0.9, 0.2, 0.0]


def test_a_short_order_stays_at_its_last_incumbent():
    assert incumbent_regret(np.array([0.9, 0.2]), [1], (1, 5, 10)) == [0.2, 0.2, 0.2]


def test_asked_at_once_a_strategy_hears_nothing_and_one_by_one_it_learns(meta):
    past, gp = np.arange(11), Contestant.called("gp")
    at_once = HeldOut(meta, past, "at once").order(gp, 11, 12)
    turned = changed(meta, performance=np.vstack([meta.performance[:11], -meta.performance[11:]]))
    assert HeldOut(turned, past, "at once").order(gp, 11, 12).tolist() == at_once.tolist()
    learned = [HeldOut(history, past).order(gp, 11, 12).tolist() for history in (meta, turned)]
    assert learned[0] != learned[1]
    assert learned[0][:3] == learned[1][:3] == at_once[:3].tolist()


def test_what_a_task_never_tried_is_not_asked_for(meta):
    performance = meta.performance.copy()
    performance[11, 4:] = np.nan
    sparse = changed(meta, performance=performance)
    held_out = HeldOut(sparse, np.arange(11))
    assert sorted(held_out.order(Contestant.called("recommended"), 11, 10).tolist()) == [0, 1, 2, 3]
    assert held_out.judge(Contestant.called("recommended"), [11], (10,))["regret"].tolist() == [0.0]


def test_random_search_is_averaged_over_seeds_and_differs_from_task_to_task(meta):
    held_out, several = HeldOut(meta, None), Contestant.called("random", seeds=4)
    runs = [held_out.order(several, 2, 24, seed=seed) for seed in range(4)]
    reached = np.mean([meta.performance[2, order[:3]].max() for order in runs])
    line = held_out.judge(several, [2], (3,)).iloc[0]
    assert line["performance"] == pytest.approx(reached)
    assert len({tuple(order) for order in runs}) == 4
    assert held_out.order(several, 3, 24).tolist() != runs[0].tolist()


def test_random_search_prefers_no_configuration(meta):
    held_out, random = HeldOut(meta, None), Contestant.called("random")
    firsts = [held_out.order(random, 0, 1, seed=seed)[0] for seed in range(600)]
    assert np.bincount(firsts, minlength=24).min() > 8


def test_a_strategy_of_several_fidelities_cannot_be_replayed(meta):
    pool = Pool(meta.space, meta.configurations)
    strategy = make_strategy("halving", StrategyContext(meta.space, budget=20, fidelity=27, pool=pool))
    with pytest.raises(MetaflowHPOError, match="at full fidelity, since only such trials are recorded"):
        replay(strategy, pool, meta.performance[0], 5)
