"""A training of Keras reports each epoch, ends where it is told to, and is a learner like any other."""

import os

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = pytest.importorskip("keras")

from metaflow_hpo.integrations.callbacks import KerasReport  # noqa: E402 - the backend is chosen before
from metaflow_hpo.learners.function import Stop  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


def fit(report, monitor="val_loss"):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(optimizer=keras.optimizers.SGD(0.05), loss="mse")
    x, y = np.ones((8, 2), np.float32), np.ones((8, 1), np.float32)
    model.fit(x, y, validation_data=(x, y), epochs=3, verbose=0, callbacks=[KerasReport(report, monitor)])


def test_each_epoch_is_reported():
    reported = []
    fit(lambda step, score: reported.append((step, score)))
    assert [step for step, _ in reported] == [1, 2, 3]
    assert reported[2][1] <= reported[0][1]


def test_a_stopped_training_ends():
    steps = []

    def report(step, score):
        steps.append(step)
        raise Stop

    with pytest.raises(Stop):
        fit(report)
    assert steps == [1]


def test_a_metric_that_was_not_measured_is_named():
    with pytest.raises(ValueError, match=r"'val_accuracy'; found loss, val_loss"):
        fit(lambda step, score: None, monitor="val_accuracy")
