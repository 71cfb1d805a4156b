"""Facts of the meta-data, on tables small enough to compute by hand."""

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.evaluate.report import knowledge_facts as facts
from metaflow_hpo.space import Categorical, Condition, Float, SearchSpace, configuration_id
from metaflow_hpo.tables import trials_to_frame
from metaflow_hpo.trial import Trial

SPACE = SearchSpace(
    (
        Float("rate", 0.0, 1.0, 0.5),
        Categorical("optimizer", ("sgd", "adam"), "adam"),
        Float("momentum", 0.0, 1.0, 0.5, condition=Condition("optimizer", ("sgd",))),
    )
)
RATES = [round(0.1 * i, 1) for i in range(10)]


def trial(task, rate, performance, *, seed=0, strategy="sobol", epochs=50, test=None, learner="mlp"):
    failed = {"status": "failed", "reason": "diverged: validation loss 1e+09 after epoch 3 of 50"}
    outcome = failed if performance is None else {}
    value = np.nan if performance is None else performance
    return Trial(
        task_id=task,
        family=task,
        learner=learner,
        configuration={"rate": rate, "optimizer": "adam"},
        strategy=strategy,
        seed=seed,
        fidelity=epochs,
        performance=value,
        test_performance=value if test is None else test,
        duration_s=2.0,
        **outcome,
    )


def catalogue(**kinds):
    lines = [
        {
            "task_id": name,
            "family": name,
            "kind": kind,
            "metric": "r2" if kind == "regression" else "balanced_accuracy",
            "rows": 100,
            "columns": 3,
            "classes": {"regression": 0, "binary": 2, "multiclass": 4}[kind],
            "licence": "MIT",
            "source": "s",
            "simulated": False,
        }
        for name, kind in kinds.items()
    ]
    return pd.DataFrame(lines)


def test_a_task_is_summarised_with_its_floor_its_skill_and_its_cost():
    trials = [trial("a", rate, 0.5 + 0.05 * i) for i, rate in enumerate(RATES)]
    trials += [trial("a", 0.99, None), trial("a", 0.1, 0.55, strategy="random"), trial("a", 0.1, 0.3, learner="svm")]
    frame = trials_to_frame(trials)
    full = facts.keep_full_trials(frame, "mlp")
    line = facts.summarise_tasks(catalogue(a="binary", never_tried="binary"), full, frame).iloc[0]
    assert line[["trials", "trainings", "cost_s"]].tolist() == [12, 12, 24.0]  # the copy under `random` cost nothing
    assert line["best"] == pytest.approx(0.95)
    assert line["span"] == pytest.approx(0.45)
    assert line["floor"] == 0.5
    assert line["skill"] == pytest.approx(0.9)
    assert line["failed_fraction"] == pytest.approx(1 / 12)
    assert line["test_agreement"] == pytest.approx(1.0)


def test_optimism_is_what_the_best_tenth_loses_on_the_test_rows():
    frame = trials_to_frame([trial("a", i / 20, i / 20, test=i / 20 - 0.01 * i) for i in range(20)])
    line = facts.summarise_tasks(catalogue(a="binary"), frame, frame).iloc[0]
    assert line["optimism"] == pytest.approx((0.18 + 0.19) / 2)


def test_only_the_highest_fidelity_of_each_task_is_kept():
    trials = [trial("a", 0.1, 0.5, epochs=5), trial("a", 0.1, 0.7), trial("b", 0.1, 0.6, epochs=10)]
    assert facts.keep_full_trials(trials_to_frame(trials), "mlp")["performance"].tolist() == [0.7, 0.6]
    with pytest.raises(InvalidTableError, match="No trial of the learner 'svm'"):
        facts.keep_full_trials(trials_to_frame(trials), "svm")


def test_the_core_averages_seeds_counts_failures_as_worst_and_leaves_out_what_few_tasks_tried():
    trials = [trial("a", 0.1, 0.4), trial("a", 0.1, 0.6, seed=1), trial("a", 0.2, None), trial("a", 0.3, 0.9)]
    trials += [trial("b", 0.1, 0.2), trial("b", 0.2, 0.8)]
    core = facts.pivot_core(trials_to_frame(trials))
    names = [configuration_id({"rate": rate, "optimizer": "adam"}) for rate in (0.1, 0.2)]
    assert list(core.columns) == names
    np.testing.assert_allclose(core.to_numpy(), [[0.5, 0.4], [0.2, 0.8]])
    np.testing.assert_allclose(facts.normalise(core).to_numpy(), [[1, 0], [0, 1]])


