import json
from dataclasses import replace

import numpy as np
import pytest

from metaflow_hpo.array_files import write_described
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.recommender.interval import IntervalScale, expect_performance
from metaflow_hpo.recommender.novelty import THRESHOLD
from metaflow_hpo.recommender.observed import Observed, ObservedTrial
from metaflow_hpo.recommender.portfolio import select_greedily, task_regret
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.recommender.task_forest import TaskForest
from metaflow_hpo.surrogate.predict import save_surrogate
from tests.conftest import changed, serve


def described(meta, row):
    return dict(zip(meta.meta_feature_names, map(float, row), strict=True))


@pytest.fixture
def known(meta):
    """A task next to the fifth past task."""
    return described(meta, meta.meta_features[4] + 1e-3)


@pytest.fixture
def far(meta):
    return described(meta, np.full(4, 1e6))


def test_recommendations_are_ranked_from_one_and_distinct(served, meta, known):
    answer = served.recommend(known, 5)
    assert [item["rank"] for item in answer["recommendations"]] == [1, 2, 3, 4, 5]
    configurations = [item["configuration"] for item in answer["recommendations"]]
    assert all(meta.space.validate(configuration) == configuration for configuration in configurations)
    assert len({json.dumps(configuration, sort_keys=True) for configuration in configurations}) == 5


def test_an_answer_has_every_part_of_the_contract(served, known):
    answer = served.recommend(known, 1)
    assert answer["learner"] == "mlp"
    assert set(answer) == {"learner", "recommendations", "tuning", "evidence", "novelty", "lineage"}
    item = answer["recommendations"][0]
    assert set(item) == {"rank", "configuration", "performance", "expected_gain_over_default", "expected_duration_s"}
    assert set(item["performance"]) == {"metric", "mean", "low", "high", "coverage"}
    assert item["performance"]["coverage"] == 0.8
    assert item["expected_duration_s"] == pytest.approx(0.5, rel=0.01)
    assert answer["lineage"] == {"meta_dataset_md5": "abc"}
    assert answer["evidence"]["trust_in_surrogate"] == 0.5


def test_an_answer_is_ready_for_json(served, known, far):
    for values in (known, far):
        answer = served.recommend(values, 24)
        assert json.loads(json.dumps(answer, allow_nan=False)) == answer


def test_the_metric_is_that_of_the_kind_of_task(served, surrogate, meta, known):
    assert served.recommend(known, 1)["recommendations"][0]["performance"]["metric"] == "performance"
    names = ("mf_is_regression", *meta.meta_feature_names[1:])
    renamed = serve(replace(surrogate, meta_feature_names=names), changed(meta, meta_feature_names=names))
    for value, metric in ((1.0, "r2"), (0.0, "balanced_accuracy")):
        row = dict(zip(names, [value, *list(known.values())[1:]], strict=True))
        assert renamed.recommend(row, 1)["recommendations"][0]["performance"]["metric"] == metric


def test_an_interval_holds_its_mean_and_stays_in_the_range_of_the_metric(served, meta):
    for row in (*meta.meta_features, np.full(4, 1e6), np.full(4, -1e6)):
        for item in served.recommend(described(meta, row), 24)["recommendations"]:
            interval = item["performance"]
            assert 0.0 <= interval["low"] <= interval["mean"] <= interval["high"] <= 1.0


def test_an_interval_is_the_predicted_spread_times_the_conformal_scale(served, surrogate, meta, known):
    row = np.array(list(known.values()))
    order = served.order(row, 3)
    prediction = surrogate.predict(row[None], meta.points)
    expected = expect_performance(prediction.mean[0], prediction.spread[0])
    for c, item in zip(order, served.recommend(known, 3)["recommendations"], strict=True):
        mean, half = expected[c], 1.5 * prediction.spread[0, c]
        assert item["performance"]["low"] == pytest.approx(np.clip(mean - half, 0, 1))
        assert item["performance"]["high"] == pytest.approx(np.clip(mean + half, 0, 1))
        assert item["expected_gain_over_default"] == pytest.approx(mean - expected[0])


