"""Trainings side by side that know how to end early: those of a person's own function or command."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from metaflow_hpo.learners.learner import Outcome
from metaflow_hpo.learners.limits import Limits

POLL_S = 0.05
_MEMORY_POLL_S = 0.5


def run_side_by_side(
    run: Callable[[int, threading.Event], Outcome], count: int, workers: int
) -> Iterator[tuple[int, Outcome]]:
    """Run trainings, at most `workers` at once, in order.

    Args:
        run: Runs training `i`, and ends soon when the event is set. One worker runs in the calling thread, so that an
            interrupt reaches it.
        count: How many trainings.
        workers: How many at once.

    Yields:
        `(i, outcome)` as each is finished. Closing the iterator ends all of them.
    """
    cancelled = threading.Event()
    if min(workers, count) <= 1:
        for index in range(count):
            yield index, run(index, cancelled)
        return
    pool = ThreadPoolExecutor(min(workers, count), thread_name_prefix="train")
    try:
        futures = {pool.submit(run, index, cancelled): index for index in range(count)}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        cancelled.set()
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass
class Watch:
    """Looks after one training in a process of its own: its time, its memory, and whether anyone still waits for it.

    Attributes:
        pid: The process.
        limits: What the training may cost.
        cancelled: Set when nobody waits for it.
    """

    pid: int
    limits: Limits
    cancelled: threading.Event
    began: float = field(default_factory=time.monotonic)
    _looked: float = 0.0

    @property
    def duration_s(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self.began

    def find_excess(self, where: str) -> str:
        """Return why the training is to end now; empty where it may go on.

        Args:
            where: How far it has come.
        """
        if self.cancelled.is_set():
            return "stopped: the search was stopped"
        if self.limits.seconds is not None and self.duration_s > self.limits.seconds:
            return self.limits.describe_time(where)
        now = time.monotonic()
        if self.limits.memory_mb is None or now - self._looked < _MEMORY_POLL_S:
            return ""
        self._looked = now
        return self.limits.describe_memory(measure_tree_mb(self.pid))


def start_group(arguments: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    """Start a program as the first of a process group of its own, which an interrupt at the terminal does not reach.

    Raises:
        OSError: If it cannot be started.
    """
    # Python that writes into a pipe would keep its lines back.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **options.pop("env", {}), "PATH": _find_path()}
    return subprocess.Popen(  # noqa: S603 - what a person wants to be run, without a shell
        arguments, stdin=subprocess.DEVNULL, start_new_session=True, env=environment, **options
    )


def _find_path() -> str:
    """Return where programs are looked for: `python` is that of the active environment, or else this one."""
    ours, path = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
    is_active = any(os.environ.get(name) for name in ("VIRTUAL_ENV", "CONDA_PREFIX"))
    return os.pathsep.join([path, ours] if is_active else [ours, path])


def end_group(process: "subprocess.Popen[bytes]", grace_s: float) -> None:
    """End a process and all of its group: asked first, killed after `grace_s` seconds."""
    if process.poll() is None:
        _signal(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace_s)
    # Children outlive a leader that has ended, and the number of its group stays theirs.
    _signal(process.pid, signal.SIGKILL)
    process.wait()


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def measure_tree_mb(pid: int) -> float:
    """Return the memory of a process and its children in MB; 0 where it has ended."""
    try:
        process = psutil.Process(pid)
        members: Sequence[psutil.Process] = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0.0
    return sum(map(_measure_mb, members))


def _measure_mb(process: psutil.Process) -> float:
    try:
        return float(process.memory_info().rss) / 1e6
    except psutil.Error:
        return 0.0