def test_contrasting_tasks_are_the_farthest_apart_and_noise_takes_no_part():
    rising, rng = np.linspace(0, 1, 12), np.random.default_rng(0)
    core = pd.DataFrame(
        {"up": rising, "nearly_up": rising**2, "down": 1 - rising, "hill": 1 - abs(rising - 0.4), "mad": rng.random(12)}
    ).T
    tasks = pd.DataFrame({"task_id": core.index, "span": 1.0, "test_agreement": [0.9, 0.9, 0.9, 0.9, 0.1]})
    assert set(facts.choose_contrasting(tasks, core, 2)) in ({"up", "down"}, {"nearly_up", "down"})
    assert facts.choose_contrasting(tasks, core, 3)[2] == "hill"
    assert "mad" not in facts.choose_contrasting(tasks, core, 6)


def test_winners_lie_where_the_best_configurations_lie_and_inactive_hyperparameters_lie_nowhere():
    frame = trials_to_frame([trial("a", rate, rate) for rate in RATES]).assign(hp_momentum=np.nan)
    core = facts.pivot_core(frame)
    placed = facts.place_configurations(frame, SPACE, list(core.columns))
    winners = facts.find_winners(core, placed)
    np.testing.assert_allclose(winners["rate"], [0.9, 0.8, 0.7, 0.6, 0.5])
    assert list(winners.index) == ["a"] * 5
    assert winners["momentum"].isna().all()
    assert (winners["optimizer"] == 0.75).all()


def test_noise_is_the_standard_deviation_between_seeds():
    shift = np.array([0.02, -0.02] * 5)
    trials = [trial("a", rate, 0.1 * i) for i, rate in enumerate(RATES)]
    trials += [trial("a", rate, 0.1 * i + shift[i], seed=1) for i, rate in enumerate(RATES)]
    trials += [trial("a", rate, 0.1 * i, strategy="random") for i, rate in enumerate(RATES)]
    trials += [trial("b", rate, 0.1 * i) for i, rate in enumerate(RATES)]
    noise = facts.measure_noise(trials_to_frame(trials))
    assert list(noise["task_id"]) == ["a"]
    line = noise.iloc[0]
    assert line["noise_sd"] == pytest.approx(0.02 / np.sqrt(2))
    assert line["spread_sd"] == pytest.approx(np.std(0.1 * np.arange(10), ddof=1))
    assert line["seed_correlation"] == pytest.approx(1.0)
    assert line["luck"] == pytest.approx(0.02 / 0.9)


def test_without_a_second_seed_nothing_is_said_about_noise():
    assert facts.measure_noise(trials_to_frame([trial("a", rate, rate) for rate in RATES])).empty


def test_failures_are_counted_by_the_kind_of_their_reason():
    frame = trials_to_frame([trial("a", 0.1, None), trial("b", 0.2, None), trial("b", 0.3, 0.5)])
    assert facts.count_failures(frame).to_dict("records") == [{"reason": "diverged", "trials": 2, "tasks": 2}]


def test_meta_features_that_say_where_the_best_lies_come_first():
    rng = np.random.default_rng(0)
    best_at = np.linspace(0, 1, 20)
    winners = pd.DataFrame({"rate": best_at, "width": rng.random(20)}, index=[f"t{i}" for i in range(20)])
    meta = pd.DataFrame({"task_id": winners.index, "mf_noise": rng.random(20), "mf_tells": -best_at, "mf_same": 1.0})
    table = facts.correlate_meta_features(meta, winners)
    assert list(table.index) == ["mf_tells", "mf_noise"]
    assert table.loc["mf_tells", "rate"] == pytest.approx(-1.0)


def test_with_too_few_tasks_no_meta_feature_is_correlated():
    meta = pd.DataFrame({"task_id": ["a", "b", "c"], "mf_log_rows": [1.0, 2.0, 3.0]})
    winners = pd.DataFrame({"rate": [0.1, 0.5, 0.9]}, index=pd.Index(["a", "b", "c"], name="task_id"))
    assert facts.correlate_meta_features(meta, winners).empty
