"""What tuning would have brought on past tasks, asked about each without its family."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.evaluate.benchmark import Plan, run_benchmark
from metaflow_hpo.evaluate.fitting import fit_recommender
from metaflow_hpo.evaluate.tuning_evidence import learn_tuning, measure_forecasts, measure_tuning
from metaflow_hpo.history import History
from metaflow_hpo.metric import Metric
from metaflow_hpo.recommender.strategies.recommended import FitRecommender
from metaflow_hpo.recommender.tuning import TuningEvidence
from metaflow_hpo.space import Float, SearchSpace

SPACE = SearchSpace((Float("x", 0.0, 1.0, 0.5),))


def make_history(tasks=16, unseen=0.1):
    """Tasks whose best x is .9, .2 above the default, of which `unseen` is left on unseen rows."""
    lines = [
        {
            "task_id": f"t{t}",
            "hp_x": x / 10,
            "performance": 0.4 + 0.02 * t + 0.2 - 0.5 * abs(x / 10 - 0.9),
            "test_performance": 0.4 + 0.02 * t + 0.25 * unseen * (x / 10 - 0.5) * 10,
            "mf_at": float(t),
        }
        for t in range(tasks)
        for x in (1, 3, 5, 7, 9)
    ]
    return History.from_frame(pd.DataFrame(lines), space=SPACE, metric=Metric.read("accuracy"))


@pytest.fixture(scope="module")
def recommender():
    return fit_recommender(make_history(), has_default=True)


def test_a_forecast_is_compared_with_what_came_out_on_unseen_rows(recommender):
    found = measure_forecasts(recommender)
    assert found["task_id"].tolist() == sorted(f"t{t}" for t in range(16))
    # The best by validation is .9 on every task; what is left of it there is .25 * .1 * 4.
    np.testing.assert_allclose(found["gain"], 0.1)
    np.testing.assert_allclose(found["expected_gain"], 0.1)
    assert found["worth_it"].all()
    assert measure_tuning(found) == pytest.approx({"tuning/expected": 0.1, "tuning/came_out": 0.1, "tuning/covered": 1})


def test_nothing_is_measured_where_the_default_is_nobodys_or_performances_have_no_bounds(recommender):
    nobodys = replace(recommender, settings=replace(recommender.settings, default_first=False))
    assert (learn_tuning(nobodys), len(measure_forecasts(nobodys)), measure_tuning(measure_forecasts(nobodys))) == (
        None,
        0,
        {},
    )
    assert measure_forecasts(replace(recommender, metric=None)).empty
    assert measure_forecasts(fit_recommender(make_history(2), has_default=True)).empty


def test_what_is_replayed_is_held_to_the_rule_of_the_first_place(recommender):
    names = [f"t{t}" for t in range(16)]
    losing = TuningEvidence(dict.fromkeys(names, 9.0), dict.fromkeys(names, -1.0))
    regret = {}
    for name, fit in (
        ("earned", FitRecommender.like(recommender)),
        ("learned", replace(FitRecommender.like(recommender), tuning=None)),
        ("refused", FitRecommender.like(replace(recommender, tuning=losing))),
    ):
        plan = Plan(("recommended",), ks=(1, 3), fit=fit)
        regret[name] = run_benchmark(make_history(), plan).per_task.groupby("k")["regret"].mean().tolist()
    # The default, at .5, is half way from the worst to the best.
    assert regret["earned"] == regret["learned"] == pytest.approx([0.0, 0.0])
    assert regret["refused"][0] == pytest.approx(0.5)
