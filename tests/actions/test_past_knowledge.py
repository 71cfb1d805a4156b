"""What past tasks teach a search, from however few of them."""

import numpy as np
import pandas as pd

from metaflow_hpo.actions.past_knowledge import read_past
from metaflow_hpo.collect.strategies.registry import make_strategy
from metaflow_hpo.collect.strategies.strategy import StrategyContext
from metaflow_hpo.learners.function import learner_from_function

SPACE = {"lr": {"type": "float", "low": 1e-4, "high": 1.0, "log": True, "default": 0.5}}


def test_one_past_task_is_enough_for_a_search(tmp_path):
    rates = np.geomspace(1e-4, 1.0, 9)
    path = tmp_path / "past.csv"
    pd.DataFrame({"task_id": "first", "hp_lr": rates, "performance": -np.abs(np.log10(rates) + 3)}).to_csv(path)
    learner = learner_from_function(lambda configuration, task, report: 0.0, SPACE, name="toy")
    known = read_past(path, learner)
    assert len(known.tasks.scores) == 1
    strategy = make_strategy("recommended", StrategyContext(learner.space, past=known.tasks))
    assert strategy.ask(1)[0]["lr"] == 1e-3