def test_the_nearest_past_tasks_are_the_evidence(served, meta, known):
    nearest = served.recommend(known, 1)["evidence"]["nearest_tasks"]
    assert len(nearest) == 5
    assert nearest[0]["task_id"] == "task_04"
    assert nearest[0]["family"] == "family_04"
    distances = [item["distance"] for item in nearest]
    assert distances == sorted(distances)
    assert nearest[0]["best_performance"] == meta.performance[4].max()
    assert nearest[0]["default_performance"] == meta.performance[4, 0]
    assert nearest[0]["best_configuration"] == meta.configurations[meta.performance[4].argmax()]


def test_a_known_kind_of_task_gets_no_fallback(served, known):
    novelty = served.recommend(known, 1)["novelty"]
    assert novelty == {"percentile": pytest.approx(0.0), "fallback": False}


def test_a_task_unlike_all_others_gets_the_default_and_what_complements_it(served, meta, far):
    answer = replace(served, forest=TaskForest.without_say(12)).recommend(far, 5)
    assert answer["novelty"]["fallback"] is True
    assert answer["novelty"]["percentile"] > THRESHOLD
    expected = [0, *select_greedily(task_regret(meta.performance), np.ones(12), 4, [0])]
    assert [item["configuration"] for item in answer["recommendations"]] == [meta.configurations[c] for c in expected]
    assert answer["recommendations"][0]["expected_gain_over_default"] == 0.0


def test_what_complements_the_default_is_weighed_by_the_forest(many_tasks):
    row = np.full(4, 1e6)
    percentile, falls_back = many_tasks.falls_back(row)
    assert percentile > THRESHOLD
    assert falls_back
    order = many_tasks.begin(row, is_novel=True).choose(Observed.nothing(), 5)
    regret = many_tasks.past.regret
    assert order == [0, *select_greedily(regret, many_tasks.weigh(row), 4, [0])]
    assert order != [0, *select_greedily(regret, np.ones(40), 4, [0])]


def test_the_fallback_answers_as_many_as_asked(served, far):
    for k in (1, 2, 23, 24):
        assert len(served.recommend(far, k)["recommendations"]) == k


def test_intervals_of_a_task_unlike_all_others_are_twice_as_wide(served, surrogate, meta, far):
    narrow = replace(served, interval=IntervalScale(0.8, 0.01))
    prediction = surrogate.predict(np.full((1, 4), 1e6), meta.points)
    interval = narrow.recommend(far, 1)["recommendations"][0]["performance"]
    mean = expect_performance(prediction.mean[0, [0]], prediction.spread[0, [0]])[0]
    half = 2.0 * 0.01 * prediction.spread[0, 0]
    assert interval["low"] == pytest.approx(np.clip(mean - half, 0, 1))
    assert interval["high"] == pytest.approx(np.clip(mean + half, 0, 1))


def test_a_saved_recommender_answers_the_same(served, served_folder, known, far):
    loaded = Recommender.load(served_folder)
    assert loaded.trust == served.trust
    assert loaded.interval == served.interval
    for values in (known, far):
        assert loaded.recommend(values, 24) == served.recommend(values, 24)


def test_a_saved_forest_is_read_back_and_not_grown_again(many_tasks, tmp_path, monkeypatch):
    assert many_tasks.fitted_forest.share > 0
    many_tasks.save(tmp_path)
    monkeypatch.setattr(TaskForest, "fit", None)
    loaded = Recommender.load(tmp_path)
    assert loaded.fitted_forest.share > 0
    for row in many_tasks.past.meta_features:
        assert loaded.order(row, 5) == many_tasks.order(row, 5)


