import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.evaluate.ablation import BLIND, FULL, VARIANTS, ablate, summarise_ablation
from metaflow_hpo.evaluate.comparison import compare_with_recommended, list_tasks
from metaflow_hpo.evaluate.effort import measure_effort, reach_over_time, summarise_effort
from metaflow_hpo.evaluate.evaluation import evaluate_leave_family_out, held_out_folds, summarise
from metaflow_hpo.evaluate.learning_curve import measure_learning_curve, summarise_learning_curve
from metaflow_hpo.evaluate.noise_floor import measure_noise_floor
from metaflow_hpo.evaluate.prediction_error import measure_prediction_error
from metaflow_hpo.evaluate.realised import RIVALS, Realised
from metaflow_hpo.evaluate.report.evaluation_report import Evaluated, render_benchmark, render_evaluation
from metaflow_hpo.evaluate.tuning_evidence import summarise_forecasts
from tests.conftest import FIT, changed, make_history

KS = (1, 5)


def regret_lines(**regret_by_recommender):
    """One line a (task, recommender) at k = 1."""
    return pd.DataFrame(
        [
            {"task_id": f"t{i}", "family": f"f{i}", "recommender": name, "k": 1, "regret": value}
            for name, values in regret_by_recommender.items()
            for i, value in enumerate(values)
        ]
    )


@pytest.fixture(scope="module")
def evaluation(meta, surrogate):
    return evaluate_leave_family_out(meta, surrogate, KS)


TUNING = pd.DataFrame(
    {
        "task_id": ["a", "b", "c"],
        "family": ["a", "b", "c"],
        "expected_gain": [0.02, 0.04, 0.0],
        "low": [0.0, 0.03, -0.01],
        "high": [0.05, 0.05, 0.01],
        "worth_it": [True, True, False],
        "gain": [0.03, 0.01, 0.0],
    }
)


@pytest.fixture(scope="module")
def evaluated(meta, surrogate, evaluation):
    realised = pd.DataFrame(
        {
            "task_id": meta.task_ids,
            "family": meta.families,
            **{f"{way}_test": np.linspace(0.5, 0.9, 12) for way in ("first", "best_of_5", *RIVALS)},
            "first_random_trials_test": np.arange(12.0),
        }
    )
    counts = dict.fromkeys(("wins", "ties", "losses"), 4)
    gain = {"way": "first", "rival": "default", "mean_gain": -0.02, "low": -0.03, "high": 0.01}
    comparison = {"rival": "portfolio", "tasks": 12, "candidate": 0.1, "rival_regret": 0.2, "difference": -0.1}
    gains = pd.DataFrame([gain | counts])
    gate = pd.DataFrame([comparison | {"probability_of_harm": 0.01, "passed": True}])
    return Evaluated(
        per_task=evaluation.per_task.loc[evaluation.per_task["part"] == "test"],
        summary=summarise(evaluation.per_task),
        effort=summarise_effort(measure_effort(meta, surrogate, evaluation.trusts)),
        ablation=summarise_ablation(ablate(meta, surrogate, evaluation.trusts, KS)),
        noise_floor=pd.DataFrame(
            {"task_id": ["task_00", "task_00"], "k": [1, 5], "regret": [0.0625, 0.0], "recommended": [0.25, 0.125]}
        ),
        stopping=pd.DataFrame(
            {
                "task_id": ["task_00", "task_01"],
                "stopped_fraction": [0.5, 0.25],
                "saved_fraction": [0.125, 0.375],
                "lost": [0.0, 0.0123],
            }
        ),
        realised=Realised(realised, gains, "Trained on 12 of 40 held-out tasks."),
        tuning=TUNING,
        covered=dict.fromkeys(meta.task_ids, 0.75),
        prediction_error=measure_prediction_error(meta, surrogate, evaluation.orders),
        reliability={0.5: 0.4, 0.8: 0.75, 0.95: 1.0},
        gate=gate,
        promoted=True,
        reason="Not worse than <portfolio>.",
        provenance={"md5 of the meta-data set": "abc123"},
    )


def test_wins_are_the_tasks_on_which_recommended_has_the_smaller_regret():
    found = compare_with_recommended(regret_lines(recommended=[0.0, 0.2, 0.3, 0.1], random=[0.5, 0.2, 0.1, 0.4]))
    line = found.iloc[0]
    assert (line["rival"], line["wins"], line["ties"], line["losses"]) == ("random", 2, 1, 1)
    assert line["gain"] == pytest.approx(0.15)
    assert line["verdict"] == "not told apart"


