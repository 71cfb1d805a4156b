import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.evaluate.gate import RIVALS, decide

TASKS = [f"t{i}" for i in range(12)]


def table_of(regrets, part="validation"):
    lines = [
        (part, task, f"family of {task}", name, k, regret + 0.001 * i)
        for name, regret in regrets.items()
        for i, task in enumerate(TASKS)
        for k in (1, 3, 5, 10)
    ]
    return pd.DataFrame(lines, columns=["part", "task_id", "family", "recommender", "k", "regret"])


EQUAL = {"recommended": 0.2, **dict.fromkeys(RIVALS, 0.2)}


def champion_of(regret):
    rows = table_of({"recommended": regret})
    return rows[["task_id", "k", "regret"]]


def test_a_candidate_as_good_as_every_rival_passes():
    decision = decide(table_of(EQUAL), champion_of(0.2))
    assert decision.promoted
    assert decision.reason.startswith(
        "Not worse than default, random, nearest_task, portfolio, champion at k = 1, 5, 10"
    )
    assert list(decision.comparisons["rival"]) == [*RIVALS, "champion"]
    assert (decision.comparisons["probability_of_harm"] == 0.5).all()
    assert (decision.comparisons["tasks"] == 12).all()


def test_a_better_candidate_passes_without_a_champion():
    decision = decide(table_of({**EQUAL, "recommended": 0.1}), None)
    assert decision.promoted
    assert list(decision.comparisons["rival"]) == list(RIVALS)
    assert decision.comparisons["difference"].to_list() == pytest.approx([-0.1] * 4)


@pytest.mark.parametrize("rival", RIVALS)
def test_a_clearly_worse_candidate_is_refused_and_the_rival_named(rival):
    decision = decide(table_of({**EQUAL, rival: 0.1}), None)
    assert not decision.promoted
    assert decision.reason == (
        f"Worse than {rival}: mean regret 0.2055 against 0.1055 over 12 meta-validation tasks "
        "(probability of harm 1.00, limit 0.95)."
    )
    assert decision.comparisons.set_index("rival")["passed"].to_dict() == {name: name != rival for name in RIVALS}


def test_a_candidate_worse_than_the_champion_is_refused():
    decision = decide(table_of(EQUAL), champion_of(0.1))
    assert not decision.promoted
    assert decision.reason.startswith("Worse than champion: mean regret 0.2055 against 0.1055")


def test_meta_test_families_are_not_looked_at():
    terrible = table_of({**EQUAL, "recommended": 1.0}, part="test")
    with_test = decide(pd.concat([table_of(EQUAL), terrible]), None)
    pd.testing.assert_frame_equal(with_test.comparisons, decide(table_of(EQUAL), None).comparisons)


def test_a_champion_is_compared_on_the_tasks_both_know():
    rows = champion_of(0.2)
    decision = decide(table_of(EQUAL), rows.loc[rows["task_id"].isin(TASKS[:4])])
    assert decision.comparisons.set_index("rival")["tasks"].to_dict() == {**dict.fromkeys(RIVALS, 12), "champion": 4}


@pytest.mark.parametrize(("loss", "promoted"), [(0.2, False), (0.0, True), (-0.2, True)])
def test_what_is_worse_than_the_default_when_really_trained_is_refused_whatever_the_table_says(loss, promoted):
    default = np.linspace(0.6, 0.9, 12)
    noise = np.where(np.arange(12) % 2, 0.01, -0.01)
    realised = pd.DataFrame({"task_id": TASKS, "default": default, "first": default - loss + noise})
    decision = decide(table_of(EQUAL), None, realised=realised)
    assert decision.promoted == promoted
    if not promoted:
        assert decision.reason.startswith(
            "Its first recommendation, really trained, is 0.2000 worse than the default over 12 held-out tasks"
        )


def test_recommendations_whose_training_fails_are_refused_and_a_worse_rival_is_named_first():
    realised = pd.DataFrame({"task_id": TASKS, "default": np.linspace(0.6, 0.9, 12), "first": float("nan")})
    assert not decide(table_of(EQUAL), None, realised=realised).promoted
    worse = decide(table_of({**EQUAL, "default": 0.1}), None, realised=realised)
    assert worse.reason.startswith("Worse than default")
