"""MetaOracle in real searches of Keras Tuner."""

import math
import os

import numpy as np
import pandas as pd
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras_tuner = pytest.importorskip("keras_tuner")

from metaflow_hpo.history import History  # noqa: E402 - the backend is chosen before
from metaflow_hpo.integrations.keras_tuner import MetaOracle, to_distribution  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def past():
    drawn = np.random.default_rng(0)
    rows = [
        {"task_id": f"t{t}", "hp_lr": 10.0 ** drawn.uniform(-5, -1), "hp_layers": int(drawn.integers(1, 5))}
        for t in range(4)
        for _ in range(20)
    ]
    frame = pd.DataFrame(rows)
    loss = (np.log10(frame["hp_lr"]) + 3) ** 2 + 0.1 * (frame["hp_layers"] - 3) ** 2
    return History.from_frame(frame.assign(performance=-loss))


class Tuner(keras_tuner.Tuner):
    """Scores by a formula in place of a training."""

    def run_trial(self, trial, *args, **kwargs):
        hp = trial.hyperparameters
        rate, layers = self.hypermodel.build(hp)
        return (math.log10(rate) + 3) ** 2 + 0.1 * (layers - 3) ** 2 if rate < 0.09 else math.nan


def build(hp):
    rate = hp.Float("lr", 1e-5, 1e-1, sampling="log")
    layers = hp.Int("layers", 1, 4)
    if hp.Choice("optimizer", ["adam", "sgd"]) == "sgd":
        with hp.conditional_scope("optimizer", ["sgd"]):
            hp.Float("momentum", 0.0, 0.9, step=0.1)
    hp.Fixed("epochs", 3)
    hp.Boolean("bias")
    return rate, layers


def search(oracle, folder, **options):
    tuner = Tuner(oracle=oracle, hypermodel=build, directory=str(folder), project_name="p", **options)
    tuner.search(verbose=0)
    return oracle


def first_score(oracle):
    return oracle.trials[oracle.start_order[0]].score


def test_the_first_trial_is_informed_and_the_search_goes_on(past, tmp_path):
    oracle = search(MetaOracle(past=past, max_trials=8, seed=0), tmp_path)
    assert first_score(oracle) < 0.5
    assert len({str(sorted(t.hyperparameters.values.items())) for t in oracle.trials.values()}) == 8
    assert all(0 <= t.hyperparameters.values["lr"] <= 0.1 for t in oracle.trials.values())


def test_what_is_inactive_is_absent_from_what_is_learned(past, tmp_path):
    path = tmp_path / "past.parquet"
    past.write(path)
    search(MetaOracle(past=path, max_trials=6, seed=1, learn=True, task_id="mine"), tmp_path)
    mine = pd.read_parquet(path).query("task_id == 'mine'")
    assert len(mine) == 6
    assert (mine["hp_momentum"].isna() == (mine["hp_optimizer"] == "adam")).all()


def test_a_project_that_is_gone_on_with_knows_its_trials(past, tmp_path):
    first = search(MetaOracle(past=past, max_trials=3, seed=0), tmp_path)
    second = search(MetaOracle(past=past, max_trials=6, seed=0), tmp_path, overwrite=False)
    assert len(second.trials) == 6
    assert {i: t.score for i, t in first.trials.items()}.items() <= {
        i: t.score for i, t in second.trials.items()
    }.items()
    assert len({str(sorted(t.hyperparameters.values.items())) for t in second.trials.values()}) == 6


@pytest.mark.parametrize("later", [["adam", "sgd", "lion", "muon"], ["sgd", "lion"]])
def test_choices_that_were_added_before_resuming_are_used(past, tmp_path, later):
    def go_on(choices, count, **options):
        def build(hp):
            return hp.Float("lr", 1e-5, 1e-1, sampling="log"), len(hp.Choice("optimizer", choices))

        oracle = MetaOracle(past=past, max_trials=count, seed=0)
        Tuner(oracle=oracle, hypermodel=build, directory=str(tmp_path), project_name="p", **options).search(verbose=0)
        return [oracle.trials[name].hyperparameters.values["optimizer"] for name in oracle.start_order]

    first = go_on(["adam", "sgd"], 4)
    second = go_on(later, 16, overwrite=False)
    assert second[:4] == first
    assert set(second[5:]) == set(later)  # the next trial was chosen before its model declared them


def test_a_space_that_is_used_up_ends_the_search(past, tmp_path):
    oracle = MetaOracle(past=past, max_trials=50, seed=0)
    tuner = keras_tuner.Tuner
    assert issubclass(Tuner, tuner)
    Tuner(
        oracle=oracle,
        hypermodel=lambda hp: (hp.Choice("lr", [1e-3, 1e-2]), hp.Int("layers", 1, 2)),
        directory=str(tmp_path),
        project_name="small",
    ).search(verbose=0)
    assert len(oracle.trials) == 4


def test_a_trial_that_fails_is_lived_with(past, tmp_path):
    oracle = MetaOracle(past=None, max_trials=6, seed=3, max_consecutive_failed_trials=9)
    Tuner(
        oracle=oracle,
        hypermodel=lambda hp: (hp.Float("lr", 0.01, 0.2), hp.Int("layers", 1, 3)),
        directory=str(tmp_path),
        project_name="nan",
    ).search(verbose=0)
    assert {trial.status for trial in oracle.trials.values()} == {"COMPLETED", "FAILED"}


def test_steps_are_kept_on_both_scales():
    hps = keras_tuner.HyperParameters()
    hps.Float("linear", 0.0, 1.0, step=0.3)
    hps.Int("whole", 3, 10, step=3)
    linear, whole = (to_distribution(hp) for hp in hps.space)
    assert (linear.low, round(linear.high, 9), linear.step) == (0.0, 0.9, 0.3)
    assert (whole.low, whole.high, whole.step) == (3, 9, 3)


def test_a_logarithmic_scale_with_steps_multiplies(past, tmp_path):
    oracle = MetaOracle(past=past, max_trials=4, seed=0)
    Tuner(
        oracle=oracle,
        hypermodel=lambda hp: (
            hp.Float("lr", 1e-4, 1e-2, sampling="log", step=10),
            hp.Int("layers", 2, 8, sampling="log", step=2),
        ),
        directory=str(tmp_path),
        project_name="steps",
    ).search(verbose=0)
    values = [trial.hyperparameters.values for trial in oracle.trials.values()]
    assert {round(math.log10(v["lr"]), 9) for v in values} <= {-4.0, -3.0, -2.0}
    assert {v["layers"] for v in values} <= {2, 4, 8}
