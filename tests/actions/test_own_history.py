"""Whose trials there are to learn from, where people searched with another learner than that of the settings."""

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.actions import own_history, own_trials
from metaflow_hpo.adapters.pipeline import Pipeline
from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.settings import Settings


def search(pipeline):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=90)}).assign(y=lambda f: np.where(f["a"] > 0, "p", "q"))
    data = prepare_task(frame, task_id="mine", target="y", source="test", licence="none")
    return own_trials.search(pipeline, data, strategy="random", trials=1)


def test_what_people_tried_is_learned_from_unless_it_is_not_clear_what(tmp_path, monkeypatch):
    monkeypatch.delenv("METAFLOW_HPO_LEARNER")
    free = Pipeline(Settings(data=tmp_path / "data"))
    assert own_history.choose_learned(free) is free
    search(free.tuning("svm"))
    assert own_history.choose_learned(free).learner_name == "svm"
    search(free.tuning("realmlp"))
    with pytest.raises(
        MetaflowHPOError, match=r"Expected trials of mlp in .*; found those of 'realmlp', 'svm'.*--learner"
    ):
        own_history.choose_learned(free)
    chosen = free.tuning("realmlp")
    assert own_history.choose_learned(chosen) is chosen
    search(free)
    assert own_history.choose_learned(free) is free
