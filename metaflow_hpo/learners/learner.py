"""What a learner is: a search space and one function that trains many configurations at once.

The one thing to know: a learner never sees a `Task`. It gets folds of arrays that were prepared on their own training
rows (`preprocessing.py`), and returns predictions; scores and trials are made in `cross_validation.py`.
"""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import SearchSpaceMismatchError
from metaflow_hpo.learners.limits import NO_LIMITS, Flag, Limits, Stopwatch
from metaflow_hpo.space import Configuration, SearchSpace

FloatArray = NDArray[np.float32]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Fold:
    """Prepared arrays of one split of the rows.

    Attributes:
        x_train: `(n, D)` float32.
        y_train: `(n,)` class numbers (int64), or standardised target (float32) for regression.
        x_valid: `(m, D)` float32, rows that are scored but never fitted on.
        y_valid: `(m,)`, in the same coding as `y_train`.
        classes: Number of classes; 0 for regression.
        target_scale: Target units in one unit of `y_train` (the standard deviation of its training rows).
        number: Place among the splits of a task, from 0; trainings on different splits draw different numbers.
    """

    x_train: FloatArray
    y_train: NDArray[Any]
    x_valid: FloatArray
    y_valid: NDArray[Any]
    classes: int
    target_scale: float = 1.0
    number: int = 0


@dataclass(frozen=True)
class Outcome:
    """What training one configuration on one fold gave.

    Attributes:
        predictions: `(m, classes)` probabilities, or `(m,)` predictions in the coding of `y_valid`; empty if failed.
        learning_curve: `(E,)` balanced accuracy (classification) or R2 (regression) on the validation rows after
            each epoch; empty for learners without epochs.
        duration_s: Seconds of training.
        reason: Why it failed (`diverged: ...`, `time: ...`, `memory: ...`, `crashed: ...`) or was stopped; else empty.
        stopped: A judge gave it up for its learning curve, see `stages.py`.
    """

    predictions: FloatArray
    learning_curve: FloatArray
    duration_s: float
    reason: str = ""
    stopped: bool = False

    @classmethod
    def failed(cls, reason: str, duration_s: float, learning_curve: FloatArray | None = None) -> "Outcome":
        """Make the outcome of a training that gave no predictions."""
        nothing = np.empty(0, np.float32)
        return cls(nothing, nothing if learning_curve is None else learning_curve, duration_s, reason)


def average_curves(curves: NDArray[Any]) -> NDArray[Any]:
    """Return the learning curve of a trial, `(E,)`, from those of its folds, `(F, E)`: each floored at 0, averaged."""
    return np.asarray(np.maximum(curves, 0).mean(axis=0))


class Learner(Protocol):
    """A model family that can be tuned."""

    @property
    def name(self) -> str:
        """Short name, as in `--learner`."""

    @property
    def space(self) -> SearchSpace:
        """The search space; its `default` is what a person gets who tunes nothing."""

    @property
    def max_epochs(self) -> int:
        """Full fidelity; 1 for learners without epochs."""

    def train(
        self,
        folds: Sequence[Fold],
        configurations: Sequence[Configuration],
        *,
        seed: int,
        epochs: int,
    ) -> Iterator[tuple[int, list[Outcome]]]:
        """Train every configuration on every fold.

        Args:
            folds: The splits; all have the same number of columns and classes.
            configurations: Valid configurations of `space`.
            seed: Seed of initialisation, mini-batch order and dropout; the same seed gives the same bits whatever
                else is trained in the same call.
            epochs: Fidelity, 1 to `max_epochs`.

        Yields:
            `(position in configurations, one outcome a fold)`, in the order in which configurations are finished.
        """

    def measure_costs(
        self, folds: Sequence[Fold], configurations: Sequence[Configuration], epochs: int
    ) -> NDArray[np.float64]:
        """Return the expected relative cost of each training, `(N, F)`: what takes longest is started first."""


