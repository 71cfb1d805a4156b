"""Trainings in stages: after each, a judge looks at the learning curve of a configuration and may stop it.

The one thing to know: all folds of a configuration reach a stage before it is judged, and the judge hears of nothing
else, so what is stopped depends neither on the number of threads nor on what else is trained.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.caps import single_threaded_blas
from metaflow_hpo.learners.fold import FloatArray, FoldOutcome, average_curves
from metaflow_hpo.learners.learner import Judge
from metaflow_hpo.learners.limits import Flag, Limits, Stopwatch
from metaflow_hpo.learners.threads import describe_memory_error

_MEMBERS_A_WORKER = 2
"""Trainings begun for each thread, so that none waits for the slowest fold of a stage; more would only hold memory."""


class Stageable(Protocol):
    """A training of one configuration on one fold that can pause."""

    def advance(self, epochs: int, stop: Flag) -> FoldOutcome | None:
        """Train until so many epochs are done.

        Returns:
            The outcome, where this was the last epoch or the training failed; else None.
        """

    @property
    def learning_curve(self) -> FloatArray:
        """`(e,)` so far."""

    @property
    def duration_s(self) -> float:
        """Seconds of training so far."""


Begin = Callable[[int, int], Stageable]
"""Begins training configuration `i` on fold `f`; called in the thread that goes on with it."""


def train_in_stages(
    begin: Begin, costs: NDArray[np.float64], epochs: int, judge: Judge, workers: int | None, limits: Limits
) -> Iterator[tuple[int, list[FoldOutcome]]]:
    """Spread configurations x folds over plain threads, as `train_in_threads` does, and stop what the judge gives up.

    Where one fold fails, the others are not trained on: their outcomes have no predictions.

    Args:
        begin: Begins a training.
        costs: Expected relative cost of each member, `(N, F)`.
        epochs: Fidelity.
        judge: Is asked after each of its checkpoints below `epochs`.
        workers: Threads; None for one a processor.
        limits: What each configuration may cost.

    Yields:
        `(i, one outcome a fold)` as each configuration is finished or stopped.
    """
    count, fold_count = costs.shape
    threads = workers or os.cpu_count() or 1
    stages = [*(epoch for epoch in judge.checkpoints if epoch < epochs), epochs]
    waiting = deque(np.argsort(-costs.sum(axis=1), kind="stable").tolist())
    running: dict[Future[None], _Configuration] = {}
    pool = ThreadPoolExecutor(threads, thread_name_prefix="train")
    with single_threaded_blas(), Stopwatch(count, limits.seconds) as stopwatch:

        def advance(configuration: _Configuration) -> None:
            for fold in configuration.start_stage():
                running[pool.submit(configuration.advance, fold, begin, stages, stopwatch, limits)] = configuration

        try:
            while waiting or running:
                while waiting and len(running) < _MEMBERS_A_WORKER * threads:
                    advance(_Configuration(waiting.popleft(), fold_count))
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    configuration = running.pop(future)
                    future.result()
                    configuration.left -= 1
                    if configuration.left > 0:
                        continue
                    outcomes = configuration.judge(judge)
                    if outcomes:
                        yield configuration.index, outcomes
                    else:
                        advance(configuration)
        finally:
            stopwatch.stop_all()
            pool.shutdown(wait=True, cancel_futures=True)


@dataclass
class _Configuration:
    """How far the folds of a configuration have come.

    Attributes:
        index: Its position.
        folds: How many it has.
        stage: The stage its folds train now.
        left: Folds that have not reached it.
    """

    index: int
    folds: int
    stage: int = -1
    left: int = 0
    trainings: dict[int, Stageable] = field(default_factory=dict)
    outcomes: dict[int, FoldOutcome] = field(default_factory=dict)

    def start_stage(self) -> range:
        """Begin the next stage, and return the folds to train."""
        self.stage += 1
        self.left = self.folds
        return range(self.folds)

    def advance(self, fold: int, begin: Begin, stages: Sequence[int], stopwatch: Stopwatch, limits: Limits) -> None:
        """Train one fold to the end of the stage; what exceeds the limits becomes a failed outcome."""
        try:
            with stopwatch.running(self.index) as stop:
                if fold not in self.trainings:
                    self.trainings[fold] = begin(self.index, fold)
                outcome = self.trainings[fold].advance(stages[self.stage], stop)
            if stopwatch.is_over(self.index) and not (outcome and outcome.reason):
                outcome = self._fail(fold, limits.describe_time("finished too late"))
        except MemoryError as error:
            outcome = self._fail(fold, describe_memory_error(error))
        if outcome is not None:
            self.outcomes[fold] = outcome

    def judge(self, judge: Judge) -> list[FoldOutcome]:
        """Return the outcomes of all folds where the configuration is finished or stopped; else nothing."""
        folds = range(self.folds)
        if any(outcome.reason for outcome in self.outcomes.values()):
            return [self.outcomes.get(fold) or self._pause(fold, "") for fold in folds]
        if self.outcomes:
            return [self.outcomes[fold] for fold in folds]
        reason = judge(average_curves(np.array([self.trainings[fold].learning_curve for fold in folds])))
        return [self._pause(fold, reason) for fold in folds] if reason else []

    def _fail(self, fold: int, reason: str) -> FoldOutcome:
        training = self.trainings.get(fold)
        if training is None:
            return FoldOutcome.failed(reason, 0.0)
        return FoldOutcome.failed(reason, training.duration_s, training.learning_curve)

    def _pause(self, fold: int, stopped: str) -> FoldOutcome:
        training = self.trainings[fold]
        nothing = np.empty(0, np.float32)
        return FoldOutcome(nothing, training.learning_curve, training.duration_s, stopped, stopped=bool(stopped))
