from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import InvalidTableError, SearchSpaceMismatchError
from metaflow_hpo.evaluate.calibration import calibrate
from metaflow_hpo.evaluate.fitting import fit_recommender
from metaflow_hpo.history import History
from metaflow_hpo.metric import Metric
from metaflow_hpo.recommender.observed import ObservedTrial
from metaflow_hpo.recommender.portfolio import select_greedily
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.recommender.tuning import TuningEvidence


def make_frame(*, tasks=10, shared=True, meta_features=True):
    """Losses |x - a_t|, with a_t told by a meta-feature; the choice `kind` costs a little."""
    rng = np.random.default_rng(0)
    lines = []
    for t in range(tasks):
        best_at = (t % 5) / 4
        xs = np.arange(11) if shared else np.sort(rng.choice(11, 7, replace=False))
        for x in xs:
            for kind in "ab":
                loss = abs(x / 10 - best_at) + 0.05 * (kind == "b") + 0.01 * t
                lines.append(
                    {"task_id": f"t{t}", "hp_x": x / 10, "hp_kind": kind, "performance": loss, "duration_s": 1.0 + x}
                    | ({"mf_at": best_at, "mf_other": float(t)} if meta_features else {})
                )
    return pd.DataFrame(lines)


def fit(frame, **options):
    return fit_recommender(History.from_frame(frame, lower_is_better=True), **options)


@pytest.fixture(scope="module")
def recommender():
    return fit(make_frame())


def near(best_at):
    return {"mf_at": best_at, "mf_other": 4.0}


def test_meta_features_lead_to_the_configurations_of_similar_tasks(recommender):
    pool = recommender.past.configurations
    at = {x: next(p for p, c in enumerate(pool) if c == {"x": x, "kind": "a"}) for x in (0.0, 1.0)}
    left, right = (recommender.expect(recommender.read_meta_features(near(a)))[0] for a in (0.0, 1.0))
    assert left[at[0.0]] > right[at[0.0]] + 0.1
    assert right[at[1.0]] > left[at[1.0]] + 0.1
    for best_at in (0.0, 1.0):
        chosen = [r["configuration"] for r in recommender.recommend(near(best_at), 3)["recommendations"]]
        assert min(abs(c["x"] - best_at) for c in chosen) < 0.21
        assert {c["kind"] for c in chosen} == {"a"}


def test_observed_losses_lead_to_the_optimum_without_meta_features():
    recommender = fit(make_frame(meta_features=False))
    best_at, seen = 0.75, []
    for _ in range(7):
        chosen = recommender.recommend(None, 1, seen)["recommendations"][0]["configuration"]
        seen.append(ObservedTrial(chosen, abs(chosen["x"] - best_at) + 0.05 * (chosen["kind"] == "b") + 3.0))
    assert min(trial.performance for trial in seen) == pytest.approx(3.05, abs=0.011)


def test_configurations_beside_the_pool_are_understood(recommender):
    seen = [ObservedTrial({"x": 0.96, "kind": "a"}, 0.03), ObservedTrial({"x": 0.03, "kind": "a"}, 0.95)]
    seen += [ObservedTrial({"x": 0.5, "kind": "b"}, 0.55)]
    first = recommender.recommend(None, 1, seen)["recommendations"][0]["configuration"]
    assert first["x"] >= 0.8


def test_answers_are_in_the_units_of_the_table(recommender):
    answer = recommender.recommend(near(0.5), 3)["recommendations"]
    for item in answer:
        performance = item["performance"]
        assert performance["metric"] == "performance, lower is better"
        assert performance["low"] <= performance["mean"] <= performance["high"]
        assert item["expected_duration_s"] == pytest.approx(1.0 + 10 * item["configuration"]["x"])
    assert answer[0]["performance"]["mean"] < 0.45  # the mean over all tasks and configurations is .48
    seen = [ObservedTrial({"x": x / 10, "kind": "a"}, abs(x / 10 - 0.5)) for x in (0, 2, 5, 9)]
    expected = recommender.recommend(near(0.5), 2, seen)["recommendations"][0]
    assert expected["performance"]["mean"] == pytest.approx(
        abs(expected["configuration"]["x"] - 0.5) + 0.05 * (expected["configuration"]["kind"] == "b"), abs=0.1
    )


@pytest.mark.parametrize("shared", [True, False])
def test_a_saved_recommender_answers_with_the_same_bits(tmp_path, shared):
    recommender = fit(make_frame(shared=shared))
    recommender.save(tmp_path)
    loaded = Recommender.load(tmp_path)
    seen = [ObservedTrial({"x": 0.0, "kind": "a"}, 0.7), ObservedTrial({"x": 0.55, "kind": "b"}, 0.3)]
    for observed in ([], seen):
        assert loaded.recommend(near(0.75), 5, observed) == recommender.recommend(near(0.75), 5, observed)
    assert loaded.content_sha256 == recommender.content_sha256
    assert {path.suffix for path in tmp_path.iterdir()} == {".json", ".safetensors"}


@pytest.mark.parametrize("shared", [True, False])
def test_the_order_of_the_lines_changes_nothing(shared):
    frame = make_frame(shared=shared)
    turned = frame.sample(frac=1.0, random_state=1)
    assert fit(turned).content_sha256 == fit(frame).content_sha256


