"""Does learning from past tasks help on your table of trials? A replay that leaves each family out says so."""

import pandas as pd
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier

import metaflow_hpo as hpo

TASKS = {"breast_cancer": load_breast_cancer, "digits": load_digits, "iris": load_iris, "wine": load_wine}


def collect() -> pd.DataFrame:
    """Try the same configurations on four tasks: one line a trial."""
    lines = []
    for task_id, load in TASKS.items():
        x, y = load(return_X_y=True)
        for neighbours in (1, 2, 4, 8, 16, 32):
            for weights in ("uniform", "distance"):
                model = KNeighborsClassifier(neighbours, weights=weights)
                performance = cross_val_score(model, x[:400], y[:400], cv=3).mean()
                lines.append((task_id, neighbours, weights, performance))
    return pd.DataFrame(lines, columns=["task_id", "hp_neighbours", "hp_weights", "performance"])


def main() -> None:
    """Print mean normalised regret after one, three and five trials."""
    strategies = ["recommended", "portfolio", "nearest_task", "default", "random"]
    result = hpo.benchmark(collect(), strategies=strategies, ks=(1, 3, 5))
    print(result.summary.pivot_table(index="recommender", columns="k", values="mean").round(3))


if __name__ == "__main__":
    main()
