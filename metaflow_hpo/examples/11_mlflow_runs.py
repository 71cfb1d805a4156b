"""Learn from runs that were logged into MLflow: here 24 of them, then a search on a new task that starts from them."""

import math
import random

import mlflow

import metaflow_hpo as hpo

STORE = "sqlite:///runs.db"


def train(rate: float, layers: int, best_rate: float) -> float:
    """Return what a training would reach: an accuracy."""
    return 0.95 - 0.05 * abs(math.log10(rate / best_rate)) - 0.02 * abs(layers - 3)


def log_past_runs() -> None:
    """Log random runs on three tasks, an experiment each."""
    mlflow.set_tracking_uri(STORE)
    drawn = random.Random(0)
    for data, best_rate in (("cats", 1e-3), ("ships", 2e-3), ("leaves", 5e-4)):
        mlflow.set_experiment(f"tune {data}")
        for _ in range(8):
            rate, layers = 10 ** drawn.uniform(-5, -1), drawn.randint(1, 6)
            with mlflow.start_run():
                mlflow.log_params({"rate": rate, "layers": layers, "seed": 1})
                mlflow.log_metric("val_acc", train(rate, layers, best_rate))


def main() -> None:
    """Import the runs and ask what to try on a task that was never seen."""
    log_past_runs()
    past = hpo.import_trials("mlflow", STORE, metric="val_acc", mode="max", only="tune *")
    print(past)
    recommender = hpo.fit(past)
    for configuration in recommender.ask(3):
        reached = train(configuration["rate"], configuration["layers"], 1.5e-3)
        recommender.tell(configuration, reached)
        print(f"rate {configuration['rate']:.2g}, layers {configuration['layers']}: {reached:.3f}")


if __name__ == "__main__":
    main()
