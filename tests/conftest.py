"""Shared fixtures: a synthetic meta-data set whose optimum is known in closed form, a surrogate fitted on it, MLflow.

Fixtures of session scope are never changed by a test: take a copy with `dataclasses.replace`.
"""

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaflow_hpo.actions import fit
from metaflow_hpo.adapters.tracking import Tracking
from metaflow_hpo.evaluate.evaluation import Evaluation, evaluate_leave_family_out
from metaflow_hpo.history import History
from metaflow_hpo.recommender.interval import IntervalScale
from metaflow_hpo.recommender.new_task import DESCRIBED
from metaflow_hpo.recommender.recommender import Recommender
from metaflow_hpo.settings import Settings
from metaflow_hpo.space import Categorical, Condition, Float, Integer, SearchSpace
from metaflow_hpo.surrogate.fit import FitSettings, fit_surrogate
from metaflow_hpo.surrogate.predict import Surrogate

for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "DAGSTER_DISABLE_TELEMETRY": "true",
    "DVC_NO_ANALYTICS": "true",
    # Chosen, as its networks train in a tenth of the time: tests of what people get who choose none unset it.
    "METAFLOW_HPO_LEARNER": "mlp",
}.items():
    os.environ.setdefault(_name, _value)

SPACE = SearchSpace(
    (
        Float("learning_rate", 1e-4, 0.1, 1e-3, log=True),
        Integer("width", 16, 256, 128, log=True),
        Categorical("optimizer", ("sgd", "adam"), "adam"),
        Float("momentum", 0.0, 0.99, 0.9, condition=Condition("optimizer", ("sgd",))),
    )
)
FIT = FitSettings(folds=3, max_epochs=15, patience=15, members=2, accelerator="cpu", ends_epochs=15)


def stop_early(patch: pytest.MonkeyPatch) -> None:
    """Let fits of the pipeline end after a few epochs, where it is not tested what they are worth."""

    def make_fit_settings(settings: Settings) -> FitSettings:
        given = {"folds": settings.folds, "seed": settings.seed, "accelerator": settings.accelerator}
        return FitSettings(**given, max_epochs=15, patience=15, ends_epochs=15)

    patch.setattr(fit, "make_fit_settings", make_fit_settings)