@pytest.mark.parametrize(("mine", "verdict"), [(0.1, "better"), (0.9, "worse")])
def test_a_clear_difference_is_called_one(mine, verdict):
    noise = np.linspace(0.0, 0.05, 20)
    found = compare_with_recommended(regret_lines(recommended=mine + noise, random=0.5 - 2 * noise))
    assert found["verdict"].tolist() == [verdict]


def test_tasks_that_a_baseline_wins_come_first_and_name_the_winner():
    table = list_tasks(regret_lines(recommended=[0.0, 0.4, 0.1], random=[0.5, 0.1, 0.1]), (1,))
    assert table["task_id"].tolist() == ["t1", "t0", "t2"]
    assert table["best_k1"].tolist() == ["random", "recommended", "recommended, random"]
    assert table["random_k1"].tolist() == [0.1, 0.5, 0.1]


def test_time_passes_before_anything_is_known():
    regret, duration = np.array([0.4, 0.1, np.nan]), np.array([2.0, 3.0, 1.0])
    assert reach_over_time(regret, duration, [2, 0, 1], (0.5, 1.0, 3.0, 6.0, 60.0)) == [1.0, 1.0, 0.4, 0.1, 0.1]


def test_with_equal_durations_time_counts_trials(meta, surrogate, evaluation):
    effort = measure_effort(meta, surrogate, evaluation.trusts, (1.0, 5.0))
    mine = effort.loc[(effort["recommender"] == "recommended") & (effort["time"] == 5.0)].set_index("task_id")["regret"]
    rows = evaluation.per_task
    five = rows.loc[(rows["part"] == "test") & (rows["recommender"] == "recommended") & (rows["k"] == 5)]
    pd.testing.assert_series_equal(mine.sort_index(), five.set_index("task_id")["regret"].sort_index())


def test_the_noise_floor_is_the_regret_of_the_order_of_the_other_seed(meta):
    first = np.linspace(1.0, 0.0, 24)
    second = first.copy()
    second[0] = 0.5  # the winner of the first seed was lucky
    trials = pd.DataFrame(
        [
            {"task_id": "task_03", "learner": "mlp", "configuration_id": c, "seed": seed, "performance": values[i]}
            for seed, values in enumerate((first, second))
            for i, c in enumerate(meta.configuration_ids)
        ]
    )
    alone = trials.loc[trials["seed"] == 0].assign(task_id="task_04")
    orders = {"task_03": [1, 0], "task_04": [0, 1]}
    table = measure_noise_floor(pd.concat([trials, alone]), meta, "mlp", orders, (1, 2)).set_index(["task_id", "k"])
    found, mine = table["regret"], table["recommended"]
    assert mine["task_03", 1] == pytest.approx((1.0 - first[1] + 0.0) / 2)
    assert mine["task_03", 2] == 0.0
    assert set(found.index) == {("task_03", 1), ("task_03", 2)}
    there, back = (first[1] - 0.5) / first[1], 1.0 - first[1]
    assert found["task_03", 1] == pytest.approx((there + back) / 2)
    assert found["task_03", 2] == pytest.approx((0.0 + back) / 2)


def test_counting_time_reaches_more_in_less_of_it(meta, surrogate, evaluation):
    # Twice as wide takes ten times as long, and how wide does not matter on these tasks.
    width = np.array([float(c["width"]) for c in meta.configurations])
    slow = changed(meta, duration=np.tile((width / width.min()) ** 3, (len(meta.task_ids), 1)))
    summary = summarise_effort(measure_effort(slow, surrogate, evaluation.trusts)).set_index(["recommender", "time"])
    early = summary["mean"].xs(1.0, level="time")
    assert early["recommended_per_time"] < early["recommended"] - 0.1


def test_every_part_is_removed_and_everything_is_what_was_reported(meta, surrogate, evaluation):
    found = ablate(meta, surrogate, evaluation.trusts, KS)
    assert set(found["recommender"]) == {*VARIANTS, BLIND}
    rows = evaluation.per_task
    reported = rows.loc[(rows["part"] == "test") & (rows["recommender"] == "recommended")]
    full = found.loc[found["recommender"] == FULL]
    index = ["task_id", "k"]
    pd.testing.assert_series_equal(
        full.set_index(index)["regret"].sort_index(), reported.set_index(index)["regret"].sort_index()
    )
    cost = summarise_ablation(found).set_index(["recommender", "k"])["cost"]
    assert cost[FULL].tolist() == [0.0, 0.0]
    # On these tasks only the first meta-feature says where the best configuration is.
    assert cost["without meta-features", 1] > 0.02


def test_no_variant_knows_the_families_it_is_judged_on(meta, surrogate, evaluation):
    for fold in held_out_folds(meta, surrogate, evaluation.trusts):
        families = {meta.families[t] for t in fold.tasks}
        assert families.isdisjoint(meta.families[t] for t in fold.past)
        assert {surrogate.fold_of_family[family] for family in families} == {fold.network}


