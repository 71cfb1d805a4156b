"""A person's own training function as a learner."""

import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from metaflow_hpo.learners.learner import ERROR, Fidelity, Isolation, Judge, Outcome, check_request
from metaflow_hpo.learners.limits import NO_LIMITS, Limits
from metaflow_hpo.learners.reports import Reports, check_report, read_result
from metaflow_hpo.learners.side_by_side import POLL_S, Watch, end_group, run_side_by_side, start_group
from metaflow_hpo.space import Configuration, SearchSpace
from metaflow_hpo.task import TaskData

logger = logging.getLogger("metaflow_hpo")

_GRACE_S = 1.0
_GONE = "gone"
_WORKER = "import sys; from metaflow_hpo.learners.function import work; work(int(sys.argv[1]))"


class Stop(Exception):  # noqa: N818 - a request, not an error
    """Raised by `report` where a training is to end: its learning curve will not win, or its time is over."""


class Report:
    """What a training function reports with: `report(step, score)`.

    Attributes:
        fidelity: The effort to train for, say the number of epochs.
        seed: The seed to train with.
    """

    def __init__(self, fidelity: int, seed: int, send: Callable[[int, float], bool]) -> None:
        self.fidelity = fidelity
        self.seed = seed
        self._send = send

    def __call__(self, step: int, score: float) -> None:
        """Report the validation score after `step` units of fidelity.

        Raises:
            Stop: If the training is to end. Let it pass, or clean up and return.
            ValueError: If the step or the score is no number.
        """
        score = score.item() if hasattr(score, "item") else score
        fault = check_report(step, score)
        if fault:
            raise ValueError(f"report: {fault}.")
        if self._send(int(step), float(score)):
            raise Stop


Train = Callable[[Configuration, Any, Report], Any]
"""`train(configuration, task, report)` returns a score, or `{"score": ..., "test_score": ...}`."""


def learner_from_function(
    train: Train,
    space: "SearchSpace | Mapping[str, Any] | Sequence[Any]",
    *,
    name: str | None = None,
    fidelity: Fidelity | int | None = None,
    modalities: Sequence[str] = (),
    workers: int = 1,
    isolation: Isolation = "thread",
) -> "FunctionLearner":
    """Make a learner of a training function.

    Args:
        train: `train(configuration, task, report)`. It gets the active hyperparameters, the task with its data as its
            modality read them, and `report`, which knows `report.seed` and `report.fidelity`. It returns a score of the
            task's metric, or `{"score": ..., "test_score": ...}`, or `{"failed": why}`. `report(step, score)` on the
            way makes the learning curve, and raises `Stop` where the training is to end. An exception is a failed
            trial; its traceback goes to the log.
        space: The search space, or what `SearchSpace.read` makes one of.
        name: Name of the learner; the function's, with its module, unless given.
        fidelity: Unit and maximum of the effort, or the maximum in epochs; one go unless given.
        modalities: Kinds of inputs it trains on; any unless given.
        workers: Trainings at once.
        isolation: `thread`: in this process; a limit of time ends a training at its next report. `process`: each in a
            process of its own, which is ended; the function travels there as a whole, wherever it was defined.
    """
    return FunctionLearner(
        function=train,
        space=SearchSpace.read(space),
        name=name or _find_name(train),
        fidelity=read_fidelity(fidelity),
        modalities=tuple(modalities),
        workers=workers,
        isolation=isolation,
    )


def read_fidelity(fidelity: Fidelity | int | None) -> Fidelity:
    """Return a fidelity: as given, so many epochs, or one go."""
    if isinstance(fidelity, Fidelity):
        return fidelity
    return Fidelity() if fidelity is None else Fidelity("epochs", fidelity)


def _find_name(train: Any) -> str:
    inner = train.func if isinstance(train, partial) else train
    own = getattr(inner, "__name__", type(inner).__name__).strip("<>")
    module = getattr(inner, "__module__", None) or "__main__"
    if module == "__main__":
        path = getattr(getattr(inner, "__code__", None), "co_filename", "")
        module = Path(path).stem if path.endswith(".py") else ""
    return f"{module}.{own}" if module else own


@dataclass(frozen=True)
class FunctionLearner:
    """A learner that calls a person's function; see `learner_from_function`."""

    function: Train
    space: SearchSpace
    name: str
    fidelity: Fidelity
    modalities: tuple[str, ...] = ()
    workers: int = 1
    isolation: Isolation = "thread"
    limits: Limits = NO_LIMITS

    def within(
        self, limits: Limits, *, isolation: Isolation = "thread", workers: int | None = None
    ) -> "FunctionLearner":
        """Return it with limits; only a process of its own can be held to a limit of memory."""
        needs_process = isolation == "process" or limits.memory_mb is not None
        return replace(
            self,
            limits=limits,
            isolation="process" if needs_process else self.isolation,
            workers=workers or self.workers,
        )

    def train(
        self,
        data: TaskData,
        configurations: Sequence[Configuration],
        *,
        fidelity: int,
        seed: int,
        judge: Judge | None = None,
        refit: bool = False,
    ) -> Iterator[tuple[int, Outcome]]:
        """Train configurations; see `Learner.train`. The function itself says the test score, a refit needs no call."""
        chosen = check_request(self.space, self.fidelity, configurations, fidelity)
        run_one = _run_in_process if self.isolation == "process" else _run_here

        def run(index: int, cancelled: threading.Event) -> Outcome:
            reports = Reports(data.task.metric, fidelity, judge)
            return run_one(self, dict(chosen[index]), data, (fidelity, seed), reports, cancelled)

        return run_side_by_side(run, len(chosen), self.workers)


