"""Start an Optuna study from the studies of other tasks: one sampler, nothing else changes."""

import math

import optuna

from metaflow_hpo.integrations.optuna import MetaSampler

optuna.logging.set_verbosity(optuna.logging.WARNING)


def make_objective(best_rate: float) -> "optuna.study.study.ObjectiveFuncType":
    """Return what would train a model: the best learning rate differs a little from task to task."""

    def train(trial: optuna.Trial) -> float:
        rate = trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True)
        optimizer = trial.suggest_categorical("optimizer", ["adam", "sgd"])
        momentum = trial.suggest_float("momentum", 0.0, 0.99) if optimizer == "sgd" else 0.9
        return (math.log10(rate / best_rate)) ** 2 + (momentum - 0.9) ** 2 + 0.1 * (optimizer == "sgd")

    return train


def main() -> None:
    """Search four tasks at random, then a fifth in view of them."""
    past = []
    for number, rate in enumerate((5e-4, 1e-3, 2e-3, 3e-3)):
        random = optuna.samplers.RandomSampler(seed=number)
        study = optuna.create_study(study_name=f"task {number}", sampler=random)
        study.optimize(make_objective(rate), n_trials=20)
        past.append(study)
    samplers = {"TPE": optuna.samplers.TPESampler(seed=1), "MetaSampler": MetaSampler(past=past, seed=1)}
    for name, sampler in samplers.items():
        study = optuna.create_study(sampler=sampler)
        study.optimize(make_objective(1.5e-3), n_trials=5)
        print(f"{name}: first {study.trials[0].value:.3f}, best of 5 {study.best_value:.3f}")


if __name__ == "__main__":
    main()
