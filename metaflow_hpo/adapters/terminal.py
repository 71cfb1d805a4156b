"""Progress and tables for people: a bar on a terminal, plain lines elsewhere, always on standard error.

Standard output belongs to results (`--json`), so nothing here ever writes to it.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from metaflow_hpo.adapters import pipeline
from metaflow_hpo.errors import show_controls

_PLAIN_EVERY_S = 5.0


class _Count(MofNCompleteColumn):
    """`3/20`; nothing where the length is not known."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else super().render(task)


@contextmanager
def show_progress() -> Iterator[pipeline.Progress]:
    """Yield a progress callback that lives as long as the block."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines(console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        _Count(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bars: dict[str, TaskID] = {}
        unknown: list[TaskID] = []

        def show(what: str, done: int, total: int) -> None:
            what = show_controls(what)
            while unknown:
                progress.remove_task(unknown.pop())
            if total == 0:
                unknown.append(progress.add_task(what, total=None))
                return
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done, total=total, visible=done < total)

        yield show


def _plain_lines(console: Console) -> pipeline.Progress:
    last = {"time": time.monotonic()}

    def show(what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if (done == total and total > 0) or now - last["time"] >= _PLAIN_EVERY_S:
            last["time"] = now
            text = f"{what}: {done}/{total}" if total else f"{what} ..."
            console.print(show_controls(text), highlight=False, markup=False, emoji=False)

    return show
