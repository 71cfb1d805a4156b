"""Commands of the program in processes that can be interrupted at any moment, without the seconds that imports take.

The one thing to know: this process imports what commands need and starts no thread; each command is a fork of it.
"""

import importlib
import os
import pickle
import random
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.link", "os.symlink", "sqlite3.connect"}


def import_modules(names: Iterable[str]) -> None:
    """Import what a command has imported, so that the forks after this need not."""
    for name in names:
        with suppress(Exception):  # parts of packages that cannot be imported by themselves
            importlib.import_module(name)


@dataclass(frozen=True)
class Interrupt:
    """When a command is interrupted, and how.

    Attributes:
        signal: SIGKILL, SIGINT (Ctrl-C) or SIGTERM.
        after_s: Seconds from its start; None where `change` says it.
        change: The how manieth change of a file, from 1, where it is to happen.
    """

    signal: signal.Signals
    after_s: float | None = None
    change: int | None = None

    @classmethod
    def draw(cls, chance: random.Random, seconds: float, changes: int) -> "Interrupt":
        """Draw one: half of them at any second, half at any change of a file."""
        kind = chance.choices((signal.SIGKILL, signal.SIGINT, signal.SIGTERM), (5, 3, 2))[0]
        if chance.random() < 0.5:
            return cls(kind, after_s=chance.uniform(0, seconds))
        return cls(kind, change=chance.randint(1, max(changes, 1)))

    def __str__(self) -> str:
        when = f"after {self.after_s:.2f} s" if self.after_s is not None else f"at change {self.change}"
        return f"{self.signal.name} {when}"


@dataclass
class Running:
    """A command that runs.

    Attributes:
        pid: Its process.
        arguments: What was called.
        log: What it said.
        counted: Where it says how many changes of files it made, and what it imported, when it ends by itself.
        interrupt: How it is to be interrupted.
        code: Its exit status, negative for a signal; None while it runs.
    """

    pid: int
    arguments: Sequence[str]
    log: Path
    counted: Path
    interrupt: Interrupt | None
    started: float
    code: int | None = None
    seconds: float = 0.0
    was_hit: bool = False

    def look(self) -> bool:
        """Interrupt it when its time has come, and tell whether it has ended."""
        planned = self.interrupt
        due = None if planned is None or self.was_hit or self.code is not None else planned.after_s
        if planned is not None and due is not None and time.monotonic() - self.started >= due:
            os.kill(self.pid, planned.signal)
            self.was_hit = True
        if self.code is None:
            self._poll()
        return self.code is not None

    def _poll(self) -> None:
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            self.code, self.seconds = os.waitstatus_to_exitcode(status), time.monotonic() - self.started
            if self.interrupt is not None and self.interrupt.change is not None:
                # What Ctrl-C ends in order says how far it came, as what ends by itself does.
                self.was_hit = not self.counted.exists() or self.changes() >= self.interrupt.change

    def said(self) -> str:
        """Return the end of what it said."""
        return self.log.read_text(errors="replace")[-3000:]

    def changes(self) -> int:
        """Return how many changes of files it made; 0 where it was interrupted."""
        return int(self.counted.read_text().split("\n", 1)[0]) if self.counted.exists() else 0

    def modules(self) -> list[str]:
        """Return what it imported, packages before their parts; nothing where it was interrupted."""
        return sorted(self.counted.read_text().split("\n")[1:]) if self.counted.exists() else []


def wait(running: Sequence[Running], limit_s: float = 900.0) -> None:
    """Wait for the end of commands, interrupting each when its time has come.

    Raises:
        TimeoutError: One does not end.
    """
    began = time.monotonic()
    while sum(one.look() for one in running) < len(running):
        if time.monotonic() - began > limit_s:
            for one in running:
                if one.code is None:
                    os.kill(one.pid, signal.SIGKILL)
            raise TimeoutError("\n".join(f"{' '.join(one.arguments)} does not end:\n{one.said()}" for one in running))
        time.sleep(0.02)


def start(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, interrupt: Interrupt | None = None
) -> Running:
    """Start a command of the program.

    Args:
        arguments: Those of the command line.
        environment: Variables beside those that are set.
        folder: Where it works, and where its log lies.
        interrupt: How it is to be interrupted.
    """
    token = f"{time.monotonic_ns()}-{random.getrandbits(32):x}"
    log, counted = folder / f"{token}.log", folder / f"{token}.changes"
    started = time.monotonic()
    pid = os.fork()
    if pid:
        return Running(pid, arguments, log, counted, interrupt, started)
    code = 70
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs do not hear Ctrl-C
        with log.open("w") as said:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
        os.environ.update(environment)
        os.chdir(folder)
        made = _count_changes(Path(environment["METAFLOW_HPO_DATA"]), interrupt)
        code = _call(arguments)
        counted.write_text("\n".join([str(made()), *sys.modules]))
    except BaseException:  # noqa: BLE001 -- a fork must never return into its parent's code
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _call(arguments: Sequence[str]) -> int:
    from metaflow_hpo import cli

    sys.argv = ["metaflow-hpo", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        return 130
    return 0


def _count_changes(data: Path, interrupt: Interrupt | None) -> Callable[[], int]:
    """Count changes of files below a folder, and interrupt this process at the one that is told."""
    count, prefix = 0, str(data)
    at = None if interrupt is None else interrupt.change

    def hear(event: str, told: tuple[Any, ...]) -> None:
        nonlocal count
        is_written = event == "open" and isinstance(told[2], int) and bool(told[2] & _WRITING)
        is_change = is_written or event in _CHANGES
        if is_change and prefix in str(told[0]):
            count += 1
            if count == at:
                os.kill(os.getpid(), interrupt.signal)  # type: ignore[union-attr]

    sys.addaudithook(hear)
    return lambda: count


def ask(question: Callable[[], Any], environment: Mapping[str, str]) -> Any:
    """Return what a function says, called in a fork.

    Raises:
        RuntimeError: It failed.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.environ.update(environment)
            answer = question()
            with os.fdopen(writing, "wb") as file:
                pickle.dump(answer, file)
            os._exit(0)
        except BaseException:  # noqa: BLE001
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        content = file.read()
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"{question} failed; its traceback stands above.")
    return pickle.loads(content)
