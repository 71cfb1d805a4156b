"""A Keras Tuner search that starts from past trials: one oracle, nothing else changes."""

import os
import random

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import keras_tuner
import numpy as np
import pandas as pd
from sklearn.datasets import load_digits

from metaflow_hpo.integrations.keras_tuner import MetaOracle


def build(hp: keras_tuner.HyperParameters) -> keras.Model:
    """Return a small network; `hp` chooses its width and its learning rate."""
    layers = [keras.layers.Dense(hp.Int("width", 8, 64), "relu"), keras.layers.Dense(10, "softmax")]
    model = keras.Sequential([keras.layers.Input((64,)), *layers])
    rate = hp.Float("rate", 1e-5, 1.0, sampling="log")
    model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def make_past() -> pd.DataFrame:
    """Return trials of three other tasks; yours come from `hpo.import_trials("keras-tuner", folder)`."""
    drawn = random.Random(0)
    lines = []
    for number in range(60):
        power, width = drawn.uniform(-5, 0), drawn.randint(8, 64)
        line = {"task_id": f"task {number % 3}", "hp_rate": 10**power, "hp_width": width}
        lines.append(line | {"performance": 0.95 - 0.1 * abs(power + 2) + 0.001 * width})
    return pd.DataFrame(lines)


def main() -> None:
    """Search the digits with three trials of three epochs."""
    data, target = load_digits(return_X_y=True)
    data = (data / 16).astype(np.float32)
    tuner = keras_tuner.Tuner(
        oracle=MetaOracle("val_accuracy", past=make_past(), max_trials=3, seed=0), hypermodel=build, directory="tuned"
    )
    rows = {"validation_data": (data[1200:], target[1200:])}
    tuner.search(data[:1200], target[:1200], epochs=3, verbose=0, **rows)
    best = tuner.oracle.get_best_trials()[0]
    print(f"best: {best.score:.3f} with {best.hyperparameters.values}")


if __name__ == "__main__":
    main()