@pytest.fixture(scope="module")
def curve(meta):
    return measure_learning_curve(meta, meta, "mlp", FIT, sizes=(5, 99), ks=KS)


def test_the_learning_curve_judges_the_same_tasks_whatever_it_learned_from(curve, meta):
    assert sorted(set(curve["past_tasks"])) == [5, 9]
    judged = curve.groupby("past_tasks")["task_id"].agg(frozenset)
    assert len(set(judged)) == 1
    assert len(judged.iloc[0]) == 3
    assert not curve.duplicated(["past_tasks", "task_id", "recommender", "k"]).any()
    summary = summarise_learning_curve(curve)
    assert len(summary) == 2 * 3 * len(KS)
    assert summary["mean"].between(summary["low"], summary["high"]).all()


def test_the_outcomes_of_held_out_families_do_not_reach_the_learning_curve(curve, meta):
    held_out = [meta.task_ids.index(task_id) for task_id in set(curve["task_id"])]
    performance = meta.performance.copy()
    performance[held_out] = performance[held_out][:, ::-1]
    # What is learned from is changed, what it is judged by is not.
    again = measure_learning_curve(meta, changed(meta, performance=performance), "mlp", FIT, sizes=(5, 99), ks=KS)
    pd.testing.assert_frame_equal(again, curve)


def test_too_few_families_for_a_learning_curve():
    few = make_history(tasks=5)
    with pytest.raises(InvalidTableError, match=r"needs 5 families .* found 5 families in all"):
        measure_learning_curve(few, few, "mlp", FIT)


def test_the_report_is_self_contained_and_says_the_bad_news(evaluated):
    page = render_evaluation(evaluated)
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len([s for s in sources if s.startswith("data:image/svg+xml;base64,")]) == 9
    assert all(s.startswith(("data:image", "#")) for s in sources)
    assert "the first recommendation is 0.020 below the default on test rows" in page
    assert "Clearly better than" in page
    assert "Not worse than &lt;portfolio&gt;." in page
    assert "evaluate --learning-curve" in page
    assert "nominal 80%: 75 %" in page
    assert "abc123" in page
    assert "<td>order of another seed</td><td>0.062</td><td>0.000</td>" in page
    assert "<td>recommended</td><td>0.250</td><td>0.125</td>" in page
    assert len(re.findall(r"<tr><td>task_\d\d</td>", page)) == 12
    assert render_evaluation(evaluated) == page


def test_what_was_forecast_of_tuning_stands_beside_what_came_out(evaluated):
    every, told, warned = summarise_forecasts(TUNING)
    assert (every["tasks"], told["tasks"], warned["tasks"]) == (3, 2, 1)
    assert (every["expected"], every["gain"]) == pytest.approx((0.02, 0.04 / 3))
    assert (every["covered"], told["covered"], told["paid"], warned["paid"]) == pytest.approx((2 / 3, 0.5, 1.0, 0.0))
    assert "<td>told that it pays</td><td>2</td><td>0.0300</td><td>0.0200</td>" in render_evaluation(evaluated)
    nothing = render_evaluation(replace(evaluated, tuning=TUNING.iloc[:0]))
    assert "no past task was scored on unseen rows" in nothing


def test_the_report_says_what_really_training_brought_or_why_nothing_was_trained(evaluated):
    page = render_evaluation(evaluated)
    assert "Trained on 12 of 40 held-out tasks." in page
    assert "<dt>first recommendation equals</dt><dd>6 random trials (median)</dd>" in page
    nothing = render_evaluation(replace(evaluated, realised=Realised.nothing("Nothing was trained: no rows.")))
    assert "Nothing was trained: no rows." in nothing
    assert "<dt>first recommendation equals</dt><dd>not known</dd>" in nothing
    assert "Really trained, the first" not in nothing


def test_the_report_shows_a_learning_curve_where_there_is_one(evaluated, curve):
    page = render_evaluation(replace(evaluated, learning_curve=summarise_learning_curve(curve)))
    assert "Surrogates fitted afresh on growing numbers of past tasks" in page


def test_the_benchmark_report_needs_no_recommended(evaluation):
    rows = evaluation.per_task.loc[evaluation.per_task["part"] == "test"]
    alone = rows.loc[rows["recommender"] == "random"]
    summary = summarise(evaluation.per_task)
    page = render_benchmark(alone, summary.loc[summary["recommender"] == "random"], {"tasks": "12"}, {"random": 0.5})
    assert "recommended is" not in page
    page = render_benchmark(rows, summary, {"tasks": "12"}, {"random": 0.5})
    assert "recommended is" in page
    assert len(re.findall(r"<tr><td>task_\d\d</td>", page)) == 12
