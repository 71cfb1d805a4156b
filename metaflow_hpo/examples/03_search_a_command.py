"""Tune a script in any language: values come as arguments, scores go out as lines of JSON on standard output."""

import sys
from pathlib import Path

import metaflow_hpo as hpo

SCRIPT = Path(__file__).with_name("train_digits.py")
SPACE = {
    "lr": {"type": "float", "low": 1e-4, "high": 0.3, "log": True, "default": 1e-3},
    "width": {"type": "int", "low": 2, "high": 16, "log": True},
    "norm": [True, False],
    "optimizer": ["adam", "sgd"],
    "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"optimizer": ["sgd"]}},
}
TASK = {"task_id": "digits_odd", "family": "digits", "metric": "accuracy", "data": "digits:1,3,5,7,9:noise=0.2"}
COMMAND = (
    "--data {data} --seed {seed} --epochs {fidelity} --lr {lr} --width {width} --norm {norm} "
    "--optimizer {optimizer} --momentum {momentum}"  # an option goes with its value where that is not used
)


def main() -> None:
    """Search with two trainings at once, and print what was best."""
    command = f"{sys.executable} {SCRIPT} " + COMMAND
    learner = hpo.learner_from_command(command, SPACE, name="digits_cnn", fidelity=2, workers=2)
    result = hpo.search(TASK, learner=learner, trials=4)
    print(result.trials[["performance", "status", "duration_s"]])
    print("best:", result.best_performance, result.best_configuration)


if __name__ == "__main__":
    main()
