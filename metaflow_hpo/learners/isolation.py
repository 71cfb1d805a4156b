"""A learner of arrays in processes of its own: one that is killed, crashes or hangs costs one trial, not the run.

The one thing to know: processes are spawned, so a script that uses this must be importable (`if __name__ == ...` round
what it does), and a process that cannot even start is an error of the program, not of a trial. Threads (the learner
itself) are the fast path; what comes out are the same bits.
"""

import json
import multiprocessing
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import MetaflowHPOError
from metaflow_hpo.learners.array_learner import ArrayLearner
from metaflow_hpo.learners.fold import FoldOutcome
from metaflow_hpo.learners.learner import Fidelity, Isolation, Judge, check_request
from metaflow_hpo.learners.limits import NO_LIMITS, Limits
from metaflow_hpo.modalities.modality import Fold
from metaflow_hpo.space import Configuration, SearchSpace

GRACE_S = 1.0
"""What a learner that watches the limit itself gets beyond it, to say how far it had come."""
FAILED_STARTS = 3
"""So many processes in a row that end before they are ready mean that none ever will be."""
_ARRAYS = ("x_train", "y_train", "x_valid", "y_valid")


class ThreadedLearner(ArrayLearner):
    """A learner on threads: a dataclass with the fields `workers` (None for one a processor) and `limits`."""

    def within(
        self, limits: Limits, *, isolation: Isolation = "thread", workers: int | None = None
    ) -> "Self | IsolatedLearner":
        """Return it with limits, in threads or in processes; see `Limited.within`."""
        fields = cast(Any, self)
        if isolation == "process":
            return IsolatedLearner(replace(fields, workers=1, limits=limits), workers, limits)
        return cast(Self, replace(fields, workers=workers, limits=limits))


@dataclass(frozen=True)
class IsolatedLearner(ArrayLearner):
    """A learner whose configurations are trained in worker processes, each one at a time.

    Attributes:
        learner: The learner; best with one thread (`workers=1`) and the same limits, where it knows any.
        workers: Processes; None for one a processor.
        limits: What each configuration may cost. A process that works on one for longer is ended.
    """

    learner: ArrayLearner
    workers: int | None = None
    limits: Limits = NO_LIMITS

    @property
    def name(self) -> str:
        """Name of the learner inside."""
        return self.learner.name

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities of the learner inside."""
        return self.learner.modalities

    @property
    def space(self) -> SearchSpace:
        """The search space of the learner inside."""
        return self.learner.space

    @property
    def fidelity(self) -> Fidelity:
        """Full fidelity of the learner inside."""
        return self.learner.fidelity

    def measure_costs(
        self, folds: Sequence[Fold], configurations: Sequence[Configuration], epochs: int
    ) -> NDArray[np.float64]:
        """Return the expected relative cost of each training, `(N, F)`."""
        return self.learner.measure_costs(folds, configurations, epochs)

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

        Closing the iterator ends the processes; the judge is not asked.

        Raises:
            SearchSpaceMismatchError: If a configuration or `epochs` is outside the search space.
            MetaflowHPOError: If a worker process cannot start.
        """
        chosen = check_request(self.space, self.fidelity, configurations, epochs)
        costs = self.measure_costs(folds, chosen, epochs).sum(axis=1)
        order = np.argsort(-costs, kind="stable").tolist()
        return self._train_folds(folds, chosen, order, seed, epochs)

    def _train_folds(
        self, folds: Sequence[Fold], chosen: Sequence[Configuration], order: list[int], seed: int, epochs: int
    ) -> Iterator[tuple[int, list[FoldOutcome]]]:
        if not order:
            return
        with tempfile.TemporaryDirectory(prefix="metaflow_hpo_") as folder:
            _write_folds(Path(folder), folds)
            start = _Start(self.learner, folder, [(f.classes, f.target_scale, f.number) for f in folds], seed, epochs)
            pool = _Pool(start, min(self.workers or os.cpu_count() or 1, len(order)), self.limits)
            try:
                for index, outcomes in pool.train(chosen, order):
                    yield index, outcomes if isinstance(outcomes, list) else [outcomes] * len(folds)
            finally:
                pool.close()


@dataclass(frozen=True)
class _Start:
    """What a worker process is told when it starts."""

    learner: ArrayLearner
    folder: str
    folds: list[tuple[int, float, int]]
    seed: int
    epochs: int


def _write_folds(folder: Path, folds: Sequence[Fold]) -> None:
    for position, fold in enumerate(folds):
        for name in _ARRAYS:
            _write_array(folder / f"{position}_{name}", getattr(fold, name))


def _write_array(path: Path, array: NDArray[Any]) -> None:
    if array.dtype == object:  # texts
        path.with_suffix(".json").write_text(json.dumps(array.tolist()), encoding="utf-8")
    else:
        np.save(path.with_suffix(".npy"), array)


