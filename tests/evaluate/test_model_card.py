from dataclasses import replace

import pandas as pd
import pytest

from metaflow_hpo.evaluate.gate import Verdict
from metaflow_hpo.evaluate.model_card import MAX_LENGTH, CardFacts, card_tags, write_card


@pytest.fixture
def facts(meta) -> CardFacts:
    regret = {"recommended": 0.1081, "portfolio": 0.115, "default": 0.155}
    summary = pd.DataFrame(
        [
            {"recommender": name, "k": k, "mean": mean / k, "low": 0.01, "high": 0.2, "rank": 1.0, "tasks": 12}
            for name, mean in regret.items()
            for k in (1, 3, 5)
        ]
    )
    gain = {"mean_gain": 0.011, "low": 0.004, "high": 0.018, "wins": 9, "ties": 1, "losses": 2}
    gains = pd.DataFrame(
        [{"way": way, "rival": rival, **gain} for way in ("first", "best_of_5") for rival in ("default", "random_10")]
    )
    comparisons = pd.DataFrame([{"rival": "portfolio", "difference": -0.0071, "probability_of_harm": 0.2}])
    return CardFacts(
        name="recommender",
        version=7,
        learner="mlp",
        past=meta,
        summary=summary,
        gains=gains,
        covered={"a": 1.0, "b": 0.5},
        error=0.0321,
        verdict=Verdict(True, "Not worse than portfolio.", comparisons),
        degenerate=("flat",),
        lineage={"meta_dataset_md5": "abc"},
    )


def test_the_card_says_what_was_measured(facts):
    card = write_card(facts)
    assert card.startswith("# recommender, version 7\n")
    assert "12 tasks of 12 families; 24 configurations that all of them have tried; 4 meta-features" in card
    assert "Left out, as all configurations perform alike: flat." in card
    assert "| recommended | 0.108 (0.010 to 0.200) | 0.036 (0.010 to 0.200) | 0.022 (0.010 to 0.200) |" in card
    assert "- over the default: +0.011 (+0.004 to +0.018); 9 wins, 1 ties, 2 losses" in card
    assert "- over the best of 10 random trials: +0.011" in card
    assert card.count("over the default") == 1
    assert "Intervals of nominal 80% covered 75% of the outcomes on 2 held-out tasks." in card
    assert "The expected performance is off by 0.032 on average." in card
    assert "Passed. Not worse than portfolio.\n- portfolio: difference -0.0071, probability of harm 0.20" in card
    assert "- meta_dataset_md5: `abc`" in card


def test_a_card_fits_into_what_mlflow_keeps(facts, meta):
    endless = replace(facts, lineage={f"name_{i}": "x" * 60 for i in range(100)})
    card = write_card(endless)
    assert len(card) == MAX_LENGTH
    assert card.endswith("...\n")


def test_versions_carry_the_numbers_they_are_compared_by(facts):
    assert card_tags(facts) == {
        "regret.k1": "0.1081",
        "regret.k5": "0.0216",
        "regret.portfolio.k1": "0.1150",
        "regret.portfolio.k5": "0.0230",
        "coverage_80": "0.750",
        "prediction_error": "0.0321",
        "learner": "mlp",
        "tasks": "12",
        "families": "12",
        "gate": "passed",
    }
