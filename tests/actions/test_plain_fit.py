"""What is learned from trials that a pipeline has collected, and those of searches that went other ways."""

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.actions.plain_fit import read_history
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.learners.svm import SPACE
from metaflow_hpo.settings import Settings
from metaflow_hpo.space import configuration_id


def tried(task_id, configurations, **more):
    """Return the trials of a task, the later ones the better."""
    lines = [
        {
            "task_id": task_id,
            "family": task_id,
            "learner": "svm",
            "configuration_id": configuration_id(one),
            "performance": 0.5 + 0.04 * place,
            **{f"hp_{name}": value for name, value in one.items()},
        }
        for place, one in enumerate(configurations)
    ]
    return pd.DataFrame(lines).assign(**more)


@pytest.fixture
def drawn():
    return SPACE.from_unit(np.random.default_rng(0).random((20, len(SPACE.names))))


@pytest.fixture
def pipeline(tmp_path):
    return Pipeline(Settings(data=tmp_path, learner="svm"))


def test_of_searches_that_went_on_the_shared_beginning_is_learned_from(pipeline, drawn):
    frame = pd.concat(
        [tried(f"t{i}", [*drawn[:6], *drawn[6 + 2 * i : 8 + 2 * i]]) for i in range(4)], ignore_index=True
    )
    history = read_history(pipeline, frame)
    assert len(history.task_ids) == 4
    assert len(history.configurations) == 6


def test_a_task_that_was_searched_with_other_configurations_is_learned_from_too(pipeline, drawn):
    others = [tried(f"t{i}", drawn[:6]) for i in range(4)]
    frame = pd.concat([*others, tried("landed", [drawn[0], *drawn[6:13]])], ignore_index=True)
    history = read_history(pipeline, frame)
    assert "landed" in history.task_ids
    [landed] = [task for task in history.tasks if task.task_id == "landed"]
    assert len(landed.positions) == 8
    assert len(history.configurations) == 13
