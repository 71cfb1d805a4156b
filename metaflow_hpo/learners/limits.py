"""What one trial may cost: seconds and memory, and how a training that runs is told to end.

The one thing to know: a trial is all its trainings. Their seconds add up, over folds and refit, whether they ran side
by side or one after the other; memory is that of the largest of them, without the folds, which all trials share.
"""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.errors import MetaflowHPOError

Flag = NDArray[np.int64]
"""`(1,)`; anything but 0 tells a training to end before its next mini-batch."""

POLL_S = 0.02


@dataclass(frozen=True)
class Limits:
    """What one trial may cost; one that needs more becomes a failed trial.

    Attributes:
        seconds: Of training, summed over folds and refit; None for no limit.
        memory_mb: Megabytes of the largest training, without the folds; None for no limit.
    """

    seconds: float | None = None
    memory_mb: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("seconds", self.seconds), ("memory_mb", self.memory_mb)):
            if value is not None and not value > 0:
                raise MetaflowHPOError(f"The limit {name} of a trial must be above 0; got {value}. None is no limit.")

    def describe_memory(self, needed_mb: float) -> str:
        """Return why a trial that needs so much memory fails; empty where it does not."""
        if self.memory_mb is None or needed_mb <= self.memory_mb:
            return ""
        return f"memory: needs {needed_mb:,.0f} MB, limit {self.memory_mb:,.0f} MB"

    def describe_time(self, where: str) -> str:
        """Return why a trial that was stopped failed.

        Args:
            where: How far it had come, e.g. `after epoch 7 of 50`.
        """
        return f"stopped ({where})" if self.seconds is None else f"time: more than {self.seconds:g} s ({where})"


NO_LIMITS = Limits()


class Stopwatch:
    """Adds up the seconds of each trial, and raises the flags of those that are over the limit.

    A context: inside it a thread of its own looks at the clock, as compiled code does not.
    """

    def __init__(self, trials: int, seconds: float | None) -> None:
        self.seconds = seconds
        self.flags = np.zeros(trials, np.int64)
        self._spent = np.zeros(trials)
        self._running: dict[object, tuple[int, float]] = {}
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stopwatch", daemon=True)

    def __enter__(self) -> "Stopwatch":
        if self.seconds is not None:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._left.set()
        if self.seconds is not None:
            self._thread.join()

    @contextmanager
    def running(self, trial: int) -> Iterator[Flag]:
        """Count the time inside as the trial's; the value is the flag that its training must heed."""
        token = object()
        with self._lock:
            self._running[token] = trial, time.perf_counter()
        try:
            yield self.flags[trial : trial + 1]
        finally:
            with self._lock:
                _, began = self._running.pop(token)
            self.add(trial, time.perf_counter() - began)

    def is_over(self, trial: int) -> bool:
        """Is the flag of the trial up?"""
        return bool(self.flags[trial])

    def add(self, trial: int, seconds: float) -> None:
        """Count seconds as the trial's."""
        with self._lock:
            self._spent[trial] += seconds
            if self.seconds is not None and self._spent[trial] > self.seconds:
                self.flags[trial] = 1

    def stop_all(self) -> None:
        """Raise all flags, so that nothing trains on for a caller who has gone."""
        self.flags[:] = 1

    def _watch(self) -> None:
        while not self._left.wait(POLL_S):
            now = time.perf_counter()
            with self._lock:
                spent = self._spent.copy()
                for trial, began in self._running.values():
                    spent[trial] += now - began
            self.flags[spent > (math.inf if self.seconds is None else self.seconds)] = 1
