"""Three studies of related tasks, then a fourth that starts from them."""

import optuna
import optunahub


def make_objective(best_rate: float) -> "optuna.study.study.ObjectiveFuncType":
    """Return what would train a model: the best learning rate differs a little from task to task."""
    return lambda trial: (trial.suggest_float("learning_rate", 1e-5, 1e-1, log=True) / best_rate - 1.0) ** 2


past = []
for number, rate in enumerate((5e-4, 1e-3, 2e-3)):
    study = optuna.create_study(study_name=f"task {number}", sampler=optuna.samplers.RandomSampler(seed=number))
    study.optimize(make_objective(rate), n_trials=20)
    past.append(study)

sampler = optunahub.load_module("samplers/metaflow_hpo").MetaSampler(past=past, seed=0)
study = optuna.create_study(sampler=sampler)
study.optimize(make_objective(1.5e-3), n_trials=5)
print(study.best_params)
