"""A person's own training command as a learner."""

import hashlib
import json
import logging
import re
import shlex
import subprocess
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from metaflow_hpo.errors import MetaflowHPOError, SearchSpaceMismatchError
from metaflow_hpo.learners.function import read_fidelity
from metaflow_hpo.learners.learner import ERROR, Fidelity, Isolation, Judge, Outcome, check_request
from metaflow_hpo.learners.limits import NO_LIMITS, Limits
from metaflow_hpo.learners.reports import Reports, check_report, read_result
from metaflow_hpo.learners.side_by_side import POLL_S, Watch, end_group, run_side_by_side, start_group
from metaflow_hpo.metric import Metric
from metaflow_hpo.space import Configuration, SearchSpace, Value
from metaflow_hpo.task import TaskData

logger = logging.getLogger("metaflow_hpo")

FIXED = ("task", "data", "seed", "fidelity")
"""Placeholders beside the hyperparameters."""

GRACE_S = 5.0
"""What a command gets between SIGTERM and SIGKILL, say to clean up."""

_PLACEHOLDER = re.compile(r"\{([^{}\s]+)\}")
_SCRIPT = re.compile(r"\.[A-Za-z]\w*$")
_MAX_SCRIPT = 10 * 1024**2
_NUMBER = re.compile(r"-[\d.]")
_CHUNK = 65_536
_MAX_LINE = 65_536
_QUOTED_LINES = 4
_QUOTED_LENGTH = 200


def learner_from_command(
    command: str | Sequence[str],
    space: "SearchSpace | Mapping[str, Any] | Sequence[Any]",
    *,
    name: str | None = None,
    fidelity: Fidelity | int | None = None,
    modalities: Sequence[str] = (),
    workers: int = 1,
) -> "CommandLearner":
    """Make a learner of a command, such as `python train.py --lr {lr} --data {data}`.

    The command runs without a shell: it is split into arguments once, then each `{name}` in them becomes the value of
    a hyperparameter, and `{task}`, `{data}`, `{seed}`, `{fidelity}` what they say. An argument with a hyperparameter
    that is not active goes, and an option that stands alone before it. On standard output the command prints JSON,
    one object a line: `{"step": 3, "score": 0.91}` while it trains, `{"score": 0.93, "test_score": 0.92}` or
    `{"failed": "why"}` at the end; all else is its log. SIGTERM stops it.

    Args:
        command: The command line, or its arguments.
        space: The search space, or what `SearchSpace.read` makes one of.
        name: Name of the learner; that of its script or program unless given.
        fidelity: Unit and maximum of the effort, or the maximum in epochs; one go unless given.
        modalities: Kinds of inputs it trains on; any unless given.
        workers: Trainings at once.

    Raises:
        SearchSpaceMismatchError: If the command has an unknown placeholder, or none for a hyperparameter.
    """
    arguments = _split(command) if isinstance(command, str) else tuple(command)
    return CommandLearner(
        arguments=arguments,
        space=SearchSpace.read(space),
        name=name or _find_name(arguments),
        fidelity=read_fidelity(fidelity),
        modalities=tuple(modalities),
        workers=workers,
    )