def test_intervals_are_fitted_without_the_tasks_own_family(recommender):
    interval = calibrate(recommender)
    assert interval == calibrate(recommender)
    assert [count for count, _ in interval.observed] == [1, 3, 10]
    blind = recommender.without("t3")
    assert "t3" not in blind.past.task_ids
    assert blind.past.scores.shape == (9, 22)


def test_a_task_unlike_all_others_gets_the_portfolio_over_all_tasks_and_wider_intervals(recommender):
    answer = recommender.recommend({"mf_at": 400.0, "mf_other": -900.0}, 3)
    assert answer["novelty"] == {"percentile": 100.0, "fallback": True}
    found = [item["configuration"] for item in answer["recommendations"]]
    regret = recommender.past.regret
    portfolio = select_greedily(regret, np.ones(len(regret)), 3)
    # The middle of an inferred space is nobody's default: it comes first only where it is the best of all.
    assert found == [dict(recommender.past.configurations[p]) for p in portfolio]
    plain = recommender.recommend(None, 3)
    assert found == [item["configuration"] for item in plain["recommendations"]]
    for strange, usual in zip(answer["recommendations"], plain["recommendations"], strict=True):
        wide, narrow = ([item["performance"][end] for end in ("low", "high")] for item in (strange, usual))
        assert np.ptp(wide) > 1.2 * np.ptp(narrow)


def test_where_nothing_earned_the_first_place_the_default_of_a_given_space_has_it(tmp_path):
    fitted = fit(make_frame(), has_default=True)
    losers = [f"t{n}" for n in range(20)]
    doubtful = replace(fitted, tuning=TuningEvidence(dict.fromkeys(losers, 9.0), dict.fromkeys(losers, -1.0)))
    doubtful.save(tmp_path)
    for recommender in (doubtful, Recommender.load(tmp_path), replace(fitted, tuning=None)):
        first = recommender.recommend({"mf_at": 400.0, "mf_other": -900.0}, 3)["recommendations"][0]
        assert first["configuration"] == dict(recommender.past.configurations[recommender.past.default])
        assert first["expected_gain_over_default"] == 0.0


def test_without_meta_features_there_is_no_novelty_and_no_nearest_task(recommender):
    answer = recommender.recommend(None, 2)
    assert answer["novelty"] == {"percentile": None, "fallback": False}
    assert answer["evidence"] == {"nearest_tasks": [], "trust_in_surrogate": 0.0, "observed_trials": 0}


@pytest.mark.parametrize(
    ("values", "message"),
    [({"mf_at": 1.0}, "missing 'mf_other'"),
     ({"mf_at": float("inf"), "mf_other": 1.0}, "must be finite")],
)  # fmt: skip
def test_wrong_meta_features_are_named(recommender, values, message):
    with pytest.raises(InvalidTableError, match=message):
        recommender.recommend(values, 1)


def test_k_outside_the_pool_is_refused(recommender):
    with pytest.raises(InvalidTableError, match="k must be from 1 to 22; got 23"):
        recommender.recommend(None, 23)


def test_a_folder_without_a_recommender_names_the_remedy(tmp_path):
    with pytest.raises(InvalidTableError, match="run `metaflow-hpo fit`"):
        Recommender.load(tmp_path)


def test_an_observed_configuration_outside_the_space_is_refused(recommender):
    with pytest.raises(SearchSpaceMismatchError, match="x must be in"):
        recommender.space.validate({"x": 7.0, "kind": "a"})


def test_of_a_long_table_each_tasks_best_may_be_recommended(monkeypatch):
    monkeypatch.setattr("metaflow_hpo.recommender.pool.MAX_POOL", 12)
    recommender = fit(make_frame())
    assert len(recommender.past.configurations) == 12
    kept = {(c["x"], c["kind"]) for c in recommender.past.configurations}
    assert {(best_at, "a") for best_at in (0.0, 0.5, 1.0)} <= kept


def test_where_nothing_calibrates_intervals_of_a_metric_without_bounds_there_are_none():
    frame = make_frame(tasks=3).query("hp_x in (0.0, 0.5, 1.0) and hp_kind == 'a'").assign(hp_kind=None)
    recommender = fit(frame)
    assert recommender.interval is None
    performance = recommender.recommend(near(0.5), 1)["recommendations"][0]["performance"]
    assert (performance["low"], performance["high"]) == (None, None)
    assert performance["mean"] < 0.5


def test_a_named_metric_is_answered_in_its_own_units():
    history = History.from_frame(make_frame(), lower_is_better=True, metric=Metric("perplexity", "min", low=0.0))
    performance = fit_recommender(history).recommend(near(0.5), 1)["recommendations"][0]["performance"]
    assert performance["metric"] == "perplexity"
    assert 0.0 < performance["mean"] < 0.5


def test_bounds_of_a_metric_are_kept():
    frame = make_frame()
    frame["performance"] = 1.0 - frame["performance"] / 2
    history = History.from_frame(frame, metric=Metric.read("accuracy"))
    for item in fit_recommender(history).recommend(near(1.0), 22)["recommendations"]:
        performance = item["performance"]
        assert 0.0 <= performance["low"] <= performance["mean"] <= performance["high"] <= 1.0