def _run_here(
    learner: FunctionLearner,
    configuration: dict[str, Any],
    data: TaskData,
    request: tuple[int, int],
    reports: Reports,
    cancelled: threading.Event,
) -> Outcome:
    """Call the function in this thread; a report is where it hears that it is to end."""
    began, seconds, late = time.monotonic(), learner.limits.seconds, ""

    def send(step: int, score: float) -> bool:
        nonlocal late
        if seconds is not None and not late and time.monotonic() - began > seconds:
            late = learner.limits.describe_time(reports.describe())
        return reports.add(step, score) or bool(late) or cancelled.is_set()

    result, error = _call(learner.function, configuration, data, Report(request[0], request[1], send))
    duration = time.monotonic() - began
    if seconds is not None and not late and duration > seconds:
        late = learner.limits.describe_time("finished too late")
    if cancelled.is_set():
        late = late or "stopped: the search was stopped"
    return _conclude(result, error, data, reports, duration, late)


def _call(train: Train, configuration: dict[str, Any], data: TaskData, report: Report) -> tuple[Any, str]:
    """Return what the function returned, and what it raised: a line, with the traceback behind it."""
    try:
        return train(configuration, data, report), ""
    except Stop:
        return None, ""
    except Exception as error:  # noqa: BLE001 - whatever a person's code raises is a failed trial
        return None, f"{_describe(error)}\n{traceback.format_exc()}"


def _describe(error: Exception) -> str:
    """Return type, message and place of an exception."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    message = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {message}{place}" if message else f"{type(error).__name__}{place}"


def _conclude(result: Any, error: str, data: TaskData, reports: Reports, duration_s: float, ended: str) -> Outcome:
    """Return the outcome of a call; whatever it returned after it was told to stop does not count."""
    if reports.stop_reason:
        return reports.end(reports.stop_reason, duration_s, stopped=True)
    if ended:
        return reports.end(ended, duration_s)
    if error:
        line, _, trace = error.partition("\n")
        logger.warning("A training on %s failed:\n%s", data.task.task_id, trace.rstrip())
        kind = "memory: " if line.startswith("MemoryError") else ERROR
        return reports.end(kind + line, duration_s)
    return read_result(result, data.task.metric, reports, duration_s)


def _run_in_process(
    learner: FunctionLearner,
    configuration: dict[str, Any],
    data: TaskData,
    request: tuple[int, int],
    reports: Reports,
    cancelled: threading.Event,
) -> Outcome:
    """Call the function in a process of its own, which is ended where it exceeds its limits."""
    import cloudpickle

    # By value where it cannot be imported, as in a notebook or in the script that is running.
    order = cloudpickle.dumps((learner.function, configuration, data, request))
    ours, theirs = multiprocessing.Pipe()
    process = start_group(
        [sys.executable, "-c", _WORKER, str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stdout=2,  # standard output is for results
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    theirs.close()  # or its end would never show
    watch = Watch(process.pid, learner.limits, cancelled)
    try:
        result, error, ended = _follow(ours, order, watch, reports)
        if ended == _GONE:
            ended = _describe_end(process, reports)
    finally:
        ours.close()
        end_group(process, _GRACE_S)
    return _conclude(result, error, data, reports, watch.duration_s, ended)


def _follow(pipe: Connection, order: bytes, watch: Watch, reports: Reports) -> tuple[Any, str, str]:
    """Hear a process until it is done; return result, error, and why it was ended."""
    try:
        pipe.send_bytes(order)
        while True:
            ended = watch.find_excess(reports.describe())
            if ended:
                return None, "", ended
            if not pipe.poll(POLL_S):
                continue
            kind, *message = pipe.recv()
            if kind == "report":
                pipe.send(reports.add(*message))
                if reports.stop_reason:
                    return None, "", ""
            else:
                return message[0], message[1], ""
    except (EOFError, OSError):
        return None, "", _GONE


def _describe_end(process: "subprocess.Popen[bytes]", reports: Reports) -> str:
    code = process.wait()
    how = f"was killed by signal {-code}" if code < 0 else f"exited with {code}"
    return f"{'crashed: ' if code < 0 else ERROR}its process {how} ({reports.describe()})"


def work(descriptor: int) -> None:
    """Call a function, in the process that was started for it.

    Args:
        descriptor: File descriptor of the connection to whoever started it.
    """
    import pickle

    pipe = Connection(descriptor)
    function, configuration, data, request = pickle.loads(pipe.recv_bytes())  # noqa: S301 - written by the parent

    def send(step: int, score: float) -> bool:
        pipe.send(("report", step, score))
        return bool(pipe.recv())

    result, error = _call(function, configuration, data, Report(request[0], request[1], send))
    try:
        message = pickle.dumps(("done", result, error))
    except (TypeError, AttributeError, pickle.PicklingError) as failure:
        message = pickle.dumps(("done", None, f"{type(failure).__name__}: its result cannot be pickled: {failure}\n"))
    pipe.send_bytes(message)
