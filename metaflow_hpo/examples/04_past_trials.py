"""Start from runs that you already have: import them, learn from them, and ask what to try on a new task."""

import optuna

import metaflow_hpo as hpo

PAST_TASKS = {"shop_a": 0.02, "shop_b": 0.03, "shop_c": 0.05, "shop_d": 0.01}
"""Past tasks, and the learning rate that was best on each."""


def score(lr: float, depth: int, best: float) -> float:
    """Stand in for a training: the nearer to the best learning rate, and the deeper up to 6, the better."""
    return 1 / (1 + abs(lr - best) / best) - 0.02 * abs(depth - 6)


def main() -> None:
    """Tune four tasks with Optuna, import the studies, and begin a fifth task informed."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = "sqlite:///past.db"
    for seed, (name, best) in enumerate(PAST_TASKS.items()):
        sampler = optuna.samplers.RandomSampler(seed=seed)
        study = optuna.create_study(
            study_name=name, storage=storage, sampler=sampler, direction="maximize", load_if_exists=True
        )
        for _ in range(25):
            trial = study.ask()
            lr, depth = trial.suggest_float("lr", 1e-4, 1.0, log=True), trial.suggest_int("depth", 1, 10)
            study.tell(trial, score(lr, depth, best))
    history = hpo.import_trials("optuna", storage)
    print(history)
    recommender = hpo.fit(history)
    for configuration in recommender.ask(3):
        recommender.tell(configuration, score(**configuration, best=0.02))
    print("next:", recommender.ask(1))
    print(recommender.recommend(k=2))


if __name__ == "__main__":
    main()
