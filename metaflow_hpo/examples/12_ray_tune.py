"""A Ray Tune experiment that starts from past trials: one search algorithm, nothing else changes."""

import logging
import math
import random

import pandas as pd
from ray import tune

from metaflow_hpo.integrations.ray_tune import MetaSearcher


def train(rate: float, layers: int) -> float:
    """Return what a training would reach: an accuracy."""
    return 0.95 - 0.05 * abs(math.log10(rate) + 3) - 0.02 * abs(layers - 3)


def run(config: dict[str, float]) -> None:
    """Train one configuration and report to Tune."""
    tune.report({"accuracy": train(config["rate"], int(config["layers"]))})


def make_past() -> pd.DataFrame:
    """Return random trials of three other tasks; yours come from `hpo.import_trials("ray", folder)`."""
    drawn = random.Random(0)
    lines = []
    for number in range(60):
        rate, layers = 10 ** drawn.uniform(-5, -1), drawn.randint(1, 6)
        line = {"task_id": f"task {number % 3}", "hp_rate": rate, "hp_layers": layers}
        lines.append(line | {"performance": train(rate, layers)})
    return pd.DataFrame(lines)


def main() -> None:
    """Search a new task with five trials."""
    logging.getLogger("ray").setLevel(logging.ERROR)
    tuner = tune.Tuner(
        run,
        param_space={"rate": tune.loguniform(1e-5, 1e-1), "layers": tune.randint(1, 7)},
        tune_config=tune.TuneConfig(
            metric="accuracy",
            mode="max",
            num_samples=5,
            max_concurrent_trials=1,
            search_alg=MetaSearcher(past=make_past(), seed=0),
        ),
    )
    best = tuner.fit().get_best_result()
    print(f"best: {best.metrics['accuracy']:.3f} with {best.config}")


if __name__ == "__main__":
    main()
