"""Suspicious tasks, on constructed ones whose trouble is known."""

import numpy as np
import pandas as pd

from metaflow_hpo.evaluate.report.knowledge_suspects import FINDINGS, find_suspicious

SOUND = {
    "kind": "binary",
    "best": 0.9,
    "median": 0.7,
    "skill": 0.8,
    "span": 0.4,
    "failed_fraction": 0.0,
    "optimism": 0.01,
}


def make(**changes):
    lines = [{"task_id": n, "family": n, **SOUND, "test_agreement": 0.8, **c} for n, c in changes.items()]
    core = pd.DataFrame(np.random.default_rng(0).random((len(lines), 40)), index=list(changes))
    return pd.DataFrame(lines), core


def findings(table):
    return list(table.itertuples(index=False, name=None))


def test_sound_tasks_are_not_listed():
    tasks, core = make(a={}, b={"kind": "regression"})
    noise = pd.DataFrame({"task_id": ["a"], "seed_correlation": [0.9]})
    prints = {"a": frozenset("xy"), "b": frozenset("z")}
    meta = pd.DataFrame({"task_id": ["a", "b"], "mf_target_correlation_max": [1.0, 0.9], "mf_landmark_stump": 0.7})
    meta["mf_is_regression"] = [0.0, 1.0]
    table = find_suspicious(tasks, core, noise=noise, meta_features=meta, fingerprints=prints)
    assert findings(table) == []
    assert list(table.columns) == ["task_id", "finding", "value"]


def test_each_trouble_of_performance_is_found_with_its_value():
    tasks, core = make(
        leak={"best": 1.0, "median": 0.99},
        noise={"skill": 0.03},
        flat={"span": 0.01},
        crash={"failed_fraction": 0.5},
        lottery={"test_agreement": 0.1},
        memory={"optimism": 0.5},
        unknown={"skill": np.nan, "test_agreement": np.nan},
    )
    assert findings(find_suspicious(tasks, core)) == [
        ("leak", "best is perfect", 1.0),
        ("leak", "nearly all is perfect", 0.99),
        ("noise", "nothing beats chance", 0.03),
        ("flat", "no span", 0.01),
        ("lottery", "test disagrees", 0.1),
        ("memory", "test falls short", 0.5),
        ("crash", "many failures", 0.5),
    ]


def test_a_column_that_gives_the_target_away_is_found():
    tasks, core = make(copy={"kind": "regression"}, split={}, function_of_class={})
    meta = pd.DataFrame(
        {
            "task_id": ["copy", "split", "function_of_class", "not_searched"],
            "mf_is_regression": [1.0, 0.0, 0.0, 0.0],
            "mf_target_correlation_max": [0.999, 0.5, 1.0, 1.0],
            "mf_landmark_stump": [0.1, 0.99, 0.6, 1.0],
        }
    )
    found = findings(find_suspicious(tasks, core, meta_features=meta))
    assert found == [("copy", "one column tells", 0.999), ("split", "one column tells", 0.99)]


def test_seeds_that_disagree_are_found():
    tasks, core = make(a={}, b={})
    noise = pd.DataFrame({"task_id": ["a", "b"], "seed_correlation": [0.3, np.nan]})
    assert findings(find_suspicious(tasks, core, noise=noise)) == [("a", "seeds disagree", 0.3)]


def test_twins_are_found_across_families_only():
    tasks, core = make(a={}, b={}, c={"family": "a"})
    core.loc["b"] = 0.5 * core.loc["a"] + 0.1
    core.loc["c"] = core.loc["a"]
    table = find_suspicious(tasks, core)
    assert list(table["finding"]) == ["moves with b", "moves with c"]
    assert list(table["task_id"]) == ["a", "b"]
    np.testing.assert_allclose(table["value"], 1.0)


def test_tasks_without_span_have_no_twin():
    tasks, core = make(a={"span": 0.01}, b={"span": 0.01})
    core.loc["a"] = 0.5 + 0.001 * core.loc["a"]
    core.loc["b"] = core.loc["a"]
    assert list(find_suspicious(tasks, core)["finding"]) == ["no span", "no span"]


def test_shared_columns_are_found_across_families_only():
    tasks, core = make(a={}, b={}, c={"family": "a"})
    prints = {"a": frozenset("wxyz"), "b": frozenset("xq"), "c": frozenset("wxyz")}
    found = findings(find_suspicious(tasks, core, fingerprints=prints))
    assert found == [("a", "shares columns with b", 0.5), ("b", "shares columns with c", 0.5)]


def test_every_finding_is_explained():
    assert all(text.endswith(".") for text in (f"{meaning}." for meaning in FINDINGS.values()))
    assert len(FINDINGS) == 11
