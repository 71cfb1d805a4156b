from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.errors import DegenerateTaskError
from metaflow_hpo.evaluate.evaluation import (
    WithNetworks,
    evaluate_leave_family_out,
    recall,
    summarise,
)
from metaflow_hpo.evaluate.replay import Contestant
from metaflow_hpo.learners.threads import single_threaded_torch
from metaflow_hpo.recommender.portfolio import task_regret
from metaflow_hpo.surrogate.splits import assign_folds, split_families
from tests.conftest import changed

KS = (1, 3, 10)


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    with single_threaded_torch():
        yield


@pytest.fixture(scope="module")
def evaluation(meta, surrogate):
    return evaluate_leave_family_out(meta, surrogate, KS)


def mean_regret(evaluation, recommender, k, part="test"):
    rows = evaluation.per_task
    chosen = rows.loc[(rows["part"] == part) & (rows["recommender"] == recommender) & (rows["k"] == k)]
    return chosen["regret"].mean()


@pytest.mark.parametrize("part", ["validation", "test"])
def test_every_task_is_judged_once_in_each_part_by_every_recommender(evaluation, meta, part):
    rows = evaluation.per_task.loc[evaluation.per_task["part"] == part]
    assert set(rows["recommender"]) == {"recommended", "portfolio", "nearest_task", "default", "random"}
    assert len(rows) == 5 * 12 * 3
    assert not rows.duplicated(["task_id", "recommender", "k"]).any()
    assert dict(zip(rows["task_id"], rows["family"], strict=True)) == dict(
        zip(meta.task_ids, meta.families, strict=True)
    )


def test_regret_is_normalised_and_never_grows_with_k(evaluation):
    assert evaluation.per_task["regret"].between(0.0, 1.0).all()
    paths = evaluation.per_task.pivot_table(index=["part", "task_id", "recommender"], columns="k", values="regret")
    assert (np.diff(paths[list(KS)].to_numpy(), axis=1) <= 1e-12).all()


def test_the_regret_of_the_default_is_that_of_its_configuration(evaluation, meta):
    rows = evaluation.per_task
    default = rows.loc[(rows["part"] == "test") & (rows["recommender"] == "default") & (rows["k"] == 10)]
    found = default.set_index("task_id")["regret"].reindex(meta.task_ids)
    np.testing.assert_allclose(found, task_regret(meta.performance)[:, 0])


def test_the_orders_are_those_whose_regret_is_reported(evaluation, meta):
    rows = evaluation.per_task
    surrogate_rows = rows.loc[(rows["part"] == "test") & (rows["recommender"] == "recommended")].set_index(
        ["task_id", "k"]
    )
    assert set(evaluation.orders) == set(meta.task_ids)
    regret = task_regret(meta.performance)
    for t, task_id in enumerate(meta.task_ids):
        order = evaluation.orders[task_id]
        assert len(set(order)) == len(order) == 10
        assert surrogate_rows.loc[(task_id, 3), "regret"] == pytest.approx(regret[t, order[:3]].min())


def test_the_evaluation_is_deterministic(evaluation, meta, surrogate):
    again = evaluate_leave_family_out(meta, surrogate, KS)
    pd.testing.assert_frame_equal(again.per_task, evaluation.per_task)
    assert again.orders == evaluation.orders
    assert (again.trusts, again.trust) == (evaluation.trusts, evaluation.trust)


def test_folds_are_announced_when_they_are_done(meta, surrogate):
    done = []
    evaluate_leave_family_out(meta, surrogate, (1,), done.append)
    assert done == [0, 1, 2]


def spoil(meta, tasks, how):
    """Return the meta-data set with other outcomes of some tasks."""
    performance = meta.performance.copy()
    if how == "reversed":
        performance[tasks] *= -1.0
    elif how == "drawn again":
        performance[tasks] = np.random.default_rng(len(tasks)).random((len(tasks), 24))
    else:
        performance[tasks] = 0.0
        performance[tasks, 5] = 1.0
    return changed(meta, performance=performance)


def test_outcomes_of_meta_test_families_do_not_choose_their_trust(evaluation, meta, surrogate):
    for j, split in enumerate(split_families(meta.families, surrogate.fold_of_family)):
        for how in ("reversed", "drawn again", "one peak"):
            other = evaluate_leave_family_out(spoil(meta, split.test, how), surrogate, KS)
            assert other.trusts[j] == evaluation.trusts[j], (j, how)


@pytest.mark.parametrize("how", ["reversed", "drawn again", "one peak"])
def test_outcomes_of_meta_test_families_do_not_change_their_order_at_a_given_trust(
    evaluation, meta, surrogate, monkeypatch, how
):
    monkeypatch.setattr("metaflow_hpo.evaluate.evaluation.TRUSTS", (0.5,))
    plain = evaluate_leave_family_out(meta, surrogate, KS)
    split = split_families(meta.families, surrogate.fold_of_family)[1]
    other = evaluate_leave_family_out(spoil(meta, split.test, how), surrogate, KS)
    for t in split.test:
        assert other.orders[meta.task_ids[t]] == plain.orders[meta.task_ids[t]]
    assert other.orders != plain.orders