def _read_array(path: Path) -> NDArray[Any]:
    """Map an array into memory: all workers share the pages, as nobody writes."""
    texts = path.with_suffix(".json")
    if texts.exists():
        return np.array(json.loads(texts.read_text(encoding="utf-8")), object)
    # Copy on write: engines that want writable arrays would copy read-only ones.
    return np.asarray(np.load(path.with_suffix(".npy"), mmap_mode="c"))


def _read_folds(start: _Start) -> list[Fold]:
    folds = []
    for position, (classes, scale, number) in enumerate(start.folds):
        paths = [Path(start.folder) / f"{position}_{name}" for name in _ARRAYS]
        x_train, y_train, x_valid, y_valid = map(_read_array, paths)
        folds.append(Fold(x_train, y_train, x_valid, y_valid, classes, scale, number))
    return folds


def _work(start: _Start, pipe: Connection) -> None:
    """Train configurations as they come in, until the other end is closed."""
    folds = _read_folds(start)
    pipe.send([])
    while True:
        try:
            configuration = pipe.recv()
        except EOFError:
            return
        [(_, outcomes)] = start.learner.train_folds(folds, [configuration], seed=start.seed, epochs=start.epochs)
        pipe.send(outcomes)


@dataclass
class _Worker:
    """A process and what it is doing.

    Attributes:
        process: The process.
        pipe: To it and back.
        index: Position of the configuration it trains; None before it is ready, and when nothing is left.
        began: When it began that, on the clock of `time.monotonic`.
    """

    process: SpawnProcess
    pipe: Connection
    index: int | None = None
    began: float = 0.0

    @property
    def busy_s(self) -> float:
        """Seconds since it got its configuration; 0 if it has none."""
        return 0.0 if self.index is None else time.monotonic() - self.began

    def end(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.join()
        self.pipe.close()
        self.process.close()


class _Pool:
    """Worker processes; those that end are replaced as long as there is something to train."""

    def __init__(self, start: _Start, count: int, limits: Limits) -> None:
        self.start, self.limits, self.failed_starts = start, limits, 0
        self.patience_s = None if limits.seconds is None else limits.seconds + GRACE_S
        self.workers = [_spawn(start) for _ in range(count)]

    def train(
        self, chosen: Sequence[Configuration], order: Sequence[int]
    ) -> Iterator[tuple[int, list[FoldOutcome] | FoldOutcome]]:
        """Yield the outcomes of each configuration, or the one that stands for all of its folds."""
        waiting, left = deque(order), len(order)
        while left:
            wait([worker.pipe for worker in self.workers], self._wait_s())
            for worker in tuple(self.workers):
                message = self._receive(worker)
                if message is None:
                    continue
                index, duration_s, worker.index = worker.index, worker.busy_s, None
                if isinstance(message, str):
                    self._replace(worker, message, failed_start=index is None, needed=bool(waiting))
                elif waiting:
                    self.failed_starts = 0
                    _hand_out(worker, waiting, chosen)
                if index is not None:
                    left -= 1
                    yield index, FoldOutcome.failed(message, duration_s) if isinstance(message, str) else message

    def close(self) -> None:
        """End all processes."""
        for worker in self.workers:
            worker.end()

    def _wait_s(self) -> float | None:
        """Return how long nothing can happen but messages."""
        if self.patience_s is None:
            return None
        return max(self.patience_s - max(worker.busy_s for worker in self.workers), 0.0)

    def _receive(self, worker: _Worker) -> list[FoldOutcome] | str | None:
        """Return what a worker has sent, or why it ended; None if neither."""
        try:
            if worker.pipe.poll():
                outcomes: list[FoldOutcome] = worker.pipe.recv()
                return outcomes
        except (EOFError, OSError):  # the latter within a message
            worker.process.join()
            code = worker.process.exitcode or 0
            return f"crashed: worker killed by signal {-code}" if code < 0 else f"crashed: worker exited with {code}"
        if self.patience_s is not None and worker.busy_s > self.patience_s:
            return self.limits.describe_time("its process was ended")
        return None

    def _replace(self, worker: _Worker, reason: str, *, failed_start: bool, needed: bool) -> None:
        worker.end()
        self.workers.remove(worker)
        if not needed:
            return
        self.failed_starts += failed_start
        if self.failed_starts == FAILED_STARTS:
            raise MetaflowHPOError(
                f"{FAILED_STARTS} worker processes ended before they could train (the last: {reason}); what they wrote "
                "to stderr says why. A script needs `if __name__ == '__main__':` round what it does; or use threads."
            )
        self.workers.append(_spawn(self.start))


def _spawn(start: _Start) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(start, theirs), name="metaflow_hpo worker", daemon=True)
    process.start()
    theirs.close()  # or its end would never show
    return _Worker(process, ours)


def _hand_out(worker: _Worker, waiting: deque[int], chosen: Sequence[Configuration]) -> None:
    """Give a worker the next configuration; it stays where it is if the process has just ended."""
    with suppress(OSError):
        worker.pipe.send(chosen[waiting[0]])
        worker.index, worker.began = waiting.popleft(), time.monotonic()