def write_first_format(recommender, folder, *, has_forest=True):
    """Write what versions before the second format wrote, as it ships."""
    past = recommender.past
    save_surrogate(recommender.surrogate, folder)
    arrays = {"performance": past.performance, "duration": past.duration, "meta_features": past.meta_features}
    forest = {f"forest.{name}": a for name, a in recommender.fitted_forest.to_arrays().items() if has_forest}
    described = {
        "task_ids": past.task_ids,
        "families": past.families,
        "configurations": past.configurations,
        "trust": recommender.trust,
        "interval": recommender.interval.to_json(),
        "lineage": dict(recommender.lineage),
    }
    write_described(folder, "past_tasks", arrays | forest, described)


def test_a_folder_in_the_first_format_answers_as_it_did(many_tasks, tmp_path):
    write_first_format(many_tasks, tmp_path)
    loaded, past = Recommender.load(tmp_path), many_tasks.past
    seen = [ObservedTrial(past.configurations[c], 0.1 * c) for c in (3, 7, 1, 5)]
    for row in past.meta_features[::8] + 0.01:
        values = dict(zip(past.meta_feature_names, row.tolist(), strict=True))
        for observed in ([], seen):
            expected, found = many_tasks.recommend(values, 3, observed), loaded.recommend(values, 3, observed)
            for one, other in zip(expected["recommendations"], found["recommendations"], strict=True):
                assert one["configuration"] == other["configuration"]
                assert one["performance"]["mean"] == pytest.approx(other["performance"]["mean"], abs=1e-9)


def test_a_folder_from_before_the_forest_weighs_past_tasks_by_distance(many_tasks, tmp_path):
    plain = replace(many_tasks, forest=TaskForest.without_say(40))
    write_first_format(plain, tmp_path, has_forest=False)
    loaded = Recommender.load(tmp_path)
    assert loaded.fitted_forest.share == 0
    for row in many_tasks.past.meta_features:
        assert loaded.order(row, 5) == plain.order(row, 5)


def test_a_folder_of_a_later_version_is_refused(served, tmp_path, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr("metaflow_hpo.recommender.recommender_files.FORMAT", 99)
        served.save(tmp_path)
    with pytest.raises(InvalidTableError, match=r"a format up to 2; that in .* has 99"):
        Recommender.load(tmp_path)


def test_without_a_family_neither_its_tasks_nor_networks_that_know_it_answer(served):
    others = served.without("family_03")
    assert "task_03" not in others.past.task_ids
    assert others.networks == served.surrogate.networks_blind_to("family_03")
    assert others.fitted_forest.count == 11


def test_saving_twice_writes_the_same_bytes(served, served_folder, tmp_path):
    served.save(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        p.name: p.read_bytes() for p in served_folder.iterdir()
    }


def test_durations_and_performances_that_are_missing_survive_saving(served, meta, known, tmp_path):
    duration = meta.duration.copy()
    duration[0, 0] = np.nan
    sparse = serve(served.surrogate, changed(meta, duration=duration))
    sparse.save(tmp_path)
    assert Recommender.load(tmp_path).recommend(known) == sparse.recommend(known)


def test_a_folder_without_past_tasks_holds_no_recommender(surrogate, tmp_path):
    save_surrogate(surrogate, tmp_path)
    with pytest.raises(InvalidTableError, match=r"Expected past_tasks.safetensors and past_tasks.json in"):
        Recommender.load(tmp_path)


def test_the_order_of_the_meta_features_does_not_matter(served, known):
    assert served.recommend(dict(reversed(known.items()))) == served.recommend(known)


def test_a_missing_meta_feature_is_named(served, known):
    del known["mf_level"]
    with pytest.raises(InvalidTableError, match=r"the 4 meta-features .* missing 'mf_level'"):
        served.recommend(known)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_meta_feature_that_is_not_finite_is_named(served, known, value):
    with pytest.raises(InvalidTableError, match="must be finite numbers; 'mf_noise' are not"):
        served.recommend({**known, "mf_noise": value})


@pytest.mark.parametrize("k", [0, -1, 25])
def test_k_outside_the_pool_is_refused(served, known, k):
    with pytest.raises(InvalidTableError, match=f"k must be from 1 to 24; got {k}"):
        served.recommend(known, k)
