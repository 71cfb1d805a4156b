"""Tune a Keras model of your own on pictures (`pip install keras`); PyTorch computes it here."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

import metaflow_hpo as hpo
from metaflow_hpo.modalities.registry import get_array_modality

os.environ.setdefault("KERAS_BACKEND", "torch")

SPACE = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True, "default": 1e-3},
    "width": {"type": "int", "low": 8, "high": 64, "log": True, "default": 16},
    "optimizer": ["adam", "sgd"],
}


def train(configuration: Mapping[str, Any], data: Any, report: Any) -> float:
    """Train for some epochs; the callback reports each, and ends what will not win."""
    import keras

    from metaflow_hpo.integrations.callbacks import KerasReport

    keras.utils.set_random_seed(report.seed)
    modality = get_array_modality("image")
    fold = modality.prepare(data, modality.split(data).validation[0])
    x_train, x_valid = (np.moveaxis(x, 1, 3) for x in (fold.x_train, fold.x_valid))  # channels last
    layers = [
        keras.layers.Conv2D(configuration["width"], 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(10, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    optimizer = keras.optimizers.get(configuration["optimizer"])
    optimizer.learning_rate = configuration["learning_rate"]
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    valid = (x_valid, fold.y_valid)
    callbacks = [KerasReport(report, "val_accuracy")]
    history = model.fit(
        x_train, fold.y_train, 32, report.fidelity, verbose=0, callbacks=callbacks, validation_data=valid
    )
    return float(history.history["val_accuracy"][-1])


if __name__ == "__main__":
    digits = load_digits()
    Path("digits.yaml").write_text("metric: accuracy")
    np.savez("digits.npz", X=(digits.images[:500] * 15).astype(np.uint8), y=digits.target[:500])
    learner = hpo.learner_from_function(train, SPACE, name="keras", fidelity=4, modalities=["image"])
    print("best:", hpo.search("digits.npz", learner=learner, trials=4).best_configuration)
