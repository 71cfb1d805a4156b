import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.evaluate.early_stopping import measure_stopping, replay_curves, summarise_stopping
from metaflow_hpo.evaluate.evaluation import evaluate_leave_family_out
from metaflow_hpo.recommender.stopping import StoppingRule

EPOCHS = 50


@pytest.fixture
def evaluation(meta, surrogate):
    return evaluate_leave_family_out(meta, surrogate)


def make_trials(meta, changed=None):
    """Every configuration of the shared core, whose curve rises in a straight line to its performance."""
    rise = np.linspace(0.2, 1.0, EPOCHS)
    lines = []
    for t, task_id in enumerate(meta.task_ids):
        for c, configuration_id in enumerate(meta.configuration_ids):
            curve = meta.performance[t, c] * (rise if task_id != changed else rise[::-1] * 0.5)
            lines.append((task_id, configuration_id, curve.astype(np.float32)))
    frame = pd.DataFrame(lines, columns=["task_id", "configuration_id", "learning_curve"])
    frame = frame.assign(learner="mlp", strategy="sobol", status="ok", fidelity_epochs=EPOCHS)
    return pd.concat([frame.assign(seed=0), frame.assign(seed=1)], ignore_index=True)


def test_a_replay_stops_what_will_not_win_and_pays_for_the_epochs_until_then():
    # Bounds equal the end of each line: 3 whole trials, then a worse one and two better ones.
    ends = np.array([0.5, 0.6, 0.4, 0.3, 0.8, 0.9])
    start = np.linspace(0, 1, EPOCHS)
    curves = ends[:, None] * start
    rule = StoppingRule.fit(np.linspace(0.1, 1.0, 300)[:, None] * start)
    duration = np.array([1.0, 1.0, 1.0, 10.0, 1.0, 1.0])
    found = replay_curves(rule, curves, duration)
    assert found["stopped_fraction"] == pytest.approx(1 / 6)
    assert found["saved_fraction"] == pytest.approx(10 * (1 - rule.checkpoints[0] / EPOCHS) / 15)
    assert found["lost"] == 0.0


def test_what_is_stopped_wrongly_is_lost():
    start = np.linspace(0, 1, EPOCHS)
    curves = np.array([0.5, 0.5, 0.5, 0.5])[:, None] * start
    late = np.where(np.arange(EPOCHS) < 40, 0.1, 0.8)
    rule = StoppingRule.fit(np.linspace(0.1, 1.0, 300)[:, None] * start)
    found = replay_curves(rule, np.vstack([curves[:3], late]), np.ones(4))
    assert found["lost"] == pytest.approx(0.3)


def test_the_rule_of_a_task_never_sees_its_family(meta, surrogate, evaluation):
    found = measure_stopping(make_trials(meta), meta, surrogate, evaluation.trusts).set_index("task_id")
    assert set(found.index) == set(meta.task_ids)
    assert (found["saved_fraction"] > 0).any()
    assert found["lost"].max() < 0.01
    # Other curves on one task change what is measured for it and nothing it was judged with: the others of its fold
    # have the very same numbers.
    changed = meta.task_ids[3]
    fold = surrogate.fold_of_family[meta.families[3]]
    same_fold = [
        t
        for t, f in zip(meta.task_ids, meta.families, strict=True)
        if surrogate.fold_of_family[f] == fold and t != changed and t in found.index
    ]
    again = measure_stopping(make_trials(meta, changed), meta, surrogate, evaluation.trusts).set_index("task_id")
    assert same_fold
    pd.testing.assert_frame_equal(found.loc[same_fold], again.loc[same_fold])
    assert not found.loc[[changed]].equals(again.loc[[changed]])


def test_there_is_nothing_to_say_without_curves(meta, surrogate, evaluation):
    without = make_trials(meta).drop(columns="learning_curve")
    table = measure_stopping(without, meta, surrogate, evaluation.trusts)
    assert table.empty
    assert summarise_stopping(table) == []
