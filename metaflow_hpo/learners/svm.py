"""Support vector machines (libsvm): C-SVC for classes, epsilon-SVR for numbers.

The one thing to know: probabilities are not calibrated. Decision values are squashed (logistic or softmax) because
Platt scaling refits the machine five times; compare SVMs by accuracy or balanced accuracy rather than by log loss.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.learners.fold import FloatArray, FoldOutcome
from metaflow_hpo.learners.isolation import IsolatedLearner, ThreadedLearner
from metaflow_hpo.learners.learner import Fidelity, Isolation, Judge, check_request
from metaflow_hpo.learners.limits import NO_LIMITS, Flag, Limits
from metaflow_hpo.learners.threads import train_in_threads
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.space import Categorical, Condition, Configuration, Float, Integer, SearchSpace

MAX_ITERATIONS = 100_000
"""Steps of the solver. libsvm cannot be interrupted and a large `C` may take hours; what is reached by then is used."""
CACHE_MB = 200
"""What libsvm keeps of the kernel matrix."""

SPACE = SearchSpace(
    (
        Float("C", 1e-2, 1e3, 1.0, log=True),
        Categorical("kernel", ("rbf", "linear", "poly", "sigmoid"), "rbf"),
        Float("gamma", 1e-4, 1e1, 0.1, log=True, condition=Condition("kernel", ("rbf", "poly", "sigmoid"))),
        Integer("degree", 2, 4, 3, condition=Condition("kernel", ("poly",))),
    )
)

_EMPTY = np.empty(0, np.float32)


@dataclass(frozen=True)
class SVM(ThreadedLearner):
    """Support vector machines for classification and regression.

    Attributes:
        workers: Threads; None for one a processor.
        limits: What one trial may cost. libsvm cannot be interrupted: a machine that takes too long fails when it is
            done, unless an `IsolatedLearner` trains it, which ends its process.
    """

    workers: int | None = None
    limits: Limits = NO_LIMITS
    name: ClassVar[str] = "svm"
    modalities: ClassVar[tuple[str, ...]] = ("table",)
    space: ClassVar[SearchSpace] = SPACE
    fidelity: ClassVar[Fidelity] = Fidelity()

    def train_folds(
        self,
        folds: Sequence[Fold],
        configurations: Sequence[Configuration],
        *,
        seed: int,
        epochs: int,
        judge: Judge | None = None,
    ) -> Iterator[tuple[int, list[FoldOutcome]]]:
        """Train every configuration on every fold; see `ArrayLearner.train_folds`.

        Nothing is random, `seed` plays no role; nothing can pause, the judge is not asked.

        Raises:
            SearchSpaceMismatchError: If a configuration or `epochs` is outside the search space.
        """
        chosen = check_request(self.space, self.fidelity, configurations, epochs)
        needed_mb = max(map(measure_mb, folds), default=0.0)

        def train_member(index: int, number: int, _: Flag) -> FoldOutcome:
            if reason := self.limits.describe_memory(needed_mb):
                return FoldOutcome.failed(reason, 0.0)
            return fit_machine(folds[number], chosen[index])

        return train_in_threads(train_member, self.measure_costs(folds, chosen, epochs), self.workers, self.limits)

    def within(
        self, limits: Limits, *, isolation: Isolation = "thread", workers: int | None = None
    ) -> "SVM | IsolatedLearner":
        """Return it with limits; libsvm cannot be interrupted, so with a time limit it is trained in processes."""
        return super().within(limits, isolation=isolation if limits.seconds is None else "process", workers=workers)

    def measure_costs(
        self, folds: Sequence[Fold], configurations: Sequence[Configuration], epochs: int
    ) -> NDArray[np.float64]:
        """Return the expected relative cost of each training, `(N, F)`; a larger `C` takes more steps."""
        sizes = np.array([fold.x_train.size * len(fold.x_train) for fold in folds], np.float64)
        return np.array([float(c["C"]) ** 0.3 for c in configurations], np.float64)[:, None] * sizes


def measure_mb(fold: Fold) -> float:
    """Return the memory that `fit_machine` takes at most, in MB, without the fold."""
    rows, scored = len(fold.x_train), len(fold.x_valid)
    kernel = min(CACHE_MB * 1e6, 4.0 * rows * rows)
    copies = 8 * 3 * (fold.x_train.size + fold.x_valid.size)  # float64, libsvm's own, the support vectors
    return (kernel + copies + 8 * max(fold.classes, 2) ** 2 * (rows + scored)) / 1e6


def fit_machine(fold: Fold, configuration: Configuration) -> FoldOutcome:
    """Fit one machine and predict the validation rows."""
    began = time.perf_counter()
    present = np.unique(fold.y_train) if fold.classes else _EMPTY
    if len(present) == 1:
        return FoldOutcome.failed("one class only in the training rows", time.perf_counter() - began)
    machine = _make_machine(fold.classes == 0, configuration)
    machine.fit(fold.x_train, fold.y_train)
    if fold.classes:
        predictions = np.zeros((len(fold.x_valid), fold.classes), np.float32)
        predictions[:, present] = squash(machine.decision_function(fold.x_valid))
    else:
        predictions = machine.predict(fold.x_valid).astype(np.float32)
    duration_s = time.perf_counter() - began
    if not np.isfinite(predictions).all():
        return FoldOutcome.failed(f"diverged: predictions are not finite after {machine.n_iter_} steps", duration_s)
    return FoldOutcome(predictions, _EMPTY, duration_s)


def squash(decisions: NDArray[np.float64]) -> FloatArray:
    """Turn decision values into numbers that sum to 1 over classes, `(m, classes)`; the highest stays the highest.

    Args:
        decisions: `(m,)` for two classes (positive for class 1), else `(m, classes)`.
    """
    from scipy.special import softmax

    values = np.column_stack([-decisions / 2, decisions / 2]) if decisions.ndim == 1 else decisions
    return np.asarray(softmax(values, axis=1), np.float32)


def _make_machine(regression: bool, configuration: Configuration) -> Any:
    from sklearn.svm import SVC, SVR

    # An estimator that stops at MAX_ITERATIONS is a usable machine, not an accident: it must not warn from a thread,
    # where `warnings.catch_warnings` (not thread-safe in Python 3.11) cannot catch it.
    class QuietSVC(SVC):  # type: ignore[misc]
        def _warn_from_fit_status(self) -> None: ...

    class QuietSVR(SVR):  # type: ignore[misc]
        def _warn_from_fit_status(self) -> None: ...

    settings = {"gamma": "scale", "max_iter": MAX_ITERATIONS, "cache_size": CACHE_MB} | dict(configuration)
    return QuietSVR(**settings) if regression else QuietSVC(**settings)
