from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from metaflow_hpo.array_files import write_described
from metaflow_hpo.collect.trials import train_trials
from metaflow_hpo.errors import InvalidTableError
from metaflow_hpo.learners.mlp.learner import MLP
from metaflow_hpo.learners.realmlp.learner import RealMLP
from metaflow_hpo.learners.trained_rows import TrainedNetwork, fit_network
from metaflow_hpo.modalities.table.preparation import prepare_task
from metaflow_hpo.modalities.table.scores import score
from metaflow_hpo.modalities.table.written_dates import DateStyle
from metaflow_hpo.modalities.table.written_numbers import NumberStyle

EPOCHS = 5
CASES = {
    "mlp relu": (MLP(), {"activation": "relu"}),
    "mlp tanh": (MLP(), {"activation": "tanh"}),
    "realmlp selu": (RealMLP(), {"activation": "selu", "members": 3}),
    "realmlp mish": (RealMLP(), {"activation": "mish", "frequency": 2.0, "scaling": "quantile"}),
    "realmlp silu": (RealMLP(), {"activation": "silu", "scaling": "standard", "layers": 1}),
    "realmlp relu": (RealMLP(), {"activation": "relu"}),
}


def make_task(kind):
    rng = np.random.default_rng(0)
    a, colour = rng.normal(size=150), rng.choice(["red", "green", None], size=150)
    value = a * 3 + (colour == "red")
    target = value * 10 + 100 if kind == "regression" else np.where(value > 0, "yes", "no")
    return prepare_task(
        pd.DataFrame({"a": a, "colour": colour, "y": target}), task_id="t", target="y", source="test", licence="none"
    )


@pytest.mark.parametrize("kind", ["binary", "regression"])
@pytest.mark.parametrize(("learner", "values"), CASES.values(), ids=CASES)
def test_the_kept_network_is_the_refit_whose_test_performance_is_reported(kind, learner, values, tmp_path):
    data = make_task(kind)
    configuration = learner.space.validate({**learner.space.default, **values})
    trial = dict(train_trials(data, learner, [configuration], strategy="x", seed=3, fidelity=EPOCHS))[0]
    fit_network(data, learner.name, configuration, seed=3, epochs=EPOCHS).save(tmp_path)
    assert (tmp_path / "network.safetensors").stat().st_mode & 0o044  # others may read it, as MLflow's server must
    predicted = TrainedNetwork.load(tmp_path).predict(data.test_features)
    if kind == "regression":
        values = predicted["prediction"].to_numpy()
        assert score(kind, data.test_target, values)["r2"] == pytest.approx(trial.scores["test_r2"], abs=1e-5)
        assert 50 < values.mean() < 150
    else:
        names = [f"probability_{name}" for name in data.class_names]
        shares = predicted[names].to_numpy()
        assert score(kind, data.test_target, shares)["log_loss"] == pytest.approx(
            trial.scores["test_log_loss"], rel=1e-4
        )
        assert shares.sum(axis=1) == pytest.approx(1)
        assert list(predicted["prediction"]) == [data.class_names[i] for i in shares.argmax(axis=1)]


def test_a_network_that_diverges_is_not_kept():
    # Far outside the search space: within it, rounding decides whether a training diverges.
    wild = {**MLP.space.default, "optimizer": "sgd", "momentum": 0.0, "learning_rate": 1e6}
    assert fit_network(make_task("regression"), "mlp", wild, seed=0, epochs=EPOCHS) is None


def test_a_folder_without_a_network_is_refused(tmp_path):
    with pytest.raises(InvalidTableError, match="metaflow-hpo train"):
        TrainedNetwork.load(tmp_path)


def test_a_network_that_another_version_knows_is_refused(tmp_path):
    write_described(tmp_path, "network", {"parameters": np.zeros(1)}, {"learner": "forest"})
    with pytest.raises(InvalidTableError, match="found one of forest"):
        TrainedNetwork.load(tmp_path)


def test_styles_are_kept_with_the_network(tmp_path: Path) -> None:
    data = make_task("regression")
    data = replace(
        data, styles={data.features.columns[0]: NumberStyle(",", "."), data.task.target: NumberStyle(".", "")}
    )
    network = fit_network(data, "mlp", MLP.space.default, seed=0, epochs=1)
    network.save(tmp_path)
    assert TrainedNetwork.load(tmp_path).styles == {data.features.columns[0]: NumberStyle(",", ".")}


def test_what_the_training_rows_say_of_a_column_is_kept_with_the_network(tmp_path: Path) -> None:
    days = pd.Series(pd.date_range("2021-01-01", periods=60)).dt.strftime("%d.%m.%Y")
    frame = pd.DataFrame({"day": days, "flag": [True, False, True] * 20, "town": ["a", "b", None] * 20})
    data = prepare_task(
        frame.assign(y=["u", "v", "v", "u"] * 15), task_id="t", target="y", source="test", licence="none"
    )
    fit_network(data, "mlp", MLP.space.default, seed=0, epochs=1).save(tmp_path)
    day, flag, town = TrainedNetwork.load(tmp_path).columns
    assert (day.is_numeric, day.style, day.is_truth) == (True, DateStyle("dmy"), False)
    assert (flag.is_numeric, flag.style, flag.is_truth) == (True, None, True)
    assert (town.is_numeric, town.categories) == (False, ("a", "b"))
