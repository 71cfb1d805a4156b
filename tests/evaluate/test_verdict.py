import numpy as np
import pandas as pd

from metaflow_hpo.evaluate.verdict import say_verdict


def make(tasks=30, **regret_by_name):
    """Regret of each recommender at k = 1, 3; a little of it differs by task."""
    noise = 0.01 * np.random.default_rng(0).random(tasks)
    return pd.DataFrame(
        [
            {"task_id": f"t{t}", "family": f"t{t}", "recommender": name, "k": k, "regret": value + noise[t]}
            for name, values in regret_by_name.items()
            for k, value in zip((1, 3), values, strict=True)
            for t in range(tasks)
        ]
    )


def test_a_clear_gain_is_a_yes_with_its_numbers():
    said = say_verdict(make(recommended=(0.1, 0.05), random=(0.5, 0.3), portfolio=(0.2, 0.1)))
    assert said[0].startswith("Yes. Against those who learn nothing")
    assert said[0].endswith("is clearly lower at k = 1, 3.")
    assert "0.105 against 0.505 (random) at k = 1" in said[1]
    assert "its first trial is worth more than 3 by random search" in said[2]
    assert said[3] == "None of the others who learn from other tasks has a lower mean regret at any k."


def test_a_loss_is_said_first_and_whoever_wins_is_named():
    said = say_verdict(make(recommended=(0.4, 0.05), random=(0.2, 0.1), nearest_task=(0.3, 0.01)))
    assert said[0].startswith("Not everywhere.")
    assert "clearly lower at k = 3; clearly higher than somebody's at k = 1" in said[0]
    assert said[-1].startswith(
        "Others who learn from other tasks have a lower mean regret: nearest task at k = 1, 3 (cl"
    )


def test_random_trials_are_counted_between_the_reported_numbers():
    said = say_verdict(make(recommended=(0.15, 0.05), random=(0.2, 0.1)))
    assert "its first trial is worth between 1 and 3 by random search" in said[2]


def test_whoever_is_no_better_than_random_is_told_so():
    said = say_verdict(make(recommended=(0.3, 0.2), random=(0.2, 0.1)))
    assert said[0].startswith("No. ")
    assert "its first trial is worth no more than 1 by random search" in said[2]


def test_few_tasks_show_nothing():
    said = say_verdict(make(tasks=3, recommended=(0.1, 0.05), random=(0.5, 0.3)))
    assert said[0].startswith("Not shown.")
    assert said[-1].startswith("With 3 tasks hardly anything can be shown")


def test_nothing_is_said_where_nothing_is_compared():
    assert say_verdict(make(recommended=(0.1, 0.05))) == []
    assert say_verdict(make(random=(0.1, 0.05), portfolio=(0.1, 0.1))) == []
    said = say_verdict(make(**{"recommended": (0.1, 0.05), "recommended-no-portfolio": (0.05, 0.01)}))
    assert said == []
