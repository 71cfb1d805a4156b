import json

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from metaflow_hpo.errors import InvalidTableError


@pytest.fixture(scope="module")
def search():
    grid = [
        {"kernel": ["rbf"], "gamma": [0.1, 1.0, 10.0], "C": [0.1, 10.0]},
        {"kernel": ["linear"], "C": [0.1, 10.0], "class_weight": [None, "balanced"]},
        {"kernel": ["poly"], "C": [-1.0]},
    ]
    with pytest.warns(Warning, match="fits failed|non-finite"):
        return GridSearchCV(SVC(), grid, cv=3, scoring=["accuracy", "f1_macro"], refit=False).fit(
            *load_iris(return_X_y=True)
        )


def test_results_are_trials_whose_parameters_come_from_params(search, read, spaces):
    found = read("sklearn", search, metric="accuracy", task="name:iris")
    assert found.direction == "max"
    assert found.kept == {"ok": 10, "failed": 1}  # a fit that raised is NaN
    space = spaces(found)
    assert space["gamma"]["condition"] == {"parent": "kernel", "values": ["rbf"]}
    assert space["class_weight"]["choices"] == ["balanced", None]
    assert space["class_weight"]["condition"] == {"parent": "kernel", "values": ["linear"]}
    assert found.frame["performance"].tolist()[:10] == pytest.approx(
        search.cv_results_["mean_test_accuracy"][:10].tolist()
    )
    assert (found.frame["duration_s"] > 0).all()


def test_the_same_comes_from_a_frame_a_csv_json_and_parquet(tmp_path, search, read):
    expected = read("sklearn", search.cv_results_, metric="accuracy", task="name:iris").frame
    frame = pd.DataFrame(search.cv_results_)
    frame.to_csv(tmp_path / "iris.csv", index=False)
    lists = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in search.cv_results_.items()}
    (tmp_path / "iris.json").write_text(json.dumps(lists))
    for address in (frame, tmp_path / "iris.csv", tmp_path / "iris.json"):
        found = read("sklearn", address, metric="accuracy", task="name:iris").frame
        assert found["performance"].equals(expected["performance"])
        assert found["hp_gamma"].equals(expected["hp_gamma"])
        assert found["hp_class_weight"].equals(expected["hp_class_weight"])
        assert found["status"].equals(expected["status"])


def test_files_in_a_folder_are_tasks_and_the_scorer_is_asked_for(tmp_path, search, read):
    for name in ("iris", "wine"):
        pd.DataFrame(search.cv_results_).to_csv(tmp_path / f"{name}.csv", index=False)
    assert set(read("sklearn", tmp_path, metric="f1_macro").frame["task_id"]) == {"iris", "wine"}
    with pytest.raises(InvalidTableError, match="--metric NAME, its name, one of 'accuracy', 'f1_macro'"):
        read("sklearn", tmp_path)
    with pytest.raises(InvalidTableError, match="Expected cv_results_"):
        read("sklearn", pd.DataFrame({"a": [1]}))
