import json
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.collect.strategies.registry import ABLATIONS
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.evaluate.benchmark import DEFAULT_NAMES, Plan, choose_names, run_benchmark, summarise
from metaflow_hpo.evaluate.significance import compare, holm
from metaflow_hpo.history import History

FAST = ("recommended", "random", "portfolio", "nearest_task", "mean_rank")


def make_frame(tasks=6, pool=24, seed=0):
    rng = np.random.default_rng(seed)
    parts = []
    for t in range(tasks):
        x = np.linspace(0, 1, pool)
        parts.append(
            pd.DataFrame(
                {
                    "task_id": f"task_{t}",
                    "family": f"family_{t // 2}",
                    "hp_x": x,
                    "hp_y": rng.permutation(pool) if t == 0 else parts[0]["hp_y"].to_numpy(),
                    "mf_at": 0.2 + 0.1 * t,
                    "performance": 1.0 - np.abs(x - 0.2 - 0.1 * t),
                    "test_performance": 0.9 - np.abs(x - 0.2 - 0.1 * t),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def test_the_answer_has_the_contracts_shape():
    result = run_benchmark(History.from_frame(make_frame()), Plan(FAST, ks=(1, 3), seeds=2))
    answer = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert list(answer["recommenders"]) == list(FAST)
    cell = answer["recommenders"]["portfolio"]["3"]
    assert cell["low"] <= cell["mean"] <= cell["high"]
    assert cell["wins"] + cell["ties"] + cell["losses"] == cell["tasks"] == 6
    assert len(answer["per_task"]) == len(FAST) * 6 * 2
    assert set(answer["seconds"]) == set(FAST)
    mean = np.mean([p["regret"] for p in answer["per_task"] if p["recommender"] == "portfolio" and p["k"] == 3])
    assert cell["mean"] == pytest.approx(mean)
    first = answer["per_task"][0]
    assert first["test_performance"] == pytest.approx(first["performance"] - 0.1)


def test_regret_never_grows_and_ends_at_zero_when_all_is_tried():
    result = run_benchmark(History.from_frame(make_frame()), Plan(FAST, ks=(1, 2, 8, 24), seeds=1))
    wide = result.per_task.pivot_table(index=["recommender", "task_id"], columns="k", values="regret").to_numpy()
    assert (np.diff(wide, axis=1) <= 0).all()
    np.testing.assert_array_equal(wide[:, -1], 0.0)


def test_the_order_of_lines_and_the_number_of_processes_change_nothing():
    frame = make_frame()
    plan = Plan(("recommended", "random"), ks=(1, 4), seeds=2, folds=3)
    expected = run_benchmark(History.from_frame(frame), plan)
    shuffled = History.from_frame(frame.sample(frac=1.0, random_state=1))
    found = run_benchmark(shuffled, plan, workers=2)
    pd.testing.assert_frame_equal(found.per_task, expected.per_task, check_exact=True)


def test_nothing_of_the_own_family_is_learned():
    """With the family's other task turned upside down, the picks on a task stay the same."""
    frame = make_frame()
    changed = frame.copy()
    changed.loc[changed["task_id"] == "task_3", "performance"] *= -1.0
    plan = Plan(("recommended", "portfolio", "nearest_task"), ks=(1, 2, 5))
    tables = [run_benchmark(History.from_frame(f), plan).per_task for f in (frame, changed)]
    mine = [t.loc[t["task_id"] == "task_2"].reset_index(drop=True) for t in tables]
    pd.testing.assert_frame_equal(*mine, check_exact=True)
    theirs = [t.loc[t["task_id"] == "task_0", "regret"].to_numpy() for t in tables]
    assert not np.array_equal(*theirs)


def test_interval_rank_and_wins_are_over_tasks():
    per_task = pd.DataFrame(
        {
            "task_id": ["a", "b", "a", "b"],
            "recommender": ["recommended", "recommended", "other", "other"],
            "k": 1,
            "regret": [0.2, 0.4, 0.1, 0.4],
        }
    )
    summary = summarise(per_task).set_index("recommender")
    assert summary.loc["recommended", "mean"] == pytest.approx(0.3)
    assert summary.loc["recommended", "rank"] == 1.75
    assert summary.loc["other", ["wins", "ties", "losses"]].tolist() == [1, 1, 0]


def test_a_part_of_the_tasks_is_judged_as_if_all_were():
    """Which tasks depends on their names alone; what is not judged is still learned from."""
    frame = make_frame()
    everything = run_benchmark(History.from_frame(frame), Plan(FAST, ks=(1, 4), seeds=1)).per_task
    table = History.from_frame(frame.sample(frac=1.0, random_state=1))
    part = run_benchmark(table, Plan(FAST, ks=(1, 4), seeds=1, max_tasks=2)).per_task
    chosen = set(part["task_id"])
    assert len(chosen) == 2
    expected = everything.loc[everything["task_id"].isin(chosen)].reset_index(drop=True)
    pd.testing.assert_frame_equal(part, expected, check_exact=True)


def test_an_unknown_strategy_is_named():
    with pytest.raises(MetaflowHPOError, match=r"strategy must be one of sobol, .* got 'magic'"):
        Plan(("recommended", "magic"))


@pytest.mark.skipif(find_spec("flaml") is not None, reason="FLAML is installed")
def test_a_missing_package_is_named_with_the_remedy():
    with pytest.raises(
        MetaflowHPOError, match=r"flaml_zero_shot needs flaml, .* pip install 'metaflow-hpo\[benchmark\]'"
    ):
        choose_names(["recommended", "flaml_zero_shot"])


def test_flags_choose_the_parts_and_the_baselines():
    assert choose_names() == DEFAULT_NAMES
    assert choose_names(ablation=True) == ("recommended", *ABLATIONS)
    assert choose_names(["random"], ablation=True) == ("random", *ABLATIONS)


def test_holm_corrects_step_by_step():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])


def test_a_clearly_better_recommender_is_told_apart_and_equal_ones_are_joined():
    rng = np.random.default_rng(0)
    base = rng.random(30)
    comparison = compare(pd.DataFrame({"worse": base + 0.5, "best": base, "twin": base[::-1] * 0 + base}))
    assert comparison.names[-1] == "worse"
    assert comparison.cliques == [(0, 1)]
    np.testing.assert_allclose(comparison.ranks, [1.5, 1.5, 3.0])
