from dataclasses import replace

import numpy as np
import pytest

from metaflow_hpo.recommender.tuning import Forecast, Gains, TuningEvidence, count_errors

NOTHING = np.full((2, 3), np.nan)
GAINS = Gains(
    validated=np.array([[0.0, 0.2, 0.1], [0.0, -0.1, 0.3]]),
    unseen=np.array([[0.0, -0.1, 0.2], [np.nan, np.nan, np.nan]]),
    default=0,
)


def test_gains_are_shares_of_the_range_of_performances(meta):
    past = meta.past_tasks()
    bounded, free = Gains.of(past, (0.0, 2.0)), Gains.of(past, None)
    gain = past.performance - past.performance[:, [past.default]]
    np.testing.assert_allclose(bounded.validated, gain / 2.0)
    np.testing.assert_allclose(free.validated, gain / np.ptp(past.ends, axis=1)[:, None])
    assert np.isnan(free.unseen).all()


def test_both_estimates_of_one_configuration_count_and_validation_alone_where_there_is_no_other():
    np.testing.assert_allclose(GAINS.of_one(1), [0.05, -0.1])


def test_the_best_is_chosen_by_validation_and_judged_on_unseen_rows():
    # On the first task validation prefers 1, which loses there; on the second half of a validated .3 is believed.
    np.testing.assert_allclose(GAINS.of_best([1, 2]), [-0.1, 0.15])
    # Where all do worse than the default, that is what is left.
    np.testing.assert_allclose(GAINS.of_best([1])[1], 0.0)


def test_how_much_of_a_validated_gain_is_kept_is_learned_where_both_are_known():
    validated = np.tile([0.0, 0.1, 0.2], (12, 1))
    learned = Gains(validated, 0.25 * validated, 0)
    assert learned.kept == pytest.approx(0.25)
    assert replace(learned, unseen=np.full((12, 3), np.nan)).kept == 0.5


def test_errors_are_of_the_weighted_mean_and_none_where_most_tasks_gained_nothing():
    gain = np.array([0.1, 0.3, 0.1, 0.3])
    # Mean .2, deviation .1, of four tasks that weigh the same: an error of .05.
    assert count_errors(gain, np.full(4, 0.25)) == pytest.approx(4.0)
    # Mean .15, variance .0075, squares of the weights .375.
    assert count_errors(gain, np.array([0.5, 0.0, 0.25, 0.25])) == pytest.approx(0.15 / (0.0075 * 0.375) ** 0.5)
    assert count_errors(np.array([9.0, -0.1, -0.1]), np.full(3, 1 / 3)) == 0.0


def test_the_threshold_is_the_least_that_lets_one_in_twenty_lose():
    names = [f"t{n}" for n in range(40)]
    errors = {name: 0.1 * n for n, name in enumerate(names)}
    # Tasks 10, 20 and 30 lose .02: two of forty may, so that an expectation of 1.0 errors does not suffice.
    gain = {name: -0.02 if n in (10, 20, 30) else 0.01 for n, name in enumerate(names)}
    evidence = TuningEvidence(errors, gain)
    assert evidence.threshold == 1.125
    assert TuningEvidence.from_json(evidence.to_json()).threshold == 1.125
    assert TuningEvidence(errors, dict.fromkeys(names, -1.0)).threshold == 3.75
    assert TuningEvidence(dict.fromkeys(names, 9.0), dict.fromkeys(names, -1.0)).threshold == np.inf
    # Few tasks prove nothing.
    assert evidence.of(names[:10]).threshold == 1.0


def test_a_forecast_says_what_like_tasks_gained():
    gain, weights = np.array([-0.02, 0.0, 0.01, 0.05]), np.array([0.1, 0.2, 0.4, 0.3])
    found = Forecast.of(gain, weights, 2.0)
    assert found.expected_gain == pytest.approx(2 * 0.017)
    assert (found.low, found.high) == pytest.approx((-0.04, 0.1))
    assert found.share_paid == pytest.approx(0.7)
    assert found.worth_it
    assert found.say("r2") == (
        "Tuning with 5 recommendations beside the default is expected to pay: +0.034 r2 over the default on unseen "
        "rows (80 % of them: -0.040 to +0.100), and it gained on 70 % of like past tasks."
    )


def test_what_gained_on_few_like_tasks_is_not_worth_it_and_there_are_no_units_without_bounds():
    found = Forecast.of(np.array([-0.02, 0.0, 0.5]), np.array([0.3, 0.4, 0.3]), None)
    assert not found.worth_it
    assert found.to_json("loss") == {
        "expected_gain": None,
        "low": None,
        "high": None,
        "share_paid": 0.3,
        "worth_it": False,
        "coverage": 0.8,
        "text": "Tuning with 5 recommendations beside the default is hardly worth it here: it gained on 30 % of "
        "like past tasks. The default will do.",
    }