def check_request(
    space: SearchSpace, max_epochs: int, configurations: Sequence[Configuration], epochs: int
) -> list[Configuration]:
    """Return the configurations in canonical form.

    Raises:
        SearchSpaceMismatchError: If a configuration does not belong to `space`, or `epochs` is not in 1..`max_epochs`.
    """
    if not 1 <= epochs <= max_epochs:
        raise SearchSpaceMismatchError(
            f"fidelity_epochs must be in 1..{max_epochs}; got {epochs}. Leave it out for the full fidelity."
        )
    return [space.validate(configuration) for configuration in configurations]


TrainMember = Callable[[int, int, Flag], Outcome]
"""Trains configuration `i` on fold `f`, and ends early where the flag goes up."""


def train_in_threads(
    train_member: TrainMember, costs: NDArray[np.float64], workers: int | None = None, limits: Limits = NO_LIMITS
) -> Iterator[tuple[int, list[Outcome]]]:
    """Spread configurations x folds over plain threads, the most expensive configurations first.

    BLAS runs on one thread a member meanwhile. Closing the iterator early drops what has not started, stops what has,
    and gives threads and BLAS back. A member for which memory or its trial's time runs out is a failed outcome.

    Args:
        train_member: It must release the GIL to gain from threads.
        costs: Expected relative cost of each member, `(N, F)`.
        workers: Threads; None for one a processor.
        limits: What each configuration may cost.

    Yields:
        `(i, one outcome a fold)` as each configuration is finished.
    """
    count, fold_count = costs.shape
    done: list[dict[int, Outcome]] = [{} for _ in range(count)]
    order = np.argsort(-costs.sum(axis=1), kind="stable").tolist()
    pool = ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="train")
    with single_threaded_blas(), Stopwatch(count, limits.seconds) as stopwatch:
        try:
            members = itertools.product(order, range(fold_count))
            futures = {
                pool.submit(_train_within, limits, stopwatch, train_member, index, fold): (index, fold)
                for index, fold in members
            }
            for future in as_completed(futures):
                index, fold = futures.pop(future)
                done[index][fold] = future.result()
                if len(done[index]) == fold_count:
                    outcomes, done[index] = done[index], {}
                    yield index, [outcomes[number] for number in range(fold_count)]
        finally:
            stopwatch.stop_all()
            pool.shutdown(wait=True, cancel_futures=True)


def _train_within(limits: Limits, stopwatch: Stopwatch, train_member: TrainMember, index: int, fold: int) -> Outcome:
    """Train one member; what exceeds the limits becomes a failed outcome."""
    if stopwatch.is_over(index):
        return Outcome.failed(limits.describe_time("not started"), 0.0)
    began = time.perf_counter()
    try:
        with stopwatch.running(index) as stop:
            outcome = train_member(index, fold, stop)
    except MemoryError as error:
        return Outcome.failed(describe_memory_error(error), time.perf_counter() - began)
    if stopwatch.is_over(index) and not outcome.reason:
        return Outcome.failed(limits.describe_time("finished too late"), outcome.duration_s, outcome.learning_curve)
    return outcome


def describe_memory_error(error: MemoryError) -> str:
    """Return why a training failed for which there was not enough memory."""
    return f"memory: {str(error).rstrip('.') or 'an allocation failed'}"


class _BlasCap:
    """The process-wide cap on BLAS threads, and how many callers need it now."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.limits: Any = None


_cap = _BlasCap()


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Cap BLAS at one thread; overlapping uses share the cap, and the last one to leave lifts it."""
    # Load the library that the kernels call, or there is nothing to cap yet: threads of threads are 8x slower.
    import scipy.linalg.cython_blas  # noqa: F401
    from threadpoolctl import threadpool_limits

    with _cap.lock:
        _cap.users += 1
        if _cap.users == 1:
            _cap.limits = threadpool_limits(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _cap.lock:
            _cap.users -= 1
            if _cap.users == 0:
                _cap.limits.restore_original_limits()
