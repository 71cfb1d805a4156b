"""A search for scikit-learn that starts from past trials: `MetaSearchCV(estimator, space, past=...).fit(X, y)`."""

from collections.abc import Callable, Mapping
from typing import Any

import joblib
import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils import check_random_state

from metaflow_hpo.integrations.distributions import to_distribution
from metaflow_hpo.integrations.optuna import MetaSampler, quiet
from metaflow_hpo.space import SearchSpace


class MetaSearchCV(BaseSearchCV):  # type: ignore[misc]
    """Cross-validated search whose first candidates did well on past tasks; then its own results decide.

    Args:
        estimator: What is tuned.
        space: What is searched, by parameter: a list of choices, `{"type": "float", "low": .., "high": .., "log": ..}`
            as in a space file, or one of Optuna's distributions.
        past: Past trials, see `MetaSampler`.
        task: Meta-features of the task by name, where the history has some.
        n_trials: How many candidates.
        learn: Write the candidates and their scores into the file that `past` names, see `MetaSampler`.
        task_id: What this task is called there; the estimator and a digest of the data unless given.
        scoring: As in `GridSearchCV`; with several metrics `refit` names the one that counts.
        n_jobs: Folds at once.
        refit: As in `GridSearchCV`.
        cv: As in `GridSearchCV`.
        verbose: As in `GridSearchCV`.
        pre_dispatch: As in `GridSearchCV`.
        random_state: Seed.
        error_score: Score of a fold that failed.
        return_train_score: As in `GridSearchCV`.
    """

    def __init__(
        self,
        estimator: Any,
        space: Mapping[str, Any],
        *,
        past: Any = None,
        task: Mapping[str, float] | None = None,
        n_trials: int = 20,
        learn: bool = False,
        task_id: str | None = None,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        pre_dispatch: Any = "2*n_jobs",
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator=estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.space = space
        self.past = past
        self.task = task
        self.n_trials = n_trials
        self.learn = learn
        self.task_id = task_id
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, **params: Any) -> "MetaSearchCV":  # noqa: N803 - scikit-learn's name
        """Search, then refit the best candidate; see `GridSearchCV.fit`."""
        if self.learn:
            digest = "" if self.task_id else joblib.hash((X, y))[:12]
            self._study_name = self.task_id or f"{type(self.estimator).__name__}-{digest}"
        return super().fit(X, y, **params)  # type: ignore[no-any-return]

    def _run_search(self, evaluate_candidates: Callable[[list[dict[str, Any]]], Mapping[str, Any]]) -> None:
        """Try one candidate after the other."""
        choices = {name: [str(c) for c in v] for name, v in self.space.items() if _is_of_objects(v)}
        space = read_distributions({**self.space, **choices})
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        sampler = MetaSampler(self.past, task=self.task, search_space=space, seed=seed, learn=self.learn)
        name = self._study_name if self.learn else None
        with quiet():
            study = optuna.create_study(direction="maximize", sampler=sampler, study_name=name)
        failure: ValueError | None = None
        scores: list[float] = []
        for _ in range(self.n_trials):
            trial = study.ask(space)
            objects = {n: self.space[n][choices[n].index(trial.params[n])] for n in choices}
            try:
                scores.append(self._score(evaluate_candidates([{**trial.params, **objects}])))
            except ValueError as error:
                # A candidate none of whose folds could be fitted is a failed trial, not the end of the search.
                if self.error_score == "raise":
                    raise
                failure = error
                scores.append(np.nan)
            if np.isfinite(scores[-1]):
                study.tell(trial, scores[-1])
            else:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
        if failure is not None and not np.isfinite(scores).any():
            raise failure

    def _score(self, results: Mapping[str, Any]) -> float:
        """Return the score of the last candidate by the metric that counts."""
        column = f"mean_test_{self.refit if isinstance(self.refit, str) else 'score'}"
        return float(results[column][-1]) if column in results else np.nan


def read_distributions(space: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """Return what is searched as Optuna's distributions.

    Raises:
        SearchSpaceMismatchError: If a range is wrong.
    """
    given = {name: value for name, value in space.items() if isinstance(value, BaseDistribution)}
    rest = {name: list(v) if isinstance(v, tuple | np.ndarray) else v for name, v in space.items() if name not in given}
    written = SearchSpace.read(rest).hyperparameters if rest else ()
    made = {**given, **{hp.name: to_distribution(hp) for hp in written}}
    return {name: made[name] for name in space}


def _is_of_objects(choices: Any) -> bool:
    """Tell choices such as estimators or tuples, which are known by their text alone."""
    simple = str | int | float | bool | None
    return isinstance(choices, list | tuple) and not all(isinstance(choice, simple) for choice in choices)
