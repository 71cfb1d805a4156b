"""MetaSearchCV keeps scikit-learn's contract."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import estimator_checks_generator

from metaflow_hpo.integrations.sklearn import MetaSearchCV

SPACE = {"C": {"type": "float", "low": 1e-2, "high": 1e2, "log": True}, "kernel": ["rbf", "linear"]}


@pytest.fixture(scope="module")
def data():
    return load_iris(return_X_y=True)


def test_it_fits_predicts_and_keeps_every_candidate(data):
    search = MetaSearchCV(SVC(), SPACE, n_trials=4, cv=3, random_state=0).fit(*data)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ == max(search.cv_results_["mean_test_score"])
    assert search.predict(data[0][:3]).shape == (3,)
    assert set(search.best_params_) == {"C", "kernel"}


def test_the_same_seed_gives_the_same_candidates(data):
    first, second = (MetaSearchCV(SVC(), SPACE, n_trials=3, cv=2, random_state=1).fit(*data) for _ in range(2))
    assert first.cv_results_["params"] == second.cv_results_["params"]


@pytest.mark.filterwarnings("ignore")
def test_several_metrics_and_a_failing_candidate_are_lived_with(data):
    space = {"C": [1.0, -1.0], "kernel": ["rbf"]}
    scoring = ["accuracy", "balanced_accuracy"]
    search = MetaSearchCV(SVC(), space, n_trials=4, cv=2, scoring=scoring, refit="accuracy", random_state=0)
    search.fit(*data)
    assert search.best_params_["C"] == 1.0


def test_choices_may_be_objects(data):
    space = {"hidden": [(4,), (8, 4)], "alpha": {"type": "float", "low": 0.1, "high": 1.0}}
    search = MetaSearchCV(Chosen(), space, n_trials=3, cv=2, random_state=0).fit(*data)
    assert search.best_params_["hidden"] in [(4,), (8, 4)]


class Chosen(LogisticRegression):
    """A classifier that wants a tuple."""

    def __init__(self, hidden=(4,), alpha=1.0):
        super().__init__(max_iter=1000)
        self.hidden = hidden
        self.alpha = alpha

    def fit(self, x, y):
        assert isinstance(self.hidden, tuple)
        return super().fit(x, y)


def test_past_searches_inform_the_first_candidate(data):
    rates = np.geomspace(1e-4, 1e2, 12)
    frame = pd.DataFrame(
        [
            {"task_id": f"t{t}", "hp_C": c, "performance": 0.9 - 0.1 * (np.log10(c) - 1 + 0.1 * t) ** 2}
            for t in range(4)
            for c in rates
        ]
    )
    search = MetaSearchCV(SVC(), {"C": SPACE["C"]}, past=frame, n_trials=1, cv=2, random_state=0).fit(*data)
    assert 1.0 < search.best_params_["C"] < 100.0


def test_candidates_are_written_into_the_history_that_is_read(data, tmp_path):
    path = tmp_path / "past.parquet"
    options = {"past": path, "learn": True, "n_trials": 3, "cv": 2, "random_state": 0}
    search = MetaSearchCV(SVC(), SPACE, **options).fit(*data)
    MetaSearchCV(SVC(), SPACE, task_id="reversed", **options).fit(data[0][::-1], data[1][::-1])
    MetaSearchCV(SVC(), SPACE, **options).fit(*data)  # the same data are the same task
    frame = pd.read_parquet(path)
    assert frame["task_id"].nunique() == 2
    assert frame["task_id"].iloc[0].startswith("SVC-")
    assert frame["performance"].iloc[:3].tolist() == search.cv_results_["mean_test_score"].tolist()


def _failing(search):
    failed = set()
    for estimator, check in estimator_checks_generator(search):
        try:
            check(estimator)
        except Exception as error:  # noqa: BLE001 - which ones fail is what is compared
            if type(error).__name__ not in {"SkipTest", "Skipped"}:
                failed.add(getattr(check, "func", check).__name__)
    return failed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_it_passes_the_checks_that_grid_search_passes():
    ours = _failing(MetaSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, n_trials=2, cv=2))
    theirs = _failing(GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2))
    assert ours <= theirs