def _split(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise SearchSpaceMismatchError(f"Expected a command line; got {command!r}: {error}.") from error


def _find_name(arguments: Sequence[str]) -> str:
    """Return the name of the script, or else of the program, as a name."""
    scripts = [a for a in arguments[1:] if _SCRIPT.search(a) and not a.startswith("-") and "{" not in a]
    stem = Path((scripts or list(arguments) or ["command"])[0]).stem
    return re.sub(r"[^A-Za-z0-9_.-]", "_", stem).lstrip("_.-")[:80] or "command"


@dataclass(frozen=True)
class CommandLearner:
    """A learner that runs a person's command; see `learner_from_command`."""

    arguments: tuple[str, ...]
    space: SearchSpace
    name: str
    fidelity: Fidelity
    modalities: tuple[str, ...] = ()
    workers: int = 1
    limits: Limits = NO_LIMITS

    def __post_init__(self) -> None:
        if not self.arguments:
            raise SearchSpaceMismatchError("Expected a command such as python train.py --lr {lr}; got an empty one.")
        taken = sorted(set(self.space.names) & set(FIXED))
        if taken:
            raise SearchSpaceMismatchError(
                f"{taken} are placeholders of a command and no names of hyperparameters; rename them in the space."
            )
        used = {name for argument in self.arguments for name in _PLACEHOLDER.findall(argument)}
        unknown = sorted(used - set(self.space.names) - set(FIXED))
        if unknown:
            raise SearchSpaceMismatchError(
                f"Unknown placeholders {unknown} in the command; expected {', '.join([*self.space.names, *FIXED])}."
            )
        unused = [name for name in self.space.names if name not in used]
        if unused:
            raise SearchSpaceMismatchError(
                f"The command has no placeholder for {unused}; write say --{unused[0]} {{{unused[0]}}}, or take it out "
                "of the space."
            )

    @property
    def code(self) -> str:
        """Digest of the command and of the scripts that it names: trials of another one are those of other code."""
        files = [_read_script(argument) for argument in self.arguments]
        has_script = any(content is not None for content in files)
        begin = int(has_script and files[0] is None)  # where the interpreter lies says nothing
        digest = hashlib.sha256()
        for argument, content in list(zip(self.arguments, files, strict=True))[begin:]:
            digest.update(
                f"{len(argument)} {argument} ".encode("utf-8", "surrogateescape") if content is None else content
            )
        return digest.hexdigest()[:16]

    def within(
        self, limits: Limits, *, isolation: Isolation = "thread", workers: int | None = None
    ) -> "CommandLearner":
        """Return it with limits; a command always runs in a process of its own."""
        return replace(self, limits=limits, workers=workers or self.workers)

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
        """Train configurations; see `Learner.train`. The command itself says the test score, a refit needs no run.

        Raises:
            SearchSpaceMismatchError: If a configuration is outside the space, or the fidelity cannot be passed on.
            MetaflowHPOError: If there is no such program.
        """
        chosen = check_request(self.space, self.fidelity, configurations, fidelity)
        if fidelity < self.fidelity.maximum and not any("{fidelity}" in a for a in self.arguments):
            raise SearchSpaceMismatchError(
                f"Shorter trainings need the placeholder {{fidelity}} in the command, for its {self.fidelity.unit}."
            )
        fixed = {"task": data.task.task_id, "data": find_address(data), "seed": str(seed), "fidelity": str(fidelity)}

        def run(index: int, cancelled: threading.Event) -> Outcome:
            reports = Reports(data.task.metric, fidelity, judge)
            return _run(self.fill(chosen[index], fixed), data.task.metric, reports, self.limits, cancelled)

        return run_side_by_side(run, len(chosen), self.workers)

    def fill(self, configuration: Configuration, fixed: Mapping[str, str]) -> list[str]:
        """Return the arguments for a configuration, without those of hyperparameters that are not active.

        Args:
            configuration: The active hyperparameters.
            fixed: Values of the other placeholders.
        """
        values = {**fixed, **{name: _write(value) for name, value in configuration.items()}}
        filled: list[str] = []
        is_lone_option = False
        for argument in self.arguments:
            names = _PLACEHOLDER.findall(argument)
            if all(name in values for name in names):
                filled.append(_PLACEHOLDER.sub(lambda match: values[match[1]], argument))
                is_lone_option = not names and _is_option(argument)
                continue
            if is_lone_option:
                filled.pop()
            is_lone_option = False
        return filled


def _read_script(argument: str) -> bytes | None:
    """Return the content of a file that an argument names, where it is no larger than a script."""
    if not _SCRIPT.search(argument) or "{" in argument:
        return None
    try:
        path = Path(argument)
        return path.read_bytes() if path.is_file() and path.stat().st_size <= _MAX_SCRIPT else None
    except (OSError, ValueError):
        return None


def find_address(data: Any) -> str:
    """Return where a task's data are: the address of an opaque task, else the source of the task."""
    return str(getattr(data, "address", data.task.source))


def _is_option(argument: str) -> bool:
    return argument.startswith("-") and "=" not in argument and not _NUMBER.match(argument) and argument != "--"


def _write(value: Value) -> str:
    """Return a value as an argument: text as it is, all else as JSON writes it."""
    return value if isinstance(value, str) else json.dumps(value)


class _Output:
    """What a command prints: reports and result from its standard output, and the last lines of all.

    Each of its two streams is read by a thread. Of 100 MB in one line no more than the beginning is held.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", metric: Metric, reports: Reports) -> None:
        self._metric, self._reports = metric, reports
        self._lines: dict[bool, deque[str]] = {key: deque(maxlen=_QUOTED_LINES) for key in (True, False)}
        self._lock = threading.Lock()
        self.result: Any = None
        self.has_result = False
        self.fault = ""
        streams: list[tuple[IO[bytes] | None, bool]] = [(process.stdout, True), (process.stderr, False)]
        self._threads = [threading.Thread(target=self._read, args=stream, daemon=True) for stream in streams]
        for thread in self._threads:
            thread.start()

    def join(self, seconds: float) -> None:
        """Wait until both streams have ended, or so long."""
        for thread in self._threads:
            thread.join(seconds)

    def quote(self) -> str:
        """Return the last lines, for a reason: of standard output, then of standard error."""
        with self._lock:  # as they came would be another order each time
            lines = [line for key in (True, False) for line in self._lines[key] if line]
        return f"its last lines: {' | '.join(lines)}" if lines else "it printed nothing"

    def _read(self, stream: IO[bytes], is_output: bool) -> None:
        rest = b""
        with stream:
            while chunk := stream.read1(_CHUNK):  # type: ignore[attr-defined]
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._take(line, is_output)
                rest = rest[:_MAX_LINE]
        if rest:
            self._take(rest, is_output)

    def _take(self, line: bytes, is_output: bool) -> None:
        text = line.decode(errors="replace").strip()
        with self._lock:
            self._lines[is_output].append("".join(c if c.isprintable() else " " for c in text[:_QUOTED_LENGTH]))
            message = _parse(text) if is_output else None
            if message is None:
                logger.debug("%s", text[:_MAX_LINE])
            elif "step" in message:
                self._take_report(message)
            else:
                self.result, self.has_result = message, True

    def _take_report(self, message: Mapping[str, Any]) -> None:
        fault = check_report(message["step"], message.get("score"))
        if fault:
            self.fault = self.fault or fault
        else:
            self._reports.add(int(message["step"]), float(message["score"]))


def _parse(text: str) -> dict[str, Any] | None:
    """Return the message in a line; None where it is a line of the log."""
    if not text.startswith("{"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and {"score", "failed", "step"} & set(found) else None


def _run(
    arguments: Sequence[str], metric: Metric, reports: Reports, limits: Limits, cancelled: threading.Event
) -> Outcome:
    try:
        process = start_group(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except (OSError, ValueError) as error:
        raise MetaflowHPOError(
            f"Expected a program that can be started; {arguments[0]!r} cannot: {error}. Correct the command."
        ) from error
    watch, ended = Watch(process.pid, limits, cancelled), ""
    output = _Output(process, metric, reports)
    try:
        while process.poll() is None and not ended and not reports.stop_reason:
            ended = watch.find_excess(reports.describe())
            if not ended:
                _wait(process)
        is_done = process.poll() is not None
        duration_s = watch.duration_s
        if is_done:
            output.join(GRACE_S)  # what it printed last
    finally:
        end_group(process, GRACE_S)
        output.join(GRACE_S)
    if reports.stop_reason and not ended:
        return reports.end(reports.stop_reason, duration_s, stopped=True)
    reason = ended or _find_failure(process.returncode, output)
    if reason:
        logger.warning("A training failed: %s\n  %s", shlex.join(arguments), reason)
        return reports.end(reason, duration_s)
    return _quote_failure(read_result(output.result, metric, reports, duration_s), output)


def _wait(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(POLL_S)
    except subprocess.TimeoutExpired:
        return


def _find_failure(code: int, output: _Output) -> str:
    """Return why a command that ended by itself failed; empty where it has a result."""
    if code < 0:
        return f"crashed: killed by signal {-code}; {output.quote()}"
    if code > 0:
        return f"{ERROR}exit code {code}; {output.quote()}"
    if output.fault:
        return f"{ERROR}{output.fault}; {output.quote()}"
    if not output.has_result:
        return f'{ERROR}no score: it ended without a line {{"score": ...}}; {output.quote()}'
    return ""


def _quote_failure(outcome: Outcome, output: _Output) -> Outcome:
    return replace(outcome, reason=f"{outcome.reason}; {output.quote()}") if outcome.reason else outcome
