"""A model of Keras as a learner: it reports each epoch, and what a search finds is known to the next one.

Needs `pip install 'metaflow-hpo[keras]'`; Keras trains with PyTorch here.
"""

import os
from collections.abc import Mapping
from typing import Any

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import metaflow_hpo as hpo

os.environ.setdefault("KERAS_BACKEND", "torch")

SPACE = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "units": {"type": "int", "low": 8, "high": 64, "log": True},
    "activation": ["relu", "tanh"],
}
TASKS = [
    {"task_id": f"digits_{digits}", "metric": "accuracy", "data": digits} for digits in ("01234", "56789", "02468")
]


def train(configuration: Mapping[str, Any], task: Any, report: Any) -> float:
    """Train for some epochs, and return the accuracy on rows that were held out."""
    import keras

    from metaflow_hpo.integrations.callbacks import KerasReport

    x, y = load_digits(return_X_y=True)
    kept = [str(label) in task.address for label in y]
    x_train, x_valid, y_train, y_valid = train_test_split(x[kept] / 16, y[kept], random_state=0)
    keras.utils.set_random_seed(report.seed)
    hidden = keras.layers.Dense(configuration["units"], activation=configuration["activation"])
    model = keras.Sequential([keras.Input((64,)), hidden, keras.layers.Dense(10, activation="softmax")])
    optimizer = keras.optimizers.Adam(configuration["learning_rate"])
    model.compile(optimizer=optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    followed = KerasReport(report, "val_accuracy")
    rows = {"validation_data": (x_valid, y_valid), "epochs": report.fidelity, "verbose": 0}
    return float(model.fit(x_train, y_train, callbacks=[followed], **rows).history["val_accuracy"][-1])


def main() -> None:
    """Search three tasks, each with what was found on those before."""
    learner = hpo.learner_from_function(train, SPACE, name="keras_mlp", fidelity=3)
    for task in TASKS:
        result = hpo.search(task, learner=learner, trials=5, past="keras_past.parquet", learn=True)
        first = result.trials["performance"].iloc[0]
        print(f"{task['task_id']}: first {first:.3f}, best {result.best_performance:.3f}")


if __name__ == "__main__":
    main()
