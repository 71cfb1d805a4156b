import json
import math

import numpy as np
import pytest

from metaflow_hpo.recommender.stopping import MIN_TRIALS, BeatenBy, StoppingRule
from metaflow_hpo.trial import Trial

EPOCHS = 50


def make_curves(count=600, seed=0, noise=0.01):
    """Curves that rise from chance to a plateau at a rate of their own."""
    rng = np.random.default_rng(seed)
    plateau, rate = rng.uniform(0.5, 1.0, count), rng.uniform(0.02, 0.5, count)
    clean = plateau[:, None] - (plateau - 0.3)[:, None] * np.exp(-rate[:, None] * np.arange(1, EPOCHS + 1))
    return np.clip(clean + noise * rng.normal(size=clean.shape), 0, 1)


def make_trial(performance, epochs=EPOCHS, status="ok"):
    lost = {"performance": math.nan, "status": status, "reason": "x"} if status != "ok" else {}
    values = {"performance": performance, "test_performance": 0.0, "duration_s": 1.0, **lost}
    return Trial("t", "t", "mlp", {}, "s", 0, epochs, **values)


@pytest.fixture(scope="module")
def rule():
    return StoppingRule.fit(make_curves())


def test_the_bound_holds_as_often_as_its_quantile_says_on_curves_it_never_saw(rule):
    fresh = make_curves(2000, seed=1)
    for epoch in rule.checkpoints:
        held = (fresh[:, -1] <= rule.bound(fresh[:, :epoch])).mean()
        assert 0.95 <= held <= 1.0


def test_bounds_come_down_to_what_is_reached(rule):
    fresh = make_curves(500, seed=2)
    slack = [float((rule.bound(fresh[:, :epoch]) - fresh[:, -1]).mean()) for epoch in rule.checkpoints]
    assert slack == sorted(slack, reverse=True)
    assert slack[-1] < 0.05 < slack[0]


def test_a_curve_without_noise_that_only_shifts_gives_its_own_end():
    shifts = np.linspace(0, 0.5, 300)
    curves = shifts[:, None] + np.linspace(0, 0.4, EPOCHS)
    rule = StoppingRule.fit(curves)
    for epoch in rule.checkpoints:
        assert rule.bound(curves[:, :epoch]) == pytest.approx(curves[:, -1], abs=1e-6)


def test_the_rule_comes_back_from_json_as_it_was(rule):
    back = StoppingRule.from_json(json.loads(json.dumps(rule.to_json())))
    assert (back.epochs, back.checkpoints) == (rule.epochs, rule.checkpoints)
    assert np.array_equal(back.coefficients, rule.coefficients)


def test_the_same_curves_give_the_same_rule():
    many = make_curves(5000)
    assert np.array_equal(StoppingRule.fit(many).coefficients, StoppingRule.fit(many).coefficients)


@pytest.mark.parametrize("curves", [make_curves(199), make_curves()[:, :12], np.empty((0, EPOCHS))])
def test_there_is_no_rule_from_too_few_curves_or_epochs(curves):
    assert StoppingRule.fit(curves) is None


def test_nothing_is_stopped_before_enough_whole_trials_are_known(rule):
    few = [make_trial(0.9) for _ in range(MIN_TRIALS - 1)]
    others = [make_trial(0.99, epochs=10), make_trial(0.99, status="failed"), make_trial(0.99, status="stopped")]
    assert rule.judge([*few, *others]) is None
    judge = rule.judge([*few, *others, make_trial(0.8)])
    assert judge == BeatenBy(rule, 0.9)
    assert judge.checkpoints == rule.checkpoints


def test_a_training_is_stopped_where_it_is_not_expected_to_reach_the_best(rule):
    flat = np.full(rule.checkpoints[-1], 0.5)
    bound = float(rule.bound(flat[None, :])[0])
    assert BeatenBy(rule, bound - 1e-9)(flat) == ""
    said = BeatenBy(rule, 0.9)(flat)
    assert said == f"stopped: after epoch 32 expected to reach {bound:.3f} at best; another has 0.900"