LONGEST = ("soak", "orchestration")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the folders that take minutes first: with several workers none waits for the last one's."""
    items.sort(key=lambda item: next((n for n, name in enumerate(LONGEST) if name in item.path.parts), len(LONGEST)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give a worker whole files, and all of `orchestration`, whose project takes a minute to make."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduler(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "tests/orchestration" if file.startswith("tests/orchestration/") else file

    return Scheduler(config, log)


def make_history(tasks: int = 12, configurations: int = 24, seed: int = 0) -> History:
    """Return tasks whose performance is `best_t - 0.4 |u(learning_rate) - a_t|`, with `a_t` their first meta-feature.

    The best configuration of a task is therefore the one whose learning rate lies nearest to `a_t` on the log scale.
    """
    rng = np.random.default_rng(seed)
    pool = [SPACE.default, *SPACE.from_unit(rng.random((configurations - 1, 4)))]
    best_at, level = rng.random(tasks), rng.random(tasks)
    units = SPACE.to_unit(pool)
    performance = 0.6 + 0.35 * level[:, None] - 0.4 * np.abs(units[None, :, 0] - best_at[:, None])
    return History.from_arrays(
        SPACE,
        pool,
        [f"task_{t:02d}" for t in range(tasks)],
        [f"family_{t:02d}" for t in range(tasks)],
        performance,
        meta_feature_names=("mf_best_at", "mf_level", "mf_log_rows", "mf_noise"),
        meta_features=np.column_stack([best_at, level, rng.uniform(2, 4, tasks), rng.normal(size=tasks)]),
        duration=np.full(performance.shape, 0.5),
    )


def changed(history: History, **arrays: Any) -> History:
    """Return a history with other performance, duration, meta_features, meta_feature_names, families, ..."""
    names = ("configurations", "task_ids", "families", "performance")
    optional = ("meta_feature_names", "meta_features", "duration")
    parts = {name: getattr(history, name) for name in (*names, *optional)} | arrays
    kept = {name: parts[name] for name in optional}
    return History.from_arrays(history.space, *(parts[name] for name in names), **kept, learner=history.learner)


def serve(
    surrogate: Surrogate,
    history: History,
    trust: float = 0.5,
    interval: IntervalScale | None = None,
    lineage: dict[str, str] | None = None,
    **parts: Any,
) -> Recommender:
    """Return what answers with networks, as `fit` makes it for a learner of this package."""
    past, name = history.past_tasks(), surrogate.learner
    return Recommender(
        past, DESCRIBED, surrogate, trust=trust, interval=interval, lineage=lineage or {}, learner=name, **parts
    )


def weights(surrogate: Surrogate, j: int) -> dict[str, np.ndarray]:
    """Return all that network `j` has learned."""
    prefixes = (f"network.{j}.", f"standardiser.{j}.")
    return {name: value for name, value in surrogate.to_arrays().items() if name.startswith(prefixes)}


def identical(first: Surrogate, second: Surrogate, j: int) -> bool:
    """Tell whether network `j` of two surrogates is the same, bit for bit."""
    a, b = weights(first, j), weights(second, j)
    assert a.keys() == b.keys()
    assert len(a) > 8
    return all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="session")
def meta() -> History:
    """Twelve tasks of distinct families, 24 configurations, the learner's default first."""
    return make_history()


@pytest.fixture(scope="session")
def forty_tasks() -> History:
    """Forty more tasks of the same kind."""
    return make_history(tasks=40, seed=3)


@pytest.fixture(scope="session")
def many_judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[History, Surrogate, Evaluation]:
    """Forty tasks and networks that have learned them well: enough to tell good from bad."""
    meta = make_history(tasks=40, seed=1)
    longer = replace(FIT, max_epochs=80)
    fitted, _ = fit_surrogate(meta, "mlp", longer, tmp_path_factory.mktemp("many_tasks"))
    return meta, fitted, evaluate_leave_family_out(meta, fitted)


@pytest.fixture(scope="session")
def many_tasks(many_judged: tuple[History, Surrogate, Evaluation]) -> Recommender:
    """What would be promoted of them."""
    meta, fitted, evaluation = many_judged
    return serve(fitted, meta, evaluation.trust, IntervalScale(0.8, 1.5), {"meta_dataset_md5": "def"})


@pytest.fixture(scope="session")
def surrogate(meta: History, tmp_path_factory: pytest.TempPathFactory) -> Surrogate:
    """Three small networks, cross-fitted."""
    return fit_surrogate(meta, "mlp", FIT, tmp_path_factory.mktemp("surrogate"))[0]


@pytest.fixture(scope="session")
def served(surrogate: Surrogate, meta: History) -> Recommender:
    """What would be promoted."""
    return serve(surrogate, meta, 0.5, IntervalScale(0.8, 1.5), {"meta_dataset_md5": "abc"})


@pytest.fixture(scope="session")
def served_folder(served: Recommender, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which `served` is saved."""
    folder = tmp_path_factory.mktemp("served")
    served.save(folder)
    return folder


@pytest.fixture(scope="session")
def mlflow_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: making one takes four seconds, copying it none."""
    data = tmp_path_factory.mktemp("mlflow_template")
    Tracking.local(data).prepare()
    return data / "mlflow" / "mlflow.db"


@pytest.fixture
def tracking(tmp_path: Path, mlflow_template: Path) -> Tracking:
    (tmp_path / "data" / "mlflow").mkdir(parents=True)
    shutil.copy(mlflow_template, tmp_path / "data" / "mlflow" / "mlflow.db")
    return Tracking.local(tmp_path / "data")
