"""Search an estimator of scikit-learn: what did well on past data sets is tried first."""

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from metaflow_hpo.integrations.sklearn import MetaSearchCV

SPACE = {
    "svc__C": {"type": "float", "low": 1e-2, "high": 1e3, "log": True},
    "svc__gamma": {"type": "float", "low": 1e-4, "high": 10.0, "log": True},
}


def try_at_random(name: str, features: object, target: object, count: int = 12) -> pd.DataFrame:
    """Return trials of a past data set, one line each: `task_id`, `hp_*` and `performance`."""
    rng = np.random.default_rng(0)
    lines = []
    for cost, gamma in zip(10 ** rng.uniform(-2, 3, count), 10 ** rng.uniform(-4, 1, count), strict=True):
        model = make_pipeline(StandardScaler(), SVC(C=cost, gamma=gamma))
        score = cross_val_score(model, features, target, cv=3).mean()
        lines.append({"task_id": name, "hp_svc__C": cost, "hp_svc__gamma": gamma, "performance": score})
    return pd.DataFrame(lines)


def main() -> None:
    """Search the breast cancer data in view of wine and iris."""
    past = pd.concat(
        [
            try_at_random("wine", *load_wine(return_X_y=True)),
            try_at_random("iris", *load_iris(return_X_y=True)),
        ]
    )
    model = make_pipeline(StandardScaler(), SVC())
    search = MetaSearchCV(model, SPACE, past=past, n_trials=5, cv=3, random_state=0)
    search.fit(*load_breast_cancer(return_X_y=True))
    print(f"first candidate: {search.cv_results_['mean_test_score'][0]:.3f}")
    print(f"best: {search.best_score_:.3f} {search.best_params_}")


if __name__ == "__main__":
    main()
