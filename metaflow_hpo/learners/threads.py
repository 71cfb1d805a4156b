"""Threads: many trainings side by side, and one thread each for BLAS and torch, which lose with more here."""

import itertools
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from metaflow_hpo.caps import Cap, single_threaded_blas
from metaflow_hpo.learners.fold import FoldOutcome
from metaflow_hpo.learners.limits import NO_LIMITS, Flag, Limits, Stopwatch

TrainMember = Callable[[int, int, Flag], FoldOutcome]
"""Trains configuration `i` on fold `f`, and ends early where the flag goes up."""
_torch = Cap()


def train_in_threads(
    train_member: TrainMember, costs: NDArray[np.float64], workers: int | None = None, limits: Limits = NO_LIMITS
) -> Iterator[tuple[int, list[FoldOutcome]]]:
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
    done: list[dict[int, FoldOutcome]] = [{} for _ in range(count)]
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


def _train_within(
    limits: Limits, stopwatch: Stopwatch, train_member: TrainMember, index: int, fold: int
) -> FoldOutcome:
    """Train one member; what exceeds the limits becomes a failed outcome."""
    if stopwatch.is_over(index):
        return FoldOutcome.failed(limits.describe_time("not started"), 0.0)
    began = time.perf_counter()
    try:
        with stopwatch.running(index) as stop:
            outcome = train_member(index, fold, stop)
    except MemoryError as error:
        return FoldOutcome.failed(describe_memory_error(error), time.perf_counter() - began)
    if stopwatch.is_over(index) and not outcome.reason:
        return FoldOutcome.failed(limits.describe_time("finished too late"), outcome.duration_s, outcome.learning_curve)
    return outcome


def describe_memory_error(error: MemoryError) -> str:
    """Return why a training failed for which there was not enough memory."""
    return f"memory: {str(error).rstrip('.') or 'an allocation failed'}"


@contextmanager
def single_threaded_torch() -> Iterator[None]:
    """Cap torch at one thread, as bits must not depend on their number; overlapping uses share the cap.

    Torch has a number for each thread that has asked for it, and one for those that are still to ask; setting it sets
    one's own and that of the others to come.
    """
    import torch

    def cap() -> int:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        return threads

    def leave(threads: int) -> None:
        torch.set_num_threads(threads)
        others = threading.Thread(target=torch.set_num_threads, args=(1,))
        others.start()
        others.join()

    with _torch.use(cap, torch.set_num_threads, leave):
        yield