def test_what_is_reported_goes_by_the_trust_of_its_fold_and_the_gate_by_the_one_that_is_served(
    meta, surrogate, monkeypatch
):
    def choose(validation, default):  # over all tasks, or over those of one fold
        return 0.9 if validation["task"].nunique() == len(meta.task_ids) else 0.0

    monkeypatch.setattr("metaflow_hpo.evaluate.evaluation._choose_trust", choose)
    evaluation = evaluate_leave_family_out(meta, surrogate, KS)
    assert (evaluation.trusts, evaluation.trust) == ((0.0, 0.0, 0.0), 0.9)
    rows = evaluation.per_task.loc[evaluation.per_task["recommender"] == "recommended"]
    for j, split in enumerate(split_families(meta.families, surrogate.fold_of_family)):
        train = np.concatenate([split.train, split.validation])
        for part, trust, past, tasks in (
            ("test", 0.0, train, split.test),
            ("validation", 0.9, split.train, split.validation),
        ):
            contestant = WithNetworks(surrogate, (j,), trust).contestant()
            expected = recall(meta, past).judge(contestant, tasks, KS)["regret"]
            found = rows.loc[(rows["part"] == part) & rows["task_id"].isin([meta.task_ids[t] for t in tasks]), "regret"]
            np.testing.assert_allclose(found, expected)


def test_the_optimum_of_a_synthetic_family_is_approached_on_tasks_never_seen(evaluation):
    assert mean_regret(evaluation, "recommended", 1) < 0.85 * mean_regret(evaluation, "random", 1)
    assert mean_regret(evaluation, "recommended", 1) < mean_regret(evaluation, "default", 1)


def test_tasks_on_which_all_perform_the_same_are_left_out(meta, surrogate):
    performance = meta.performance.copy()
    performance[4] = 0.7
    evaluation = evaluate_leave_family_out(changed(meta, performance=performance), surrogate, KS)
    assert evaluation.degenerate == ("task_04",)
    assert "task_04" not in set(evaluation.per_task["task_id"])
    assert set(evaluation.orders) == set(meta.task_ids) - {"task_04"}


def test_a_fold_whose_tasks_are_all_degenerate_stops_nothing(meta, surrogate):
    four = replace(
        surrogate,
        networks=(*surrogate.networks, surrogate.networks[0]),
        standardisers=(*surrogate.standardisers, surrogate.standardisers[0]),
        fold_of_family=assign_folds(meta.families, 4),
    )
    tasks = split_families(meta.families, four.fold_of_family)[0].test
    performance = meta.performance.copy()
    performance[tasks] = 0.7
    evaluation = evaluate_leave_family_out(changed(meta, performance=performance), four, KS)
    assert len(evaluation.degenerate) == 3
    assert evaluation.per_task["task_id"].nunique() == 9
    assert pd.api.types.is_float_dtype(evaluation.per_task["regret"])


def test_when_all_tasks_are_degenerate_there_is_nothing_to_compare(meta, surrogate):
    with pytest.raises(DegenerateTaskError, match="all configurations perform the same; there is nothing to compare"):
        evaluate_leave_family_out(changed(meta, performance=np.full_like(meta.performance, 0.5)), surrogate)


def test_a_summary_holds_mean_interval_and_rank():
    lines = [
        ("test", task, task, name, 1, regret)
        for name, regrets in {"recommended": (0.1, 0.3), "random": (0.5, 0.3)}.items()
        for task, regret in zip("ab", regrets, strict=True)
    ]
    columns = ["part", "task_id", "family", "recommender", "k", "regret"]
    per_task = pd.DataFrame([*lines, ("validation", "a", "a", "recommended", 1, 0.9)], columns=columns)
    summary = summarise(per_task).set_index("recommender")
    assert summary["mean"].to_dict() == pytest.approx({"recommended": 0.2, "random": 0.4})
    # Task a: ranks 1 and 2; task b: a tie, 1.5 each.
    assert summary["rank"].to_dict() == {"recommended": 1.25, "random": 1.75}
    assert summary["tasks"].to_dict() == {"recommended": 2, "random": 2}
    assert (summary["low"] <= summary["mean"]).all()
    assert (summary["mean"] <= summary["high"]).all()
    assert summarise(per_task, "validation")["mean"].to_list() == [0.9]


def test_the_regret_of_one_recommender_on_some_tasks(meta):
    table = recall(meta, None).judge(Contestant.called("default"), [3, 1], (1, 5))
    assert list(zip(table["task_id"], table["k"], strict=True)) == [
        ("task_03", 1),
        ("task_03", 5),
        ("task_01", 1),
        ("task_01", 5),
    ]
    expected = task_regret(meta.performance)[[3, 3, 1, 1], 0]
    np.testing.assert_allclose(table["regret"], expected)


def test_random_search_through_the_whole_pool_has_no_regret(meta):
    table = recall(meta, None).judge(Contestant.called("random"), range(12), (24,))
    assert (table["regret"] == 0.0).all()
