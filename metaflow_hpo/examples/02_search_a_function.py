"""Tune a model of your own: a function that trains it and returns its score. A killed search goes on when run again."""

from collections.abc import Mapping
from typing import Any

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

import metaflow_hpo as hpo

EPOCHS = 5
SPACE = {
    "alpha": {"type": "float", "low": 1e-6, "high": 1.0, "log": True, "default": 1e-4},
    "penalty": ["l2", "l1", "elasticnet"],
    "l1_ratio": {"type": "float", "low": 0.05, "high": 0.95, "when": {"penalty": ["elasticnet"]}},
    "average": [True, False],
}
TASK = {"task_id": "digits_below_5", "family": "digits", "metric": "accuracy", "data": "0,1,2,3,4"}


def train(configuration: Mapping[str, Any], task: Any, report: Any) -> dict[str, float]:
    """Train for some epochs; what is reported on the way makes the learning curve."""
    x, y = load_digits(return_X_y=True)
    kept = [int(label) in map(int, task.address.split(",")) for label in y]
    x_train, x_valid, y_train, y_valid = train_test_split(x[kept] / 16, y[kept], random_state=0)
    model = SGDClassifier(random_state=report.seed, **configuration)
    for epoch in range(report.fidelity):
        model.partial_fit(x_train, y_train, classes=sorted(set(y_train)))
        report(epoch + 1, model.score(x_valid, y_valid))  # raises hpo.Stop where it will not win
    return {"score": model.score(x_valid, y_valid)}


def main() -> None:
    """Search, and print what was best."""
    learner = hpo.learner_from_function(train, SPACE, name="sgd", fidelity=EPOCHS)
    result = hpo.search(TASK, learner=learner, trials=8)
    print(result.trials[["performance", "status", "duration_s"]])
    print("best:", result.best_performance, result.best_configuration)


if __name__ == "__main__":
    main()
